// Purpose: one run's records, with known values, for the tests of lib/report; and what those tests need of the system.
#pragma once

#include <cstdio>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "report/records.h"
#include "support/files.h"

namespace dptrain::test {

inline RunPlan sample_plan() {
  RunPlan plan;
  plan.name = "mnist";
  plan.job_file = "configs/mnist.yaml";
  plan.seed = 7;
  plan.dataset = "mnist";
  plan.dataset_location = "/data/mnist";
  plan.train_samples = 60000;
  plan.test_samples = 10000;
  plan.classes = 10;
  plan.sample_shape = Shape{1, 28, 28};
  plan.device_type = "cpu";
  plan.devices = 2;
  plan.replicas = 2;
  plan.parameters = 407050;
  plan.mode = "sync";
  plan.global_batch_size = plan.step_samples = 256;
  plan.micro_batches = 4;
  plan.steps = 1175;
  plan.epochs = 5;
  return plan;
}

inline StepReport sample_step() {
  return {100, 0.4255, 0.341249, 0.1, 31204.4, {0.05, 0.9, 0.03, 0.02}};
}

inline EvalReport sample_evaluation() {
  return {235, 1, 0.0812, 0.97454, 0.61, 1.5};
}

inline Summary sample_summary() {
  Summary summary;
  summary.name = "mnist";
  summary.dataset = "mnist";
  summary.device_type = "cpu";
  summary.mode = "sync";
  summary.weights_hash = "00112233445566778899aabbccddeeff";
  summary.seed = 7;
  summary.devices = summary.replicas = 2;
  summary.micro_batches = 4;
  summary.parameters = 407050;
  summary.steps = 1175;
  summary.epochs = 5;
  summary.samples = 300000;
  summary.wall_seconds = 10.53;
  summary.startup_seconds = 0.25;
  summary.train_seconds = 9.6;
  summary.samples_per_second = 31250;
  summary.final_loss = 0.0125;
  summary.test_loss = 0.0283;
  summary.test_accuracy = 0.9912;
  summary.shares = {0.05, 0.9, 0.03, 0.02};
  summary.peak_rss_bytes = 123456789;
  return summary;
}

/// A stream into memory.
class Captured {
 public:
  Captured() : stream_(::open_memstream(&bytes_, &size_)) {}
  ~Captured() {
    std::fclose(stream_);
    std::free(bytes_);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  std::FILE* stream() const { return stream_; }
  std::string text() const {
    std::fflush(stream_);
    return std::string(bytes_, size_);
  }

 private:
  char* bytes_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* stream_;
};

inline std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace dptrain::test
