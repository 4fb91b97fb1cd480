#include "comm/messages.h"
#include "core/error.h"

namespace dptrain {

std::unique_ptr<Messages> open_messages(bool) {
  fail(ExitStatus::usage,
       "a launcher has started this process as one of several, and this build has no MPI: install libopenmpi-dev and "
       "build again");
}

}  // namespace dptrain
