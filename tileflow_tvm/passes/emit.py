"""emit: a placed program becomes instructions."""

from __future__ import annotations

from dataclasses import dataclass, field

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import Buffer, Loop, NameSupply, Op, Program, Stmt, Var
from tileflow_tvm.isa import program as isa
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.element_types import ISA_NAME
from tileflow_tvm.passes.operands import Key, OperandForms, RegisterFile
from tileflow_tvm.passes.plan_sram import bytes_of


def emit(program: Program, machine: Machine) -> isa.Program:
    """The instructions of `program`.

    Requires: pipeline has run.
    Ensures: the result means what the operations mean, one by one in program order; the text's
    length does not depend on trip counts.
    """
    writer = _Writer(program, machine)
    return writer.run()


@dataclass
class _PlannedOp:
    """An instruction whose register operands are still keys."""

    op: Op
    fields: dict[str, int | float | str | Key]
    keys: frozenset[Key]


@dataclass
class _PlannedLoop:
    loop: Loop
    count: int | Key
    body: list[_PlannedOp | _PlannedLoop]
    keys: frozenset[Key]


@dataclass
class _Life:
    """First and last instruction that touch a buffer, for the debug section."""

    first: int
    last: int


@dataclass
class _Writer:
    program: Program
    machine: Machine
    insns: list[isa.Instruction] = field(default_factory=list)
    lives: dict[Buffer, _Life] = field(default_factory=dict)

    def run(self) -> isa.Program:
        forms = OperandForms(self.program, self.machine)
        plan = [self._plan(stmt, forms, {}) for stmt in self.program.body]
        for number, semaphore in enumerate(self.program.semaphores):
            if semaphore.count:
                self._add(isa.insn("sem", dst=number, count=semaphore.count))
        registers = RegisterFile(self.machine)
        for planned in plan:
            if planned:
                self._place(planned, registers)
        self._add(isa.insn("halt"))
        return isa.Program(
            name=self.program.name,
            machine=self.machine,
            insns=tuple(self.insns),
            args=_args(self.program),
            scalars=tuple(var.name for var in self.program.scalars),
            tensors=forms.tensors.specs(),
            accesses=forms.accesses.table(),
            scratch_bytes=_scratch_bytes(self.program, self.machine),
            buffers=tuple(self._info(buffer, life) for buffer, life in self.lives.items()),
        )

    def _plan(
        self, stmt: Stmt, forms: OperandForms, levels: dict[Var, int]
    ) -> _PlannedOp | _PlannedLoop | None:
        if isinstance(stmt, Op):
            fields = forms.fields(stmt, levels)
            keys = frozenset(v for v in fields.values() if isinstance(v, Key))
            return _PlannedOp(stmt, fields, keys | {key.coord for key in keys if key.coord})
        if not isinstance(stmt, Loop):
            return None
        if len(levels) >= self.machine.loop_levels:
            raise KernelError(
                f"loops nest deeper than the machine's {self.machine.loop_levels} levels",
                loc=stmt.loc,
                hint="merge two loops, or unroll the innermost by hand",
            )
        count = forms.trip_count(stmt, levels)
        inner = {**levels, stmt.var: len(levels)}
        body = [p for child in stmt.body if (p := self._plan(child, forms, inner))]
        keys = frozenset().union(*(planned.keys for planned in body))
        own = frozenset({count}) if isinstance(count, Key) else frozenset()
        return _PlannedLoop(stmt, count, body, keys | own)

    def _place(self, planned: _PlannedOp | _PlannedLoop, registers: RegisterFile) -> None:
        """Set the registers that `planned` needs in front of it where they all fit, else set
        those of each part in front of that part, inside the loop."""
        if registers.fits(planned.keys):
            self._set(planned.keys, registers)
            self._write(planned, registers)
            return
        if isinstance(planned, _PlannedOp):
            raise KernelError(
                "one operation needs more registers than the machine has",
                loc=planned.op.loc,
                hint="raise address_generators or extents in the machine file",
            )
        if isinstance(planned.count, Key):
            self._set(frozenset({planned.count}), registers)
        self._open(planned, registers)
        inside = RegisterFile(self.machine)
        for child in planned.body:
            self._place(child, inside)
        self._add(isa.insn("end", loc=planned.loop.loc))
        registers.forget()

    def _write(self, planned: _PlannedOp | _PlannedLoop, registers: RegisterFile) -> None:
        if isinstance(planned, _PlannedLoop):
            self._open(planned, registers)
            for child in planned.body:
                self._write(child, registers)
            self._add(isa.insn("end", loc=planned.loop.loc))
            return
        fields = {
            name: registers.number(value) if isinstance(value, Key) else value
            for name, value in planned.fields.items()
        }
        for region in planned.op.regions:
            if region.buffer.scope.on_chip:
                life = self.lives.setdefault(region.buffer, _Life(len(self.insns), 0))
                life.last = len(self.insns)
        mnemonic = str(fields.pop("mnemonic"))
        self._add(isa.insn(mnemonic, loc=planned.op.loc, **fields))

    def _open(self, planned: _PlannedLoop, registers: RegisterFile) -> None:
        loc = planned.loop.loc
        if isinstance(planned.count, Key):
            self._add(isa.insn("loop", loc=loc, by=registers.number(planned.count)))
        else:
            self._add(isa.insn("loop", loc=loc, count=planned.count))

    def _set(self, keys: frozenset[Key], registers: RegisterFile) -> None:
        for insn in registers.load(keys):
            self._add(insn)

    def _add(self, insn: isa.Instruction) -> None:
        self.insns.append(insn)

    def _info(self, buffer: Buffer, life: _Life) -> isa.BufferInfo:
        assert buffer.address is not None
        return isa.BufferInfo(
            buffer.name,
            buffer.address,
            bytes_of(buffer, self.machine),
            buffer.slots,
            life.first,
            life.last,
            buffer.loc,
        )


def _args(program: Program) -> tuple[isa.ArgSpec, ...]:
    roles = {"in": isa.Role.IN, "out": isa.Role.OUT, "inout": isa.Role.INOUT}
    names = NameSupply()
    return tuple(
        isa.ArgSpec(names.fresh(param.name), param.shape, roles[role], ISA_NAME[param.dtype])
        for param, role in zip(program.params, program.roles, strict=True)
    )


def _scratch_bytes(program: Program, machine: Machine) -> int:
    used = {region.buffer.storage for op in program.ops for region in op.regions}
    ends = [
        buffer.address + bytes_of(buffer, machine)
        for buffer in used
        if buffer.address is not None and not buffer.scope.on_chip
    ]
    return max(ends, default=0)
