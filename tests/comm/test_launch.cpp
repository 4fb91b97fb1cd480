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

namespace {

/// What it is refused for, with status 2; empty: it is not.
template <class Check>
std::string refusal(Check&& check) {
  try {
    check();
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::usage);
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("launch: Slurm's tasks that do not know of each other are refused where they would train") {
  for (const char* name : {"SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"}) {
    const Launch launch = launch_of({{name, "8"}});  // other commands may go on
    CHECK(refusal([&] { check_tasks(launch); }).find("--mpi=pmix") != std::string::npos);
  }
  for (const auto& fine : {launch_of({}), launch_of({{"SLURM_NTASKS", "1"}}),
                           launch_of({{"SLURM_NTASKS", "8"}, {"OMPI_COMM_WORLD_SIZE", "8"}})})
    CHECK(refusal([&] { check_tasks(fine); }).empty());
}

TEST_CASE("launch: a launcher's count that is not MPI's is refused, and both are named") {
  const Launch other = launch_of({{"PMI_RANK", "0"}, {"PMI_SIZE", "8"}});
  const std::string said = refusal([&] { check_count(other, 1); });
  CHECK(said.find("says 8 processes") != std::string::npos);
  CHECK(said.find("MPI says 1") != std::string::npos);
  CHECK(refusal([&] { check_count(other, 8); }).empty());
  const Launch slurm = launch_of({{"PMIX_RANK", "0"}, {"SLURM_NTASKS", "8"}});
  CHECK(refusal([&] { check_count(slurm, 1); }).find("Slurm says 8 tasks, and MPI says 1") != std::string::npos);
  CHECK(refusal([&] { check_count(slurm, 8); }).empty());
  // Of an allocation for eight mpirun may use four.
  CHECK(refusal([&] { check_count(launch_of({{"OMPI_COMM_WORLD_SIZE", "4"}, {"SLURM_NTASKS", "8"}}), 4); }).empty());
}
