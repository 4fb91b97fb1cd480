// Norms with `sync: true`: pieces of a pass, statistics of a whole step, and the gradient of its loss through them.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "kernels/moments.h"
#include "spec/reader.h"
#include "support/compare.h"
#include "support/gradient_check.h"
#include "support/one_thread.h"
#include "support/step_in_pieces.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

using Parts = std::vector<StepInPieces::MicroBatch>;

ModelSpec spec_of(const std::string& input, const std::string& layers) {
  return read_job_text(
             fmt::format(
                 "dataset: {{name: none}}\nmodel: {{input: {}, layers: [{}]}}\n"
                 "train: {{steps: 1, global_batch_size: 8, micro_batch_size: 8, optimizer: {{name: sgd, lr: 0.1}}}}\n",
                 input, layers),
             "sync.yaml")
      .model;
}

Parts random_parts(const std::vector<std::int64_t>& sizes, std::int64_t features, Draws& draws) {
  Parts parts;
  std::int64_t id = 100;
  for (const std::int64_t size : sizes) {
    StepInPieces::MicroBatch part;
    for (std::int64_t s = 0; s < size; ++s) {
      part.ids.push_back(id++);
      part.labels.push_back(static_cast<std::int32_t>(draws.below(4)));
    }
    part.x = draws.vector(size * features);
    parts.push_back(part);
  }
  return parts;
}

/// All of them as one.
Parts joined(const Parts& parts) {
  StepInPieces::MicroBatch all;
  for (const auto& part : parts) {
    all.ids.insert(all.ids.end(), part.ids.begin(), part.ids.end());
    all.x.insert(all.x.end(), part.x.begin(), part.x.end());
    all.labels.insert(all.labels.end(), part.labels.begin(), part.labels.end());
  }
  return {all};
}

std::string without_sync(std::string layers) {
  for (std::size_t at; (at = layers.find("sync: true")) != std::string::npos;) layers.replace(at, 10, "sync: false");
  return layers;
}

/// The largest difference, relative to the largest value, or to 1 where all are smaller.
double apart(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 1, most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(double{b[i]}));
    most = std::max(most, std::abs(double{a[i]} - double{b[i]}));
  }
  return most / largest;
}

const std::string kConv = "conv2d: {out_channels: 20, kernel_size: 3, padding: 1}";
const std::string kSync = "batch_norm: {sync: true, eps: 0.1, momentum: 0.3}";
const char* const kInput = "[3, 6, 5]";
const std::string kNetworks[] = {
    kConv + ", " + kSync + ", flatten, linear: 4",
    "flatten, linear: 9, " + kSync + ", silu, linear: 7, batch_norm: {sync: true, affine: false, eps: 1}, linear: 4",
    kSync + ", " + kConv + ", " + kSync + ", tanh, residual: [" + kConv + ", " + kSync + ", gelu, " + kConv + ", " +
        kSync + "], flatten, linear: 4, batch_norm: {sync: true, eps: 0.1}",
    kConv + ", residual: {layers: [conv2d: {out_channels: 24, kernel_size: 3, padding: 1, stride: 2}, " + kSync +
        "], shortcut: projection}, silu, residual: {recompute: true, layers: [" + kSync +
        ", silu, conv2d: {out_channels: 24, kernel_size: 1}]}, flatten, linear: 4",
};

}  // namespace

TEST_CASE("moments of parts are those of the whole") {
  const std::vector<double> values{3, -1, 4, 1, -5, 9, 2.5, 6};
  const auto moments = [&](std::size_t first, std::size_t last) {
    double mean = 0, squares = 0;
    for (std::size_t i = first; i < last; ++i) mean += values[i] / static_cast<double>(last - first);
    for (std::size_t i = first; i < last; ++i) squares += (values[i] - mean) * (values[i] - mean);
    return std::vector<float>{static_cast<float>(last - first), static_cast<float>(mean), static_cast<float>(squares)};
  };
  for (std::size_t cut = 1; cut < values.size(); ++cut) {
    std::vector<float> left = moments(0, cut);
    merge_moments(1, left.data(), moments(cut, values.size()).data(), left.data());
    CHECK(difference(left, moments(0, values.size())) < 1e-6);
  }
}

