"""The primitives under T.tf: names, canonical forms, and that `import tvm` is enough."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import tvm
from marked_source import load, write_source
from tvm.ir import Op as TvmOp
from tvm.script import tirx as T

from tileflow_tvm.frontend.language import register
from tileflow_tvm.frontend.ops import OP_PREFIX, OPS, SUGAR
from tileflow_tvm.frontend.read import read
from tileflow_tvm.frontend.tile_ir import Clear, Op, Region
from tileflow_tvm.frontend.tvm_ops import TVM_OPS, TVM_PREFIX
from tileflow_tvm.isa.table import BINARY_FUNCS, REDUCE_FUNCS, TILEFLOW, UNARY_FUNCS, Engine

ROOT = Path(__file__).resolve().parents[1]

BLOCKS = """
a = T.alloc_buffer((32, 64))
b = T.alloc_buffer((32, 64))
v = T.alloc_buffer((64,))
"""


def op_of(tmp_path: Path, call: str, count: int = 1) -> Op:
    """The only (or the last of `count`) operation that `call` makes."""
    ops = read(load(write_source(tmp_path, BLOCKS + call + "\n"))).ops
    assert len(ops) == count
    return ops[-1]


def operands(op: Op) -> list[object]:
    sources = [src.buffer.name if isinstance(src, Region) else src for src in op.srcs]
    return [op.dst.buffer.name, *sources]


def test_every_function_of_the_isa_has_a_name():
    named = {(base, func) for base, func in SUGAR.values()}
    assert named == {
        *(("unary", func) for func in UNARY_FUNCS), *(("binary", func) for func in BINARY_FUNCS),
        *(("reduce", func) for func in REDUCE_FUNCS),
    }  # fmt: skip
    assert not set(SUGAR) & set(OPS)


def test_every_engine_instruction_has_a_primitive():
    engines = {insn.mnemonic for insn in TILEFLOW.insns if insn.engine is not Engine.SEQUENCER}
    primitives = {
        spec.name if spec.name in ("load", "store") else f"exec.{spec.name}"
        for spec in OPS.values() if spec.engine
    }  # fmt: skip
    assert engines - {"load.nop", "exec.nop", "store.nop"} == primitives


@pytest.mark.parametrize("name", [*OPS, *SUGAR])
def test_every_primitive_is_documented(name):
    function = getattr(T.tf, name)
    assert function.__name__ == name
    assert len(inspect.getdoc(function)) > 10
    parameters = inspect.signature(function).parameters
    spec = OPS[name] if name in OPS else OPS[SUGAR[name][0]]
    assert [key for key in parameters][: len(spec.args)] == list(spec.args)


@pytest.mark.parametrize("name", OPS)
def test_the_registered_operator_has_the_documentation_too(name):
    op = TvmOp.get(OP_PREFIX + name)
    assert op.get_attr("TIRxOpCategory") == "tile_primitive"
    assert op.get_attr("TScriptPrinterName") == f"tf.{name}"


@pytest.mark.parametrize(
    ("call", "name", "func", "names"),
    [
        ("T.tf.relu(a, b)", "unary", "relu", ["a", "b"]),
        ("T.tf.relu(a)", "unary", "relu", ["a", "a"]),
        ("T.tf.exp(dst=a, src=b)", "unary", "exp", ["a", "b"]),
        ("T.tf.add(a, b, v)", "binary", "add", ["a", "b", "v"]),
        ("T.tf.add(a, v)", "binary", "add", ["a", "a", "v"]),
        ("T.tf.maximum(a, 0)", "binary", "max", ["a", "a", 0.0]),
        ("T.tf.minimum(a, 2.5, b)", "binary", "min", ["a", 2.5, "b"]),
        ("T.tf.max(v, a, axis=0)", "reduce", "max", ["v", "a"]),
        ("T.tf.prod(v, a, axis='rows')", "reduce", "prod", ["v", "a"]),
        ("T.tf.fill(a, 3)", "fill", "", ["a"]),
        ("T.tf.fill(a, value=3)", "fill", "", ["a"]),
        ("T.tf.mul(a, a, v[3])", "binary", "mul", ["a", "a", "v"]),
        ("T.tile.zero(a)", "fill", "", ["a"]),
        ("T.tile.fill(a, 2.0)", "fill", "", ["a"]),
        ("T.tile.memset(a, 2.0)", "fill", "", ["a"]),
        ("T.tile.add(a, b, v)", "binary", "add", ["a", "b", "v"]),
        ("T.tile.sub(a, b, v)", "binary", "sub", ["a", "b", "v"]),
        ("T.tile.mul(a, b, 2.0)", "binary", "mul", ["a", "b", 2.0]),
        ("T.tile.minimum(a, b, v)", "binary", "min", ["a", "b", "v"]),
        ("T.tile.sqrt(a, b)", "unary", "sqrt", ["a", "b"]),
        ("T.tile.max(v, a, 0)", "reduce", "max", ["v", "a"]),
        ("T.tile.min(v, a, 0)", "reduce", "min", ["v", "a"]),
        ("T.tile.fdiv(a, b, v)", "binary", "div", ["a", "b", "v"]),
        ("T.tile.maximum(a, b, v)", "binary", "max", ["a", "b", "v"]),
        ("T.tile.exp(a, b)", "unary", "exp", ["a", "b"]),
        ("T.tile.reciprocal(a, b)", "unary", "reciprocal", ["a", "b"]),
        ("T.tile.sum(v, a, 0)", "reduce", "sum", ["v", "a"]),
        ("T.tile.copy(a, b)", "copy", "", ["a", "b"]),
        ("T.tile.cast(a, b)", "copy", "", ["a", "b"]),
    ],
)
def test_what_a_call_means(tmp_path, call, name, func, names):
    op = op_of(tmp_path, call)
    assert (op.name, op.func) == (name, func)
    assert operands(op) == names
    assert op.engine is OPS[name].engine


def test_keywords_reach_the_operation(tmp_path):
    assert op_of(tmp_path, "T.tf.sum(v, a, axis=0)").axis == "rows"
    assert op_of(tmp_path, "T.tf.sum(v[0:32], a, axis=-1)").axis == "cols"
    assert op_of(tmp_path, "T.tf.sum(v[0:1], v, axis=0)").axis == "cols"
    assert op_of(tmp_path, "T.tf.sum(v, a, axis=0, clear=False)").clear == Clear()
    scaled = op_of(tmp_path, "T.tf.tanh(a, scale=2, bias=0.5)")
    assert (scaled.scale, scaled.bias) == (2.0, 0.5)
    assert op_of(tmp_path, "T.tf.load(a, A[0:32, 0:64], fill=float('-inf'))").value == -float("inf")
    assert op_of(tmp_path, "T.tf.load(a, A[0:32, 0:64], transposed=True)").transposed
    assert op_of(tmp_path, "T.tile.exp(a, b, 0.5, 2.0)").scale == 2.0
    fma = op_of(tmp_path, "T.tile.fma(a, b, 3.0, 4.0)")
    assert (fma.func, fma.scale, fma.bias) == ("identity", 3.0, 4.0)
    accumulated = op_of(tmp_path, "T.tile.sum(v, a, 0, True)")
    assert accumulated.clear == Clear()


def test_beta_of_tvms_gemm_overwrites_by_default(tmp_path):
    x = "x = T.alloc_buffer((32, 32))\ny = T.alloc_buffer((32, 32))\n"
    gemm = op_of(tmp_path, x + "T.tile.gemm(x, a, b, x, False, True)")
    assert gemm.clear == Clear(always=True)
    assert (gemm.transpose_a, gemm.transpose_b) == (False, True)
    assert op_of(tmp_path, x + "T.tile.gemm(x, a, b, x, False, True, beta=1.0)").clear == Clear()
    onto = op_of(tmp_path, x + "T.tile.gemm(x, a, b, y, False, True, beta=1.0)", count=2)
    assert onto.clear == Clear()


def test_every_name_of_tvm_that_is_taken_exists_there():
    for name in TVM_OPS:
        assert TvmOp.get(TVM_PREFIX + name).get_attr("TIRxOpCategory") == "tile_primitive"


def test_tvms_silu_is_one_operation_also_in_place(tmp_path):
    for src in ("b", "a"):
        silu = op_of(tmp_path, f"T.tile.silu(a, {src})")
        assert (silu.func, operands(silu)) == ("silu", ["a", src])


def test_a_pipelined_loop_carries_its_stages(tmp_path):
    body = "for i in T.tf.pipelined(5, stages=3):\n    T.tf.nop(engine='load')\n"
    (loop,) = read(load(write_source(tmp_path, body))).body
    assert (loop.stages, loop.extent.const) == (3, 5)
    body = "for i in T.tf.pipelined(n):\n    T.tf.nop(engine='load')\n"
    (loop,) = read(load(write_source(tmp_path, body))).body
    assert loop.stages == 0


def test_registering_again_changes_nothing():
    before = T.tf
    assert register() is before
    assert T.tf is before


def run_python(code: str, *paths: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join(map(str, paths)), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_imports_neither_tvm_nor_numpy():
    code = (
        "import sys, tileflow_tvm as tf; tf.Machine; tf.KernelError\n"
        "print([name for name in ('tvm', 'numpy') if name in sys.modules])"
    )
    assert run_python(code, ROOT).strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    import tileflow_tvm

    with pytest.raises(AttributeError, match="no attribute 'compilee'"):
        _ = tileflow_tvm.compilee


def test_a_module_does_not_hide_the_function_of_its_name():
    code = "import tileflow_tvm as tf; tf.CheckError; print(callable(tf.check))"
    assert run_python(code, ROOT).strip() == "True"


def test_import_tvm_is_enough(tmp_path):
    """Through the entry point of an installed distribution."""
    info = tmp_path / "tileflow_tvm_probe-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tileflow-tvm-probe\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[tvm.backends]\ntileflow = tileflow_tvm:_autoload\n")
    code = "import tvm; from tvm.script import tirx as T; print(T.tf.relu.__doc__)"
    assert "func='relu'" in run_python(code, tmp_path, ROOT)
    assert "tileflow_tvm:_autoload" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_a_printed_script_parses_without_imports(tmp_path):
    func = load(write_source(tmp_path, BLOCKS + "T.tf.relu(a)\nT.tf.add(a, b, v)\n"))
    text = func.script()
    assert 'T.tile.tf.unary(a[0:32, 0:64], func="relu")' in text
    tvm.ir.assert_structural_equal(tvm.script.from_source(text), func)
