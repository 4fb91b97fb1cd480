// Purpose: how connections (comm/connection.h) come about. Thread safety: one thread of each process, all of them
//   together.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/connection.h"

namespace dptrain {

/// See Communicator::connections().
std::vector<std::unique_ptr<Connection>> open_connections(Communicator& processes,
                                                          std::span<const ConnectionEnds> ends);

}  // namespace dptrain
