"""Random compute-level functions of any rank: reads with offsets, strides, reversals, broadcasting
and windows, reductions, padding, maps behind them; and what each of them is in words."""

from __future__ import annotations

import numpy as np
from tvm import te, tirx, topi


def _each(tensor, function):
    return te.compute(tensor.shape, lambda *i: function(tensor(*i)), name="each")


MAPS = {
    "relu": topi.nn.relu, "exp": lambda t: topi.exp(t * 0.1), "tanh": topi.tanh,
    "neg": lambda t: t * -1.0, "add": lambda t: t + 0.5, "sigmoid": topi.sigmoid,
    "sign": topi.sign, "trunc": topi.trunc,
    "step": lambda t: _each(t, lambda x: (x > 0.25).astype("float32")),
    "shrink": lambda t: _each(t, lambda x: tirx.Select(tirx.all(x < 0.5, x > -0.5), x * 0.0, x)),
}  # fmt: skip


def _smaller_half(one, other):
    """Where the first is the smaller it counts, else half of the second; shapes broadcast."""
    sum_of = topi.add(one * 0.0, other * 0.0)
    left, right = topi.add(one, sum_of), topi.add(other, sum_of)
    return te.compute(
        left.shape,
        lambda *i: tirx.Select(left(*i) < right(*i), left(*i), right(*i) * 0.5), name="smaller",
    )  # fmt: skip


COMBINES = {"sum": te.sum, "max": te.max, "min": te.min}


