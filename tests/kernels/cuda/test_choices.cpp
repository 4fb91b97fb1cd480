// What is chosen among the algorithms and engines that the doubles offer: the first that the rules allow.
#include <doctest/doctest.h>

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda/device_floats.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/product.h"
#include "support/compare.h"
#include "support/fake_cuda/fake_cublaslt.h"
#include "support/fake_cuda/fake_cuda.h"
#include "support/fake_cuda/fake_cudnn.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

using Names = std::vector<std::string>;

/// Undoes what a test asked of the doubles.
struct Restore {
  ~Restore() {
    fake_cudnn::set_options({});
    fake_cublaslt::set_epilogues(true);
  }
};

Names linear_choices(bool tf32, bool reproducible, const AffineTypes& types = {}) {
  Gpu gpu(tf32, reproducible);
  LinearConfig config;
  config.types = types;
  config.input = TensorDesc(Shape{8}).as(types.compute);
  config.out_features = 4;
  const auto operation = cuda::make_linear(gpu.context, config);
  operation->prepare(2);
  return operation->implementations();
}

ConvolutionConfig convolution_config() {
  ConvolutionConfig config;
  config.input = TensorDesc(Shape{4, 5, 5}, Layout{Layout::Order::channels_last, 1});
  config.spec.out_channels = 4;
  config.spec.kernel_height = config.spec.kernel_width = 3;
  config.activation = ActivationSpec{ActivationKind::relu};
  return config;
}

Names convolution_choices(bool tf32, bool reproducible, ElementType type = ElementType::float32) {
  Gpu gpu(tf32, reproducible);
  ConvolutionConfig config = convolution_config();
  config.input = config.input.as(type);
  config.types = {type, type};
  const auto operation = cuda::make_convolution(gpu.context, config);
  operation->prepare(2);
  return operation->implementations();
}

Names three(const std::string& name) {
  return {name, name, name};
}

}  // namespace

TEST_CASE("products: algorithms that failed are passed over, and sums in place where bits matter") {
  CHECK(linear_choices(false, true) == three("cublaslt:31:tile15:split2"));
  CHECK(linear_choices(false, false) == three("cublaslt:21:tile18:split4"));
}

TEST_CASE("products without epilogues are the same, with a pass of our own behind them") {
  const Restore restore;
  const Floats x = random_floats(12, 1), w = random_floats(24, 2), b = random_floats(6, 3), dy = random_floats(18, 4);
  LinearConfig config;
  config.input = TensorDesc(Shape{4});
  config.out_features = 6;
  config.activation = ActivationSpec{ActivationKind::relu};
  Floats results[2];
  for (const bool epilogues : {false, true}) {
    fake_cublaslt::set_epilogues(epilogues);
    Gpu gpu;
    const auto operation = cuda::make_linear(gpu.context, config);
    operation->prepare(3);
    results[epilogues] = run_affine(gpu, *operation, 0, 3, x, w, b, dy).y;
  }
  CHECK(difference(results[0], results[1]) < 1e-6);
}

TEST_CASE("TF32 is used where it was asked for and nowhere else") {
  const Floats x = {1.0f + 1.0f / 4096, 0, 0, 0}, w = {1, 0, 0, 0}, dy = {1}, b;
  LinearConfig config;
  config.input = TensorDesc(Shape{4});
  config.out_features = 1;
  config.bias = false;
  for (const bool tf32 : {false, true}) {
    Gpu gpu(tf32);
    const auto operation = cuda::make_linear(gpu.context, config);
    operation->prepare(1);
    CHECK(run_affine(gpu, *operation, 0, 1, x, w, b, dy).y[0] == (tf32 ? 1.0f : x[0]));
  }
}

TEST_CASE("engines: no tensor cores in fp32, none that is not deterministic, no large transforms, no compilation") {
  CHECK(convolution_choices(false, true) == Names{"cudnn:engine31", "cudnn:engine9", "cudnn:engine9"});
  CHECK(convolution_choices(false, false) == Names{"cudnn:engine31", "cudnn:engine3", "cudnn:engine3"});
  CHECK(convolution_choices(true, true) == Names{"cudnn:engine31", "cudnn:engine4", "cudnn:engine4"});
}

