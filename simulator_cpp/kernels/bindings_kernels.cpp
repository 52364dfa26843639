// Python's view of the kernels. An operand is a pair (flat array, pitch); arrays are changed in
// place. Extents are checked against the arrays here, as the kernels check nothing.
// `repeats` is for benchmarks: calls are shorter than what Python takes for one.
#include "kernels/bindings_kernels.h"

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "element.h"
#include "isa.h"
#include "kernels/kernels.h"
#include "kernels/levels.h"

namespace py = pybind11;

namespace tileflow {
namespace {

using Matrix = std::pair<py::array, int>;  // flat memory, pitch
using Box = std::vector<std::tuple<std::uint32_t, int, std::int32_t, bool>>;
using Coords = std::vector<std::int64_t>;

std::size_t row_of(isa::DType dtype) { return static_cast<std::size_t>(dtype); }

const Kernels& level_named(const std::string& name) {
  for (const Kernels* level : all_test_kernels()) {
    if (name == level->level) return *level;
  }
  throw std::invalid_argument("this processor has no SIMD level '" + name + "'");
}

// One for each kernel of a level, in the order of kernel_rows().
constexpr std::size_t kFunctions = (sizeof(Kernels) - sizeof(Kernels::level)) / sizeof(DmaFn);
using Functions = std::array<DmaFn, kFunctions>;  // whatever their type is

Functions functions_of(const Kernels& level) {
  if (kernel_rows().size() != kFunctions) throw std::logic_error("a kernel is not in the registry");
  Functions functions;
  std::memcpy(&functions, reinterpret_cast<const char*>(&level) + sizeof(Kernels::level),
              sizeof(functions));
  return functions;
}

std::size_t count_of(const Functions& functions) {
  return static_cast<std::size_t>(
      std::ranges::count_if(functions, [](DmaFn function) { return function != nullptr; }));
}

// The numbers of the rows for which a level has a function that no level before it has.
std::vector<std::size_t> rows_of(const Kernels& level) {
  const Functions functions = functions_of(level);
  std::array<bool, kFunctions> shared{};
  for (const Kernels* other : all_test_kernels()) {
    if (other == &level) break;
    const Functions theirs = functions_of(*other);
    for (std::size_t row = 0; row < kFunctions; ++row) shared[row] |= theirs[row] == functions[row];
  }
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < kFunctions; ++row) {
    if (!shared[row] && functions[row] != nullptr) rows.push_back(row);
  }
  return rows;
}

py::list table() {
  py::list all;
  for (const Kernels* level : all_test_kernels()) {
    for (const std::size_t number : rows_of(*level)) {
      const KernelRow& row = kernel_rows()[number];
      all.append(py::make_tuple(std::string(row.operation), std::string(row.function),
                                std::string(row.dtype), level->level));
    }
  }
  return all;
}

std::vector<std::string> levels_to_run() {
  std::vector<std::string> result;
  for (const Kernels* level : available_kernels()) result.emplace_back(level->level);
  return result;
}

std::vector<std::string> whole_levels() {
  std::vector<std::string> result;
  for (const Kernels* level : all_test_kernels()) {
    if (rows_of(*level).size() == count_of(functions_of(*level))) result.emplace_back(level->level);
  }
  return result;
}

#ifdef TILEFLOW_X86
using Floats = py::array_t<float>;
using Words = py::array_t<std::int32_t>;

// The element types whose products avx512 would leave to instructions of their own, on a processor
// that has them all and does `dot` for bf16.
std::vector<std::string> own_instructions(const std::function<Floats(Floats, Words, Words)>& dot) {
  const Bf16Dot in_python = [&](std::span<float, kBf16Lanes> acc,
                                std::span<const std::int32_t, kBf16Lanes> lhs,
                                std::span<const std::int32_t, kBf16Lanes> rhs) {
    const Floats sums = dot(Floats(kBf16Lanes, acc.data()), Words(kBf16Lanes, lhs.data()),
                            Words(kBf16Lanes, rhs.data()));
    if (sums.size() != kBf16Lanes) throw std::invalid_argument("not as many sums as lanes");
    std::copy_n(sums.data(), kBf16Lanes, acc.data());
  };
  const Kernels kernels = avx512_kernels({.vnni = true, .bf16 = in_python});
  std::vector<std::string> dtypes;
  for (const isa::DTypePair& pair : isa::kGemmDTypes) {
    const std::size_t row = row_of(pair.from);
    if (kernels.gemm[row] != kAvx512BaseKernels.gemm[row]) {
      dtypes.emplace_back(isa::kDTypeNames[row]);
    }
  }
  return dtypes;
}
#endif

void check_tile(int tile) {
  if (tile < 8 || tile > 128 || !std::has_single_bit(static_cast<unsigned>(tile))) {
    throw std::invalid_argument("tile is a power of two in 8..128");
  }
}

// By the name of the ISA.
isa::DType dtype_named(const std::string& name) {
  const auto at = std::ranges::find(isa::kDTypeNames, name);
  if (at == isa::kDTypeNames.end()) throw std::invalid_argument("no dtype '" + name + "'");
  return static_cast<isa::DType>(at - isa::kDTypeNames.begin());
}

void* memory_of(py::array& array, isa::DType dtype) {
  if (array.itemsize() != isa::item_bytes(dtype) || (array.flags() & py::array::c_style) == 0) {
    throw std::invalid_argument("an array is of another dtype, or not contiguous");
  }
  return array.mutable_data();
}

// `rows` x `cols` of `matrix`, which has to hold them.
Operand operand(Matrix& matrix, std::int64_t rows, std::int64_t cols, int tile,
                isa::DType dtype = isa::DType::kF32) {
  check_tile(tile);
  auto& [array, pitch] = matrix;
  if (rows < 0 || cols < 0 || pitch < 0) throw std::invalid_argument("a negative extent or pitch");
  std::int64_t elements = rows * cols;
  if (pitch > 0 && elements > 0) {
    if ((cols - 1) / tile >= pitch) throw std::invalid_argument("more columns than the pitch has");
    const std::int64_t last_tile = (rows - 1) / tile * pitch + (cols - 1) / tile;
    elements = last_tile * tile * tile + (rows - 1) % tile * tile + (cols - 1) % tile + 1;
  }
  if (elements > array.size()) throw std::invalid_argument("an operand is larger than its array");
  return {memory_of(array, dtype), pitch};
}

template <class Function, std::size_t N>
Function pick(const std::array<Function, N>& functions, int index) {
  if (index < 0 || index >= static_cast<int>(N)) throw std::out_of_range("no such function");
  const Function function = functions[static_cast<std::size_t>(index)];
  if (function == nullptr) throw std::out_of_range("this dtype has no such function");
  return function;
}

// The place in the tables of functions of a type that is computed with.
std::size_t arithmetic_row(isa::DType dtype) {
  const auto at = std::ranges::find(isa::kArithmeticDTypes, dtype);
  if (at == isa::kArithmeticDTypes.end())
    throw std::invalid_argument("no arithmetic of this dtype");
  return static_cast<std::size_t>(at - isa::kArithmeticDTypes.begin());
}

void gemm(const std::string& level, Matrix dst, Matrix lhs, Matrix rhs, int m, int n, int k,
          int tile, bool clear, bool lhs_transposed, bool rhs_transposed, int repeats,
          const std::string& dtype, int semiring) {
  const auto pair = std::ranges::find(isa::kGemmDTypes, dtype_named(dtype), &isa::DTypePair::from);
  if (pair == isa::kGemmDTypes.end()) throw std::invalid_argument("no product of " + dtype);
  const GemmArgs args{.dst = operand(dst, m, n, tile, pair->to),
                      .lhs = lhs_transposed ? operand(lhs, k, m, tile, pair->from)
                                            : operand(lhs, m, k, tile, pair->from),
                      .rhs = rhs_transposed ? operand(rhs, n, k, tile, pair->from)
                                            : operand(rhs, k, n, tile, pair->from),
                      .m = m,
                      .n = n,
                      .k = k,
                      .tile = tile,
                      .clear = clear,
                      .lhs_transposed = lhs_transposed,
                      .rhs_transposed = rhs_transposed};
  const Kernels& kernels = level_named(level);
  const auto function =
      semiring == 0 ? kernels.gemm[row_of(pair->from)] : pick(kernels.gemm_chosen, semiring - 1);
  if (semiring != 0 && pair->from != isa::DType::kF32) {
    throw std::invalid_argument("no semiring of " + dtype);
  }
  for (int i = 0; i < repeats; ++i) function(args);
}

std::uint32_t element(float value, isa::DType dtype) {
  const auto bits = element_of(value, dtype);
  if (!bits) throw std::invalid_argument("no element of this dtype");
  return *bits;
}

void unary(const std::string& level, int function, Matrix dst, Matrix src, int m, int n, int tile,
           float scale, float bias, int repeats, const std::string& dtype) {
  const isa::DType type = dtype_named(dtype);
  const UnaryArgs args{
      operand(dst, m, n, tile, type), operand(src, m, n, tile, type), m, n, tile, scale, bias};
  const auto picked = pick(level_named(level).unary[arithmetic_row(type)], function);
  for (int i = 0; i < repeats; ++i) picked(args);
}

Operand side(Matrix& matrix, Mode mode, int m, int n, int tile, isa::DType type) {
  switch (mode) {
    case Mode::kFull: return operand(matrix, m, n, tile, type);
    case Mode::kRow: return operand(matrix, 1, n, tile, type);
    case Mode::kCol: return operand(matrix, m, 1, tile, type);
    case Mode::kScalar: return operand(matrix, 1, 1, tile, type);
    case Mode::kImm: return {};
  }
  throw std::invalid_argument("no such mode");
}

void binary(const std::string& level, int function, Matrix dst, Matrix lhs, int lmode, Matrix rhs,
            int rmode, float imm, int m, int n, int tile, int repeats, const std::string& dtype) {
  const isa::DType type = dtype_named(dtype);
  const auto left = static_cast<Mode>(lmode);
  const auto right = static_cast<Mode>(rmode);
  const BinaryArgs args{operand(dst, m, n, tile, type),
                        side(lhs, left, m, n, tile, type),
                        side(rhs, right, m, n, tile, type),
                        left,
                        right,
                        std::bit_cast<float>(element(imm, type)),
                        m,
                        n,
                        tile};
  const auto picked = pick(level_named(level).binary[arithmetic_row(type)], function);
  for (int i = 0; i < repeats; ++i) picked(args);
}

void select(const std::string& level, Matrix dst, Matrix cond, int cmode, Matrix a, int amode,
            Matrix b, int bmode, float imm, int m, int n, int tile, int repeats,
            const std::string& dtype, const std::string& cond_dtype) {
  const isa::DType type = dtype_named(dtype);
  const isa::DType cond_type = dtype_named(cond_dtype);
  const auto which = static_cast<Mode>(cmode);
  const auto yes = static_cast<Mode>(amode);
  const auto no = static_cast<Mode>(bmode);
  const SelectArgs args{operand(dst, m, n, tile, type),
                        side(cond, which, m, n, tile, cond_type),
                        side(a, yes, m, n, tile, type),
                        side(b, no, m, n, tile, type),
                        which,
                        yes,
                        no,
                        std::bit_cast<float>(element(imm, type)),
                        m,
                        n,
                        tile};
  const auto picked = level_named(level).select[arithmetic_row(cond_type)];
  for (int i = 0; i < repeats; ++i) picked(args);
}

void reduce(const std::string& level, int function, Matrix dst, Matrix src, int m, int n, int tile,
            bool along_cols, bool clear, int repeats) {
  const Operand out = along_cols ? operand(dst, m, 1, tile) : operand(dst, 1, n, tile);
  const ReduceArgs args{out, operand(src, m, n, tile), m, n, tile, along_cols, clear};
  const auto picked = pick(level_named(level).reduce, function);
  for (int i = 0; i < repeats; ++i) picked(args);
}

void fill(const std::string& level, Matrix dst, int m, int n, int tile, float value, int repeats,
          const std::string& dtype) {
  const isa::DType type = dtype_named(dtype);
  const FillArgs args{operand(dst, m, n, tile, type), m, n, tile, element(value, type)};
  const auto function = level_named(level).fill[row_of(type)];
  for (int i = 0; i < repeats; ++i) function(args);
}

void transpose(const std::string& level, Matrix dst, Matrix src, int m, int n, int tile,
               int repeats, const std::string& dtype) {
  const isa::DType type = dtype_named(dtype);
  const TransposeArgs args{operand(dst, n, m, tile, type), operand(src, m, n, tile, type), m, n,
                           tile};
  const auto function = level_named(level).transpose[row_of(type)];
  for (int i = 0; i < repeats; ++i) function(args);
}

void cast(const std::string& level, Matrix dst, Matrix src, int m, int n, const std::string& from,
          const std::string& to, int tile, float scale, int repeats) {
  const auto pair = std::ranges::find_if(isa::kCastDTypes, [&](const isa::DTypePair& each) {
    return each.from == dtype_named(from) && each.to == dtype_named(to);
  });
  if (pair == isa::kCastDTypes.end()) throw std::invalid_argument("no such cast");
  const CastArgs args{
      operand(dst, m, n, tile, pair->to), operand(src, m, n, tile, pair->from), m, n, tile, scale};
  const auto function =
      level_named(level).cast[static_cast<std::size_t>(pair - isa::kCastDTypes.begin())];
  for (int i = 0; i < repeats; ++i) function(args);
}

std::size_t row_of_indexed(isa::DType dtype) {
  const auto at = std::ranges::find(isa::kIndexedDTypes, dtype);
  if (at == isa::kIndexedDTypes.end()) throw std::invalid_argument("not of this dtype");
  return static_cast<std::size_t>(at - isa::kIndexedDTypes.begin());
}

void affine_select(const std::string& level, Matrix dst, Matrix src, int m, int n,
                   std::int64_t base, int rstep, int cstep, float value, int tile, int repeats,
                   const std::string& dtype) {
  const isa::DType type = dtype_named(dtype);
  const AffineSelectArgs args{operand(dst, m, n, tile, type),
                              operand(src, m, n, tile, type),
                              m,
                              n,
                              tile,
                              base,
                              rstep,
                              cstep,
                              element(value, type)};
  const auto function = level_named(level).affine_select[row_of_indexed(type)];
  for (int i = 0; i < repeats; ++i) function(args);
}

void iota(const std::string& level, Matrix dst, int m, int n, std::int64_t base, int rstep,
          int cstep, int tile, int repeats, const std::string& dtype) {
  const isa::DType type = dtype_named(dtype);
  const IotaArgs args{operand(dst, m, n, tile, type), m, n, tile, base, rstep, cstep};
  const auto function = level_named(level).iota[row_of_indexed(type)];
  for (int i = 0; i < repeats; ++i) function(args);
}

// Where element (0, ..., 0) is, after a check that every element lies in the array.
void* tensor_origin(py::array& memory, isa::DType dtype, std::int64_t origin, const Coords& shape,
                    const Coords& strides) {
  auto* const first = static_cast<std::byte*>(memory_of(memory, dtype));
  std::int64_t low = origin;
  std::int64_t high = origin;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] < 1) return first;
    (strides[d] < 0 ? low : high) += (shape[d] - 1) * strides[d];
  }
  if (low < 0 || high >= memory.size()) {
    throw std::invalid_argument("the tensor is larger than its array");
  }
  return first + origin * isa::item_bytes(dtype);
}

