// Tensor descriptors must stay inside their storage, whatever their strides.
#include <algorithm>

#include "fault.h"
#include "program.h"

namespace tileflow {
namespace {

// Offsets within a storage; products of two need 128 bits.
using Wide = __int128;

void check_dtype(const Tensor& tensor, isa::DType dtype, const std::string& storage) {
  if (tensor.dtype == dtype) return;
  throw Fault(FaultKind::kBinary, "tensor '" + tensor.name + "' is " + name_of(tensor.dtype) +
                                      ", but '" + storage + "' is " + name_of(dtype));
}

std::int64_t storage_bytes(const Program& program, const Tensor& tensor) {
  const auto missing = [&](const char* what) -> Fault {
    return {FaultKind::kBinary, "tensor '" + tensor.name + "' lies in " + what + " " +
                                    std::to_string(tensor.index) + ", which does not exist"};
  };
  switch (tensor.storage) {
    case isa::StorageKind::kArg:
      if (tensor.index >= program.args.size()) throw missing("argument");
      check_dtype(tensor, program.args[tensor.index].dtype, program.args[tensor.index].name);
      return program.args[tensor.index].bytes;
    case isa::StorageKind::kConst:
      if (tensor.index >= program.constants.size()) throw missing("constant");
      check_dtype(tensor, program.constants[tensor.index].dtype,
                  program.constants[tensor.index].name);
      return program.constants[tensor.index].bytes;
    case isa::StorageKind::kScratch:
      if (tensor.index != 0) throw missing("scratch memory");
      return program.scratch_bytes;
  }
  throw missing("storage");
}

bool stays_inside(const Tensor& tensor, std::int64_t storage) {
  const auto shape = std::span(tensor.shape).first(tensor.rank);
  if (tensor.offset > storage) return false;
  if (std::ranges::find(shape, 0) != shape.end()) return true;
  Wide low = tensor.offset;
  const std::int64_t item = isa::item_bytes(tensor.dtype);
  Wide high = low + item;
  for (int d = 0; d < tensor.rank; ++d) {
    const Wide span = Wide{shape[d] - 1} * tensor.strides[d];
    if (span > storage || span < -storage) return false;
    (span < 0 ? low : high) += span * item;
  }
  return low >= 0 && high <= storage;
}

}  // namespace

void check_tensors(const Program& program) {
  for (const Tensor& tensor : program.tensors) {
    const std::int64_t storage = storage_bytes(program, tensor);
    if (tensor.rank == 0) {
      throw Fault(FaultKind::kBinary, "tensor '" + tensor.name + "' has no dimension");
    }
    if (tensor.offset % isa::item_bytes(tensor.dtype) != 0) {
      throw Fault(FaultKind::kBinary,
                  "tensor '" + tensor.name + "' is not aligned to its elements");
    }
    if (!stays_inside(tensor, storage)) {
      throw Fault(FaultKind::kBinary, "tensor '" + tensor.name + "' leaves its storage of " +
                                          std::to_string(storage) + " bytes");
    }
  }
}

}  // namespace tileflow
