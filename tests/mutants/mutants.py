"""Known bugs to plant: an exact replacement in one file, and the tests that must then fail. run.py applies them."""
from dataclasses import dataclass


@dataclass
class Mutant:
    name: str
    file: str
    old: str  # occurs exactly once in the file
    new: str
    targets: tuple  # executables to build; the tests below run after one another until one fails
    tests: tuple  # ctest names


MUTANTS = [
    Mutant("bias added twice", "src/nn/net.cc",
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
]
