// Purpose: what all that looks for files, unpacks or reads them is told by its caller. Thread safety: a value.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/stop.h"
#include "spec/job_spec.h"

namespace dptrain {

struct DataOptions {
  bool offline = false;  ///< refuse to download
  /// One line of news (download progress, where found); may be empty.
  std::function<void(const std::string&)> progress = {};
  long network_timeout_seconds = 30;  ///< give a mirror up that does not connect or send for so long
  const StopRequest* stop = nullptr;  ///< polled by all that takes long; it then throws Stopped
  /// Of samples and members that are left out, from any thread and also after open_dataset(); may be empty.
  std::function<void(const std::string&)> warning = {};
  std::int64_t cache_bytes = DataSpec{}.cache_bytes;
  std::int64_t unpack_bytes = DataSpec{}.unpack_bytes;
};

/// A line of news, where anybody listens.
inline void tell(const DataOptions& options, const std::string& line) {
  if (options.progress) options.progress(line);
}

}  // namespace dptrain
