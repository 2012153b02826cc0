#pragma once

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"

namespace sluice {

enum class StatusCode {
  kOk,
  kInvalidArgument,     // usage, configuration                          exit 2
  kNotFound,            // a file, key, field or checkpoint is not there exit 3
  kDataLoss,            // malformed input, checksum, truncated file     exit 3
  kIo,                  // read, write, disk full, permission            exit 3
  kNumeric,             // NaN or infinity, fixed-point overflow         exit 3
  kResourceExhausted,   // memory, capacity, message too large           exit 3
  kUnavailable,         // peer lost, timeout; retryable                 exit 4
  kCancelled,           // interrupted by the user                       exit 130
  kInternal,            // a bug                                         exit 70
};

// Outcome of an operation that can fail at run time: a code, and a message that names file, line, key, option or rank
// and says what to do.
// Threads      a value type; distinct objects may be used concurrently.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return {}; }
  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same failure seen from one level up: "<context>: <message>". Ok stays Ok.
  Status WithContext(const std::string& context) const {
    return ok() ? *this : Status(code_, context + ": " + message_);
  }
  // Process exit code, as documented in docs/reference/exit-codes.md.
  int ExitCode() const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

template <class... Args>
Status InvalidArgument(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::kInvalidArgument, fmt::format(f, std::forward<Args>(args)...)};
}
template <class... Args>
Status NotFound(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::kNotFound, fmt::format(f, std::forward<Args>(args)...)};
}
template <class... Args>
Status DataLoss(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::kDataLoss, fmt::format(f, std::forward<Args>(args)...)};
}
template <class... Args>
Status IoError(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::kIo, fmt::format(f, std::forward<Args>(args)...)};
}
template <class... Args>
Status NumericError(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::kNumeric, fmt::format(f, std::forward<Args>(args)...)};
}
template <class... Args>
Status ResourceExhausted(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::kResourceExhausted, fmt::format(f, std::forward<Args>(args)...)};
}

// Carries a Status out of deep compute code; caught before it would cross a thread or the public interface.
class StatusError : public std::runtime_error {
 public:
  explicit StatusError(Status status) : std::runtime_error(status.message()), status_(std::move(status)) {}
  const Status& status() const { return status_; }

 private:
  Status status_;
};

// A value or the Status that says why there is none. REQUIRES: value() only when ok().
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {
    SLUICE_CHECK(!status_.ok(), "a Result without a value needs a failure");
  }
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & {
    SLUICE_CHECK(ok(), "value() of a failed Result: {}", status_.message());
    return *value_;
  }
  const T& value() const& {
    SLUICE_CHECK(ok(), "value() of a failed Result: {}", status_.message());
    return *value_;
  }
  // By value, so that `for (auto& x : F().value())` does not outlive what it walks.
  T value() && {
    SLUICE_CHECK(ok(), "value() of a failed Result: {}", status_.message());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  T* operator->() { return &value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace sluice

#define SLUICE_CONCAT_INNER(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_INNER(a, b)
// Returns from the enclosing function when `expr` (a Status) failed.
#define SLUICE_RETURN_IF_ERROR(expr)            \
  do {                                          \
    ::sluice::Status sluice_status_ = (expr);   \
    if (!sluice_status_.ok()) return sluice_status_; \
  } while (false)
// `lhs = value` of a Result expression, or returns its Status from the enclosing function.
#define SLUICE_ASSIGN_OR_RETURN(lhs, expr) \
  SLUICE_ASSIGN_OR_RETURN_INNER(SLUICE_CONCAT(sluice_result_, __LINE__), lhs, expr)
#define SLUICE_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                  \
  if (!tmp.ok()) return tmp.status();                 \
  lhs = std::move(tmp).value()
