"""The loops around a block and its axes: a bijection, or an error that says why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import ir, tirx
from tvm.ir import Range
from tvm.s_tir import SBlock, SBlockRealize
from tvm.sym import Analyzer, detect_iter_map
from tvm.tirx import For, IntImm, IterVar
from tvm_ffi import structural_map

from tileflow_tvm.frontend.affine import INT32_MAX
from tileflow_tvm.frontend.compute import Place
from tileflow_tvm.frontend.compute_places import Places

_KINDS = {IterVar.DataPar: False, IterVar.CommReduce: True}
_SERIAL = {
    tirx.ForKind.SERIAL, tirx.ForKind.PARALLEL, tirx.ForKind.VECTORIZED, tirx.ForKind.UNROLLED,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class NestLoop:
    """A loop around a block; compared by identity. Where its bounds vary with those outside of it,
    `start` and `extent` are of all that it reaches, and `inside` says where it is."""

    var: ir.Var
    start: int
    extent: int
    place: Place
    inside: Any = None


@dataclass(frozen=True, eq=False)
class Binding:
    """An axis of a block. `loop` is the one loop that walks it, None where it is several.
    Compared by identity."""

    iter_var: IterVar
    extent: int
    reduce: bool
    loop: NestLoop | None


def read_loop(node: For, places: Places, around: tuple[NestLoop, ...] = ()) -> NestLoop:
    """A loop that can be run in any order of iterations, with bounds that are constant or vary
    with the loops around it."""
    place = places.of(node, getattr(node.body, "block", None), node.body)
    name = node.loop_var.name
    if node.kind not in _SERIAL:
        raise place.error(f"loop '{name}' is bound to a thread",
                          "use serial, parallel, vectorized or unrolled loops")  # fmt: skip
    if node.step is not None and not _is_one(node.step):
        raise place.error(f"loop '{name}' has a step of {node.step}",
                          "write a loop of step 1 and multiply in the axis")  # fmt: skip
    start, extent = _const(node.min), _const(node.extent)
    if (start is None or extent is None) and (loop := _varying(node, place, around)):
        return loop
    if start is None or extent is None:
        bound = node.extent if extent is None else node.min
        raise place.error(
            f"the bound {bound} of loop '{name}' is not a constant",
            "loop bounds of a block are constants, or sums of loop variables around it; "
            "specialize the function for each size"
        )  # fmt: skip
    if extent < 0:
        raise place.error(f"loop '{name}' has the negative extent {extent}")
    return NestLoop(node.loop_var, start, extent, place)


def _varying(node: For, place: Place, around: tuple[NestLoop, ...]) -> NestLoop | None:
    """The loop over all that `node` reaches; None where that has no constant bounds."""
    analyzer = _analyzer_of(around)
    if not _variables([node.min, node.extent]) <= {loop.var for loop in around}:
        return None
    end = analyzer.simplify(node.min + node.extent)
    low = analyzer.const_int_bound(node.min).min_value
    high = analyzer.const_int_bound(end).max_value
    if not -INT32_MAX <= low <= high <= INT32_MAX:
        return None
    inside = tirx.And(tirx.GE(node.loop_var, node.min), tirx.LT(node.loop_var, end))
    return NestLoop(node.loop_var, low, high - low, place, inside)


def _analyzer_of(loops: tuple[NestLoop, ...]) -> Analyzer:
    analyzer = Analyzer()
    for loop in loops:
        analyzer.bind(loop.var, Range.from_min_extent(loop.start, max(loop.extent, 1)))
    return analyzer


@dataclass(frozen=True)
class Guard:
    """Where a block runs, a condition on its axes. `begins_all`: it holds for every cell when its
    reduction begins."""

    condition: Any
    begins_all: bool


def guard_of(
    realize: SBlockRealize, loops: tuple[NestLoop, ...], place: Place
) -> tuple[SBlockRealize, Guard | None]:
    """The block over the whole box of its loops, and where in it it runs; None where it runs all
    over, or a T.where only ends a split loop."""
    inside = [loop.inside for loop in loops if loop.inside is not None]
    if not inside and _is_one(realize.predicate):
        return realize, None
    block = realize.block
    everywhere = SBlockRealize(realize.iter_values, True, block, realize.span)
    axes = _axes(realize, loops, place)
    walked = _simple(everywhere, loops, axes)
    if walked is None and not inside:
        return realize, None
    if walked is None:
        raise place.error(
            f"block '{block.name_hint}' is in a loop with bounds that vary, and its axes are not "
            "each one loop", "bind each axis to one loop",
        )  # fmt: skip
    if not _is_one(realize.predicate):
        inside.append(realize.predicate)
    where = inside[0]
    for condition in inside[1:]:
        where = tirx.And(where, condition)
    if block.init is not None and all(loop.extent for loop in loops):
        guarded = SBlockRealize(realize.iter_values, where, block, realize.span)
        ranges = {loop.var: Range.from_min_extent(loop.start, loop.extent) for loop in loops}
        if not _begins_at_zero(guarded, loops, ranges):
            raise place.error(
                f"T.init of block '{block.name_hint}' does not run for every cell: its first "
                "iteration is left out somewhere",
                "let the loops of reduction axes begin at 0 and run at least once",
            )
    pairs = zip(block.iter_vars, walked, strict=True)
    axis_of = {loop.var: iter_var.var for iter_var, loop in pairs if loop}
    first = {loop.var: IntImm(str(loop.var.ty), 0) for (_, _, reduce), loop
             in zip(axes, walked, strict=True) if loop and reduce}  # fmt: skip
    begins_all = bool(_analyzer_of(loops).can_prove(_replaced(where, first)))
    rest = {loop.var: IntImm(str(loop.var.ty), loop.start) for loop in loops
            if loop.var not in axis_of}  # fmt: skip
    return everywhere, Guard(_replaced(where, axis_of | rest), begins_all)


def read_bindings(
    realize: SBlockRealize, loops: tuple[NestLoop, ...], place: Place
) -> tuple[Binding, ...]:
    """The axes of a block, whose domain the loops walk exactly once."""
    axes = _axes(realize, loops, place)
    empty = any(loop.extent == 0 for loop in loops)
    simple = _simple(realize, loops, axes)
    if simple is not None:
        walked = simple
    else:
        if not empty:
            _check_bijection(realize, loops, axes, place)
        walked = [None] * len(axes)
    return tuple(
        Binding(iter_var, extent, reduce, loop)
        for (iter_var, extent, reduce), loop in zip(axes, walked, strict=True)
    )


def _replaced(expr: Any, by: dict[ir.Var, Any]) -> Any:
    return structural_map(expr, (ir.Var, lambda var: by.get(var, var)))


def _axes(
    realize: SBlockRealize, loops: tuple[NestLoop, ...], place: Place
) -> list[tuple[IterVar, int, bool]]:
    block = realize.block
    pairs = zip(block.iter_vars, realize.iter_values, strict=True)
    return [_axis(iter_var, block, place, value, loops) for iter_var, value in pairs]


def _axis(
    iter_var: IterVar, block: SBlock, place: Place, value: Any, loops: tuple[NestLoop, ...]
) -> tuple[IterVar, int, bool]:
    name = iter_var.var.name
    if iter_var.iter_type not in _KINDS:
        raise place.error(f"axis '{name}' of block '{block.name_hint}' is neither spatial nor "
                          "a reduction", "use T.axis.spatial or T.axis.reduce")  # fmt: skip
    start, extent = _const(iter_var.dom.min), _const(iter_var.dom.extent)
    if extent is None:  # as long as its loop, which varies
        own = [loop for loop in loops if loop.inside is not None and loop.var.same_as(value)]
        extent = next((loop.start + loop.extent for loop in own), None)
    if start is None or extent is None:
        raise place.error(f"axis '{name}' of block '{block.name_hint}' has no constant extent",
                          "specialize the function for each size")  # fmt: skip
    if start != 0:
        raise place.error(f"axis '{name}' of block '{block.name_hint}' begins at {start}",
                          "axes begin at 0; shift the indices instead")  # fmt: skip
    if extent > INT32_MAX:
        raise place.error(f"axis '{name}' of extent {extent} is too long",
                          f"at most {INT32_MAX}")  # fmt: skip
    return iter_var, extent, _KINDS[iter_var.iter_type]


def _simple(
    realize: SBlockRealize, loops: tuple[NestLoop, ...], axes: list[tuple[IterVar, int, bool]]
) -> list[NestLoop | None] | None:
    """The loop of each axis, where each axis is one loop variable or a constant 0."""
    left = {loop.var: loop for loop in loops}
    found: list[NestLoop | None] = []
    for value, (_, extent, _) in zip(realize.iter_values, axes, strict=True):
        if isinstance(value, IntImm) and int(value) == 0 and extent == 1:
            found.append(None)
            continue
        loop = left.pop(value, None) if isinstance(value, ir.Var) else None
        if loop is None or loop.start != 0 or loop.extent != extent:
            return None
        found.append(loop)
    return found if all(loop.extent == 1 for loop in left.values()) else None


def _check_bijection(
    realize: SBlockRealize, loops: tuple[NestLoop, ...],
    axes: list[tuple[IterVar, int, bool]], place: Place,
) -> None:  # fmt: skip
    name = realize.block.name_hint
    ranges = {loop.var: Range.from_min_extent(loop.start, loop.extent) for loop in loops}
    unused = _unused(realize, loops)
    if unused is not None:
        raise place.error(
            f"block '{name}' does not use loop '{unused.var.name}': "
            f"each cell is assigned {unused.extent} times",
            "bind the loop to an axis, or remove it"
        )  # fmt: skip
    for value, (iter_var, extent, _) in zip(realize.iter_values, axes, strict=True):
        analyzer = Analyzer()
        for loop in loops:
            analyzer.bind(loop.var, ranges[loop.var])
        bound = analyzer.const_int_bound(value)
        if _is_one(realize.predicate) and (bound.min_value, bound.max_value) != (0, extent - 1):
            raise place.error(
                f"axis '{iter_var.var.name}' of block '{name}' is declared as 0..{extent - 1}, "
                f"but its loops give {bound.min_value}..{bound.max_value}",
                "the axis' extent and the loops must agree"
            )  # fmt: skip
    mapped = detect_iter_map(realize.iter_values, ranges, realize.predicate, "bijective")
    if not _covers(mapped, [extent for _, extent, _ in axes]):
        raise place.error(
            f"the loops around block '{name}' do not provably visit every point of its axes "
            "exactly once",
            "bind each axis to one loop, or to a split or fused form of loops",
            tuple(f"note: {error}" for error in mapped.errors),
        )
    if realize.block.init is not None:
        _check_begin(realize, loops, place)


def _check_begin(realize: SBlockRealize, loops: tuple[NestLoop, ...], place: Place) -> None:
    ranges = {loop.var: Range.from_min_extent(loop.start, loop.extent) for loop in loops}
    if not _begins_at_zero(realize, loops, ranges):
        raise place.error(
            f"T.init of block '{realize.block.name_hint}' may run after some of the sum it begins",
            "keep the loops of reduction axes apart from those of spatial axes, and at their "
            "start the axes at 0",
        )


def _begins_at_zero(
    realize: SBlockRealize, loops: tuple[NestLoop, ...], ranges: dict[ir.Var, Range]
) -> bool:
    """Whether each cell is first visited with all reduction axes at 0, which is when T.init runs.

    It is where no loop serves both a spatial and a reduction axis, the reduction axes are 0 at
    the start of theirs, and the predicate does not cut that start off.
    """
    values: dict[bool, list[Any]] = {False: [], True: []}
    for value, iter_var in zip(realize.iter_values, realize.block.iter_vars, strict=True):
        values[_KINDS[iter_var.iter_type]].append(value)
    spatial, reducing = (_variables(values[kind]) for kind in (False, True))
    if any(var in spatial for var in reducing):
        return False
    start, anywhere = Analyzer(), Analyzer()
    for loop in loops:
        anywhere.bind(loop.var, ranges[loop.var])
        first = IntImm(str(loop.var.ty), loop.start)
        start.bind(loop.var, first if loop.var in reducing else ranges[loop.var])
    if not all(_is_zero(start.simplify(value)) for value in values[True]):
        return False
    with anywhere.constraint_scope(realize.predicate):
        return bool(anywhere.can_prove(start.simplify(realize.predicate)))


def _covers(mapped: Any, extents: list[int]) -> bool:
    """Whether a bijective map has exactly the box of `extents` as its image."""
    if len(mapped.indices) != len(extents) or not _is_zero(mapped.padding_predicate):
        return False
    for index, extent in zip(mapped.indices, extents, strict=True):
        if not _is_zero(index.base) or len(index.args) != (extent != 1):
            return False
        if any(not _is_one(a.scale) or _const(a.extent) != extent for a in index.args):
            return False
    return True


def _unused(realize: SBlockRealize, loops: tuple[NestLoop, ...]) -> NestLoop | None:
    used = _variables([*realize.iter_values, realize.predicate])
    return next((loop for loop in loops if loop.extent > 1 and loop.var not in used), None)


def _variables(exprs: list[Any]) -> set[ir.Var]:
    return {var for expr in exprs for var in tirx.analysis.undefined_vars(expr)}


def _const(value: Any) -> int | None:
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, IntImm) else None


def _is_one(value: Any) -> bool:
    return _const(value) == 1


def _is_zero(value: Any) -> bool:
    return _const(value) == 0
