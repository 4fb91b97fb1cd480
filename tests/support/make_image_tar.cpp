// make_image_tar OUT.tar TRAIN TEST [SIZE [CLASSES]]: a plain tar of generated JPEGs, train/cNN/NNNNNNN.jpg and
// test/..., which can be told apart by what is in them: a stand-in for people's own images, at any number.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "support/image_bytes.h"
#include "support/tar_bytes.h"

int main(int count, char** arguments) {
  using namespace dptrain::test;
  const auto number = [&](int k, int otherwise) { return k < count ? std::atoi(arguments[k]) : otherwise; };
  const int train = number(2, 0), test = number(3, 0), size = number(4, 64), classes = number(5, 10);
  if (count < 4 || train < 1 || test < 1 || size < 8 || classes < 2) {
    std::fputs("usage: make_image_tar OUT.tar TRAIN TEST [SIZE [CLASSES]]\n", stderr);
    return 2;
  }
  std::ofstream out(arguments[1], std::ios::binary);
  for (int k = 0; k < train + test; ++k) {
    char name[64];
    std::snprintf(name, sizeof name, "%s/c%02d/%07d.jpg", k < train ? "train" : "test", k % classes, k);
    TarBytes tar;
    tar.add(name, jpeg(make_picture(static_cast<std::uint64_t>(k), k % classes, size, size)));
    out << tar.without_end();
  }
  out << std::string(1024, '\0');
  if (!out.flush()) {
    std::fprintf(stderr, "make_image_tar: %s cannot be written\n", arguments[1]);
    return 1;
  }
  return 0;
}
