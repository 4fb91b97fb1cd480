// What a build does that has no OpenSSL, libcurl, zlib, libjpeg-turbo, libpng or libarchive. Their stand-ins are linked
// before the library that holds the others.
#include <doctest/doctest.h>

#include <fstream>
#include <string>

#include "core/error.h"
#include "data/files/archive.h"
#include "data/files/http.h"
#include "data/files/sha256.h"
#include "data/formats/byte_source.h"
#include "data/images/image.h"

namespace dptrain {
namespace {

std::string sha256(const std::string& text, std::size_t piece) {
  Sha256 hash;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    hash.update(text.data() + at, std::min(piece, text.size() - at));
  }
  return hash.hex();
}

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::data);
    return error.what();
  }
  FAIL_CHECK("it did not refuse");
  return "";
}

}  // namespace

TEST_CASE("our own SHA-256 gives the digests that the standard publishes") {
  CHECK(sha256("", 1) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc", 3) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256(std::string(1000000, 'a'), 1000000) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("our own SHA-256 does not depend on how the bytes are handed over") {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 37);
  for (const std::size_t size : {1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000}) {
    const std::string part = text.substr(0, size), whole = sha256(part, size);
    for (const std::size_t piece : {1, 3, 63, 64, 65, 100}) CHECK(sha256(part, piece) == whole);
  }
}

TEST_CASE("without libcurl a download is refused with the way out") {
  const std::string message =
      refusal([] { http_get({.url = "https://example.org/x.gz", .file = "x", .progress = {}}); });
  CHECK(message.find("has no libcurl and cannot download") != std::string::npos);
  CHECK(message.find("https://example.org/x.gz") != std::string::npos);
  CHECK(message.find("DPTRAIN_DATA") != std::string::npos);
}

TEST_CASE("without zlib a gzipped file is refused with the way out, and a missing one as ever") {
  const std::string file = (std::filesystem::temp_directory_path() / "dptrain-without.gz").string();
  std::ofstream(file) << "\x1f\x8b";
  const std::string message = refusal([&] { open_bytes(file); });
  CHECK(message.find("has no zlib and reads no gzipped files; unpack it: gunzip -k " + file) != std::string::npos);
  std::filesystem::remove(file);
  CHECK(refusal([&] { open_bytes(file); }).find("cannot be opened") != std::string::npos);
}

TEST_CASE("without libjpeg-turbo, libpng or libarchive the file is refused with the way out") {
  const auto message = [](const std::string& file) {
    return refusal([&] { image_extents({reinterpret_cast<const std::uint8_t*>(file.data()), file.size()}); });
  };
  CHECK(message("\xff\xd8\xff") ==
        "this build of dptrain has no libjpeg-turbo and reads no JPEGs; convert the images to PNG");
  CHECK(message("\x89PNG\r\n\x1a\n") ==
        "this build of dptrain has no libpng and reads no PNGs; convert the images to JPEG");
  CHECK(refusal([] { decompress("a.tar.xz", "a.tar", {}); }) ==
        "a.tar.xz: this build of dptrain has no libarchive and reads plain tars alone; unpack it: xz -dk, gunzip -k or "
        "the "
        "like, and give the .tar");
}

}  // namespace dptrain
