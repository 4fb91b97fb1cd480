#include <doctest/doctest.h>
#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <regex>
#include <thread>

#include "core/process.h"
#include "report/console.h"
#include "report/output.h"
#include "report/samples.h"

using namespace dptrain;
using namespace dptrain::test;

namespace {

void tell_all(Console& console) {
  console.started(sample_plan());
  console.step(sample_step());
  console.warning("something odd");
  console.evaluated(sample_evaluation());
  console.message("downloading");
  console.finished(sample_summary());
}

LiveOptions every_time() {
  return {.colour = true, .width = 200, .interval = std::chrono::milliseconds(0)};
}

}  // namespace

TEST_CASE("plain: the log on one stream, messages and warnings on the other, no control codes") {
  Captured log, messages;
  tell_all(*make_plain_console(log.stream(), messages.stream()));
  const auto lines = lines_of(log.text());
  REQUIRE(lines.size() == 11);
  CHECK(lines[3] == "256 = 4 micro-batches x 64, same bits at 1 to 4 replicas");
  CHECK(lines[4] == "step   100/1,175  epoch 0.43  loss 0.3412  lr 0.1  31,204 samples/s");
  CHECK(lines[5] == "test at epoch 1.00  accuracy 97.45%  loss 0.0812  (0.6 s)");
  CHECK(lines[10] == "weights 00112233445566778899aabbccddeeff");
  CHECK(log.text().find_first_of("\x1b\r") == std::string::npos);
  CHECK(messages.text() == "warning: something odd\ndownloading\n");
}

TEST_CASE("control codes in names do not reach the terminal") {
  RunPlan plan = sample_plan();
  plan.dataset_location = "/tmp/\x1b[2J\r\x07x";
  Captured log, messages;
  SUBCASE("plain") {
    const auto console = make_plain_console(log.stream(), messages.stream());
    console->started(plan);
    console->warning("bad \x1b]0;title\x07");
  }
  SUBCASE("live") {
    const auto console = make_live_console(log.stream(), messages.stream(), {.colour = false});
    console->started(plan);
    console->warning("bad \x1b]0;title\x07");
  }
  CHECK(log.text().find("(from /tmp/?[2J??x)") != std::string::npos);
  CHECK(messages.text() == "warning: bad ?]0;title?\n");
}

TEST_CASE("quiet: warnings alone") {
  Captured log, messages;
  tell_all(*make_console(true, log.stream(), messages.stream()));
  CHECK(log.text().empty());
  CHECK(messages.text() == "warning: something odd\n");
}

TEST_CASE("live: one line is rewritten, and cleared before anything else is said") {
  Captured log, messages;
  const auto console = make_live_console(log.stream(), messages.stream(), every_time());
  console->started(sample_plan());
  const std::string header = log.text();
  CHECK(lines_of(header).size() == 4);
  StepReport step = sample_step();
  console->step(step);
  step.step = 587;
  console->step(step);
  const std::string steps = log.text().substr(header.size());
  CHECK(steps.find('\n') == std::string::npos);
  CHECK(steps.starts_with("\r\x1b[K[#...................] step   100/1,175  epoch 0.43  loss 0.3412"));
  CHECK(steps.find("\r\x1b[K[#########...........] step   587/1,175") != std::string::npos);
  CHECK(steps.find(" left") != std::string::npos);
  console->evaluated(sample_evaluation());
  CHECK(log.text().substr(header.size() + steps.size()) ==
        "\r\x1b[Ktest at epoch 1.00  accuracy 97.45%  loss 0.0812  (0.6 s)\n");
  // Nothing to clear now: the warning touches the messages alone.
  const std::string before = log.text();
  console->warning("odd");
  CHECK(log.text() == before);
  CHECK(messages.text() == "\x1b[33mwarning:\x1b[0m odd\n");
  console->step(step);
  console->warning("odd again");
  CHECK(log.text().ends_with("\r\x1b[K"));
}

