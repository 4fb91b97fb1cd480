#include "dptrain/job_options.h"

#include "core/error.h"

namespace dptrain {

namespace {

void add_short(CLI::App& app, JobOptions& options, const std::string& flag, const std::string& path,
               const std::string& help) {
  app.add_option_function<std::string>(
         flag,
         [&options, flag, path](const std::string& value) {
           options.overrides.push_back({flag, path, value});
         },
         help)
      ->trigger_on_parse();
}

}  // namespace

void add_spec_options(CLI::App& app, JobOptions& options) {
  app.add_option("JOB", options.file, "the job spec, a YAML file");
  app.add_option_function<std::vector<std::string>>(
         "--set",
         [&options](const std::vector<std::string>& settings) {
           for (const std::string& setting : settings) {
             const std::size_t equals = setting.find('=');
             if (equals == std::string::npos || equals == 0) {
               throw CLI::ValidationError("--set", fmt::format("expected key.path=value, found '{}'", setting));
             }
             options.overrides.push_back({"--set", setting.substr(0, equals), setting.substr(equals + 1)});
           }
         },
         "key.path=value: override a setting of the spec; the value is YAML; repeatable")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all()
      ->trigger_on_parse();
  add_short(app, options, "--mode", "mode", "sync, async or local_sgd");
  add_short(app, options, "--seed", "seed", "the seed of all randomness");
}

void add_job_options(CLI::App& app, JobOptions& options) {
  add_spec_options(app, options);
  add_short(app, options, "--devices", "devices.count", "how many replicas");
  add_short(app, options, "--gpus", "gpus", "how many GPUs, one replica each");
}

}  // namespace dptrain
