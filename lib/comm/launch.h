// Purpose: what the environment says of the launcher that started this process, before any library is asked.
// Thread safety: a pure function of the environment.
#pragma once

#include <string>

namespace dptrain {

struct Launch {
  bool by_launcher = false;  ///< mpirun, srun --mpi=pmix, or the like: there is something to join
  int processes = 1;         ///< as the launcher says; 0: it does not say
  int slurm_tasks = 1;       ///< as Slurm says
};

/// `get` is std::getenv() or a test's. Errors: usage where Slurm has started several tasks that do not know of each other.
Launch find_launch(const char* (*get)(const char* name));
Launch find_launch();

}  // namespace dptrain
