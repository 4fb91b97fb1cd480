// Wrong data files, one row each: how a good folder is spoilt, and exactly what the user is told.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <functional>

#include "core/error.h"
#include "data/data_files.h"
#include "data/open/open.h"

namespace dptrain::test {
namespace {

const std::string kTrainImages = "train-images-idx3-ubyte", kTrainLabels = "train-labels-idx1-ubyte";
const std::string kTestImages = "t10k-images-idx3-ubyte", kTestLabels = "t10k-labels-idx1-ubyte";
const TinyFiles kGood;

struct Row {
  const char* what;
  std::function<void(const fs::path&)> spoil;
  std::string message;  // DIR stands for the folder
};

/// Puts `bytes` in the place of a file.
std::function<void(const fs::path&)> plain(const std::string& name, const std::string& bytes) {
  return [=](const fs::path& folder) { put(folder / name, bytes); };
}
/// Puts `bytes`, which are compressed already or should be, in the place of a file as .gz.
std::function<void(const fs::path&)> gz(const std::string& name, const std::string& bytes) {
  return [=](const fs::path& folder) {
    fs::remove(folder / name);
    put(folder / (name + ".gz"), bytes);
  };
}
/// A copy with the byte at `at` (from the end where negative) set.
std::string with(std::string bytes, int at, int value) {
  bytes[at < 0 ? bytes.size() + at : static_cast<std::size_t>(at)] = static_cast<char>(value);
  return bytes;
}

void check_message(const std::function<void()>& open, const fs::path& folder, const Row& row) {
  INFO(row.what);
  try {
    open();
    FAIL_CHECK("it opened");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::data);
    CHECK(replace_all(error.what(), folder.string(), "DIR") == row.message);
  }
}

TEST_CASE("wrong folders and files of `format: idx`") {
  const std::string four =
      "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte";
  const std::string images = "DIR/train-images-idx3-ubyte: ", images_gz = "DIR/train-images-idx3-ubyte.gz: ";
  const std::vector<Row> rows = {
      {"no folder", [](const fs::path& folder) { fs::remove_all(folder); },
       "DIR: no such folder; expected one with train-images-idx3-ubyte and its three companions"},
      {"a file in place of the folder",
       [](const fs::path& folder) {
         fs::remove_all(folder);
         put(folder, "x");
       },
       "DIR: not a folder; expected one with train-images-idx3-ubyte and its three companions"},
      {"an empty folder",
       [](const fs::path& folder) {
         fs::remove_all(folder);
         fs::create_directory(folder);
       },
       "DIR: lacks " + four + "; expected each plain or as .gz"},
      {"one file missing", [](const fs::path& folder) { fs::remove(folder / kTestLabels); },
       "DIR: lacks t10k-labels-idx1-ubyte; expected each plain or as .gz"},
      {"a folder in place of a file",
       [](const fs::path& folder) {
         fs::remove(folder / kTrainImages);
         fs::create_directory(folder / kTrainImages);
       },
       images + "is a folder; expected a file"},
      {"a link to nothing",
       [](const fs::path& folder) {
         fs::remove(folder / kTrainImages);
         fs::create_symlink("gone", folder / kTrainImages);
       },
       images + "cannot be opened: No such file or directory"},
      {"a link to itself",
       [](const fs::path& folder) {
         fs::remove(folder / kTrainImages);
         fs::create_symlink(kTrainImages, folder / kTrainImages);
       },
       images + "cannot be opened: Too many levels of symbolic links"},
      {"a named pipe that nobody writes",
       [](const fs::path& folder) {
         fs::remove(folder / kTrainImages);
         ::mkfifo((folder / kTrainImages).c_str(), 0600);
       },
       images + "is not a regular file"},
      {"an empty file", plain(kTrainImages, ""),
       images + "byte 0: the file ends inside the IDX header; expected 16 bytes of header"},
      {"two bytes", plain(kTrainImages, std::string(2, '\0')),
       images + "byte 2: the file ends inside the IDX header; expected 16 bytes of header"},
      {"a header that is cut", plain(kTrainImages, kGood.train_images.substr(0, 10)),
       images + "byte 10: the file ends inside the IDX header; expected 16 bytes of header"},
      {"text", plain(kTrainImages, "<!DOCTYPE html>"), images + "byte 0: expected an IDX file (00 00), found 3c 21"},
      {"the wrong byte order", plain(kTrainImages, std::string("\x03\x08\x00\x00", 4) + kGood.train_images.substr(4)),
       images + "byte 0: expected an IDX file (00 00), found 03 08"},
      {"signed bytes", plain(kTrainImages, with(kGood.train_images, 2, 0x09)),
       images + "byte 2: expected values of type 08 (unsigned byte), found 09"},
      {"floats", plain(kTrainImages, with(kGood.train_images, 2, 0x0d)),
       images + "byte 2: expected values of type 08 (unsigned byte), found 0d"},
      {"labels in place of images", plain(kTrainImages, kGood.train_labels),
       images + "byte 3: expected 3 dimensions (samples, height, width), found 1"},
      {"images in place of labels", plain(kTrainLabels, kGood.train_images),
       "DIR/train-labels-idx1-ubyte: byte 3: expected 1 dimension (labels), found 3"},
      {"255 dimensions", plain(kTrainImages, with(kGood.train_images, 3, 255)),
       images + "byte 3: expected 3 dimensions (samples, height, width), found 255"},
      {"no samples", plain(kTrainImages, idx({0, 2, 2}, "")), images + "byte 4: extent 0 is zero; expected at least 1"},
      {"no columns", plain(kTrainImages, idx({3, 2, 0}, "")),
       images + "byte 12: extent 2 is zero; expected at least 1"},
      {"a product that overflows", plain(kTrainImages, idx({0xffffffff, 0xffffffff, 0xffffffff}, "abc")),
       images + "byte 8: the product of the extents overflows at extent 1 (4294967295)"},
      {"a product that overflows late", plain(kTrainImages, idx({0x20000000, 0x40000000, 16}, "abc")),
       images + "byte 12: the product of the extents overflows at extent 2 (16)"},
      {"a terabyte promised", plain(kTrainImages, idx({1 << 30, 32, 32}, "abc")),
       images + "byte 19: the header promises 1099511627792 bytes, the file ends after 19; it is truncated or its "
                "header is wrong"},
      {"a terabyte promised in gzip", gz(kTrainImages, gzip(idx({1 << 30, 32, 32}, ""))),
       images_gz +
           "byte 4 (uncompressed): the header promises 1099511627792 bytes, the file cannot hold more than CAP; "
           "it is truncated or its header is wrong"},
      {"a body that is cut", plain(kTrainImages, kGood.train_images.substr(0, 27)),
       images +
           "byte 27: the header promises 28 bytes, the file ends after 27; it is truncated or its header is wrong"},
      {"a byte too many", plain(kTrainImages, kGood.train_images + "x"),
       images + "byte 28: expected the end of the file as the header promises, found 1 more bytes"},
      {"a body that is cut, then gzipped", gz(kTrainImages, gzip(kGood.train_images.substr(0, 27))),
       images_gz + "byte 27 (uncompressed): the file ends here; the header promises 28 bytes"},
      {"a byte too many, then gzipped", gz(kTrainImages, gzip(kGood.train_images + "x")),
       images_gz + "byte 28 (uncompressed): expected the end of the file as the header promises, found more bytes"},
      {"an empty .gz", gz(kTrainImages, ""), images_gz + "byte 0: expected a gzip file (1f 8b), as its name says"},
      {"a .gz that is not compressed", gz(kTrainImages, kGood.train_images),
       images_gz + "byte 0: expected a gzip file (1f 8b), as its name says"},
      {"gzip without .gz", plain(kTrainImages, gzip(kGood.train_images)),
       images + "byte 0: the file is gzipped but its name does not say so; rename it to train-images-idx3-ubyte.gz"},
      {"gzip with an unknown method", gz(kTrainImages, with(gzip(kGood.train_images), 2, 7)),
       images_gz + "byte 4 (compressed): corrupt gzip data: unknown compression method"},
      {"gzip with unknown flags", gz(kTrainImages, with(gzip(kGood.train_images), 3, 0xe0)),
       images_gz + "byte 4 (compressed): corrupt gzip data: unknown header flags set"},
      {"gzip that is cut in its header", gz(kTrainImages, gzip(kGood.train_images).substr(0, 5)),
       images_gz + "byte 5 (compressed): the gzip data end too early; the file is truncated"},
      {"gzip without the end of its checksum",
       gz(kTrainLabels, gzip(kGood.train_labels).substr(0, gzip(kGood.train_labels).size() - 1)),
       fmt::format(
           "DIR/train-labels-idx1-ubyte.gz: byte {} (compressed): the gzip data end too early; the file is truncated",
           gzip(kGood.train_labels).size() - 1)},
      {"gzip with a block of no known kind", gz(kTrainImages, with(gzip(kGood.train_images), 10, 0xff)),
       images_gz + "byte 11 (compressed): corrupt gzip data: invalid block type"},
      {"a wrong checksum", gz(kTrainLabels, with(gzip(kGood.train_labels), -5, 0x5a)),
       fmt::format("DIR/train-labels-idx1-ubyte.gz: byte {} (compressed): corrupt gzip data: incorrect data check",
                   gzip(kGood.train_labels).size() - 4)},
      {"a wrong length", gz(kTrainLabels, with(gzip(kGood.train_labels), -1, 1)),
       fmt::format("DIR/train-labels-idx1-ubyte.gz: byte {} (compressed): corrupt gzip data: incorrect length check",
                   gzip(kGood.train_labels).size())},
      {"something after the gzip data", gz(kTrainLabels, gzip(kGood.train_labels) + "x"),
       fmt::format(
           "DIR/train-labels-idx1-ubyte.gz: byte {} (compressed): expected the end of the file after the gzip data",
           gzip(kGood.train_labels).size())},
      {"a label too few", plain(kTrainLabels, idx({2}, std::string("\x01\x00", 2))),
       "DIR/train-labels-idx1-ubyte: byte 4: expected 3 labels, one for each image of train-images-idx3-ubyte, found "
       "2"},
      {"a test label too many", plain(kTestLabels, idx({3}, std::string("\x01\x00\x00", 3))),
       "DIR/t10k-labels-idx1-ubyte: byte 4: expected 2 labels, one for each image of t10k-images-idx3-ubyte, found 3"},
      {"a test label that training has not", plain(kTestLabels, idx({2}, std::string("\x01\x02", 2))),
       "DIR/t10k-labels-idx1-ubyte: byte 9: label 2 is out of range; expected 0 to 1"},
      {"the same, gzipped", gz(kTestLabels, gzip(idx({2}, std::string("\xff\x01", 2)))),
       "DIR/t10k-labels-idx1-ubyte.gz: byte 8 (uncompressed): label 255 is out of range; expected 0 to 1"},
      {"test images of another size", plain(kTestImages, idx({2, 2, 3}, std::string(12, 'x'))),
       "DIR/t10k-images-idx3-ubyte: byte 8: expected images of 1x2x2, as in train-images-idx3-ubyte, found 1x2x3"},
      {"blank images", plain(kTrainImages, idx({3, 2, 2}, std::string(12, '\7'))),
       images + "every value is 7; there is nothing to learn from"},
  };
  CHECK(rows.size() >= 40);
  for (const Row& row : rows) {
    const TemporaryFolder temp;
    const fs::path folder = temp.path() / "files";
    put_tiny(folder);
    row.spoil(folder);
    Row expected = row;
    if (const fs::path file = folder / (kTrainImages + ".gz"); fs::exists(file)) {
      expected.message = replace_all(row.message, "CAP", std::to_string(fs::file_size(file) * 1032));
    }
    DatasetSpec spec;
    spec.format = DatasetFormat::idx;
    spec.path = folder;
    check_message([&] { open_dataset(spec, {}); }, folder, expected);
  }
}

TEST_CASE("a file that may not be read") {
  if (::geteuid() == 0) {
    MESSAGE("skipped: root may read every file");
    return;
  }
  const TemporaryFolder temp;
  put_tiny(temp.path());
  ::chmod((temp.path() / kTrainImages).c_str(), 0);
  DatasetSpec spec;
  spec.format = DatasetFormat::idx;
  spec.path = temp.path();
  check_message([&] { open_dataset(spec, {}); }, temp.path(),
                {"unreadable", {}, "DIR/train-images-idx3-ubyte: cannot be opened: Permission denied"});
}

TEST_CASE("wrong files of a named dataset") {
  const std::vector<Row> rows = {
      {"a label beyond the classes", plain(kTrainLabels, with(kGood.train_labels, 9, 2)),
       "DIR/train-labels-idx1-ubyte: byte 9: label 2 is out of range; expected 0 to 1"},
      {"other counts than described",
       [](const fs::path& folder) {
         put(folder / kTrainImages, idx({4, 2, 2}, std::string("0123456789abcdef")));
         put(folder / kTrainLabels, idx({4}, std::string(4, '\1')));
       },
       "DIR/train-images-idx3-ubyte: byte 4: expected 3x2x2 values in 28 bytes, as TINY says, found 4x2x2 in 32"},
      {"images that lie on their side",
       [](const fs::path& folder) {
         put(folder / kTrainImages, idx({3, 4, 1}, std::string("0123456789ab")));
         put(folder / kTestImages, idx({2, 4, 1}, std::string("01234567")));
       },
       "DIR/train-images-idx3-ubyte: byte 4: expected 3x2x2 values in 28 bytes, as TINY says, found 3x4x1 in 28"},
      {"truncated", plain(kTestLabels, kGood.test_labels.substr(0, 9)),
       "DIR/t10k-labels-idx1-ubyte: byte 9: the header promises 10 bytes, the file ends after 9; "
       "it is truncated or its header is wrong"},
  };
  for (const Row& row : rows) {
    const TinyMachine machine;
    put_tiny(machine.data());
    row.spoil(machine.data());
    DatasetSpec spec;
    spec.name = "tiny";
    Row expected = row;
    expected.message = replace_all(row.message, "TINY", machine.descriptor().string());
    check_message([&] { open_dataset(spec, {}); }, machine.data(), expected);
  }
}

}  // namespace
}  // namespace dptrain::test
