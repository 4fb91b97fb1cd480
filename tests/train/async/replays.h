// Purpose: replays of recorded runs, for tests. Thread safety: none.
#pragma once

#include <fstream>
#include <string>

#include "train/async/async_jobs.h"
#include "train/async/record/record.h"
#include "train/async/record/replay.h"

namespace dptrain::test {

inline void check_replays(JobSpec job, const std::filesystem::path& folder, const Summary& recorded,
                          std::int64_t first_step = 0, std::int64_t samples = kAsyncSamples) {
  for (const std::int64_t replicas : {1, 2, 4}) {
    job.devices.count = replicas;
    const ReplayResult result = replay(job, async_data(samples), record_file(folder));
    CHECK(result.weights_hash == recorded.weights_hash);
    CHECK(result.versions == recorded.async->versions);
    CHECK(result.dropped == recorded.async->dropped);
    CHECK(result.first_step == first_step);
  }
}

inline std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string replay_failure(const JobSpec& job, const std::filesystem::path& file) {
  try {
    replay(job, async_data(), file);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::failed);
    return error.what();
  }
  return "no error";
}

}  // namespace dptrain::test
