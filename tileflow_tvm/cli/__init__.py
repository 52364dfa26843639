"""The `tileflow` command."""

from tileflow_tvm.cli.app import main

__all__ = ["main"]
