"""What the dimensions of an operation's operands are to it: its m, its n, its k.

`axes_of` checks that the shapes agree and labels each dimension of each operand. From the labels
follow the operation's extents, the modes of a binary operation, and what is valid of its result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from math import prod

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import (
    Buffer,
    Op,
    Operand,
    Program,
    Region,
    Scope,
    may_meet,
)
from tileflow_tvm.isa.program import BROADCAST

Labels = tuple[str, ...]
"""For each dimension of a region "m", "n" or "k", or "" for a unit dimension that is none."""


@dataclass(frozen=True)
class Axes:
    """`op` with its modes, the labels of dst and of each source (() for a number), and the
    lengths of the axes."""

    op: Op
    dst: Labels
    srcs: tuple[Labels, ...]
    sizes: dict[str, int]


_BY_ELEMENT = ("unary", "binary", "copy", "cast", "affine_select")


def axes_of(op: Op, per_row: frozenset[Buffer] = frozenset()) -> Axes:
    """The axes of `op`; KernelError where shapes disagree.

    `per_row` are the vectors with one element for each row of something: they are not taken for
    rows where shapes leave both open.
    """
    if op.name in ("load", "store"):
        return _transfer(op)
    if op.name in ("binary", "select") and not op.modes:
        op = replace(op, modes=tuple(_mode(op, src, per_row) for src in op.srcs))
    return _RULES[op.name](op)


_BY_ELEMENT = ("unary", "binary", "select", "copy", "cast")


def per_row_vectors(program: Program) -> frozenset[Buffer]:
    """Vectors that hold results of reductions along the columns, or what is made of them."""
    found: set[Buffer] = set()
    size = -1
    while size < len(found):
        size = len(found)
        for op in program.ops:
            if op.dst is None or len(op.dst.shape) != 1:
                continue
            sources = {src.buffer for src in op.srcs if isinstance(src, Region)}
            reduced = op.name == "reduce" and op.axis == "cols"
            if reduced or (op.name in _BY_ELEMENT and sources & found):
                found.add(op.dst.buffer)
    return frozenset(found)


def describe(region: Operand) -> str:
    if not isinstance(region, Region):
        return str(region)
    shape = " x ".join(str(size) for size in region.shape)
    what = "" if region.is_whole else " slice of"
    return f"the {shape}{what} '{region.buffer.name}'"


_SAME = "give the blocks the same shape, or slice the larger one"


def _disagree(op: Op, why: str, *regions: Operand, hint: str = _SAME) -> KernelError:
    sides = " and ".join(describe(region) for region in regions)
    notes = _places(*regions)
    return KernelError(f"{op.name}: {sides} {why}", loc=op.loc, notes=notes, hint=hint)


def _places(*regions: Operand) -> tuple[str, ...]:
    buffers = [buffer for buffer in _buffers(regions) if buffer.loc]
    return tuple(f"'{buffer.name}' {buffer.shape}: {buffer.loc}" for buffer in buffers)


def _buffers(regions: tuple[Operand, ...]) -> list[Buffer]:
    found = [region.buffer for region in regions if isinstance(region, Region)]
    return list(dict.fromkeys(found))


def _region(op: Op, index: int) -> Region:
    src = op.srcs[index]
    assert isinstance(src, Region)
    return src


def _dst(op: Op) -> Region:
    assert op.dst is not None
    return op.dst


def _matrix(region: Region) -> tuple[int, int]:
    """Rows and columns; a vector is one row."""
    if len(region.shape) == 1:
        return 1, region.shape[0]
    rows, cols = region.shape
    return rows, cols


def _labels(region: Region, rows: str, cols: str) -> Labels:
    return (cols,) if len(region.shape) == 1 else (rows, cols)


# Loads and stores.


def _transfer(op: Op) -> Axes:
    """Dimensions meet in order; unit dimensions on either side may be without a partner."""
    chip, dram = op.ends
    if op.name == "store" and dram.buffer.aliases_itself:
        raise KernelError(
            f"store: two indices of the view '{dram.buffer.name}' {dram.buffer.shape} may meet one "
            f"element of '{dram.buffer.storage.name}'", loc=op.loc, notes=_places(dram),
            hint="a view that is stored through has strides, each longer than what the smaller "
                 "ones reach",
        )  # fmt: skip
    if op.box:
        return _box_transfer(op, chip, dram)
    chip_labels = _labels(chip, "m", "n")
    order = list(zip(chip.shape, chip_labels, strict=True))
    if op.transposed:
        order.reverse()
    dram_labels = _meet(list(order), dram.shape)
    if dram_labels is None:
        raise _disagree(
            op, "do not have the same shape" + (" when transposed" if op.transposed else ""),
            chip, dram, hint="unit dimensions of the slice may be left out of the block, no others",
        )  # fmt: skip
    return _transfer_axes(op, chip, chip_labels, dram_labels)


def _transfer_axes(op: Op, chip: Region, chip_labels: Labels, dram_labels: Labels) -> Axes:
    rows, cols = _matrix(chip)
    ends = (chip_labels, dram_labels) if op.name == "load" else (dram_labels, chip_labels)
    return Axes(op, ends[0], (ends[1],), {"m": rows, "n": cols})


def _box_transfer(op: Op, chip: Region, dram: Region) -> Axes:
    """Rows and columns of the block are those of the box; a vector is one row. The dimensions of
    the tensor have no labels of their own: `tensor_clips` says what is inside."""
    box = tuple(prod(dim.extent for dim in side) for side in (op.rows, op.cols))
    if box != _matrix(chip):
        shape = " x ".join(str(size) for size in box)
        raise KernelError(
            f"{op.name}: {describe(chip)} is not {shape}, which rows and cols are", loc=op.loc,
            notes=_places(chip),
            hint="the extents in rows multiply to the block's rows, those in cols to its columns; "
                 "a vector is one row: its extents are in cols",
        )  # fmt: skip
    if op.name == "store":
        _check_apart(op, dram)
    return _transfer_axes(op, chip, _labels(chip, "m", "n"), ("",) * len(dram.shape))


def _check_apart(op: Op, dram: Region) -> None:
    """No two indices of the box meet the same element."""
    if any(dim.dim == BROADCAST and dim.extent > 1 for dim in op.box):
        raise KernelError(
            f"store: an entry of rows or cols repeats (dim {BROADCAST})", loc=op.loc,
            hint="every element is stored once; repeat in the load",
        )  # fmt: skip
    for axis in range(len(dram.shape)):
        if may_meet((dim.extent, dim.step) for dim in op.box if dim.dim == axis):
            raise KernelError(
                f"store: two indices of rows and cols may meet the same element of dimension "
                f"{axis} of '{dram.buffer.name}' {dram.buffer.shape}", loc=op.loc,
                notes=_places(dram),
                hint="let each step be longer than what the smaller steps reach",
            )  # fmt: skip


def _meet(chip: list[tuple[int, str]], dram: tuple[int, ...]) -> Labels | None:
    """Labels for the dimensions of `dram`, matched from the last to the first."""
    labels: list[str] = []
    for size in reversed(dram):
        while chip and chip[-1][0] == 1 and size != 1:
            chip.pop()
        if chip and chip[-1][0] == size:
            labels.append(chip.pop()[1])
        elif size == 1:
            labels.append("")
        else:
            return None
    return tuple(reversed(labels)) if all(size == 1 for size, _ in chip) else None


# Arithmetic.


def _gemm(op: Op) -> Axes:
    """As NumPy: a vector on the left is 1 x k, one on the right k x 1; where k is 1, a vector
    may also be m x 1 or 1 x n."""
    dst, lhs, rhs = _dst(op), _region(op, 0), _region(op, 1)
    left, right = _gemm_sides(op, dst, lhs, rhs)
    rows, cols = dict(zip(left, lhs.shape, strict=True)), dict(zip(right, rhs.shape, strict=True))
    m, n, k = rows.get("m", 1), cols.get("n", 1), rows.get("k", 1)
    if cols.get("k", 1) != k:
        raise _disagree(
            op, "do not have the same inner length", lhs, rhs,
            hint="transpose_a and transpose_b read an operand stored k x m or n x k",
        )  # fmt: skip
    vector = 1 in (m, n) and dst.shape == (m * n,)
    if dst.shape != (m, n) and not vector:
        raise _disagree(op, f"do not fit: the product is {m} x {n}", dst, lhs, rhs)
    labels: Labels = ("m", "n")
    if vector:
        labels = ("m",) if n == 1 else ("n",)
    return Axes(op, labels, (left, right), {"m": m, "n": n, "k": k})


def _gemm_sides(op: Op, dst: Region, lhs: Region, rhs: Region) -> tuple[Labels, Labels]:
    left: Labels = ("k", "m") if op.transpose_a else ("m", "k")
    right: Labels = ("n", "k") if op.transpose_b else ("k", "n")
    vectors = [len(region.shape) == 1 for region in (lhs, rhs)]
    if all(vectors):
        return (("k",), ("k",)) if prod(dst.shape) == 1 else (("m",), ("n",))
    if vectors[0]:
        k = rhs.shape[right.index("k")]
        left = ("m",) if k == 1 != lhs.shape[0] else ("k",)
    if vectors[1]:
        k = lhs.shape[left.index("k")]
        right = ("n",) if k == 1 != rhs.shape[0] else ("k",)
    return left, right


def _unary(op: Op) -> Axes:
    dst, src = _dst(op), _region(op, 0)
    if len(dst.shape) == len(src.shape):
        if dst.shape != src.shape:
            raise _disagree(op, "do not have the same shape", dst, src)
        rows, cols = _matrix(dst)
        labels = _labels(dst, "m", "n")
        return Axes(op, labels, (labels,), {"m": rows, "n": cols})
    vector, matrix = (dst, src) if len(dst.shape) == 1 else (src, dst)
    rows, cols = matrix.shape
    if 1 not in (rows, cols) or rows * cols != vector.shape[0]:
        raise _disagree(op, "do not have the same shape", dst, src)
    along = "m" if cols == 1 and rows != 1 else "n"
    views = {id(vector): (along,), id(matrix): ("m", "n")}
    return Axes(op, views[id(dst)], (views[id(src)],), {"m": rows, "n": cols})


def _binary(op: Op) -> Axes:
    dst = _dst(op)
    if set(op.modes) == {"imm"}:
        raise KernelError(f"{f'{op.name} {op.func}'.strip()} of numbers alone", loc=op.loc,
                          hint="compute it in the script and use T.tf.fill")  # fmt: skip
    if len({repr(src) for src in op.srcs if not isinstance(src, Region)}) > 1:
        raise KernelError(f"{op.name}: more than one number", loc=op.loc,
                          hint="T.tf.fill a block of one element with one of them")  # fmt: skip
    labels = tuple(_labels_as(op, src, mode) for src, mode in zip(op.srcs, op.modes, strict=True))
    rows, cols = _matrix(dst)
    return Axes(op, _labels(dst, "m", "n"), labels, {"m": rows, "n": cols})


def _mode(op: Op, src: Operand, per_row: frozenset[Buffer]) -> str:
    """How `src` meets dst, by NumPy's rules; a vector as long as dst has rows is a column."""
    if not isinstance(src, Region):
        return "imm"
    rows, cols = _matrix(_dst(op))
    if _matrix(src) == (rows, cols):
        return "full"
    if _matrix(src) == (1, 1):
        return "scalar"
    if _matrix(src) == (1, cols):
        if src.shape == (rows,) and src.buffer in per_row:
            raise _disagree(
                op, "leave open whether the vector is a row or a column", _dst(op), src,
                hint=f'say modes=["full", "col"] (or "row"), or allocate it as ({rows}, 1)',
            )  # fmt: skip
        return "row"
    if src.shape in ((rows,), (rows, 1)):
        return "col"
    raise _disagree(
        op, "do not broadcast", _dst(op), src,
        hint="an operand has the shape of dst, or is a vector as long as its rows or columns, "
             "or one element",
    )  # fmt: skip


