// JSON that may come from anybody: its size, its depth and the number of its values are bounded.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace movinet {

struct Json {
  enum class Kind { null, boolean, number, text, list, object };
  Kind kind = Kind::null;
  double number = 0;
  std::string text;
  std::vector<Json> list;
  std::map<std::string, Json, std::less<>> object;

  // A member of an object; null, whose kind is `null`, where there is none.
  const Json& operator[](std::string_view name) const;
  // The number, if it is an integer from 0 to 2**53; else -1.
  int64_t whole() const;
  bool is(Kind other) const { return kind == other; }
};

// Throws std::runtime_error, whose reason has nothing of the text, if it is not JSON, or too much.
Json parse_json(std::string_view text);

// A text with quotes around it.
std::string quoted(std::string_view text);

}  // namespace movinet
