#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/schema.h"

namespace sluice::config {

// A visitor that looks at a struct's own values alone: nested structs, lists and maps of them are passed over, and so
// are values of the types that it does not override Field for.
class LeafVisitor : public Visitor {
 public:
  using Visitor::Field;
  void Field(const char*, bool&, const Meta&) override {}
  void Field(const char*, int64_t&, const Meta&) override {}
  void Field(const char*, double&, const Meta&) override {}
  void Field(const char*, std::string&, const Meta&) override {}
  void Field(const char*, std::vector<std::string>&, const Meta&) override {}
  void Field(const char*, std::vector<int64_t>&, const Meta&) override {}
  void Field(const char*, std::vector<double>&, const Meta&) override {}

 protected:
  void Object(const char*, const Meta&, const Visit&) override {}
  void ObjectList(const char*, const Meta&, const std::function<void(size_t)>&, const std::function<size_t()>&,
                  const std::function<void(size_t, Visitor&)>&, const Visit&) override {}
  void ObjectMap(const char*, const Meta&, const std::function<void(const std::string&)>&,
                 const std::function<std::vector<std::string>()>&,
                 const std::function<void(const std::string&, Visitor&)>&, const Visit&) override {}
};

}  // namespace sluice::config
