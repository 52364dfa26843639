"""What is said of fusion: the intermediate tensors that never reach DRAM."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fusible import FUNCTIONS, tensor
from graph_source import load_source, source_of
from graphs import graph_of
from tvm import te, topi

import tileflow_tvm as tf
from tileflow_tvm.cli import main
from tileflow_tvm.isa.program import Fusion, StorageKind

LAYER = """\
from tvm import te, topi

x, w, b = (te.placeholder(s, name=n) for s, n in (((70, 45), "x"), ((45, 90), "w"), ((90,), "b")))
layer = te.create_prim_func([x, w, b, topi.nn.relu(topi.matmul(x, w) + b)])
"""


def in_scratch(exe) -> list[int]:
    """Bytes of each intermediate tensor that the binary has in DRAM. They share memory where their
    lives do not meet, and some are seen as views only."""
    found: dict[str, int] = {}
    for spec in exe.program.tensors:
        if spec.storage.kind is StorageKind.SCRATCH:
            name = re.sub(r"_view(_\d+)?$", "", spec.name)
            low, high = spec.byte_range()
            found[name] = max(found.get(name, 0), high - low)
    return list(found.values())


def layer():
    x, w, b = tensor(70, 45), tensor(45, 90, name="w"), tensor(90, name="b")
    return te.create_prim_func([x, w, b, topi.nn.relu(topi.matmul(x, w) + b)])


def test_a_product_with_bias_and_relu():
    exe = tf.compile(layer())
    assert exe.fusion == Fusion(tensors=2, bytes=2 * 70 * 90 * 4)
    assert tf.compile(layer(), fuse=False).fusion == Fusion(0, 0)


def test_a_result_that_the_caller_gets_is_none():
    x, w = tensor(70, 45), tensor(45, 90, name="w")
    y = topi.matmul(x, w)
    exe = tf.compile(te.create_prim_func([x, w, y, topi.exp(topi.nn.relu(y))]))
    assert exe.fusion == Fusion(1, 70 * 90 * 4)


def test_padding_that_a_transfer_makes():
    exe = tf.compile(FUNCTIONS["convolution"]())
    padded, product, biased = 2 * 3 * 11 * 13, 2 * 8 * 9 * 11, 2 * 8 * 9 * 11
    assert exe.fusion == Fusion(3, 4 * (padded + product + biased))


def difference(func, machine="tileflow") -> None:
    fused, alone = tf.compile(func, machine), tf.compile(func, machine, fuse=False)
    kept, everything = in_scratch(fused), in_scratch(alone)
    assert alone.fusion == Fusion(0, 0)
    assert fused.fusion == Fusion(len(everything) - len(kept), sum(everything) - sum(kept))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_what_the_binary_without_fusion_has_more(name):
    difference(FUNCTIONS[name]())


def test_what_needs_no_tensor_either_way_does_not_count():
    """A transposed copy, which the product reads at its source."""
    x, w = tensor(70, 45), tensor(90, 45, name="w")
    func = te.create_prim_func([x, w, topi.nn.relu(topi.matmul(x, topi.transpose(w)))])
    difference(func)
    assert tf.compile(func).fusion == Fusion(1, 70 * 90 * 4)


@pytest.mark.parametrize("seed", range(1, 40, 3))
def test_it_is_so_for_random_graphs(seed):
    graph = graph_of(seed)
    machine = tf.Machine.load("tileflow").replace(sram_bytes=graph.sram_bytes)
    difference(load_source(source_of(graph)), machine)


def test_statistics_have_it(rng):
    exe = tf.compile(layer())
    arrays = [rng.standard_normal(arg.shape, dtype="float32") for arg in exe.simulator.reads]
    stats = exe.run(*arrays).stats
    assert stats.fusion == exe.fusion
    assert stats.as_dict()["fusion"] == {"tensors": 2, "bytes": 50400}


def test_who_does_not_know_says_nothing(tmp_path):
    from tileflow_tvm.kernels.gemm import gemm_bias_relu

    assert tf.compile(gemm_bias_relu(64, 64, 64)).fusion is None
    assert tf.load(tf.compile(layer()).save(tmp_path / "layer.bin")).fusion is None


@pytest.fixture
def file(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("layer.py").write_text(LAYER)
    return "layer.py"


def test_the_command_line_says_so(file, capsys):
    assert main(["compile", file, "-o", "layer.bin"]) == 0
    assert capsys.readouterr().out.endswith(", 2 tensors (49.2 KiB) never in DRAM\n")
    assert main(["compile", file, "-o", "layer.bin", "--no-fuse"]) == 0
    assert capsys.readouterr().out.endswith(" SRAM\n")


def test_json(file, capsys):
    assert main(["compile", file, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["fusion"] == {"tensors": 2, "bytes": 50400}
    assert (made["program"], made["scratch_bytes"]) == ("main", 0)
    assert main(["compile", file, "--json", "--no-fuse"]) == 0
    assert json.loads(capsys.readouterr().out)["fusion"] == {"tensors": 0, "bytes": 0}
    assert main(["check", file, "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)["stats"]
    assert {run["fusion"]["tensors"] for run in stats.values()} == {2}


def test_json_and_text_do_not_mix(file, capsys):
    assert main(["compile", file, "--json", "--asm", "-"]) == 1
    assert "both go to standard output\nhint: give --asm a file" in capsys.readouterr().err
