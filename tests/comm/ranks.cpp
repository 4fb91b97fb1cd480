// A program of several processes that holds what its Communicator does against what it should: 0 where all is well.
// `fail` as its argument: the last rank fails, and the others have to hear of it. `stop RANK`: that one is stopped when
// all is done but the end. `leave`: messages, after which the first rank makes no call of MPI.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "comm/communicator.h"

using namespace dptrain;

namespace {

int wrong = 0;

void check(bool condition, const char* what) {
  if (condition) return;
  ++wrong;
  std::fprintf(stderr, "not so: %s\n", what);
}

void gathers(Communicator& ranks) {
  const auto size = static_cast<std::size_t>(ranks.size()), self = static_cast<std::size_t>(ranks.rank());
  for (const std::size_t bytes : {1u, 7u, 4096u, 16384u, 16385u, 100000u}) {
    for (int round = 0; round < 3; ++round) {
      std::vector<unsigned char> mine(bytes), all(bytes * size);
      const auto value = [&](std::size_t rank, std::size_t i) {
        return static_cast<unsigned char>(rank * 31 + i * 7 + static_cast<std::size_t>(round));
      };
      for (std::size_t i = 0; i < bytes; ++i) mine[i] = value(self, i);
      ranks.all_gather(mine.data(), bytes, all.data());
      bool same = true;
      for (std::size_t r = 0; r < size; ++r)
        for (std::size_t i = 0; i < bytes; ++i) same = same && all[r * bytes + i] == value(r, i);
      check(same, "every rank's bytes, in order");
    }
  }
  std::vector<int> entries(23, -1);
  const auto owner = [&](std::size_t i) { return static_cast<int>(i % 3) % ranks.size(); };
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (owner(i) == ranks.rank()) entries[i] = static_cast<int>(i);
  share_entries(ranks, std::span(entries), owner);
  std::vector<int> expected(entries.size());
  std::iota(expected.begin(), expected.end(), 0);
  check(entries == expected, "entries from their owners");
}

void shares(Communicator& ranks) {
  const Buffer memory = ranks.share(1 << 20);
  check(reinterpret_cast<std::uintptr_t>(memory.data()) % 64 == 0, "shared memory begins on a cache line");
  auto* numbers = static_cast<int*>(memory.data());
  int on_host = 0;
  for (const Member& member : ranks.members()) on_host += member.host_first == ranks.self().host_first ? 1 : 0;
  const int place = ranks.rank() - ranks.self().host_first;
  check(numbers[100] == 0, "shared memory is zero");
  ranks.host_barrier();
  for (int round = 1; round < 200; ++round) {
    numbers[place] = round;
    ranks.host_barrier();
    for (int other = 0; other < on_host; ++other) check(numbers[other] == round, "what others of the host wrote");
    ranks.host_barrier();
  }
}

void exchanges(Communicator& ranks) {
  // Round in a ring, from one float to more than fits into any eager message, and messages of nothing.
  const int next = (ranks.rank() + 1) % ranks.size(), before = (ranks.rank() + ranks.size() - 1) % ranks.size();
  for (const std::size_t count : {0u, 1u, 1000u, 3000000u}) {
    std::vector<float> out(count, static_cast<float>(ranks.rank())), in(count, -1);
    const Message send{next, out.data(), count * sizeof(float)}, receive{before, in.data(), count * sizeof(float)};
    ranks.exchange(std::span(&send, 1), std::span(&receive, 1));
    bool same = true;
    for (const float value : in) same = same && value == static_cast<float>(before);
    check(same, "the message of the one before");
  }
}

/// Connections from everybody to everybody, itself too, two each, which talk at the same time; one that is cut keeps
/// nobody.
void talks(Communicator& ranks) {
  std::vector<ConnectionEnds> ends;
  for (int listens = 0; listens < ranks.size(); ++listens)
    for (int opens = 0; opens < ranks.size(); ++opens) ends.insert(ends.end(), 2, ConnectionEnds{listens, opens});
  const auto connections = ranks.connections(ends);
  const auto listens = [&](std::size_t k) { return ends[k].listens == ranks.rank(); };
  std::vector<std::thread> threads;
  std::vector<char> well(connections.size(), 1);
  for (std::size_t k = 0; k < connections.size(); ++k) {
    check((connections[k] != nullptr) == (listens(k) != (ends[k].opens == ranks.rank())), "whose connection it is");
    if (connections[k] == nullptr) continue;
    threads.emplace_back([&connection = *connections[k], &well = well[k], k, first = listens(k)] {
      for (const std::size_t count : {1u, 1000u, 1000000u}) {
        std::vector<int> values(count, static_cast<int>(k));
        if (first) connection.send(values.data(), count * sizeof(int));
        values.assign(count, -1);
        connection.receive(values.data(), count * sizeof(int));
        for (const int value : values) well = well && value == static_cast<int>(k);
        if (!first) connection.send(values.data(), count * sizeof(int));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  check(std::find(well.begin(), well.end(), 0) == well.end(), "what came over a connection");
  for (std::size_t k = 0; k < connections.size(); ++k)
    if (connections[k] != nullptr && listens(k)) connections[k]->cut();
  for (std::size_t k = 0; k < connections.size(); ++k) {
    if (connections[k] == nullptr || listens(k)) continue;
    bool is_cut = false;
    try {
      static_cast<void>(connections[k]->receive<int>());
    } catch (const ConnectionLost&) {
      is_cut = true;
    }
    check(is_cut, "a connection that was cut");
  }
  ranks.host_barrier();
}

/// A message that MPI has taken arrives, also when the sender then waits for its receiver in another way than MPI's.
void leaves(Communicator& ranks) {
  std::vector<ConnectionEnds> ends;
  for (int rank = 0; rank < ranks.size(); ++rank) ends.push_back({0, rank});
  const auto connections = ranks.connections(ends);
  // One message waits for the first rank all the time.
  int early = ranks.rank();
  const int last = ranks.size() - 1;
  if (ranks.rank() == last) {
    const Message sent{0, &early, sizeof early};
    ranks.exchange(std::span(&sent, 1), {});
  }
  // More than MPI sends before the receiver asks for it, and less than it sends in pieces that it waits for.
  std::vector<float> values(27000, ranks.rank() == 0 ? 0.5f : -1.0f);
  for (int to = 1; to < ranks.size(); ++to) {
    const Message sent{to, values.data(), values.size() * sizeof(float)};
    const Message received{0, values.data(), values.size() * sizeof(float)};
    if (ranks.rank() == 0) {
      ranks.exchange(std::span(&sent, 1), {});
      check(connections[static_cast<std::size_t>(to)]->receive<int>() == to, "the answer to a message");
    } else if (ranks.rank() == to) {
      ranks.exchange({}, std::span(&received, 1));
      check(std::all_of(values.begin(), values.end(), [](float value) { return value == 0.5f; }), "the message");
      connections[static_cast<std::size_t>(to)]->send(to);
    }
  }
  if (ranks.rank() == 0) {
    const Message received{last, &early, sizeof early};
    ranks.exchange({}, std::span(&received, 1));
    check(early == last, "the message that waited");
  }
}

int fail_one(Communicator& ranks) {
  ranks.set_deadline(20);
  if (ranks.rank() == ranks.size() - 1) {
    ranks.fail(ExitStatus::data, "out of luck");
    ranks.let_first_end();
    return static_cast<int>(ExitStatus::data);
  }
  try {
    while (true) ranks.host_barrier(), std::this_thread::sleep_for(std::chrono::milliseconds(1));
  } catch (const GroupAborted&) {
  }
  const News* news = ranks.news();
  const std::string expected = ranks.members().back().name() + ": out of luck";
  check(news != nullptr && news->status == ExitStatus::data && news->text == expected, "what the last one failed with");
  if (ranks.rank() != 0) ranks.let_first_end();
  return wrong == 0 ? static_cast<int>(ExitStatus::data) : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::unique_ptr<Communicator> ranks = join_processes();
  if (argc > 1 && std::strcmp(argv[1], "fail") == 0) return fail_one(*ranks);
  if (argc > 1 && std::strcmp(argv[1], "leave") == 0) {
    leaves(*ranks);
    ranks->close();
    return wrong == 0 ? 0 : 1;
  }
  gathers(*ranks);
  shares(*ranks);
  exchanges(*ranks);
  talks(*ranks);
  if (argc > 2 && std::strcmp(argv[1], "stop") == 0) {
    ranks->set_deadline(2);
    if (std::to_string(ranks->rank()) == argv[2]) {
      std::raise(SIGSTOP);
      std::_Exit(1);  // woken by mpirun, which ends all
    }
  }
  ranks->close();
  return wrong == 0 ? 0 : 1;
}
