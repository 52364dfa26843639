"""Model time a second time: slowly, in plain Python, written from doc/timing.md.

Shares no code with the simulator. Control flow and operands come from `isa_interpreter`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field

from isa_interpreter import Interpreter

from tileflow_tvm.isa.program import Program
from tileflow_tvm.isa.table import (
    AXES,
    BINARY_FUNCS,
    ITEM_BYTES,
    NO_REGISTER,
    UNARY_FUNCS,
    Engine,
)

SLOW = {"exp", "log", "sqrt", "rsqrt", "reciprocal", "tanh", "sigmoid", "erf", "sin", "cos",
        "gelu", "silu", "div", "mod", "fmod", "floordiv", "pow",
        "log2", "log10", "log1p", "expm1", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh",
        "acosh", "atanh"}  # fmt: skip
FREE = {"sem", "halt"}


def ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass
class Times:
    """Start and end of each instruction of an engine, and the ends of its transfers."""

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    transfer_ends: list[int] = field(default_factory=list)
    ready: int = 0
    ready_for_gemm: int = 0
    moved: int = 0


class Model(Interpreter):
    """Steps through a program with its registers, but without data."""

    def __init__(self, program: Program, scalars: tuple[int, ...] = ()):
        super().__init__(program, [], scalars)
        self.machine = program.machine
        self.clock = 0
        self.engines = {engine: Times() for engine in Engine}
        self.tokens: dict[int, list[int]] = defaultdict(list)
        self.taken: dict[int, int] = defaultdict(int)
        self.given_out = 0
        self.burst_bytes = 0
        self.asked_bytes = 0
        self.macs = 0
        self._pass_over_empty_loops()

    def _pass_over_empty_loops(self) -> None:
        """Loops with nothing in them but loops are no part of the program."""
        insns = list(self.program.insns)
        at = 0
        while at + 1 < len(insns):
            if insns[at].mnemonic == "loop" and insns[at + 1].mnemonic == "end":
                del insns[at : at + 2]
                at = max(0, at - 1)
            else:
                at += 1
        self.insns = insns

    def run(self) -> int:
        """The cycles of the program."""
        pc, stack = 0, []
        while (insn := self.insns[pc]).mnemonic != "halt":
            fields = insn.operands
            engine = self.program.isa.by_mnemonic[insn.mnemonic].engine
            if insn.mnemonic not in FREE:
                self.clock += self.machine.issue_cycles
            if insn.mnemonic == "loop":
                trips = fields["count"] if fields["by"] == NO_REGISTER else self.agen(fields["by"])
                if trips > 0:
                    stack.append([pc, trips])
                    self.levels.append(0)
                else:
                    pc = self._end_of(pc)
            elif insn.mnemonic == "end":
                self.levels[-1] += 1
                if self.levels[-1] < stack[-1][1]:
                    pc = stack[-1][0]
                else:
                    stack.pop()
                    self.levels.pop()
            elif insn.mnemonic == "sem":
                self.tokens[fields["dst"]] += [0] * fields["count"]
            elif engine is Engine.SEQUENCER:
                getattr(self, f"_{insn.mnemonic}")(fields)
            else:
                self._engine_insn(engine, insn.mnemonic, fields)
            pc += 1
        return max([self.clock] + [end for times in self.engines.values() for end in times.ends])

    def _end_of(self, loop: int) -> int:
        depth = 0
        for pc in itertools.count(loop):
            depth += {"loop": 1, "end": -1}.get(self.insns[pc].mnemonic, 0)
            if not depth:
                return pc
        raise AssertionError

    def _engine_insn(self, engine: Engine, mnemonic: str, f: dict) -> None:
        times = self.engines[engine]
        depth = self.machine.queue_depth
        if len(times.starts) >= depth:
            self.clock = max(self.clock, times.starts[-depth])
        array = mnemonic == "exec.gemm" and self._streams(f)
        start = max(self.clock, times.ready_for_gemm if array else times.ready)
        for wait in (f["wait0"], f["wait1"]):
            if wait != NO_REGISTER:
                start = max(start, self.tokens[wait][self.taken[wait]])
                self.taken[wait] += 1
        if mnemonic in ("load", "store"):
            start, end = self._transfer(engine, times, start, f)
        else:
            cycles = self._cycles(mnemonic, f)
            end = max([start + cycles, *times.ends[-1:]])
            times.ready = times.ready_for_gemm = end
            if array:
                latency = self.machine.mac_fill_cycles + self.machine.mac_drain_cycles
                times.ready_for_gemm = start + max(cycles - latency, latency)
        end = max([end, *times.ends[-1:]])
        times.starts.append(start)
        times.ends.append(end)
        if mnemonic in ("load", "store"):
            times.transfer_ends.append(end)
        for post in (f["post0"], f["post1"]):
            if post != NO_REGISTER:
                self.tokens[post].append(end + self.machine.semaphore_cycles)

    def _streams(self, f: dict) -> bool:
        """Whether a gemm uses the array."""
        return bool(self.ext(f["m"]) and self.ext(f["n"]) and self.ext(f["k"]))

    def _cycles(self, mnemonic: str, f: dict) -> int:
        if mnemonic.endswith("nop"):
            return 0
        m, n = self.ext(f["m"]), self.ext(f["n"])
        if mnemonic == "exec.gemm":
            return self._gemm(m, n, self.ext(f["k"]), f)
        each = 1
        if mnemonic == "exec.reduce":
            results, length = (m, n) if AXES[f["axis"]] == "cols" else (n, m)
            if not results or not (length or self.clears(f)):
                return 0
            return self._elements(max(m * n, results))
        if mnemonic == "exec.unary" and UNARY_FUNCS[f["func"]] in SLOW:
            each = self.machine.function_cycles
        if mnemonic == "exec.binary" and BINARY_FUNCS[f["func"]] in SLOW:
            each = self.machine.function_cycles
        return self._elements(m * n, each) if m * n else 0

    def _elements(self, count: int, each: int = 1) -> int:
        lanes = self.machine.vector_lanes
        return self.machine.vector_startup_cycles + ceil(count, lanes) * each

    def _gemm(self, m: int, n: int, k: int, f: dict) -> int:
        if not m * n or not (k or self.clears(f)):
            return 0
        if k == 0:
            return self._elements(m * n)
        self.macs += m * n * k
        tile = self.tile
        work = m * ceil(k, tile) * ceil(n, tile) * tile * tile
        fill, drain = self.machine.mac_fill_cycles, self.machine.mac_drain_cycles
        return fill + ceil(work, self.machine.macs_per_cycle) + drain

    def _transfer(self, engine: Engine, times: Times, start: int, f: dict) -> tuple[int, int]:
        machine = self.machine
        if len(times.transfer_ends) >= machine.dma_outstanding:
            start = max(start, times.transfer_ends[-machine.dma_outstanding])
        request = times.ready = start + machine.dma_setup_cycles
        size = self._bursts(f) * machine.dram_burst_bytes
        if not size:
            return start, request
        self.burst_bytes += size
        cycles = ceil(size, machine.dram_bytes_per_cycle)
        if engine is Engine.LOAD:
            data = max(request + machine.dram_latency_cycles, self.given_out)
            self.given_out = data + cycles
            return start, data + cycles
        data = max(request, self.given_out, times.moved)
        self.given_out += cycles
        times.moved = data + cycles
        return start, data + cycles + machine.dram_latency_cycles

    def _bursts(self, f: dict) -> int:
        """Element by element."""
        spec = self.program.tensors[f["tensor"]]
        item = ITEM_BYTES[spec.dtype]
        pattern = self.program.accesses[f["access"]]
        if any(dim.extent == 0 for dim in pattern.dims):
            return 0
        dims = [dim for side in (False, True) for dim in pattern.dims if dim.column is side]
        dims = [dim for dim in dims if dim.tensor_dim >= 0]
        dims.sort(key=lambda dim: -abs(dim.step * spec.strides[dim.tensor_dim]))
        origin = [self.agen(f[f"c{d}"]) for d in range(len(spec.shape))]
        bursts, elements, last = 0, 0, None
        ranges = [range(1 if dim.step == 0 else dim.extent) for dim in dims]
        for index in itertools.product(*ranges):
            at = list(origin)
            for dim, i in zip(dims, index, strict=True):
                at[dim.tensor_dim] += dim.step * i
            if not all(0 <= x < size for x, size in zip(at, spec.shape, strict=True)):
                continue
            element = sum(x * stride for x, stride in zip(at, spec.strides, strict=True))
            burst = (spec.storage.offset + item * element) // self.machine.dram_burst_bytes
            bursts += burst != last
            elements += 1
            last = burst
        self.asked_bytes += min(item * elements, bursts * self.machine.dram_burst_bytes)
        return bursts


def cycles(program: Program, scalars: tuple[int, ...] = ()) -> int:
    return Model(program, scalars).run()
