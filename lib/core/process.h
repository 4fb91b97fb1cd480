// Purpose: facts and settings of this process.
// Thread safety: any thread.
#pragma once

#include <cstdint>
#include <string>

namespace dptrain {

/// The project's version: "0.1.0".
std::string version();

/// XXH3-128 of the program that runs, as it lies in its file; "unknown" where that cannot be read. A millisecond or so.
std::string program_hash();

/// The C library's name and version, whose mathematical functions are linked when the program starts: "glibc 2.36".
std::string c_library();

/// The most memory this process has held, in bytes.
std::int64_t peak_rss_bytes();

/// Seconds since this program was loaded, a few milliseconds after its exec.
double seconds_since_start();

/// Opens /dev/null in the place of standard input, output and error where they are closed: the next file that is opened
/// would get the number, and what is meant for the stream would be written into it. For the start of main().
void open_closed_standard_streams();

/// Writing to a pipe that nobody reads any more, or beyond the limit on the size of files, then fails instead of ending
/// the process: `dptrain job.yaml | head` loses lines and not a run, and the limit is a full disk. For main(): a
/// library must not change how its process takes signals.
void fail_instead_of_signals();

}  // namespace dptrain
