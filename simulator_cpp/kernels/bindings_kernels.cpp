// Python's view of the kernels. An operand is a pair (flat float32 array, pitch); arrays are
// changed in place. Extents are checked against the arrays here, as the kernels check nothing.
#include "kernels/bindings_kernels.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/levels.h"

namespace py = pybind11;

namespace tileflow {
namespace {

using Array = py::array_t<float, py::array::c_style>;
using Matrix = std::pair<Array, int>;  // flat memory, pitch
using Box = std::vector<std::tuple<std::uint32_t, int, std::int32_t, bool>>;
using Coords = std::vector<std::int64_t>;

const Kernels& level_named(const std::string& name) {
  for (const Kernels* level : all_test_kernels()) {
    if (name == level->level) return *level;
  }
  throw std::invalid_argument("this processor has no SIMD level '" + name + "'");
}

std::vector<std::string> names(std::span<const Kernels* const> levels) {
  std::vector<std::string> result;
  for (const Kernels* level : levels) result.emplace_back(level->level);
  return result;
}

void check_tile(int tile) {
  if (tile < 8 || tile > 128 || !std::has_single_bit(static_cast<unsigned>(tile))) {
    throw std::invalid_argument("tile is a power of two in 8..128");
  }
}

// `rows` x `cols` of `matrix`, which has to hold them.
Operand operand(Matrix& matrix, std::int64_t rows, std::int64_t cols, int tile) {
  check_tile(tile);
  auto& [array, pitch] = matrix;
  if (rows < 0 || cols < 0 || pitch < 0) throw std::invalid_argument("a negative extent or pitch");
  std::int64_t floats = rows * cols;
  if (pitch > 0 && floats > 0) {
    if ((cols - 1) / tile >= pitch) throw std::invalid_argument("more columns than the pitch has");
    const std::int64_t last_tile = (rows - 1) / tile * pitch + (cols - 1) / tile;
    floats = last_tile * tile * tile + (rows - 1) % tile * tile + (cols - 1) % tile + 1;
  }
  if (floats > array.size()) throw std::invalid_argument("an operand is larger than its array");
  return {array.mutable_data(), pitch};
}

template <class Function, std::size_t N>
Function pick(const std::array<Function, N>& functions, int index) {
  if (index < 0 || index >= static_cast<int>(N)) throw std::out_of_range("no such function");
  return functions[static_cast<std::size_t>(index)];
}

void gemm(const std::string& level, Matrix dst, Matrix lhs, Matrix rhs, int m, int n, int k,
          int tile, bool clear, bool lhs_transposed, bool rhs_transposed) {
  const GemmArgs args{.dst = operand(dst, m, n, tile),
                      .lhs = lhs_transposed ? operand(lhs, k, m, tile) : operand(lhs, m, k, tile),
                      .rhs = rhs_transposed ? operand(rhs, n, k, tile) : operand(rhs, k, n, tile),
                      .m = m,
                      .n = n,
                      .k = k,
                      .tile = tile,
                      .clear = clear,
                      .lhs_transposed = lhs_transposed,
                      .rhs_transposed = rhs_transposed};
  level_named(level).gemm(args);
}

void unary(const std::string& level, int function, Matrix dst, Matrix src, int m, int n, int tile,
           float scale, float bias) {
  pick(level_named(level).unary,
       function)({operand(dst, m, n, tile), operand(src, m, n, tile), m, n, tile, scale, bias});
}

Operand side(Matrix& matrix, Mode mode, int m, int n, int tile) {
  switch (mode) {
    case Mode::kFull: return operand(matrix, m, n, tile);
    case Mode::kRow: return operand(matrix, 1, n, tile);
    case Mode::kCol: return operand(matrix, m, 1, tile);
    case Mode::kScalar: return operand(matrix, 1, 1, tile);
    case Mode::kImm: return {};
  }
  throw std::invalid_argument("no such mode");
}

void binary(const std::string& level, int function, Matrix dst, Matrix lhs, int lmode, Matrix rhs,
            int rmode, float imm, int m, int n, int tile) {
  const auto left = static_cast<Mode>(lmode);
  const auto right = static_cast<Mode>(rmode);
  pick(level_named(level).binary,
       function)({operand(dst, m, n, tile), side(lhs, left, m, n, tile),
                  side(rhs, right, m, n, tile), left, right, imm, m, n, tile});
}

void reduce(const std::string& level, int function, Matrix dst, Matrix src, int m, int n, int tile,
            bool along_cols, bool clear) {
  const Operand out = along_cols ? operand(dst, m, 1, tile) : operand(dst, 1, n, tile);
  pick(level_named(level).reduce,
       function)({out, operand(src, m, n, tile), m, n, tile, along_cols, clear});
}

void fill(const std::string& level, Matrix dst, int m, int n, int tile, float value) {
  level_named(level).fill({operand(dst, m, n, tile), m, n, tile, value});
}

void transpose(const std::string& level, Matrix dst, Matrix src, int m, int n, int tile) {
  level_named(level).transpose({operand(dst, n, m, tile), operand(src, m, n, tile), m, n, tile});
}

// Where element (0, ..., 0) is, after a check that every element lies in the array.
float* tensor_origin(Array& memory, std::int64_t origin, const Coords& shape,
                     const Coords& strides) {
  std::int64_t low = origin;
  std::int64_t high = origin;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] < 1) return memory.mutable_data();
    (strides[d] < 0 ? low : high) += (shape[d] - 1) * strides[d];
  }
  if (low < 0 || high >= memory.size()) {
    throw std::invalid_argument("the tensor is larger than its array");
  }
  return memory.mutable_data() + origin;
}

