"""The problems of `bench_tile_search.py`: operators that make one loop nest, and their machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import te, topi
from tvm.tirx import PrimFunc

import tileflow_tvm as tf

DEFAULT = tf.Machine.load("tileflow")
MACHINES = {
    "default": DEFAULT,
    "small SRAM": DEFAULT.replace(sram_bytes=32 << 10),
    "wide DRAM": DEFAULT.replace(dram_bytes_per_cycle=256, macs_per_cycle=256),
    "far DRAM": DEFAULT.replace(dram_latency_cycles=600),
    "two EXECs": DEFAULT.replace(exec_engines=2),
}


@dataclass(frozen=True)
class Problem:
    name: str
    func: Callable[[], PrimFunc]
    machine: str = "default"

    @property
    def title(self) -> str:
        return self.name if self.machine == "default" else f"{self.name}, {self.machine}"


class _Operands:
    """Placeholders, in the order in which they are asked for."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def __call__(self, *shape: int, dtype: str = "float32") -> Any:
        self.made.append(te.placeholder(shape, dtype, name=f"x{len(self.made)}"))
        return self.made[-1]


def _func(build: Callable[[_Operands], Any]) -> Callable[[], PrimFunc]:
    def make() -> PrimFunc:
        operands = _Operands()
        result = build(operands)
        results = result if isinstance(result, list) else [result]
        return te.create_prim_func([*operands.made, *results])

    return make


def _product(
    m: int, n: int, k: int, *, ta: bool = False, tb: bool = False, dtype: str = "float32",
    epilogue: Callable[[_Operands, Any], Any] = lambda _, c: c,
) -> Callable[[], PrimFunc]:  # fmt: skip
    def build(o: _Operands) -> Any:
        a = o(*((k, m) if ta else (m, k)), dtype=dtype)
        b = o(*((n, k) if tb else (k, n)), dtype=dtype)
        if dtype == "float32":
            return epilogue(o, topi.matmul(a, b, ta, tb))
        into, r = "int32" if dtype == "int8" else "float32", te.reduce_axis((0, k), name="r")
        return epilogue(o, te.compute((m, n), lambda i, j: te.sum(
            a[i, r].astype(into) * b[r, j].astype(into), axis=r), name="c"))  # fmt: skip

    return _func(build)


def _dense(o: _Operands, c: Any) -> Any:
    return topi.nn.relu(topi.add(c, o(c.shape[1])))


def _residual(o: _Operands, c: Any) -> Any:
    return topi.tanh(topi.add(c, o(*c.shape)))


def _conv(
    image: tuple[int, ...], weights: tuple[int, ...], stride: int = 1, pad: int = 1, groups: int = 1
) -> Callable[[], PrimFunc]:
    def build(o: _Operands) -> Any:
        x, w = o(*image), o(*weights)
        if groups > 1:
            return topi.nn.group_conv2d_nchw(x, w, stride, pad, 1, groups)
        return topi.nn.conv2d_nchw(x, w, stride, pad, 1)

    return _func(build)


def _depthwise(o: _Operands) -> Any:
    return topi.nn.depthwise_conv2d_nchw(o(1, 64, 56, 56), o(64, 1, 3, 3), 1, 1, 1)


def _attention(o: _Operands) -> Any:
    """Scores of 8 heads: q k^T, scaled."""
    q, k = o(8, 384, 64), o(8, 384, 64)
    return topi.multiply(topi.nn.batch_matmul(q, k, transpose_b=True), 0.125)


def _layer_norm(o: _Operands) -> Any:
    return topi.nn.layer_norm(o(1536, 192), o(192), o(192), [1])


def _broadcast(o: _Operands) -> Any:
    return topi.add(topi.multiply(o(1000, 700), o(700)), o(1000, 1))


def _pool(kind: str) -> Callable[[_Operands], Any]:
    def build(o: _Operands) -> Any:
        return topi.nn.pool2d(o(1, 64, 112, 112), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), kind)

    return build


PROBLEMS = (
    Problem("product 512 x 512 x 512", _product(512, 512, 512)),
    Problem("product 4096 x 64 x 256", _product(4096, 64, 256)),
    Problem("product 48 x 2048 x 512", _product(48, 2048, 512)),
    Problem("product 509 x 383 x 277", _product(509, 383, 277)),
    Problem("product 700 x 300 x 450, A and B transposed", _product(700, 300, 450,
                     ta=True, tb=True)),
    Problem("product 640 x 640 x 640, bias, ReLU", _product(640, 640, 640, epilogue=_dense)),
    Problem("product 384 x 1536 x 384, sum, tanh", _product(384, 1536, 384, epilogue=_residual)),
    Problem("product 512 x 512 x 1024, bf16", _product(512, 512, 1024, dtype="bfloat16")),
    Problem("product 512 x 384 x 640, i8", _product(512, 384, 640, dtype="int8")),
    Problem("vector x matrix, 2048 x 2048", _product(1, 2048, 2048)),
    Problem("product 512 x 512 x 512", _product(512, 512, 512), "small SRAM"),
    Problem("product 384 x 512 x 640", _product(384, 512, 640), "wide DRAM"),
    Problem("product 512 x 768 x 384, bias, ReLU",
            _product(512, 768, 384, epilogue=_dense), "far DRAM"),
    Problem("product 768 x 512 x 512", _product(768, 512, 512), "two EXECs"),
    Problem("batched product, 16 of 128 x 96 x 160",
            _func(lambda o: topi.nn.batch_matmul(
                o(16, 128, 160), o(16, 160, 96), transpose_b=False))),
    Problem("attention scores, 8 heads of 384 x 64", _func(_attention)),
    Problem("convolution 3x3, 64 -> 64, 56 x 56", _conv((1, 64, 56, 56), (64, 64, 3, 3))),
    Problem("convolution 1x1, 256 -> 64, 28 x 28", _conv((1, 256, 28, 28), (64, 256, 1, 1), pad=0)),
    Problem("convolution 3x3, stride 2, 64 -> 128", _conv((2, 64, 56, 56), (128, 64, 3, 3), 2)),
    Problem("convolution 3x3, 4 groups, 64 -> 64",
            _conv((1, 64, 28, 28), (64, 16, 3, 3), groups=4)),
    Problem("convolution 3x3, 32 -> 32, 28 x 28",
            _conv((1, 32, 28, 28), (32, 32, 3, 3)), "small SRAM"),
    Problem("depthwise convolution 3x3, 64, 56 x 56", _func(_depthwise)),
    Problem("max pooling 3x3, stride 2, 64, 112 x 112", _func(_pool("max"))),
    Problem("sum over rows of 300 x 20000", _func(lambda o: topi.sum(o(300, 20000), axis=1))),
    Problem("max over columns of 12000 x 200",
            _func(lambda o: topi.max(o(12000, 200), axis=0)), "small SRAM"),
    Problem("softmax over rows of 2048 x 256", _func(lambda o: topi.nn.softmax(o(2048, 256)))),
    Problem("layer norm over rows of 1536 x 192", _func(_layer_norm), "wide DRAM"),
    Problem("x * row + column, 1000 x 700", _func(_broadcast)),
    Problem("transpose of 900 x 1300", _func(lambda o: topi.transpose(o(900, 1300)))),
    Problem("transpose of 32 x 96 x 24 x 40, axes 0 2 3 1",
            _func(lambda o: topi.transpose(o(32, 96, 24, 40), (0, 2, 3, 1))), "far DRAM"),
)  # fmt: skip
