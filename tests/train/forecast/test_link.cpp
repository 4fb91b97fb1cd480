#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "core/error.h"
#include "train/forecast/link.h"

namespace dptrain {

TEST_CASE("a link is a rate and a latency") {
  CHECK(read_link("100Gbit,5us").bytes_per_second == doctest::Approx(12.5e9));
  CHECK(read_link("100Gbit,5us").latency == doctest::Approx(5e-6));
  CHECK(read_link("1.5 GB/s, 0.2 ms").bytes_per_second == doctest::Approx(1.5e9));
  CHECK(read_link("1.5 GB/s, 0.2 ms").latency == doctest::Approx(2e-4));
  CHECK(read_link("800kbit/s,1s") == Link{1e5, 1});
  CHECK(link_text(read_link("100Gbit,5us")) == "100 Gbit/s, 5 us");
  CHECK(link_text(read_link("100Mbit,2ms")) == "100 Mbit/s, 2 ms");
}

TEST_CASE("what is no link is refused as a matter of usage, with the text") {
  for (const char* text :
       {"", "100Gbit", ",", "100,5us", "100Gbit,5", "Gbit,us", "0Gbit,5us", "-1Gbit,5us", "100Gbit,0us", "nanGbit,5us",
        "infGbit,5us", "1e999Gbit,5us", "100gbit,5us", "100Gbit,5us,6us", "100Gbit;5us"}) {
    CAPTURE(text);
    try {
      read_link(text);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::usage);
      CHECK(std::string(error.what()).find(std::string("not '") + text + "'") != std::string::npos);
    }
  }
}

TEST_CASE("an exchange takes longer with more bytes, more processes and a slower link, and none among one") {
  CHECK(exchange_seconds({1e9, 1e-6}, 1, 1'000'000) == 0);
  CHECK(exchange_seconds({1e9, 1e-6}, 3, 1'000'000) == doctest::Approx(1e-3 + 2e-6));
  CHECK(rc::check([] {
    const Link link{static_cast<double>(*rc::gen::inRange(1, 1000)) * 1e6,
                    static_cast<double>(*rc::gen::inRange(1, 1000)) * 1e-6};
    const int processes = *rc::gen::inRange(2, 2000);
    const auto bytes = *rc::gen::inRange<std::int64_t>(0, 1'000'000'000);
    const double seconds = exchange_seconds(link, processes, bytes);
    RC_ASSERT(seconds > 0);
    RC_ASSERT(exchange_seconds(link, processes + 1, bytes) > seconds);
    RC_ASSERT(exchange_seconds(link, processes, bytes + 1'000) > seconds);
    RC_ASSERT(exchange_seconds({2 * link.bytes_per_second, link.latency}, processes, bytes) <= seconds);
    RC_ASSERT(exchange_seconds({link.bytes_per_second, link.latency / 2}, processes, bytes) < seconds);
  }));
}

}  // namespace dptrain
