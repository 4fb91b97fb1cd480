#include "spec/reader.h"

#include <deque>

#include "spec/blocks.h"
#include "spec/mode_settings.h"
#include "spec/overrides.h"
#include "spec/source_file.h"

namespace dptrain {

JobSpec read_job(const std::filesystem::path& file, const std::vector<Override>& overrides) {
  return read_job_text(read_source_file(file), file, overrides);
}

JobSpec read_job_text(const std::string& given, const std::filesystem::path& file,
                      const std::vector<Override>& overrides) {
  std::string text = given;
  std::deque<Source> sources;  // grows without moving what the marks point to
  sources.push_back(source_of_file(text, file));
  Diagnostics diagnostics;

  Node root = parse_tree(text, sources.front(), 1, diagnostics);
  if (root.kind == Node::Kind::null) {
    diagnostics.error(root.at, "the file is empty", "a job spec has at least 'dataset', 'model' and 'train'");
    root.kind = Node::Kind::broken;
  }
  expand_gpus(root);
  const auto apply = [&](bool modes) {
    for (const Override& override_ : overrides) {
      if ((override_.path == "mode") != modes) continue;
      sources.push_back(source_of_override(override_));
      apply_override(root, override_, sources.back(), diagnostics);
    }
  };
  // What the file says of a mode is the file's word on `train`, over which the command line goes; what the command line
  // says of a mode goes over what it says in general.
  OtherModes others;
  apply(true);
  apply_mode_settings(root, others, diagnostics);
  apply(false);
  apply_mode_settings(root, others, diagnostics);
  check_other_modes(root, others, diagnostics);
  JobSpec job = read_job_tree(Value{root, "", root.at, diagnostics}, file);
  diagnostics.throw_if_any();
  return job;
}

}  // namespace dptrain
