#include "config/document.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <istream>
#include <map>
#include <streambuf>
#include <unordered_map>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "config/text.h"

namespace sluice::config {
namespace {

// Builds a Node from the parser's events. A failure leaves as StatusError.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(std::shared_ptr<const std::string> origin) : origin_(std::move(origin)) {}

  Node Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { Leaf(Make(Node::Kind::kNull, mark), anchor); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    // yaml-cpp's tag of a scalar in quotes is "!", of a plain one "?".
    Node node = Make(Node::Kind::kScalar, mark);
    node.quoted = tag == "!";
    node.scalar = value;
    // Escapes can spell what the bytes of the document may not be.
    if (!IsText(value)) Fail(mark, "an escape stands for a NUL byte or for what is not UTF-8 text");
    if (!node.quoted && (value == "~" || value == "null")) node.kind = Node::Kind::kNull;
    Leaf(std::move(node), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    // An alias inside the value that it names has no end.
    if (it == anchors_.end()) Fail(mark, "an alias refers to a value that is not finished");
    Count(it->second, mark);
    Node copy = it->second;
    copy.place = At(mark);
    Add(std::move(copy));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(Make(Node::Kind::kList, mark), anchor, mark);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(Make(Node::Kind::kMap, mark), anchor, mark);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    Node node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;  // of a map: `key` waits for its value
    std::string key = {};
    Place key_place = {};
    std::unordered_map<std::string, int> lines = {};  // of the keys so far
  };

  Place At(const YAML::Mark& mark) const { return {origin_, mark.line + 1, mark.column + 1}; }
  [[noreturn]] void Fail(const YAML::Mark& mark, const std::string& message) const { FailAt(At(mark), message); }
  [[noreturn]] static void FailAt(const Place& place, const std::string& message) {
    throw StatusError(InvalidArgument("{}: {}", place.ToString(), message));
  }

  Node Make(Node::Kind kind, const YAML::Mark& mark) {
    Node node;
    node.kind = kind;
    node.place = At(mark);
    if (++nodes_ > kMaxDocumentNodes)
      Fail(mark, fmt::format("more than {} values; this is not a configuration", kMaxDocumentNodes));
    return node;
  }
  // Copies of aliases count, so that a few nested aliases cannot fill the memory.
  void Count(const Node& node, const YAML::Mark& mark) {
    if (++nodes_ > kMaxDocumentNodes)
      Fail(mark, fmt::format("more than {} values once aliases are copied", kMaxDocumentNodes));
    for (const Node& item : node.items) Count(item, mark);
    for (const auto& entry : node.entries) Count(entry.value, mark);
  }

  void Leaf(Node node, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = node;
    Add(std::move(node));
  }
  void Open(Node node, YAML::anchor_t anchor, const YAML::Mark& mark) {
    if (!stack_.empty() && stack_.back().node.kind == Node::Kind::kMap && !stack_.back().has_key)
      Fail(mark, "a key must be plain text; one that starts with { or [ needs quotes");
    if (stack_.size() >= static_cast<size_t>(kMaxDocumentDepth))
      Fail(mark, fmt::format("nested more than {} levels deep", kMaxDocumentDepth));
    stack_.push_back({.node = std::move(node), .anchor = anchor});
  }
  void Close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    if (frame.anchor != 0) anchors_[frame.anchor] = frame.node;
    Add(std::move(frame.node));
  }
  void Add(Node node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& top = stack_.back();
    if (top.node.kind == Node::Kind::kList) {
      top.node.items.push_back(std::move(node));
    } else if (!top.has_key) {
      if (node.kind != Node::Kind::kScalar) FailAt(node.place, "a key must be plain text; one that starts with { or [ needs quotes");
      const auto [it, is_new] = top.lines.emplace(node.scalar, node.place.line);
      if (!is_new)
        FailAt(node.place, fmt::format("key \"{}\" is given twice, first in line {}", Shown(node.scalar), it->second));
      top.has_key = true;
      top.key = std::move(node.scalar);
      top.key_place = node.place;
    } else {
      top.node.entries.push_back({std::move(top.key), top.key_place, std::move(node)});
      top.has_key = false;
    }
  }

  std::shared_ptr<const std::string> origin_;
  Node root_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, Node> anchors_;
  size_t nodes_ = 0;
};

class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());
    setg(begin, begin, begin + text.size());
  }
};

}  // namespace

Status CheckText(std::string_view text, const std::string& origin) {
  if (text.size() > kMaxDocumentBytes)
    return InvalidArgument("{}: longer than {} MiB; this is not a configuration", origin, kMaxDocumentBytes >> 20);
  int line = 1;
  size_t line_start = 0;
  bool indentation = true;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    const size_t length = Utf8Length(text, i);
    const size_t column = i - line_start + 1;
    if (length == 0) {
      return InvalidArgument("{}:{}:{}: byte 0x{:02x} is not UTF-8 text", origin, line, column,
                             static_cast<unsigned char>(c));
    }
    if (c == '\t' && indentation)
      return InvalidArgument("{}:{}:{}: a tab is used for indentation; use spaces", origin, line, column);
    const bool control = (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f;
    if (control) {
      return InvalidArgument("{}:{}:{}: {} (0x{:02x}) in the text", origin, line, column,
                             c == '\0' ? "a NUL byte" : "a control character", static_cast<unsigned char>(c));
    }
    indentation = c == '\n' || (indentation && c == ' ');
    i += length;
    if (c == '\n') {
      ++line;
      line_start = i;
    }
  }
  return Status::Ok();
}

std::string Place::ToString() const {
  const std::string& name = origin ? *origin : std::string();
  return line == 0 ? name : fmt::format("{}:{}:{}", name, line, column);
}

Node* Node::Find(std::string_view key) {
  for (auto& entry : entries)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

const Node* Node::Find(std::string_view key) const { return const_cast<Node*>(this)->Find(key); }

const char* Node::KindName() const {
  switch (kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kScalar:
      return "a single value";
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a map of keys";
  }
  return "";
}

Result<Node> ParseDocument(std::string_view text, const std::string& origin) {
  SLUICE_RETURN_IF_ERROR(CheckText(text, origin));
  ViewBuffer buffer(text);
  std::istream stream(&buffer);
  Builder builder(std::make_shared<const std::string>(origin));
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return InvalidArgument("{}: holds no settings", origin);
    Builder rest(std::make_shared<const std::string>(origin));
    if (parser.HandleNextDocument(rest))
      return InvalidArgument("{}: holds more than one YAML document; keep one", origin);
  } catch (const StatusError& error) {
    return error.status();
  } catch (const YAML::Exception& error) {
    return InvalidArgument("{}:{}:{}: not valid YAML: {}", origin, error.mark.line + 1, error.mark.column + 1,
                           error.msg);
  }
  return builder.Take();
}

Result<Node> LoadDocument(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ec;
  const fs::file_status status = fs::status(path, ec);
  if (status.type() == fs::file_type::not_found) return NotFound("{}: no such file", path);
  if (status.type() == fs::file_type::directory)
    return InvalidArgument("{}: is a folder; a configuration file is needed", path);
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return IoError("{}: cannot be opened: {}", path, std::strerror(errno));
  std::string text(kMaxDocumentBytes + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  const bool failed = std::ferror(file) != 0;
  const int error = errno;
  std::fclose(file);
  if (failed) return IoError("{}: cannot be read: {}", path, std::strerror(error));
  if (text.empty()) return InvalidArgument("{}: is empty", path);
  return ParseDocument(text, path);
}

}  // namespace sluice::config
