#include <doctest/doctest.h>

#include <algorithm>

#include "core/process.h"
#include "report/lines.h"
#include "report/samples.h"

using namespace dptrain;
using namespace dptrain::test;

TEST_CASE("thousands are grouped") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(1234567) == "1,234,567");
  CHECK(grouped(-123) == "-123");
  CHECK(grouped(-1234) == "-1,234");
}

TEST_CASE("the header") {
  const auto lines = header_lines(sample_plan());
  REQUIRE(lines.size() == 4);
  CHECK(lines[0] == "dptrain " + version() + "  configs/mnist.yaml  seed 7");
  CHECK(lines[1] == "mnist  60,000 train / 10,000 test samples, 1x28x28, 10 classes  (from /data/mnist)");
  CHECK(lines[2] == "407,050 parameters, 2 replicas on the CPU");
  CHECK(lines[3] == "256 = 4 micro-batches x 64, same bits at 1 to 4 replicas");
}

TEST_CASE("the header says what runs in what, where that is not fp32") {
  RunPlan plan = sample_plan();
  plan.precision = "bf16";
  const auto lines = header_lines(plan);
  REQUIRE(lines.size() == 5);
  CHECK(lines[4] ==
        "bf16: convolutions, products, activations and their gradients; fp32: weights and their gradients, sums, "
        "statistics, "
        "loss, optimizer");
}

TEST_CASE("the header names fp16, and what gradients travel as") {
  RunPlan plan = sample_plan();
  plan.precision = "fp16";
  plan.communication = "bf16";
  const auto lines = header_lines(plan);
  REQUIRE(lines.size() == 6);
  CHECK(lines[4].starts_with("fp16: convolutions, products, activations and their gradients; fp32: weights"));
  CHECK(lines[5] == "bf16: gradients on their way between GPUs");
}

TEST_CASE("the end says what the loss scale has come to") {
  Summary summary = sample_summary();
  summary.loss_scale = {.scale = 32768, .skipped_steps = 3};
  const auto lines = end_lines(summary);
  CHECK(std::count(lines.begin(), lines.end(),
                   "loss scale 32768; 3 steps left out for gradients that were not finite") == 1);
}

TEST_CASE("the header says how a batch is cut") {
  RunPlan plan = sample_plan();
  const auto cut = [&] { return header_lines(plan)[3]; };
  plan.global_batch_size = plan.step_samples = 1000;
  plan.micro_batches = 3;
  CHECK(cut() == "1,000 = 3 micro-batches: 1 x 334 + 2 x 333, same bits at 1 to 3 replicas");
  plan.micro_batches = 1;
  CHECK(cut() == "1,000 = 1 micro-batch x 1000, same bits in every run");
  plan.reproducible = false;
  CHECK(cut() == "1,000 = 1 micro-batch x 1000, not reproducible: bits may differ from run to run");
  plan.reproducible = true;
  plan.mode = "async";
  CHECK(cut() == "1,000 = 1 micro-batch x 1000, mode async: bits may differ from run to run");
}

TEST_CASE("the header of local SGD says how a step is cut among workers") {
  RunPlan plan = sample_plan();
  plan.mode = "local_sgd";
  plan.step_samples = 128;
  plan.workers = 4;
  plan.sync_every = 8;
  CHECK(header_lines(plan)[3] == "128 = 4 workers x 32, averaged every 8 steps, same bits at 1 to 4 replicas");
  plan.workers = 1;
  plan.sync_every = 1;
  CHECK(header_lines(plan)[3] == "128 = 1 worker x 128, averaged every step, same bits in every run");
  plan.reproducible = false;
  CHECK(header_lines(plan)[3] ==
        "128 = 1 worker x 128, averaged every step, not reproducible: bits may differ from run to run");
}

TEST_CASE("a training set below the global batch: the header tells what a step has, not what the job asks for") {
  RunPlan plan = sample_plan();
  plan.global_batch_size = 1000;
  plan.step_samples = 300;
  plan.micro_batches = 19;
  CHECK(header_lines(plan)[3] == "300 = 19 micro-batches: 15 x 16 + 4 x 15, same bits at 1 to 19 replicas");
}

TEST_CASE("one replica, several threads") {
  RunPlan plan = sample_plan();
  plan.devices = plan.replicas = plan.parameters = plan.classes = 1;
  plan.threads_per_replica = 4;
  CHECK(header_lines(plan)[1] == "mnist  60,000 train / 10,000 test samples, 1x28x28, 1 class  (from /data/mnist)");
  CHECK(header_lines(plan)[2] == "1 parameter, 1 replica on the CPU, 4 threads each");
}

