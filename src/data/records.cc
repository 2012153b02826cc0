#include "data/records.h"

#include <cstring>

namespace sluice::data {
namespace {

const char* LastNewline(const char* begin, const char* end) {
  return static_cast<const char*>(memrchr(begin, '\n', static_cast<size_t>(end - begin)));
}

// Whether a quote at p opens a quoted value: it is the first character of the value but for blanks.
bool OpensValue(const char* text, const char* p, char separator) {
  while (p > text && p[-1] == ' ') --p;
  return p == text || p[-1] == separator || p[-1] == '\n';
}

}  // namespace

size_t WholeRecords(const char* text, size_t size, bool quotes, char separator) {
  const char* end = text + size;
  const char* last = nullptr;  // last newline outside quotes
  const char* p = text;
  while (quotes && p < end) {
    const char* quote = static_cast<const char*>(std::memchr(p, '"', static_cast<size_t>(end - p)));
    if (quote == nullptr) break;
    if (const char* newline = LastNewline(p, quote)) last = newline;
    p = quote + 1;
    if (!OpensValue(text, quote, separator)) continue;
    for (;;) {  // to the closing quote; a doubled quote is text
      const char* close = static_cast<const char*>(std::memchr(p, '"', static_cast<size_t>(end - p)));
      if (close == nullptr) return last == nullptr ? 0 : static_cast<size_t>(last - text) + 1;
      p = close + 1;
      if (p < end && *p == '"') {
        ++p;
      } else {
        break;
      }
    }
  }
  if (p < end) {
    if (const char* newline = LastNewline(p, end)) last = newline;
  }
  return last == nullptr ? 0 : static_cast<size_t>(last - text) + 1;
}

bool SplitCsvRecord(std::string_view record, char separator, std::vector<std::string>* values) {
  values->clear();
  if (!record.empty() && record.back() == '\r') record.remove_suffix(1);
  size_t i = 0;
  for (;;) {
    while (i < record.size() && record[i] == ' ') ++i;
    std::string value;
    if (i < record.size() && record[i] == '"') {
      for (++i;; ++i) {
        if (i >= record.size()) return false;
        if (record[i] != '"') {
          value += record[i];
        } else if (i + 1 < record.size() && record[i + 1] == '"') {
          value += '"';
          ++i;
        } else {
          break;
        }
      }
      for (++i; i < record.size() && record[i] == ' ';) ++i;
      if (i < record.size() && record[i] != separator) return false;
    } else {
      while (i < record.size() && record[i] != separator) value += record[i++];
      while (!value.empty() && value.back() == ' ') value.pop_back();
    }
    values->push_back(std::move(value));
    if (i >= record.size()) return true;
    ++i;
  }
}

bool ValidText(const char* text, size_t size) {
  const auto* p = reinterpret_cast<const unsigned char*>(text);
  const auto* end = p + size;
  while (p < end) {
    // Eight bytes at once while all are ASCII and none is NUL.
    for (uint64_t word; end - p >= 8; p += 8) {
      std::memcpy(&word, p, 8);
      if (((word | (word - 0x0101010101010101)) & 0x8080808080808080) != 0) break;
    }
    if (p == end) break;
    if (*p < 0x80) {
      if (*p++ == 0) return false;
      continue;
    }
    const int more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
    if (*p < 0xc2 || *p > 0xf4 || end - p <= more) return false;
    uint32_t code = *p & (0x3f >> more);
    for (int i = 1; i <= more; ++i) {
      if ((p[i] & 0xc0) != 0x80) return false;
      code = code << 6 | (p[i] & 0x3f);
    }
    const uint32_t least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
    if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;  // overlong, surrogate
    p += more + 1;
  }
  return true;
}

}  // namespace sluice::data
