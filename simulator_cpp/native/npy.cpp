#include "npy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "errors.h"

namespace tileflow {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kAlignment = 64;
// Of each element type.
constexpr std::array<std::string_view, 4> kDescr = {"<f4", "<V2", "|i1", "<i4"};
static_assert(isa::kDTypeNames == std::array<std::string_view, 4>{"f32", "bf16", "i8", "i32"});
// Room in which a header can grow with its array, as NumPy leaves it.
constexpr std::size_t kDigits = 21;

// The header is a Python literal: a dictionary of these three keys in any order.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  NpyHeader parse() {
    expect('{');
    bool descr = false;
    bool order = false;
    bool shape = false;
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !descr) {
        descr = true;
        header_.descr = value();
      } else if (key == "fortran_order" && !order) {
        order = true;
        header_.fortran_order = boolean();
      } else if (key == "shape" && !shape) {
        shape = true;
        read_shape();
      } else {
        fail("a key that has no place there, '" + key + "'");
      }
      if (!accept(',') && peek() != '}') fail("no comma after a value");
    }
    skip_space();
    if (!text_.empty()) fail("something behind the dictionary");
    if (!descr || !order || !shape) fail("it does not say descr, fortran_order and shape");
    return std::move(header_);
  }

 private:
  [[noreturn]] static void fail(const std::string& what) {
    throw InputError("its header makes no sense: " + what);
  }

  void skip_space() {
    text_.remove_prefix(std::min(text_.find_first_not_of(" \t\r\n"), text_.size()));
  }
  char peek() {
    skip_space();
    return text_.empty() ? '\0' : text_.front();
  }
  bool accept(char wanted) {
    if (peek() != wanted || text_.empty()) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) fail(std::string("no '") + wanted + "' where one is needed");
  }

  std::string string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail("no string where one is needed");
    const std::size_t end = text_.find(quote, 1);
    if (end == std::string_view::npos) fail("a string without an end");
    const std::string found(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return found;
  }

  // A string, or the text of a list: the fields of a structured dtype.
  std::string value() {
    if (peek() != '[') return string();
    int open = 0;
    for (std::size_t i = 0; i < text_.size(); ++i) {
      if (text_[i] == '[') ++open;
      if (text_[i] == ']' && --open == 0) {
        const std::string found(text_.substr(0, i + 1));
        text_.remove_prefix(i + 1);
        return found;
      }
    }
    fail("a list without an end");
  }

  bool boolean() {
    skip_space();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (!text_.starts_with(word)) continue;
      text_.remove_prefix(word.size());
      return value;
    }
    fail("fortran_order is neither True nor False");
  }

  void read_shape() {
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t size = 0;
      const char* const end = text_.data() + text_.size();
      const auto [stop, error] = std::from_chars(text_.data(), end, size);
      if (error != std::errc() || size < 0) fail("shape is not a tuple of sizes");
      text_.remove_prefix(static_cast<std::size_t>(stop - text_.data()));
      header_.shape.push_back(size);
      if (!accept(',') && peek() != ')') fail("shape is not a tuple of sizes");
    }
  }

  std::string_view text_;
  NpyHeader header_;
};

std::size_t little_endian(std::span<const std::uint8_t> bytes) {
  std::size_t value = 0;
  for (std::size_t i = bytes.size(); i > 0; --i) value = value << 8 | bytes[i - 1];
  return value;
}

}  // namespace

NpyHeader read_npy_header(std::span<const std::uint8_t> file) {
  if (!std::ranges::equal(file.first(std::min(file.size(), kMagic.size())), kMagic, {}, {},
                          [](char c) { return static_cast<std::uint8_t>(c); })) {
    throw InputError("the file begins with something else");
  }
  const std::size_t version_at = kMagic.size();
  if (file.size() < version_at + 2) throw InputError("it ends in its header");
  const int version = file[version_at];
  if (version < 1 || version > 3 || file[version_at + 1] != 0) {
    throw InputError("it has version " + std::to_string(version) + "." +
                     std::to_string(file[version_at + 1]) + " of the format, not 1.0 to 3.0");
  }
  const std::size_t width = version == 1 ? 2 : 4;
  const std::size_t header_at = version_at + 2 + width;
  if (file.size() < header_at) throw InputError("it ends in its header");
  const std::size_t length = little_endian(file.subspan(version_at + 2, width));
  if (length > file.size() - header_at) throw InputError("it ends in its header");
  const auto text = file.subspan(header_at, length);
  NpyHeader header =
      HeaderParser({reinterpret_cast<const char*>(text.data()), text.size()}).parse();
  header.data_at = header_at + length;
  return header;
}

std::string npy_header(isa::DType dtype, std::span<const std::int64_t> shape) {
  std::string text = "{'descr': '" + std::string(kDescr[static_cast<std::size_t>(dtype)]) +
                     "', 'fortran_order': False, 'shape': " + shape_text(shape) + ", }";
  if (!shape.empty()) text.append(kDigits - std::to_string(shape[0]).size(), ' ');
  std::string header(kMagic);
  header += {1, 0};
  const std::size_t before = header.size() + 2;
  text.append(kAlignment - 1 - (before + text.size()) % kAlignment, ' ');
  text += '\n';
  header += {static_cast<char>(text.size() & 0xFF), static_cast<char>(text.size() >> 8)};
  return header + text;
}

bool is_descr_of(const std::string& descr, isa::DType dtype) {
  return descr == kDescr[static_cast<std::size_t>(dtype)] ||
         (dtype == isa::DType::kBf16 && descr == "|V2");
}

std::string dtype_name(const std::string& descr) {
  constexpr std::array<std::array<std::string_view, 2>, 14> kNames = {{{"<f2", "float16"},
                                                                       {"<f4", "float32"},
                                                                       {"<f8", "float64"},
                                                                       {"|i1", "int8"},
                                                                       {"<i2", "int16"},
                                                                       {"<i4", "int32"},
                                                                       {"<i8", "int64"},
                                                                       {"|u1", "uint8"},
                                                                       {"<u2", "uint16"},
                                                                       {"<u4", "uint32"},
                                                                       {"<u8", "uint64"},
                                                                       {"<c8", "complex64"},
                                                                       {"<c16", "complex128"},
                                                                       {"|b1", "bool"}}};
  for (const auto& [code, name] : kNames) {
    if (code == descr) return std::string(name);
  }
  return descr;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text;
  for (const std::int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + (shape.size() == 1 ? ",)" : ")");
}

}  // namespace tileflow
