// What signals do to the built binary, while it trains and before.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <functional>

#include "apps/end_to_end.h"

namespace dptrain::test {

using nlohmann::json;

namespace {

/// A server that takes connections and never says a word: the kernel accepts for it.
class MuteServer {
 public:
  MuteServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener_, 8) == 0);
    REQUIRE(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/";
  }
  MuteServer(const MuteServer&) = delete;
  MuteServer& operator=(const MuteServer&) = delete;
  ~MuteServer() { ::close(listener_); }

  std::string url;

 private:
  int listener_;
};

}  // namespace

TEST_CASE("signals: the step that runs is the last; weights and summary are there; the status names the signal") {
  for (const auto& [signal, status] : {std::pair{SIGINT, 130}, {SIGTERM, 143}, {SIGHUP, 129}, {SIGUSR1, 138}}) {
    const Workplace here;
    Process process(here.command({"job.yaml", "--json", "--out", "run", "--set", "train.steps=100000000"}),
                    here.options());
    REQUIRE(eventually([&] { return has(read_text(here.folder / "run/metrics.jsonl"), "\"train\""); }));
    process.signal(signal);
    const Finished stopped = process.wait();
    CHECK(stopped.status == status);
    const json summary = json::parse(stopped.out);
    CHECK(summary["status"] == "stopped");
    CHECK(summary["test_loss"].is_number());
    const std::int64_t steps = summary["steps"];
    CHECK(steps >= 2);
    CHECK(steps < 100000000);
    CHECK(fs::exists(here.folder / "run/checkpoints" / ("step-" + std::to_string(steps)) / "model.safetensors"));
    CHECK(here.summary("run") == summary);
  }
}

TEST_CASE(
    "a signal in a save or an evaluation: the status names it, and the run goes on to the bits of one without it") {
  struct Moment {
    std::vector<std::string> settings;
    std::function<bool(const fs::path&)> reached;
  };
  const std::vector<Moment> moments = {
      {{"--set", "checkpoint.every=1 steps", "--set", "model.layers.1.linear=500"},
       [](const fs::path& run) {
         std::error_code error;
         for (const auto& entry : fs::directory_iterator(run / "checkpoints", error)) {
           if (entry.path().extension() == ".tmp") return true;
         }
         return false;
       }},
      {{"--set", "evaluate.every=1 steps", "--set", "dataset.test_samples=20000"},
       [](const fs::path& run) { return has(read_text(run / "metrics.jsonl"), "\"evaluate\""); }}};
  for (const Moment& moment : moments) {
    for (const auto& [signal, status] : {std::pair{SIGINT, 130}, {SIGTERM, 143}, {SIGHUP, 129}, {SIGUSR1, 138}}) {
      const Workplace here;
      const auto arguments = [&](std::int64_t steps, const std::string& out) {
        std::vector<std::string> all = {
            "job.yaml", "--json", "--resume", "--out", out, "--set", "train.steps=" + std::to_string(steps)};
        all.insert(all.end(), moment.settings.begin(), moment.settings.end());
        return all;
      };
      Process process(here.command(arguments(100000000, "run")), here.options());
      REQUIRE(eventually([&] { return moment.reached(here.folder / "run"); }));
      process.signal(signal);
      const Finished stopped = process.wait();
      INFO(stopped.err);
      CHECK(stopped.status == status);
      const json summary = json::parse(stopped.out);
      CHECK(summary["status"] == "stopped");
      const std::int64_t steps = summary["steps"];
      const Finished resumed = here.dptrain(arguments(steps + 3, "run"));
      CHECK(resumed.status == 0);
      CHECK_FALSE(has(resumed.err, "warning"));
      const Finished whole = here.dptrain(arguments(steps + 3, "whole"));
      CHECK(json::parse(resumed.out)["weights_hash"] == json::parse(whole.out)["weights_hash"]);
      CHECK(json::parse(resumed.out)["test_loss"] == json::parse(whole.out)["test_loss"]);
    }
  }
}

