#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <thread>

#include "core/error.h"
#include "data/data_files.h"
#include "data/descriptors.h"
#include "data/files/fetch.h"
#include "data/files/http_server.h"
#include "data/open/open.h"

namespace dptrain::test {
namespace {

const std::string kImages = "train-images-idx3-ubyte";

/// The tiny files, gzipped, by path.
std::map<std::string, std::string> tiny_site() {
  const TinyFiles files;
  return {{"/" + kImages + ".gz", gzip(files.train_images)},
          {"/train-labels-idx1-ubyte.gz", gzip(files.train_labels)},
          {"/t10k-images-idx3-ubyte.gz", gzip(files.test_images)},
          {"/t10k-labels-idx1-ubyte.gz", gzip(files.test_labels)}};
}

HttpServer::Handler site(std::map<std::string, std::string> files = tiny_site()) {
  return [files = std::move(files)](const HttpAsk& ask) {
    const auto found = files.find(ask.path);
    return found == files.end() ? HttpReply{.status = 404, .body = "not here", .headers = "", .promise_bytes = {}}
                                : serve(found->second, ask);
  };
}

/// A good site but for the training images.
HttpServer::Handler images_by(HttpServer::Handler other) {
  return [good = site(), other = std::move(other)](const HttpAsk& ask) {
    return ask.path == "/" + kImages + ".gz" ? other(ask) : good(ask);
  };
}

DatasetPair open_tiny(const DataOptions& options = {}) {
  DatasetSpec spec;
  spec.name = "tiny";
  return open_dataset(spec, options);
}

std::string failure(const DataOptions& options = {}) {
  try {
    open_tiny(options);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::data);
    return error.what();
  }
  FAIL_CHECK("it opened");
  return "";
}

void check_in_cache(const TinyMachine& machine) {
  const TinyFiles files;
  CHECK(read_text(machine.cache() / kImages) == files.train_images);
  CHECK(read_text(machine.cache() / "t10k-labels-idx1-ubyte") == files.test_labels);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(machine.cache())) names.push_back(entry.path().filename().string());
  CHECK(names.size() == 5);  // the four and the lock
}

TEST_CASE("a dataset that is nowhere is downloaded, and found the next time") {
  const HttpServer server(site());
  const TinyMachine machine({server.url()});
  std::vector<std::string> news;
  const DatasetPair pair = open_tiny({.progress = [&](const std::string& line) { news.push_back(line); }});
  CHECK(pair.train->size() == 3);
  CHECK(pair.location == machine.cache().string());
  check_in_cache(machine);
  REQUIRE(news.size() == 8);
  CHECK(news[0] == "downloading " + server.url() + kImages + ".gz");
  CHECK(news[1] == (machine.cache() / kImages).string() + ": in place, hash checked");

  CHECK(open_tiny({.offline = true, .progress = {}}).train->size() == 3);
  CHECK(server.asked().size() == 4);
}

TEST_CASE("an archive is fetched under its own name and kept as it is, once its hash is right") {
  const std::string archive = gzip("packed"), wrong = gzip("other!");
  const HttpServer bad(site({{"/pack.tar.gz", wrong}})), good(site({{"/pack.tar.gz", archive}}));
  const TinyMachine machine;
  put(machine.descriptor().parent_path() / "pack.yaml",
      "name: pack\ntitle: packed\nformat: image_tar\nfolder: elsewhere\nshape: [3, 8, 8]\nclasses: 2\ntrain_samples: "
      "3\n"
      "test_samples: 2\nmean: [0, 0, 0]\nstd: [1, 1, 1]\nmirrors: [\"" +
          bad.url() + "\", \"" + good.url() + "\"]\nfiles: [{role: archive, name: pack.tar.gz, bytes: " +
          std::to_string(archive.size()) + ", sha256: " + sha256(archive) + "}]\n");
  const fs::path folder = machine.cache().parent_path() / "pack";
  for (int round = 0; round < 2; ++round) {
    CHECK(fetch_dataset(find_descriptor("pack"), {}) == folder);
    CHECK(read_text(folder / "pack.tar.gz") == archive);
    CHECK(good.asked().size() == 1);
  }
  put(machine.root() / "data" / "elsewhere" / "pack.tar.gz", wrong);
  CHECK_THROWS_AS(fetch_dataset(find_descriptor("pack"), {}), Error);  // the user's own, and not as described
}

TEST_CASE("offline refuses before anything is asked or written") {
  const HttpServer server(site());
  const TinyMachine machine({server.url()});
  CHECK(failure({.offline = true, .progress = {}}).find("--offline forbids to download it") != std::string::npos);
  CHECK(server.asked().empty());
  CHECK(!fs::exists(machine.cache()));
}

