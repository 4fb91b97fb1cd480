#include "data/files/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>

namespace dptrain::test {

HttpServer::HttpServer(Handler handler) : handler_(std::move(handler)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, generic, size) != 0 || ::listen(listener_, 16) != 0 ||
      ::getsockname(listener_, generic, &size) != 0) {
    throw std::runtime_error("no loopback port");
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_loop(); });
}

HttpServer::~HttpServer() {
  stop_ = true;
  acceptor_.join();
  for (std::thread& connection : connections_) connection.join();
  ::close(listener_);
}

std::string HttpServer::url() const {
  return "http://127.0.0.1:" + std::to_string(port_) + "/";
}

std::vector<HttpAsk> HttpServer::asked() const {
  const std::lock_guard lock(mutex_);
  return asked_;
}

void HttpServer::accept_loop() {
  while (!stop_) {
    pollfd waiting = {listener_, POLLIN, 0};
    if (::poll(&waiting, 1, 20) <= 0) continue;
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) connections_.emplace_back([this, connection] { answer(connection); });
  }
}

void HttpServer::answer(int connection) {
  std::string text;
  char buffer[4096];
  while (text.find("\r\n\r\n") == std::string::npos) {
    const ssize_t got = ::recv(connection, buffer, sizeof buffer, 0);
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  HttpAsk ask;
  ask.path = text.substr(0, text.find(" HTTP/")).substr(text.find(' ') + 1);
  if (const auto at = text.find("Range: bytes="); at != std::string::npos) ask.from = std::stoul(text.substr(at + 13));
  {
    const std::lock_guard lock(mutex_);
    asked_.push_back(ask);
  }
  const HttpReply reply = handler_(ask);
  std::string out = "HTTP/1.1 " + std::to_string(reply.status) + " X\r\nConnection: close\r\nContent-Length: " +
                    std::to_string(reply.promise_bytes.value_or(reply.body.size())) + "\r\n" + reply.headers + "\r\n" +
                    reply.body;
  for (std::size_t done = 0; done < out.size();) {
    const ssize_t sent = ::send(connection, out.data() + done, out.size() - done, MSG_NOSIGNAL);
    if (sent <= 0) break;
    done += static_cast<std::size_t>(sent);
  }
  while (reply.hang && !stop_) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ::close(connection);
}

HttpReply serve(const std::string& bytes, const HttpAsk& ask) {
  if (!ask.from) return {.body = bytes, .headers = "", .promise_bytes = {}};
  const std::string size = std::to_string(bytes.size());
  if (*ask.from >= bytes.size())
    return {.status = 416, .body = "", .headers = "Content-Range: bytes */" + size + "\r\n", .promise_bytes = {}};
  return {.status = 206,
          .body = bytes.substr(*ask.from),
          .headers = "Content-Range: bytes " + std::to_string(*ask.from) + "-" + std::to_string(bytes.size() - 1) +
                     "/" + size + "\r\n",
          .promise_bytes = {}};
}

}  // namespace dptrain::test
