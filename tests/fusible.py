"""Compute-level functions of several operations each."""

from __future__ import annotations

from tvm import te, topi


def tensor(*shape: int, name: str = "x"):
    return te.placeholder(shape, name=name)


def feed_forward():
    x, w, b, r = (tensor(70, 45), tensor(45, 90, name="w"), tensor(90, name="b"),
                  tensor(70, 90, name="r"))  # fmt: skip
    y = topi.add(topi.matmul(x, w), b)
    gelu = te.compute(y.shape, lambda i, j: y[i, j] * te.sigmoid(y[i, j] * 1.702), name="gelu")
    return te.create_prim_func([x, w, b, r, topi.add(gelu, r)])


def softmax():
    x = tensor(37, 150)
    return te.create_prim_func([x, topi.nn.softmax(x)])


def layer_norm():
    x, scale, shift = tensor(30, 64), tensor(64, name="scale"), tensor(64, name="shift")
    return te.create_prim_func(
        [x, scale, shift, topi.nn.layer_norm(x, scale, shift, [1], 1e-5)]
    )  # fmt: skip


def attention():
    q, k, v = tensor(33, 20, name="q"), tensor(41, 20, name="k"), tensor(41, 24, name="v")
    weights = topi.nn.softmax(topi.matmul(q, k, transp_b=True))
    return te.create_prim_func([q, k, v, topi.matmul(weights, v)])


def convolution():
    x, w, b = tensor(2, 3, 9, 11), tensor(8, 3, 3, 3, name="w"), tensor(8, 1, 1, name="b")
    return te.create_prim_func([x, w, b, topi.nn.relu(topi.nn.conv2d_nchw(x, w, 1, 1, 1) + b)])


def pooled():
    x = tensor(2, 4, 12, 10)
    y = topi.nn.relu(topi.nn.pad(x, (0, 0, 1, 1), (0, 0, 1, 1), 0.5))
    return te.create_prim_func([x, topi.nn.pool2d(y, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), "max")])


FUNCTIONS = {
    f.__name__: f for f in (feed_forward, softmax, layer_norm, attention, convolution, pooled)
}


def scaled(by: float = 2.0, rows: int = 20, dtype: str = "float32"):
    x = te.placeholder((rows, 30), dtype, name="x")
    return te.create_prim_func([x, te.compute(x.shape, lambda i, j: x[i, j] * by, name="y")])
