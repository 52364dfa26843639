"""Handwritten digits on the simulated accelerator: `make demo`.

Trains a small network on scikit-learn's 1,797 images in NumPy, compiles its inference, writes
build/digits.asm and build/digits.bin, runs the .bin on both engines of the simulator, and compares
with NumPy in float64. Then the same for a kernel written by hand at tile level. Exits with 1 if
the accuracies differ or are not above 95 %, if a number is off, or if the engines differ in a bit.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

import tileflow_tvm as tf
from tileflow_tvm.kernels.gemm import gemm_bias_relu, gemm_bias_relu_reference

BUILD = Path(__file__).resolve().parent.parent / "build"
PIXELS, HIDDEN, NARROW, CLASSES = 64, 96, 40, 10
ENGINES = ("sequential", "threaded")
ENOUGH = 0.95
"""The accuracy that has to be exceeded."""
TOLERANCE = 1e-4
"""Largest accepted difference from float64, relative to the largest result."""

Weights = dict[str, np.ndarray]
SHAPES = {
    "w1": (PIXELS, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, HIDDEN), "b2": (HIDDEN,),
    "w3": (HIDDEN, NARROW), "b3": (NARROW,), "w4": (NARROW, CLASSES), "b4": (CLASSES,),
}  # fmt: skip


def forward(x: np.ndarray, w: Weights) -> list[np.ndarray]:
    """Every layer's result, the logits last, in the dtype of the operands."""
    h1 = np.maximum(x @ w["w1"] + w["b1"], 0)
    h2 = np.maximum(h1 @ w["w2"] + w["b2"], 0) + h1
    h3 = np.maximum(h2 @ w["w3"] + w["b3"], 0)
    return [h1, h2, h3, h3 @ w["w4"] + w["b4"]]


