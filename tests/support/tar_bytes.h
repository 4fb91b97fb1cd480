// Purpose: tars for tests, made member by member, good ones and others. Thread safety: a value.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

namespace dptrain::test {

class TarBytes {
 public:
  struct Header {
    std::string name;
    char type = '0';
    std::int64_t claims = -1;  ///< bytes, where it is not what is there
    bool wide_size = false;    ///< as a binary number
    std::string link;
    std::string prefix;
  };

  void add(const Header& header, const std::string& data = "") {
    std::string block(512, '\0');
    const auto put = [&](std::size_t at, const std::string& text) { block.replace(at, text.size(), text); };
    const std::int64_t bytes = header.claims >= 0 ? header.claims : static_cast<std::int64_t>(data.size());
    put(0, header.name.substr(0, 100));
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    if (header.wide_size) {
      block[124] = static_cast<char>(0x80);
      for (int k = 0; k < 8; ++k) block[static_cast<std::size_t>(135 - k)] = static_cast<char>(bytes >> (8 * k));
    } else {
      put(124, octal(bytes, 11));
    }
    put(136, octal(0, 11));
    block[156] = header.type;
    put(157, header.link);
    put(257, std::string("ustar\0", 6) + "00");
    put(345, header.prefix);
    put(148, std::string(8, ' '));
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    put(148, octal(sum, 6) + std::string("\0 ", 2));
    bytes_ += block + data;
    bytes_.resize((bytes_.size() + 511) / 512 * 512, '\0');
  }
  void add(const std::string& name, const std::string& data) {
    add(Header{.name = name, .link = {}, .prefix = {}}, data);
  }
  /// A pax header for the next member.
  void add_pax(const std::string& key, const std::string& value) {
    std::size_t length = key.size() + value.size() + 3;
    while (std::to_string(length).size() + key.size() + value.size() + 3 != length) {
      length = std::to_string(length).size() + key.size() + value.size() + 3;
    }
    add(Header{.name = "PaxHeaders/x", .type = 'x', .link = {}, .prefix = {}},
        std::to_string(length) + " " + key + "=" + value + "\n");
  }
  /// With the end marker.
  std::string whole() const { return bytes_ + std::string(1024, '\0'); }
  const std::string& without_end() const { return bytes_; }

 private:
  static std::string octal(std::int64_t value, int digits) {
    char text[32];
    std::snprintf(text, sizeof text, "%0*llo", digits, static_cast<unsigned long long>(value));
    return text;
  }
  std::string bytes_;
};

}  // namespace dptrain::test
