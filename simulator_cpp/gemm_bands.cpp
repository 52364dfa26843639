#include "gemm_bands.h"

#include <algorithm>

namespace tileflow {

GemmBands::GemmBands(GemmFn kernel, const GemmArgs& args, const GemmUse& use, std::int64_t flops)
    : kernel_(kernel), args_(args), rows_(args.m >= args.n), edge_(std::max(args.m, args.n)) {
  count_ = 1;
  if (args.dst.pitch == 0 || args.lhs.pitch == 0 || args.rhs.pitch == 0) return;
  const std::int64_t tiles = (edge_ + args.tile - 1) / args.tile;
  const std::int64_t wanted = std::clamp<std::int64_t>(2 * use.m * use.n * use.k / flops, 1, kMost);
  const std::int64_t tiles_each = (tiles + wanted - 1) / wanted;
  edge_ = static_cast<int>(tiles_each) * args.tile;
  count_ = static_cast<int>((tiles + tiles_each - 1) / tiles_each);
  const auto bytes = [&](const Block& block, std::int64_t tiles_apart) {
    return tiles_apart * args.tile * args.tile * block.item();
  };
  if (rows_) {
    steps_ = {bytes(use.dst, args.dst.pitch),
              bytes(use.lhs, args.lhs_transposed ? 1 : args.lhs.pitch), 0};
  } else {
    steps_ = {bytes(use.dst, 1), 0, bytes(use.rhs, args.rhs_transposed ? args.rhs.pitch : 1)};
  }
}

std::int64_t GemmBands::most_ns() const {
  constexpr std::int64_t kSlowest = 2;  // operations a nanosecond, of the scalar kernels
  const std::int64_t other = rows_ ? args_.n : args_.m;
  return 2 * edge_ * other * args_.k / kSlowest;
}

void GemmBands::compute(int band) const {
  GemmArgs args = args_;
  int& cut = rows_ ? args.m : args.n;
  const int first = band * edge_;
  cut = std::min(edge_, cut - first);
  const std::int64_t tiles = first / args.tile;
  const auto skip = [&](Operand& operand, std::int64_t step) {
    operand.data = static_cast<std::byte*>(operand.data) + tiles * step;
  };
  skip(args.dst, steps_.dst);
  skip(args.lhs, steps_.lhs);
  skip(args.rhs, steps_.rhs);
  kernel_(args);
}

}  // namespace tileflow
