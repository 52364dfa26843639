"""Which element types an operation takes: the rules of the instruction that it becomes."""

from __future__ import annotations

from collections.abc import Sequence

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import ITEMSIZE, Op, Region
from tileflow_tvm.isa.element_types import holds
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import (
    ARITHMETIC,
    BINARY_OF,
    CASTS,
    DTYPE_FACTS,
    GEMM_DTYPES,
    INDEXED_DTYPES,
    SEMIRINGS,
    TILEFLOW,
    UNARY_OF,
)
from tileflow_tvm.passes.validity import allocated

ISA_NAME = {dtype.numpy: dtype.name for dtype in DTYPE_FACTS}
"""TVM's name of a dtype → the ISA's."""
_TVM_NAME = {name: tvm for tvm, name in ISA_NAME.items()}
_CASTS = tuple((_TVM_NAME[old], _TVM_NAME[new]) for old, new in CASTS)
_GEMM = {_TVM_NAME[old]: _TVM_NAME[new] for old, new in GEMM_DTYPES.items()}


def check_element_types(op: Op, machine: Machine) -> None:
    """KernelError where the dtypes of the operands, or a constant, do not suit the operation."""
    for region in op.regions:
        dtype = region.buffer.dtype
        if ISA_NAME[dtype] not in machine.dtypes:
            has = ", ".join(_TVM_NAME[name] for name in machine.dtypes)
            raise _error(op, f"'{region.buffer.name}' is {dtype}, which the machine "
                         f"{machine.name} lacks", f"it has {has}")  # fmt: skip
    match op.name:
        case "load" | "store" | "transpose":
            _check_alike(op)
        case "gemm":
            _check_gemm(op)
        case "cast":
            _check_cast(op)
        case "unary":
            _check_arithmetic(op, UNARY_OF)
        case "binary":
            _check_arithmetic(op, BINARY_OF)
        case "select":
            _check_select(op)
        case "affine_select" | "iota":
            _check_indexed(op)
        case "reduce":
            _check_float32(op)
    if op.name in ("load", "fill", "affine_select"):
        assert op.dst is not None
        dtype = op.dst.buffer.dtype
        if not holds(op.value, ISA_NAME[dtype]):
            raise _error(op, f"{op.value!r} is no value of '{op.dst.buffer.name}', {dtype}",
                         f"fill with a number that {dtype} has exactly")  # fmt: skip


def _check_alike(op: Op) -> None:
    dst, src = op.regions
    if dst.buffer.dtype == src.buffer.dtype:
        return
    where = {"load": "load it as it is, then ", "store": "cast into a block first: "}
    raise _error(op, f"{_of(src)} does not become {_of(dst)} here",
                 where.get(op.name, "") + "T.tf.cast(dst, src) converts on chip")  # fmt: skip


def _check_gemm(op: Op) -> None:
    dst, lhs, rhs = op.regions
    if lhs.buffer.dtype != rhs.buffer.dtype:
        raise _error(op, f"{_of(lhs)} and {_of(rhs)} are operands of one product",
                     "T.tf.cast one of them; both have the same dtype")  # fmt: skip
    wanted = _GEMM.get(lhs.buffer.dtype)
    if op.semiring != SEMIRINGS[0] and lhs.buffer.dtype != "float32":
        raise _error(op, f"{_of(lhs)} is no operand of {op.semiring}, which is of float32",
                     "T.tf.cast both operands to float32 first")  # fmt: skip
    if wanted is None:
        raise _error(op, f"{_of(lhs)} is no operand of a product",
                     f"products are of {', '.join(_GEMM)}; T.tf.cast converts")  # fmt: skip
    if dst.buffer.dtype != wanted:
        what = f"a product of {lhs.buffer.dtype} is summed in {wanted}, not in {_of(dst)}"
        raise _error(op, what,
                     f"accumulate in a {wanted} block, then T.tf.cast it")  # fmt: skip


