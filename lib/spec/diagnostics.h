// Purpose: where things stand in a spec, and the list of everything that is wrong with it.
// Thread safety: one reader at a time. Invariants: a Source outlives every Mark into it.
#pragma once

#include <string>
#include <vector>

#include "spec/job_spec.h"

namespace dptrain {

/// A text that errors point into: a file, or one argument of the command line.
struct Source {
  std::string name;                ///< the file as given, or the argument: "--set train.steps=5"
  std::vector<std::string> lines;  ///< UTF-8, without line ends
  bool is_argument = false;        ///< of the command line: messages give no line and column

  /// Cuts `text` into lines.
  static Source of(std::string name, const std::string& text, bool is_argument);
};

/// A place in a source. Line and column start at 1; columns count code points.
struct Mark {
  const Source* source = nullptr;
  int line = 0;
  int column = 0;

  /// The same place in the form that outlives the reading.
  SourceMark outlive() const;
};

/// Collects complaints, so that one run shows all of them.
class Diagnostics {
 public:
  /// `hint` says what to do: the nearest valid name, the allowed values.
  void error(const Mark& at, const std::string& message, const std::string& hint = "");
  void error(const SourceMark& at, const std::string& message, const std::string& hint = "");

  /// A value could not be used because of something complained about before.
  void skip() { ++skipped_; }
  /// Complaints and skipped values so far: checks that need a block go by whether this grew while it was read.
  std::size_t problems() const { return found_.size() + dropped_ + skipped_; }
  /// The first complaint with its hint, without its place; empty where there is none.
  const std::string& first() const { return first_; }
  /// Throws Error(usage) with all complaints in the order of the text, those of the command line last.
  void throw_if_any() const;

 private:
  struct Found {
    SourceMark at;
    std::string text;
  };
  std::vector<Found> found_;
  std::string first_;
  std::size_t dropped_ = 0;  // complaints past those that are kept: a flood must not cost time
  std::size_t skipped_ = 0;
};

/// Text of the user's in quotes: clipped, with control characters replaced, so that a message stays one readable line.
std::string in_quotes(const std::string& text);
/// `text` with its control characters replaced, cut after `limit` code points.
std::string printable(const std::string& text, std::size_t limit);
/// Code points [first, first + count) of a UTF-8 text.
std::string columns(const std::string& text, std::size_t first, std::size_t count = std::string::npos);
/// Code points of a UTF-8 text.
std::size_t code_points(const std::string& text);

}  // namespace dptrain
