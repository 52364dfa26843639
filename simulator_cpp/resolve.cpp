#include "resolve.h"

namespace tileflow {
namespace {

// Beyond this a coordinate is outside of every tensor; with it, no sum of a box's steps (below
// 2^28 indices of 2^31 each) leaves 64 bits.
constexpr std::int64_t kLargestCoordinate = std::int64_t{1} << 60;

std::string bytes(std::int64_t lo, std::int64_t hi) {
  return std::to_string(lo) + ".." + std::to_string(hi - 1);
}

std::string shape(const Block& block) {
  return std::to_string(block.rows) + " x " + std::to_string(block.cols);
}

}  // namespace

void check_block(const Walker& walker, const Block& block, const char* role, bool dma) {
  if (block.empty()) return;
  const isa::Machine& machine = walker.program().machine;
  const int shift = walker.program().tile_shift();
  if (block.address % kItemBytes != 0) {
    walker.fault(std::string(role) + " is at SRAM byte " + std::to_string(block.address) +
                     ", which is not aligned to its elements of 4 bytes",
                 "bases, steps and wraps of address generators are multiples of 4");
  }
  const std::int64_t tiles = ((block.cols - 1) >> shift) + 1;
  if (block.pitch == 0 && !dma && block.rows != 1 && block.cols != 1) {
    walker.fault(std::string(role) + " is " + shape(block) +
                     ", but its address generator has pitch 0 (a vector)",
                 "say how many tiles wide the grid is: agen ... pitch=" + std::to_string(tiles));
  }
  if (block.pitch != 0 && tiles > block.pitch) {
    walker.fault(std::string(role) + " is " + shape(block) + ", " + std::to_string(tiles) +
                     " tiles wide, but its pitch is " + std::to_string(block.pitch),
                 "the pitch of its address generator is to be the grid's width in tiles");
  }
  // An address above SRAM is checked first, so that its end cannot overflow.
  const std::int64_t sram = machine.sram_bytes;
  const std::int64_t size = end_of({0, block.rows, block.cols, block.pitch}, shift);
  if (block.address < 0 || block.address > sram || size > sram - block.address) {
    const std::string place = block.address > sram || block.address < 0
                                  ? "from byte " + std::to_string(block.address)
                                  : "bytes " + bytes(block.address, block.address + size);
    walker.fault(std::string(role) + " (" + shape(block) + ") covers SRAM " + place +
                     ", but SRAM has bytes " + bytes(0, sram),
                 std::string("check base, steps and wrap of its address generator") + kDefect);
  }
}

void check_coordinates(const Walker& walker, const std::array<std::int64_t, kMaxRank>& coords) {
  for (int d = 0; d < kMaxRank; ++d) {
    if (coords[d] <= kLargestCoordinate && coords[d] >= -kLargestCoordinate) continue;
    walker.fault("coordinate " + std::to_string(d) + " is " + std::to_string(coords[d]) +
                     ", too far from every tensor",
                 "check the address generator of this coordinate, and the launch scalars");
  }
}

}  // namespace tileflow
