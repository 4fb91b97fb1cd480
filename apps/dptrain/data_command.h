// Purpose: `dptrain data list | info | fetch`. Thread safety: one call at a time.
// It returns the exit status of the process; errors are thrown as Error, and Stopped.
#pragma once

#include <CLI/CLI.hpp>
#include <iosfwd>
#include <string>

namespace dptrain {

struct DataCommand {
  enum class What { list, info, fetch };
  What what = What::list;
  std::string dataset;  ///< of info: a name, or a folder where it holds a '/'; of fetch: a name
  bool offline = false;
};

/// Its options, into `command`, which must outlive `app`. Returns what is parsed where it is asked for.
const CLI::App* add_data(CLI::App& app, DataCommand& command);

/// list: one line for each dataset that has a descriptor, and whether its files are on this machine. info: what is
/// known of a dataset, whose files are read in full and hashed; 3 where they are not there or a hash is wrong, which
/// `out` says too. fetch: checks a dataset where it is, or downloads it, and prints the folder.
int look_after_data(const DataCommand& command, std::ostream& out);

}  // namespace dptrain
