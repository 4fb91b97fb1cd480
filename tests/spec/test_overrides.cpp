#include <doctest/doctest.h>

#include "spec_support.h"

namespace dptrain::testing {
namespace {

Override set(std::string path, std::string value) {
  return {"--set", std::move(path), std::move(value)};
}

JobSpec with(const std::vector<Override>& overrides, const std::string& text = kSmallSpec) {
  return read_job_text(text, "job.yaml", overrides);
}

double lr(const JobSpec& job) {
  return std::visit([](const auto& optimizer) { return optimizer.lr; }, job.train.optimizer);
}

}  // namespace

TEST_CASE("an override replaces a value, makes missing blocks, and the last one wins") {
  CHECK(lr(with({set("train.optimizer.lr", "0.25")})) == 0.25);
  CHECK(with({set("expect.test_accuracy", "0.5")}).expect.test_accuracy == 0.5);
  CHECK(with({set("seed", "2"), set("seed", "3")}).seed == 3);
  CHECK(with({{"--seed", "seed", "7"}}).seed == 7);
  CHECK(with({set("dataset", "{format: idx, path: here}")}).dataset.path == "here");
  const JobSpec adam = with({set("train.optimizer", "{name: adam}")});
  CHECK(std::holds_alternative<AdamSpec>(adam.train.optimizer));
}

TEST_CASE("entries of a list are reached by their index") {
  const JobSpec job = with({set("model.layers.1.linear", "32"), set("model.layers.2", "tanh")});
  CHECK(std::get<LinearSpec>(job.model.layers[1].op).out_features == 32);
  CHECK(std::get<ActivationSpec>(job.model.layers[2].op).kind == ActivationKind::tanh);
  CHECK(refusal_of(kSmallSpec, {set("model.layers.4.linear", "1")}) ==
        "--set model.layers.4.linear=1: error: model.layers has no entry '4'\n"
        "  --set model.layers.4.linear=1\n"
        "                     ^\n"
        "  hint: its entries are 0 to 3");
}

TEST_CASE("steps replace epochs and the other way round: of several lengths the last one counts") {
  const JobSpec steps = with({set("train.steps", "20")});
  CHECK(steps.train.steps == 20);
  CHECK_FALSE(steps.train.epochs);
  const JobSpec more = with({set("train.steps", "30")}, to_yaml(steps));
  CHECK(more.train.steps == 30);
  CHECK_FALSE(more.train.epochs);
  const JobSpec back = with({set("train.epochs", "0.5")}, to_yaml(steps));
  CHECK(back.train.epochs == 0.5);
  CHECK_FALSE(back.train.steps);
  for (const std::string block : {"train", "sync.train"}) {
    const Override few = set(block + ".steps", "20"), one = set(block + ".epochs", "1");
    CHECK(with({few, one}).train.epochs == 1);
    CHECK_FALSE(with({few, one}).train.steps);
    CHECK(with({one, few}).train.steps == 20);
    CHECK_FALSE(with({one, few}).train.epochs);
  }
  CHECK(refusal_of(kSmallSpec, {set("sync.train", "{steps: 5, epochs: 1}")}).find("epochs or of steps, not both") !=
        std::string::npos);
}

TEST_CASE("--devices and --gpus set the number of replicas") {
  CHECK(with({{"--devices", "devices.count", "4"}}).devices.count == 4);
  const JobSpec gpus = with({{"--gpus", "gpus", "4"}}, kSmallSpec + "devices: {type: cpu, count: 2}\n");
  CHECK(gpus.devices.type == DeviceType::cuda);
  CHECK(gpus.devices.count == 4);
  const JobSpec fewer = with({{"--devices", "devices.count", "2"}}, kSmallSpec + "gpus: 4\n");
  CHECK(fewer.devices.type == DeviceType::cuda);
  CHECK(fewer.devices.count == 2);
  const JobSpec shared = with({{"--gpus", "gpus", "4"}, set("devices.share", "true"), set("train.precision", "tf32")});
  CHECK(shared.devices == DevicesSpec{DeviceType::cuda, 4, 1, true, {}});
  CHECK(shared.train.precision == Precision::tf32);
}

TEST_CASE("what is wrong with an override is said of the argument") {
  CHECK(refusal_of(kSmallSpec, {set("train.optimizer.lr", "fast")}) ==
        "--set train.optimizer.lr=fast: error: train.optimizer.lr: expected a number of at least 0, found 'fast'\n"
        "  --set train.optimizer.lr=fast\n"
        "                           ^");
  CHECK(refusal_of(kSmallSpec, {{"--devices", "devices.count", "0"}}) ==
        "--devices 0: error: devices.count: '0' is out of range\n"
        "  --devices 0\n"
        "            ^\n"
        "  hint: expected an integer from 1 to 4096");
  CHECK(refusal_of(kSmallSpec, {{"--mode", "mode", "assync"}}) ==
        "--mode assync: error: mode: unknown mode 'assync'\n"
        "  --mode assync\n"
        "         ^\n"
        "  hint: did you mean 'async'?");
  CHECK(refusal_of(kSmallSpec, {set("train.lerning_rate", "1")})
            .starts_with("--set train.lerning_rate=1: error: unknown key 'lerning_rate' in train\n"
                         "  --set train.lerning_rate=1\n"
                         "              ^\n"));
  CHECK(refusal_of(kSmallSpec, {set("train.epochs.x", "1")}).find("train.epochs is '1', not a block") !=
        std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("train..lr", "1")}).find("an empty name in the path") != std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("", "1")}).find("an empty name in the path") != std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("seed", "[1")}).find("--set seed=[1: error: this '[' is not closed") == 0);
  CHECK(refusal_of(kSmallSpec, {set("seed", "")}).find("found nothing") != std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("seed", "1\n--- 2")}).find("a second document") != std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("seed", "\xFF")}).starts_with("--set: error: byte 0xff is not UTF-8"));
  CHECK(refusal_of(kSmallSpec, {set("se\xFF", "1")}).starts_with("--set: error: byte 0xff is not UTF-8"));
}

