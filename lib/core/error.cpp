#include "core/error.h"

namespace dptrain {

void broken_invariant(const char* file, int line, const std::string& what) {
  fail(ExitStatus::failed, "internal error at {}:{}: {}", file, line, what);
}

}  // namespace dptrain
