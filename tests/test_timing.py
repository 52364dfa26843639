"""Model time of small programs, worked out by hand from doc/timing.md.

The constants of the machine, where a test does not change them: 1 cycle to issue and for a
semaphore, 8 to set a transfer up, 100 of latency, 64 bytes a cycle, bursts of 64, 32 to fill and to
drain the array, 8 to start a vector instruction.
"""

from __future__ import annotations

import pytest
from timed import X, Y, timed

LOAD = f"{X}agen a0, 0 pitch=1\nload a0, X, tile"


class TestSequencer:
    def test_an_empty_program_takes_no_time(self):
        assert timed("sem sem0, 3").cycles == 0

    def test_registers_loops_and_ends_take_a_cycle_each(self):
        # loop; 3 x (loop; 2 x (nop, end); end)
        timing = timed("loop 3 {\nloop 2 {\nexec.nop\n}\n}")
        assert timing.cycles == 1 + 3 * (1 + 2 * (1 + 1) + 1) == 19
        assert (timing.instructions, timing.control) == (6, 13)
        assert timing.engines["exec"].waiting["sequencer"] == 17, "two ends follow"
        assert timed("agen a0, 0\next e0 limit=4 max=4\nstride a0, l0, 4").cycles == 3

    def test_issue_cycles(self):
        assert timed("loop 3 {\nexec.nop\n}", issue_cycles=5).cycles == 5 * (1 + 3 * 2)
        assert timed("loop 3 {\nexec.nop\n}", issue_cycles=0).cycles == 0

    def test_a_loop_of_no_trips_takes_the_loop_alone(self):
        text = "agen a0, -3\nloop a0 {\nexec.nop\n}\nexec.nop"
        assert timed(text).cycles == 1 + 1 + 1

    def test_loops_with_nothing_in_them_take_no_time(self):
        assert timed("loop 1000 {\nloop 1000 {\n}\n}\nexec.nop").cycles == 1

    def test_a_full_queue_stalls(self):
        # Each fill takes 8 + 1 cycles. The first enters at 3, when agen, ext and it were issued.
        text = "agen a0, 0 pitch=1\next e0 limit=8 max=8\n" + 4 * "exec.fill a0 m=e0 n=e0 value=1\n"
        timing = timed(text, queue_depth=1)
        assert timing.cycles == 3 + 4 * 9
        # The second enters at 4 (the first has left at 3). The third, issued at 5, waits for the
        # second to leave at 12; the fourth, issued at 13, for the third to leave at 21.
        assert timing.sequencer.stalled == {"load": 0, "exec": (12 - 5) + (21 - 13), "store": 0}
        assert timing.sequencer.idle == 39 - 21
        assert timed(text, queue_depth=3).sequencer.stalled["exec"] == 0

    def test_a_full_queue_delays_the_other_engines(self):
        fills = (
            "agen a1, 256 pitch=1\next e0 limit=8 max=8\n" + 3 * "exec.fill a1 m=e0 n=e0 value=1\n"
        )
        text = f"{X}agen a0, 0 pitch=1\n{fills}load a0, X, tile"
        # Three fills from 4 on: 13, 22, 31. A queue of 1 takes the third at 13, and the load at 14.
        assert timed(text, queue_depth=1).cycles == 14 + 8 + 100 + 4
        assert timed(text).cycles == 3 + 3 + 1 + 8 + 100 + 4


