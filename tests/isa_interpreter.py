"""The meaning of a program in plain NumPy: one instruction after the other, nothing overlapped.

An oracle for what the compiler emits and for what the simulator computes, sharing code with
neither. SRAM starts as NaN (of an integer type, -1), so that a value nobody wrote shows.
"""

from __future__ import annotations

import itertools
import math

import elementwise_numpy
import ml_dtypes
import numpy as np

from tileflow_tvm.isa.program import Program, Role, StorageKind, f32_value
from tileflow_tvm.isa.table import (
    AXES,
    BINARY_FUNCS,
    CLEAR_MODES,
    DTYPE_FACTS,
    DTYPES,
    NO_REGISTER,
    OPERAND_MODES,
    REDUCE_FUNCS,
    SCALAR_FUNCS,
    SEMIRINGS,
    UNARY_FUNCS,
)

NUMPY = {d.name: np.dtype(getattr(ml_dtypes, d.numpy, d.numpy)) for d in DTYPE_FACTS}

_erf = np.vectorize(math.erf, otypes=[np.float64])

UNARY = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "abs": np.abs,
    "neg": np.negative,
    "sin": np.sin,
    "cos": np.cos,
    "erf": _erf,
    "gelu": lambda x: x / 2 * (1 + _erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    **elementwise_numpy.UNARY,
}
BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    **elementwise_numpy.BINARY,
}
REDUCE = {"sum": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply}
SEMIRING = {
    "mul_add": (np.multiply, np.add),
    "add_min": (np.add, np.minimum),
    "add_max": (np.add, np.maximum),
    "mul_max": (np.multiply, np.maximum),
    "mul_min": (np.multiply, np.minimum),
}
EMPTY = {np.minimum: np.inf, np.maximum: -np.inf}
SCALAR = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "min": min,
    "max": max,
}


