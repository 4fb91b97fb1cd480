#include "spec/tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "spec/text_rules.h"

namespace dptrain {
namespace {

/// Ends the parsing of a text that is already complained about.
struct Stop {};

/// Builds the tree; throws Stop where going on makes no sense. The parser recurses once for each level that it
/// announces here, so that throwing at the depth limit also bounds its stack.
class Builder : public YAML::EventHandler {
 public:
  Builder(const Source& source, int first_column, Diagnostics& diagnostics)
      : source_(source),
        first_column_(first_column),
        begin_(columns(source.lines.front(), 0, static_cast<std::size_t>(first_column - 1)).size()),
        diagnostics_(diagnostics) {}

  std::optional<Node> root;

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) stop(place(mark), "a second document starts here", "a file holds one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    add(make(Node::Kind::null, mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse_alias(place(mark));
    add(make(Node::Kind::broken, mark));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    refuse_anchor(mark, anchor);
    const bool plain = tag.empty() || tag == "?";
    if (!plain && tag != "!") refuse_tag(mark, tag);
    Node node = make(plain || tag == "!" ? Node::Kind::scalar : Node::Kind::broken, mark);
    node.text = text;
    node.is_quoted = !plain;
    last_scalar_ = node.at;
    add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    open(Node::Kind::sequence, mark, tag, anchor, style);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    open(Node::Kind::map, mark, tag, anchor, style);
  }
  void OnMapEnd() override { close(); }

  /// The parser takes the end of the file for a closing quote. A scalar that lacks one reaches to the end, so that only
  /// the last can.
  void check_last_quote() {
    if (last_scalar_.source == nullptr || is_closed(last_scalar_)) return;
    stop(last_scalar_, "this quote is not closed", "close it on the same line");
  }

  /// Says what the parser found wrong, in our words where its own mislead.
  void explain(const YAML::ParserException& error) {
    Mark at = place(error.mark);
    std::string message = "not valid YAML: " + error.msg;
    std::string hint;
    if (error.msg.starts_with(YAML::ErrorMsg::UNKNOWN_ANCHOR)) return refuse_alias(at);
    if (error.msg == YAML::ErrorMsg::END_OF_SEQ_FLOW || error.msg == YAML::ErrorMsg::END_OF_MAP_FLOW) {
      const bool sequence = error.msg == YAML::ErrorMsg::END_OF_SEQ_FLOW;
      for (const Frame& frame : frames_) {
        if (frame.is_flow && (frame.node.kind == Node::Kind::sequence) == sequence) at = frame.node.at;
      }
      message = fmt::format("this '{}' is not closed by a '{}'", sequence ? '[' : '{', sequence ? ']' : '}');
      hint = "entries between brackets are separated by commas";
    } else if (error.msg == YAML::ErrorMsg::MAP_VALUE) {
      message = "not valid YAML: a ':' that starts no value here";
      hint = "write one 'key: value' a line, keys of one block at the same column; put text with ': ' in quotes";
    } else if (error.msg == YAML::ErrorMsg::EOF_IN_SCALAR) {
      message = "the text ends inside quotes";
    }
    if (leads_with_tab(at.line)) hint = "indent with spaces; YAML does not allow tabs";
    diagnostics_.error(at, message, hint);
  }

 private:
  struct Frame {
    Node node;
    bool is_flow = false;
    std::optional<Key> key;   // of a map: read, its value not yet
    bool is_dropped = false;  // that key is complained about; its value goes nowhere
  };

  /// The parser counts bytes from where its text begins, a mark code points from where the line does.
  Mark place(const YAML::Mark& mark) {
    const int last = static_cast<int>(source_.lines.size());
    if (mark.line < 0) return {&source_, 1, first_column_};
    if (mark.line >= last) return {&source_, last, static_cast<int>(code_points(source_.lines.back())) + 1};
    const std::string& line = source_.lines[static_cast<std::size_t>(mark.line)];
    const std::size_t byte =
        std::min(static_cast<std::size_t>(mark.column) + (mark.line == 0 ? begin_ : 0), line.size());
    if (mark.line != counted_.line) counted_ = {.line = mark.line};
    if (byte >= counted_.bytes)
      counted_.columns += code_points(line.substr(counted_.bytes, byte - counted_.bytes));
    else  // what an entry lacks is told at its beginning
      counted_.columns -= code_points(line.substr(byte, counted_.bytes - byte));
    counted_.bytes = byte;
    return {&source_, mark.line + 1, static_cast<int>(counted_.columns) + 1};
  }

  bool leads_with_tab(int line) const {
    const std::string& text = source_.lines[static_cast<std::size_t>(line - 1)];
    const std::size_t first = text.find_first_not_of(' ');
    return first != std::string::npos && text[first] == '\t';
  }

