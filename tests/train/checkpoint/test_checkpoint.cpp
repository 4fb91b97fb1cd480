// Checkpoints on the disk: what comes back, what is kept, and that no damage is taken for a checkpoint.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/hash.h"
#include "interop/safetensors.h"
#include "train/checkpoints.h"

namespace dptrain::test {

namespace {

/// A run folder with checkpoints of steps 1 and 2.
struct TwoCheckpoints {
  TwoCheckpoints() {
    write_checkpoint(run.path(), small_snapshot(1));
    write_checkpoint(run.path(), small_snapshot(2));
  }
  fs::path newest() const { return checkpoint_folder(run.path(), 2); }
  /// What is said when it is looked for; the checkpoint that is found must be of `step`.
  std::vector<std::string> found(std::int64_t step) const {
    std::vector<std::string> warnings;
    const auto checkpoint = newest_checkpoint(run.path(), [&](const std::string& text) { warnings.push_back(text); });
    REQUIRE(checkpoint.has_value());
    CHECK(checkpoint->snapshot.state.step == step);
    CHECK(checkpoint->snapshot.state.weights_hash == small_snapshot(step).state.weights_hash);
    return warnings;
  }
  TemporaryFolder run;
};

std::string error_of(const std::function<void()>& action, ExitStatus status = ExitStatus::failed) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  FAIL("no error");
  return {};
}

std::string hash_of(const std::string& text) {
  Hash128 hash;
  hash.update(text.data(), text.size());
  return hash.hex();
}

/// The manifest of a folder, made anew from what lies there.
void seal_again(const fs::path& folder) {
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  for (const std::string& name : names_in(folder)) {
    if (name == "manifest.json") continue;
    const std::string text = read_text(folder / name);
    files[name] = {{"bytes", text.size()}, {"xxh3_128", hash_of(text)}};
  }
  const nlohmann::ordered_json manifest{{"files", files}, {"hash", hash_of(files.dump())}};
  write_text(folder / "manifest.json", manifest.dump(2) + "\n");
}

}  // namespace

TEST_CASE("a checkpoint comes back as it was saved") {
  const TemporaryFolder run;
  const Snapshot saved = small_snapshot(3, 2);
  write_checkpoint(run.path(), saved);
  const fs::path folder = checkpoint_folder(run.path(), 3);
  CHECK(names_in(folder) ==
        std::vector<std::string>{"manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"});
  CHECK(names_in(folder.parent_path()) == std::vector<std::string>{"step-3"});
  const Checkpoint read = read_checkpoint(folder);
  const RunState &a = saved.state, &b = read.snapshot.state;
  CHECK(b.step == a.step);
  CHECK(b.seed == a.seed);
  CHECK(b.job == a.job);
  CHECK(b.basis == a.basis);
  CHECK(b.train_seconds == a.train_seconds);
  CHECK(b.final_loss == a.final_loss);
  CHECK(std::isnan(b.test_loss));
  CHECK(b.test_accuracy == a.test_accuracy);
  CHECK(b.evaluated_step == 3);
  CHECK(b.best_step == 2);
  CHECK(std::isnan(b.best_metric));
  CHECK(b.weights_hash == a.weights_hash);

  const ParameterTable table = small_table();
  const auto floats = static_cast<std::size_t>(table.floats());
  std::vector<float> weights(floats), state(floats);
  read.restore(table, weights.data(), small_states, {state.data()});
  CHECK(table.hash(weights.data()) == a.weights_hash);
  for (const Parameter& p : table.all()) {
    CHECK(weights[static_cast<std::size_t>(p.offset)] == 300.0f + static_cast<float>(p.offset));
    CHECK(state[static_cast<std::size_t>(p.offset)] == -300.0f + static_cast<float>(p.offset));
  }
  // The weights are an ordinary safetensors file, and the start of another run.
  std::fill(weights.begin(), weights.end(), 0.0f);
  init_from(folder / "model.safetensors", table, weights.data());
  CHECK(table.hash(weights.data()) == a.weights_hash);
}

