#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace sluice::config {

// Length of the well-formed UTF-8 sequence at `text[i]`, 0 if there is none.
size_t Utf8Length(std::string_view text, size_t i);

// Whether text is well-formed UTF-8 without NUL bytes.
bool IsText(std::string_view text);

// Damerau-Levenshtein distance (insert, delete, replace, swap of neighbours), letters compared without case.
int EditDistance(std::string_view a, std::string_view b);

// How far a user's `word` is from a `name`: the edit distance, but at most 2 where the word is the name's first part.
int NameDistance(std::string_view word, std::string_view name);

// The candidate at the least NameDistance from `word`, the first of equals; empty when there are none.
std::string Nearest(std::string_view word, const std::vector<std::string>& candidates);

// Replaces ${NAME} and ${NAME:-default} by environment variables; $${ stands for a literal ${.
// Errors       kInvalidArgument: variable not set and no default, or no closing brace.
Result<std::string> ExpandEnvironment(std::string_view text);

// The inverse for writing: ${ becomes $${.
std::string EscapeEnvironment(std::string_view text);

// Names that a key stands for: C{1..3} is C1 C2 C3; {01..10} keeps the zeros; {a,b,5..7} is a list; several groups give
// all combinations, the last varying fastest. {{ and }} stand for literal braces.
// Errors       kInvalidArgument: a malformed group, or more than kMaxNames names.
Result<std::vector<std::string>> ExpandRanges(std::string_view key);
inline constexpr size_t kMaxNames = 10000;

// The inverse for one name: braces are doubled.
std::string EscapeRanges(std::string_view name);

// Strict reading of scalars: the whole text or nothing. Integers may be written 1_000_000 or 1e6.
bool ParseBool(std::string_view text, bool* value);
bool ParseInteger(std::string_view text, int64_t* value);
bool ParseReal(std::string_view text, double* value);  // also .inf and -.inf; never NaN

// Shortest text that reads back as the same number.
std::string FormatReal(double value);

// A one-line picture of a value in a message: control bytes escaped, cut after 60 bytes.
std::string Shown(std::string_view text);

}  // namespace sluice::config
