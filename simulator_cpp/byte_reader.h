// Reads the little-endian values of a container's section, never past its end.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "fault.h"

namespace tileflow {

class ByteReader {
 public:
  ByteReader(std::span<const std::uint8_t> bytes, std::string_view what)
      : bytes_(bytes), what_(what) {}

  [[noreturn]] void fail(const std::string& why) const {
    throw Fault(FaultKind::kBinary, std::string(what_) + ": " + why);
  }

  std::span<const std::uint8_t> take(std::uint64_t count) {
    if (count > bytes_.size() - at_) {
      fail("ends after " + std::to_string(bytes_.size()) + " bytes, in the middle of a value");
    }
    const auto taken = bytes_.subspan(at_, count);
    at_ += count;
    return taken;
  }

  template <class T>
  T number() {
    std::uint64_t value = 0;
    const auto raw = take(sizeof(T));
    for (std::size_t i = sizeof(T); i > 0; --i) value = value << 8 | raw[i - 1];
    return static_cast<T>(value);
  }

  // A number that counts something of the host's memory or address space.
  std::int64_t size(const char* name) {
    const auto value = number<std::uint64_t>();
    if (value > kLargest) fail(std::string(name) + " is " + std::to_string(value) + ", too large");
    return static_cast<std::int64_t>(value);
  }

  // A number below `count`, naming one of so many things.
  std::uint8_t choice(const char* name, std::size_t count) {
    const auto value = number<std::uint8_t>();
    if (value >= count) fail(std::string(name) + " is " + std::to_string(value) + ", not known");
    return value;
  }

  std::string text() {
    const auto raw = take(number<std::uint16_t>());
    std::string value(raw.begin(), raw.end());
    if (!is_utf8(value)) fail("a name is not UTF-8 text");
    return value;
  }

  void finish() const {
    if (at_ != bytes_.size()) {
      fail(std::to_string(bytes_.size() - at_) + " bytes more than its tables need");
    }
  }

  static constexpr std::uint64_t kLargest = std::uint64_t{1} << 62;

 private:
  static bool is_utf8(std::string_view text);

  std::span<const std::uint8_t> bytes_;
  std::string_view what_;
  std::size_t at_ = 0;
};

// Well-formed as in table 3-7 of the Unicode standard.
inline bool ByteReader::is_utf8(std::string_view text) {
  const auto in = [](unsigned char c, int low, int high) { return c >= low && c <= high; };
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t more = lead < 0x80            ? 0
                             : in(lead, 0xC2, 0xDF) ? 1
                             : in(lead, 0xE0, 0xEF) ? 2
                                                    : 3;
    if (more == 3 && !in(lead, 0xF0, 0xF4)) return false;
    if (i + more >= text.size()) return false;
    for (std::size_t k = 1; k <= more; ++k) {
      int low = 0x80;
      int high = 0xBF;
      if (k == 1 && lead == 0xE0) low = 0xA0;
      if (k == 1 && lead == 0xED) high = 0x9F;
      if (k == 1 && lead == 0xF0) low = 0x90;
      if (k == 1 && lead == 0xF4) high = 0x8F;
      if (!in(static_cast<unsigned char>(text[i + k]), low, high)) return false;
    }
    i += more + 1;
  }
  return true;
}

}  // namespace tileflow
