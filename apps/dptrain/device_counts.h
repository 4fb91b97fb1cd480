// Purpose: the argument of `dptrain plan --devices`. Thread safety: a pure function.
#pragma once

#include <string>
#include <vector>

namespace dptrain {

/// "1,2,4,8", or with an ellipsis "1,2,4,...,1024", which goes on as the numbers before it do: by their ratio where
/// they have one, else by their difference. In ascending order, each once. Errors: usage, naming --devices.
std::vector<int> read_device_counts(const std::string& text);

}  // namespace dptrain
