// How the host waits for what may depend on peers, and whom it blames.
#include <algorithm>
#include <thread>

#include "core/error.h"
#include "train/cuda/nccl_reducer.h"

namespace dptrain {

void NcclReducer::wait(int rank, const cuda::Event& event) const {
  using Clock = std::chrono::steady_clock;
  constexpr int kEager = 2000;  // a step's end is usually near; a peer that is lost is never in a hurry
  for (int tries = 0; tries < kEager; ++tries)
    if (event.reached()) return;
  std::chrono::nanoseconds waited{0};
  for (Clock::time_point before = Clock::now(); !event.reached();) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    if (group_.aborted()) throw GroupAborted{};
    const Clock::time_point now = Clock::now();
    waited +=
        std::min<std::chrono::nanoseconds>(now - before, std::chrono::seconds(1));  // longer: it was stopped itself
    before = now;
    const std::string error = communicator(rank).async_error();
    // What NCCL says of a rank that has given up is not why: that comes with the news.
    constexpr std::chrono::seconds kForNews(1);
    for (const auto noticed = Clock::now();
         !error.empty() && size_ > here_.count() && !group_.aborted() && Clock::now() - noticed < kForNews;)
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    if (group_.aborted()) throw GroupAborted{};
    const std::string why = !error.empty()                    ? "NCCL says " + error
                            : waited > options_.step_deadline ? why_late(rank, waited)
                                                              : "";
    if (why.empty()) continue;
    // The group, and other processes, learn it before the others are woken, who would only say that they were.
    const std::string text = fmt::format("replica {} (GPU {}): {}", rank, device(rank), why);
    group_.abort(std::make_exception_ptr(Error(ExitStatus::retry, text)));
    if (options_.processes != nullptr) options_.processes->fail(ExitStatus::retry, text);
    nccl_->abort(text);
    throw GroupAborted{};
  }
}

/// What has not come to its end since the deadline; empty while it may be for another to say: the one whose own kernels
/// hang knows it, and those that wait for its gradients give it a little time.
std::string NcclReducer::why_late(int rank, std::chrono::nanoseconds waited) const {
  constexpr std::chrono::seconds kLatest(1);
  const Member& m = member(rank);
  const double seconds = std::chrono::duration<double>(options_.step_deadline).count();
  const std::string late = fmt::format("did not end within {:g} s", seconds);
  const std::int64_t collected =
      m.step - (kSteps - 1);  // or later: its losses are known, and the replica's slot may be another's
  for (std::int64_t step = std::max<std::int64_t>(0, collected); step <= m.step; ++step) {
    const Stages& stages = m.at(step);
    if (step > collected && !stages.computed->reached()) break;
    const auto& reduced = stages.reduced;
    const auto bucket = std::find_if(reduced.begin(), reduced.end(), [](const cuda::Event& e) { return !e.reached(); });
    if (bucket == reduced.end() && stages.updated.reached()) continue;
    if (waited < options_.step_deadline + kLatest) return "";
    const std::string what = bucket == reduced.end() ? "the exchange of new parameters"
                                                     : fmt::format("the reduction of bucket {} of {}",
                                                                   bucket - reduced.begin() + 1, reduced.size());
    return fmt::format("{} of its step {} {}; a peer may be lost", what, step, late);
  }
  return "its own kernels " + late;
}

}  // namespace dptrain
