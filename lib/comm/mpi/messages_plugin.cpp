// MPI is loaded when a launcher has started the process, and only then: a plain start does not pay for it.
#include <dlfcn.h>

#include <filesystem>

#include "comm/messages.h"
#include "core/error.h"

namespace dptrain {

namespace {

constexpr const char* kName = "libdptrain_mpi.so";

/// Beside the program, where it was installed, or where it was built.
void* load() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::string reasons;
  for (const std::filesystem::path& folder :
       {program, program / ".." / DPTRAIN_PLUGIN_FOLDER, std::filesystem::path(DPTRAIN_PLUGIN_BUILT)}) {
    const std::filesystem::path file = folder / kName;
    if (!exists(file, error)) continue;
    // Global: the plugins of Open MPI look for its symbols.
    if (void* plugin = dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL)) return plugin;
    reasons += fmt::format("; {}", dlerror());
  }
  fail(ExitStatus::usage,
       "a launcher has started this process as one of several, and MPI cannot be loaded: {} is not with the program{}",
       kName, reasons);
}

}  // namespace

std::unique_ptr<Messages> open_messages(bool share) {
  void* make = dlsym(load(), "dptrain_mpi_messages");
  if (make == nullptr) fail(ExitStatus::usage, "{} is of another build", kName);
  return std::unique_ptr<Messages>(reinterpret_cast<Messages* (*)(bool)>(make)(share));
}

}  // namespace dptrain