std::int64_t move(DmaFn function, Matrix& sram, int tile, Array& memory, std::int64_t origin,
                  const Coords& shape, const Coords& strides, const Coords& coords, const Box& box,
                  float fill) {
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
  const Operand matrix = operand(sram, rows, cols, tile);
  args.sram = matrix.data;
  args.pitch = matrix.pitch;
  args.tile = tile;
  args.tensor = tensor_origin(memory, origin, shape, strides);
  args.rank = static_cast<int>(rank);
  std::ranges::copy(shape, args.shape.begin());
  std::ranges::copy(strides, args.strides.begin());
  std::ranges::copy(coords, args.coords.begin());
  args.box = dims;
  args.fill = fill;
  return function(args);
}

std::int64_t load(const std::string& level, Matrix sram, int tile, Array memory,
                  std::int64_t origin, const Coords& shape, const Coords& strides,
                  const Coords& coords, const Box& box, float fill) {
  return move(level_named(level).load, sram, tile, memory, origin, shape, strides, coords, box,
              fill);
}

std::int64_t store(const std::string& level, Matrix sram, int tile, Array memory,
                   std::int64_t origin, const Coords& shape, const Coords& strides,
                   const Coords& coords, const Box& box) {
  return move(level_named(level).store, sram, tile, memory, origin, shape, strides, coords, box,
              0.0F);
}

}  // namespace

void bind_kernels(py::module_& module) {
  using py::arg;
  py::module_ kernels = module.def_submodule(
      "kernels",
      "Raw calls of the kernels of one SIMD level. An operand is (flat float32 array, pitch).");
  kernels.def(
      "available", [] { return names(available_kernels()); },
      "The levels a program can run on here, slowest first.");
  kernels.def(
      "levels", [] { return names(all_test_kernels()); },
      "The same and the levels that only tests use.");
  kernels.def("gemm", &gemm, arg("level"), arg("dst").noconvert(), arg("lhs").noconvert(),
              arg("rhs").noconvert(), arg("m"), arg("n"), arg("k"), arg("tile") = 32,
              arg("clear") = true, arg("lhs_transposed") = false, arg("rhs_transposed") = false);
  kernels.def("unary", &unary, arg("level"), arg("function"), arg("dst").noconvert(),
              arg("src").noconvert(), arg("m"), arg("n"), arg("tile") = 32, arg("scale") = 1.0F,
              arg("bias") = -0.0F);
  kernels.def("binary", &binary, arg("level"), arg("function"), arg("dst").noconvert(),
              arg("lhs").noconvert(), arg("lmode"), arg("rhs").noconvert(), arg("rmode"),
              arg("imm"), arg("m"), arg("n"), arg("tile") = 32);
  kernels.def("reduce", &reduce, arg("level"), arg("function"), arg("dst").noconvert(),
              arg("src").noconvert(), arg("m"), arg("n"), arg("tile") = 32,
              arg("along_cols") = true, arg("clear") = true);
  kernels.def("fill", &fill, arg("level"), arg("dst").noconvert(), arg("m"), arg("n"),
              arg("tile") = 32, arg("value") = 0.0F);
  kernels.def("transpose", &transpose, arg("level"), arg("dst").noconvert(), arg("src").noconvert(),
              arg("m"), arg("n"), arg("tile") = 32);
  kernels.def("load", &load, arg("level"), arg("sram").noconvert(), arg("tile"),
              arg("memory").noconvert(), arg("origin"), arg("shape"), arg("strides"), arg("coords"),
              arg("box"), arg("fill") = 0.0F,
              "box: (extent, tensor dim or -1, step, column?) a dimension; elements moved.");
  kernels.def("store", &store, arg("level"), arg("sram").noconvert(), arg("tile"),
              arg("memory").noconvert(), arg("origin"), arg("shape"), arg("strides"), arg("coords"),
              arg("box"),
              "box: (extent, tensor dim or -1, step, column?) a dimension; elements moved.");
}

}  // namespace tileflow
