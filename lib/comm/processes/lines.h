// Purpose: how lines (comm/line.h) come about. Thread safety: one thread of each process, all of them together.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/line.h"

namespace dptrain {

/// See Communicator::lines().
std::vector<std::unique_ptr<Line>> open_lines(Communicator& processes, std::span<const LineEnds> ends);

}  // namespace dptrain
