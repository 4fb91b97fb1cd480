// Purpose: how long threads take that share cores. Thread safety: a pure function.
#pragma once

#include <vector>

namespace dptrain {

/// What an operating system lets a thread run for, about, while another one waits for its core.
inline constexpr double kTimeSlice = 3e-3;

/// When the last of these threads is done, each with so many seconds of work of its own: a core takes the thread that
/// has waited longest,
/// and gives it up when it is done or has had `slice` seconds. Work below a slice is therefore not split: three threads
/// of a millisecond take two on two cores, three of a second take one and a half.
double shared_cores_seconds(const std::vector<double>& work, int cores, double slice = kTimeSlice);

}  // namespace dptrain
