// What the descriptors of the cuDNN double mean, and the loops that carry them out.
#include <algorithm>

#include "support/fake_cuda/cudnn_objects.h"
#include "support/fake_cuda/tf32.h"

namespace fake_cudnn {

namespace {

/// A tensor's memory while a graph runs.
struct View {
  const Tensor* tensor;
  void* data;
  float at(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) const {
    return fake_cuda::read(data, place(n, c, h, w), tensor->type);
  }
  void set(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w, float value) const {
    fake_cuda::write(data, place(n, c, h, w), tensor->type, value);
  }
  std::size_t place(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) const {
    const auto& s = tensor->strides;
    return static_cast<std::size_t>(n * s[0] + c * s[1] + h * s[2] + w * s[3]);
  }
  std::int64_t extent(std::size_t i) const { return tensor->extents[i]; }
};

template <class Visit>
void for_each_place(const Tensor& t, const Visit& visit) {
  for (std::int64_t n = 0; n < t.extents[0]; ++n) {
    for (std::int64_t c = 0; c < t.extents[1]; ++c) {
      for (std::int64_t h = 0; h < t.extents[2]; ++h) {
        for (std::int64_t w = 0; w < t.extents[3]; ++w) visit(n, c, h, w);
      }
    }
  }
}

/// Calls visit(k, c of the group, r, s, h, w) for every product that an output pixel of channel k is the sum of.
template <class Visit>
void for_each_product(const Step& s, std::int64_t p, std::int64_t q, const Visit& visit) {
  for (std::int64_t c = 0; c < s.w.extents[1]; ++c) {
    for (std::int64_t r = 0; r < s.w.extents[2]; ++r) {
      for (std::int64_t t = 0; t < s.w.extents[3]; ++t) {
        const std::int64_t h = p * s.stride[0] - s.padding[0] + r * s.dilation[0];
        const std::int64_t w = q * s.stride[1] - s.padding[1] + t * s.dilation[1];
        if (h < 0 || w < 0 || h >= s.x.extents[2] || w >= s.x.extents[3]) continue;
        visit(c, s.flipped ? s.w.extents[2] - 1 - r : r, s.flipped ? s.w.extents[3] - 1 - t : t, h, w);
      }
    }
  }
}

/// Sums in double precision over a tensor, rounded once in the end.
class Sums {
 public:
  explicit Sums(const Tensor& tensor) : tensor_(tensor), sums_(tensor.places()) {}
  double& at(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    const auto& s = tensor_.strides;
    return sums_[static_cast<std::size_t>(n * s[0] + c * s[1] + h * s[2] + w * s[3])];
  }
  void store(const Step& step, const View& to) {
    for_each_place(tensor_, [&](auto n, auto c, auto h, auto w) {
      const float kept = step.beta == 0 ? 0 : step.beta * to.at(n, c, h, w);
      to.set(n, c, h, w, step.alpha * static_cast<float>(at(n, c, h, w)) + kept);
    });
  }

 private:
  const Tensor& tensor_;
  std::vector<double> sums_;
};

void convolve(const Step& s, const View& x, const View& w, const View& y, bool tf32) {
  const auto input = [tf32](float value) { return double{tf32 ? fake_cuda::to_tf32(value) : value}; };
  const std::int64_t groups = s.x.extents[1] / s.w.extents[1], outs = s.w.extents[0] / groups;
  const Tensor& result = s.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR         ? s.y
                         : s.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? s.x
                                                                                                  : s.w;
  Sums sums(result);
  for_each_place(s.y, [&](std::int64_t n, std::int64_t k, std::int64_t p, std::int64_t q) {
    const std::int64_t first = k / outs * s.w.extents[1];
    for_each_product(s, p, q, [&](std::int64_t c, std::int64_t r, std::int64_t t, std::int64_t h, std::int64_t column) {
      if (&result == &s.y) sums.at(n, k, p, q) += input(x.at(n, first + c, h, column)) * input(w.at(k, c, r, t));
      if (&result == &s.x) sums.at(n, first + c, h, column) += input(y.at(n, k, p, q)) * input(w.at(k, c, r, t));
      if (&result == &s.w) sums.at(k, c, r, t) += input(x.at(n, first + c, h, column)) * input(y.at(n, k, p, q));
    });
  });
  sums.store(s, &result == &s.y ? y : &result == &s.x ? x : w);
}

void pointwise(const Step& s, const View& x, const View& second, const View& y) {
  for_each_place(s.y, [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    float value = x.at(n, c, h, w);
    if (s.has_second) {
      const auto one = [&](std::size_t i, std::int64_t index) { return second.extent(i) == 1 ? 0 : index; };
      value += second.at(one(0, n), one(1, c), one(2, h), one(3, w));
    } else {
      value = value > 0 ? value : 0;
    }
    y.set(n, c, h, w, value);
  });
}

Tensor part(const Object& operation, cudnnBackendAttributeName_t name) {
  return tensor_of(*operation.nested(name));
}

void read_convolution(Step& s, const Object& operation, cudnnBackendAttributeName_t descriptor,
                      cudnnBackendAttributeName_t alpha, cudnnBackendAttributeName_t beta) {
  const std::shared_ptr<Object> geometry = operation.nested(descriptor);
  const auto pair = [&](cudnnBackendAttributeName_t name) {
    const std::vector<std::int64_t> values = geometry->values<std::int64_t>(name);
    return std::array<std::int64_t, 2>{values[0], values[1]};
  };
  s.stride = pair(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES);
  s.padding = pair(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS);
  s.dilation = pair(CUDNN_ATTR_CONVOLUTION_DILATIONS);
  s.flipped = geometry->value<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) == CUDNN_CONVOLUTION;
  s.alpha = operation.value<float>(alpha);
  s.beta = operation.value<float>(beta);
  const auto behind = pair(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS);
  const auto &x = s.x.extents, &w = s.w.extents, &y = s.y.extents;
  if (x[1] % w[1] != 0 || w[0] % (x[1] / w[1]) != 0) misuse("a convolution whose groups do not divide its channels");
  if (x[0] != y[0] || y[1] != w[0]) misuse("a convolution between tensors that do not fit");
  const bool forward = s.type == kForward, by_data = s.type == kBackwardData;
  const Number one = by_data ? s.y.type : s.x.type, two = by_data || forward ? s.w.type : s.y.type,
               result = forward   ? s.y.type
                        : by_data ? s.x.type
                                  : s.w.type;
  if (one != two) misuse("a convolution of two types");
  if (result != one && result != Number::fp32)
    misuse("a convolution whose result is neither of its inputs' type nor fp32");
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t reach = s.dilation[i] * (w[2 + i] - 1) + 1;
    if (y[2 + i] != (x[2 + i] + s.padding[i] + behind[i] - reach) / s.stride[i] + 1)
      misuse("a convolution's output has other extents than its geometry says");
  }
}

}  // namespace

