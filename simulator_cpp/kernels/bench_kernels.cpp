// Micro-benchmark of the kernels, hot in cache, against what the processor could do at most:
// bench_kernels [scalar|avx2|avx512|gemm|functions|dma]...
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/levels.h"

#ifdef TILEFLOW_X86
#include <immintrin.h>
#endif

namespace tileflow {
namespace {

constexpr int kTile = 32;

// Seconds a call takes: the best of many short runs, as what else the machine does only adds.
double seconds(const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  const auto time = [&](int calls) {
    const auto begin = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  int calls = 1;
  while (time(calls) < 1e-4) calls *= 2;
  double best = 1e9;
  for (int run = 0; run < 300; ++run) best = std::min(best, time(calls) / calls);
  return best;
}

std::vector<float> noise(std::size_t count) {
  std::vector<float> values(count);
  std::uint32_t state = 12345;
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<float>(state >> 8) * 0x1p-23F - 1.0F;
  }
  return values;
}

int tiles(int extent) { return (extent + kTile - 1) / kTile; }
std::size_t grid(int m, int n) {
  return static_cast<std::size_t>(tiles(m)) * static_cast<std::size_t>(tiles(n)) * kTile * kTile;
}

#ifdef TILEFLOW_X86
// GFLOP/s of independent fma chains.
__attribute__((target("avx2,fma"))) double peak_avx2() {
  constexpr int kChains = 12, kSteps = 1 << 16;
  volatile float one = 1.0F;
  __m256 acc[kChains];
  for (auto& chain : acc) chain = _mm256_set1_ps(one);
  const __m256 factor = _mm256_set1_ps(one);
  const double time = seconds([&]() __attribute__((target("avx2,fma"))) {
    __m256 a[kChains];
    for (int i = 0; i < kChains; ++i) a[i] = acc[i];
    for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
      for (int i = 0; i < kChains; ++i) a[i] = _mm256_fmadd_ps(a[i], factor, factor);
    }
    for (int i = 0; i < kChains; ++i) acc[i] = a[i];
  });
  volatile float sink = _mm256_cvtss_f32(acc[0]);
  (void)sink;
  return 2.0 * 8 * kChains * kSteps / time * 1e-9;
}

__attribute__((target("avx512f"))) double peak_avx512() {
  constexpr int kChains = 16, kSteps = 1 << 16;
  volatile float one = 1.0F;
  __m512 acc[kChains];
  for (auto& chain : acc) chain = _mm512_set1_ps(one);
  const __m512 factor = _mm512_set1_ps(one);
  const double time = seconds([&]() __attribute__((target("avx512f"))) {
    __m512 a[kChains];
    for (int i = 0; i < kChains; ++i) a[i] = acc[i];
    for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 16
      for (int i = 0; i < kChains; ++i) a[i] = _mm512_fmadd_ps(a[i], factor, factor);
    }
    for (int i = 0; i < kChains; ++i) acc[i] = a[i];
  });
  volatile float sink = _mm512_cvtss_f32(acc[0]);
  (void)sink;
  return 2.0 * 16 * kChains * kSteps / time * 1e-9;
}
#endif

double peak([[maybe_unused]] std::string_view level) {
#ifdef TILEFLOW_X86
  if (level == "avx512") return peak_avx512();
  if (level != "scalar") return peak_avx2();
#endif
  return 0;
}

void bench_gemm(const Kernels& kernels) {
  const double most = peak(kernels.level);
  std::printf("%s: fma peak %.1f GFLOP/s\n", kernels.level, most);
  struct Case {
    int m, n, k;
    bool lhs_transposed, rhs_transposed;
  };
  std::vector<Case> cases;
  for (const int n : {32, 64, 256}) {
    for (const int k : {32, 64, 128}) cases.push_back({192, n, k, false, false});
  }
  for (const int k : {256, 512, 1024}) cases.push_back({192, 64, k, false, false});
  for (const int m : {1, 2, 3, 4, 6, 7, 12, 13, 32, 33, 64, 128, 256}) {
    cases.push_back({m, 128, 128, false, false});
  }
  for (const int n : {1, 10, 20, 40, 100}) cases.push_back({96, n, 96, false, false});
  cases.push_back({192, 128, 128, true, false});
  cases.push_back({192, 128, 128, false, true});
  cases.push_back({192, 128, 128, true, true});
  for (const Case& c : cases) {
    auto lhs = noise(c.lhs_transposed ? grid(c.k, c.m) : grid(c.m, c.k));
    auto rhs = noise(c.rhs_transposed ? grid(c.n, c.k) : grid(c.k, c.n));
    std::vector<float> dst(grid(c.m, c.n));
    const GemmArgs args{.dst = {dst.data(), tiles(c.n)},
                        .lhs = {lhs.data(), tiles(c.lhs_transposed ? c.m : c.k)},
                        .rhs = {rhs.data(), tiles(c.rhs_transposed ? c.k : c.n)},
                        .m = c.m,
                        .n = c.n,
                        .k = c.k,
                        .tile = kTile,
                        .clear = true,
                        .lhs_transposed = c.lhs_transposed,
                        .rhs_transposed = c.rhs_transposed};
    const double time = seconds([&] { kernels.gemm(args); });
    const double rate = 2.0 * c.m * c.n * c.k / time * 1e-9;
    std::printf("  gemm %4d x %4d x %4d %s%s %7.1f GFLOP/s", c.m, c.n, c.k,
                c.lhs_transposed ? "T" : "-", c.rhs_transposed ? "T" : "-", rate);
    std::printf(most > 0 ? " %5.1f %%\n" : "\n", 100 * rate / most);
  }
}