TEST_CASE("columns count code points, in a file and in an argument") {
  CHECK(refusal_of(kSmallSpec + "expect: {\"größe\": 256, test_accuracy: x}\n")
            .find("job.yaml:9:39: error: expect.test_accuracy: expected a number in [0, 1], or 'none', found 'x'\n"
                  "  expect: {\"größe\": 256, test_accuracy: x}\n"
                  "                                        ^") != std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("expect", "{größe: 256, test_accuracy: x}")})
            .find("expected a number in [0, 1], or 'none', found 'x'\n"
                  "  --set expect={größe: 256, test_accuracy: x}\n"
                  "                                           ^") != std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("größe", "{a: 1, a: 2}")})
            .starts_with("--set größe={a: 1, a: 2}: error: duplicate key 'a'\n"
                         "  --set größe={a: 1, a: 2}\n"
                         "                     ^\n"));
  CHECK(with({set("dataset", "{path: \"/数据\", format: \"idx\"}")}).dataset.path == "/数据");
  CHECK(with({set("dataset.path", "\"/数据\"")}).dataset.path == "/数据");
}

TEST_CASE("what the value of an override lacks is said of the argument, not of what it replaces") {
  const auto begins = [](const std::string& path, const std::string& value, const std::string& message) {
    const std::string said = refusal_of(kSmallSpec, {set(path, value)});
    CAPTURE(said);
    CHECK(said.starts_with("--set " + path + "=" + value + ": error: " + message));
    CHECK(said.find("job.yaml") == std::string::npos);
  };
  begins("train.optimizer", "{name: sgd}", "optimizer sgd lacks the required key 'lr'");
  begins("train", "{}", "train lacks the required key 'epochs'");
  begins("dataset", "{format: image_folder}", "dataset lacks the required key 'path'");
  begins("train.optimizer", "{name: sgd, lr: 0.1, momentun: 1}", "unknown key 'momentun' in optimizer sgd");
  const std::string adam = kSmallSpec.substr(0, kSmallSpec.find("  optimizer:")) + "  optimizer: {name: adam}\n";
  CHECK(refusal_of(adam, {set("train.optimizer.name", "sgd")})
            .starts_with("--set train.optimizer.name=sgd: error: optimizer sgd lacks the required key 'lr'"));
}