def _labels_as(op: Op, src: Operand, mode: str) -> Labels:
    """The labels of `src` in `mode`; KernelError where its shape is another."""
    if not isinstance(src, Region) or mode == "imm":
        if isinstance(src, Region) or mode != "imm":
            raise KernelError(f"{op.name}: {describe(src)} has mode {mode!r}", loc=op.loc,
                              hint='numbers, and only they, have mode "imm"')  # fmt: skip
        return ()
    rows, cols = _matrix(_dst(op))
    rank = len(src.shape)
    allowed: dict[str, dict[tuple[int, ...], Labels]] = {
        "full": {(rows, cols): ("m", "n")} | ({(cols,): ("n",)} if rows == 1 else {}),
        "row": {(cols,): ("n",), (1, cols): ("", "n")},
        "col": {(rows,): ("m",), (rows, 1): ("m", "")},
        "scalar": {(1,) * rank: ("",) * rank},
    }
    labels = allowed[mode].get(src.shape)
    if labels is None:
        raise _disagree(op, f"do not fit mode {mode!r}", _dst(op), src,
                        hint="leave modes out where the shapes say it")  # fmt: skip
    return labels


def _reduce(op: Op) -> Axes:
    dst, src = _dst(op), _region(op, 0)
    rows, cols = _matrix(src)
    kept, length = ("m", rows) if op.axis == "cols" else ("n", cols)
    column = op.axis == "cols"
    shapes: dict[tuple[int, ...], Labels] = {(length,): (kept,)}
    if dst.buffer.scope is not Scope.GRID:  # a vector: row or column is the same
        shapes |= {(1, length): ("", kept), (length, 1): (kept, "")}
    shapes[(length, 1) if column else (1, length)] = (kept, "") if column else ("", kept)
    labels = shapes.get(dst.shape)
    if labels is None:
        raise _disagree(
            op, f"do not fit: along {op.axis} there are {length} results", dst, src,
            hint="axis=1 leaves one value for each row, axis=0 for each column",
        )  # fmt: skip
    return Axes(op, labels, (_labels(src, "m", "n"),), {"m": rows, "n": cols})