TEST_CASE("the loss scale comes back, where there is one") {
  const TemporaryFolder run;
  Snapshot saved = small_snapshot(3, 2);
  write_checkpoint(run.path(), saved);
  CHECK_FALSE(read_checkpoint(checkpoint_folder(run.path(), 3)).snapshot.state.loss_scale);
  saved.state.loss_scale = {.scale = 0x1p-3, .good_steps = 1999, .skipped_steps = 7};
  write_checkpoint(run.path(), saved);
  const auto scale = read_checkpoint(checkpoint_folder(run.path(), 3)).snapshot.state.loss_scale;
  REQUIRE(scale);
  CHECK(scale->scale == 0x1p-3);
  CHECK(scale->good_steps == 1999);
  CHECK(scale->skipped_steps == 7);
}

TEST_CASE("without optimizer state there is no file of it") {
  const TemporaryFolder run;
  Snapshot plain = small_snapshot(1);
  plain.optimizer.clear();
  write_checkpoint(run.path(), plain);
  CHECK(names_in(checkpoint_folder(run.path(), 1)).size() == 3);
  CHECK(read_checkpoint(checkpoint_folder(run.path(), 1)).snapshot.optimizer.empty());
}

TEST_CASE("a checkpoint of a step that has one already takes its place") {
  const TemporaryFolder run;
  write_checkpoint(run.path(), small_snapshot(1));
  write_checkpoint(run.path(), small_snapshot(1, 1));
  CHECK(names_in(run.path() / "checkpoints") == std::vector<std::string>{"step-1"});
  CHECK(read_checkpoint(checkpoint_folder(run.path(), 1)).snapshot.state.best_step == 1);
}

TEST_CASE("every byte of a checkpoint changed in turn, in several ways: noticed, named, and the one before used") {
  const TwoCheckpoints both;
  CHECK(both.found(2).empty());
  int changes = 0;
  for (const std::string& name : names_in(both.newest())) {
    const fs::path file = both.newest() / name;
    const std::string whole = read_text(file);
    for (std::size_t at = 0; at < whole.size(); ++at) {
      for (const int change : {1, 0x20, 0x80}) {
        std::string text = whole;
        text[at] = static_cast<char>(text[at] ^ change);
        write_text(file, text);
        const std::vector<std::string> warnings = both.found(1);
        REQUIRE(warnings.size() == 1);
        REQUIRE(has(warnings[0], file.string() + ": "));
        ++changes;
      }
    }
    write_text(file, whole);
  }
  CHECK(both.found(2).empty());
  CHECK(changes >= 2000);
}

TEST_CASE("files of every shorter length, and longer ones") {
  const TwoCheckpoints both;
  for (const std::string& name : names_in(both.newest())) {
    const fs::path file = both.newest() / name;
    const std::string whole = read_text(file);
    for (std::size_t length = 0; length < whole.size(); ++length) {
      write_text(file, whole.substr(0, length));
      const std::vector<std::string> warnings = both.found(1);
      REQUIRE(warnings.size() == 1);
      REQUIRE(has(warnings[0], file.string() + ": "));
    }
    for (const char* more : {" ", "\n", "x"}) {
      write_text(file, whole + more);
      REQUIRE(both.found(1).size() == 1);
    }
    write_text(file, whole);
  }
  CHECK(both.found(2).empty());
}

TEST_CASE("files that are missing, superfluous, or no files") {
  for (const std::string& name : names_in(TwoCheckpoints().newest())) {
    const TwoCheckpoints both;
    const fs::path file = both.newest() / name;
    fs::remove(file);
    std::vector<std::string> warnings = both.found(1);
    CHECK(warnings.size() == 1);
    CHECK(has(warnings.at(0), file.string() + ": is missing"));
    fs::create_directory(file);
    warnings = both.found(1);
    CHECK(has(warnings.at(0), file.string() + ": is no file"));
  }
  const TwoCheckpoints both;
  write_text(both.newest() / "more", "");
  CHECK(has(both.found(1).at(0), (both.newest() / "more").string() + ": is not in the manifest"));
  fs::remove_all(both.newest());
  fs::create_directory(both.newest());
  CHECK(has(both.found(1).at(0), "manifest.json: is missing"));
  fs::remove(both.newest());
  write_text(both.newest(), "a file");
  CHECK(has(both.found(1).at(0), "step-2"));
}

TEST_CASE("what a network file system leaves of a removed file does no harm to a checkpoint") {
  const TwoCheckpoints both;
  write_text(both.newest() / ".nfs000000000004d2", "x");
  CHECK(both.found(2).empty());
}