def mlp(batch: int) -> PrimFunc:
    """`forward` for `batch` images, at compute level."""

    @T.prim_func(s_tir=True)
    def mlp(
        x: T.Buffer((batch, PIXELS), "float32"),
        w1: T.Buffer((PIXELS, HIDDEN), "float32"),
        b1: T.Buffer((HIDDEN,), "float32"),
        w2: T.Buffer((HIDDEN, HIDDEN), "float32"),
        b2: T.Buffer((HIDDEN,), "float32"),
        w3: T.Buffer((HIDDEN, NARROW), "float32"),
        b3: T.Buffer((NARROW,), "float32"),
        w4: T.Buffer((NARROW, CLASSES), "float32"),
        b4: T.Buffer((CLASSES,), "float32"),
        logits: T.Buffer((batch, CLASSES), "float32"),
    ):
        y1 = T.sblock_alloc_buffer((batch, HIDDEN), "float32")
        h1 = T.sblock_alloc_buffer((batch, HIDDEN), "float32")
        y2 = T.sblock_alloc_buffer((batch, HIDDEN), "float32")
        h2 = T.sblock_alloc_buffer((batch, HIDDEN), "float32")
        y3 = T.sblock_alloc_buffer((batch, NARROW), "float32")
        h3 = T.sblock_alloc_buffer((batch, NARROW), "float32")
        y4 = T.sblock_alloc_buffer((batch, CLASSES), "float32")

        for i, j, k in T.grid(batch, HIDDEN, PIXELS):
            with T.sblock("first"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    y1[vi, vj] = T.float32(0)
                y1[vi, vj] = y1[vi, vj] + x[vi, vk] * w1[vk, vj]
        for i, j in T.grid(batch, HIDDEN):
            with T.sblock("first_relu"):
                vi, vj = T.axis.remap("SS", [i, j])
                h1[vi, vj] = T.max(y1[vi, vj] + b1[vj], T.float32(0))

        for i, j, k in T.grid(batch, HIDDEN, HIDDEN):
            with T.sblock("second"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    y2[vi, vj] = T.float32(0)
                y2[vi, vj] = y2[vi, vj] + h1[vi, vk] * w2[vk, vj]
        for i, j in T.grid(batch, HIDDEN):
            with T.sblock("second_relu_residual"):
                vi, vj = T.axis.remap("SS", [i, j])
                h2[vi, vj] = T.max(y2[vi, vj] + b2[vj], T.float32(0)) + h1[vi, vj]

        for i, j, k in T.grid(batch, NARROW, HIDDEN):
            with T.sblock("third"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    y3[vi, vj] = T.float32(0)
                y3[vi, vj] = y3[vi, vj] + h2[vi, vk] * w3[vk, vj]
        for i, j in T.grid(batch, NARROW):
            with T.sblock("third_relu"):
                vi, vj = T.axis.remap("SS", [i, j])
                h3[vi, vj] = T.max(y3[vi, vj] + b3[vj], T.float32(0))

        for i, j, k in T.grid(batch, CLASSES, NARROW):
            with T.sblock("fourth"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    y4[vi, vj] = T.float32(0)
                y4[vi, vj] = y4[vi, vj] + h3[vi, vk] * w4[vk, vj]
        for i, j in T.grid(batch, CLASSES):
            with T.sblock("logits"):
                vi, vj = T.axis.remap("SS", [i, j])
                logits[vi, vj] = y4[vi, vj] + b4[vj]

    return mlp


def gradients(x: np.ndarray, labels: np.ndarray, w: Weights) -> Weights:
    """Of the mean cross entropy, by back-propagation through `forward`."""
    h1, h2, h3, logits = forward(x, w)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    odds[np.arange(len(labels)), labels] -= 1
    d4 = odds / len(labels)
    d3 = (d4 @ w["w4"].T) * (h3 > 0)
    d2 = d3 @ w["w3"].T
    inner = d2 * (h2 > h1)
    d1 = (inner @ w["w2"].T + d2) * (h1 > 0)
    pairs = zip((x, h1, h2, h3), (d1, inner, d3, d4), strict=True)
    return {
        name: value
        for layer, (seen, delta) in enumerate(pairs, 1)
        for name, value in ((f"w{layer}", seen.T @ delta), (f"b{layer}", delta.sum(axis=0)))
    }


def train(x: np.ndarray, labels: np.ndarray, epochs: int = 40, rate: float = 2e-3) -> Weights:
    """Weights in float32, by Adam (Kingma and Ba 2015) in minibatches of 32."""
    rng = np.random.default_rng(2)
    w = {
        name: rng.normal(0, np.sqrt(2 / shape[0]), shape) if len(shape) == 2 else np.zeros(shape)
        for name, shape in SHAPES.items()
    }
    mean = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    square = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    step = 0
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(x)), len(x) // 32):
            step += 1
            for name, slope in gradients(x[rows], labels[rows], w).items():
                mean[name] += 0.1 * (slope - mean[name])
                square[name] += 0.001 * (slope**2 - square[name])
                momentum = mean[name] / (1 - 0.9**step)
                w[name] -= rate * momentum / (np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8)
    return {name: value.astype(np.float32) for name, value in w.items()}


@dataclass(frozen=True)
class Outcome:
    """One kernel: the oracle's result and, for each engine, the simulator's."""

    title: str
    exe: tf.Executable
    want: np.ndarray
    runs: dict[str, Any]
    labels: np.ndarray | None = None

    def accuracy(self, scores: np.ndarray) -> float:
        return float((scores.argmax(axis=1) == self.labels).mean())

    def difference(self, engine: str) -> float:
        return float(np.abs(self.runs[engine].outputs[0] - self.want).max())

    def faults(self) -> list[str]:
        """What is not as it has to be."""
        first, second = (self.runs[engine].outputs[0] for engine in ENGINES)
        found = [] if first.tobytes() == second.tobytes() else ["the engines differ"]
        limit = TOLERANCE * float(np.abs(self.want).max())
        for engine in ENGINES:
            if not self.difference(engine) <= limit:
                found.append(f"{engine}: off by {self.difference(engine):.2e}")
            if self.labels is not None:
                found += self._accuracy_faults(engine)
        return [f"{self.title}: {fault}" for fault in found]

    def _accuracy_faults(self, engine: str) -> list[str]:
        right, got = (self.accuracy(s) for s in (self.want, self.runs[engine].outputs[0]))
        faults = [] if right == got else [f"{engine}: accuracy {got:.4f}, NumPy's is {right:.4f}"]
        return faults if got > ENOUGH else [*faults, f"{engine}: accuracy {got:.4f} is too low"]


def run_binary(
    title: str, func: PrimFunc, arrays: list[np.ndarray], want: np.ndarray,
    labels: np.ndarray | None = None,
) -> Outcome:  # fmt: skip
    """Compile, write .asm and .bin, load the .bin, and run that in both engines."""
    compiled = tf.compile(func)
    BUILD.mkdir(exist_ok=True)
    (BUILD / f"{title}.asm").write_text(compiled.asm)
    exe = tf.load(compiled.save(BUILD / f"{title}.bin"))
    for engine in ENGINES:
        exe.run(*arrays, engine=engine)  # The first call verifies and warms up.
    runs = {engine: exe.run(*arrays, engine=engine) for engine in ENGINES}
    return Outcome(title, exe, want, runs, labels)


def table(outcomes: list[Outcome]) -> Table:
    """What was run, next to what NumPy says in float64."""
    result = Table(title="Inference on the simulated accelerator against NumPy in float64")
    result.add_column("kernel (.bin)")
    result.add_column("engine")
    for title in ("accuracy\nNumPy", "accuracy\nsimulator", "largest\ndifference",
                  "instruc-\ntions", "DRAM\nbytes", "wall\ntime"):  # fmt: skip
        result.add_column(title, justify="right")
    for outcome in outcomes:
        for engine in ENGINES:
            run = outcome.runs[engine]
            scores = (outcome.want, run.outputs[0]) if outcome.labels is not None else ()
            accuracies = [f"{outcome.accuracy(score):.2%}" for score in scores] or ["-", "-"]
            result.add_row(
                outcome.title, engine, *accuracies, f"{outcome.difference(engine):.1e}",
                f"{run.stats.total_instructions:,}", f"{run.stats.total_dram_bytes:,}",
                f"{run.stats.wall_ns / 1e6:.2f} ms", end_section=engine == ENGINES[-1],
            )  # fmt: skip
    return result


def inner_loop(asm: str) -> Text:
    """The innermost loop of a program text, each instruction below the source line it names."""
    lines = asm.splitlines()
    indent = [len(line) - len(line.lstrip()) for line in lines]
    loops = [index for index, line in enumerate(lines) if line.split()[:1] == ["loop"]]
    head = max(loops, key=lambda index: indent[index])
    tail = next(i for i in range(head + 1, len(lines)) if indent[i] == indent[head])
    result = Text()
    for line in lines[head : tail + 1]:
        instruction, _, place = line[indent[head] :].partition("  @")
        position, _, comment = place.partition(";")
        source = f"line {position.split(':')[1]}: {comment.partition(':')[2].strip()}"
        if instruction != "}":
            result.append(f"{source}\n", style="dim")
        result.append(f"{instruction}\n", style="bold")
    return result


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 100)
    images, labels = load_digits(return_X_y=True)
    seen, unseen, seen_labels, unseen_labels = train_test_split(
        (images / 16).astype(np.float32), labels, test_size=0.2, random_state=0, stratify=labels
    )
    console.print(f"Training {PIXELS} → {HIDDEN} (+ residual) → {NARROW} → {CLASSES} on "
                  f"{len(seen)} images; {len(unseen)} are for the test.")  # fmt: skip
    with threadpool_limits(limits=1):  # Matrices this small are slower on many threads.
        w = train(seen.astype(np.float64), seen_labels)
    wide = {name: value.astype(np.float64) for name, value in w.items()}
    network = run_binary("digits", mlp(len(unseen)), [unseen, *w.values()],
                         forward(unseen.astype(np.float64), wide)[-1], unseen_labels)  # fmt: skip
    layer = [unseen, w["w1"], w["b1"]]
    kernel = run_binary("gemm_bias_relu", gemm_bias_relu(len(unseen), HIDDEN, PIXELS), layer,
                        gemm_bias_relu_reference(*layer))  # fmt: skip
    outcomes = [network, kernel]
    console.print(table(outcomes))
    console.print("The inner loop of kernels/gemm.py, source and instructions:")
    console.print(inner_loop(kernel.exe.asm), highlight=False)
    faults = [fault for outcome in outcomes for fault in outcome.faults()]
    for fault in faults:
        console.print(f"[red]{fault}[/red]")
    if not faults:
        console.print("Equal accuracy, engines identical to the bit. Wrote "
                      + ", ".join(f"build/{o.title}.asm and .bin" for o in outcomes))  # fmt: skip
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
