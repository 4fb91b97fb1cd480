#include "nn/evaluation_views.h"

#include "core/error.h"

namespace dptrain {

namespace {

std::vector<ImageView> views_of(std::int64_t count) {
  DPTRAIN_CHECK(count == 1 || count == 2 || count == 6, "{} views", count);
  if (count == 1) return {};
  const float weight = count == 2 ? 0.5f : 0.25f;
  std::vector<ImageView> views{{.weight = weight}, {.mirrored = true, .weight = weight}};
  if (count == 2) return views;
  for (const std::int64_t move : {-1, 1}) {
    for (const bool mirrored : {false, true})
      views.push_back({.down = move, .right = move, .mirrored = mirrored, .weight = weight / 2});
  }
  return views;
}

}  // namespace

EvaluationViews::EvaluationViews(Kernels& kernels, std::int64_t count, const Shape& sample, std::int64_t outputs,
                                 std::int64_t largest)
    : kernels_(kernels), sample_(sample), outputs_(outputs), views_(views_of(count)) {
  if (!are_many()) return;
  DPTRAIN_CHECK(sample.rank() == 3, "views of samples of {}", sample.text());
  seen_ = kernels.allocate(static_cast<std::size_t>(largest * sample.elements()) * sizeof(float));
  sum_ = kernels.allocate(static_cast<std::size_t>(largest * outputs) * sizeof(float));
}

const float* EvaluationViews::see(const ImageView& view, std::int64_t batch, const float* x) {
  if (view.down == 0 && view.right == 0 && !view.mirrored) return x;
  kernels_.see_view(batch * sample_[0],
                    {.view = view, .height = sample_[1], .width = sample_[2], .x = x, .y = seen_.floats()});
  return seen_.floats();
}

void EvaluationViews::add(const ImageView& view, std::int64_t batch, const float* outputs) {
  kernels_.add_view(batch * outputs_,
                    {.weight = view.weight, .first = &view == &views_.front(), .x = outputs, .sum = sum_.floats()});
}

}  // namespace dptrain