def _fill(op: Op) -> Axes:
    dst = _dst(op)
    rows, cols = _matrix(dst)
    return Axes(op, _labels(dst, "m", "n"), (), {"m": rows, "n": cols})


def _transpose(op: Op) -> Axes:
    dst, src = _dst(op), _region(op, 0)
    if dst.buffer is src.buffer:
        raise KernelError(f"transpose: '{dst.buffer.name}' is both operands", loc=op.loc,
                          hint="transpose into a block of its own")  # fmt: skip
    if _matrix(src) != tuple(reversed(_matrix(dst))) or len(src.shape) != len(dst.shape):
        raise _disagree(op, "are not each other's transpose", dst, src)
    rows, cols = _matrix(src)
    return Axes(op, ("n", "m"), (("m", "n"),), {"m": rows, "n": cols})


_RULES = {
    "gemm": _gemm,
    "unary": _unary,
    "binary": _binary,
    "select": _binary,
    "reduce": _reduce,
    "fill": _fill,
    "iota": _fill,
    "affine_select": _unary,
    "transpose": _transpose,
    "cast": _unary,
}


def identity_of_copy(op: Op) -> Op:
    """An on-chip copy as what the EXEC engine does."""
    dst, src = _dst(op), _region(op, 0)
    if op.transposed:
        return replace(op, name="transpose", transposed=False)
    shapes = [[size for size in region.shape if size != 1] for region in (dst, src)]
    if any(a != b for a, b in zip_longest(*shapes)):
        raise _disagree(op, "do not have the same shape", dst, src)
    return replace(op, name="unary", func="identity")