def _check_cast(op: Op) -> None:
    dst, src = op.regions
    if (src.buffer.dtype, dst.buffer.dtype) in _CASTS:
        return
    if src.buffer.dtype == dst.buffer.dtype:
        raise _error(op, f"{_of(src)} and {_of(dst)} are alike",
                     "T.tf.mul scales float32; what has its dtype needs no cast")  # fmt: skip
    listing = ", ".join(f"{old} to {new}" for old, new in _CASTS)
    raise _error(op, f"{_of(src)} is not cast to {_of(dst)}",
                 f"casts go {listing}; two of them may follow one another")  # fmt: skip


def _check_arithmetic(op: Op, of: dict[str, tuple[str, ...]]) -> None:
    dst, *others = op.regions
    dtype = dst.buffer.dtype
    if ISA_NAME[dtype] not in of:
        _check_float32(op)
    _check_dtypes(op, dst, others)
    if op.func not in of[ISA_NAME[dtype]]:
        has = ", ".join(_TVM_NAME[name] for name, funcs in of.items() if op.func in funcs)
        raise _error(op, f"{op.func} of {_of(dst)} does not exist",
                     f"it is of {has}; T.tf.cast the operands first")  # fmt: skip
    if dtype == "int32":
        if (op.scale, op.bias) != (1.0, 0.0):
            raise _error(op, f"scale and bias of {_of(dst)}", "they are of float32; leave them out")
        _check_numbers(op, dst)


def _check_select(op: Op) -> None:
    assert op.dst is not None
    cond, *others = op.srcs
    dst = op.dst
    if ITEMSIZE[dst.buffer.dtype] != 4:
        raise _error(op, f"{_of(dst)} has no elements of 4 bytes", "T.tf.cast the operands first")
    if isinstance(cond, Region) and ISA_NAME[cond.buffer.dtype] not in ARITHMETIC:
        raise _error(op, f"{_of(cond)} is no condition",
                     "conditions are float32 or int32; T.tf.cast it first")  # fmt: skip
    _check_dtypes(op, dst, [src for src in others if isinstance(src, Region)])
    _check_numbers(op, dst)


def _check_dtypes(op: Op, dst: Region, others: Sequence[Region]) -> None:
    for region in others:
        if region.buffer.dtype != dst.buffer.dtype:
            raise _error(op, f"{_of(region)} meets {_of(dst)}",
                         "operands are alike: T.tf.cast one of them first")  # fmt: skip


def _check_numbers(op: Op, dst: Region) -> None:
    for src in op.srcs:
        if not isinstance(src, Region) and not holds(src, ISA_NAME[dst.buffer.dtype]):
            raise _error(op, f"{src!r} is no value of {_of(dst)}",
                         f"take a number that {dst.buffer.dtype} has")  # fmt: skip


def _check_indexed(op: Op) -> None:
    for region in op.regions:
        if ISA_NAME[region.buffer.dtype] not in INDEXED_DTYPES:
            taken = " or ".join(_TVM_NAME[name] for name in INDEXED_DTYPES)
            raise _error(op, f"{_of(region)} is not {taken}",
                         "T.tf.cast it first, and the result back")  # fmt: skip
    if op.srcs:
        _check_alike(op)
    row = TILEFLOW.by_mnemonic[f"exec.{op.name}"]
    for field, place, step in zip(("rstep", "cstep"), ("row", "col"), op.steps, strict=True):
        low, high = row.by_name[field].bounds
        if not low <= step <= high:
            raise _error(op, f"T.tf.{place}() is taken {step} times",
                         f"the machine's steps are {low}..{high}")  # fmt: skip


def _check_float32(op: Op) -> None:
    for region in op.regions:
        if region.buffer.dtype != "float32":
            raise _error(op, f"{_of(region)} is not float32",
                         "T.tf.cast it to float32 first, and the result back")  # fmt: skip


def _of(region: Region) -> str:
    return f"'{region.buffer.name}' ({region.buffer.dtype})"


def _error(op: Op, what: str, hint: str) -> KernelError:
    buffers = dict.fromkeys(region.buffer for region in op.regions)
    notes = tuple(note for buffer in buffers for note in allocated(buffer))
    return KernelError(f"{op.name}: {what}", loc=op.loc, notes=notes, hint=hint)
