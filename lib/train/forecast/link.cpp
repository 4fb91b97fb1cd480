#include "train/forecast/link.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "core/error.h"

namespace dptrain {

namespace {

struct Unit {
  std::string_view name;
  double factor;
};
constexpr std::array kRates = {Unit{"Tbit", 1e12 / 8}, Unit{"Gbit", 1e9 / 8}, Unit{"Mbit", 1e6 / 8},
                               Unit{"kbit", 1e3 / 8},  Unit{"bit", 1.0 / 8},  Unit{"GB", 1e9},
                               Unit{"MB", 1e6},        Unit{"kB", 1e3}};
constexpr std::array kTimes = {Unit{"ns", 1e-9}, Unit{"us", 1e-6}, Unit{"ms", 1e-3}, Unit{"s", 1.0}};

[[noreturn]] void refuse(const std::string& text) {
  fail(ExitStatus::usage,
       "--link takes a rate and a latency above 0, such as 100Gbit,5us (bit, kbit, Mbit, Gbit, Tbit, kB, MB, GB a "
       "second; ns, us, ms, s), not '{}'",
       text);
}

template <std::size_t N>
double read_quantity(std::string_view part, const std::array<Unit, N>& units, const std::string& text) {
  while (part.starts_with(' ')) part.remove_prefix(1);
  while (part.ends_with(' ')) part.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
  std::string_view unit = part.substr(static_cast<std::size_t>(end - part.data()));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  if (error != std::errc() || !std::isfinite(value) || value <= 0) refuse(text);
  for (const Unit& known : units) {
    if (known.name != unit) continue;
    const double quantity = value * known.factor;
    if (!std::isfinite(quantity) || quantity <= 0) refuse(text);
    return quantity;
  }
  refuse(text);
}

}  // namespace

Link read_link(const std::string& text) {
  const std::string_view whole = text;
  const std::size_t comma = whole.find(',');
  if (comma == std::string_view::npos) refuse(text);
  std::string_view rate = whole.substr(0, comma);
  if (rate.ends_with("/s")) rate.remove_suffix(2);
  return {.bytes_per_second = read_quantity(rate, kRates, text),
          .latency = read_quantity(whole.substr(comma + 1), kTimes, text)};
}

std::string link_text(const Link& link) {
  const double gigabits = link.bytes_per_second * 8 / 1e9;
  const std::string rate =
      gigabits >= 1 ? fmt::format("{:g} Gbit/s", gigabits) : fmt::format("{:g} Mbit/s", gigabits * 1e3);
  return link.latency < 1e-3 ? fmt::format("{}, {:g} us", rate, link.latency * 1e6)
                             : fmt::format("{}, {:g} ms", rate, link.latency * 1e3);
}

double exchange_seconds(const Link& link, int processes, std::int64_t bytes) {
  if (processes < 2) return 0;
  return (processes - 1) * link.latency + static_cast<double>(bytes) / link.bytes_per_second;
}

}  // namespace dptrain
