// Purpose: small whole runs for tests of GPUs, on the fake of CUDA and on a real one. Thread safety: none.
#pragma once

#include <fmt/format.h>

#include <string>

#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "train/trainer.h"

namespace dptrain::test {

inline const Shape kShape{1, 6, 6};

/// Layers and training of the jobs; 43 samples in steps of 16, the last of 11: sizes that divide by nothing.
struct Case {
  const char* name;
  const char* layers;
  const char* train;
};
inline const Case kCases[] = {
    {"mlp with dropout and momentum", "[flatten, {linear: 9}, relu, {dropout: 0.2}, {linear: 3}]",
     "micro_batch_size: 4, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}"},
    {"cnn with clipping and adam",
     "[{conv2d: {out_channels: 5, kernel_size: 3, padding: 1}}, relu, {max_pool2d: 2}, {dropout: 0.1}, "
     "{conv2d: {out_channels: 4, kernel_size: 2}}, tanh, flatten, {linear: 3}]",
     "micro_batch_size: 3, clip_grad_norm: 0.5, optimizer: {name: adam, lr: 0.01}, ema: {decay: 0.5}"},
    {"softmax regression, one sample a micro-batch", "[flatten, {linear: {out_features: 3, bias: false}}]",
     "micro_batch_size: 1, optimizer: {name: rmsprop, momentum: 0.9, weight_decay: 0.01}"},
    {"average pool, gelu, mean squared error", "[{avg_pool2d: 2}, flatten, {linear: 7}, gelu, {linear: 3}]",
     "micro_batch_size: 6, optimizer: {name: adamw, lr: 0.01, weight_decay: 0.1, weight_decay_on: weights}, ema: "
     "{decay: 0.7}"},
    {"norms and residual blocks",
     "[{conv2d: {out_channels: 4, kernel_size: 3, padding: 1, bias: false}}, batch_norm, relu, "
     "{residual: [{conv2d: {out_channels: 4, kernel_size: 3, padding: 1}}, batch_norm, relu]}, relu, "
     "{residual: {layers: [{conv2d: {out_channels: 6, kernel_size: 3, padding: 1, stride: 2}}, {group_norm: 2}], "
     "shortcut: pad}}, "
     "relu, {residual: {layers: [silu, {conv2d: {out_channels: 5, kernel_size: 3, padding: 1}}, layer_norm], "
     "shortcut: projection}}, global_avg_pool, {linear: 3}]",
     "micro_batch_size: 4, clip_grad_norm: 1, optimizer: {name: sgd, lr: 0.05, momentum: 0.9}"},
    {"norms of tensors: lars",
     "[{conv2d: {out_channels: 5, kernel_size: 3}}, {group_norm: 1}, relu, flatten, {linear: 3}]",
     "micro_batch_size: 4, optimizer: {name: lars, lr: 0.5, momentum: 0.9, weight_decay: 0.01}, ema: {decay: 0.7}"},
    {"norms of tensors: lamb, clipped", "[flatten, {linear: 40}, relu, {dropout: 0.2}, {linear: 3}]",
     "micro_batch_size: 3, clip_grad_norm: 0.5, optimizer: {name: lamb, lr: 0.02, weight_decay: 0.1}"},
    {"matrices: muon",
     "[{conv2d: {out_channels: 4, kernel_size: 3, padding: 1, bias: false}}, batch_norm, relu, {conv2d: {out_channels: "
     "3, kernel_size: 2}}, relu, flatten, {linear: 3}]",
     "micro_batch_size: 4, clip_grad_norm: 1, optimizer: {name: muon, lr: 0.02, momentum: 0.8, adamw_lr: 0.01, "
     "weight_decay: 0.1}, ema: {decay: 0.7}"},
};

/// Micro-batches run in pieces: these norms are over all of a step. One is behind a block that is computed again in
/// backward.
inline const Case kNormsOverTheStep = {
    "norms over the step",
    "[{conv2d: {out_channels: 4, kernel_size: 3, padding: 1, bias: false}}, {batch_norm: {sync: true}}, relu, "
    "{residual: {layers: [{conv2d: {out_channels: 4, kernel_size: 3, padding: 1}}, {batch_norm: {sync: true}}, relu], "
    "recompute: true}}, flatten, {linear: 5}, {batch_norm: {sync: true, affine: false}}, {dropout: 0.1}, {linear: 3}]",
    "micro_batch_size: 3, clip_grad_norm: 1, optimizer: {name: sgd, lr: 0.05, momentum: 0.9}, ema: {decay: 0.7}"};

/// A sample of 25 floats: micro-batches of three begin where no library wants a tensor, unless they are put elsewhere.
inline JobSpec odd_job(const std::string& devices) {
  return read_job_text(
      fmt::format(
          "name: odd\ndataset: {{name: digits}}\nmodel:\n  input: [1, 5, 5]\n  layers: [{{conv2d: {{out_channels: 3, "
          "kernel_size: 3}}}}, relu, flatten, {{linear: 5}}, relu, {{linear: 3}}]\n  loss: cross_entropy\n"
          "train: {{epochs: 2, global_batch_size: 16, micro_batch_size: 3, optimizer: {{name: sgd, lr: 0.1}}}}\n"
          "devices: {}\n",
          devices),
      "odd.yaml");
}

inline JobSpec job_of(const Case& c, const std::string& devices, const std::string& more = "") {
  return read_job_text(
      fmt::format("name: small\ndataset: {{name: digits}}\nmodel:\n  input: [1, 6, 6]\n  layers: {}\n  loss: {}\n"
                  "train: {{epochs: 3, global_batch_size: 16, {}}}\ndevices: {}\n{}\n",
                  c.layers, std::string(c.name).ends_with("error") ? "mse" : "cross_entropy", c.train, devices, more),
      "small.yaml");
}

inline Summary run(const JobSpec& job) {
  Reporter silent;
  const DatasetPair data = memory_pair(43, 70, kShape, 3);
  return train(job, data, silent);
}

}  // namespace dptrain::test