class TestLoads:
    def test_one(self):
        timing = timed(LOAD)
        assert timing.cycles == 2 + 8 + 100 + 4 == 114
        load = timing.engines["load"]
        assert (load.busy, load.idle) == (8 + 4, 0)
        assert load.waiting == {"load": 0, "exec": 0, "store": 0, "sequencer": 2, "dram": 0,
                                "latency": 100}  # fmt: skip
        assert timing.critical_path == {
            "issue": 2, "semaphore": 0, "setup": 8, "latency": 100, "transfer": 4, "fill": 0,
            "array": 0, "startup": 0, "lanes": 0,
        }  # fmt: skip

    def test_latencies_overlap(self):
        # The second is set up from 10 to 18, its data move at 118; the first's from 110 to 114.
        text = f"{LOAD}\nload a0, X, tile"
        assert timed(text).cycles == 18 + 100 + 4
        assert timed(text, dma_outstanding=2).cycles == 122

    def test_as_many_as_may_be_under_way(self):
        timing = timed(f"{LOAD}\nload a0, X, tile", dma_outstanding=1)
        assert timing.cycles == 114 + 8 + 100 + 4
        # Of three, the third starts when the first has ended.
        timing = timed(f"{LOAD}\nload a0, X, tile\nload a0, X, tile", dma_outstanding=2)
        assert timing.cycles == 114 + 8 + 100 + 4

    def test_data_move_one_after_the_other(self):
        # 2 bytes a cycle: 128 cycles each. The second's could move from 118 on.
        timing = timed(f"{LOAD}\nload a0, X, tile", dram_bytes_per_cycle=2)
        assert timing.cycles == 110 + 128 + 128
        assert timing.engines["load"].busy == 8 + 2 * 128

    def test_a_nop_posts_in_its_turn(self):
        # It starts when the load has been set up, at 10, and ends with the load, at 114.
        text = f"{LOAD}\nload.nop post=sem0\nexec.nop wait=sem0"
        assert timed(text).cycles == 114 + 1
        assert timed(text, semaphore_cycles=7).cycles == 114 + 7

    def test_nothing_inside_the_tensor_is_only_set_up(self):
        text = f"{X}agen a0, 0 pitch=1\nagen a1, 8\nload a0, X[a1, 0], tile"
        timing = timed(text)
        assert timing.cycles == 3 + 8
        assert timing.dram == ()
        # It still ends after the one before, and posts then.
        timing = timed(f"{X}agen a0, 0 pitch=1\nagen a1, 8\nload a0, X, tile\n"
                       "load a0, X[a1, 0], tile post=sem0\nexec.nop wait=sem0")  # fmt: skip
        assert timing.cycles == 3 + 8 + 100 + 4 + 1


class TestBursts:
    def bursts(self, tensor: str, box: str, *coords: int, **keys: int) -> int:
        """Of one load; `tensor` is shape, strides and offset in an argument of 4096 elements."""
        agens = "".join(f"agen a{d + 1}, {c}\n" for d, c in enumerate(coords))
        at = ", ".join(f"a{d + 1}" for d in range(len(coords)))
        shape, _, rest = tensor.partition(" at ")
        text = (f".arg X f32[4096] in\n.tensor X f32{shape} at arg X {rest}\n.access box {box}\n"
                f"agen a0, 0 pitch=8\n{agens}load a0, X[{at}], box")  # fmt: skip
        (traffic,) = timed(text, sram_bytes=65536, **keys).dram
        size = keys.get("dram_burst_bytes", 64)
        assert traffic.burst_bytes % size == 0
        return traffic.burst_bytes // size

    def test_a_run_is_rounded_out_by_its_alignment(self):
        # Elements 7..8 are bytes 28..35; 15..16 are bytes 60..67 of two bursts.
        assert self.bursts("[32]", "col(2, d0)", 7) == 1
        assert self.bursts("[32]", "col(2, d0)", 15) == 2
        assert self.bursts("[32]", "col(2, d0)", 7, dram_burst_bytes=32) == 2
        assert self.bursts("[32] at + 32", "col(2, d0)", 7) == 2

    def test_rows_that_touch_are_one_run(self):
        # Four rows of 8 elements: 32 bytes each, 128 in all.
        assert self.bursts("[8, 8]", "row(4, d0), col(8, d1)", 0, 0) == 2
        assert self.bursts("[8, 8]", "row(4, d0), col(8, d1)", 1, 0) == 3
        # With gaps, 32 of each 64 bytes; from row to row the walk enters another burst.
        assert self.bursts("[8, 16]", "row(4, d0), col(8, d1)", 0, 0) == 4

    def test_rows_of_odd_length(self):
        # Elements 7..8, 16..17, 25..26, 34..35 are in bursts 0, 1, 1 and 2.
        assert self.bursts("[4, 9]", "row(4, d0), col(2, d1)", 0, 7) == 3

    def test_only_what_is_inside_counts(self):
        # Columns 28..31 of 4 rows of 32: one burst each; rows 2 and 3 are outside.
        assert self.bursts("[2, 32]", "row(4, d0), col(8, d1)", 0, 28) == 2
        assert self.bursts("[2, 32]", "row(4, d0), col(40, d1)", 0, -8) == 2 * 2

    def test_a_transposed_box_costs_what_a_plain_one_does(self):
        plain = self.bursts("[32, 32]", "row(8, d0), col(16, d1)", 0, 0)
        assert self.bursts("[32, 32]", "row(16, d1), col(8, d0)", 0, 0) == plain == 8

    def test_a_column_costs_a_burst_an_element(self):
        assert self.bursts("[32, 32]", "row(20, d0), col(1, d1)", 0, 3) == 20
        # Four elements of a burst, every second one.
        assert self.bursts("[64]", "col(8, d0, 2)", 0) == 1
        assert self.bursts("[64]", "col(8, d0, 2)", 8) == 2
        assert self.bursts("[64]", "col(8, d0, -2)", 14) == 1

    def test_what_broadcasts_is_read_once(self):
        assert self.bursts("[32]", "row(8), col(16, d0)", 0) == 1
        assert self.bursts("[32]", "row(8, d0, 0), col(16, d0)", 0) == 1

    def test_windows_that_overlap_are_read_again(self):
        # Windows of 32 elements at 0, 32, 64 touch; at 0, 8, 16 they meet bursts 0 and 1; 0, 1
        # and 2; 1 and 2.
        assert self.bursts("[128]", "row(3, d0, 32), col(32, d0)", 0) == 6
        assert self.bursts("[128]", "row(3, d0, 8), col(32, d0)", 0) == 2 + 3 + 2


