#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace sluice::config {

// Where a value was written: a file and a place in it, or an option of the command line.
struct Place {
  std::shared_ptr<const std::string> origin;  // "config.yaml" or "--set model.dim=4"
  int line = 0;                               // from 1; 0: `origin` says it all
  int column = 0;

  std::string ToString() const;  // "config.yaml:3:7"
};

// A YAML value and where it was written. Map entries keep the order written; a key occurs once.
struct Node {
  enum class Kind { kNull, kScalar, kList, kMap };
  struct Entry;

  Kind kind = Kind::kNull;
  std::string scalar;
  bool quoted = false;         // the scalar stood in quotes
  std::vector<Node> items;     // of a list
  std::vector<Entry> entries;  // of a map
  Place place;

  Node* Find(std::string_view key);
  const Node* Find(std::string_view key) const;
  const char* KindName() const;  // "a list", for messages
};

struct Node::Entry {
  std::string key;
  Place place;  // of the key
  Node value;
};

// Bounds on what is read, so that hostile text costs little.
inline constexpr size_t kMaxDocumentBytes = size_t{4} << 20;
inline constexpr size_t kMaxDocumentNodes = size_t{1} << 18;
inline constexpr int kMaxDocumentDepth = 32;

// Bytes that a YAML parser stumbles over with a message that helps nobody, or does not stumble over at all.
// Errors       kInvalidArgument naming origin, line and column: NUL and control bytes, not UTF-8, tabs as indentation,
//              too long.
Status CheckText(std::string_view text, const std::string& origin);

// One YAML document. Aliases are copied; tags are ignored.
// Errors       those of CheckText; kInvalidArgument naming origin, line and column: not YAML, a key given twice, no
//              value or more than one document, beyond a bound above.
Result<Node> ParseDocument(std::string_view text, const std::string& origin);

// The same from a file.
// Errors       also kNotFound, kIo; kInvalidArgument for a folder in place of a file, and for an empty or over-long
//              file.
Result<Node> LoadDocument(const std::string& path);

// Applies "a.b.c=value" to the document: `value` is YAML; list items are a.0 or a[0]; a key with dots is quoted,
// a."b.c". Missing maps on the way are made. The values set say "--set a.b.c=value" as their place. Errors
// kInvalidArgument naming the option; the document is then unchanged.
Status ApplyOverride(std::string_view assignment, Node* root);

// The same for key and value given apart by an option of another name, which is what messages then say: "--samples 0".
Status ApplyOption(const std::string& option, std::string_view key, std::string_view value, Node* root);

}  // namespace sluice::config
