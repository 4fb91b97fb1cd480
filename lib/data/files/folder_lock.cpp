#include "data/files/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/error.h"

namespace dptrain {

FolderLock::FolderLock(const std::filesystem::path& folder, const DataOptions& options) {
  const std::filesystem::path file = folder / ".lock";
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(ExitStatus::data, "{}: cannot be written: {}", file.string(), std::strerror(errno));
  for (bool told = false; ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0; told = true) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      const int error = errno;
      ::close(descriptor_);
      fail(ExitStatus::data, "{}: cannot be locked: {}", file.string(), std::strerror(error));
    }
    if (!told) tell(options, fmt::format("waiting for another process that writes into {}", folder.string()));
    if (stop_asked(options.stop)) {
      ::close(descriptor_);
      throw Stopped();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

FolderLock::~FolderLock() {
  ::close(descriptor_);
}

}  // namespace dptrain
