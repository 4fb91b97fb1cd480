#include "comm/launch.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace dptrain {

namespace {

/// 0 where it is no number.
int number(const char* text) {
  int value = 0;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), value);
  return value;
}

}  // namespace

Launch find_launch(const char* (*get)(const char* name)) {
  Launch launch;
  const char* step_tasks = get("SLURM_STEP_NUM_TASKS");  // srun's; the other one is the whole allocation's
  launch.slurm_tasks = number(step_tasks != nullptr ? step_tasks : get("SLURM_NTASKS"));
  if (const char* size = get("OMPI_COMM_WORLD_SIZE")) {
    launch.processes = number(size);
    launch.by_launcher = true;
  } else if (get("PMIX_RANK") != nullptr || get("PMI_RANK") != nullptr) {
    const char* pmi = get("PMI_SIZE");
    launch.processes = number(pmi);
    launch.by_launcher = true;
  }
  return launch;
}

void check_tasks(const Launch& launch) {
  if (launch.by_launcher || launch.slurm_tasks <= 1) return;
  fail(ExitStatus::usage,
       "Slurm says {} tasks, and MPI says 1: each would train by itself. Start them with `srun --mpi=pmix`, or ask for "
       "one task (--ntasks=1 --cpus-per-task={}).",
       launch.slurm_tasks, launch.slurm_tasks);
}

void check_count(const Launch& launch, int processes) {
  if (!launch.by_launcher) return;
  if (launch.processes > 0 && launch.processes != processes) {
    fail(ExitStatus::usage,
         "the launcher says {} processes, and MPI says {}: it is not the launcher of the MPI that dptrain was built "
         "with; take that one's mpirun, or `srun --mpi=pmix`",
         launch.processes, processes);
  }
  if (launch.processes == 0 && launch.slurm_tasks > 1 && launch.slurm_tasks != processes) {
    fail(ExitStatus::usage, "Slurm says {} tasks, and MPI says {}: start them with `srun --mpi=pmix`",
         launch.slurm_tasks, processes);
  }
}

Launch find_launch() {
  return find_launch([](const char* name) -> const char* { return std::getenv(name); });
}

}  // namespace dptrain