std::int64_t move(DmaFn function, isa::DType dtype, Matrix& sram, int tile, py::array& memory,
                  std::int64_t origin, const Coords& shape, const Coords& strides,
                  const Coords& coords, const Box& box, float fill, int repeats) {
  const std::size_t rank = shape.size();
  if (rank > kMaxRank || box.size() > kMaxRank || strides.size() != rank || coords.size() != rank) {
    throw std::invalid_argument("ranks disagree, or exceed 5");
  }
  std::vector<BoxDim> dims;
  std::int64_t rows = 1;
  std::int64_t cols = 1;
  for (const auto& [extent, dim, step, column] : box) {
    if (dim < kBroadcast || dim >= static_cast<int>(rank)) {
      throw std::invalid_argument("the box names a dimension that the tensor lacks");
    }
    dims.push_back({extent, dim, step, column});
    (column ? cols : rows) *= extent;
  }
  DmaArgs args;
  const Operand matrix = operand(sram, rows, cols, tile, dtype);
  args.sram = matrix.data;
  args.pitch = matrix.pitch;
  args.tile = tile;
  args.tensor = tensor_origin(memory, dtype, origin, shape, strides);
  args.rank = static_cast<int>(rank);
  std::ranges::copy(shape, args.shape.begin());
  std::ranges::copy(strides, args.strides.begin());
  std::ranges::copy(coords, args.coords.begin());
  args.box = dims;
  args.fill = element(fill, dtype);
  std::int64_t moved = 0;
  for (int i = 0; i < repeats; ++i) moved = function(args);
  return moved;
}

