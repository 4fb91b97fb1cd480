#include "support/fake_cuda/nccl_folder.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>

#include "support/fake_cuda/nccl_transport.h"

namespace fake_nccl {

namespace fs = std::filesystem;

namespace {

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string name_of(const Letter& letter) {
  return std::to_string(letter.from) + "-to-" + std::to_string(letter.to) + "-" + std::to_string(letter.number);
}

std::string name_of(const char* what, int rank) {
  return std::string(what) + "-" + std::to_string(rank);
}

}  // namespace

int version() {
  const char* wanted = std::getenv("FAKE_NCCL_VERSION");
  return wanted == nullptr ? NCCL_VERSION_CODE : std::atoi(wanted);
}

std::unique_ptr<Folder> Folder::open(const std::string& id, int ranks) {
  const char* folder = std::getenv("FAKE_NCCL_FOLDER");
  if (folder == nullptr) return nullptr;
  return std::unique_ptr<Folder>(new Folder(folder, id, ranks));
}

Folder::Folder(fs::path all, const std::string& id, int ranks) : all_(std::move(all)), own_(all_ / id), ranks_(ranks) {
  fs::create_directories(own_);
}

void Folder::write(const std::string& name, const std::string& head, const std::vector<char>& bytes) const {
  const fs::path unfinished = own_ / ("." + name + "-" + std::to_string(getpid()));
  std::ofstream out(unfinished, std::ios::binary);
  out << head << '\n';
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) misuse("a file could not be written: " + unfinished.string());
  fs::rename(unfinished, own_ / name);
}

bool Folder::all_have(const char* what) const {
  for (int rank = 0; rank < ranks_; ++rank)
    if (!fs::exists(own_ / name_of(what, rank))) return false;
  return true;
}

void Folder::join(int rank, const std::string& device) {
  if (fs::exists(own_ / name_of("rank", rank))) misuse("two ranks " + std::to_string(rank));
  const char* allowed = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  const bool shares = version() >= 23000 && allowed != nullptr && std::string(allowed) == "1";
  write(name_of("rank", rank), std::to_string(ranks_) + " ranks", {});
  write(name_of("version", rank), std::to_string(version()), {});
  write(name_of("device", rank), shares ? device + " for rank " + std::to_string(rank) : device, {});
}

bool Folder::all_joined() {
  if (joined_) return true;
  if (!all_have("device")) return false;  // which each writes last
  joined_ = true;
  std::set<std::string> sizes, versions, devices;
  for (int rank = 0; rank < ranks_; ++rank) {
    sizes.insert(read(own_ / name_of("rank", rank)));
    versions.insert(read(own_ / name_of("version", rank)));
    devices.insert(read(own_ / name_of("device", rank)));
  }
  if (sizes.size() > 1) misuse("the ranks disagree about how many there are");
  if (versions.size() > 1 || static_cast<int>(devices.size()) < ranks_) refusal_ = ncclInvalidUsage;
  return true;
}

void Folder::finalize(int rank) const {
  write(name_of("finalized", rank), "", {});
}

bool Folder::all_finalized() const {
  return all_have("finalized");
}

void Folder::leave(int rank) const {
  std::ofstream(own_ / name_of("left", rank))
      << '\n';  // nothing to do where that fails: perhaps all have been cleared up
  std::error_code ignored;
  if (all_have("left")) fs::remove_all(own_, ignored);  // another one may do the same
}

void Folder::put(const Letter& letter, const std::string& what, const std::vector<char>& bytes) const {
  write(name_of(letter), what, bytes);
}

bool Folder::is_there(const Letter& letter) const {
  return fs::exists(own_ / name_of(letter));
}

std::vector<char> Folder::take(const Letter& letter, const std::string& what) const {
  const fs::path file = own_ / name_of(letter);
  const std::string text = read(file);
  const std::size_t end = text.find('\n');
  if (text.substr(0, end) != what)
    misuse("rank " + std::to_string(letter.from) + " sends " + text.substr(0, end) + ", and rank " +
           std::to_string(letter.to) + " expects " + what);
  fs::remove(file);
  return {text.begin() + static_cast<std::ptrdiff_t>(end) + 1, text.end()};
}

bool Folder::says(const char* what, int rank) const {
  return fs::exists(all_ / name_of(what, rank));
}

}  // namespace fake_nccl
