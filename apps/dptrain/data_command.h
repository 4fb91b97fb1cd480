// Purpose: `dptrain data list | info | fetch`. Thread safety: one call at a time.
// Each returns the exit status of the process; errors are thrown as Error.
#pragma once

#include <iosfwd>
#include <string>

#include "data/open.h"

namespace dptrain {

/// One line for each dataset that has a descriptor, and whether its files are on this machine.
int data_list(std::ostream& out);

/// What is known of a dataset: `dataset` is a name, or a folder where it holds a '/'. Files are read in full and
/// hashed. Returns 3 where they are not there or a hash is wrong, which `out` says too.
int data_info(const std::string& dataset, std::ostream& out);

/// Checks a named dataset where it is, or downloads it; prints the folder.
int data_fetch(const std::string& name, const DataOptions& options, std::ostream& out);

}  // namespace dptrain