TEST_CASE("live: the line fits the window") {
  for (const int width : {1, 2, 10, 40, 79}) {
    Captured log, messages;
    const auto console =
        make_live_console(log.stream(), messages.stream(), {.width = width, .interval = std::chrono::milliseconds(0)});
    console->started(sample_plan());
    const std::size_t header = log.text().size();
    console->step(sample_step());
    const std::string line = log.text().substr(header + std::string("\r\x1b[K").size());
    CHECK(line.size() <= static_cast<std::size_t>(std::max(width - 1, 1)));
    CHECK(
        line.starts_with(std::string("step   100/1,175").substr(0, static_cast<std::size_t>(std::max(width - 1, 1)))));
  }
}

TEST_CASE("live: what matters least goes first in a narrow window, the time left last") {
  StepReport step = sample_step();
  step.lr = 0.0763421;
  const auto line = [&](int width) {
    Captured log, messages;
    const auto console =
        make_live_console(log.stream(), messages.stream(), {.width = width, .interval = std::chrono::milliseconds(0)});
    console->started(sample_plan());
    const std::size_t header = log.text().size();
    console->live(step);
    return std::regex_replace(log.text().substr(header + std::string("\r\x1b[K").size()),
                              std::regex("[0-9]+:[0-9]{2} left"), "0:00 left");
  };
  CHECK(line(120) ==
        "[#...................] step   100/1,175  epoch 0.43  loss 0.3412  lr 0.0763421  31,204 samples/s  "
        "0:00 left");
  CHECK(line(100) == "step   100/1,175  epoch 0.43  loss 0.3412  lr 0.0763421  31,204 samples/s  0:00 left");
  CHECK(line(80) == "step   100/1,175  epoch 0.43  loss 0.3412  31,204 samples/s  0:00 left");
  CHECK(line(60) == "step   100/1,175  loss 0.3412  31,204 samples/s  0:00 left");
  CHECK(line(42) == "step   100/1,175  loss 0.3412  0:00 left");
  CHECK(line(30) == "step   100/1,175  0:00 left");
}

TEST_CASE("live: the time left of a run that goes on is that of its own steps") {
  Captured log, messages;
  const auto console = make_live_console(log.stream(), messages.stream(), every_time());
  RunPlan plan = sample_plan();
  plan.first_step = 1075;  // of 1175
  console->started(plan);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  StepReport step = sample_step();
  step.step = 1076;
  console->live(step);
  // One step of a hundred took 0.3 s at least, so that 29.7 are left; the whole run's share would make it 0.03.
  std::smatch left;
  const std::string text = log.text();
  REQUIRE(std::regex_search(text, left, std::regex("([0-9]+):([0-9]{2}) left")));
  CHECK(60 * std::stoi(left[1]) + std::stoi(left[2]) >= 29);
}

TEST_CASE("live: a part that did not fit does not come and go with the length of the others") {
  Captured log, messages;
  const auto console =
      make_live_console(log.stream(), messages.stream(), {.width = 80, .interval = std::chrono::milliseconds(0)});
  console->started(sample_plan());
  StepReport step = sample_step();
  step.lr = 0.0763421;
  console->live(step);
  step.lr = 0.1;
  console->live(step);
  CHECK(log.text().find(" lr ") == std::string::npos);
}

TEST_CASE("news of an interval that goes on: for the live line alone") {
  Captured log, messages, live_log;
  const auto plain = make_plain_console(log.stream(), messages.stream());
  plain->live(sample_step());
  CHECK(log.text().empty());
  const auto live = make_live_console(live_log.stream(), messages.stream(), every_time());
  live->live(sample_step());
  CHECK(live_log.text().find("loss 0.3412") != std::string::npos);
}

TEST_CASE("live: redrawn no more often than the interval, but always for the last step") {
  Captured log, messages;
  const auto console =
      make_live_console(log.stream(), messages.stream(), {.width = 120, .interval = std::chrono::hours(1)});
  console->started(sample_plan());
  StepReport step = sample_step();
  console->step(step);
  const std::string first = log.text();
  step.step = 101;
  console->step(step);
  CHECK(log.text() == first);
  step.step = sample_plan().steps;
  console->step(step);
  CHECK(log.text().find("[####################] step 1,175/1,175") != std::string::npos);
}