class Interpreter:
    """Runs one program on one set of arrays."""

    def __init__(self, program: Program, arrays: list[np.ndarray], scalars: tuple[int, ...] = ()):
        self.program = program
        self.tile = program.machine.tile
        self.sram = np.full(program.machine.sram_bytes, 0xFF, np.uint8)
        self.scratch = np.full(-(-program.scratch_bytes // 4) * 4, 0xFF, np.uint8)
        self.flat = [np.ascontiguousarray(array).reshape(-1) for array in arrays]
        self.scalars = list(scalars) + [0] * 16
        self.agens: dict[int, dict] = {}
        self.exts: dict[int, dict] = {}
        self.levels: list[int] = []

    def run(self) -> None:
        insns = self.program.insns
        stack: list[list[int]] = []
        pc = 0
        while insns[pc].mnemonic != "halt":
            insn = insns[pc]
            fields = insn.operands
            if insn.mnemonic == "loop":
                by = fields["by"]
                trips = fields["count"] if by == NO_REGISTER else max(0, self.agen(by))
                if trips:
                    stack.append([pc, trips])
                    self.levels.append(0)
                else:
                    pc = self._matching_end(pc)
            elif insn.mnemonic == "end":
                start, trips = stack[-1]
                self.levels[-1] += 1
                if self.levels[-1] < trips:
                    pc = start
                else:
                    stack.pop()
                    self.levels.pop()
            else:
                getattr(self, "_" + insn.mnemonic.replace(".", "_"))(fields)
            pc += 1

    def _matching_end(self, pc: int) -> int:
        depth = 0
        for at in itertools.count(pc):
            depth += {"loop": 1, "end": -1}.get(self.program.insns[at].mnemonic, 0)
            if not depth:
                return at
        raise AssertionError

    def agen(self, number: int) -> int:
        if number == NO_REGISTER:
            return 0
        gen = self.agens[number]
        walk = 0
        for source, step in gen["terms"]:
            walk += step * (self.levels[source] if source < 16 else self.scalars[source - 16])
        return gen["base"] + (walk % gen["wrap"] if gen["wrap"] else walk)

    def ext(self, number: int) -> int:
        ext = self.exts[number]
        return min(max(ext["limit"] - self.agen(ext["coord"]), 0), ext["max"])

    def where(self, number: int, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
        """SRAM as elements of the operand's type, and the indices of a rows x cols operand."""
        dtype = NUMPY[DTYPES[self.agens[number]["dtype"]]]
        base, rest = divmod(self.agen(number), dtype.itemsize)
        assert not rest
        return self.sram.view(dtype), self._elements(number, base, rows, cols)

    def read(self, number: int, rows: int, cols: int) -> np.ndarray:
        """An operand; exact in float64, but for sums of integers, which are int64."""
        sram, where = self.where(number, rows, cols)
        return sram[where].astype(np.int64 if sram.dtype.kind == "i" else np.float64)

    def write(self, number: int, rows: int, cols: int, values: np.ndarray) -> None:
        sram, where = self.where(number, rows, cols)
        sram[where] = values

    def _elements(self, number: int, base: int, rows: int, cols: int) -> np.ndarray:
        pitch = self.agens[number]["pitch"]
        row, col = np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij")
        if not pitch:
            return base + row * cols + col
        tile = self.tile
        grid = (row // tile * pitch + col // tile) * tile * tile
        return base + grid + row % tile * tile + col % tile

    def _sem(self, fields):
        pass

    def _load_nop(self, fields):
        pass

    _exec_nop = _store_nop = _load_nop

    def _scalar(self, f):
        rhs = f["imm"] if f["rhs"] == NO_REGISTER else self.scalars[f["rhs"]]
        self.scalars[f["dst"]] = SCALAR[SCALAR_FUNCS[f["func"]]](self.scalars[f["lhs"]], rhs)

    def _agen(self, f):
        self.agens[f["dst"]] = {**f, "terms": []}

    def _stride(self, f):
        self.agens[f["dst"]]["terms"].append((f["source"], f["step"]))

    def _ext(self, f):
        self.exts[f["dst"]] = dict(f)

    def _box(self, f, operand):
        spec = self.program.tensors[f["tensor"]]
        pattern = self.program.accesses[f["access"]]
        dtype = NUMPY[spec.dtype]
        memory = self.scratch.view(dtype)
        if spec.storage.kind is StorageKind.ARG:
            memory = self.flat[spec.storage.index]
        elif spec.storage.kind is StorageKind.CONST:
            memory = np.frombuffer(self.program.constants[spec.storage.index].data, dtype)
        shape = tuple(dim.extent for dim in pattern.dims)
        index = np.indices(shape).reshape(len(shape), -1)
        row = np.zeros(index.shape[1], int)
        col = np.zeros(index.shape[1], int)
        coords = [np.full(index.shape[1], self.agen(f[f"c{d}"])) for d in range(spec.rank)]
        for at, dim in enumerate(pattern.dims):
            if dim.column:
                col = col * dim.extent + index[at]
            else:
                row = row * dim.extent + index[at]
            if dim.tensor_dim >= 0:
                coords[dim.tensor_dim] = coords[dim.tensor_dim] + dim.step * index[at]
        inside = np.ones(index.shape[1], bool)
        offset = np.full(index.shape[1], spec.storage.offset // dtype.itemsize)
        for coord, size, step in zip(coords, spec.shape, spec.strides, strict=True):
            inside &= (coord >= 0) & (coord < size)
            offset = offset + coord * step
        sram, where = self.where(f[operand], pattern.rows, pattern.cols)
        assert sram.dtype == dtype
        return memory, offset, inside, sram, where[row, col]

    def _load(self, f):
        memory, offset, inside, sram, where = self._box(f, "dst")
        sram[where] = f32_value(f["fill"])
        sram[where[inside]] = memory[offset[inside]]

    def _store(self, f):
        memory, offset, inside, sram, where = self._box(f, "src")
        memory[offset[inside]] = sram[where[inside]]

    def clears(self, f) -> bool:
        mode = CLEAR_MODES[f["clear"]]
        return mode == "always" or (mode == "at0" and self.levels[f["level"]] == 0)

    def _exec_gemm(self, f):
        m, n, k = (self.ext(f[name]) for name in "mnk")
        lhs = self.read(f["lhs"], *((k, m) if f["ta"] else (m, k)))
        rhs = self.read(f["rhs"], *((n, k) if f["tb"] else (k, n)))
        lhs, rhs = (lhs.T if f["ta"] else lhs), (rhs.T if f["tb"] else rhs)
        times, plus = SEMIRING[SEMIRINGS[f["semiring"]]]
        if plus is np.add:
            start = 0 if self.clears(f) else self.read(f["dst"], m, n)
            result = start + lhs @ rhs
        else:  # products are rounded to float32 before the choice, which may overflow
            products = times(lhs[:, :, None], rhs[None]).astype(np.float32).astype(np.float64)
            result = plus.reduce(products, axis=1, initial=EMPTY[plus])
            if not self.clears(f):
                result = plus(self.read(f["dst"], m, n), result)
        if result.dtype == np.int64:
            result = result.astype(np.int32)  # modulo 2^32
        self.write(f["dst"], m, n, result)

    def _exec_unary(self, f):
        m, n = self.ext(f["m"]), self.ext(f["n"])
        src = self.read(f["src"], m, n)
        if src.dtype != np.int64:
            src = src * f32_value(f["scale"]) + f32_value(f["bias"])
        self.write(f["dst"], m, n, wrapped(UNARY[UNARY_FUNCS[f["func"]]](src)))

    def _exec_binary(self, f):
        m, n = self.ext(f["m"]), self.ext(f["n"])
        lhs, rhs = (self.operand(f, side, m, n) for side in ("lhs", "rhs"))
        result = wrapped(BINARY[BINARY_FUNCS[f["func"]]](lhs, rhs))
        self.write(f["dst"], m, n, np.broadcast_to(result, (m, n)))

    def _exec_select(self, f):
        m, n = self.ext(f["m"]), self.ext(f["n"])
        cond, a, b = (self.operand(f, side, m, n) for side in ("cond", "a", "b"))
        self.write(f["dst"], m, n, np.broadcast_to(np.where(cond != 0, a, b), (m, n)))

    def operand(self, f, side, m, n):
        """An operand of an m x n result, as an array that broadcasts to it."""
        mode = OPERAND_MODES[f[side[0] + "mode"]]
        if mode == "imm":
            integer = DTYPES[self.agens[f["dst"]]["dtype"]] == "i32"
            value = np.uint32(f["imm"]).view(np.int32 if integer else np.float32)
            return np.array([[value]]).astype(np.int64 if integer else np.float64)
        rows, cols = {"full": (m, n), "row": (1, n), "col": (m, 1), "scalar": (1, 1)}[mode]
        return self.read(f[side], rows, cols)

    def _exec_reduce(self, f):
        m, n = self.ext(f["m"]), self.ext(f["n"])
        along_cols = AXES[f["axis"]] == "cols"
        ufunc = REDUCE[REDUCE_FUNCS[f["func"]]]
        src = self.read(f["src"], m, n)
        shape = (m, 1) if along_cols else (1, n)
        neutral = {"max": -np.inf, "min": np.inf}.get(REDUCE_FUNCS[f["func"]])
        kwargs = {} if neutral is None else {"initial": neutral}
        value = ufunc.reduce(src, axis=1 if along_cols else 0, **kwargs).reshape(shape)
        if not self.clears(f):
            value = ufunc(self.read(f["dst"], *shape), value)
        self.write(f["dst"], *shape, value)

    def _exec_fill(self, f):
        sram, where = self.where(f["dst"], self.ext(f["m"]), self.ext(f["n"]))
        sram[where] = f32_value(f["value"])

    def _exec_transpose(self, f):
        m, n = self.ext(f["m"]), self.ext(f["n"])
        self.write(f["dst"], n, m, self.read(f["src"], m, n).T)

    def _form(self, f):
        m, n = self.ext(f["m"]), self.ext(f["n"])
        row, col = np.meshgrid(np.arange(m), np.arange(n), indexing="ij")
        return m, n, self.agen(f["base"]) + row * f["rstep"] + col * f["cstep"]

    def _exec_affine_select(self, f):
        m, n, form = self._form(f)
        self.write(f["dst"], m, n, np.where(form >= 0, self.read(f["src"], m, n),
                                            f32_value(f["value"])))  # fmt: skip

    def _exec_iota(self, f):
        m, n, form = self._form(f)
        sram, where = self.where(f["dst"], m, n)
        sram[where] = form.astype(np.int64).astype(sram.dtype)

    def _exec_cast(self, f):
        m, n = self.ext(f["m"]), self.ext(f["n"])
        values = self.read(f["src"], m, n).astype(np.float32)
        to = DTYPES[self.agens[f["dst"]]["dtype"]]
        self.write(f["dst"], m, n, converted(values * np.float32(f32_value(f["scale"])), to))


def wrapped(values: np.ndarray) -> np.ndarray:
    """Integers modulo 2^32; others as they are."""
    return values.astype(np.int32) if values.dtype == np.int64 else values


def converted(values: np.ndarray, dtype: str) -> np.ndarray:
    """float32 `values` in an element type: to the nearest even, saturating, 0 for NaN."""
    target = NUMPY[dtype]
    if target.kind != "i":
        return values.astype(target)
    info = np.iinfo(target)
    wide = np.rint(np.where(np.isnan(values), 0, values).astype(np.float64))
    return np.clip(wide, info.min, info.max).astype(target)


def interpret(
    program: Program, *inputs: np.ndarray, scalars: tuple[int, ...] = ()
) -> list[np.ndarray]:
    """What `program` makes of `inputs` (its in and inout arguments, in order): its out and inout
    arguments, in order."""
    given = iter(inputs)
    arrays = []
    for arg in program.args:
        if arg.role is Role.OUT:
            size = int(np.prod(arg.shape)) * NUMPY[arg.dtype].itemsize
            unset = np.full(size, 0xFF, np.uint8).view(NUMPY[arg.dtype])
            arrays.append(unset.reshape(arg.shape))
        else:
            arrays.append(np.array(next(given), NUMPY[arg.dtype]))
            assert arrays[-1].shape == arg.shape
    with np.errstate(all="ignore"):
        interpreter = Interpreter(program, arrays, scalars)
        interpreter.run()
    return [
        flat.reshape(arg.shape)
        for arg, flat in zip(program.args, interpreter.flat, strict=True)
        if arg.role is not Role.IN
    ]
