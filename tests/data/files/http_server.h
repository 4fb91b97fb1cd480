// A tiny HTTP server on the loopback, inside the test, that can also misbehave.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace dptrain::test {

struct HttpReply {
  int status = 200;
  std::string body;
  std::string headers;                       ///< whole lines, each with its end
  std::optional<std::size_t> promise_bytes;  ///< Content-Length where it shall lie
  bool hang = false;                         ///< send no more after the body, until the server ends
};

struct HttpAsk {
  std::string path;
  std::optional<std::size_t> from;  ///< Range: bytes=FROM-
};

class HttpServer {
 public:
  using Handler = std::function<HttpReply(const HttpAsk&)>;
  explicit HttpServer(Handler handler);
  ~HttpServer();
  /// "http://127.0.0.1:PORT/"
  std::string url() const;
  /// What was asked so far.
  std::vector<HttpAsk> asked() const;

 private:
  void accept_loop();
  void answer(int connection);

  Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stop_ = false;
  mutable std::mutex mutex_;
  std::vector<HttpAsk> asked_;
  std::vector<std::thread> connections_;
  std::thread acceptor_;
};

/// 200 with all of `bytes`, or 206 with the part that was asked for, or 416.
HttpReply serve(const std::string& bytes, const HttpAsk& ask);

}  // namespace dptrain::test
