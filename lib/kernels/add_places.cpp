#include "kernels/add_places.h"

namespace dptrain {

AddPlaces add_places(const AddConfig& config) {
  const Shape &a = config.a.shape, &b = config.b.shape;
  const auto extent = [](const Shape& shape, std::size_t axis) { return shape.rank() == 3 ? shape[axis] : 1; };
  const std::int64_t width = extent(a, 2), area = extent(a, 1) * width;
  const std::vector<std::int32_t> elements_a = config.a.logical_elements(), elements_b = config.b.logical_elements();
  std::vector<std::int32_t> place_in_b(static_cast<std::size_t>(b.elements()));
  for (std::size_t place = 0; place < elements_b.size(); ++place) {
    if (elements_b[place] >= 0)
      place_in_b[static_cast<std::size_t>(elements_b[place])] = static_cast<std::int32_t>(place);
  }
  AddPlaces places{std::vector<std::int32_t>(elements_a.size(), -1), std::vector<std::int32_t>(elements_b.size(), -1)};
  for (std::size_t place = 0; place < elements_a.size(); ++place) {
    const std::int64_t element = elements_a[place];
    if (element < 0 || element / area >= b[0]) continue;  // padding, or a channel that b does not have
    const std::int64_t row = element % area / width * config.stride, column = element % width * config.stride;
    const std::int64_t other = (element / area * extent(b, 1) + row) * extent(b, 2) + column;
    places.of_a[place] = place_in_b[static_cast<std::size_t>(other)];
    places.of_b[static_cast<std::size_t>(places.of_a[place])] = static_cast<std::int32_t>(place);
  }
  return places;
}

}  // namespace dptrain