TEST_CASE("a micro-batch that is all of its step: the bits of a batch_norm without sync") {
  for (const std::string& layers : kNetworks) {
    CAPTURE(layers);
    Draws draws(3);
    const Parts parts = random_parts({7}, 90, draws);
    StepInPieces synced(spec_of(kInput, layers), 1, {7}), plain(spec_of(kInput, without_sync(layers)), 1, {7});
    REQUIRE(synced.model().pieces() > 1);
    REQUIRE(plain.model().pieces() == 1);
    const ParameterTable& table = synced.model().parameters();
    const Buffer weights = Buffer::host_floats(table.floats()), whole = Buffer::host_floats(table.floats());
    table.initialise(5, weights.floats());
    synced.bind(weights.floats());
    plain.bind(weights.floats());
    std::vector<float> a, b;
    const double loss = plain.train(1, 0, parts, b);
    CHECK(synced.train(1, 0, parts, a) == loss);
    CHECK(a == b);
    // And without anybody who takes it in pieces.
    std::fill_n(whole.floats(), table.floats(), 77.0f);
    const LossSum alone =
        synced.model().train(1, 0, parts[0].ids, parts[0].x.data(), parts[0].labels.data(), whole.floats());
    CHECK(alone.loss == loss);
    CHECK(std::memcmp(a.data(), whole.data(), a.size() * sizeof(float)) == 0);
  }
}

TEST_CASE("a step that is cut: losses, gradients and statistics are those of the batch in one piece") {
  for (const std::string& layers : kNetworks) {
    CAPTURE(layers);
    for (const std::vector<std::int64_t>& cut :
         {std::vector<std::int64_t>{5, 4, 4}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {7, 6}}) {
      Draws draws(4);
      const Parts parts = random_parts(cut, 90, draws);
      StepInPieces pieces(spec_of(kInput, layers), static_cast<int>(cut.size()), {cut.front(), cut.back()});
      StepInPieces whole(spec_of(kInput, without_sync(layers)), 1, {13});
      const ParameterTable &table = pieces.model().parameters(), &other = whole.model().parameters();
      const Buffer weights = Buffer::host_floats(table.floats()), others = Buffer::host_floats(other.floats());
      table.initialise(5, weights.floats());
      other.initialise(5, others.floats());
      pieces.bind(weights.floats());
      whole.bind(others.floats());
      std::vector<float> a, b;
      const double loss = whole.train(1, 0, joined(parts), b);
      CHECK(std::abs(pieces.train(1, 0, parts, a) - loss) < 1e-5 * loss);
      for (const Parameter& p : table.all()) {
        CAPTURE(p.name);
        const auto same =
            std::find_if(other.all().begin(), other.all().end(), [&](const Parameter& q) { return q.name == p.name; });
        REQUIRE(same != other.all().end());
        // A bias in front of a norm has no gradient but what rounding leaves.
        CHECK(apart(table.canonical(p, a.data()), other.canonical(*same, b.data())) < 2e-5);
      }
    }
  }
}

TEST_CASE("the gradient of a step's loss through norms over the step") {
  for (const std::string& layers : kNetworks) {
    CAPTURE(layers);
    Draws draws(6);
    const Parts parts = random_parts({3, 2, 2}, 90, draws);
    StepInPieces step(spec_of(kInput, layers), 3, {3, 2});
    const ParameterTable& table = step.model().parameters();
    const Buffer weights = Buffer::host_floats(table.floats());
    for (const Parameter& p : table.all()) {
      std::vector<float> values = draws.vector(p.desc.shape.elements());
      for (float& v : values) v /= 8;
      table.set_canonical(p, values.data(), weights.floats());
    }
    step.bind(weights.floats());
    std::vector<float> gradients, ignored;
    std::int64_t number = 0;  // names the version of the weights
    step.train(5, number, parts, gradients);
    for (const Parameter& p : table.all()) {
      if (p.desc.role == ParameterRole::statistic) continue;  // what is written for it is no gradient
      CAPTURE(p.name);
      std::vector<float> values = table.canonical(p, weights.floats());
      const auto objective = [&] {
        table.set_canonical(p, values.data(), weights.floats());
        return step.train(5, ++number, parts, ignored);
      };
      CHECK(gradient_error(values, table.canonical(p, gradients.data()), 0x1p-5f, 0.02, objective, draws, 8) < 5e-3);
      table.set_canonical(p, values.data(), weights.floats());
    }
  }
}

TEST_CASE("gradients are final piece by piece, in the order in which they lie") {
  for (const std::string& layers : kNetworks) {
    CAPTURE(layers);
    StepInPieces step(spec_of(kInput, layers), 1, {3});
    const Model& model = step.model();
    std::int64_t last = 0;
    for (int piece = 0; piece < model.pieces(); ++piece) {
      const std::int64_t floats = model.final_floats(piece);
      CHECK(floats >= last);
      CHECK((floats == 0 || piece >= model.pieces() / 2));
      last = floats;
    }
    CHECK(last == model.parameters().floats());
  }
}