TEST_CASE("an unfinished save leaves nothing, whatever ended it") {
  const TemporaryFolder run;
  Snapshot wrong = small_snapshot(1);
  wrong.state.job = "\xff";  // no UTF-8: the JSON library's own exception
  CHECK_THROWS(write_checkpoint(run.path(), wrong));
  CHECK(names_in(run / "checkpoints").empty());
}

TEST_CASE("a manifest that agrees with itself and the files, which are not those of a checkpoint") {
  const TwoCheckpoints both;
  const fs::path folder = both.newest();
  const auto seal_and_find = [&] {
    seal_again(folder);
    return both.found(1).at(0);
  };
  seal_again(folder);
  CHECK(both.found(2).empty());

  write_text(folder / "more", "x");
  CHECK(has(seal_and_find(), "more: is a file that checkpoints do not have"));
  fs::remove(folder / "more");

  const std::string state = read_text(folder / "state.json");
  for (const char* wrong : {"", "{}", "[]", "{\"format\": 2}", "{\"format\": 1, \"step\": \"two\"}"}) {
    write_text(folder / "state.json", wrong);
    CHECK(has(seal_and_find(), "state.json: is "));
  }
  std::string other = state;
  other.replace(other.find("\"step\": 2"), 9, "\"step\": 3");
  write_text(folder / "state.json", other);
  CHECK(has(seal_and_find(), "state.json: is of another step"));
  write_text(folder / "state.json", state);

  const std::string model = read_text(folder / "model.safetensors");
  write_text(folder / "model.safetensors", "not tensors at all");
  CHECK(has(seal_and_find(), "model.safetensors"));
  const std::vector<std::int64_t> numbers = {1, 2};
  write_safetensors(folder / "model.safetensors", {{"0.bias", {2}, std::span<const std::int64_t>(numbers)}});
  CHECK(has(seal_and_find(), "0.bias is not of type F32"));
  fs::remove(folder / "model.safetensors");
  CHECK(has(seal_and_find(), "does not name model.safetensors"));
  write_text(folder / "model.safetensors", model);
  seal_again(folder);
  CHECK(both.found(2).empty());
}

TEST_CASE("no checkpoint at all: nothing is found, nothing is said") {
  const TemporaryFolder run;
  const auto warn = [&](const std::string& text) { FAIL(text); };
  CHECK_FALSE(newest_checkpoint(run.path(), warn).has_value());
  fs::create_directories(run / "checkpoints/step-x");
  fs::create_directories(run / "checkpoints/step-");
  fs::create_directories(run / "checkpoints/.step-3.tmp");
  fs::create_directories(run / "checkpoints/.step-4.gone");
  CHECK_FALSE(newest_checkpoint(run.path(), warn).has_value());
}

TEST_CASE("checkpoints none of which can be used, or that cannot be listed, are an error that names them") {
  const TwoCheckpoints both;
  const auto warn = [&](const std::string& text) { FAIL(text); };
  const auto error = [&] { return error_of([&] { newest_checkpoint(both.run.path(), warn); }); };
  for (std::int64_t step : {1, 2}) fs::remove(checkpoint_folder(both.run.path(), step) / "state.json");
  const std::string damaged = error();
  CHECK(has(damaged, "step-1/state.json: is missing"));
  CHECK(has(damaged, "step-2/state.json: is missing"));
  CHECK(has(damaged, "--fresh"));
  fs::remove_all(both.run / "checkpoints");
  write_text(both.run / "checkpoints", "a file");
  CHECK(has(error(), "cannot list " + (both.run / "checkpoints").string() + ": Not a directory"));
}

TEST_CASE("one that was set aside for another, which never took its place, is a checkpoint again") {
  const TwoCheckpoints both;
  const fs::path old = both.run / "checkpoints/.step-2.old";
  fs::rename(both.newest(), old);
  CHECK(both.found(2).empty());
  CHECK(names_in(both.run / "checkpoints") == std::vector<std::string>{"step-1", "step-2"});
  // Where the other did take its place it stays what it is, and goes in time.
  fs::copy(both.newest(), old, fs::copy_options::recursive);
  CHECK(both.found(2).empty());
  CHECK(fs::exists(old));
  prune_checkpoints(both.run.path(), 2, 2, {});
  CHECK(names_in(both.run / "checkpoints") == std::vector<std::string>{"step-1", "step-2"});
}