class NestMaker:
    """One function; `inputs` are its placeholders, `words` what it does."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.inputs: list[te.Tensor] = []
        self.words: list[str] = []

    def func(self):
        value = self._first()
        for _ in range(self.rng.integers(0, 4)):
            value = self._next(value)
        return te.create_prim_func([*self.inputs, value])

    def _pick(self, options):
        return options[self.rng.integers(len(options))]

    def _tensor(self, shape) -> te.Tensor:
        tensor = te.placeholder(tuple(map(int, shape)), "float32", name=f"X{len(self.inputs)}")
        self.inputs.append(tensor)
        return tensor

    def _shape(self, most: int = 4) -> list[int]:
        sizes = [1, 2, 3, 5, 7, 8, 13, 33, 40]
        rank = int(self.rng.integers(1, most + 1))
        shape = [self._pick(sizes) for _ in range(rank)]
        while np.prod(shape) > 6000:
            shape[int(np.argmax(shape))] = 3
        return shape

    def _first(self) -> te.Tensor:
        return self._tensor(self._shape()) if self.rng.random() < 0.5 else self._contraction()

    def _next(self, value: te.Tensor) -> te.Tensor:
        steps = [
            self._map,
            self._map,
            self._with_other,
            self._reduce,
            self._move,
            self._normalise,
            self._masked,
            self._indexed,
        ]
        return self._pick(steps)(value)

    def _map(self, value):
        name = self._pick(list(MAPS))
        self.words.append(name)
        return MAPS[name](value)

    def _with_other(self, value):
        """With another tensor, some of whose dimensions are broadcast or left out."""
        shape = [1 if self.rng.random() < 0.3 else int(s) for s in value.shape]
        shape = shape[int(self.rng.integers(len(shape))) :] or [1]
        other = self._tensor(shape)
        op = self._pick([topi.add, topi.multiply, topi.subtract, topi.maximum, topi.minimum,
                         _smaller_half])  # fmt: skip
        self.words.append(f"{op.__name__} with {shape}")
        return op(value, other) if self.rng.random() < 0.5 else op(other, value)

    def _reduce(self, value):
        rank = len(value.shape)
        if rank == 1:
            return self._map(value)
        count = int(self.rng.integers(1, rank))
        axes = sorted(int(a) for a in self.rng.choice(rank, count, replace=False))
        keep = bool(self.rng.random() < 0.4)
        op = self._pick([topi.sum, topi.max, topi.min])
        self.words.append(f"{op.__name__} over {axes} keep={keep}")
        return op(value, axis=axes, keepdims=keep)

    def _move(self, value):
        shape = [int(s) for s in value.shape]
        rank = len(shape)
        axis = int(self.rng.integers(rank))
        kind = self._pick(["transpose", "flip", "pad", "slice", "reshape", "repeat", "concat"])
        self.words.append(f"{kind} {axis}")
        if kind == "transpose":
            return topi.transpose(value, [int(a) for a in self.rng.permutation(rank)])
        if kind == "flip":
            return topi.flip(value, axis)
        if kind == "pad":
            before = [int(self.rng.integers(0, 3)) for _ in shape]
            after = [int(self.rng.integers(0, 3)) for _ in shape]
            return topi.nn.pad(value, before, after, float(self.rng.integers(-1, 2)))
        if kind == "slice":
            begin = [int(self.rng.integers(0, s)) for s in shape]
            step = [int(self.rng.integers(1, 4)) for _ in shape]
            return topi.strided_slice(value, begin, shape, step)
        if kind == "reshape":
            return topi.reshape(
                value, [int(np.prod(shape[: axis + 1])), int(np.prod(shape[axis + 1 :]))]
            )
        if kind == "repeat":
            return topi.repeat(value, int(self.rng.integers(1, 4)), axis)
        return topi.concatenate([value, value], axis)

    def _form(self, index):
        """A sum of two indices, each times a small number."""
        one, two = (index[int(self.rng.integers(len(index)))] for _ in range(2))
        factors = [int(self.rng.integers(-2, 3)) for _ in range(3)]
        self.words.append(f"form {factors}")
        return one * factors[0] + two * factors[1] + factors[2]

    def _masked(self, value):
        """Where conditions on several indices hold, else a constant or another value."""
        shape = [int(s) for s in value.shape]
        join = self._pick([tirx.And, tirx.Or])
        other = self._pick([None, float("-inf"), 0.5, -0.0])
        self.words.append(f"mask {join.__name__} {other}")
        rest = None if other is not None else self._tensor(shape)

        def cell(*index):
            one, two = self._form(index) >= 0, self._form(index) < index[0]
            condition = self._pick([one, join(one, two), tirx.Not(join(one, two)),
                                    self._form(index) == index[-1]])  # fmt: skip
            no = rest(*index) if rest is not None else tirx.const(other, "float32")
            return tirx.if_then_else(condition, value(*index), no)

        return te.compute(shape, cell, name="masked")

    def _indexed(self, value):
        """With a number that is computed from indices."""
        return te.compute(
            value.shape,
            lambda *index: value(*index) + tirx.Cast("float32", self._form(index)) * 0.25,
            name="indexed",
        )

    def _normalise(self, value):
        axis = int(self.rng.integers(len(value.shape)))
        self.words.append(f"softmax over {axis}")
        return topi.nn.softmax(value, axis=axis)

    def _contraction(self) -> te.Tensor:
        """A sum (or maximum) over windows of one tensor, with or without a second one."""
        rank = int(self.rng.integers(1, 4))
        out = [int(self._pick([1, 2, 5, 9, 33])) for _ in range(rank)]
        depth = [int(self._pick([1, 2, 3, 7, 34])) for _ in range(int(self.rng.integers(1, 3)))]
        axes = [te.reduce_axis((0, d), name=f"k{i}") for i, d in enumerate(depth)]
        dims, sizes = [], []
        for dim in range(rank):
            stride, dilation = int(self.rng.integers(1, 3)), int(self.rng.integers(1, 3))
            window = int(self.rng.integers(-1, len(depth)))
            reach = (out[dim] - 1) * stride + 1
            reach += (depth[window] - 1) * dilation if window >= 0 else 0
            dims.append((stride, dilation, window))
            sizes.append(reach + int(self.rng.integers(0, 3)))
        used = {window for _, _, window in dims}
        left = [i for i in range(len(depth)) if i not in used]
        x = self._tensor([*sizes, *(depth[i] for i in left)])
        second = self.rng.random() < 0.7
        cols = int(self._pick([1, 4, 35]))
        w = self._tensor([*depth, cols]) if second else None
        combine = self._pick(["sum", "sum", "max", "min"])
        plus = bool(self.rng.random() < 0.4)
        self.words.append(
            f"{combine} over {depth} of {sizes} -> {out} {dims} second={second} {plus=}"
        )

        def cell(*index):
            at = [
                i * stride + (axes[window] * dilation if window >= 0 else 0)
                for i, (stride, dilation, window) in zip(index, dims, strict=False)
            ]
            value = x(*at, *(axes[i] for i in left))
            if w is not None:
                times = w(*axes, index[-1])
                value = value + times if plus else value * times
            return COMBINES[combine](value, axis=axes)

        shape = [*out, cols] if second else out
        return te.compute(tuple(shape), cell, name="contraction")
