// Who of one host talks with whom of another: the two sides of each pair agree, whatever the hosts have.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "train/cpu/host_pairs.h"

namespace dptrain {

TEST_CASE("every process gets its slice from one process of every other host, and that one knows it") {
  const bool holds = rc::check([] {
    const auto sizes = *rc::gen::suchThat(rc::gen::container<std::vector<int>>(rc::gen::inRange(1, 6)),
                                          [](const std::vector<int>& all) { return !all.empty() && all.size() < 6; });
    std::vector<Member> members;
    for (const int size : sizes) {
      const auto first = static_cast<int>(members.size());
      for (int k = 0; k < size; ++k)
        members.push_back({.launcher_rank = first + k, .host_first = first, .host = "host"});
    }
    std::vector<HostPairs> pairs;
    for (std::size_t r = 0; r < members.size(); ++r) pairs.emplace_back(members, static_cast<int>(r));
    for (int rank = 0; rank < static_cast<int>(members.size()); ++rank) {
      const HostPairs& own = pairs[static_cast<std::size_t>(rank)];
      RC_ASSERT(own.hosts().size() == sizes.size());
      RC_ASSERT(own.hosts()[own.own()].first == members[static_cast<std::size_t>(rank)].host_first);
      for (std::size_t host = 0; host < sizes.size(); ++host) {
        if (host == own.own()) continue;
        int givers = 0;  // those of that host that serve this process
        for (int there = own.hosts()[host].first; there < own.hosts()[host].last; ++there) {
          const auto& served = pairs[static_cast<std::size_t>(there)].peers();
          const auto count = std::count(served.begin(), served.end(), rank);
          RC_ASSERT(count == (there == own.partner(host) ? 1 : 0));
          givers += static_cast<int>(count);
        }
        RC_ASSERT(givers == 1);
      }
    }
  });
  CHECK(holds);
}

}  // namespace dptrain
