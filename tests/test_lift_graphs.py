"""Whole graphs: what Relax leaves behind, and random compositions."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from differential import assert_close
from graph_source import load_source, source_of
from graphs import graph_of
from lifted import MACHINE, check_ensures, check_lift, ops
from reference_numpy import run_tensor_program
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.tirx import PrimFunc

from tileflow_tvm.passes.lift import lift


@I.ir_module
class Mlp:
    @R.function
    def main(
        x: R.Tensor((33, 17), "float32"), w: R.Tensor((17, 40), "float32"),
        b: R.Tensor((40,), "float32"), g: R.Tensor((40,), "float32"),
    ):  # fmt: skip
        with R.dataflow():
            h = R.nn.relu(R.add(R.matmul(x, w), b))
            n = R.nn.layer_norm(h, g, b, axes=[-1])
            a = R.nn.gelu(n)
            t = R.nn.gelu_tanh(h)
            z = R.nn.softmax(R.add(a, t), axis=-1)
            m = R.mean(z, axis=0, keepdims=True)
            s = R.nn.silu(R.subtract(z, m))
            q = R.matmul(R.permute_dims(s), z)
            R.output(q)
        return q


def prim_funcs(module: tvm.IRModule, *, fuse: bool) -> dict[str, PrimFunc]:
    """The kernels that Relax makes of a module."""
    passes = [relax.transform.LegalizeOps(), relax.transform.AnnotateTIROpPattern(),
              relax.transform.FoldConstant()]  # fmt: skip
    if fuse:
        passes += [relax.transform.FuseOps(), relax.transform.FuseTIR()]
    module = tvm.transform.Sequential(passes)(module)
    return {
        var.name_hint: func for var, func in module.functions.items() if isinstance(func, PrimFunc)
    }


@pytest.mark.parametrize("fuse", [False, True])
def test_kernels_out_of_relax(fuse: bool, rng: np.random.Generator) -> None:
    funcs = prim_funcs(Mlp, fuse=fuse)
    assert len(funcs) > 3
    for func in funcs.values():
        check_lift(func, rng)


def test_a_fused_kernel_keeps_its_names(rng: np.random.Generator) -> None:
    (func,) = (f for name, f in prim_funcs(Mlp, fuse=True).items() if "matmul_add" in name)
    assert ops(check_lift(func, rng)) == [
        "matmul_intermediate = gemm(x, w)",
        "T_add_intermediate = binary add(matmul_intermediate, b) full row",
        "compute_intermediate = unary relu(T_add_intermediate)",
    ]


def lift_graph(seed: int) -> None:
    graph = graph_of(seed)
    program = lift(load_source(source_of(graph)), MACHINE)
    check_ensures(program)
    got = run_tensor_program(program, [graph.data[node] for node in graph.inputs])
    for index, (one, other) in enumerate(zip(got, graph.expected(), strict=True)):
        assert_close(one.astype(np.float32), other, f"seed {seed}, output {index}")


@pytest.mark.parametrize("block", range(6))
def test_random_graphs(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        lift_graph(seed)


@pytest.mark.sweep
@pytest.mark.parametrize("block", range(75))
def test_many_random_graphs(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        lift_graph(seed)
