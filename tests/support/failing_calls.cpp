// A library for LD_PRELOAD that makes one system call of a program fail: of its open, write, fsync, rename and mkdir
// calls on paths in the folder FAIL_UNDER the FAIL_AT-th one, counted from 1, fails with the error number FAIL_WITH;
// where that is 0 only writes count, and the one that is meant takes half of its bytes; where it is -1 the process is
// killed there. When it has happened there is a file FAIL_MARK. Where NO_EXCHANGE is set two paths cannot change
// places, as on some file systems.
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int number(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? -1 : std::atoi(text);
}

bool inside(const char* path) {
  static const char* const folder = std::getenv("FAIL_UNDER");
  if (folder == nullptr || path == nullptr) return false;
  char absolute[PATH_MAX];
  if (path[0] != '/') {
    if (getcwd(absolute, sizeof absolute) == nullptr) return false;
    const std::size_t length = std::strlen(absolute);
    std::snprintf(absolute + length, sizeof absolute - length, "/%s", path);
    path = absolute;
  }
  return std::strncmp(path, folder, std::strlen(folder)) == 0;
}

bool inside(int descriptor) {
  char link[64], path[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return false;
  path[length] = '\0';
  return inside(path);
}

std::atomic<int> calls{0};

/// Whether this call is the one; then errno is set.
template <class Place>
bool hit(Place place, bool write) {
  static const int at = number("FAIL_AT"), with = number("FAIL_WITH");
  if (at < 0 || (with == 0 && !write) || !inside(place) || ++calls != at) return false;
  const int mark = next<int(const char*, int, ...)>("open")(std::getenv("FAIL_MARK"), O_WRONLY | O_CREAT, 0600);
  close(mark);
  if (with == -1) kill(getpid(), SIGKILL);
  errno = with;
  return true;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return hit(path, false) ? -1 : next<int(const char*, int, ...)>("open")(path, flags, mode);
}

ssize_t write(int descriptor, const void* bytes, size_t count) {
  static auto* const original = next<ssize_t(int, const void*, size_t)>("write");
  if (!hit(descriptor, true)) return original(descriptor, bytes, count);
  return errno == 0 && count > 1 ? original(descriptor, bytes, count / 2) : errno == 0 ? 0 : -1;
}

int fsync(int descriptor) {
  return hit(descriptor, false) ? -1 : next<int(int)>("fsync")(descriptor);
}

int rename(const char* from, const char* to) {
  return hit(to, false) ? -1 : next<int(const char*, const char*)>("rename")(from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  if (hit(to, false)) return -1;
  if (std::getenv("NO_EXCHANGE") != nullptr && (flags & RENAME_EXCHANGE) != 0) {
    errno = EINVAL;
    return -1;
  }
  return next<int(int, const char*, int, const char*, unsigned)>("renameat2")(from_folder, from, to_folder, to, flags);
}

int mkdir(const char* path, mode_t mode) {
  return hit(path, false) ? -1 : next<int(const char*, mode_t)>("mkdir")(path, mode);
}

}  // extern "C"
