#include "train/reduction_tree.h"

#include <algorithm>

#include "core/error.h"

namespace dptrain {

namespace {

using Instruction = ReplicaProgram::Instruction;

/// Instructions that leave T(node) in `buffer`, using the buffers behind it.
void add_up(Range node, int buffer, ReplicaProgram& program) {
  program.buffers = std::max(program.buffers, buffer + 1);
  if (node.count() == 1) {
    program.instructions.push_back({Instruction::Kind::run, buffer, node.first});
    return;
  }
  const int mid = tree_split(node.first, node.last);
  add_up({node.first, mid}, buffer, program);
  add_up({mid, node.last}, buffer + 1, program);
  program.instructions.push_back({Instruction::Kind::add, buffer, 0});
}

void find_roots(Range node, Range mine, ReplicaProgram& program) {
  if (node.last <= mine.first || mine.last <= node.first) return;
  if (mine.first <= node.first && node.last <= mine.last) {
    const int buffer = static_cast<int>(program.roots.size());
    program.roots.push_back(node);
    add_up(node, buffer, program);
    program.instructions.back().completes_root = true;
    return;
  }
  const int mid = tree_split(node.first, node.last);
  find_roots({node.first, mid}, mine, program);
  find_roots({mid, node.last}, mine, program);
}

struct OwnedRoot {
  Range node;
  CombineProgram::Leaf leaf;
};

/// Appends the postfix program of T(node); `height` values are on the stack before it.
void combine(Range node, const std::vector<OwnedRoot>& roots, int height, CombineProgram& program) {
  const auto root = std::find_if(roots.begin(), roots.end(), [&](const OwnedRoot& r) { return r.node == node; });
  if (root != roots.end()) {
    program.postfix.push_back(static_cast<int>(program.leaves.size()));
    program.leaves.push_back(root->leaf);
    program.depth = std::max(program.depth, height + 1);
    return;
  }
  DPTRAIN_CHECK(node.count() > 1, "nobody runs micro-batch {}", node.first);
  const int mid = tree_split(node.first, node.last);
  combine({node.first, mid}, roots, height, program);
  combine({mid, node.last}, roots, height + 1, program);
  program.postfix.push_back(CombineProgram::kAdd);
}

}  // namespace

int tree_split(int lo, int hi) {
  int half = 1;
  while (2 * half < hi - lo) half *= 2;
  return lo + half;
}

int micro_batches_of(const ReplicaProgram& program) {
  int count = 0;
  for (const Range& root : program.roots) count += root.count();
  return count;
}

ReplicaProgram replica_program(int count, Range mine) {
  ReplicaProgram program;
  if (mine.count() > 0) find_roots({0, count}, mine, program);
  return program;
}

int buffers_for_any_range(int count) {
  int log = 0;
  while (count >> (log + 1) > 0) ++log;
  return std::max({1, log + 1, 2 * log});  // see ReplicaProgram::buffers
}

CombineProgram combine_program(int count, const std::vector<ReplicaProgram>& programs) {
  return combine_program(Range{0, count}, programs);
}

CombineProgram combine_program(Range node, const std::vector<ReplicaProgram>& programs) {
  std::vector<OwnedRoot> roots;
  for (std::size_t r = 0; r < programs.size(); ++r) {
    for (std::size_t k = 0; k < programs[r].roots.size(); ++k) {
      roots.push_back({programs[r].roots[k], {static_cast<int>(r), static_cast<int>(k)}});
    }
  }
  CombineProgram program;
  combine(node, roots, 0, program);
  return program;
}

}  // namespace dptrain