std::int64_t load(const std::string& level, Matrix sram, int tile, py::array memory,
                  std::int64_t origin, const Coords& shape, const Coords& strides,
                  const Coords& coords, const Box& box, float fill, int repeats,
                  const std::string& dtype) {
  const isa::DType type = dtype_named(dtype);
  return move(level_named(level).load[row_of(type)], type, sram, tile, memory, origin, shape,
              strides, coords, box, fill, repeats);
}

std::int64_t store(const std::string& level, Matrix sram, int tile, py::array memory,
                   std::int64_t origin, const Coords& shape, const Coords& strides,
                   const Coords& coords, const Box& box, int repeats, const std::string& dtype) {
  const isa::DType type = dtype_named(dtype);
  return move(level_named(level).store[row_of(type)], type, sram, tile, memory, origin, shape,
              strides, coords, box, 0.0F, repeats);
}

}  // namespace

void bind_kernels(py::module_& module) {
  using py::arg;
  py::module_ kernels = module.def_submodule(
      "kernels",
      "Raw calls of the kernels of one SIMD level. An operand is (flat array, pitch);\n"
      "dtypes are the ISA's names.");
  kernels.def("available", &levels_to_run, "The levels a program can run on here, slowest first.");
  kernels.def("levels", &whole_levels,
              "The same and a level that only tests use. Each has all kernels of its own.");
  kernels.def(
      "table", &table,
      "Every kernel: (operation, function, dtype, level). Some belong to none of levels():\n"
      "a level uses others in their place on this processor.");
#ifdef TILEFLOW_X86
  kernels.def("own_instructions", &own_instructions, arg("dot"),
              "The dtypes whose products avx512 would leave to instructions made for them, on a\n"
              "processor that has all, where the one for bf16 is dot(acc, lhs, rhs) of 16 words.");
#endif
  kernels.def(
      "fma_peak", [](const std::string& level) { return fma_peak(level); }, arg("level"),
      "GFLOP/s of independent fused multiply-adds; 0 where it is not known.");
  kernels.def("gemm", &gemm, arg("level"), arg("dst").noconvert(), arg("lhs").noconvert(),
              arg("rhs").noconvert(), arg("m"), arg("n"), arg("k"), arg("tile") = 32,
              arg("clear") = true, arg("lhs_transposed") = false, arg("rhs_transposed") = false,
              arg("repeats") = 1, arg("dtype") = "f32", arg("semiring") = 0);
  kernels.def("unary", &unary, arg("level"), arg("function"), arg("dst").noconvert(),
              arg("src").noconvert(), arg("m"), arg("n"), arg("tile") = 32, arg("scale") = 1.0F,
              arg("bias") = -0.0F, arg("repeats") = 1, arg("dtype") = "f32");
  kernels.def("binary", &binary, arg("level"), arg("function"), arg("dst").noconvert(),
              arg("lhs").noconvert(), arg("lmode"), arg("rhs").noconvert(), arg("rmode"),
              arg("imm"), arg("m"), arg("n"), arg("tile") = 32, arg("repeats") = 1,
              arg("dtype") = "f32");
  kernels.def("select", &select, arg("level"), arg("dst").noconvert(), arg("cond").noconvert(),
              arg("cmode"), arg("a").noconvert(), arg("amode"), arg("b").noconvert(), arg("bmode"),
              arg("imm"), arg("m"), arg("n"), arg("tile") = 32, arg("repeats") = 1,
              arg("dtype") = "f32", arg("cond_dtype") = "f32");
  kernels.def("reduce", &reduce, arg("level"), arg("function"), arg("dst").noconvert(),
              arg("src").noconvert(), arg("m"), arg("n"), arg("tile") = 32,
              arg("along_cols") = true, arg("clear") = true, arg("repeats") = 1);
  kernels.def("fill", &fill, arg("level"), arg("dst").noconvert(), arg("m"), arg("n"),
              arg("tile") = 32, arg("value") = 0.0F, arg("repeats") = 1, arg("dtype") = "f32");
  kernels.def("transpose", &transpose, arg("level"), arg("dst").noconvert(), arg("src").noconvert(),
              arg("m"), arg("n"), arg("tile") = 32, arg("repeats") = 1, arg("dtype") = "f32");
  kernels.def("cast", &cast, arg("level"), arg("dst").noconvert(), arg("src").noconvert(), arg("m"),
              arg("n"), arg("src_dtype"), arg("dst_dtype"), arg("tile") = 32, arg("scale") = 1.0F,
              arg("repeats") = 1);
  kernels.def("affine_select", &affine_select, arg("level"), arg("dst").noconvert(),
              arg("src").noconvert(), arg("m"), arg("n"), arg("base"), arg("rstep"), arg("cstep"),
              arg("value"), arg("tile") = 32, arg("repeats") = 1, arg("dtype") = "f32");
  kernels.def("iota", &iota, arg("level"), arg("dst").noconvert(), arg("m"), arg("n"), arg("base"),
              arg("rstep"), arg("cstep"), arg("tile") = 32, arg("repeats") = 1,
              arg("dtype") = "f32");
  kernels.def("load", &load, arg("level"), arg("sram").noconvert(), arg("tile"),
              arg("memory").noconvert(), arg("origin"), arg("shape"), arg("strides"), arg("coords"),
              arg("box"), arg("fill") = 0.0F, arg("repeats") = 1, arg("dtype") = "f32",
              "box: (extent, tensor dim or -1, step, column?) a dimension; elements moved.");
  kernels.def("store", &store, arg("level"), arg("sram").noconvert(), arg("tile"),
              arg("memory").noconvert(), arg("origin"), arg("shape"), arg("strides"), arg("coords"),
              arg("box"), arg("repeats") = 1, arg("dtype") = "f32",
              "box: (extent, tensor dim or -1, step, column?) a dimension; elements moved.");
}

}  // namespace tileflow