TEST_CASE("live: without colour only the progress line uses codes") {
  Captured log, messages;
  LiveOptions options = every_time();
  options.colour = false;
  tell_all(*make_live_console(log.stream(), messages.stream(), options));
  CHECK(log.text().find("\x1b[1m") == std::string::npos);
  CHECK(messages.text() == "warning: something odd\ndownloading\n");
  Captured coloured, ignored;
  tell_all(*make_live_console(coloured.stream(), ignored.stream(), every_time()));
  CHECK(coloured.text().find("\x1b[1mtest accuracy 99.12%  test loss 0.0283\x1b[0m\n") != std::string::npos);
}

TEST_CASE("live: a run that breaks off leaves its last line and the cursor below it") {
  Captured log, messages;
  auto console = make_live_console(log.stream(), messages.stream(), every_time());
  console->started(sample_plan());
  console->step(sample_step());
  const std::string before = log.text();
  console.reset();
  CHECK(log.text() == before + "\n");
}

TEST_CASE("a terminal gets the live line, a pipe or a dumb terminal plain lines") {
  int primary = -1, secondary = -1;
  REQUIRE(::openpty(&primary, &secondary, nullptr, nullptr, nullptr) == 0);
  const winsize size{24, 132, 0, 0};
  REQUIRE(::ioctl(secondary, TIOCSWINSZ, &size) == 0);
  std::FILE* terminal = ::fdopen(secondary, "w");
  REQUIRE(terminal != nullptr);
  ::setenv("TERM", "xterm", 1);
  CHECK(Output(terminal).is_terminal());
  CHECK(Output(terminal).width() == 132);

  Captured messages;
  const auto told_to_terminal = [&] {
    const auto console = make_console(false, terminal, messages.stream());
    console->started(sample_plan());
    console->step(sample_step());
    console->finished(sample_summary());
    // A terminal hands over what was written in pieces of its own choice; the last line says that all is there.
    std::string text;
    while (text.find(sample_summary().weights_hash) == std::string::npos) {
      char piece[4096];
      const ssize_t got = ::read(primary, piece, sizeof piece);
      if (got <= 0) break;
      text.append(piece, static_cast<std::size_t>(got));
    }
    return text;
  };
  ::unsetenv("NO_COLOR");
  CHECK(told_to_terminal().find("\x1b[1mtest accuracy") != std::string::npos);
  ::setenv("NO_COLOR", "1", 1);
  const std::string without_colour = told_to_terminal();
  CHECK(without_colour.find("\r\x1b[K[#") != std::string::npos);
  CHECK(without_colour.find("\x1b[1m") == std::string::npos);
  ::unsetenv("NO_COLOR");
  ::setenv("TERM", "dumb", 1);
  CHECK_FALSE(Output(terminal).is_terminal());
  CHECK(told_to_terminal().find('\x1b') == std::string::npos);
  std::fclose(terminal);
  ::close(primary);

  Captured memory;
  CHECK_FALSE(Output(memory.stream()).is_terminal());
  CHECK(Output(memory.stream()).width() == 80);
}

TEST_CASE("a pipe that nobody reads loses lines and nothing else") {
  const auto earlier = std::signal(SIGPIPE, SIG_DFL);
  fail_instead_of_signals();
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  std::FILE* stream = ::fdopen(ends[1], "w");
  REQUIRE(stream != nullptr);
  Output output(stream);
  output.write("lost\n");
  CHECK(output.error() == EPIPE);
  Captured messages;
  tell_all(*make_plain_console(stream, messages.stream()));
  CHECK(messages.text() == "warning: something odd\ndownloading\n");
  std::fclose(stream);
  std::signal(SIGPIPE, earlier);
}
