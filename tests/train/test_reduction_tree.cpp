// Expressions stand for sums: what the replicas' programs and the program across replicas compute must be, as text, the
// expression of the definition, and so the same rounding whoever adds.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <rapidcheck.h>

#include <algorithm>
#include <bit>
#include <string>

#include "train/reduction_tree.h"

namespace dptrain {

namespace {

/// The definition of T(lo, hi), on its own arithmetic.
std::string definition(int lo, int hi) {
  if (hi - lo == 1) return std::to_string(lo);
  const int mid =
      lo + static_cast<int>(std::bit_floor(static_cast<unsigned>(hi - lo - 1)));  // largest power of two below
  return fmt::format("({}+{})", definition(lo, mid), definition(mid, hi));
}

/// Buffers after a replica's program; fails where an instruction reads what is not there or loses what was.
std::vector<std::string> run(const ReplicaProgram& program) {
  std::vector<std::string> buffers(static_cast<std::size_t>(program.buffers));
  for (const auto& instruction : program.instructions) {
    const auto b = static_cast<std::size_t>(instruction.buffer);
    RC_ASSERT(b < buffers.size());
    if (instruction.kind == ReplicaProgram::Instruction::Kind::run) {
      RC_ASSERT(buffers[b].empty());
      buffers[b] = std::to_string(instruction.micro_batch);
    } else {
      RC_ASSERT(b + 1 < buffers.size());
      RC_ASSERT(!buffers[b].empty());
      RC_ASSERT(!buffers[b + 1].empty());
      buffers[b] = fmt::format("({}+{})", buffers[b], buffers[b + 1]);
      buffers[b + 1].clear();
    }
  }
  return buffers;
}

std::string run(const CombineProgram& program, const std::vector<std::vector<std::string>>& buffers) {
  std::vector<std::string> stack;
  int highest = 0;
  for (const int item : program.postfix) {
    if (item == CombineProgram::kAdd) {
      const std::string right = stack.back();
      stack.pop_back();
      stack.back() = fmt::format("({}+{})", stack.back(), right);
    } else {
      const auto& leaf = program.leaves.at(static_cast<std::size_t>(item));
      stack.push_back(buffers.at(static_cast<std::size_t>(leaf.replica)).at(static_cast<std::size_t>(leaf.buffer)));
    }
    highest = std::max(highest, static_cast<int>(stack.size()));
  }
  RC_ASSERT(stack.size() == 1u);
  RC_ASSERT(program.depth == highest);
  return stack.front();
}

void check_assignment(int count, const std::vector<Range>& ranges) {
  std::vector<ReplicaProgram> programs;
  std::vector<std::vector<std::string>> buffers;
  for (const Range& range : ranges) {
    programs.push_back(replica_program(count, range));
    buffers.push_back(run(programs.back()));
    for (std::size_t k = 0; k < programs.back().roots.size(); ++k) {
      const Range root = programs.back().roots[k];
      RC_ASSERT(buffers.back()[k] == definition(root.first, root.last));
    }
  }
  RC_ASSERT(run(combine_program(count, programs), buffers) == definition(0, count));
}

int log2_of(int count) {
  return std::bit_width(static_cast<unsigned>(count)) - 1;
}

}  // namespace

TEST_CASE("the tree, written out") {
  CHECK(definition(0, 2) == "(0+1)");
  CHECK(definition(0, 5) == "(((0+1)+(2+3))+4)");
  CHECK(definition(0, 7) == "(((0+1)+(2+3))+((4+5)+6))");
}

TEST_CASE("the split is at the largest power of two below the length") {
  for (int lo : {0, 3, 16}) {
    for (int length = 2; length < 300; ++length) {
      const int half = tree_split(lo, lo + length) - lo;
      CHECK(std::has_single_bit(static_cast<unsigned>(half)));
      CHECK(half < length);
      CHECK(2 * half >= length);
    }
  }
}

TEST_CASE("any number of replicas computes the definition's expression, idle replicas included") {
  for (int count = 1; count <= 40; ++count) {
    for (int replicas = 1; replicas <= 10; ++replicas) {
      CAPTURE(count);
      CAPTURE(replicas);
      std::vector<Range> ranges;
      for (int r = 0; r < replicas; ++r) ranges.push_back(share(count, replicas, r));
      check_assignment(count, ranges);
    }
  }
}

TEST_CASE("so does any other division into contiguous ranges") {
  CHECK(rc::check([] {
    const int count = *rc::gen::inRange(1, 100);
    auto cuts = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, count + 1));
    cuts.push_back(0);
    cuts.push_back(count);
    std::sort(cuts.begin(), cuts.end());
    std::vector<Range> ranges;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) ranges.push_back({cuts[i], cuts[i + 1]});
    check_assignment(count, ranges);
  }));
}

TEST_CASE("hosts that add up their own subtrees first, and then each other's, compute it too") {
  CHECK(rc::check("hosts", [] {
    const int count = *rc::gen::inRange(1, 70), replicas = *rc::gen::inRange(1, 9);
    std::vector<ReplicaProgram> programs;
    std::vector<std::vector<std::string>> buffers;
    for (int r = 0; r < replicas; ++r) {
      programs.push_back(replica_program(count, share(count, replicas, r)));
      buffers.push_back(run(programs.back()));
    }
    std::vector<ReplicaProgram> hosts;
    std::vector<std::vector<std::string>> sums;  // by host, of its subtrees
    for (int first = 0; first < replicas;) {
      const int last = *rc::gen::inRange(first + 1, replicas + 1);
      hosts.push_back(
          replica_program(count, {share(count, replicas, first).first, share(count, replicas, last - 1).last}));
      sums.emplace_back();
      for (const Range& root : hosts.back().roots) sums.back().push_back(run(combine_program(root, programs), buffers));
      first = last;
    }
    RC_ASSERT(run(combine_program(count, hosts), sums) == definition(0, count));
  }));
}

TEST_CASE("a power of two of replicas and of micro-batches: each replica hands over one buffer") {
  for (int count = 1; count <= 64; count *= 2) {
    for (int replicas = 1; replicas <= count; replicas *= 2) {
      for (int r = 0; r < replicas; ++r) {
        const ReplicaProgram program = replica_program(count, share(count, replicas, r));
        CHECK(program.roots.size() == 1);
        CHECK(program.buffers == log2_of(count / replicas) + 1);
      }
    }
  }
}

TEST_CASE("buffers: at most floor(log2 M) + 1 where one replica runs all, 2 floor(log2 M) in any range") {
  for (int count = 1; count <= 66; ++count) {
    CAPTURE(count);
    CHECK(replica_program(count, {0, count}).buffers <= log2_of(count) + 1);
    for (int first = 0; first < count; ++first) {
      for (int last = first + 1; last <= count; ++last) {
        CHECK(replica_program(count, {first, last}).buffers <= std::max(1, 2 * log2_of(count)));
      }
    }
  }
}

TEST_CASE("a replica without micro-batches has nothing to do and needs nothing") {
  const ReplicaProgram idle = replica_program(3, {3, 3});
  CHECK(idle.instructions.empty());
  CHECK(idle.roots.empty());
  CHECK(idle.buffers == 0);
}

}  // namespace dptrain
