#pragma once

#include <cstdint>
#include <string_view>

#include "base/rng.h"

namespace sluice {

using Key = uint64_t;

// xxh3 of the bytes, seeded.
uint64_t HashBytes(std::string_view bytes, uint64_t seed = 0);

// Salt of a vocabulary: fields that share a vocabulary share keys, others do not.
inline uint64_t VocabularySalt(std::string_view vocabulary) { return HashBytes(vocabulary, 0x51ce); }

// Key of a string value, and of an integer value, in the vocabulary with this salt.
inline Key StringKey(std::string_view value, uint64_t salt) { return HashBytes(value, salt); }
constexpr Key IntegerKey(uint64_t value, uint64_t salt) { return MixPair(salt, value); }

}  // namespace sluice