TEST_CASE("tensors that do not fit the model are refused by name") {
  const ParameterTable table = small_table();
  std::vector<float> weights(static_cast<std::size_t>(table.floats())), state(weights.size());
  const auto refused = [&](const std::function<void(Snapshot&)>& change) {
    Checkpoint checkpoint{"somewhere", small_snapshot(1)};
    change(checkpoint.snapshot);
    return error_of([&] { checkpoint.restore(table, weights.data(), small_states, {state.data()}); });
  };
  CHECK(has(refused([](Snapshot& s) { s.model.erase(s.model.begin()); }),
            "somewhere/model.safetensors: there is no tensor 0.bias"));
  CHECK(has(refused([](Snapshot& s) { s.optimizer.clear(); }),
            "somewhere/optimizer.safetensors: there is no tensor momentum_buffer.0.bias"));
  CHECK(has(refused([](Snapshot& s) {
              s.model.push_back({"1.bias", {1}, {0}});
            }),
            "somewhere/model.safetensors: holds tensors that"));
  CHECK(has(refused([](Snapshot& s) {
              s.optimizer.push_back({"x", {1}, {0}});
            }),
            "somewhere/optimizer.safetensors: holds tensors that"));
  CHECK(has(refused([](Snapshot& s) {
              s.model[1].shape = {2, 3};
            }),
            "somewhere/model.safetensors: 0.weight is (2, 3), and this model's is (3, 2)"));

  const TemporaryFolder run;
  const std::vector<float> values(6);
  const auto init_error = [&](std::vector<SafeTensorView> tensors, ExitStatus status = ExitStatus::usage) {
    write_safetensors(run / "file", std::move(tensors));
    return error_of([&] { init_from(run / "file", table, weights.data()); }, status);
  };
  const std::span<const float> six(values), two = six.first(2);
  CHECK(has(init_error({{"0.bias", {2}, two}}), "file: there is no tensor 0.weight"));
  CHECK(has(init_error({{"0.bias", {2}, two}, {"0.weight", {2, 3}, six}}), "0.weight is (2, 3)"));
  CHECK(has(init_error({{"0.bias", {2}, two}, {"0.weight", {3, 2}, six}, {"2.bias", {2}, two}}), "holds 3 tensors"));
  write_text(run / "file", "nothing of the kind");
  CHECK(has(error_of([&] { init_from(run / "file", table, weights.data()); }, ExitStatus::usage),
            "file: not a valid safetensors file"));
}

TEST_CASE("the newest few and the best are kept; what unfinished saves left, and later ones, go") {
  const TemporaryFolder run;
  for (std::int64_t step = 1; step <= 6; ++step) write_checkpoint(run.path(), small_snapshot(step));
  fs::create_directories(run / "checkpoints/.step-9.tmp");
  fs::create_directories(run / "checkpoints/.step-8.old");
  fs::create_directories(run / "checkpoints/.step-7.gone");
  write_text(run / "checkpoints/.step-9.tmp/model.safetensors", "half");
  write_text(run / "checkpoints/mine", "x");
  prune_checkpoints(run.path(), 2, 6, {3});
  CHECK(names_in(run / "checkpoints") == std::vector<std::string>{"mine", "step-3", "step-5", "step-6"});
  prune_checkpoints(run.path(), 2, 6, {6});  // the best is among the newest
  CHECK(names_in(run / "checkpoints") == std::vector<std::string>{"mine", "step-5", "step-6"});
  prune_checkpoints(run.path(), 1, 5, {-1});  // the run could not go on from step 6
  CHECK(names_in(run / "checkpoints") == std::vector<std::string>{"mine", "step-5"});
}

TEST_CASE("where a checkpoint cannot be written the error names file and reason, and nothing is left") {
  const TemporaryFolder run;
  write_checkpoint(run.path(), small_snapshot(1));
  write_text(run / "checkpoints/step-2", "a file where the folder goes");
  // A file and a folder change places all the same.
  write_checkpoint(run.path(), small_snapshot(2));
  CHECK(read_checkpoint(checkpoint_folder(run.path(), 2)).snapshot.state.step == 2);
  fs::remove_all(run / "checkpoints");
  write_text(run / "checkpoints", "a file");
  const std::string error = error_of([&] { write_checkpoint(run.path(), small_snapshot(3)); });
  CHECK(has(error, (run / "checkpoints").string()));
  CHECK(has(error, "Not a directory"));
}

}  // namespace dptrain::test
