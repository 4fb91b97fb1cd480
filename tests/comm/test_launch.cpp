// What a launcher's environment says.
#include <doctest/doctest.h>

#include <map>
#include <string>

#include "comm/launch.h"
#include "core/error.h"

using namespace dptrain;

namespace {

std::map<std::string, std::string> variables;

Launch launch_of(std::map<std::string, std::string> environment) {
  variables = std::move(environment);
  return find_launch([](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

}  // namespace

TEST_CASE("launch: nobody's, mpirun's, srun's with pmix") {
  CHECK_FALSE(launch_of({}).by_launcher);
  CHECK_FALSE(launch_of({{"SLURM_NTASKS", "1"}}).by_launcher);
  const Launch mpirun = launch_of({{"OMPI_COMM_WORLD_SIZE", "4"}, {"SLURM_NTASKS", "8"}});
  CHECK(mpirun.by_launcher);
  CHECK(mpirun.processes == 4);
  const Launch srun = launch_of({{"PMIX_RANK", "3"}, {"SLURM_NTASKS", "8"}, {"SLURM_STEP_NUM_TASKS", "4"}});
  CHECK(srun.by_launcher);
  CHECK(srun.processes == 0);  // MPI knows
  CHECK(srun.slurm_tasks == 4);
  CHECK(launch_of({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}).processes == 2);
}

TEST_CASE("launch: Slurm's tasks that do not know of each other are refused") {
  for (const char* name : {"SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"}) {
    try {
      launch_of({{name, "8"}, {"SLURM_PROCID", "3"}});
      FAIL("not refused");
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::usage);
      CHECK(std::string(error.what()).find("--mpi=pmix") != std::string::npos);
    }
  }
}
