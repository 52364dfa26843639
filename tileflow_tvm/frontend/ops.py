"""The tile primitives: names, operands and keyword arguments, for the language, `read` and `write`.

One row an operation of `tile_ir.Op`; the functions come from `isa.table`. The attributes that
carry a program's facts through TVM are named here too.
"""

from __future__ import annotations

from dataclasses import dataclass

from tileflow_tvm.isa.table import BINARY_FUNCS, REDUCE_FUNCS, SEMIRINGS, UNARY_FUNCS, Engine

OP_PREFIX = "tirx.tile.tf_"
"""A primitive's name in TVM's operator registry, without its own name."""

ROLES_ATTR = "tileflow.roles"
"""Function attribute: "in", "out" or "inout" for each tensor parameter."""
SEMAPHORES_ATTR = "tileflow.semaphores"
"""Function attribute: [poster, waiter, initial count] for each semaphore; an engine is written as
`tile_ir.Unit` prints."""
MACHINE_ATTR = "tileflow.machine"
"""Function attribute: the machine that passes compile for, a name or the path of its file."""
GROUP_ATTR = "tileflow.group"
"""Key of the AttrStmt around the operations of a `tile_ir.Group`."""
STAGES = "stages"
"""Loop annotation: the ring depth that is asked for."""
ADDRESS, SLOTS = "address", "slots"
"""Allocation annotations after plan_sram."""
SCRATCH_SCOPE = "tile.dram"
"""Storage scope of an allocation known to be in DRAM; plain "global" means not decided yet."""

PLACE_PREFIX = "tirx.tile_place.tf_"
"""A place's name in TVM's operator registry, without `row` or `col`."""

FIELD_OF = {"fill": "value", "where": "form", "wait": "waits", "post": "posts"}
"""Keyword arguments whose field in `tile_ir.Op` has another name."""
COMMON = ("extents", "wait", "post")
"""Keyword arguments that every primitive takes; the passes write them."""


@dataclass(frozen=True)
class OpSpec:
    """A primitive: its operands in order (dst first) and its keyword arguments."""

    name: str
    args: tuple[str, ...]
    config: tuple[str, ...]
    engine: Engine | None
    does: str
    required: tuple[str, ...] = ()
    trailing: tuple[str, ...] = ()
    """Keyword arguments that may also stand behind the operands."""
    variadic: bool = False
    """Whether the last of `args` stands for any number of operands."""

    @property
    def keywords(self) -> tuple[str, ...]:
        unit = ("unit",) if self.engine is Engine.EXEC or "engine" in self.config else ()
        return self.config + unit + COMMON


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names)


