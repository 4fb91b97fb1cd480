// Purpose: a spec's layers as the stages that passes run one after another, containers taken apart: a residual block is
//   a stage where its paths part, the stages of its branch, those of its shortcut, and a stage where they are added.
// Thread safety: one thread, that of its replica.
// Invariants: every tensor has its place and every gradient its slot before step 0. A place that somebody still reads
//   is never overwritten; nor is a slot.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/layer.h"
#include "nn/parameters.h"

namespace dptrain {

/// No place, no slot.
inline constexpr int kNone = -1;

struct Stage {
  std::string kind;
  TensorDesc tensor;             ///< its output
  std::unique_ptr<Layer> layer;  ///< none where paths part or meet
  std::unique_ptr<AddOperation> owned_sum;
  AddOperation* sum = nullptr;  ///< of two paths: where they meet their outputs, where they part their gradients

  ParameterViews views;
  std::vector<std::int64_t> offsets;  ///< of its parameters in the flat buffer
  std::int64_t end = 0;               ///< of the last of them; backward has finished everything before it

  int input = 0, output = 0;  ///< places of tensors; place 0 is the model's input
  int other = kNone;          ///< place of the shortcut's output, where paths meet

  bool has_backward = false;
  bool backward_behind = false;  ///< of a ReLU whose gradient the fork behind it takes along
  int rectified = kNone;         ///< there: place of that ReLU's output
  int dy = kNone, dx = kNone;    ///< slots of gradients; no dx: nobody wants it
  int base = kNone;              ///< where paths part: slot of the branch's gradient, to which the shortcut's is added
  bool input_has_gradient = false;   ///< something before it is trained
  bool output_has_gradient = false;  ///< or it is itself
  std::vector<std::size_t> again;    ///< stages whose forward runs once more before its backward
};

/// A block that keeps its input and its output alone: backward computes the rest once more.
struct Recomputed {
  std::size_t first = 0, last = 0;      ///< stages [first, last)
  int first_place = 0, last_place = 0;  ///< places [first, last) are made in it,
  int output = 0;                       ///< and all but this one, or those of blocks inside, are its own
  int depth = 0;                        ///< of blocks around it
};

struct Network {
  std::vector<Stage> stages;
  std::vector<std::int64_t> places;    ///< bytes of a sample; place 0 is the input, which the loader owns
  std::vector<std::int64_t> slots;     ///< bytes of a sample
  std::vector<Recomputed> recomputed;  ///< those inside others before them
  std::vector<int> blocks;             ///< by place: of which of these it is, kNone where it is kept for the whole pass
  int loss_slot = kNone;               ///< where the loss writes its gradient
  ParameterTable table;
};

/// `full_batch` decides the layouts, `compute` what products and convolutions compute in. Where that has 16 bits, what
/// they put out has too, and so has everything behind it up to a layer that wants fp32, or the loss: few casts. The
/// model's input, the last layer's outputs and whatever a softmax touches are fp32. The spec's shapes fit (check_shapes
/// has seen to it).
Network build_network(const ModelSpec& spec, Kernels& kernels, std::int64_t full_batch,
                      ElementType compute = ElementType::float32);

/// Stages in the order of a path, or the two paths of a residual block: what backward is planned from.
struct Path {
  struct Part {
    std::size_t stage = 0;            ///< of a layer; of the sum of a block
    std::optional<std::size_t> fork;  ///< of a block
    std::vector<Path> paths;          ///< of a block: branch and shortcut
  };
  std::vector<Part> parts;
};

/// Gives every gradient its slot.
void plan_backward(const Path& path, Network& network);

/// Finds what recomputed blocks need not keep, and what backward has to compute again.
void plan_recompute(Network& network);

/// Where places lie in memory, in bytes, and how many these are: those of recomputed blocks where others have theirs
/// too, because no two of one depth are in use at the same time. Place 0 is not there.
struct PlaceOffsets {
  std::vector<std::int64_t> offsets;
  std::int64_t bytes = 0;
};
PlaceOffsets place_offsets(const Network& network, std::int64_t batch);

}  // namespace dptrain
