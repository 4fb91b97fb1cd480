// Purpose: fetches one URL into a file over HTTP(S) with libcurl, going on where an earlier try stopped. A build
//   without libcurl refuses (http_none.cpp).
// Thread safety: any number of calls at once, to different files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "core/stop.h"

namespace dptrain {

struct HttpRequest {
  std::string url;
  std::filesystem::path file;   ///< bytes are appended here; what it holds already is not asked for again
  std::int64_t most_bytes = 0;  ///< stop a server that sends more
  long timeout_seconds = 30;    ///< to connect, and the longest time in which next to nothing arrives
  std::function<void(std::int64_t have, std::int64_t total)> progress;  ///< at most about once a second; may be empty
  const StopRequest* stop = nullptr;                                    ///< polled about once a second
};

struct HttpResult {
  std::string error;     ///< empty: the file is complete
  bool resumed = false;  ///< the server sent only what was missing
};

/// Never throws for what the network does; what arrived stays in the file for the next try.
/// Errors: the file cannot be written, this build has no libcurl (data); Stopped.
HttpResult http_get(const HttpRequest& request);

}  // namespace dptrain
