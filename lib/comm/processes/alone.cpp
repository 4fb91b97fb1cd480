#include <unistd.h>

#include <cstring>

#include "comm/communicator.h"

namespace dptrain {

namespace {

class Alone final : public Communicator {
 public:
  Alone() : members_(1) {
    char name[256] = "this host";
    gethostname(name, sizeof name - 1);
    members_.front().host = name;
  }
  int rank() const override { return 0; }
  const std::vector<Member>& members() const override { return members_; }
  void host_barrier() override {}
  void all_gather(const void* mine, std::size_t bytes, void* all) override { std::memcpy(all, mine, bytes); }
  void exchange(std::span<const Message> sends, std::span<const Message> receives) override {
    DPTRAIN_CHECK(sends.empty() && receives.empty(), "messages, and nobody to send them to");
  }
  Buffer share(std::size_t bytes) override { return Buffer::host(bytes); }
  std::vector<std::unique_ptr<Connection>> connections(std::span<const ConnectionEnds> ends) override {
    return std::vector<std::unique_ptr<Connection>>(ends.size());
  }
  void set_deadline(double) override {}
  void at_step(std::int64_t) noexcept override {}
  void fail(ExitStatus, const std::string&) noexcept override {}
  void listen(std::function<void(const News&)>) override {}
  const News* news() const override { return nullptr; }
  void let_first_end() noexcept override {}
  void close() override {}

 private:
  std::vector<Member> members_;
};

}  // namespace

std::unique_ptr<Communicator> make_alone() {
  return std::make_unique<Alone>();
}

std::vector<int> Communicator::hosts() const {
  std::vector<int> firsts;
  for (int r = 0; r < size(); ++r)
    if (members()[static_cast<std::size_t>(r)].host_first == r) firsts.push_back(r);
  return firsts;
}

}  // namespace dptrain
