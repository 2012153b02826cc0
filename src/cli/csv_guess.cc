#include "cli/csv_guess.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/ranges.h>

#include "config/text.h"
#include "data/text_reader.h"

namespace sluice::cli {
namespace {

constexpr size_t kMaxLines = 5000;
constexpr std::string_view kSeparators = ",\t;|";

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

bool IsNumber(const std::string& text) {
  double value = 0;
  return config::ParseReal(text, &value);
}

bool IsMissing(const std::string& text) { return text.empty() || text == "?"; }

std::vector<std::string_view> SplitLines(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size() && lines.size() < kMaxLines; ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (text[i] != '\n' || quoted) continue;
    std::string_view line = text.substr(begin, i - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) lines.push_back(line);
    begin = i + 1;
  }
  return lines;
}

// The separator that cuts the first lines into the most columns, the same number in each.
char GuessSeparator(const std::vector<std::string_view>& lines) {
  char best = ',';
  size_t best_columns = 1;
  std::vector<std::string> values;
  for (const char separator : kSeparators) {
    size_t columns = 0;
    bool same = true;
    for (size_t i = 0; i < std::min<size_t>(lines.size(), 20) && same; ++i) {
      if (!data::SplitCsvRecord(lines[i], separator, &values)) values.clear();
      same = i == 0 || values.size() == columns;
      columns = values.size();
    }
    if (same && columns > best_columns) {
      best_columns = columns;
      best = separator;
    }
  }
  return best;
}

// A header's cells are distinct, not empty, and no numbers.
bool LooksLikeHeader(const std::vector<std::string>& cells) {
  std::set<std::string> distinct(cells.begin(), cells.end());
  return distinct.size() == cells.size() && std::none_of(cells.begin(), cells.end(), [](const std::string& cell) {
           return IsMissing(cell) || IsNumber(cell);
         });
}

// What the values of one column are.
struct Column {
  std::map<std::string, size_t> counts;
  size_t present = 0;
  bool numeric = true;
  double least = 0;
  double largest = 0;
  size_t with_bar = 0;

  void Add(const std::string& text) {
    if (IsMissing(text)) return;
    double value = 0;
    if (!config::ParseReal(text, &value)) numeric = false;
    least = present == 0 ? value : std::min(least, value);
    largest = present == 0 ? value : std::max(largest, value);
    ++present;
    ++counts[text];
    with_bar += text.find('|') != std::string::npos;
  }
};

int LabelScore(const std::string& name) {
  static const std::vector<std::string> kNames = {"label",    "target",     "click",      "clicked",
                                                  "is_click", "is_clicked", "conversion", "converted",
                                                  "class",    "y",          "response",   "outcome"};
  const std::string lower = Lower(name);
  const auto it = std::find(kNames.begin(), kNames.end(), lower);
  return it == kNames.end() ? 0 : static_cast<int>(kNames.end() - it);
}

Status GuessLabel(const std::vector<Column>& columns, CsvGuess* guess) {
  int best = 0;
  for (const std::string& name : guess->columns) {
    const int score = LabelScore(name);
    if (score <= best) continue;
    best = score;
    guess->label = name;
    guess->label_reason = "guessed by its name";
  }
  if (best > 0) return Status::Ok();
  // Of the columns with two values the last one, as most files have it, else the first.
  std::vector<size_t> two_valued;
  for (size_t c = 0; c < columns.size(); ++c)
    if (columns[c].counts.size() == 2) two_valued.push_back(c);
  if (two_valued.empty()) return InvalidArgument("no column looks like a label; name it with --label");
  guess->label = guess->columns[two_valued.back()];
  guess->label_reason =
      two_valued.size() == 1 ? "guessed: the only column with two values" : "guessed: the last column with two values";
  return Status::Ok();
}

void GuessPositive(const Column& column, CsvGuess* guess) {
  if (column.numeric) {
    if (column.least >= 0 && column.largest <= 1) return;
    guess->regression = column.counts.size() > 2;
    if (guess->regression) return;
  }
  static const std::vector<std::string> kYes = {"1", "yes", "y", "true", "t", "click", "clicked", "positive", "pos"};
  const std::pair<const std::string, size_t>* rarest = nullptr;
  for (const auto& entry : column.counts) {
    if (std::find(kYes.begin(), kYes.end(), Lower(entry.first)) != kYes.end()) {
      guess->positive_label = entry.first;
      guess->positive_reason = "guessed by its text";
      return;
    }
    if (rarest == nullptr || entry.second < rarest->second) rarest = &entry;
  }
  if (rarest == nullptr) return;
  guess->positive_label = rarest->first;
  guess->positive_reason = fmt::format("guessed: the rarest of {} texts", column.counts.size());
}

}  // namespace

Result<CsvGuess> GuessCsv(std::string_view text, const std::string& path, const std::string& label) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  if (!data::ValidText(text.data(), text.rfind('\n') + 1)) return DataLoss("{}: is not UTF-8 text", path);
  const auto lines = SplitLines(text);
  if (lines.empty()) return DataLoss("{}: holds no whole line", path);
  CsvGuess guess;
  guess.separator = GuessSeparator(lines);
  if (!data::SplitCsvRecord(lines[0], guess.separator, &guess.columns))
    return DataLoss("{}:1: a quote is not closed", path);
  guess.header = LooksLikeHeader(guess.columns);
  if (!guess.header)
    for (size_t c = 0; c < guess.columns.size(); ++c) guess.columns[c] = fmt::format("c{}", c + 1);

  std::vector<Column> columns(guess.columns.size());
  std::vector<std::string> values;
  for (size_t i = guess.header ? 1 : 0; i < lines.size(); ++i) {
    if (!data::SplitCsvRecord(lines[i], guess.separator, &values) || values.size() != columns.size()) continue;
    for (size_t c = 0; c < columns.size(); ++c) columns[c].Add(values[c]);
    ++guess.lines;
  }
  if (label.empty()) {
    SLUICE_RETURN_IF_ERROR(GuessLabel(columns, &guess).WithContext(path));
  } else {
    guess.label = label;
  }
  const auto found = std::find(guess.columns.begin(), guess.columns.end(), guess.label);
  if (found == guess.columns.end()) {
    return InvalidArgument("--label {}: {} has no such column; did you mean \"{}\"?", label, path,
                           config::Nearest(label, guess.columns));
  }
  const auto label_column = static_cast<size_t>(found - guess.columns.begin());
  GuessPositive(columns[label_column], &guess);
  for (size_t c = 0; c < columns.size(); ++c) {
    if (c == label_column) continue;
    const std::string name = Lower(guess.columns[c]);
    const bool named_id = name == "id" || name.ends_with("_id") || name.ends_with("-id") || name.starts_with("id_");
    if (named_id && columns[c].present >= 100 && columns[c].counts.size() == columns[c].present)
      guess.ids.push_back(guess.columns[c]);
    // One value in twenty with a bar is a list; fewer may be stray text.
    if (columns[c].with_bar * 20 > columns[c].present && guess.separator != '|')
      guess.multi.push_back(guess.columns[c]);
  }
  return guess;
}

}  // namespace sluice::cli
