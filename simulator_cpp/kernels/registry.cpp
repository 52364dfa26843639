// Which kernels there are: what tests and benchmarks go through, so that none is left out.
#include "isa.h"
#include "kernels/levels.h"

namespace tileflow {
namespace {

std::vector<KernelRow> rows() {
  std::vector<KernelRow> all;
  const auto each = [&](std::string_view operation, const auto& functions) {
    for (const std::string_view function : functions) all.push_back({operation, function, "f32"});
  };
  const auto one = [&](std::string_view operation) { all.push_back({operation, "", "f32"}); };
  one("exec.gemm");
  each("exec.unary", isa::kUnaryFuncNames);
  each("exec.binary", isa::kBinaryFuncNames);
  each("exec.reduce", isa::kReduceFuncNames);
  one("exec.fill");
  one("exec.transpose");
  one("load");
  one("store");
  return all;
}

}  // namespace

const std::vector<KernelRow>& kernel_rows() {
  static const std::vector<KernelRow> all = rows();
  return all;
}

}  // namespace tileflow