TEST_CASE("in 16 bits tensor cores are taken as they come, and sums are in fp32 whether bits matter or not") {
  for (const ElementType type : {ElementType::bfloat16, ElementType::float16}) {
    CHECK(linear_choices(false, true, {type, type}) == three("cublaslt:31:tile15:split2"));
    CHECK(linear_choices(false, false, {type, type})[0] == "cublaslt:31:tile15:split2");  // no parts added in 16 bits
    CHECK(linear_choices(true, true, {type, ElementType::float32}) == three("cublaslt:31:tile15:split2"));
    CHECK(convolution_choices(false, true, type) == Names{"cudnn:engine31", "cudnn:engine4", "cudnn:engine4"});
    CHECK(convolution_choices(false, false, type) == Names{"cudnn:engine31", "cudnn:engine3", "cudnn:engine3"});
  }
}

TEST_CASE("a copy of the weights is made for each version, and no more often") {
  Gpu gpu;
  LinearConfig config;
  config.input = TensorDesc(Shape{8}).as(ElementType::bfloat16);
  config.out_features = 4;
  config.types = {ElementType::bfloat16, ElementType::bfloat16};
  const auto operation = cuda::make_linear(gpu.context, config);
  operation->prepare(2);
  CHECK(operation->copy_bytes() == 2 * (32 + 4));
  const DeviceFloats weight(random_floats(32, 1)), other(random_floats(32, 2)), bias(random_floats(4, 3));
  const auto enqueued = [&](const DeviceFloats& from, std::int64_t version) {
    const std::int64_t before = fake_cuda::counters().enqueued;
    operation->set_weights(from.data(), bias.data(), version);
    return fake_cuda::counters().enqueued - before;
  };
  CHECK(enqueued(weight, 1) == 2);
  CHECK(enqueued(weight, 1) == 0);
  CHECK(enqueued(weight, 2) == 2);
  CHECK(enqueued(other, 2) == 2);
  gpu.stream.synchronize();
}

TEST_CASE("the doubles refuse what the libraries refuse of types") {
  Gpu gpu;
  cuda::OperationGraph graph(ElementType::bfloat16);
  const cuda::ConvolutionGeometry geometry{{1, 1}, {0, 0}};
  const auto x = graph.tensor(1, {1, 4, 5, 5}), halves = graph.tensor(2, {4, 4, 3, 3}, ElementType::float16),
             same = graph.tensor(3, {4, 4, 3, 3}), y = graph.tensor(4, {1, 4, 3, 3}),
             other = graph.tensor(5, {1, 4, 3, 3}, ElementType::float16),
             sums = graph.tensor(6, {1, 4, 3, 3}, ElementType::float32);
  CHECK_THROWS_AS(graph.convolution(geometry, x, halves, y), fake_cuda::Misuse);
  CHECK_THROWS_AS(graph.convolution(geometry, x, same, other), fake_cuda::Misuse);
  CHECK_NOTHROW(graph.convolution(geometry, x, same, sums));
  CHECK_THROWS_AS(cuda::Product::prepare(gpu.context, {4, 4, 4, false, false}, cuda::Product::Epilogue::none,
                                         {ElementType::bfloat16, ElementType::float16}),
                  fake_cuda::Misuse);
}

TEST_CASE("engines: what is not fused, and what only the fallback or nothing but an exception offers") {
  const Restore restore;
  fake_cudnn::set_options({.fusion = false});
  CHECK(convolution_choices(false, true) == three("cudnn:engine9"));
  fake_cudnn::set_options({.fusion = false, .preferred = false});
  CHECK(convolution_choices(false, true) == three("cudnn:engine20"));
  fake_cudnn::set_options({.fusion = false, .preferred = false, .fallback = false});
  CHECK(convolution_choices(false, true) == three("cudnn:engine6"));
}

TEST_CASE("a fused convolution and one with a pass of our own behind it give the same") {
  const Restore restore;
  const ConvolutionConfig config = convolution_config();
  const Floats x = random_floats(3 * 100, 1), w = random_floats(4 * 4 * 9, 2), b = random_floats(4, 3),
               dy = random_floats(3 * 36, 4);
  Floats results[2];
  for (const bool fusion : {false, true}) {
    fake_cudnn::set_options({.fusion = fusion});
    Gpu gpu;
    const auto operation = cuda::make_convolution(gpu.context, config);
    operation->prepare(3);
    results[fusion] = run_affine(gpu, *operation, 0, 3, x, w, b, dy).y;
  }
  CHECK(difference(results[0], results[1]) < 1e-6);
}

