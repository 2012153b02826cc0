#include "config/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

namespace sluice::config {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsName(char c) { return IsDigit(c) || c == '_' || (Lower(c) >= 'a' && Lower(c) <= 'z'); }

// Digits without the underscores that part them; an underscore must stand between two digits.
bool DropUnderscores(std::string_view text, std::string* digits) {
  digits->clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits->push_back(text[i]);
    } else if (i == 0 || i + 1 == text.size() || !IsDigit(text[i - 1]) || !IsDigit(text[i + 1])) {
      return false;
    }
  }
  return true;
}

// The items of one group, "1..3" or "a" between commas.
Status ExpandItem(std::string_view item, std::string_view key, std::vector<std::string>* items) {
  const size_t dots = item.find("..");
  if (dots == std::string_view::npos) {
    if (item.empty()) return InvalidArgument("the range in \"{}\" has an empty item", Shown(key));
    items->emplace_back(item);
    return Status::Ok();
  }
  const std::string_view first = item.substr(0, dots);
  const std::string_view last = item.substr(dots + 2);
  int64_t begin = 0;
  int64_t end = 0;
  const auto number = [](std::string_view text, int64_t* value) {
    return !text.empty() && text.size() <= 18 && std::all_of(text.begin(), text.end(), IsDigit) &&
           ParseInteger(text, value);
  };
  if (!number(first, &begin) || !number(last, &end))
    return InvalidArgument("\"{}\": a range is two whole numbers, such as {{1..26}}", Shown(key));
  if (end < begin) return InvalidArgument("\"{}\": the range goes down, from {} to {}", Shown(key), begin, end);
  if (static_cast<uint64_t>(end - begin) >= kMaxNames)
    return InvalidArgument("\"{}\" stands for more than {} names", Shown(key), kMaxNames);
  const size_t width = first.size() > 1 && first[0] == '0' ? first.size() : 0;
  for (int64_t i = begin; i <= end; ++i) items->push_back(fmt::format("{:0{}}", i, width));
  return Status::Ok();
}

}  // namespace

// Unicode 15, table 3-7.
size_t Utf8Length(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) -> unsigned { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0; };
  const unsigned c = byte(i);
  const auto tail = [&](size_t k) { return (byte(i + k) & 0xc0) == 0x80; };
  if (c < 0x80) return 1;
  if (c >= 0xc2 && c <= 0xdf) return tail(1) ? 2 : 0;
  const unsigned second = byte(i + 1);
  if (c >= 0xe0 && c <= 0xef) {
    const bool valid = (c == 0xe0 ? second >= 0xa0 : true) && (c == 0xed ? second <= 0x9f : true);
    return valid && tail(1) && tail(2) ? 3 : 0;
  }
  if (c >= 0xf0 && c <= 0xf4) {
    const bool valid = (c == 0xf0 ? second >= 0x90 : true) && (c == 0xf4 ? second <= 0x8f : true);
    return valid && tail(1) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

bool IsText(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(text, i);
    if (length == 0 || text[i] == '\0') return false;
    i += length;
  }
  return true;
}

int EditDistance(std::string_view a, std::string_view b) {
  // Rows i - 2, i - 1 and i of the table of distances between prefixes.
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool equal = Lower(a[i - 1]) == Lower(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (equal ? 0 : 1)});
      if (i > 1 && j > 1 && Lower(a[i - 1]) == Lower(b[j - 2]) && Lower(a[i - 2]) == Lower(b[j - 1]))
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

int NameDistance(std::string_view word, std::string_view name) {
  const int distance = EditDistance(word, name);
  const bool starts = word.size() >= 3 && name.substr(0, word.size()) == word;
  return starts ? std::min(distance, 2) : distance;
}