TEST_CASE("a download goes on where it stopped") {
  const HttpServer server(site());
  const TinyMachine machine({server.url()});
  const std::string whole = tiny_site()["/" + kImages + ".gz"];
  put(machine.cache() / (kImages + ".part.gz"), whole.substr(0, 20));
  open_tiny();
  check_in_cache(machine);
  CHECK(server.asked()[0].from == 20);
  CHECK(server.asked().size() == 4);
}

TEST_CASE("a download that stopped at its very end is complete") {
  const HttpServer server(site());
  const TinyMachine machine({server.url()});
  put(machine.cache() / (kImages + ".part.gz"), tiny_site()["/" + kImages + ".gz"]);
  open_tiny();
  check_in_cache(machine);
  CHECK(server.asked().size() == 4);
}

TEST_CASE("a bad beginning is thrown away and fetched anew") {
  const HttpServer server(site());
  const TinyMachine machine({server.url()});
  put(machine.cache() / (kImages + ".part.gz"), "this is not the start of it");
  open_tiny();
  check_in_cache(machine);
  REQUIRE(server.asked().size() == 5);
  CHECK(server.asked()[0].from == 27);
  CHECK(!server.asked()[1].from);
}

TEST_CASE("a server that cannot resume sends it all") {
  const HttpServer server([](const HttpAsk& ask) { return site()({ask.path, {}}); });
  const TinyMachine machine({server.url()});
  put(machine.cache() / (kImages + ".part.gz"), tiny_site()["/" + kImages + ".gz"].substr(0, 20));
  open_tiny();
  check_in_cache(machine);
}

TEST_CASE("what one mirror does not have the next one serves") {
  const HttpServer empty(site({}));
  const HttpServer good(site());
  const TinyMachine machine({empty.url(), good.url()});
  open_tiny();
  check_in_cache(machine);
  CHECK(empty.asked().size() == 4);
}

TEST_CASE("a wrong hash is refused, and nothing is left in the place of the file") {
  TinyFiles other;
  other.train_images.back() = 'x';
  const HttpServer server(images_by([&](const HttpAsk& ask) { return serve(gzip(other.train_images), ask); }));
  const TinyMachine machine({server.url()});
  const std::string text = failure();
  CHECK(text.find("tiny: no mirror served " + kImages + ":\n  " + server.url() + kImages + ".gz: expected SHA-256 " +
                  sha256(TinyFiles().train_images) + ", found " + sha256(other.train_images)) != std::string::npos);
  CHECK(!fs::exists(machine.cache() / kImages));
  CHECK(!fs::exists(machine.cache() / (kImages + ".part.gz")));
}