TEST_CASE("a hint that says what to write is accepted when it is written") {
  const auto hint = [](const std::string& path, const std::string& value) {
    const std::string said = refusal_of(kSmallSpec, {set(path, value)});
    CAPTURE(said);
    return said.substr(said.find("hint: ") + 6);
  };
  for (const auto& [path, value] : std::vector<std::pair<std::string, std::string>>{{"devices", "cpu"},
                                                                                    {"devices", "auto"},
                                                                                    {"devices", "3"},
                                                                                    {"checkpoint", "end"},
                                                                                    {"checkpoint", "20 steps"},
                                                                                    {"log", "auto"},
                                                                                    {"evaluate", "1 epoch"},
                                                                                    {"expect", "0.9"},
                                                                                    {"faults", "skip"},
                                                                                    {"dataset", "mnist"},
                                                                                    {"train.ema", "0.9"},
                                                                                    {"train.lr_schedule", "cosine"},
                                                                                    {"train.optimizer", "adam"}}) {
    CAPTURE(path);
    const std::string write = hint(path, value);
    REQUIRE(write.starts_with("write {"));
    with({set(path, write.substr(6))});
  }
  CHECK(hint("devices", "cpu") == "write {type: cpu}");
  CHECK(hint("devices.type", "gpu") == "did you mean 'cuda'?");
  CHECK(hint("devices.type", "GPU") == "did you mean 'cuda'?");
  CHECK(hint("devices", "gpu") == "write {type: ...}; devices.type: unknown device type 'gpu' (did you mean 'cuda'?)");
  const std::string interval = "expected an interval such as '100 steps' or '1 epoch', or ";
  CHECK(hint("checkpoint", "none") == "write {every: ...}; checkpoint.every: " + interval + "'end', found 'none'");
  CHECK(hint("log", "none") == "write {every: ...}; log.every: " + interval + "'auto', found 'none'");
  CHECK(hint("train.optimizer", "sgd") == "write {name: sgd, lr: ...}");
  CHECK(hint("train.lr_scaling", "linear") == "write {name: linear, reference_batch_size: ...}");
}

TEST_CASE("errors of the file and of all overrides come together, those of the command line last") {
  const std::string message =
      refusal_of(kSmallSpec + "sead: 1\n", {set("seed", "x"), {"--devices", "devices.count", "-1"}});
  const std::size_t file = message.find("job.yaml:9:1: error: "), first = message.find("--set seed=x: error: "),
                    second = message.find("--devices -1: error: ");
  CHECK(file == 0);
  CHECK(first != std::string::npos);
  CHECK(second != std::string::npos);
  CHECK(first < second);
}

TEST_CASE("a shape that an override breaks is said of the override") {
  const std::string message = refusal_of(kSmallSpec, {set("model.layers.0", "{max_pool2d: 29}")});
  CHECK(message.starts_with(
      "--set model.layers.0={max_pool2d: 29}: error: max_pool2d: a kernel of 29x29 does not fit its input 1x28x28"));
  const std::string inner = refusal_of(kSmallSpec, {set("model.layers.3.linear", "{units: 0x1}")});
  CHECK(inner.starts_with(
      "--set model.layers.3.linear={units: 0x1}: error: model.layers.3.linear.units: expected an integer"));
}

TEST_CASE("no path is long enough to hurt") {
  std::string path = "a";
  for (int i = 0; i < 100000; ++i) path += ".a";
  CHECK(refusal_of(kSmallSpec, {set(path, "1")}).find("a path of more than 32 names") != std::string::npos);
}

}  // namespace dptrain::testing