std::string Nearest(std::string_view word, const std::vector<std::string>& candidates) {
  // A key of a megabyte is nobody's typing mistake; its start tells as much.
  word = word.substr(0, 100);
  std::string nearest;
  int least = -1;
  for (const std::string& candidate : candidates) {
    const int distance = NameDistance(word, candidate);
    if (least >= 0 && distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

Result<std::string> ExpandEnvironment(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i, 3) == "$${") {
      out += "${";
      i += 3;
      continue;
    }
    if (text.substr(i, 2) != "${") {
      out += text[i++];
      continue;
    }
    const size_t close = text.find('}', i);
    if (close == std::string_view::npos)
      return InvalidArgument("\"{}\" has no closing brace (write $${{ for a literal ${{)", Shown(text.substr(i)));
    const std::string_view inside = text.substr(i + 2, close - i - 2);
    const size_t colon = inside.find(":-");
    const std::string name(inside.substr(0, colon));
    if (name.empty() || IsDigit(name[0]) || !std::all_of(name.begin(), name.end(), IsName))
      return InvalidArgument("\"{}\" is not the name of an environment variable", Shown(name));
    // Like a shell's: the default also stands in for an empty variable.
    const char* value = std::getenv(name.c_str());
    if (value != nullptr && !IsText(value)) return InvalidArgument("environment variable {} is not UTF-8 text", name);
    if (value != nullptr && (*value != '\0' || colon == std::string_view::npos)) {
      out += value;
    } else if (colon != std::string_view::npos) {
      out += inside.substr(colon + 2);
    } else {
      return InvalidArgument("environment variable {} is not set (write ${{{}:-default}} to give a default)", name,
                             name);
    }
    i = close + 1;
  }
  return out;
}

std::string EscapeEnvironment(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) == "${") out += '$';
    out += text[i];
  }
  return out;
}

Result<std::vector<std::string>> ExpandRanges(std::string_view key) {
  std::vector<std::string> names = {""};
  for (size_t i = 0; i < key.size();) {
    const std::string_view two = key.substr(i, 2);
    if (two == "{{" || two == "}}" || (key[i] != '{' && key[i] != '}')) {
      for (std::string& name : names) name += key[i];
      i += two == "{{" || two == "}}" ? 2 : 1;
      continue;
    }
    const size_t close = key.find('}', i);
    if (key[i] == '}' || close == std::string_view::npos)
      return InvalidArgument("\"{}\" has a brace without its partner (double it for a literal one)", Shown(key));
    std::vector<std::string> items;
    for (size_t begin = i + 1; begin <= close;) {
      const size_t end = std::min(key.find(',', begin), close);
      SLUICE_RETURN_IF_ERROR(ExpandItem(key.substr(begin, end - begin), key, &items));
      begin = end + 1;
    }
    if (names.size() * items.size() > kMaxNames)
      return InvalidArgument("\"{}\" stands for more than {} names", Shown(key), kMaxNames);
    std::vector<std::string> longer;
    for (const std::string& name : names)
      for (const std::string& item : items) longer.push_back(name + item);
    names = std::move(longer);
    i = close + 1;
  }
  return names;
}

std::string EscapeRanges(std::string_view name) {
  std::string out;
  for (const char c : name) {
    out += c;
    if (c == '{' || c == '}') out += c;
  }
  return out;
}

bool ParseBool(std::string_view text, bool* value) {
  if (text != "true" && text != "false") return false;
  *value = text == "true";
  return true;
}

bool ParseInteger(std::string_view text, int64_t* value) {
  std::string digits;
  if (!DropUnderscores(text, &digits)) return false;
  const char* end = digits.data() + digits.size();
  const auto whole = std::from_chars(digits.data(), end, *value);
  if (whole.ec == std::errc() && whole.ptr == end) return true;
  // 1e6: a real number that is whole and small enough to be exact.
  double real = 0;
  if (digits.find_first_of("eE") == std::string::npos || !ParseReal(digits, &real)) return false;
  if (std::abs(real) > 0x1p53 || real != std::floor(real)) return false;
  *value = static_cast<int64_t>(real);
  return true;
}

bool ParseReal(std::string_view text, double* value) {
  if (text == ".inf" || text == "-.inf") {
    *value = text[0] == '-' ? -INFINITY : INFINITY;
    return true;
  }
  // from_chars would also take "inf" and "nan", which are words in YAML.
  std::string digits;
  if (!DropUnderscores(text, &digits) || digits.empty()) return false;
  const char first = digits[0] == '-' && digits.size() > 1 ? digits[1] : digits[0];
  if (!IsDigit(first) && first != '.') return false;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, *value);
  return parsed.ec == std::errc() && parsed.ptr == end;
}

std::string FormatReal(double value) {
  if (std::isinf(value)) return value < 0 ? "-.inf" : ".inf";
  return fmt::format("{}", value);
}

std::string Shown(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    // Never cut inside a UTF-8 sequence: continuation bytes are 10xxxxxx.
    if (i >= 60 && (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return out + "...";
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7f) {
      out += c == '\n' ? "\\n" : c == '\t' ? "\\t" : fmt::format("\\x{:02x}", c);
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace sluice::config
