// Which kernels there are: what tests and benchmarks go through, so that none is left out.
#include "isa.h"
#include "kernels/levels.h"

namespace tileflow {
namespace {

std::string_view name_of(isa::DType dtype) {
  return isa::kDTypeNames[static_cast<std::size_t>(dtype)];
}

// The tables of kernels are in the order of the instruction table.
static_assert(isa::kDTypeNames.size() == kDTypes && isa::kGemmDTypes.size() == kGemmDTypes &&
              isa::kCastDTypes.size() == kCasts && isa::kArithmeticDTypes.size() == kArithmetic &&
              isa::kIndexedDTypes.size() == kIndexed && isa::kSemiringNames.size() == kChoices + 1);

std::vector<KernelRow> rows() {
  std::vector<KernelRow> all;
  const auto functions = [&](std::string_view operation, const auto& names) {
    for (const isa::DType dtype : isa::kArithmeticDTypes) {
      for (const std::string_view name : names) all.push_back({operation, name, name_of(dtype)});
    }
  };
  const auto dtypes = [&](std::string_view operation) {
    for (const std::string_view dtype : isa::kDTypeNames) all.push_back({operation, "", dtype});
  };
  for (const isa::DTypePair& pair : isa::kGemmDTypes) {
    all.push_back({"exec.gemm", isa::kSemiringNames[0], name_of(pair.from)});
  }
  for (std::size_t i = 1; i < isa::kSemiringNames.size(); ++i) {
    all.push_back({"exec.gemm", isa::kSemiringNames[i], "f32"});
  }
  functions("exec.unary", isa::kUnaryFuncNames);
  functions("exec.binary", isa::kBinaryFuncNames);
  for (const isa::DType dtype : isa::kArithmeticDTypes) {
    all.push_back({"exec.select", "", name_of(dtype)});
  }
  for (const std::string_view name : isa::kReduceFuncNames) {
    all.push_back({"exec.reduce", name, "f32"});
  }
  dtypes("exec.fill");
  dtypes("exec.transpose");
  for (const isa::DTypePair& pair : isa::kCastDTypes) {
    all.push_back({"exec.cast", name_of(pair.to), name_of(pair.from)});
  }
  for (const char* operation : {"exec.affine_select", "exec.iota"}) {
    for (const isa::DType dtype : isa::kIndexedDTypes) {
      all.push_back({operation, "", name_of(dtype)});
    }
  }
  dtypes("load");
  dtypes("store");
  return all;
}

}  // namespace

const std::vector<KernelRow>& kernel_rows() {
  static const std::vector<KernelRow> all = rows();
  return all;
}

}  // namespace tileflow
