#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "placement/planner.h"

namespace sluice::placement {
namespace {

using comm::Traffic;

double PerSample(const PlanInput& input, double bytes) {
  return bytes / static_cast<double>(std::max<int64_t>(1, input.batch_size));
}

std::string Mebibytes(double bytes) { return fmt::format("{:.1f}", bytes / 1048576.0); }

// Rows of cells under a head: the first column to the left, the others to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string ToText() const {
    std::vector<size_t> widths(rows_[0].size(), 0);
    for (const auto& row : rows_)
      for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
    std::string text;
    for (const auto& row : rows_) {
      for (size_t c = 0; c < row.size(); ++c)
        text += c == 0 ? fmt::format("  {:<{}}", row[c], widths[c]) : fmt::format("  {:>{}}", row[c], widths[c]);
      text += "\n";
    }
    return text;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

// The first field of the vocabulary, and how many more.
std::string NameOf(const VocabularyCost& vocabulary) {
  if (vocabulary.fields.empty()) return "-";
  if (vocabulary.fields.size() == 1) return vocabulary.fields[0];
  return fmt::format("{} +{}", vocabulary.fields[0], vocabulary.fields.size() - 1);
}

std::string Cell(const Alternative& one, bool by_time) {
  if (!one.possible) return "does not fit";
  return by_time ? fmt::format("{:.0f} B {:.3f} ms", one.bytes_per_sample, 1e3 * one.step_s)
                 : fmt::format("{:.0f} B", one.bytes_per_sample);
}

std::string Whole(const PlanInput& input, const Plan& plan) {
  std::vector<std::string> head = {"whole model"};
  for (int kind = 0; kind < comm::kNumTraffics - 1; ++kind)
    head.push_back(comm::TrafficName(static_cast<Traffic>(kind)));
  head.insert(head.end(), {"bytes", "MiB/rank"});
  if (plan.by_time) head.push_back("ms/step");
  Table table(head);
  const auto add = [&](const std::string& name, bool possible, const StepCost& cost) {
    std::vector<std::string> row = {name};
    if (!possible) {
      row.resize(head.size(), "-");
      row[head.size() - (plan.by_time ? 3 : 2)] = "does not fit";
      table.Add(row);
      return;
    }
    for (int kind = 0; kind < comm::kNumTraffics - 1; ++kind)
      row.push_back(fmt::format("{:.1f}", PerSample(input, cost.bytes[static_cast<size_t>(kind)])));
    row.push_back(fmt::format("{:.1f}", PerSample(input, cost.total_bytes())));
    row.push_back(Mebibytes(cost.largest_memory()));
    if (plan.by_time) row.push_back(fmt::format("{:.3f}", 1e3 * cost.time.total_s()));
    table.Add(row);
  };
  add("the plan", true, plan.cost);
  for (const WholePlan& rival : plan.rivals) add(rival.name, rival.possible, rival.cost);
  return table.ToText();
}

}  // namespace

std::string ToText(const PlanInput& input, const Plan& plan) {
  std::string text =
      fmt::format("{} ranks, {} samples a step over all ranks; bytes are payload per sample, summed over ranks\n\n",
                  input.num_ranks, input.batch_size);
  std::vector<std::string> head = {"field", "keys", "unique", "rows", "MiB"};
  if (!plan.vocabularies.empty())
    for (const Alternative& one : plan.vocabularies[0].alternatives) head.push_back(PlacementName(one.placement));
  head.push_back("choice");
  Table table(head);
  for (size_t v = 0; v < plan.vocabularies.size(); ++v) {
    const VocabularyCost& vocabulary = input.vocabularies[v];
    std::vector<std::string> row = {NameOf(vocabulary), fmt::format("{:.3g}", PerSample(input, vocabulary.keys)),
                                    fmt::format("{:.3g}", PerSample(input, vocabulary.unique_of_ranks)),
                                    fmt::format("{:.0f}", vocabulary.rows),
                                    Mebibytes(vocabulary.rows * static_cast<double>(vocabulary.row_bytes))};
    for (const Alternative& one : plan.vocabularies[v].alternatives) row.push_back(Cell(one, plan.by_time));
    row.push_back(PlacementName(plan.vocabularies[v].choice));
    table.Add(row);
  }
  if (!plan.vocabularies.empty()) text += table.ToText();
  if (!input.shared.empty()) {
    text += "\n";
    for (const SharedColumns& shared : input.shared)
      text += fmt::format(
          "  {}: {} columns that all its fields add to, {:.0f} bytes per sample, paid once unless all of them "
          "are rows_a2a\n",
          shared.name, shared.sum_columns,
          2.0 * (input.num_ranks - 1) * static_cast<double>(shared.sum_columns * input.partial_bytes));
  }
  text += "\n" + Whole(input, plan) + "\n";
  for (size_t v = 0; v < plan.vocabularies.size(); ++v)
    text += fmt::format("  {}: {}. {}\n", NameOf(input.vocabularies[v]), PlacementName(plan.vocabularies[v].choice),
                        plan.vocabularies[v].reason);
  if (plan.by_time) {
    const StepTime& time = plan.cost.time;
    text += fmt::format(
        "\nms of a step, one after the other: link {:.3f}, copies {:.3f}, keys {:.3f}, rows {:.3f}, dense {:.3f}\n",
        1e3 * time.link_s, 1e3 * time.copies_s, 1e3 * time.keys_s, 1e3 * time.rows_s, 1e3 * time.dense_s);
  }
  text += fmt::format("\nmemory of each rank, MiB:");
  for (const double bytes : plan.cost.memory) text += " " + Mebibytes(bytes);
  return text + "\n\n" + plan.reason + "\n";
}

}  // namespace sluice::placement
