// Who last touched which bytes of a memory, and whether they may be touched again.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "program.h"

namespace tileflow {

// For each engine, its last instruction that is known to come before.
using Clock = std::array<std::uint64_t, kEngines>;

// An instruction an engine executed: its number among those of the engine, and its pc.
class Stamp {
 public:
  static constexpr std::uint64_t kMaxNumber = std::uint64_t{1} << 39;

  Stamp() = default;
  Stamp(std::uint64_t number, std::int64_t pc)
      : bits_(number << kPcBits | static_cast<std::uint64_t>(pc)) {}

  std::uint64_t number() const { return bits_ >> kPcBits; }
  std::int64_t pc() const { return static_cast<std::int64_t>(bits_ & ((1U << kPcBits) - 1)); }
  bool operator==(const Stamp&) const = default;

 private:
  static constexpr int kPcBits = 24;
  std::uint64_t bits_ = 0;
};

struct Access {
  int engine = 0;  // 0..kEngines-1
  Stamp stamp;
  const Clock& clock;  // what this engine knows to come before
};

// Why an access is refused. kUnwritten: a read of bytes nobody wrote. kRace: the other access
// (a write or a read) is not ordered before it.
struct Conflict {
  enum class Kind : std::uint8_t { kUnwritten, kRace } kind{};
  std::int64_t lo = 0, hi = 0;
  bool other_writes = false;
  std::int64_t other_pc = 0;
};

// A memory as intervals of bytes with the same history: sorted, in pages.
class Shadow {
 public:
  static constexpr std::int64_t kMostBytes = std::int64_t{1} << 46;

  // `written`: whether the memory has a value from the start. At most kMostBytes.
  Shadow(int engines, std::int64_t bytes, bool written);

  std::optional<Conflict> read(std::int64_t lo, std::int64_t hi, const Access& access) {
    return visit<Kind::kRead>(lo, hi, access);
  }
  std::optional<Conflict> write(std::int64_t lo, std::int64_t hi, const Access& access) {
    return visit<Kind::kWrite>(lo, hi, access);
  }
  // A read and a write of the same bytes.
  std::optional<Conflict> update(std::int64_t lo, std::int64_t hi, const Access& access) {
    return visit<Kind::kUpdate>(lo, hi, access);
  }

  // The first bytes of [lo, hi) nobody wrote.
  std::optional<std::int64_t> first_unwritten(std::int64_t lo, std::int64_t hi) const;

 private:
  enum class Kind : std::uint8_t { kRead, kWrite, kUpdate };

  static constexpr std::int8_t kNobody = -1;           // never written
  static constexpr std::int8_t kFromStart = kEngines;  // has its value from the start

  struct Segment {
    std::uint32_t begin = 0;  // in the page; it ends where the next one begins
    std::int8_t writer = kNobody;
    Stamp written;
    std::array<Stamp, kEngines> reads{};

    bool same_history(const Segment& other) const {
      return writer == other.writer && written == other.written && reads == other.reads;
    }
  };
  using Page = std::vector<Segment>;

  template <Kind kKind>
  std::optional<Conflict> visit(std::int64_t lo, std::int64_t hi, const Access& access);
  template <Kind kKind>
  std::optional<Conflict> visit_page(std::int64_t page, std::uint32_t lo, std::uint32_t hi,
                                     const Access& access);
  template <Kind kKind>
  std::optional<Conflict> check(const Segment& segment, const Access& access) const;
  template <Kind kKind>
  static void note(Segment& segment, const Access& access);
  template <Kind kKind>
  void note_pieces(Page& page, std::size_t first, std::size_t last, std::uint32_t lo,
                   std::uint32_t hi, const Access& access);

  std::uint32_t end_of(const Page& page, std::size_t segment) const {
    return segment + 1 < page.size() ? page[segment + 1].begin : std::uint32_t{1} << page_shift_;
  }
  Page& page(std::int64_t index);

  int engines_;
  std::int64_t bytes_;
  bool from_start_;
  int page_shift_;
  std::vector<Page> pages_;  // an empty page is one segment that nobody touched
};

}  // namespace tileflow
