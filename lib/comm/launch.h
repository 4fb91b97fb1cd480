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

/// `get` is std::getenv() or a test's.
Launch find_launch(const char* (*get)(const char* name));
Launch find_launch();
/// Before training. Errors: usage where Slurm has started several tasks, or would, that do not know of each other.
void check_tasks(const Launch& launch);
/// `processes`: as MPI says. Errors: usage where the launcher, or Slurm where that one does not say it, says another
/// count: each process would train by itself.
void check_count(const Launch& launch, int processes);

}  // namespace dptrain
