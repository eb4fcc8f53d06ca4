#include "json.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <stdexcept>

namespace movinet {
namespace {

constexpr int kMaxDepth = 32, kMaxValues = 500000;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json whole() {
    Json value = parse(0);
    skip_space();
    if (at_ != text_.size()) fail();
    return value;
  }

 private:
  [[noreturn]] static void fail() { throw std::runtime_error("it is not JSON"); }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' ||
                                  text_[at_] == '\t'))
      at_++;
  }

  char next() {
    if (at_ == text_.size()) fail();
    return text_[at_++];
  }

  // What follows, behind spaces; it stays.
  char peek() {
    skip_space();
    if (at_ == text_.size()) fail();
    return text_[at_];
  }

  bool take(char wanted) {
    if (peek() != wanted) return false;
    at_++;
    return true;
  }

  void word(std::string_view wanted) {
    if (text_.substr(at_, wanted.size()) != wanted) fail();
    at_ += wanted.size();
  }

  Json parse(int depth) {
    if (depth > kMaxDepth || ++values_ > kMaxValues)
      throw std::runtime_error("it has too much JSON");
    Json value;
    switch (peek()) {
      case '{':
        at_++;
        value.kind = Json::Kind::object;
        if (take('}')) return value;
        do {
          if (peek() != '"') fail();
          std::string name = string();
          if (!take(':')) fail();
          if (!value.object.emplace(std::move(name), parse(depth + 1)).second)
            throw std::runtime_error("it has a name twice");
        } while (take(','));
        if (!take('}')) fail();
        return value;
      case '[':
        at_++;
        value.kind = Json::Kind::list;
        if (take(']')) return value;
        do value.list.push_back(parse(depth + 1));
        while (take(','));
        if (!take(']')) fail();
        return value;
      case '"':
        value.kind = Json::Kind::text;
        value.text = string();
        return value;
      case 't':
        word("true");
        value.kind = Json::Kind::boolean;
        value.number = 1;
        return value;
      case 'f':
        word("false");
        value.kind = Json::Kind::boolean;
        return value;
      case 'n':
        word("null");
        return value;
      default:
        value.kind = Json::Kind::number;
        value.number = number();
        return value;
    }
  }

  double number() {
    const size_t begin = at_;
    while (at_ < text_.size() && std::string_view("+-.0123456789eE").find(text_[at_]) !=
                                     std::string_view::npos)
      at_++;
    double value = 0;
    const char* end = text_.data() + at_;
    const auto found = std::from_chars(text_.data() + begin, end, value);
    if (found.ptr != end || found.ec != std::errc() || begin == at_ || !std::isfinite(value)) fail();
    return value;
  }

  uint32_t hex() {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
      const char c = next();
      value *= 16;
      if (c >= '0' && c <= '9') value += static_cast<uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f') value += static_cast<uint32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F') value += static_cast<uint32_t>(c - 'A' + 10);
      else fail();
    }
    return value;
  }

  static void append(std::string& text, uint32_t code) {
    const auto byte = [&](uint32_t value) { text += static_cast<char>(value); };
    if (code < 0x80) return byte(code);
    if (code < 0x800) {
      byte(0xC0 | code >> 6);
    } else {
      if (code < 0x10000) {
        byte(0xE0 | code >> 12);
      } else {
        byte(0xF0 | code >> 18);
        byte(0x80 | (code >> 12 & 0x3F));
      }
      byte(0x80 | (code >> 6 & 0x3F));
    }
    byte(0x80 | (code & 0x3F));
  }

  std::string string() {
    at_++;  // the quote
    std::string text;
    for (char c; (c = next()) != '"';) {
      if (static_cast<unsigned char>(c) < 0x20) fail();
      if (c != '\\') {
        text += c;
        continue;
      }
      switch (const char escaped = next()) {
        case '"': case '\\': case '/': text += escaped; break;
        case 'b': text += '\b'; break;
        case 'f': text += '\f'; break;
        case 'n': text += '\n'; break;
        case 'r': text += '\r'; break;
        case 't': text += '\t'; break;
        case 'u': {
          uint32_t code = hex();
          if (code >= 0xDC00 && code < 0xE000) fail();
          if (code >= 0xD800 && code < 0xDC00) {  // a pair
            if (next() != '\\' || next() != 'u') fail();
            const uint32_t low = hex();
            if (low < 0xDC00 || low >= 0xE000) fail();
            code = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00);
          }
          append(text, code);
          break;
        }
        default: fail();
      }
    }
    return text;
  }

  std::string_view text_;
  size_t at_ = 0;
  int values_ = 0;
};

}  // namespace

const Json& Json::operator[](std::string_view name) const {
  static const Json none;
  const auto found = object.find(name);
  return found == object.end() ? none : found->second;
}

int64_t Json::whole() const {
  if (kind != Kind::number || !(number >= 0) || number > 9007199254740992.0) return -1;
  const auto value = static_cast<int64_t>(number);
  return static_cast<double>(value) == number ? value : -1;
}

Json parse_json(std::string_view text) { return Parser(text).whole(); }

std::string quoted(std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (code < 0x20) {
      result += "\\u00";
      result += kDigits[code / 16];
      result += kDigits[code % 16];
    } else {
      result += c;
    }
  }
  return result + "\"";
}

}  // namespace movinet