class TestExec:
    def exec_cycles(self, insn: str, m: int, n: int, k: int = 0, **keys: int) -> int:
        """From entering the queue to the end."""
        text = (f"ext e0 limit={m} max=64\next e1 limit={n} max=64\next e2 limit={k} max=64\n"
                "agen a0, 0 pitch=3\nagen a1, 8192 pitch=3\nagen a2, 16384 pitch=3\n"
                "ext e3 limit=24 max=24\nagen a3, 0\n"
                + "".join(f"exec.fill a{i} m=e3 n=e3 value=1\n" for i in range(3))
                + insn)  # fmt: skip
        keys = {"sram_bytes": 65536, "vector_startup_cycles": 0, "vector_lanes": 1 << 20, **keys}
        return timed(text, **keys).cycles

    @pytest.fixture
    def before(self):
        """Eight registers and three fills of one cycle: issued at 9, 10, 11, ended at 12."""
        return 12

    @pytest.mark.parametrize(
        ("m", "n", "k", "keys", "cycles"),
        [
            (8, 8, 8, {}, 32 + 1 + 32),  # 512 multiply-adds of 1024 a cycle
            (8, 8, 8, {"macs_per_cycle": 64}, 32 + 8 + 32),  # a row a cycle
            # Partial tiles: 2 x 2 tiles of rhs, 5 rows each.
            (5, 9, 9, {"macs_per_cycle": 64}, 32 + 5 * 4 + 32),
            (5, 9, 9, {"macs_per_cycle": 100, "mac_fill_cycles": 3, "mac_drain_cycles": 4},
             3 + 13 + 4),  # 1280 / 100
            (5, 9, 9, {}, 32 + 2 + 32),
        ],
    )  # fmt: skip
    def test_gemm(self, before, m, n, k, keys, cycles):
        insn = "exec.gemm a0, a1, a2 m=e0 n=e1 k=e2 clear=always"
        assert self.exec_cycles(insn, m, n, k, **keys) == before + cycles

    @pytest.mark.parametrize(
        ("k", "keys", "cycles"),
        [
            # Work of 3 cycles: the next one follows when the array's 5 + 2 are over.
            (8, {"macs_per_cycle": 200}, 2 * 7 + (7 + 3)),
            # Work of 24 cycles: as soon as the rows are through.
            (24, {"macs_per_cycle": 64}, 2 * 24 + (7 + 24)),
        ],
    )
    def test_gemms_stream_in_behind_each_other(self, before, k, keys, cycles):
        keys = {"mac_fill_cycles": 5, "mac_drain_cycles": 2, **keys}
        insn = "exec.gemm a0, a1, a2 m=e0 n=e1 k=e2 clear=always\n"
        assert self.exec_cycles(3 * insn, 8, 8, k, **keys) == before + cycles
        # What is no gemm waits for the end, and the other way round.
        fill = "exec.fill a0 m=e0 n=e1 value=1\n"
        alone = self.exec_cycles(insn, 8, 8, k, **keys) - before
        mixed = self.exec_cycles(insn + fill + insn, 8, 8, k, **keys)
        assert mixed == before + 2 * alone + 1

    def test_gemm_of_nothing(self):
        clear = "exec.gemm a0, a1, a2 m=e0 n=e1 k=e2 clear=always"
        add = "exec.gemm a0, a1, a2 m=e0 n=e1 k=e2 clear=never"
        # k = 0 that clears is a fill of 5 x 9 (a fourth one after three: the startup counts)...
        lanes = {"vector_lanes": 8, "vector_startup_cycles": 2}
        fills = 9 + 3 * (2 + 72)
        assert self.exec_cycles(clear, 5, 9, 0, **lanes) == fills + 2 + 6
        # ... else it touches nothing.
        assert self.exec_cycles(add, 5, 9, 0, **lanes) == fills
        assert self.exec_cycles(clear, 0, 9, 9, **lanes) == fills

    @pytest.mark.parametrize(
        ("insn", "each"),
        [
            ("exec.unary.relu a0, a1", 1),
            ("exec.unary.exp a0, a1", 5),
            ("exec.unary.rsqrt a0, a1", 5),
            ("exec.unary.erf a0, a1", 5),
            ("exec.unary.gelu a0, a1", 5),
            ("exec.unary.silu a0, a1", 5),
            ("exec.binary.add a0, a1, a2", 1),
            ("exec.binary.div a0, a1, a2", 5),
            ("exec.transpose a0, a1", 1),
            ("exec.reduce.sum a3, a1 axis=cols clear=always", 1),
            ("exec.reduce.prod a3, a1 axis=rows clear=always", 1),
        ],
    )
    def test_vectors(self, insn, each):
        # 5 x 9 elements by 8 lanes are 6 steps; the fills before it take 72 steps each.
        keys = {"vector_lanes": 8, "vector_startup_cycles": 3, "function_cycles": 5}
        fills = 9 + 3 * (3 + 72)
        assert self.exec_cycles(f"{insn} m=e0 n=e1", 5, 9, **keys) == fills + 3 + 6 * each

    def test_a_reduction_of_nothing_writes_its_results(self):
        insn = "exec.reduce.sum a3, a1 axis=cols clear=always m=e0 n=e1"
        keys = {"vector_lanes": 2, "vector_startup_cycles": 3}
        fills = 9 + 3 * (3 + 288)
        assert self.exec_cycles(insn, 5, 0, **keys) == fills + 3 + 3