_SPECS = (
    OpSpec(
        "load", ("dst", "src"), ("fill", "transposed", "rows", "cols", "padded"), Engine.LOAD,
        "dst = src: a box of a DRAM tensor to an on-chip block of the same shape (unit dims of "
        "the box may be left out; transposed: the block is its transpose). The box may hang over "
        "the tensor's edge: the block's true extents are then clipped, its rest is `fill`. With "
        "rows or cols, src is one element and these say how the block's rows and columns walk from "
        "there: a list of (extent, dim, step), the most significant first; one index further along "
        "an entry is `step` further along dimension `dim` of the tensor, -1 repeats the data. Of "
        "rows and of cols, the first entry may hang over the end. padded=True: what lies outside "
        "the tensor, on any side, reads as `fill` and counts as valid.",
    ),
    OpSpec(
        "store", ("dst", "src"), ("transposed", "rows", "cols"), Engine.STORE,
        "dst = src: an on-chip block to a box of a DRAM tensor; what hangs over the tensor's edge "
        "is not written. rows and cols as in load; no two indices may meet the same element.",
    ),
    OpSpec(
        "copy", ("dst", "src"), ("transposed",), None,
        "dst = src, wherever the two are: a load, a store or an identity on chip.",
    ),
    OpSpec(
        "gemm", ("dst", "lhs", "rhs"), ("clear", "transpose_a", "transpose_b", "semiring"),
        Engine.EXEC,
        "dst[m,n] = (clear ? 0 : dst[m,n]) + sum_k lhs[m,k] * rhs[k,n], fma in ascending k; "
        "transpose_a: lhs is stored k x m; transpose_b: rhs is stored n x k. Of bfloat16 "
        "the sums are float32, of int8 int32. clear is True (the "
        "default), False, or `var == 0` for a loop variable. semiring says what takes the place of "
        f"product and sum, of float32: one of {_names(SEMIRINGS)}; add_min is the least of "
        "lhs[m,k] + rhs[k,n] over k, and infinity where there is none.",
    ),
    OpSpec(
        "unary", ("dst", "src"), ("func", "scale", "bias"), Engine.EXEC,
        "dst = func(src * scale + bias), same shapes, one rounding for the product and the sum; "
        f"func is one of {_names(UNARY_FUNCS)}. dst may be src.",
        required=("func",),
    ),
    OpSpec(
        "binary", ("dst", "lhs", "rhs"), ("func", "modes"), Engine.EXEC,
        f"dst = func(lhs, rhs) with func one of {_names(BINARY_FUNCS)} (max and min propagate "
        "NaN; comparisons give 1 or 0; mod has the sign of rhs, fmod that of lhs). All blocks are "
        "float32 or all are int32 (modulo 2**32; bitand and the like are of int32). "
        "An operand is a block of dst's shape, a vector of n (the same in every row) or of "
        "m (the same in every column), one element, or a number. modes says which where shapes "
        "leave it open.",
        required=("func",),
    ),
    OpSpec(
        "select", ("dst", "cond", "a", "b"), ("modes",), Engine.EXEC,
        "dst = cond != 0 ? a : b, element by element; NaN is not 0. Operands as in binary, three "
        "modes; of numbers there may be one. a and b have dst's dtype, cond is float32 or int32. "
        "dst may be an operand of its shape.",
    ),
    OpSpec(
        "reduce", ("dst", "src"), ("func", "axis", "clear"), Engine.EXEC,
        f"dst = func over src with func one of {_names(REDUCE_FUNCS)}; axis=1 reduces each row "
        'of an m x n src to one value (m results, "cols"), axis=0 each column (n results, '
        '"rows"). clear as in gemm: False takes dst into the result.',
        required=("func", "axis"),
    ),
    OpSpec("fill", ("dst",), ("value",), Engine.EXEC, "dst = value.", required=("value",),
           trailing=("value",)),
    OpSpec(
        "affine_select", ("dst", "src"), ("where", "value"), Engine.EXEC,
        "dst = src where the condition `where` holds, else value; same shapes and dtype, float32 "
        "or int32. where compares sums of T.tf.row() and T.tf.col() (an element's row and column "
        "in the block), loop variables and integer parameters, each times a constant: "
        "`i * 32 + T.tf.row() >= k * 32 + T.tf.col()`. Several that are to hold are joined by "
        "`and`. dst may be src; a vector is one row.",
        required=("where", "value"), trailing=("where", "value"),
    ),
    OpSpec(
        "iota", ("dst",), ("form",), Engine.EXEC,
        "dst = form, a sum as in affine_select: `i * 32 + T.tf.col()`. dst is float32 (beyond 2^24 "
        "to the nearest even) or int32 (modulo 2^32).",
        required=("form",), trailing=("form",),
    ),
    OpSpec("transpose", ("dst", "src"), (), Engine.EXEC, "dst[j,i] = src[i,j]."),
    OpSpec(
        "cast", ("dst", "src"), ("scale",), Engine.EXEC,
        "dst = src in the dtype of dst, same shapes: src as float32, times scale, to the nearest "
        "even; integers saturate, NaN becomes 0. dst and src do not overlap.",
    ),
    OpSpec(
        "nest", ("dst", "srcs"), ("axes", "formula", "name"), None,
        "What a block computes, on whole tensors (dst and srcs are t0, t1, ... in the formula): "
        "lift writes it, tile turns it into loops.",
        required=("axes", "formula"), variadic=True,
    ),
    OpSpec(
        "nop", (), ("engine",), None,
        "Only waits and posts, on the engine given: \"load\", \"exec\" or \"store\".",
        required=("engine",),
    ),
)  # fmt: skip

OPS = {spec.name: spec for spec in _SPECS}

_BINARY_SUGAR = {"max": "maximum", "min": "minimum"}
"""Element-wise functions whose plain name means the reduction, as in NumPy."""

SUGAR = {
    **{func: ("unary", func) for func in UNARY_FUNCS},
    **{_BINARY_SUGAR.get(func, func): ("binary", func) for func in BINARY_FUNCS},
    **{func: ("reduce", func) for func in REDUCE_FUNCS},
}
"""What an author may write for a primitive with its func: name -> (primitive, func)."""
