#include "shadow.h"

#include <algorithm>

namespace tileflow {
namespace {

constexpr int kSmallestPage = 16;  // log2
constexpr std::int64_t kMostPages = std::int64_t{1} << 16;

}  // namespace

Shadow::Shadow(int engines, std::int64_t bytes, bool written)
    : engines_(engines), bytes_(bytes), from_start_(written), page_shift_(kSmallestPage) {
  while (bytes_ >> page_shift_ >= kMostPages) ++page_shift_;
  pages_.resize(static_cast<std::size_t>((bytes_ >> page_shift_) + 1));
}

Shadow::Page& Shadow::page(std::int64_t index) {
  Page& page = pages_[static_cast<std::size_t>(index)];
  if (page.empty()) {
    page.push_back({.begin = 0, .writer = from_start_ ? kFromStart : kNobody});
  }
  return page;
}

template <Shadow::Kind kKind>
std::optional<Conflict> Shadow::visit(std::int64_t lo, std::int64_t hi, const Access& access) {
  while (lo < hi) {
    const std::int64_t index = lo >> page_shift_;
    const std::int64_t start = index << page_shift_;
    const std::int64_t end = std::min(hi, start + (std::int64_t{1} << page_shift_));
    auto conflict = visit_page<kKind>(index, static_cast<std::uint32_t>(lo - start),
                                      static_cast<std::uint32_t>(end - start), access);
    if (conflict) [[unlikely]] {
      conflict->lo += start;
      conflict->hi += start;
      return conflict;
    }
    lo = end;
  }
  return std::nullopt;
}

template <Shadow::Kind kKind>
std::optional<Conflict> Shadow::check(const Segment& segment, const Access& access) const {
  using enum Conflict::Kind;
  const auto unordered = [&](int engine, const Stamp& stamp) {
    return engine != access.engine && stamp.number() > access.clock[engine];
  };
  if (segment.writer == kNobody) {
    if (kKind != Kind::kWrite) return Conflict{.kind = kUnwritten};
  } else if (segment.writer != kFromStart && unordered(segment.writer, segment.written)) {
    return Conflict{.kind = kRace, .other_writes = true, .other_pc = segment.written.pc()};
  }
  if constexpr (kKind != Kind::kRead) {
    for (int engine = 0; engine < engines_; ++engine) {
      if (!unordered(engine, segment.reads[engine])) continue;
      return Conflict{.kind = kRace, .other_pc = segment.reads[engine].pc()};
    }
  }
  return std::nullopt;
}

template <Shadow::Kind kKind>
std::optional<Conflict> Shadow::visit_page(std::int64_t index, std::uint32_t lo, std::uint32_t hi,
                                           const Access& access) {
  Page& page = this->page(index);
  const auto after = std::ranges::upper_bound(page, lo, {}, &Segment::begin);
  const std::size_t first = static_cast<std::size_t>(after - page.begin()) - 1;
  std::size_t last = first;  // one after the last segment touched
  do {
    auto conflict = check<kKind>(page[last], access);
    if (conflict) [[unlikely]] {
      conflict->lo = std::max(lo, page[last].begin);
      conflict->hi = std::min(hi, end_of(page, last));
      return conflict;
    }
    ++last;
  } while (end_of(page, last - 1) < hi);

  // Mostly an access meets the very bytes of an earlier one.
  if (last == first + 1 && page[first].begin == lo && end_of(page, first) == hi) [[likely]] {
    note<kKind>(page[first], access);
  } else {
    note_pieces<kKind>(page, first, last, lo, hi, access);
  }
  return std::nullopt;
}

template <Shadow::Kind kKind>
void Shadow::note(Segment& segment, const Access& access) {
  if constexpr (kKind != Kind::kRead) {
    segment = {.begin = segment.begin,
               .writer = static_cast<std::int8_t>(access.engine),
               .written = access.stamp};
  } else {
    segment.reads[access.engine] = access.stamp;
  }
}

// [lo, hi) is inside segments [first, last).
template <Shadow::Kind kKind>
void Shadow::note_pieces(Page& page, std::size_t first, std::size_t last, std::uint32_t lo,
                         std::uint32_t hi, const Access& access) {
  const auto at = [&](std::size_t i) { return page.begin() + static_cast<std::ptrdiff_t>(i); };
  if (page[first].begin < lo) {
    page.insert(at(first + 1), page[first]);
    page[++first].begin = lo;
    ++last;
  }
  if (end_of(page, last - 1) > hi) {
    page.insert(at(last), page[last - 1]);
    page[last].begin = hi;
  }
  if constexpr (kKind != Kind::kRead) {
    page.erase(at(first + 1), at(last));
    last = first + 1;
  }
  for (std::size_t i = first; i < last; ++i) note<kKind>(page[i], access);

  // Join equal neighbours, the ones outside included.
  std::size_t kept = first > 0 ? first - 1 : 0;
  const std::size_t end = std::min(last + 1, page.size());
  for (std::size_t i = kept + 1; i < end; ++i) {
    if (!page[i].same_history(page[kept])) page[++kept] = page[i];
  }
  page.erase(at(kept + 1), at(end));
}

template std::optional<Conflict> Shadow::visit<Shadow::Kind::kRead>(std::int64_t, std::int64_t,
                                                                    const Access&);
template std::optional<Conflict> Shadow::visit<Shadow::Kind::kWrite>(std::int64_t, std::int64_t,
                                                                     const Access&);
template std::optional<Conflict> Shadow::visit<Shadow::Kind::kUpdate>(std::int64_t, std::int64_t,
                                                                      const Access&);

std::optional<std::int64_t> Shadow::first_unwritten(std::int64_t lo, std::int64_t hi) const {
  if (from_start_ || lo >= hi) return std::nullopt;
  for (std::int64_t index = lo >> page_shift_; index << page_shift_ < hi; ++index) {
    const Page& page = pages_[static_cast<std::size_t>(index)];
    const std::int64_t start = index << page_shift_;
    if (page.empty()) return std::max(lo, start);
    for (std::size_t i = 0; i < page.size(); ++i) {
      const std::int64_t begin = start + page[i].begin;
      const std::int64_t end = start + end_of(page, i);
      if (page[i].writer == kNobody && begin < hi && end > lo) return std::max(lo, begin);
    }
  }
  return std::nullopt;
}

}  // namespace tileflow
