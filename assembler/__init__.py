"""Text ⇄ program: `assemble(disassemble(program)) == program`, to the last byte of its binary."""

from tileflow_tvm.assembler.parser import assemble
from tileflow_tvm.assembler.printer import disassemble

__all__ = ["assemble", "disassemble"]
