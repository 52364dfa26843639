// Arrays as .npy files (NumPy's NEP 1, and versions 2 and 3 of the format).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "isa.h"

namespace tileflow {

// What a file says about its array.
struct NpyHeader {
  std::string descr;  // '<f4', or whatever stands there
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
  std::size_t data_at = 0;  // where the elements begin
};

// Throws InputError that says what is wrong, without the name of the file.
NpyHeader read_npy_header(std::span<const std::uint8_t> file);

// What stands before the elements of an array in C order.
std::string npy_header(isa::DType dtype, std::span<const std::int64_t> shape);

// Whether `descr` says that elements are of this type. The format has no name for bfloat16: NumPy
// writes it as two bytes of whatever kind.
bool is_descr_of(const std::string& descr, isa::DType dtype);
// NumPy's name of a dtype, as its error messages have it: '<f8' is float64.
std::string dtype_name(const std::string& descr);
// As a tuple: (3,), (2, 5).
std::string shape_text(std::span<const std::int64_t> shape);

}  // namespace tileflow
