#include "nn/parameters.h"

#include <algorithm>
#include <cstring>

#include "core/hash.h"
#include "nn/initialise.h"

namespace dptrain {

ParameterTable::ParameterTable(std::vector<Parameter> parameters) : all_(std::move(parameters)) {
  constexpr std::int64_t kAlign = 64 / sizeof(float);
  for (Parameter& p : all_) {
    p.offset = floats_;
    floats_ += (p.desc.stored_floats + kAlign - 1) / kAlign * kAlign;
  }
}

std::vector<const Parameter*> ParameterTable::by_name() const {
  std::vector<const Parameter*> sorted;
  for (const Parameter& p : all_) sorted.push_back(&p);
  std::sort(sorted.begin(), sorted.end(), [](const Parameter* a, const Parameter* b) { return a->name < b->name; });
  return sorted;
}

std::int64_t ParameterTable::elements() const {
  std::int64_t sum = 0;
  for (const Parameter& p : all_) sum += p.desc.role == ParameterRole::statistic ? 0 : p.desc.shape.elements();
  return sum;
}

void ParameterTable::initialise(std::uint64_t seed, float* flat) const {
  for (const Parameter& p : all_) set_canonical(p, initial_values(p.desc, seed, p.layer, p.index).data(), flat);
}

std::vector<float> ParameterTable::canonical(const Parameter& p, const float* flat) const {
  std::vector<float> values(static_cast<std::size_t>(p.desc.shape.elements()));
  copy_canonical(p, flat, values.data());
  return values;
}

void ParameterTable::copy_canonical(const Parameter& p, const float* flat, float* values) const {
  if (p.desc.packer != nullptr)
    p.desc.packer->unpack(flat + p.offset, values);
  else
    std::memcpy(values, flat + p.offset, static_cast<std::size_t>(p.desc.shape.elements()) * sizeof(float));
}

void ParameterTable::set_canonical(const Parameter& p, const float* canonical, float* flat) const {
  if (p.desc.packer != nullptr)
    p.desc.packer->pack(canonical, flat + p.offset);
  else
    std::memcpy(flat + p.offset, canonical, static_cast<std::size_t>(p.desc.shape.elements()) * sizeof(float));
}

std::string ParameterTable::hash(const float* flat) const {
  Hash128 hash;
  for (const Parameter* p : by_name()) {
    const std::vector<float> values = canonical(*p, flat);
    hash.update(values.data(), values.size() * sizeof(float));
  }
  return hash.hex();
}

UpdateRanges update_ranges(const ParameterTable& table, DecayOn decay) {
  UpdateRanges ranges;
  const std::vector<Parameter>& all = table.all();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::int64_t end = i + 1 < all.size() ? all[i + 1].offset : table.floats();
    UpdateRange range{.first = all[i].offset, .count = end - all[i].offset};
    if (all[i].desc.is_fixed()) {
      range.treatment = Treatment::statistic;
    } else if (all[i].desc.role == ParameterRole::statistic) {
      range.treatment = Treatment::statistic;
      range.statistic_rate = static_cast<float>(all[i].desc.statistic_rate);
    } else if (decay == DecayOn::weights && all[i].desc.role != ParameterRole::weight) {
      range.treatment = Treatment::undecayed;
    }
    UpdateRange* last = ranges.empty() ? nullptr : &ranges.back();
    if (last != nullptr && last->treatment == range.treatment && last->statistic_rate == range.statistic_rate) {
      last->count += range.count;
    } else {
      ranges.push_back(range);
    }
  }
  if (ranges.size() == 1 && ranges.front().treatment == Treatment::decayed) ranges.clear();
  return ranges;
}

}  // namespace dptrain