void bench_functions(const Kernels& kernels) {
  static constexpr const char* kUnary[] = {"identity", "relu",       "exp",  "log",     "sqrt",
                                           "rsqrt",    "reciprocal", "tanh", "sigmoid", "abs",
                                           "neg",      "sin",        "cos",  "erf"};
  static constexpr const char* kBinary[] = {"add", "sub", "mul", "div", "max", "min"};
  static constexpr const char* kReduce[] = {"sum", "max", "min", "prod"};
  constexpr int kM = 64, kN = 64;
  auto lhs = noise(grid(kM, kN));
  auto rhs = noise(grid(kM, kN));
  std::vector<float> dst(grid(kM, kN));
  const auto show = [&](const char* kind, const char* name, const std::function<void()>& call) {
    std::printf("  %-12s %-10s %6.3f ns an element\n", kind, name, seconds(call) / kM / kN * 1e9);
  };
  std::printf("%s\n", kernels.level);
  const int pitch = tiles(kN);
  for (int f = 0; f < kUnaryFuncs; ++f) {
    const UnaryArgs args{{dst.data(), pitch}, {lhs.data(), pitch}, kM, kN, kTile};
    show("unary", kUnary[f], [&] { kernels.unary[static_cast<std::size_t>(f)](args); });
  }
  for (const Mode mode : {Mode::kFull, Mode::kRow, Mode::kCol}) {
    for (int f = 0; f < kBinaryFuncs; ++f) {
      const int vector_pitch = mode == Mode::kFull ? pitch : 0;
      const BinaryArgs args{{dst.data(), pitch},
                            {lhs.data(), pitch},
                            {rhs.data(), vector_pitch},
                            Mode::kFull,
                            mode,
                            0,
                            kM,
                            kN,
                            kTile};
      const char* kind = mode == Mode::kFull ? "full" : mode == Mode::kRow ? "row" : "col";
      show(kind, kBinary[f], [&] { kernels.binary[static_cast<std::size_t>(f)](args); });
    }
  }
  for (const bool along_cols : {true, false}) {
    for (int f = 0; f < kReduceFuncs; ++f) {
      const ReduceArgs args{{dst.data(), 0}, {lhs.data(), pitch}, kM, kN, kTile, along_cols, true};
      show(along_cols ? "reduce cols" : "reduce rows", kReduce[f],
           [&] { kernels.reduce[static_cast<std::size_t>(f)](args); });
    }
  }
  const TransposeArgs args{{dst.data(), pitch}, {lhs.data(), pitch}, kM, kN, kTile};
  show("transpose", "", [&] { kernels.transpose(args); });
}

void bench_dma(const Kernels& kernels) {
  std::printf("%s\n", kernels.level);
  for (const std::int64_t side : {192, 2048}) {  // the tensor: in the second level, and beyond
    constexpr std::int64_t kBox = 128;
    auto tensor = noise(static_cast<std::size_t>(side * side));
    std::vector<float> sram(static_cast<std::size_t>(kBox * kBox));
    std::int64_t at = 0;
    const auto next = [&] {  // another box each time, all over the tensor
      at = (at + kBox + 1) % ((side - kBox + 1) * (side - kBox + 1));
      return std::array<std::int64_t, kMaxRank>{at / (side - kBox + 1), at % (side - kBox + 1)};
    };
    const double rows_copied = seconds([&] {
      const auto coords = next();
      for (std::int64_t r = 0; r < kBox; ++r) {
        std::memcpy(&sram[static_cast<std::size_t>(r * kBox)],
                    &tensor[static_cast<std::size_t>((coords[0] + r) * side + coords[1])],
                    kBox * sizeof(float));
      }
    });
    const double bytes = kBox * kBox * sizeof(float) * 1e-9;
    std::printf("  tensor %5ld: memcpy of rows %5.1f GB/s\n", static_cast<long>(side),
                bytes / rows_copied);
    for (const bool transposed : {false, true}) {
      for (const bool is_store : {false, true}) {
        const std::array<BoxDim, 2> box{BoxDim{kBox, transposed ? 1 : 0, 1, false},
                                        BoxDim{kBox, transposed ? 0 : 1, 1, true}};
        DmaArgs args{.sram = sram.data(),
                     .pitch = kBox / kTile,
                     .tile = kTile,
                     .tensor = tensor.data(),
                     .rank = 2,
                     .shape = {side, side},
                     .strides = {side, 1},
                     .box = box};
        const double time = seconds([&] {
          args.coords = next();
          (is_store ? kernels.store : kernels.load)(args);
        });
        std::printf("    %-5s %-10s %5.1f GB/s, %.2f of memcpy\n", is_store ? "store" : "load",
                    transposed ? "transposed" : "plain", bytes / time, rows_copied / time);
      }
    }
  }
}

}  // namespace
}  // namespace tileflow

// Arguments are levels and groups; without any of a kind, all of them.
int main(int argc, char** argv) {
  const std::vector<std::string_view> wanted(argv + 1, argv + argc);
  const auto is_wanted = [&](std::string_view name, auto is_of_kind) {
    return std::ranges::find(wanted, name) != wanted.end() ||
           std::ranges::none_of(wanted, is_of_kind);
  };
  const auto is_group = [](std::string_view name) {
    return name == "gemm" || name == "functions" || name == "dma";
  };
  for (const tileflow::Kernels* kernels : tileflow::available_kernels()) {
    if (!is_wanted(kernels->level, std::not_fn(is_group))) continue;
    if (is_wanted("gemm", is_group)) tileflow::bench_gemm(*kernels);
    if (is_wanted("functions", is_group)) tileflow::bench_functions(*kernels);
    if (is_wanted("dma", is_group)) tileflow::bench_dma(*kernels);
  }
}