TEST_CASE("mirrors that misbehave are named with the reason") {
  const std::string whole = tiny_site()["/" + kImages + ".gz"];
  struct Row {
    const char* what;
    HttpServer::Handler handler;
    std::string reason;
  };
  const std::vector<Row> rows = {
      {"nothing there",
       [](const HttpAsk&) { return HttpReply{.status = 404, .body = "", .headers = "", .promise_bytes = {}}; },
       "The requested URL returned error: 404"},
      {"a page of text", [](const HttpAsk& ask) { return serve("<html>please log in</html>", ask); },
       "byte 0: expected a gzip file (1f 8b), as its name says"},
      {"fewer bytes than promised",
       [=](const HttpAsk&) {
         return HttpReply{.body = whole.substr(0, 30), .headers = "", .promise_bytes = whole.size()};
       },
       fmt::format("transfer closed with {} bytes remaining to read", whole.size() - 30)},
      {"a file that is cut", [=](const HttpAsk& ask) { return serve(whole.substr(0, 30), ask); },
       "the gzip data end too early; the file is truncated"},
      {"another file", [](const HttpAsk& ask) { return serve(gzip(std::string(5000, 'x')), ask); },
       "expected 28 bytes, found more"},
      {"a file without end", [](const HttpAsk& ask) { return serve(std::string(100'000, 'x'), ask); },
       "the server sends more than the 4124 bytes that the file can have"},
      {"a server that hangs",
       [=](const HttpAsk&) {
         return HttpReply{.body = whole.substr(0, 10), .headers = "", .promise_bytes = whole.size(), .hang = true};
       },
       "Operation too slow. Less than 16 bytes/sec transferred the last 1 seconds"},
      {"a way to a local file",
       [](const HttpAsk&) {
         return HttpReply{
             .status = 302, .body = "", .headers = "Location: file:///etc/passwd\r\n", .promise_bytes = {}};
       },
       "Protocol \"file\" not supported or disabled in libcurl"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    const HttpServer server(images_by(row.handler));
    const TinyMachine machine({server.url()});
    const std::string text = failure({.progress = {}, .network_timeout_seconds = 1});
    INFO(text);
    CHECK(text.find(server.url() + kImages + ".gz: ") != std::string::npos);
    CHECK(text.find(row.reason) != std::string::npos);
    CHECK(!fs::exists(machine.cache() / kImages));
  }
}

TEST_CASE("a stop request ends a download from a server that stalls, and the wait for another process") {
  StopRequest stop{0};
  const HttpServer server([&](const HttpAsk&) {
    stop = 15;
    return HttpReply{.body = "", .headers = "", .promise_bytes = 1000, .hang = true};
  });
  const TinyMachine machine({server.url()});
  CHECK_THROWS_AS(open_tiny({.progress = {}, .stop = &stop}), Stopped);

  stop = 0;
  const int lock = ::open((machine.cache() / ".lock").c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(::flock(lock, LOCK_EX) == 0);
  CHECK_THROWS_AS(open_tiny({.progress = [&](const std::string&) { stop = 15; }, .stop = &stop}), Stopped);
  ::close(lock);
}

TEST_CASE("nobody listens: every mirror is named") {
  const TinyMachine machine({"http://127.0.0.1:9/a/", "http://127.0.0.1:9/b/"});
  const std::string text = failure();
  CHECK(text.find("http://127.0.0.1:9/a/" + kImages + ".gz: ") != std::string::npos);
  CHECK(text.find("http://127.0.0.1:9/b/" + kImages + ".gz: ") != std::string::npos);
}

TEST_CASE("a cut download is finished by the next run") {
  const std::string whole = tiny_site()["/" + kImages + ".gz"];
  std::atomic<bool> cut = true;
  const HttpServer server(images_by([&](const HttpAsk& ask) {
    return cut ? HttpReply{.body = whole.substr(0, 30), .headers = "", .promise_bytes = whole.size()}
               : serve(whole, ask);
  }));
  const TinyMachine machine({server.url()});
  failure();
  cut = false;
  open_tiny();
  check_in_cache(machine);
  CHECK(server.asked()[1].from == 30);
}

TEST_CASE("fetch_dataset hashes what is there and fetches what does not match") {
  const HttpServer server(site());
  const TinyMachine machine({server.url()});
  const DatasetDescriptor descriptor = find_descriptor("tiny");
  CHECK(fetch_dataset(descriptor, {}) == machine.cache());
  CHECK(fetch_dataset(descriptor, {.offline = true, .progress = {}}) == machine.cache());
  CHECK(server.asked().size() == 4);
  TinyFiles other;
  other.test_labels.back() = '\0';
  put(machine.cache() / "t10k-labels-idx1-ubyte", other.test_labels);
  CHECK_THROWS_AS(fetch_dataset(descriptor, {.offline = true, .progress = {}}), Error);
  fetch_dataset(descriptor, {});
  check_in_cache(machine);
  CHECK(server.asked().size() == 5);
  CHECK_THROWS_WITH(fetch_dataset(find_descriptor("digits"), {}), "digits is generated; there is nothing to fetch");
}

TEST_CASE("a mirror on the file system, whose file is shorter than what an earlier try left") {
  const TemporaryFolder folder;
  const TinyMachine machine({"file://" + folder.path().string() + "/"});
  for (const auto& [path, bytes] : tiny_site()) put(folder.path() / path.substr(1), bytes);
  put(machine.cache() / (kImages + ".part.gz"), std::string(1000, 'x'));
  CHECK(open_tiny().train->size() == 3);
  check_in_cache(machine);
}

TEST_CASE("a folder that cannot be made is named") {
  const TinyMachine machine({"http://127.0.0.1:9/"});
  put(machine.root() / "cache", "a file");
  CHECK(failure().find("cache/dptrain/datasets/tiny: cannot be created: ") != std::string::npos);
}

TEST_CASE("processes that start together download once and none harms the other") {
  const HttpServer server([](const HttpAsk& ask) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return site()(ask);
  });
  const TinyMachine machine({server.url()});
  // Threads hold the lock through open files of their own, as processes do.
  std::vector<std::thread> threads;
  std::atomic<int> opened = 0;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { opened += open_tiny().train->size() == 3 ? 1 : 0; });
  for (std::thread& thread : threads) thread.join();
  CHECK(opened == 4);
  CHECK(server.asked().size() == 4);
  check_in_cache(machine);
}

}  // namespace
}  // namespace dptrain::test
