// Plain tars: every kind of header that tars of images have, and those that they must not have.
#include <doctest/doctest.h>

#include <string>

#include "core/error.h"
#include "data/data_files.h"
#include "data/formats/tar.h"
#include "support/tar_bytes.h"

namespace dptrain {
namespace {

using test::TarBytes;
using Header = TarBytes::Header;

Header header(const std::string& name, char type = '0') {
  return {.name = name, .type = type, .link = {}, .prefix = {}};
}

class Tar {
 public:
  explicit Tar(const std::string& bytes) : path_(folder_.path() / "x.tar") { test::put(path_, bytes); }
  const test::fs::path& path() const { return path_; }

 private:
  test::TemporaryFolder folder_;
  test::fs::path path_;
};

/// What is wrong, from "byte" on.
std::string refusal(const std::string& bytes) {
  static const test::TemporaryFolder folder;  // one for thousands of them
  const test::fs::path path = folder / "x.tar";
  test::write_text(path, bytes);
  try {
    TarFile file(path);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::data);
    const std::string what = error.what();
    CHECK(what.starts_with(path.string() + ": "));
    return what.substr(path.string().size() + 2);
  }
  return "read";
}

std::string contents_of(const TarFile& file, const std::string& name) {
  for (const TarMember& member : file.members()) {
    if (member.name != name) continue;
    std::string out(static_cast<std::size_t>(member.bytes), '\0');
    file.read(member, reinterpret_cast<std::uint8_t*>(out.data()));
    return out;
  }
  return "none";
}

/// Of the first header, which has been changed.
void fit_checksum(std::string& bytes) {
  bytes.replace(148, 8, "        ");
  unsigned sum = 0;
  for (std::size_t k = 0; k < 512; ++k) sum += static_cast<unsigned char>(bytes[k]);
  char text[9];
  std::snprintf(text, sizeof text, "%06o", sum);
  bytes.replace(148, 7, text, 7);
}

}  // namespace

TEST_CASE("members are found by their names, in any order, with every way to write names and sizes") {
  const std::string deep(140, 'd'), huge_name = std::string(90, 'a') + "/" + std::string(90, 'b');
  TarBytes tar;
  tar.add(header("train/", '5'));
  tar.add("./train/b.jpg", "of b");
  tar.add("train/a.jpg", std::string(1000, 'a'));
  Header wide = header("wide");
  wide.wide_size = true;
  tar.add(wide, "12345");
  Header prefixed = header("end.png");
  prefixed.prefix = deep;
  tar.add(prefixed, "prefixed");
  tar.add(header("././@LongLink", 'L'), huge_name + '\0');
  tar.add("cut", "gnu");
  tar.add_pax("path", "pax/ü.jpg");
  tar.add("other", "pax");
  tar.add_pax("size", "3");
  Header claims = header("sized");
  claims.claims = 0;
  tar.add(claims, "abc");
  tar.add(header("g", 'g'), "19 comment=whatever");
  tar.add("empty", "");
  tar.add(header("old", '\0'), "type 0");
  tar.add("twice", "first");
  tar.add("twice", "second");
  const Tar file(tar.whole());
  CHECK(is_plain_tar(file.path()));
  const TarFile read(file.path());
  CHECK(read.members().size() == 10);
  CHECK(contents_of(read, "train/b.jpg") == "of b");
  CHECK(contents_of(read, "train/a.jpg") == std::string(1000, 'a'));
  CHECK(contents_of(read, "wide") == "12345");
  CHECK(contents_of(read, deep + "/end.png") == "prefixed");
  CHECK(contents_of(read, huge_name) == "gnu");
  CHECK(contents_of(read, "pax/ü.jpg") == "pax");
  CHECK(contents_of(read, "sized") == "abc");
  CHECK(contents_of(read, "empty").empty());
  CHECK(contents_of(read, "old") == "type 0");
  CHECK(contents_of(read, "twice") == "second");
}

TEST_CASE("a name that leaves the folder, a link, a device: the archive is refused, and the member named") {
  const auto with = [](const Header& bad) {
    TarBytes tar;
    tar.add("train/a.jpg", "a");
    tar.add(bad, "");
    return tar.whole();
  };
  CHECK(refusal(with(header("../../x"))) ==
        "byte 1024: member '../../x' would lie outside of the archive's folder; the archive is refused");
  CHECK(refusal(with(header("train/../../x"))).find("'train/../../x' would lie outside") != std::string::npos);
  CHECK(refusal(with(header("train/.."))).find("would lie outside") != std::string::npos);
  CHECK(refusal(with(header("/etc/passwd"))).find("'/etc/passwd' would lie outside") != std::string::npos);
  CHECK(refusal(with(header(".//etc/passwd"))).find("would lie outside") != std::string::npos);
  CHECK(refusal(with(header("../x/", '5'))).find("would lie outside") != std::string::npos);
  CHECK(refusal(with(header("a..b/..c"))) == "read");
  CHECK(refusal(with(header("../\x1b[2J"))).find("'../?[2J'") != std::string::npos);
  TarBytes pax;
  pax.add_pax("path", "../x");
  pax.add("fine", "");
  CHECK(refusal(pax.whole()).find("'../x' would lie outside") != std::string::npos);

  Header link = header("train/link.jpg", '2');
  link.link = "/etc/passwd";
  CHECK(
      refusal(with(link)) ==
      "byte 1024: member 'train/link.jpg' is a symbolic link; only regular files are read (on_bad_sample: skip leaves "
      "it out)");
  link.type = '1';
  CHECK(refusal(with(link)).find("is a hard link; only") != std::string::npos);
  CHECK(refusal(with(header("dev", '3'))).find("is a device, a pipe or of an unknown kind") != std::string::npos);
  CHECK(refusal(with(header("holes", 'S'))).find("is a sparse file") != std::string::npos);

  std::vector<std::string> skipped;
  link.type = '2';
  const Tar file(with(link));
  const TarFile read(file.path(), [&](const std::string& line) { skipped.push_back(line); });
  CHECK(read.members().size() == 1);
  REQUIRE(skipped.size() == 1);
  CHECK(skipped[0] == file.path().string() +
                          ": byte 1024: member 'train/link.jpg' is a symbolic link; only regular files are read; it is "
                          "left out");
}

