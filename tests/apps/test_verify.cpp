// `dptrain verify`: a run's stretches trained again, at any number of replicas, and what it says where they differ.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"

namespace dptrain::test {

TEST_CASE("verify finds a run as it was left, at other numbers of replicas too") {
  const Workplace here;
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "run", "--devices", "2", "--set",
                        "checkpoint={every: 3 steps, keep: 3}"})
              .status == 0);
  for (const char* devices : {"1", "3"}) {
    const Finished done = here.dptrain({"verify", "run", "--all", "--devices", devices});
    CHECK(done.status == 0);
    CHECK(has(done.out, "each used exactly once"));
    CHECK(has(done.out, "as saved"));
    CHECK_FALSE(has(done.out, "NOT"));
  }
}

TEST_CASE("verify tells a run that is not what its job says") {
  const Workplace here;
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "run"}).status == 0);
  std::string job = read_text(here.folder / "run/job.yaml");
  const std::size_t at = job.find("lr: ");
  REQUIRE(at != std::string::npos);
  job.replace(at, 4, "lr: 1");
  write_text(here.folder / "run/job.yaml", job);
  const Finished done = here.dptrain({"verify", "run"});
  CHECK(done.status == 1);
  CHECK(has(done.out, "NOT as saved"));
}

TEST_CASE("verify needs a run, and a checkpoint that can be read") {
  const Workplace here;
  const Finished none = here.dptrain({"verify", "nowhere"});
  CHECK(none.status == 2);
  CHECK(has(none.err, "holds no run"));
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "run"}).status == 0);
  fs::remove_all(here.folder / "run/checkpoints");
  const Finished empty = here.dptrain({"verify", "run"});
  CHECK(empty.status == 1);
  CHECK(has(empty.err, "no checkpoint"));
}

}  // namespace dptrain::test