TEST_CASE("a step and an evaluation") {
  CHECK(step_line(sample_plan(), sample_step()) ==
        "step   100/1,175  epoch 0.43  loss 0.3412  lr 0.1  31,204 samples/s");
  CHECK(evaluation_line(sample_evaluation()) == "test at epoch 1.00  accuracy 97.45%  loss 0.0812  (0.6 s)");
}

TEST_CASE("no accuracy is rounded up") {
  EvalReport evaluation = sample_evaluation();
  evaluation.test_accuracy = 0.98996;
  evaluation.ema_test_accuracy = 0.97996;
  evaluation.ema_test_loss = 0.5;
  CHECK(evaluation_line(evaluation) ==
        "test at epoch 1.00  accuracy 98.99%  loss 0.0812  average: accuracy 97.99% loss 0.5000  (0.6 s)");
  Summary summary = sample_summary();
  summary.test_accuracy = 0.98996;
  summary.ema_test_accuracy = 0.97996;
  summary.ema_test_loss = 0.5;
  const auto lines = end_lines(summary);
  CHECK(std::count(lines.begin(), lines.end(), "test accuracy 98.99%  test loss 0.0283") == 1);
  CHECK(std::count(lines.begin(), lines.end(), "with the weights' average: test accuracy 97.99%  test loss 0.5000") ==
        1);
}

TEST_CASE("small, large and unknown numbers") {
  StepReport step = sample_step();
  const auto line = [&] { return step_line(sample_plan(), step); };
  step.loss = 0.00012345;
  CHECK(line().find("loss 1.234e-04 ") != std::string::npos);
  step.loss = 0;
  CHECK(line().find("loss 0.0000 ") != std::string::npos);
  step.loss = 12345678;
  CHECK(line().find("loss 1.235e+07 ") != std::string::npos);
  step.loss = not_known;
  step.samples_per_second = not_known;
  CHECK(line().find("loss nan  lr 0.1  0 samples/s") != std::string::npos);
  EvalReport evaluation = sample_evaluation();
  evaluation.test_accuracy = not_known;
  CHECK(evaluation_line(evaluation) == "test at epoch 1.00  loss 0.0812  (0.6 s)");
}

TEST_CASE("the end") {
  const auto lines = end_lines(sample_summary());
  REQUIRE(lines.size() == 5);
  CHECK(lines[0] ==
        "done: 1,175 steps, 5 epochs, 300,000 samples in 9.6 s of training, 10.5 s in all: 31,250 samples/s");
  CHECK(lines[1] == "where the time went: compute 90%, data 5%, reduce 3%, wait 2%");
  CHECK(lines[2] == "the largest part is compute: forward and backward, as it should be");
  CHECK(lines[3] == "test accuracy 99.12%  test loss 0.0283");
  CHECK(lines[4] == "weights 00112233445566778899aabbccddeeff");
}

TEST_CASE("the end of one epoch, and of a run below what is expected") {
  Summary summary = sample_summary();
  summary.epochs = summary.steps = 1;
  CHECK(end_lines(summary)[0].starts_with("done: 1 step, 1 epoch, "));
  summary.status = RunStatus::expect_not_met;
  CHECK(end_lines(summary)[0].starts_with("ended below what is expected: 1 step"));
}

TEST_CASE("the end leaves out what is not known") {
  Summary summary = sample_summary();
  summary.status = RunStatus::stopped;
  summary.shares = {};
  summary.test_accuracy = summary.test_loss = not_known;
  const auto lines = end_lines(summary);
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].starts_with("stopped: "));
  CHECK(lines[1].starts_with("weights "));
}

TEST_CASE("the largest share is named, whichever it is") {
  CHECK(largest_share_line({0.4, 0.3, 0.2, 0.1}).starts_with("the largest part is data: "));
  CHECK(largest_share_line({0.1, 0.3, 0.4, 0.2}).starts_with("the largest part is reduce: "));
  CHECK(largest_share_line({0.1, 0.2, 0.3, 0.4}).starts_with("the largest part is wait: "));
  CHECK(shares_line({0.1, 0.2, 0.3, 0.4}) == "where the time went: wait 40%, reduce 30%, compute 20%, data 10%");
  CHECK(largest_share_line({}).empty());
}
