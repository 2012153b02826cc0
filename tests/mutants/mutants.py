"""Known bugs to plant: an exact replacement in one file, and the tests that must then fail. run.py applies them."""
from dataclasses import dataclass


@dataclass
class Mutant:
    name: str
    file: str
    old: str  # occurs exactly once in the file
    new: str
    targets: tuple  # executables to build; the tests below run after one another until one fails
    tests: tuple  # ctest names, or EXECUTABLE:FILTER for some tests of one of the executables


MUTANTS = [
    Mutant("bias added twice", "src/nn/net_pass.h",
           "T sum = bias != nullptr ? bias[l] : T(0);",
           "T sum = bias != nullptr ? bias[l] + bias[l] : T(0);",
           ("test_nn_fast",), ("nn.fast",)),
    Mutant("layer bias added twice", "src/nn/mlp.cc",
           "Gemm<A>(x, Weight(io, layer), z, {.bias = io.params + layer.bias, .relu = relu});",
           "Gemm<A>(x, Weight(io, layer), z, {.bias = io.params + layer.bias, .relu = relu});\n"
           "    if constexpr (std::is_same_v<Y, T>)\n"
           "      for (int64_t i = 0; i < z.rows; ++i)\n"
           "        for (int64_t j = 0; j < z.cols; ++j) z.row(i)[j] += io.params[layer.bias + j];",
           ("test_nn_fast",), ("nn.fast",)),
    Mutant("an optimizer applied per occurrence", "src/embedding/virtual_ids.cc",
           "const uint32_t index = slot == 0 ? num_unique : slot - 1;\n"
           "        if (unique[index] == key) [[likely]] {\n"
           "          slots[at] = index + 1;\n"
           "          ++counts[index];\n"
           "          num_unique += slot == 0;",
           "const uint32_t index = num_unique;\n"
           "        if (unique[index] == key) [[likely]] {\n"
           "          slots[at] = index + 1;\n"
           "          ++counts[index];\n"
           "          num_unique += slot == 0 || true;",
           ("test_embedding_fast",), ("embedding.fast",)),
    Mutant("a row used without a pin", "src/embedding/hash_table_resolve.cc",
           "\n  Pin(*out);\n", "\n",
           ("test_embedding_fast",), ("embedding.fast",)),
    Mutant("a pinned row expires", "src/embedding/hash_table_expiry.cc",
           "    if (last_use >= oldest_pin) return;  // pinned\n", "    (void)oldest_pin;\n",
           ("test_embedding_fast",), ("embedding.fast",)),
    Mutant("a checkpoint without slots", "src/embedding/hash_table_io.cc",
           "    if (!slots) return;\n", "    return;\n",
           ("test_embedding_fast",), ("embedding.fast",)),
    # Of several ranks.
    Mutant("the bias is added by every rank", "src/nn/net_parts.cc",
           "        node.op->Partial(batch, view, samples, partial);\n",
           "        node.op->Partial(batch, view, samples, partial);\n"
           "        if (params != nullptr && impl_->graph.output_bias >= 0 && partial.cols == impl_->graph.num_labels)\n"
           "          for (int64_t i = 0; i < partial.rows; ++i)\n"
           "            for (int64_t l = 0; l < partial.cols; ++l) partial.row(i)[l] += params[impl_->graph.output_bias + l];\n",
           ("test_train_fast",), ("test_train_fast:RanksTest.LogisticRegression*",)),
    Mutant("a gradient divided by the batch and by the ranks", "src/sync/all_reduce_sync.cc",
           "  return comm_->AllReduce<T>(gradients",
           "  for (T& value : gradients.subspan(static_cast<size_t>(bucket.begin), static_cast<size_t>(bucket.size())))\n"
           "    value /= static_cast<T>(comm_->size());\n"
           "  return comm_->AllReduce<T>(gradients",
           ("test_train_fast",), ("test_train_fast:RanksTest.LogisticRegression*",)),
    Mutant("products are reduced after the activation", "src/nn/net_parts.cc",
           "      ProjectForward<T>(node.projections, params, pooled, partial);\n",
           "      ProjectForward<T>(node.projections, params, pooled, partial);\n"
           "      for (int64_t i = 0; i < partial.rows; ++i)\n"
           "        for (int64_t c = 0; c < partial.cols; ++c) partial.row(i)[c] = std::max(partial.row(i)[c], T(0));\n",
           ("test_train_fast",), ("test_train_fast:FirstLayerTest.EverySplit*",)),
    Mutant("samples are split before partials are summed", "src/placement/partial_exchange.cc",
           "  SLUICE_RETURN_IF_ERROR(comm_->ReduceScatter<T>({global, static_cast<size_t>(global_batch * width)},\n"
           "                                                 Counts(global_batch, width), out, ReduceOp::kSum, "
           "Traffic::kPartials,\n"
           "                                                 wire_));\n",
           "  std::copy_n(global + SamplesOf(global_batch, comm_->rank()).begin * width, mine * width, out.data());\n",
           ("test_train_fast",), ("test_train_fast:RanksTest.FactorisationMachine*",)),
    Mutant("of the ranks that have a row the last one alone counts", "src/placement/row_exchange.cc",
           "to[d] += from[d];",
           "to[d] = from[d];",
           ("test_train_fast",), ("test_train_fast:RanksTest.FactorisationMachine*",)),
    Mutant("default rows on their owner alone", "src/train/model.cc",
           "options.all_default_rows = true;", "options.all_default_rows = false;",
           ("test_train_fast",), ("test_train_fast:ScoringByRanksTest.MissingKeys*",)),
    Mutant("every rank prints all samples", "src/train/scoring.cc",
           "mine = placement::SamplesOfRank(batch.size, ranks.ranks->rank(), ranks.ranks->size());",
           "mine = {0, batch.size};",
           ("test_train_fast",), ("test_train_fast:ScoringByRanksTest.EqualsOneProcess*",)),
]
