// Which GPUs the processes of a job take: no process and no GPU is needed to say so.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <numeric>
#include <set>

#include "train/fit/share_gpus.h"

namespace dptrain {

namespace {

/// What one process sees: GPUs by letter, as it numbers them.
SeenGpus seen(const std::string& letters) {
  SeenGpus one;
  for (const char letter : letters)
    one.usable.push_back({.device = static_cast<int>(one.usable.size()), .name = "GPU", .id = std::string(1, letter)});
  return one;
}

std::vector<Member> on_hosts(const std::string& letters) {
  std::vector<Member> members;
  for (const char host : letters)
    members.push_back({.launcher_rank = static_cast<int>(members.size()), .host = std::string(1, host)});
  return members;
}

std::vector<std::string> taken(const std::vector<std::string>& all, const std::string& hosts, bool may_share = false) {
  std::vector<SeenGpus> of_all;
  for (const std::string& letters : all) of_all.push_back(seen(letters));
  const GpuShares shares = share_out_gpus(of_all, on_hosts(hosts), may_share);
  if (!shares.problem.empty()) return {shares.problem, shares.hint};
  std::vector<std::string> letters;
  for (const auto& gpus : shares.taken) {
    letters.emplace_back();
    for (const AcceleratorInfo& gpu : gpus) letters.back() += gpu.id;
  }
  return letters;
}

using Letters = std::vector<std::string>;

}  // namespace

TEST_CASE("processes that see the same GPUs share them out, each takes what it alone sees") {
  CHECK(taken({"abcd", "abcd"}, "nn") == Letters{"ab", "cd"});
  CHECK(taken({"abcde", "abcde"}, "nn") == Letters{"abc", "de"});
  CHECK(taken({"abcd", "abcd", "abcd", "abcd"}, "nnnn") == Letters{"a", "b", "c", "d"});
  CHECK(taken({"b", "a"}, "nn") == Letters{"b", "a"});
  CHECK(taken({"ab", "ab", "cd", "cd"}, "mmnn") == Letters{"a", "b", "c", "d"});
  CHECK(taken({"ab", "cde"}, "mn") == Letters{"ab", "cde"});
  // The same GPUs in another order are the same; each has its own numbers for them.
  CHECK(taken({"ab", "ba"}, "nn") == Letters{"a", "b"});
  CHECK(share_out_gpus({seen("ab"), seen("ba")}, on_hosts("nn"), false).taken[1].front().device == 0);
}

TEST_CASE("two processes are on one GPU only where they may be") {
  CHECK(taken({"a", "a"}, "nn") == Letters{"2 processes on n have 1 GPU between them: two would be on one",
                                           "start 1 there; what each sees is what CUDA_VISIBLE_DEVICES leaves it"});
  CHECK(taken({"a", "a"}, "nn", true) == Letters{"a", "a"});
  CHECK(taken({"ab", "ab", "ab"}, "nnn", true) == Letters{"a", "b", "a"});
  CHECK(taken({"ab", "bc"}, "nn", true).front() == "rank 0 on n and rank 1 on n see some GPUs both, and others not");
}

TEST_CASE("replicas are dealt out as evenly as there is room") {
  CHECK(deal_out(5, {4, 4}) == std::vector<int>{3, 2});
  CHECK(deal_out(7, {8, 2, 4}) == std::vector<int>{3, 2, 2});
  CHECK(deal_out(9, {8, 1, 2}) == std::vector<int>{6, 1, 2});
  CHECK(deal_out(9, {1, 1}) == std::vector<int>{1, 1});
}

TEST_CASE("no GPU is taken twice, and none is left that only one process sees") {
  CHECK(rc::check([] {
    const int hosts = *rc::gen::inRange(1, 4);
    std::vector<SeenGpus> all;
    std::vector<Member> members;
    std::set<std::string> there;
    for (int host = 0; host < hosts; ++host) {
      const int processes = *rc::gen::inRange(1, 5), gpus = *rc::gen::inRange(processes, 9);
      SeenGpus one;
      for (int g = 0; g < gpus; ++g) {
        one.usable.push_back({.device = g, .name = "GPU", .id = std::to_string(host) + "-" + std::to_string(g)});
        there.insert(one.usable.back().id);
      }
      for (int p = 0; p < processes; ++p) {
        all.push_back(one);
        members.push_back({.launcher_rank = p, .host = std::to_string(host)});
      }
    }
    const GpuShares shares = share_out_gpus(all, members, *rc::gen::arbitrary<bool>());
    RC_ASSERT(shares.problem.empty());
    std::set<std::string> found;
    for (const auto& gpus : shares.taken) {
      RC_ASSERT(!gpus.empty());
      for (const AcceleratorInfo& gpu : gpus) RC_ASSERT(found.insert(gpu.id).second);
    }
    RC_ASSERT(found == there);
  }));
}

}  // namespace dptrain