UNARY = "exec.unary.relu a0, a0 m=e0 n=e0"
COPY = f"{X}{Y}agen a0, 0 pitch=1\next e0 limit=8 max=8\n"


class TestSemaphores:
    def test_load_compute_store(self):
        text = (f"{COPY}load a0, X, tile post=sem0\n{UNARY} wait=sem0 post=sem1\n"
                "store a0, Y, tile wait=sem1")  # fmt: skip
        timing = timed(text)
        loaded = 3 + 8 + 100 + 4
        computed = loaded + 1 + 8 + 1
        stored = computed + 1 + 8 + 4 + 100
        assert timing.cycles == stored
        assert timing.engines["exec"].waiting["load"] == loaded + 1 - 4, "from its entry at 4"
        store = timing.engines["store"]
        assert store.waiting["exec"] == computed + 1 - 5
        assert (store.busy, store.waiting["latency"]) == (8 + 4, 100)
        assert [(t.name, t.loaded, t.stored, t.least) for t in timing.dram] == [
            ("X", 256, 0, 256), ("Y", 0, 256, 256),
        ]  # fmt: skip

    def test_the_last_of_two_tokens(self):
        # The fill (8 + 1) ends at 12, the load at 2 + 1 + 112.
        text = (f"{X}agen a0, 0 pitch=1\nagen a1, 256 pitch=1\next e0 limit=8 max=8\n"
                "load a0, X, tile post=sem0\nexec.fill a1 m=e0 n=e0 value=0 post=sem1\n"
                "store.nop wait=sem0,sem1")  # fmt: skip
        timing = timed(text)
        assert timing.cycles == 4 + 112 + 1
        assert timing.engines["store"].waiting["load"] == timing.cycles - 6

    def test_the_nth_wait_takes_the_nth_token(self):
        # An initial token, then the posts of two fills that end at 12 and 21.
        text = (
            "sem sem0, 1\nagen a1, 256 pitch=1\next e0 limit=8 max=8\n"
            + 2 * "exec.fill a1 m=e0 n=e0 value=0 post=sem0\n"
            + "load.nop wait=sem0\n"
        )
        assert timed(text).engines["load"].waiting["exec"] == 0
        assert timed(text + "load.nop wait=sem0").engines["load"].waiting["exec"] == 13 - 6
        assert timed(text + 2 * "load.nop wait=sem0\n").cycles == 21 + 1

    @pytest.mark.parametrize(("depth", "rounds"), [(1, 3), (2, 2)])
    def test_a_ring(self, depth, rounds):
        text = (
            f"{X}sem sem0, {depth}\nagen a0, 0 wrap={256 * depth} pitch=1\nstride a0, l0, 256\n"
            "ext e0 limit=8 max=8\nloop 3 {\nload a0, X, tile wait=sem0 post=sem1\n"
            f"{UNARY} wait=sem1 post=sem0\n}}"
        )
        timing = timed(text)
        # A round: set-up 8, latency 100, data 4, token 1, relu 9, token 1. The first load enters
        # at 5 and the last relu's token is nobody's. With two slots the second load starts at 13,
        # and the third as soon as the first relu has ended.
        assert timing.cycles == 5 + rounds * (8 + 100 + 4 + 1 + 9 + 1) - 1
        assert timing.waits_for_room["slot"] == rounds - 1


