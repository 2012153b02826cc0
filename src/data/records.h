#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::data {

// Length of the whole records at the start of text; 0 if there is none. Newlines inside quoted values do not count.
size_t WholeRecords(const char* text, size_t size, bool quotes, char separator);

// Reads one record of csv text (without its newline) into values: quotes removed, blanks around values trimmed.
// False where a quote is not closed or text follows it.
bool SplitCsvRecord(std::string_view record, char separator, std::vector<std::string>* values);

// Whether text is valid UTF-8 without NUL.
bool ValidText(const char* text, size_t size);

}  // namespace sluice::data