TEST_CASE("the workspace grows to what was chosen, and steps allocate nothing on the device") {
  Gpu gpu;
  const auto operation = cuda::make_convolution(gpu.context, convolution_config());
  operation->prepare(3);
  CHECK(gpu.context.workspace.size() >= std::size_t{40} << 20);
  const DeviceFloats x(3 * 100), w(4 * 4 * 9), b(4), y(3 * 36), dy(3 * 36), dw(4 * 4 * 9), db(4), dx(3 * 100);
  const auto allocations = fake_cuda::counters().allocations;
  const int objects = fake_cudnn::live_objects();
  int after_first = 0;
  for (int step = 0; step < 3; ++step) {
    operation->forward(0, x.data(), w.data(), b.data(), y.data());
    operation->backward_weights(0, x.data(), dy.data(), dw.data(), db.data());
    operation->backward_data(0, dy.data(), w.data(), step, dx.data());
    if (step == 0) after_first = fake_cudnn::live_objects();
  }
  gpu.stream.synchronize();
  CHECK(fake_cuda::counters().allocations == allocations);
  CHECK(after_first == objects + 3);  // the pointers of each plan
  CHECK(fake_cudnn::live_objects() == after_first);
}

TEST_CASE("a convolution takes other tensors than the last time, and a workspace that has grown since") {
  Gpu gpu;
  const auto operation = cuda::make_convolution(gpu.context, convolution_config());
  operation->prepare(1);
  const DeviceFloats x(random_floats(100, 1)), other(random_floats(100, 2)), w(random_floats(144, 3)), b(4);
  const DeviceFloats first(36), second(36), third(36);
  operation->forward(0, x.data(), w.data(), b.data(), first.data());
  operation->forward(0, other.data(), w.data(), b.data(), second.data());
  const Floats of_x = first.read(gpu.stream);
  CHECK(second.read(gpu.stream) != of_x);
  gpu.context.require_workspace(gpu.context.workspace.size() + (std::size_t{1} << 20));
  operation->forward(0, x.data(), w.data(), b.data(), third.data());
  CHECK(third.read(gpu.stream) == of_x);
}

TEST_CASE("a step can be captured and repeated") {
  Gpu gpu;
  LinearConfig config;
  config.input = TensorDesc(Shape{8});
  config.out_features = 4;
  const auto linear = cuda::make_linear(gpu.context, config);
  const auto convolution = cuda::make_convolution(gpu.context, convolution_config());
  linear->prepare(2);
  convolution->prepare(2);
  const DeviceFloats x(random_floats(16, 1)), w(random_floats(32, 2)), b(random_floats(4, 3)), y(8);
  const DeviceFloats cx(random_floats(200, 4)), cw(random_floats(144, 5)), cy(72);
  const cuda::Graph graph = cuda::Graph::capture(gpu.stream.get(), [&] {
    linear->forward(0, x.data(), w.data(), b.data(), y.data());
    convolution->forward(0, cx.data(), cw.data(), b.data(), cy.data());
  });
  linear->forward(0, x.data(), w.data(), b.data(), y.data());
  convolution->forward(0, cx.data(), cw.data(), b.data(), cy.data());
  const Floats direct = y.read(gpu.stream), direct_images = cy.read(gpu.stream);
  cuda::check(cudaMemsetAsync(y.data(), 0, 32, gpu.stream.get()), "clearing");
  graph.launch(gpu.stream.get());
  CHECK(y.read(gpu.stream) == direct);
  CHECK(cy.read(gpu.stream) == direct_images);
}

TEST_CASE("no descriptor outlives its operation") {
  const int blas = fake_cublaslt::live_objects(), dnn = fake_cudnn::live_objects();
  linear_choices(false, true);
  convolution_choices(false, true);
  CHECK(fake_cublaslt::live_objects() == blas);
  CHECK(fake_cudnn::live_objects() == dnn);
  CHECK(fake_cuda::live_objects() == 0);
}

TEST_CASE("a matrix that is not aligned is an error of ours") {
  Gpu gpu;
  auto product = cuda::Product::prepare(gpu.context, {4, 4, 4, false, false}, cuda::Product::Epilogue::none);
  REQUIRE(product.has_value());
  const DeviceFloats a(16), b(16, 1), d(16);
  CHECK_THROWS(product->run(a.data(), b.data(), nullptr, d.data()));
}
