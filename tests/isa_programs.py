"""Random well-formed programs that use every table, instruction and field."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tileflow_tvm.errors import Loc
from tileflow_tvm.isa.element_types import ElementTypes
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import (
    AccessPattern,
    ArgSpec,
    BoxDim,
    BufferInfo,
    Constant,
    Instruction,
    Program,
    Role,
    Storage,
    StorageKind,
    TensorSpec,
    contiguous,
)
from tileflow_tvm.isa.table import (
    CLEAR_MODES,
    DTYPES,
    NO_REGISTER,
    OPERAND_MODES,
    SCALAR_SOURCE,
    TILEFLOW,
    Engine,
    Field,
    Insn,
    Kind,
)

names = st.one_of(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,6}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
    st.sampled_from(["a0", "none", "sem1", "p0", "arg", "a b", '"', "\\", "é", "\n", "🙂", "inf"]),
)
locs = st.none() | st.builds(
    Loc,
    st.sampled_from(["kernel.py", "a dir/other.py", 'odd"name']),
    st.integers(0, 40) | st.just((1 << 32) - 1),
    st.integers(0, 9),
)
f32_bits = st.integers(0, (1 << 32) - 1) | st.sampled_from(
    [0, 1 << 31, 0x3F800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 1]
)
machines = st.builds(
    Machine,
    name=st.sampled_from(["tileflow", "mine", "my machine"]),
    tile=st.sampled_from([8, 16, 32]),
    sram_bytes=st.sampled_from([12288, 65536, 1 << 30]),
    queue_depth=st.integers(1, 16),
    exec_engines=st.integers(1, 4),
    address_generators=st.sampled_from([1, 7, 63]),
    extents=st.sampled_from([1, 5, 63]),
    semaphores=st.sampled_from([2, 63]),
    scalars=st.sampled_from([3, 16]),
    loop_levels=st.sampled_from([1, 8, 16]),
    dram_latency_cycles=st.integers(0, 300),
    dram_burst_bytes=st.sampled_from([4, 32, 64]),
)


dtypes = st.sampled_from(DTYPES)


@st.composite
def _shapes(draw: st.DrawFn, least_rank: int) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(0, 9), min_size=least_rank, max_size=5)))


@st.composite
def _tensors(
    draw: st.DrawFn, args: Sequence[ArgSpec], constants: Sequence[Constant], scratch: int
) -> list[TensorSpec]:
    storages = [(Storage(StorageKind.SCRATCH), scratch, draw(dtypes))]
    storages += [(Storage(StorageKind.ARG, i), a.nbytes, a.dtype) for i, a in enumerate(args)]
    storages += [
        (Storage(StorageKind.CONST, i), len(c.data), c.dtype) for i, c in enumerate(constants)
    ]
    tensors = []
    for name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        where, size, dtype = draw(st.sampled_from(storages))
        shape = draw(_shapes(1))
        strides = contiguous(shape)
        if draw(st.booleans()):
            order = draw(st.permutations(range(len(shape))))
            strides = tuple(strides[dim] * draw(st.sampled_from([-1, 1, 2])) for dim in order)
        tensor = TensorSpec(name, shape, strides, where, dtype)
        low, high = tensor.byte_range()
        if high - low > size:
            shape = (0, *shape[1:])
            low = 0
        storage = Storage(where.kind, where.index, -low)
        tensors.append(TensorSpec(name, shape, strides, storage, dtype))
    return tensors


box_dims = st.builds(
    BoxDim,
    extent=st.integers(0, 5),
    tensor_dim=st.integers(-1, 0),
    step=st.sampled_from([1, 1, -1, 3, -(1 << 31), (1 << 31) - 1]),
    column=st.booleans(),
)
accesses = st.builds(AccessPattern, st.lists(box_dims, max_size=4).map(tuple))


def _raw(field: Field, program: Program) -> st.SearchStrategy[int]:
    """Values of one field that are legal by themselves."""
    machine = program.machine
    registers = {
        Kind.AGEN: machine.address_generators,
        Kind.EXTENT: machine.extents,
        Kind.SEM: machine.semaphores,
        Kind.SCALAR: machine.scalars,
        Kind.LEVEL: machine.loop_levels,
        Kind.TENSOR: len(program.tensors),
        Kind.ACCESS: len(program.accesses),
    }
    if field.kind in registers:
        some = st.integers(0, registers[field.kind] - 1)
        return some | st.just(NO_REGISTER) if field.default == NO_REGISTER else some
    if field.kind is Kind.SOURCE:
        scalar = st.integers(0, machine.scalars - 1).map(lambda s: SCALAR_SOURCE + s)
        return st.integers(0, machine.loop_levels - 1) | scalar
    if field.kind is Kind.F32:
        return f32_bits
    low, high = field.bounds
    return st.integers(low, high) | st.sampled_from([low, high])


@st.composite
def _instruction(draw: st.DrawFn, row: Insn, program: Program, depth: int) -> Instruction:
    values = {field.name: draw(_raw(field, program)) for field in row.fields}
    if "unit" in values:
        values["unit"] = draw(st.integers(0, program.machine.engines_of(row.engine.value) - 1))
    if row.mnemonic == "loop" and values["by"] != NO_REGISTER:
        values["count"] = 0
    if row.mnemonic == "scalar" and values["rhs"] != NO_REGISTER:
        values["imm"] = 0
    if values.get("clear") == CLEAR_MODES.index("at0"):
        if depth:
            values["level"] = draw(st.integers(0, depth - 1))
        else:
            values["clear"] = CLEAR_MODES.index("always")
    for side in ("lhs", "rhs", "cond", "a", "b"):
        mode = values.get(f"{side[0]}mode")
        if mode == OPERAND_MODES.index("imm"):
            values[side] = NO_REGISTER
        elif mode is not None and values[side] == NO_REGISTER:
            values[side] = 0
    if "tensor" in values:
        for dim in range(program.tensors[values["tensor"]].rank, 5):
            values[f"c{dim}"] = NO_REGISTER
    return Instruction(row.mnemonic, values, draw(locs))


@st.composite
def _text(draw: st.DrawFn, program: Program) -> tuple[Instruction, ...]:
    rows = TILEFLOW.by_mnemonic
    free = [row for row in TILEFLOW.insns if row.mnemonic not in ("halt", "end", "sem")]
    insns = [
        Instruction("sem", {"dst": dst, "count": draw(st.integers(0, (1 << 32) - 1))}, draw(locs))
        for dst in draw(st.lists(st.integers(0, program.machine.semaphores - 1), unique=True,
                                 max_size=3))
    ]  # fmt: skip
    depth = 0
    element_types = ElementTypes(program)
    for _ in range(draw(st.integers(0, 30))):
        legal = [row for row in free if _is_legal(row, program, depth)]
        closes = depth and draw(st.integers(0, 4)) == 0
        row = rows["end"] if closes else draw(st.sampled_from(legal))
        insn = draw(_instruction(row, program, depth))
        if list(element_types.step(insn)):  # operands or a constant of the wrong type
            continue
        insns.append(insn)
        depth += (row.mnemonic == "loop") - (row.mnemonic == "end")
    insns += [draw(_instruction(rows["end"], program, depth)) for _ in range(depth)]
    return (*insns, Instruction("halt", {}, draw(locs)))


def _is_legal(row: Insn, program: Program, depth: int) -> bool:
    if row.mnemonic == "loop":
        return depth < program.machine.loop_levels
    if row.mnemonic == "scalar":
        return depth == 0
    needs_tables = row.engine in (Engine.LOAD, Engine.STORE) and "tensor" in row.by_name
    return not needs_tables or bool(program.tensors and program.accesses)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A program that is well-formed, though not one that the verifier would let run."""
    arg_names = draw(st.lists(names, max_size=3, unique=True))
    args = [
        ArgSpec(n, draw(_shapes(0)), draw(st.sampled_from(Role)), draw(dtypes)) for n in arg_names
    ]
    const_names = draw(st.lists(names, max_size=3, unique=True))
    data = st.integers(0, 80).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))
    constants = [Constant(name, draw(data), draw(dtypes)) for name in const_names]
    scratch = draw(st.sampled_from([0, 4, 100000]))
    machine = draw(machines)
    program = Program(
        draw(names), machine, (), tuple(args),
        tuple(draw(st.lists(names, max_size=machine.scalars, unique=True))),
        tuple(draw(_tensors(args, constants, scratch))),
        tuple(draw(st.lists(accesses, max_size=3))), tuple(constants), scratch,
    )  # fmt: skip
    insns = draw(_text(program))
    last = len(insns) - 1
    buffers = [
        BufferInfo(name, 64 * i, 32, 1 + i % 3, i % (last + 1), last, draw(locs))
        for i, name in enumerate(draw(st.lists(names, max_size=3)))
    ]
    fields = {**vars(program), "insns": insns, "buffers": tuple(buffers)}
    return Program(**fields)
