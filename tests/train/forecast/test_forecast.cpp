#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <bit>
#include <vector>

#include "train/forecast/forecast.h"

namespace dptrain {

namespace {

double some(double scale) {
  return static_cast<double>(*rc::gen::inRange(1, 1000)) * scale;
}

WorkCosts some_costs(int replicas) {
  return {.replicas = replicas, .load = some(1e-6), .micro_batch = some(1e-5), .add = some(1e-6), .meet = some(1e-7)};
}

MachineProfile some_machine() {
  MachineProfile machine;
  machine.cores = *rc::gen::inRange(1, 9);
  machine.alone = some_costs(1);
  machine.together = machine.alone;  // cores that do not disturb each other
  machine.together.replicas = machine.cores;
  machine.update = some(1e-6);
  machine.fold = some(1e-7);
  return machine;
}

StepWork some_work() {
  return {.samples = 4096,
          .micro_batches = *rc::gen::inRange(1, 200),
          .floats = *rc::gen::inRange<std::int64_t>(1, 1'000'000),
          .update_parts = *rc::gen::inRange(1, 1000)};
}

const Link kLink{1e9, 1e-5};

}  // namespace

TEST_CASE("one replica runs every micro-batch, adds all their sums and updates everything, and sends nothing") {
  CHECK(rc::check([] {
    const MachineProfile machine = some_machine();
    const StepWork work = some_work();
    const Forecast one = forecast_here(machine, work, 1);
    const double compute = work.micro_batches * (machine.alone.load + machine.alone.micro_batch) +
                           (work.micro_batches - 1) * machine.alone.add;
    RC_ASSERT(std::abs(one.compute - compute) < 1e-12);
    RC_ASSERT(one.reduce == machine.update);
    RC_ASSERT(one.meet == machine.alone.meet);
    RC_ASSERT(one.link == 0);
    RC_ASSERT(one.traffic.bytes() == 0);
    RC_ASSERT(one.most_micro_batches == work.micro_batches);
    RC_ASSERT(one.idle == 0);
  }));
}

TEST_CASE("as long as every device has a core on this machine there is no link") {
  CHECK(rc::check([] {
    const MachineProfile machine = some_machine();
    const StepWork work = some_work();
    const int devices = *rc::gen::inRange(1, machine.cores + 1);
    const Forecast here = forecast_here(machine, work, devices),
                   linked = forecast_linked(machine, work, kLink, devices);
    RC_ASSERT(here.seconds() == linked.seconds());
    RC_ASSERT(linked.machines == 1);
    RC_ASSERT(linked.link == 0);
    RC_ASSERT(!here.shares_cores);
  }));
}

TEST_CASE("more devices never compute for longer, and share out all there is") {
  CHECK(rc::check([] {
    MachineProfile machine = some_machine();
    machine.alone.add = machine.together.add = 0;  // with it, a range of fewer whole subtrees costs an addition less
    const StepWork work = some_work();
    const int devices = *rc::gen::inRange(1, 300);
    const Forecast less = forecast_linked(machine, work, kLink, devices);
    const Forecast more = forecast_linked(machine, work, kLink, devices + 1);
    RC_ASSERT(more.compute <= less.compute + 1e-12);
    RC_ASSERT(less.most_micro_batches == (work.micro_batches + devices - 1) / devices);
    RC_ASSERT(less.idle == std::max(0, devices - work.micro_batches));
    RC_ASSERT(less.machines == (devices + machine.cores - 1) / machine.cores);
    RC_ASSERT(less.seconds() * (1 + 1e-12) >=
              work.micro_batches * machine.alone.micro_batch / devices);  // no more than proportional
  }));
}

TEST_CASE("replicas that share cores are no faster than with a core each, nor than the cores at their best") {
  CHECK(rc::check([] {
    MachineProfile machine = some_machine();
    const StepWork work = some_work();
    const int replicas = machine.cores + *rc::gen::inRange(1, 2 * machine.cores + 1);
    machine.meet[replicas] = some(1e-6);
    machine.crowding = 1.1;
    const Forecast crowded = forecast_here(machine, work, replicas);
    RC_ASSERT(crowded.shares_cores);
    RC_ASSERT(crowded.compute * (1 + 1e-9) >=
              machine.crowding * work.micro_batches * machine.alone.micro_batch / machine.cores);
    RC_ASSERT(crowded.meet == machine.meet[replicas]);
    MachineProfile roomy = machine;
    roomy.cores = replicas;
    RC_ASSERT(crowded.compute * (1 + 1e-12) >= forecast_here(roomy, work, replicas).compute);
  }));
}

TEST_CASE("a better link never makes a step longer, and changes nothing but the time on it") {
  CHECK(rc::check([] {
    const MachineProfile machine = some_machine();
    const StepWork work = some_work();
    const int devices = *rc::gen::inRange(1, 300);
    const Forecast slow = forecast_linked(machine, work, kLink, devices);
    const Forecast fast = forecast_linked(machine, work, {10 * kLink.bytes_per_second, kLink.latency / 10}, devices);
    RC_ASSERT(fast.link <= slow.link);
    RC_ASSERT(fast.compute == slow.compute);
    RC_ASSERT(fast.reduce == slow.reduce);
    RC_ASSERT(fast.traffic.bytes() == slow.traffic.bytes());
    RC_ASSERT((slow.link > 0) == (slow.machines > 1));
  }));
}

TEST_CASE("with powers of two a machine hands over one sum, and as many bytes move as in a ring") {
  for (const int machines : {2, 4, 16, 256}) {
    for (const int each : {1, 2, 4}) {
      const int devices = machines * each;
      const std::int64_t floats = 1 << 20, bytes = floats * 4;
      const Traffic moved = traffic(4 * devices, floats, devices, machines);
      CHECK(moved.sums == machines);
      CHECK(moved.bytes() == 2 * bytes * (machines - 1) / machines);
    }
  }
}

TEST_CASE("otherwise machines hand over one sum each or more, and no fewer bytes move") {
  CHECK(rc::check([] {
    const int machines = *rc::gen::inRange(2, 20), devices = machines * *rc::gen::inRange(1, 5);
    const int micro_batches = devices + *rc::gen::inRange(0, 200);
    const auto floats = *rc::gen::inRange<std::int64_t>(1000, 1'000'000);
    const Traffic moved = traffic(micro_batches, floats, devices, machines);
    RC_ASSERT(moved.sums >= machines);
    RC_ASSERT(moved.bytes() >= 2 * (floats * 4 * (machines - 1) / machines));
    RC_ASSERT(moved.scattered >= moved.gathered);
  }));
  CHECK(traffic(8, 1000, 4, 1).bytes() == 0);
}

TEST_CASE("costs between one replica and all of them lie between theirs") {
  MachineProfile machine;
  machine.cores = 4;
  machine.alone = {.replicas = 1, .load = 1, .micro_batch = 10, .add = 2, .meet = 0};
  machine.together = {.replicas = 4, .load = 4, .micro_batch = 16, .add = 5, .meet = 3};
  CHECK(machine.costs(1).micro_batch == 10);
  CHECK(machine.costs(2).micro_batch == doctest::Approx(12));
  CHECK(machine.costs(3).load == doctest::Approx(3));
  CHECK(machine.costs(4).meet == 3);
  CHECK(machine.costs(9).micro_batch == 16);
  machine.together = machine.alone;  // a job of one micro-batch
  CHECK(machine.costs(9).micro_batch == 10);
}

TEST_CASE("the knee is the last count before one that gives less than half of what it could add") {
  const auto row = [](int devices, double seconds) {
    Forecast forecast;
    forecast.devices = devices;
    forecast.compute = seconds;
    return forecast;
  };
  const std::vector<Forecast> rows{row(1, 8), row(2, 4), row(4, 2.5), row(8, 1.8), row(16, 0.5)};
  const Knee knee = find_knee(rows);
  CHECK(knee.devices == 4);
  CHECK(knee.next == 8);
  CHECK(knee.speed_up == doctest::Approx(2.5 / 1.8));
  CHECK(find_knee(std::span(rows).first(3)).devices == 4);
  CHECK(find_knee(std::span(rows).first(3)).next == 0);
  CHECK(find_knee(std::span(rows).first(1)).devices == 1);
  CHECK(find_knee(std::vector{row(4, 1), row(5, 0.888)}).next == 0);  // 1.125 times as fast is half of 1.25
  CHECK(find_knee(std::vector{row(4, 1), row(5, 0.9)}).next == 5);
}

}  // namespace dptrain
