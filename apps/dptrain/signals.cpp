#include "dptrain/signals.h"

namespace dptrain {

namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};

StopRequest stop_request{0};

void request_stop(int signal) {
  int none = 0;  // the first one says how the process ends
  stop_request.compare_exchange_strong(none, signal, std::memory_order_relaxed);
}

}  // namespace

const StopRequest& listen_to_signals() {
  for (const int signal : kSignals) {
    struct sigaction action = {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;  // `nohup`, `trap '' INT`
    action = {};
    action.sa_handler = request_stop;
    action.sa_flags = SA_RESTART | SA_RESETHAND;
    sigaction(signal, &action, nullptr);
  }
  return stop_request;
}

Listening::Listening() {
  for (std::size_t k = 0; k < kSignals.size(); ++k) sigaction(kSignals[k], nullptr, &before_[k]);
  listen_to_signals();
}

Listening::~Listening() {
  for (std::size_t k = 0; k < kSignals.size(); ++k) sigaction(kSignals[k], &before_[k], nullptr);
}

const StopRequest& Listening::stop() const {
  return stop_request;
}

void stop_as(int signal) {
  request_stop(signal);
}

int stopped_status() {
  return 128 + stop_request.load();
}

}  // namespace dptrain