TEST_CASE("a second SIGINT ends the process at once; another signal after the first does not change the status") {
  // A step takes seconds, in which only a signal's usual effect can end the process.
  const std::vector<std::string> slow = {
      "job.yaml",  "--json",
      "--out",     "run",
      "--devices", "1",
      "--set",     "dataset.train_samples=8192",
      "--set",     "train.global_batch_size=8192",
      "--set",     "train.micro_batch_size=2048",
      "--set",     "train.steps=1000",
      "--set",     "model.layers=[flatten, {linear: 2048}, relu, {linear: 2048}, relu, {linear: 10}]"};
  {
    const Workplace here;
    Process process(here.command(slow), here.options());
    REQUIRE(eventually([&] { return has(read_text(here.folder / "run/metrics.jsonl"), "\"start\""); }));
    process.signal(SIGINT);
    REQUIRE(eventually([&] { return !process.handles(SIGINT); }));  // it has had the first
    process.signal(SIGINT);
    const Finished ended = process.wait();
    CHECK(ended.status == 130);
    CHECK(ended.out.empty());
    CHECK_FALSE(fs::exists(here.folder / "run/summary.json"));
  }
  const Workplace here;
  Process process(here.command({"job.yaml", "--json", "--out", "run", "--set", "train.steps=100000000", "--set",
                                "train.micro_batch_size=32"}),
                  here.options());
  REQUIRE(eventually([&] { return has(read_text(here.folder / "run/metrics.jsonl"), "\"train\""); }));
  process.signal(SIGUSR1);
  process.signal(SIGTERM);
  const Finished ended = process.wait();
  CHECK((ended.status == 138 || ended.status == 143));  // the kernel chooses which of two is delivered first
  CHECK(json::parse(ended.out)["status"] == "stopped");
}

TEST_CASE("a signal while digits are generated: nothing is trained, no run folder is left, and --json says why") {
  for (const auto& [signal, status] : {std::pair{SIGINT, 130}, {SIGTERM, 143}, {SIGUSR1, 138}}) {
    const Workplace here;
    // Far more than a machine draws before the signal; the memory is not touched before it is drawn.
    Process process(here.command({"job.yaml", "--json", "--out", "run", "--set", "dataset.train_samples=3000000"}),
                    here.options());
    REQUIRE(eventually([&] { return fs::exists(here.folder / "run"); }));
    process.signal(signal);
    const Finished stopped = process.wait();
    INFO(stopped.err);
    CHECK(stopped.status == status);
    const json summary = json::parse(stopped.out);
    CHECK(summary["status"] == "stopped");
    CHECK(summary["error"] == "ended by signal " + std::to_string(signal) + " before its first step");
    CHECK(summary["name"] == "small");
    CHECK(summary["steps"] == 0);
    for (const std::string& key : summary_keys) CHECK_MESSAGE(summary.contains(key), key);
    CHECK_FALSE(fs::exists(here.folder / "run"));
  }
}

TEST_CASE("a signal while a server stalls: the download ends, and no run folder is left") {
  const Workplace here;
  const MuteServer server;
  std::string text = read_text(DPTRAIN_SOURCE_DIR "/datasets/mnist.yaml");
  const auto replace = [&](const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
  };
  replace("name: mnist", "name: absent");
  replace("mirrors:\n", "mirrors:\n  - \"" + server.url + "\"\n");
  fs::create_directories(here.folder / "descriptors");
  write_text(here.folder / "descriptors/absent.yaml", text);

  Process process(
      here.command({"job.yaml", "--json", "--out", "run", "--set", "dataset={name: absent}"}),
      here.options({{"DPTRAIN_DATASETS", (here.folder / "descriptors").string()}, {"no_proxy", "127.0.0.1"}}));
  const fs::path part = here.folder / "cache/dptrain/datasets/absent/train-images-idx3-ubyte.part.gz";
  REQUIRE(eventually([&] { return fs::exists(part); }));
  process.signal(SIGTERM);
  const Finished stopped = process.wait();
  INFO(stopped.err);
  CHECK(stopped.status == 143);  // where it waits for the server to the end, 3
  CHECK_FALSE(fs::exists(here.folder / "run"));
}

TEST_CASE("a signal that the caller has us ignore is ignored") {
  const Workplace here;
  Process process(
      {"sh", "-c", "trap '' INT; exec '" DPTRAIN_BINARY "' job.yaml --json --out run --set train.steps=400"},
      here.options());
  REQUIRE(eventually([&] { return has(read_text(here.folder / "run/metrics.jsonl"), "\"start\""); }));
  process.signal(SIGINT);
  const Finished done = process.wait();
  CHECK(done.status == 0);
  CHECK(json::parse(done.out)["steps"] == 400);
}

}  // namespace dptrain::test