  [[noreturn]] void stop(const Mark& at, const std::string& message, const std::string& hint) {
    diagnostics_.error(at, message, hint);
    throw Stop{};
  }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) diagnostics_.error(place(mark), "anchors (&name) are not allowed", "write the value out");
  }
  void refuse_alias(const Mark& at) {
    diagnostics_.error(at, "aliases (*name) are not allowed",
                       "write the value out; put text that starts with '*' in quotes");
  }
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    diagnostics_.error(place(mark), fmt::format("tags ({}) are not allowed", in_quotes(tag)),
                       "write the value alone; put text that starts with '!' in quotes");
  }

  Node make(Node::Kind kind, const YAML::Mark& mark) {
    if (++nodes_ > TreeLimits::nodes) {
      stop(place(mark), fmt::format("more than {} values", TreeLimits::nodes), "split or shorten the file");
    }
    Node node;
    node.kind = kind;
    node.at = place(mark);
    return node;
  }

  void open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YAML::EmitterStyle::value style) {
    refuse_anchor(mark, anchor);
    if (!tag.empty() && tag != "?") refuse_tag(mark, tag);
    if (frames_.size() >= static_cast<std::size_t>(TreeLimits::depth)) {
      stop(place(mark), fmt::format("nested deeper than {} levels", TreeLimits::depth),
           "no key of a spec is that deep");
    }
    frames_.push_back({make(kind, mark), style == YAML::EmitterStyle::Flow, std::nullopt, false});
  }

  void close() {
    Node node = std::move(frames_.back().node);
    frames_.pop_back();
    add(std::move(node));
  }

  /// Hands a finished node to the collection that it belongs to.
  void add(Node node) {
    if (frames_.empty()) {
      root = std::move(node);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.node.kind == Node::Kind::sequence) {
      frame.node.items.push_back(std::move(node));
    } else if (!frame.key) {
      add_key(frame, std::move(node));
    } else {
      // An absent value is announced where the next token stands; its key is the better place.
      if (node.kind == Node::Kind::null && node.at.line != frame.key->at.line) node.at = frame.key->at;
      if (!frame.is_dropped) {
        frame.node.keys.push_back(std::move(*frame.key));
        frame.node.items.push_back(std::move(node));
      }
      frame.key.reset();
    }
  }

  void add_key(Frame& frame, Node node) {
    frame.is_dropped = true;
    frame.key = Key{node.text, node.at};
    if (node.kind == Node::Kind::broken) return;
    if (node.kind != Node::Kind::scalar) {
      diagnostics_.error(node.at, "a key must be plain text", "write 'key: value'; a list starts with '[' or '- '");
      return;
    }
    for (const Key& key : frame.node.keys) {
      if (key.text != node.text) continue;
      diagnostics_.error(node.at, fmt::format("duplicate key {}", in_quotes(node.text)),
                         fmt::format("it is already given at {}", where(key.at)));
      return;
    }
    frame.is_dropped = false;
  }

  /// Whether the text at `at`, where it begins with a quote, also has the closing one.
  static bool is_closed(const Mark& at) {
    const auto line = static_cast<std::size_t>(at.line - 1);
    std::string rest = columns(at.source->lines[line], static_cast<std::size_t>(at.column - 1));
    for (std::size_t i = line + 1; i < at.source->lines.size(); ++i) rest += "\n" + at.source->lines[i];
    if (rest.empty() || (rest[0] != '"' && rest[0] != '\'')) return true;
    for (std::size_t i = 1; i < rest.size(); ++i) {
      const bool escape = rest[0] == '"' ? rest[i] == '\\' : rest.compare(i, 2, "''") == 0;
      if (escape) {
        ++i;
      } else if (rest[i] == rest[0]) {
        return true;
      }
    }
    return false;
  }

  static std::string where(const Mark& at) {
    return at.source->is_argument ? fmt::format("column {} of the argument", at.column)
                                  : fmt::format("line {}, column {}", at.line, at.column);
  }

  const Source& source_;
  const int first_column_;
  const std::size_t begin_;  // of the text in the first line, in bytes
  Diagnostics& diagnostics_;
  std::vector<Frame> frames_;
  int documents_ = 0;
  std::size_t nodes_ = 0;
  Mark last_scalar_;
  struct {
    int line = -1;
    std::size_t bytes = 0, columns = 0;
  } counted_;  // up to the mark before, from which the next is counted on: a long line is gone through once
};

}  // namespace

Node parse_tree(const std::string& text, const Source& source, int first_column, Diagnostics& diagnostics) {
  Node broken;
  broken.kind = Node::Kind::broken;
  broken.at = {&source, 1, first_column};
  if (text.size() > TreeLimits::bytes) {
    diagnostics.error(SourceMark{source.name, 0, 0, ""}, "larger than 1 MiB", "a job spec is a few kilobytes");
    return broken;
  }
  if (!is_text(text, source, diagnostics)) return broken;
  if (!source.is_argument && has_directive(source, diagnostics)) return broken;

  Builder builder(source, first_column, diagnostics);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
    builder.check_last_quote();
  } catch (const Stop&) {
    return broken;
  } catch (const YAML::ParserException& error) {
    builder.explain(error);
    return broken;
  }
  if (has_long_line(source, diagnostics)) return broken;
  if (builder.root) return std::move(*builder.root);
  Node nothing = broken;
  nothing.kind = Node::Kind::null;
  return nothing;
}

}  // namespace dptrain