Tensor tensor_of(const Object& descriptor) {
  Tensor t;
  t.name = descriptor.value<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
  t.alignment = descriptor.value<std::int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
  const auto type = descriptor.value<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE);
  t.type = type == CUDNN_DATA_BFLOAT16 ? Number::bf16 : type == CUDNN_DATA_HALF ? Number::fp16 : Number::fp32;
  t.intermediate = descriptor.has(CUDNN_ATTR_TENSOR_IS_VIRTUAL) && descriptor.value<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL);
  const auto extents = descriptor.values<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
  const auto strides = descriptor.values<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
  std::copy_n(extents.begin(), 4, t.extents.begin());
  std::copy_n(strides.begin(), 4, t.strides.begin());
  return t;
}

Step step_of(const Object& operation) {
  Step s;
  s.type = operation.type;
  switch (operation.type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
      s.x = part(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X);
      s.w = part(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W);
      s.y = part(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y);
      read_convolution(s, operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA);
      return s;
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
      s.x = part(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX);
      s.w = part(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W);
      s.y = part(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY);
      read_convolution(s, operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA);
      return s;
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      s.x = part(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X);
      s.w = part(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW);
      s.y = part(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY);
      read_convolution(s, operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA);
      return s;
    default:
      break;
  }
  if (operation.type != CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
    misuse("an operation that the cuDNN double does not know");
  s.pointwise = operation.nested(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR)
                    ->value<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
  s.x = part(operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
  s.y = part(operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
  s.has_second = s.pointwise == CUDNN_POINTWISE_ADD;
  if (!s.has_second && s.pointwise != CUDNN_POINTWISE_RELU_FWD) misuse("the cuDNN double adds and applies ReLU only");
  if (s.has_second != operation.has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC))
    misuse("a pointwise operation with a wrong number of inputs");
  if (s.x.extents != s.y.extents) misuse("a pointwise operation between different extents");
  if (s.has_second) s.w = part(operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
  for (std::size_t i = 0; s.has_second && i < 4; ++i) {
    if (s.w.extents[i] != 1 && s.w.extents[i] != s.y.extents[i]) misuse("a second input that cannot be broadcast");
  }
  return s;
}

std::vector<Step> steps_of(const Object& graph) {
  std::vector<Step> steps;
  const auto count = static_cast<std::size_t>(graph.attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).count);
  for (std::size_t i = 0; i < count; ++i) steps.push_back(step_of(*graph.nested(CUDNN_ATTR_OPERATIONGRAPH_OPS, i)));
  return steps;
}

void carry_out(const std::vector<Step>& steps, const std::map<std::int64_t, void*>& pointers, bool tf32) {
  std::map<std::int64_t, std::vector<float>> intermediates;
  const auto view = [&](const Tensor& t) {
    if (!t.intermediate) return View{&t, pointers.at(t.name)};
    std::vector<float>& memory = intermediates[t.name];
    memory.resize(t.places());
    return View{&t, memory.data()};
  };
  for (const Step& s : steps) {
    if (s.type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) {
      pointwise(s, view(s.x), s.has_second ? view(s.w) : View{}, view(s.y));
    } else {
      convolve(s, view(s.x), view(s.w), view(s.y), tf32);
    }
  }
}

}  // namespace fake_cudnn
