// Purpose: `dptrain check JOB`: validates and prints the plan of a run. Thread safety: one call at a time.
#pragma once

#include <iosfwd>

#include "dptrain/job_options.h"

namespace dptrain {

/// Its options, into `options`, which must outlive `app`. Returns what is parsed where it is asked for.
const CLI::App* add_check(CLI::App& app, JobOptions& options);

/// Prints layers, shapes, parameters, memory, micro-batches and the bytes reduced a step; trains nothing, reads no
/// samples. Returns the exit status; errors are thrown as Error.
int check_job(const JobOptions& options, std::ostream& out);

}  // namespace dptrain
