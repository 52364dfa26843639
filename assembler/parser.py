"""Assembly text to a program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tileflow_tvm.errors import AssemblyError
from tileflow_tvm.isa.program import Instruction, Program
from tileflow_tvm.isa.table import NO_REGISTER, Insn, Kind
from tileflow_tvm.isa.validate import Problem, Walk, buffer_problems, table_problems

from .cursor import Cursor, nearest
from .directives import DIRECTIVES, Draft, directive, place
from .lexer import Line, Tok, Token, lines
from .operands import REGISTER, Operands, operands, usage
from .syntax import SUFFIX, form_of, mnemonics


def assemble(text: str, filename: str = "<asm>") -> Program:
    """The program that the text says; raises AssemblyError at the first thing wrong."""
    return _Parser(text, filename).program()


LOOP_FORM = "loop 12 { ... }, loop a3 { ... }, or loop L0, 12 ... end L0"


@dataclass
class _OpenLoop:
    line: Line
    token: Token
    label: str
    braced: bool


class _Parser:
    """One pass over the lines; nesting is a list, so that depth costs nothing."""

    def __init__(self, text: str, filename: str) -> None:
        self.cursor = Cursor(lines(text, filename), filename)
        self.draft = Draft()
        self.mnemonics = mnemonics(self.draft.isa)
        self.insns: list[Instruction] = []
        self.loops: list[_OpenLoop] = []
        self.labels: dict[str, int] = {}
        """The line on which each label was given."""
        self.walk: Walk | None = None
        """Checks the instructions; there is one as soon as the directives are over."""

    def program(self) -> Program:
        while self.cursor.next_line():
            self._statement()
        walk = self.walk or self._begin_text()
        if self.loops:
            loop = self.loops[-1]
            closing = "}" if loop.braced else "end"
            raise loop.line.error("this loop is never closed", loop.token.col, f"add '{closing}'")
        for problem in walk.finish():
            raise self.cursor.error(problem.what, self.cursor.line.tokens[0], "add 'halt'")
        program = replace(walk.program, insns=tuple(self.insns))
        self._refuse(buffer_problems(program))
        return program

    def _statement(self) -> None:
        token, line = self.cursor.token, self.cursor.line
        try:
            self._read_statement(token)
        except AssemblyError as error:
            raise error if error.hint else error.but(hint=self._form(line, token)) from None

    def _form(self, line: Line, token: Token) -> str:
        """How the statement that begins with `token` is written."""
        if token.text in DIRECTIVES:
            return f"it is written: {DIRECTIVES[token.text].form}"
        if token.text in ("loop", "end", "}"):
            return LOOP_FORM
        row = self.mnemonics.get(token.text)
        if row is not None:
            return usage(form_of(row[0]))
        return f"line {line.number} is to begin with a directive or an instruction"

    def _read_statement(self, token: Token) -> None:
        if token.tok is Tok.DIRECTIVE:
            if token.text not in DIRECTIVES:
                hint = nearest(token.text, DIRECTIVES)
                raise self.cursor.error(f"unknown directive {token.shown()}", hint=hint)
            if self.walk is not None:
                hint = "move it to the front of the file"
                raise self.cursor.error("directives come before the first instruction", hint=hint)
            directive(self.draft, self.cursor)
            return
        walk = self.walk or self._begin_text()
        if token.tok is Tok.MARK and token.text == "}":
            self._close(self.cursor.take(), braced=True, walk=walk)
        elif token.text == "loop":
            self._loop(self.cursor.take(), walk)
        elif token.text == "end":
            self._close(self.cursor.take(), braced=False, walk=walk)
        else:
            self._instruction(walk)
        self.cursor.end()

    def _begin_text(self) -> Walk:
        """The directives are over: what they say is checked as a whole."""
        if self.draft.machine is None:
            hint = "say for which machine this is, as in: .machine tileflow"
            raise self.cursor.error("there is no .machine", self.cursor.line.tokens[0], hint)
        program = self.draft.program(self.draft.machine)
        self._refuse(table_problems(program))
        self.walk = Walk(program)
        return self.walk

    def _refuse(self, found: Iterable[Problem]) -> None:
        """Raises the first problem of a table at its directive."""
        directives = {"name": ".program", "scratch_bytes": ".scratch"}
        for problem in found:
            key = directives.get(problem.table, problem.table), problem.index
            line, col = self.draft.places.get(key, (self.cursor.line, 1))
            hint = problem.hint or self._form(line, line.tokens[0])
            raise line.error(problem.what, col, hint)

    def _instruction(self, walk: Walk) -> None:
        token = self.cursor.take()
        if token.tok is not Tok.WORD:
            what = f"expected an instruction, found {token.shown()}"
            raise self.cursor.error(what, token)
        row, func = self._row(token)
        found = operands(self.draft, self.cursor, form_of(row))
        if SUFFIX in row.by_name:
            found.values[SUFFIX] = func
        self._add(walk, row, found, token)

    def _row(self, token: Token) -> tuple[Insn, int]:
        found = self.mnemonics.get(token.text)
        if found is None:
            near = nearest(token.text, self.mnemonics)
            if token.text in self.draft.isa.by_mnemonic:
                words = [word for word in self.mnemonics if word.startswith(f"{token.text}.")]
                near = f"say what it computes: {', '.join(words)}"
            raise self.cursor.error(f"unknown instruction {token.shown()}", token, near)
        return found

    def _add(self, walk: Walk, row: Insn, found: Operands, token: Token) -> None:
        loc = place(self.draft, self.cursor)
        insn = Instruction(
            row.mnemonic, {spec.name: found.values[spec.name] for spec in row.fields}, loc
        )
        for problem in walk.step(insn):
            at = found.tokens.get(problem.operand, token)
            raise self.cursor.error(problem.what, at, problem.hint)
        self.insns.append(insn)

    def _loop(self, token: Token, walk: Walk) -> None:
        """`loop 12 {`, `loop a3 {`, or `loop L0, 12` that an `end L0` closes."""
        cursor = self.cursor
        label = self._label() if cursor.ahead(1).text == "," else ""
        found = Operands()
        row = self.draft.isa.by_mnemonic["loop"]
        found.values = {spec.name: spec.default or 0 for spec in row.fields}
        found.tokens = {spec.name: cursor.token for spec in row.fields}
        if cursor.token.tok is Tok.NUMBER:
            found.values["count"] = cursor.integer("a number of trips")
            high = row.by_name["count"].bounds[1]
            if not 0 <= found.values["count"] <= high:
                raise cursor.error(f"the trips are outside 0..{high}", found.tokens["count"])
        else:
            found.values["by"] = self._trips(row)
        braced = cursor.accept("{")
        if braced and label:
            raise cursor.error("a loop has a label or braces, not both", token)
        self._add(walk, row, found, token)
        self.loops.append(_OpenLoop(cursor.line, token, label, braced))

    def _trips(self, row: Insn) -> int:
        token = self.cursor.token
        match = REGISTER.fullmatch(token.text)
        if match is None or match[1] != "a" or int(match[2]) >= NO_REGISTER:
            what = f"the trips are a number or an {Kind.AGEN.value}, not {token.shown()}"
            raise self.cursor.error(what, token, LOOP_FORM)
        self.cursor.take()
        number = int(match[2])
        row.by_name["by"].pack(number)
        return number

    def _label(self) -> str:
        token = self.cursor.token
        if token.tok is not Tok.WORD or REGISTER.fullmatch(token.text):
            raise self.cursor.error(f"expected a label, found {token.shown()}")
        if token.text in self.labels:
            what = f"a second label {token.shown()}"
            hint = f"the first is on line {self.labels[token.text]}"
            raise self.cursor.error(what, token, hint)
        self.labels[token.text] = self.cursor.line.number
        self.cursor.take()
        self.cursor.expect(",")
        return token.text

    def _close(self, token: Token, *, braced: bool, walk: Walk) -> None:
        """`}`, `end`, or `end L0`."""
        cursor = self.cursor
        label = cursor.token
        if not braced and label.tok is Tok.WORD:
            cursor.take()
        self._match(token, label if label.tok is Tok.WORD else None, braced)
        self._add(walk, self.draft.isa.by_mnemonic["end"], Operands(), token)
        self.loops.pop()

    def _match(self, token: Token, label: Token | None, braced: bool) -> None:
        """Refuses a closing that is not the innermost loop's."""
        cursor = self.cursor
        if label is not None and label.text not in self.labels:
            hint = nearest(label.text, self.labels)
            raise cursor.error(f"no loop has the label {label.shown()}", label, hint)
        if not self.loops:
            raise cursor.error(f"{token.shown()} without a loop", token)
        loop = self.loops[-1]
        opened = f"the loop of line {loop.line.number}"
        if braced != loop.braced:
            expected = "'}'" if loop.braced else "'end'"
            raise cursor.error(f"{opened} is closed by {expected}, not by {token.shown()}", token)
        if label is not None and label.text != loop.label:
            inner = f"has the label '{loop.label}'" if loop.label else "has no label"
            raise cursor.error(f"the innermost loop, {opened}, {inner}", label)
