#include <doctest/doctest.h>

#include "spec/shapes.h"
#include "spec_support.h"

namespace dptrain::testing {

TEST_CASE("shapes follow PyTorch's formulas, rounded down") {
  ModelSpec model;
  model.input = {3, 32, 30};
  Conv2dSpec conv;
  conv.out_channels = 8;
  conv.kernel_height = 5, conv.kernel_width = 3;
  conv.stride_height = 2, conv.stride_width = 3;
  conv.padding_height = 2, conv.padding_width = 1;
  Pool2dSpec pool;
  pool.kernel_height = pool.kernel_width = 3;
  pool.stride_height = pool.stride_width = 2;
  pool.padding_height = pool.padding_width = 1;
  model.layers = {{conv, {}},          {ActivationSpec{}, {}}, {pool, {}},         {DropoutSpec{}, {}},
                  {FlattenSpec{}, {}}, {LinearSpec{10}, {}},   {SoftmaxSpec{}, {}}};
  const std::vector<Shape> expected{{3, 32, 30}, {8, 16, 10}, {8, 16, 10}, {8, 8, 5}, {8, 8, 5}, {320}, {10}, {10}};
  CHECK(infer_shapes(model) == expected);
}

TEST_CASE("a mismatch is refused with the shapes, and at its layer's line where it has one") {
  ModelSpec model;
  model.input = {3, 8, 8};
  model.layers = {{LinearSpec{10}, {}}};
  CHECK(refusal([&] { infer_shapes(model); }) ==
        "error: linear takes (features), but its input is 3x8x8\n  hint: put 'flatten' before it");
  model.layers.front().at = {"job.yaml", 7, 5, "  - linear: 10\n    ^\n"};
  CHECK(refusal([&] { infer_shapes(model); }).starts_with("job.yaml:7:5: error: linear takes (features)"));
}

}  // namespace dptrain::testing