class TestDram:
    def test_a_later_load_leaves_a_store_its_share(self):
        # 4 bytes a cycle: 64 cycles a tile. Two loads around a store, which waits for a fill.
        text = (
            f"{X}{Y}agen a0, 0 pitch=1\nagen a1, 256 pitch=1\next e0 limit=8 max=8\n"
            "load a0, X, tile\nexec.fill a1 m=e0 n=e0 value=0 post=sem0\n"
            "store a1, Y, tile wait=sem0\nload a0, X, tile post=sem1\nexec.nop wait=sem1"
        )
        timing = timed(text, dram_bytes_per_cycle=4)
        # The first load's data move from 4 + 108 = 112 to 176. 176 .. 240 is the store's. The
        # second load is ready long before, and gets 240 .. 304.
        assert timing.engines["exec"].idle == timing.cycles - (304 + 1)
        assert timing.engines["load"].waiting["dram"] == 64
        # The fill ends at 5 + 9 = 14, the store requests at 15 + 8 and moves from 176 to 240.
        assert timing.engines["store"].waiting["dram"] == 176 - 23
        assert timing.cycles == 240 + 100

    def test_a_store_that_comes_late_holds_nobody_up(self):
        text = (f"{X}{Y}agen a0, 0 pitch=1\nagen a1, 256 pitch=1\next e0 limit=8 max=8\n"
                "load a0, X, tile\nexec.fill a1 m=e0 n=e0 value=0 post=sem0\n"
                "store a1, Y, tile wait=sem0\nload a0, X, tile")  # fmt: skip
        slow = timed(text, vector_startup_cycles=1000, dram_bytes_per_cycle=4)
        assert slow.engines["load"].idle == slow.cycles - 304
        # Its own data move when they are there: the fill ends at 5 + 1001.
        assert slow.cycles == 1006 + 1 + 8 + 64 + 100

    def test_stores_follow_each_other(self):
        text = (
            f"{Y}.access tile row(8, d0), col(8, d1)\nagen a1, 256 pitch=1\n"
            "ext e0 limit=8 max=8\n"
            "exec.fill a1 m=e0 n=e0 value=0 post=sem0\n"
            "store a1, Y, tile wait=sem0\nstore a1, Y, tile"
        )
        # The fill ends at 12; requests at 21 and 29, data 21 .. 149 and 149 .. 277 at 2 bytes.
        assert timed(text, dram_bytes_per_cycle=2).cycles == 277 + 100
        assert timed(text).cycles == 29 + 4 + 100
        # One at a time: the second starts at 21 + 4 + 100.
        assert timed(text, dma_outstanding=1).cycles == 125 + 8 + 4 + 100
