#include "data/files/http.h"

#include <curl/curl.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>

#include "core/error.h"

namespace dptrain {
namespace {

using Clock = std::chrono::steady_clock;

struct Transfer {
  const HttpRequest& request;
  std::FILE* file = nullptr;
  std::int64_t have = 0;  // bytes in the file
  bool too_large = false;
  int write_error = 0;
  Clock::time_point reported = Clock::now();
};

std::size_t on_bytes(char* bytes, std::size_t size, std::size_t count, void* user) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  const std::size_t arrived = size * count;
  if (transfer.have + static_cast<std::int64_t>(arrived) > transfer.request.most_bytes) {
    transfer.too_large = true;
    return 0;
  }
  if (std::fwrite(bytes, 1, arrived, transfer.file) != arrived) {
    transfer.write_error = errno;
    return 0;
  }
  transfer.have += static_cast<std::int64_t>(arrived);
  return arrived;
}

int on_progress(void* user, curl_off_t total, curl_off_t now, curl_off_t, curl_off_t) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  if (transfer.request.progress && now > 0 && Clock::now() - transfer.reported >= std::chrono::seconds(1)) {
    transfer.reported = Clock::now();
    transfer.request.progress(transfer.have, total > 0 ? transfer.have - now + total : 0);
  }
  return stop_asked(transfer.request.stop) ? 1 : 0;
}

/// One request from byte `transfer.have` on.
CURLcode perform(Transfer& transfer, std::string& message, long& status) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);  // once a process; static: by one thread
  if (ready != CURLE_OK) fail(ExitStatus::failed, "libcurl cannot start: {}", curl_easy_strerror(ready));
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  if (!curl) fail(ExitStatus::failed, "libcurl cannot start");
  char detail[CURL_ERROR_SIZE] = "";
  const auto set = [&](auto option, auto value) { curl_easy_setopt(curl.get(), option, value); };
  set(CURLOPT_URL, transfer.request.url.c_str());
#if LIBCURL_VERSION_NUM >= 0x075500
  set(CURLOPT_PROTOCOLS_STR, "http,https,file");
  set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
#else
  set(CURLOPT_PROTOCOLS, long{CURLPROTO_HTTP | CURLPROTO_HTTPS | CURLPROTO_FILE});
  set(CURLOPT_REDIR_PROTOCOLS, long{CURLPROTO_HTTP | CURLPROTO_HTTPS});
#endif
  set(CURLOPT_USERAGENT, "dptrain");
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, 5L);
  set(CURLOPT_FAILONERROR, 1L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, transfer.request.timeout_seconds);
  set(CURLOPT_LOW_SPEED_LIMIT, 16L);  // bytes a second
  set(CURLOPT_LOW_SPEED_TIME, transfer.request.timeout_seconds);
  set(CURLOPT_ERRORBUFFER, &detail[0]);
  set(CURLOPT_WRITEFUNCTION, on_bytes);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, on_progress);
  set(CURLOPT_XFERINFODATA, &transfer);
  set(CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(transfer.have));
  const CURLcode code = curl_easy_perform(curl.get());
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  message = detail[0] != '\0' ? &detail[0] : curl_easy_strerror(code);
  return code;
}

}  // namespace

HttpResult http_get(const HttpRequest& request) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(request.file.c_str(), "abe"), std::fclose);
  if (!file) fail(ExitStatus::data, "{}: cannot be written: {}", request.file.string(), std::strerror(errno));
  Transfer transfer{.request = request, .file = file.get()};
  transfer.have = static_cast<std::int64_t>(std::filesystem::file_size(request.file));

  HttpResult result{.error = "", .resumed = transfer.have > 0};
  std::string message;
  long status = 0;
  CURLcode code = perform(transfer, message, status);
  // 416: nothing is left to send, or the file on the server is another one. The caller's hash tells.
  if (result.resumed && code == CURLE_HTTP_RETURNED_ERROR && status == 416) code = CURLE_OK;
  // From the start where the server cannot resume, or has a shorter file than what is here already.
  if (result.resumed && (code == CURLE_RANGE_ERROR || code == CURLE_BAD_DOWNLOAD_RESUME)) {
    result.resumed = false;
    std::filesystem::resize_file(request.file, 0);
    transfer.have = 0;
    code = perform(transfer, message, status);
  }
  if (std::fflush(file.get()) != 0 && transfer.write_error == 0) transfer.write_error = errno;
  if (transfer.write_error != 0) {
    fail(ExitStatus::data, "{}: cannot be written: {}", request.file.string(), std::strerror(transfer.write_error));
  }
  throw_if_stopped(request.stop);
  if (transfer.too_large) {
    std::filesystem::resize_file(request.file, 0);  // nothing to go on from
    result.error = fmt::format("the server sends more than the {} bytes that the file can have", request.most_bytes);
  } else if (code != CURLE_OK) {
    result.error = message;
  }
  return result;
}

}  // namespace dptrain