TEST_CASE("sizes that cannot be are refused before anything is read or allocated") {
  const auto claiming = [](std::int64_t bytes, bool wide) {
    TarBytes tar;
    Header bad = header("big.jpg");
    bad.claims = bytes;
    bad.wide_size = wide;
    tar.add(bad, "x");
    return tar.whole();
  };
  CHECK(refusal(claiming(077777777777, false)) ==
        "byte 0: member 'big.jpg' claims 8589934591 bytes, and the file has 1536 left");
  CHECK(refusal(claiming(1537, false)).find("claims 1537 bytes") != std::string::npos);
  CHECK(refusal(claiming(INT64_MAX, true)).find("claims") != std::string::npos);
  std::string bytes = claiming(1, true);
  for (std::size_t k = 125; k < 136; ++k) bytes[k] = '\xff';
  fit_checksum(bytes);
  CHECK(refusal(bytes).find("claims impossibly many bytes") != std::string::npos);
  TarBytes name;
  name.add(header("L", 'L'), std::string(70000, 'x'));
  CHECK(refusal(name.whole()) == "byte 0: a header of 70000 bytes is refused");
  const std::string no_header = "byte 0: a pax header that is not one",
                    no_size = "byte 0: a pax header with a size that is not one";
  const std::pair<const char*, std::string> pax_texts[] = {
      {"x", no_header},         {"5 a=b\n", no_header},           {"99 path=x\n", no_header},
      {"6 size=\n", no_header}, {"8 size=\n", no_size},           {"12 size=-99\n", no_size},
      {"07 a=b\n", "read"},     {"100000000000 a=b\n", no_header}};
  for (const auto& [pax, expected] : pax_texts) {
    TarBytes tar;
    tar.add(header("p", 'x'), pax);
    tar.add("fine", "");
    CAPTURE(pax);
    CHECK(refusal(tar.whole()) == expected);
  }
}

TEST_CASE("sparse files, as GNU tar writes them now and as it did: refused, or left out and all behind them read") {
  TarBytes pax;
  pax.add_pax("GNU.sparse.name", "train/holes.jpg");
  pax.add("GNUSparseFile.1/holes.jpg", std::string(600, 'h'));
  pax.add("train/a.jpg", "of a");
  CHECK(refusal(pax.whole()) ==
        "byte 1024: member 'train/holes.jpg' is a sparse file; only regular files are read (on_bad_sample: skip leaves "
        "it out)");

  // Its map goes on in two blocks behind the header; a block's last bytes but seven say whether there is another.
  TarBytes old;
  old.add(header("train/holes.jpg", 'S'), "data");
  old.add("train/a.jpg", "of a");
  std::string bytes = old.whole();
  bytes[482] = 1;
  fit_checksum(bytes);
  std::string map(1024, '\x07');
  map[504] = 1;
  map[512 + 504] = 0;
  bytes.insert(512, map);
  CHECK(refusal(bytes).find("member 'train/holes.jpg' is a sparse file") != std::string::npos);
  CHECK(refusal(bytes.substr(0, 1100)) == "byte 0: the file ends inside of a header");

  for (const std::string& whole : {pax.whole(), bytes}) {
    std::vector<std::string> skipped;
    const Tar file(whole);
    const TarFile read(file.path(), [&](const std::string& line) { skipped.push_back(line); });
    CHECK(skipped.size() == 1);
    REQUIRE(read.members().size() == 1);
    CHECK(contents_of(read, "train/a.jpg") == "of a");
  }
}

TEST_CASE("an archive that is cut while it is read is named, and the member in it") {
  TarBytes tar;
  tar.add("train/a.jpg", std::string(2000, 'a'));
  const Tar file(tar.whole());
  const TarFile read(file.path());
  test::fs::resize_file(file.path(), 600);
  CHECK_THROWS_WITH(
      contents_of(read, "train/a.jpg"),
      (file.path().string() + ": member 'train/a.jpg': the archive ends inside of it; has it been changed "
                              "while it was read?")
          .c_str());
}

TEST_CASE("a truncated tar is refused at any length, and with any byte changed nothing worse happens") {
  TarBytes tar;
  tar.add("train/a/1.jpg", std::string(700, 'a'));
  tar.add_pax("path", "train/b/1.jpg");
  tar.add("x", "b");
  const std::string whole = tar.whole();
  for (std::size_t size = 0; size < whole.size() - 512; size += size % 512 == 511 ? 1 : 255) {
    CAPTURE(size);
    CHECK(refusal(whole.substr(0, size)) != "read");
  }
  CHECK(refusal(tar.without_end()) == "byte 3584: the file ends here without a tar's end marker; it is truncated");
  for (std::size_t k = 0; k < whole.size(); ++k) {
    for (const int mask : {0x01, 0x80, 0xff}) {
      std::string bad = whole;
      bad[k] = static_cast<char>(bad[k] ^ mask);
      refusal(bad);
    }
  }
  CHECK(refusal(std::string(2048, 'x')) ==
        "byte 0: this is not the header of a tar's member: its checksum does not fit");
}

}  // namespace dptrain
