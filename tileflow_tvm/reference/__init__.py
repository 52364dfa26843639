"""What any stage of the compiler means, as plain loops that TVM's LLVM runs: an executor beside the
simulator, for translation validation."""

from tileflow_tvm.reference.lower import reference

__all__ = ["reference"]
