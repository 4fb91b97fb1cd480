#include "support/fake_cuda/nccl_mail.h"

#include <algorithm>
#include <cstring>

#include "support/fake_cuda/nccl_transport.h"
#include "support/fake_cuda/numbers.h"

namespace fake_nccl {

namespace {

std::string describe(const Exchange& exchange) {
  constexpr const char* kNames[] = {"all_reduce", "all_gather", "broadcast", "point_to_point"};
  return std::string(kNames[static_cast<int>(exchange.kind)]) + " of " + std::to_string(exchange.count) + " x " +
         std::to_string(exchange.element) +
         " bytes of type " + std::to_string(exchange.type) + ", root " + std::to_string(exchange.root);
}

}  // namespace

void add(const void* from, void* onto, std::size_t count, ncclDataType_t type) {
  using fake_cuda::Number;
  const Number number = type == ncclFloat32 ? Number::fp32 : type == ncclBfloat16 ? Number::bf16 : Number::fp16;
  for (std::size_t i = 0; i < count; ++i)
    fake_cuda::write(onto, i, number, fake_cuda::read(onto, i, number) + fake_cuda::read(from, i, number));
}

std::size_t bytes_out(const Exchange& exchange) {
  return exchange.mail->out.empty() && exchange.kind == Kind::point_to_point ? 0 : exchange.count * exchange.element;
}

std::size_t bytes_in(const Exchange& exchange) {
  if (exchange.kind == Kind::point_to_point && exchange.mail->in.empty()) return 0;
  const std::size_t bytes = exchange.count * exchange.element;
  return exchange.kind == Kind::all_gather ? bytes * exchange.parts.size() : bytes;
}

void send(const Exchange& exchange, std::vector<char> brought) {
  Mail& mail = *exchange.mail;
  for (const Letter& letter : mail.out) mail.folder->put(letter, describe(exchange), brought);
  mail.brought = std::move(brought);
}

bool has_come(const Exchange& exchange) {
  return std::ranges::all_of(exchange.mail->in,
                             [&](const Letter& letter) { return exchange.mail->folder->is_there(letter); });
}

std::vector<char> receive(const Exchange& exchange) {
  Mail& mail = *exchange.mail;
  std::vector<std::vector<char>> all;
  for (const Letter& letter : mail.in) all.push_back(mail.folder->take(letter, describe(exchange)));
  if (exchange.kind == Kind::point_to_point) return all.empty() ? std::vector<char>() : std::move(all.front());
  all.insert(all.begin() + mail.rank, std::move(mail.brought));
  if (exchange.kind == Kind::broadcast) return std::move(all[static_cast<std::size_t>(exchange.root)]);
  std::vector<char> result = std::move(all.front());
  for (std::size_t r = 1; r < all.size(); ++r) {
    if (exchange.kind == Kind::all_reduce)
      add(all[r].data(), result.data(), exchange.count, exchange.type);
    else
      result.insert(result.end(), all[r].begin(), all[r].end());
  }
  return result;
}

bool is_taken(const Exchange& exchange) {
  return std::ranges::none_of(exchange.mail->out,
                              [&](const Letter& letter) { return exchange.mail->folder->is_there(letter); });
}

}  // namespace fake_nccl
