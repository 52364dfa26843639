"""The passes as TVM passes, and what each leaves as text."""

from __future__ import annotations

import pytest
import tvm
from marked_source import assert_points_at_mark, load, write_source

from tileflow_tvm.errors import KernelError, MachineError
from tileflow_tvm.frontend.read import read
from tileflow_tvm.frontend.write import write
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.infer_scope import infer_scope
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram
from tileflow_tvm.passes.registry import NAMES, as_pass, passes

MACHINE = Machine.load("tileflow")

SCALED = """
for i in T.tf.pipelined(4, stages=2):
    x = T.alloc_buffer((32, 64))
    T.tile.copy(x, A[i * 32 : i * 32 + 32, 0:64])
    T.tf.exp(x, scale=0.5)
    T.tile.copy(C[i * 32 : i * 32 + 32, 0:64], x)
"""

HEAD = """\
@T.prim_func
def kernel(A: T.Buffer((100, 64), "float32"), C: T.Buffer((100, 64), "float32"), \
V: T.Buffer((64,), "float32"), n: T.int32):
    T.func_attr({"tileflow.roles": ["in", "out", "in"]ATTRS})
    for i in T.serial(4, annotations={"stages": 2}):
        x = T.alloc_buffer((32, 64)ALLOC)
"""

ROWS = "extents=[T.max(T.min(100 - i * 32, 32), 0), 64]"

GOLDEN = {
    "read": HEAD.replace("ATTRS", "").replace("ALLOC", "") + """\
        T.tile.tf.copy(x[0:32, 0:64], A[i * 32:i * 32 + 32, 0:64])
        T.tile.tf.unary(x[0:32, 0:64], func="exp", scale=0.5)
        T.tile.tf.copy(C[i * 32:i * 32 + 32, 0:64], x[0:32, 0:64])""",
    "infer_scope": HEAD.replace("ATTRS", "").replace("ALLOC", ', scope="tile.grid"') + f"""\
        T.tile.tf.load(x[0:32, 0:64], A[i * 32:i * 32 + 32, 0:64], {ROWS})
        T.tile.tf.unary(x[0:32, 0:64], {ROWS}, func="exp", scale=0.5)
        T.tile.tf.store(C[i * 32:i * 32 + 32, 0:64], x[0:32, 0:64], {ROWS})""",
    "plan_sram": HEAD.replace("ATTRS", "").replace(
        "ALLOC", ', scope="tile.grid", annotations={"address": 0, "slots": 2}'
    ) + f"""\
        T.tile.tf.load(x[0:32, 0:64], A[i * 32:i * 32 + 32, 0:64], {ROWS})
        T.tile.tf.unary(x[0:32, 0:64], {ROWS}, func="exp", scale=0.5)
        T.tile.tf.store(C[i * 32:i * 32 + 32, 0:64], x[0:32, 0:64], {ROWS})""",
    "pipeline": HEAD.replace(
        "ATTRS", ', "tileflow.semaphores": [["load", "exec", 0], ["exec", "store", 0], '
                 '["store", "load", 2]]'
    ).replace("ALLOC", ', scope="tile.grid", annotations={"address": 0, "slots": 2}') + f"""\
        T.tile.tf.load(x[0:32, 0:64], A[i * 32:i * 32 + 32, 0:64], {ROWS}, post=[0], \
wait=[2])
        T.tile.tf.unary(x[0:32, 0:64], {ROWS}, func="exp", post=[1], scale=0.5, wait=[0])
        T.tile.tf.store(C[i * 32:i * 32 + 32, 0:64], x[0:32, 0:64], {ROWS}, post=[2], wait=[1])""",
}  # fmt: skip


def test_what_each_stage_prints(tmp_path):
    program = read(load(write_source(tmp_path, SCALED)))
    for stage, text in GOLDEN.items():
        if stage != "read":
            step = {"infer_scope": infer_scope, "plan_sram": plan_sram, "pipeline": pipeline}
            program = step[stage](program, MACHINE)
        printed = write(program).script()
        assert printed[printed.index("@T.prim_func") :] == text, stage


def test_a_sequence_of_passes_does_what_the_functions_do(tmp_path):
    func = load(write_source(tmp_path, SCALED)).with_attr("mine", 7)
    seen = []

    @tvm.instrument.pass_instrument
    class Watch:
        def run_before_pass(self, _module, info):
            seen.append(info.name)

    with tvm.transform.PassContext(instruments=[Watch()]):
        module = tvm.transform.Sequential(passes(MACHINE))(tvm.IRModule({"main": func}))
    after = module["main"]
    assert [name for name in seen if name in NAMES] == list(NAMES)
    assert after.attrs["mine"] == 7
    by_hand = read(func)
    for step in (infer_scope, plan_sram, pipeline):
        by_hand = step(by_hand, MACHINE)
    assert emit(read(after), MACHINE).insns == emit(by_hand, MACHINE).insns


def test_an_error_comes_through_tvm_with_its_class_and_place(tmp_path):
    path = write_source(tmp_path, "T.tf.copy(C, A)  # HERE")
    module = tvm.IRModule({"main": load(path)})
    with pytest.raises(KernelError, match="both in DRAM") as caught:
        as_pass("infer_scope", "tileflow")(module)
    assert_points_at_mark(caught.value, path)
    assert caught.value.hint == "load into a block, then store the block"


def test_the_machine_may_be_an_attribute_of_the_function(tmp_path):
    small = tmp_path / "small.toml"
    small.write_text(MACHINE.replace(name="small", sram_bytes=4 * 4096).to_toml())
    func = load(write_source(tmp_path, SCALED.replace("T.tf.pipelined(4, stages=2)", "range(4)")))
    module = tvm.IRModule({"main": func.with_attr("tileflow.machine", str(small))})
    for name in ("infer_scope", "plan_sram"):
        module = as_pass(name)(module)
    buffer = read(module["main"]).body[0].body[0].buffer
    assert buffer.slots == 2, "the default machine has room for three"
    with pytest.raises(MachineError, match="no machine is called 'nonesuch'"):
        as_pass("infer_scope")(
            tvm.IRModule({"main": func.with_attr("tileflow.machine", "nonesuch")})
        )


def test_an_unknown_pass_is_named():
    with pytest.raises(ValueError, match="no pass 'inline'; there are legalize, lift"):
        as_pass("inline")
