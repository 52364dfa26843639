"""The cost model of the tile search: how many cycles a placed nest takes on a machine.

It follows doc/timing.md: DMA time by set-up, latency, bandwidth and bursts; EXEC time by
multiply-adds or lanes and what an instruction costs on top; their overlap, as far as ring depths,
queues and transfers under way allow; and what it takes to fill all of that. Unlike the simulator,
it knows no instructions, and it looks at few iterations of a loop: engines that wait for each other
soon repeat themselves, and whole periods are passed over then. The first iterations and the last
one, which may hang over an edge, are looked at one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from tileflow_tvm.frontend.tile_ir import Affine, Loop, Op, Program, Stmt, Var, walk
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import Engine
from tileflow_tvm.passes.cost import gemm_cycles, gemm_overhead, vector_cycles
from tileflow_tvm.passes.dram_walk import Walk

MOST_LOOKED_AT = 40
"""Iterations of a loop that are looked at while they do not repeat themselves."""

OPERAND_ISSUES = 2
"""Instructions that set up an operand's registers, in front of the loops."""

FREE_OF_FUNCTIONS = frozenset({
    "identity", "relu", "abs", "neg", "floor", "ceil", "round", "trunc", "sign", "isnan", "isinf",
    "isfinite",
})  # fmt: skip
"""Unary functions that take a lane one cycle; the others take `function_cycles`."""
BINARY_FUNCTIONS = frozenset({"div", "mod", "fmod", "pow", "floordiv"})
"""Binary functions that take `function_cycles`."""


@dataclass(frozen=True)
class Estimate:
    """What a program costs."""

    cycles: int
    instructions: int
    """That engines execute."""


def estimate(program: Program, machine: Machine) -> Estimate:
    """The cost of a program in which every buffer and semaphore has its place.

    Requires: pipeline has run; trip counts are constants, or follow from loop variables.
    """
    return _Model(program, machine).run()


@dataclass(eq=False)
class _Engine:
    """When an engine is ready for what comes next."""

    queue: deque[float]
    """Starts of the last instructions, as many as the queue has places."""
    under_way: deque[float]
    """Ends of the last transfers, as many as may be under way."""
    ready: float = 0
    ready_for_gemm: float = 0
    end: float = 0
    moved: float = 0
    """When the data of the last store have moved."""

    def shift(self, by: float) -> None:
        for times in (self.queue, self.under_way):
            shifted = [time + by for time in times]
            times.clear()
            times.extend(shifted)
        self.ready += by
        self.ready_for_gemm += by
        self.end += by
        self.moved += by


@dataclass(eq=False)
class _Step:
    """An operation."""

    engine: _Engine
    kind: Engine
    waits: tuple[deque[float], ...]
    posts: tuple[deque[float], ...]
    cost: Callable[[], int]
    array: bool = False


@dataclass(eq=False)
class _Round:
    """A loop: its body, and what the body changes."""

    var: Var
    extent: Affine
    body: list[_Step | _Round]
    engines: list[_Engine] = field(default_factory=list)
    tokens: list[deque[float]] = field(default_factory=list)
    transfers: bool = False


