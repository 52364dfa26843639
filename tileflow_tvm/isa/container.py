"""The `.bin` container: a `Program` as bytes.

Everything is little-endian, and there is one file for each program: `to_bytes(from_bytes(b)) == b`.
`str` is u16 length and that many bytes of UTF-8. `align(x)` is the next multiple of 16.

Header::

    offset  type        what
    0       8 bytes     magic 54 46 4C 4F 57 0D 0A 1A ("TFLOW\\r\\n\\x1a")
    8       u32         version of this layout, 1
    12      u32         number of sections, 9
    16      u64         size of the whole file, the checksum included
    24      u64         fingerprint of the ISA (`isa_fingerprint`; kIsaFingerprint in the header)
    32      u64         fingerprint of the machine (`Machine.fingerprint`)
    40      u32 x 18    the machine: the fields in the order of MACHINE_INTS, the last of which
                        is the bit set of its dtypes (bit i is DTYPES[i])
    112     9 x entry   the sections: u64 offset from the start of the file, u64 length
    256                 the sections' bytes

The order of MACHINE_INTS: tile, sram_bytes, load_engines, exec_engines, store_engines,
queue_depth, address_generators, extents, semaphores, scalars, loop_levels, tensors, accesses,
macs_per_cycle, vector_lanes, dram_bytes_per_cycle, dram_latency_cycles, dtypes.

Sections lie in the order below without gaps other than zero bytes up to the next multiple
of 16: offset[0] = 256, offset[i] = align(offset[i-1] + length[i-1]). The file ends with a u32
directly after the last section's bytes (no padding): the CRC-32 (zlib's) of all bytes before it.

Sections (no padding inside; a section's content ends exactly at its length)::

    0 info       str program name, str machine name, u64 bytes of DRAM scratch
    1 args       u32 count, then each: str name, u8 dtype (index into DTYPES),
                 u8 role (0 in, 1 out, 2 inout), u8 rank (0..5), u64 x rank shape
    2 scalars    u32 count, then each: str name
    3 tensors    u32 count, then each: str name, u8 dtype, u8 rank (1..5),
                 u8 storage (0 argument, 1 constant, 2 scratch), u32 index (of the argument or
                 constant; 0 for scratch), u64 byte offset in the storage,
                 u64 x rank shape, s64 x rank strides in elements
    4 accesses   u32 count, then each: u8 dims (0..5), then each dim: u32 extent,
                 s8 tensor dim (-1 broadcasts), s32 step, u8 side (0 rows, 1 columns)
    5 constants  u32 count, then each: str name, u8 dtype, u64 offset in `data`, u64 bytes;
                 offset[0] = 0, offset[i] = align(offset[i-1] + bytes[i-1])
    6 data       the constants' bytes, zeros between them; ends with the last byte of the last
    7 text       16-byte words, the instruction at pc p at 16 * p
    8 debug      u32 files, then each: str path
                 u32 runs, then each: u32 pc, u32 file, u32 line, u32 col.
                   A run holds for its pc and those up to the next run's; pcs ascend; before the
                   first run, and where file is FFFFFFFF (line and col 0), the place is unknown
                 u32 buffers, then each: str name, u64 address, u64 bytes, u32 slots,
                   u32 first pc, u32 last pc, u32 file, u32 line, u32 col (as in a run)
"""

from __future__ import annotations

MAGIC = b"TFLOW\r\n\x1a"
VERSION = 1
SECTIONS = (
    "info", "args", "scalars", "tensors", "accesses", "constants", "data", "text", "debug",
)  # fmt: skip
ALIGNMENT = 16
