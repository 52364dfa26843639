"""Text ⇄ program: `assemble(disassemble(program)) == program`, to the last byte of its binary."""

from .parser import assemble
from .printer import disassemble

__all__ = ["assemble", "disassemble"]