class _Model:
    def __init__(self, program: Program, machine: Machine) -> None:
        self.machine = machine
        self.at: dict[Var, int] = {}
        self.clock: float = 0
        self.done = 0
        """Steps."""
        self.given_out: float = 0
        """The end of DRAM's time that is given out."""
        self.engines: dict[tuple[Engine, int], _Engine] = {}
        self.tokens = [deque([0.0] * one.count) for one in program.semaphores]
        self.body = [step for stmt in program.body for step in self._planned(stmt, {})]
        operands = sum(len(op.regions) for op in program.ops)
        self.clock += operands * OPERAND_ISSUES * machine.issue_cycles
        self.latency = gemm_overhead(machine)

    def run(self) -> Estimate:
        self._all(self.body)
        end = max([self.clock, *(engine.end for engine in self.engines.values())])
        return Estimate(round(end), self.done)

    # What there is to do.

    def _planned(self, stmt: Stmt, trips: dict[Var, int]) -> list[_Step | _Round]:
        """`trips` are those of the loops around."""
        if isinstance(stmt, Op):
            return [self._step(stmt, trips)]
        if not isinstance(stmt, Loop):
            return []
        trips = trips | {stmt.var: stmt.extent.const if stmt.extent.is_const else 1}
        body = [step for child in stmt.body for step in self._planned(child, trips)]
        if not body:
            return []
        made = _Round(stmt.var, stmt.extent, body)
        ops = [op for op in walk(stmt.body) if isinstance(op, Op)]
        made.engines = list(dict.fromkeys(self._engine(op) for op in ops))
        numbers = dict.fromkeys(number for op in ops for number in op.waits + op.posts)
        made.tokens = [self.tokens[number] for number in numbers]
        made.transfers = any(op.name in ("load", "store") for op in ops)
        return [made]

    def _engine(self, op: Op) -> _Engine:
        unit = op.runs_on
        if unit not in self.engines:
            machine = self.machine
            self.engines[unit] = _Engine(
                deque(maxlen=machine.queue_depth), deque(maxlen=machine.dma_outstanding)
            )
        return self.engines[unit]

    def _step(self, op: Op, trips: dict[Var, int]) -> _Step:
        waits = tuple(self.tokens[number] for number in op.waits)
        posts = tuple(self.tokens[number] for number in op.posts)
        engine = self._engine(op)
        array = op.name == "gemm"
        return _Step(engine, op.runs_on.engine, waits, posts, self._cost(op, trips), array)

    def _value(self, form: Affine) -> int:
        return form.const + sum(self.at[var] * step for var, step in form.terms)

    def _cost(self, op: Op, trips: dict[Var, int]) -> Callable[[], int]:
        """Cycles of DRAM, or of EXEC, in the iteration that is looked at; -1 for a nop."""
        if op.name == "nop":
            return lambda: -1
        if op.name in ("load", "store"):
            return self._transfer_cost(op, trips)
        if all(extent.limit is None for extent in op.extents):
            cycles = self._exec_cycles(op, [extent.size for extent in op.extents])
            return lambda: cycles
        known: dict[tuple[int, ...], int] = {}

        def cost() -> int:
            sizes = tuple(
                extent.size if extent.limit is None
                else min(max(0, self._value(extent.limit)), extent.size)
                for extent in op.extents
            )  # fmt: skip
            if sizes not in known:
                known[sizes] = self._exec_cycles(op, list(sizes))
            return known[sizes]

        return cost

    def _transfer_cost(self, op: Op, trips: dict[Var, int]) -> Callable[[], int]:
        walked, machine = Walk(op, trips, self.machine), self.machine

        def cost() -> int:
            moved = walked.bursts(self._value) * machine.dram_burst_bytes
            return ceil(moved / machine.dram_bytes_per_cycle)

        if not walked.moves:
            cycles = cost()
            return lambda: cycles
        return cost

    def _exec_cycles(self, op: Op, sizes: list[int]) -> int:
        machine = self.machine
        if op.name == "gemm":
            m, n, k = sizes
            if m and n and k:
                return gemm_cycles(m, n, k, machine)
            return vector_cycles(m * n, machine) if m * n else 0
        m, n = sizes[:2]
        elements = m * n
        if op.name == "reduce":
            elements = max(elements, m if op.axis == "cols" else n)
        if not elements:
            return 0
        unary = op.name == "unary" and op.func not in FREE_OF_FUNCTIONS
        functions = unary or (op.name == "binary" and op.func in BINARY_FUNCTIONS)
        start = machine.vector_startup_cycles
        work = vector_cycles(elements, machine) - start
        return start + work * (machine.function_cycles if functions else 1)

    # When it is done.

    def _all(self, body: list[_Step | _Round]) -> None:
        for child in body:
            if isinstance(child, _Step):
                self._do(child)
            else:
                self._loop(child)

    def _do(self, step: _Step) -> None:
        machine, engine = self.machine, step.engine
        self.done += 1
        queue = engine.queue
        if len(queue) == queue.maxlen and queue[0] > self.clock:
            self.clock = queue[0]
        self.clock += machine.issue_cycles
        start = max(self.clock, engine.ready_for_gemm if step.array else engine.ready)
        for tokens in step.waits:
            start = max(start, tokens.popleft())
        cost = step.cost()
        if cost < 0:
            end = engine.ready = engine.ready_for_gemm = max(start, engine.end)
        elif step.kind is Engine.EXEC:
            end = max(start + cost, engine.end)
            engine.ready = engine.ready_for_gemm = end
            if step.array:
                engine.ready_for_gemm = start + max(cost - self.latency, self.latency)
        else:
            start, end = self._transfer(step, start, cost)
        engine.end = end
        queue.append(start)
        for tokens in step.posts:
            tokens.append(end + machine.semaphore_cycles)

    def _transfer(self, step: _Step, start: float, cost: int) -> tuple[float, float]:
        machine, engine = self.machine, step.engine
        under_way = engine.under_way
        if len(under_way) == under_way.maxlen:
            start = max(start, under_way[0])
        request = engine.ready = start + machine.dma_setup_cycles
        if not cost:
            end = request
        elif step.kind is Engine.LOAD:
            end = max(request + machine.dram_latency_cycles, self.given_out) + cost
            self.given_out = end
        else:
            data = max(request, self.given_out, engine.moved)
            self.given_out += cost
            engine.moved = data + cost
            end = engine.moved + machine.dram_latency_cycles
        end = max(end, engine.end)
        under_way.append(end)
        return start, end

    def _loop(self, loop: _Round) -> None:
        """The iterations, but for those in the middle that would repeat the ones before."""
        trips = self._value(loop.extent)
        self.clock += self.machine.issue_cycles
        seen: dict[object, int] = {}
        clocks: list[tuple[float, int]] = []
        at = 0
        while at < trips:
            self.at[loop.var] = at
            self._all(loop.body)
            self.clock += self.machine.issue_cycles
            at += 1
            rest = trips - 1 - at
            if rest < 1:
                continue
            state = self._state(loop)
            clocks.append((self.clock, self.done))
            before = seen.get(state)
            seen[state] = len(clocks)
            if before is None and len(clocks) < MOST_LOOKED_AT:
                continue
            # From here on it is as since the same state before, or about as in the last half.
            since = before or len(clocks) // 2
            turns = len(clocks) - since
            passed = rest // turns * turns if before else rest
            if passed:
                (clock, done), (start, done_then) = clocks[-1], clocks[since - 1]
                self._pass_over(loop, round((clock - start) * passed / turns))
                self.done += (done - done_then) * passed // turns
                at += passed
                seen.clear()
                clocks.clear()

    def _state(self, loop: _Round) -> object:
        """How far everything that the loop waits for is ahead of the sequencer."""
        clock = self.clock
        times = [self.given_out] if loop.transfers else []
        for engine in loop.engines:
            times += (*engine.queue, *engine.under_way, engine.ready, engine.ready_for_gemm)
            times += (engine.end, engine.moved)
        for tokens in loop.tokens:
            times += tokens
        return tuple([round(time - clock, 3) if time > clock else 0 for time in times])

    def _pass_over(self, loop: _Round, time: float) -> None:
        self.clock += time
        if loop.transfers:
            self.given_out += time
        for engine in loop.engines:
            engine.shift(time)
        for tokens in loop.tokens:
            shifted = [at + time for at in tokens]
            tokens.clear()
            tokens.extend(shifted)
