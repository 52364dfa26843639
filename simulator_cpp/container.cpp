// Parses the container; its layout is described in tileflow_tvm/isa/container.py.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "byte_reader.h"
#include "checksum.h"
#include "program.h"

namespace tileflow {
namespace {

using isa::Section;
using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kMachineAt = 40;
constexpr std::size_t kTableAt = kMachineAt + 4 * isa::Machine::kFields;
constexpr std::size_t kHeaderBytes = kTableAt + 16 * isa::kSections;
constexpr std::array<std::string_view, isa::kSections> kSectionNames = {
    "info", "args", "scalars", "tensors", "accesses", "constants", "data", "text", "debug"};

[[noreturn]] void fail(const std::string& what) { throw Fault(FaultKind::kBinary, what); }

std::uint64_t align(std::uint64_t size) {
  return (size + isa::kSectionAlignment - 1) / isa::kSectionAlignment * isa::kSectionAlignment;
}

void check_zero(Bytes bytes, std::string_view where) {
  if (std::ranges::any_of(bytes, [](std::uint8_t byte) { return byte != 0; })) {
    fail("padding before the " + std::string(where) + " is not zero");
  }
}

// In the words of tileflow_tvm/isa/container.py.
void check_whole(Bytes file, ByteReader& header) {
  const std::string bytes = std::to_string(file.size());
  const Bytes magic = file.first(std::min(file.size(), isa::kMagic.size()));
  if (magic.empty() || !std::equal(magic.begin(), magic.end(), isa::kMagic.begin())) {
    fail("not a tileflow program: the file begins with something else");
  }
  if (file.size() < kHeaderBytes + 4) fail("truncated: " + bytes + " bytes are less than a header");
  header.take(isa::kMagic.size());
  const auto version = header.number<std::uint32_t>();
  if (version != isa::kContainerVersion) {
    fail("container version " + std::to_string(version) + " is " +
         (version > isa::kContainerVersion ? "newer" : "older") + " than this tool's, " +
         std::to_string(isa::kContainerVersion));
  }
  const auto sections = header.number<std::uint32_t>();
  const auto size = header.number<std::uint64_t>();
  if (size != file.size()) {
    fail((file.size() < size ? "truncated" : "too long") + std::string(": the file has ") + bytes +
         " bytes and says " + std::to_string(size));
  }
  ByteReader tail(file.last(4), "checksum");
  if (tail.number<std::uint32_t>() != crc32(file.first(file.size() - 4))) {
    fail("the checksum does not match: the file was altered");
  }
  if (header.number<std::uint64_t>() != isa::kIsaFingerprint) {
    fail("made for another instruction set");
  }
  if (sections != isa::kSections) {
    fail(std::to_string(sections) + " sections, not " + std::to_string(isa::kSections));
  }
}

std::array<Bytes, isa::kSections> find_sections(Bytes file, ByteReader& header) {
  std::array<Bytes, isa::kSections> found;
  std::uint64_t end = kHeaderBytes;
  for (std::size_t i = 0; i < isa::kSections; ++i) {
    const auto offset = header.number<std::uint64_t>();
    const auto length = header.number<std::uint64_t>();
    const std::uint64_t body = file.size() - 4;
    if (offset != align(end) || offset > body || length > body - offset) {
      fail("section " + std::string(kSectionNames[i]) + " lies outside the binary");
    }
    check_zero(file.subspan(end, offset - end), kSectionNames[i]);
    found[i] = file.subspan(offset, length);
    end = offset + length;
  }
  if (end != file.size() - 4) fail("bytes after the last section");
  return found;
}

void read_machine(ByteReader& header, Bytes file, Program& program) {
  const auto fingerprint = header.number<std::uint64_t>();
  std::array<std::uint32_t, isa::Machine::kFields> codes{};
  for (std::uint32_t& code : codes) code = header.number<std::uint32_t>();
  if (fingerprint != sha256_u64(file.subspan(kMachineAt, 4 * codes.size()))) {
    fail("the machine's description does not match its fingerprint");
  }
  const isa::Machine m = isa::Machine::of(codes);
  const std::uint64_t tiles = 3ULL * m.tile * m.tile * isa::item_bytes(isa::DType::kF32);
  bool ok = std::has_single_bit(m.tile) && std::has_single_bit(m.dram_burst_bytes) &&
            m.sram_bytes % 4 == 0 && m.sram_bytes >= tiles;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const auto& [low, high] = isa::kMachineBounds[i];
    ok &= codes[i] >= low && codes[i] <= high;
  }
  if (!ok) fail("the machine's description has values out of range");
  program.machine = m;
}

isa::DType read_dtype(ByteReader& in, const Program& program) {
  const int dtype = in.choice("dtype", isa::kDTypeNames.size());
  if ((program.machine.dtypes >> dtype & 1) == 0) in.fail("a dtype that the machine lacks");
  return static_cast<isa::DType>(dtype);
}

std::int64_t byte_size(ByteReader& in, isa::DType dtype, std::span<const std::int64_t> shape) {
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  std::int64_t bytes = isa::item_bytes(dtype);
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) in.fail("an array is too large");
  }
  return bytes;
}

void read_info(ByteReader in, Program& program) {
  program.name = in.text();
  program.machine_name = in.text();
  program.scratch_bytes = in.size("scratch");
  in.finish();
}

void read_args(ByteReader in, Program& program) {
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) {
    Argument& arg = program.args.emplace_back();
    arg.name = in.text();
    arg.dtype = read_dtype(in, program);
    arg.role = static_cast<isa::Role>(in.choice("role", 3));
    for (int rank = in.choice("rank", kMaxArgRank + 1); rank > 0; --rank) {
      arg.shape.push_back(in.size("a dimension"));
    }
    arg.bytes = byte_size(in, arg.dtype, arg.shape);
  }
  in.finish();
}

void read_scalars(ByteReader in, Program& program) {
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) {
    program.scalars.push_back(in.text());
  }
  if (program.scalars.size() > program.machine.scalars) {
    in.fail("more launch scalars than the machine has scalar registers");
  }
  in.finish();
}

void read_tensors(ByteReader in, Program& program) {
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) {
    Tensor& tensor = program.tensors.emplace_back();
    tensor.name = in.text();
    tensor.dtype = read_dtype(in, program);
    tensor.rank = in.choice("rank", kMaxRank + 1);
    tensor.storage = static_cast<isa::StorageKind>(in.choice("storage", 3));
    tensor.index = in.number<std::uint32_t>();
    tensor.offset = in.size("an offset");
    for (int d = 0; d < tensor.rank; ++d) tensor.shape[d] = in.size("a dimension");
    for (int d = 0; d < tensor.rank; ++d) tensor.strides[d] = in.number<std::int64_t>();
  }
  if (program.tensors.size() > program.machine.tensors)
    in.fail("more tensors than the machine has");
  in.finish();
}

void read_accesses(ByteReader in, Program& program) {
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) {
    AccessPattern& access = program.accesses.emplace_back();
    for (int dims = in.choice("number of dimensions", kMaxRank + 1); dims > 0; --dims) {
      BoxDim& dim = access.dims.emplace_back();
      dim.extent = in.number<std::uint32_t>();
      dim.tensor_dim = in.number<std::int8_t>();
      dim.step = in.number<std::int32_t>();
      dim.column = in.choice("side", 2) != 0;
      if (dim.tensor_dim < kBroadcast || dim.tensor_dim >= kMaxRank) in.fail("no such tensor dim");
      std::int64_t& side = dim.column ? access.cols : access.rows;
      if (__builtin_mul_overflow(side, std::int64_t{dim.extent}, &side)) in.fail("a box too large");
    }
    // Then sums of steps cannot overflow, and no box that can be used is refused.
    std::int64_t area = 0;
    if (__builtin_mul_overflow(access.rows, access.cols, &area) || area > (1LL << 28)) {
      in.fail("a box is larger than any SRAM");
    }
  }
  if (program.accesses.size() > program.machine.accesses) {
    in.fail("more access patterns than the machine has");
  }
  in.finish();
}

void read_constants(ByteReader in, Bytes data, Program& program) {
  std::uint64_t end = 0;
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) {
    Constant& constant = program.constants.emplace_back();
    constant.name = in.text();
    constant.dtype = read_dtype(in, program);
    constant.offset = in.size("an offset");
    constant.bytes = in.size("a size");
    const auto offset = static_cast<std::uint64_t>(constant.offset);
    const auto bytes = static_cast<std::uint64_t>(constant.bytes);
    if (offset != align(end) || offset > data.size() || bytes > data.size() - offset) {
      in.fail("'" + constant.name + "' lies outside the data");
    }
    check_zero(data.subspan(end, offset - end), constant.name);
    end = offset + bytes;
  }
  if (end != data.size()) in.fail("the data has bytes of no constant");
  in.finish();
  program.constant_data.resize(data.size());
  if (!data.empty()) std::memcpy(program.constant_data.data(), data.data(), data.size());
}

// Nothing that is computed depends on the debug section, but a damaged one is refused as well.
void read_debug(ByteReader in, Program& program) {
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) program.files.push_back(in.text());
  const auto check_file = [&](std::uint32_t file) {
    if (file != Place::kUnknown && file >= program.files.size()) in.fail("no such file");
  };
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) {
    Place place;
    for (std::uint32_t* field : {&place.pc, &place.file, &place.line, &place.col}) {
      *field = in.number<std::uint32_t>();
    }
    check_file(place.file);
    if (!program.places.empty() && place.pc <= program.places.back().pc) {
      in.fail("pc " + std::to_string(place.pc) + " is out of order");
    }
    program.places.push_back(place);
  }
  for (auto buffers = in.number<std::uint32_t>(); buffers > 0; --buffers) {
    in.text();
    in.take(8 + 8 + 4 + 4 + 4);
    check_file(in.number<std::uint32_t>());
    in.take(4 + 4);
  }
  in.finish();
}

}  // namespace

std::shared_ptr<const Program> parse_program(Bytes file) {
  auto program = std::make_shared<Program>();
  ByteReader header(file, "header");
  check_whole(file, header);
  read_machine(header, file, *program);
  const auto sections = find_sections(file, header);
  const auto section = [&](Section which) {
    const auto i = static_cast<std::size_t>(which);
    return ByteReader(sections[i], kSectionNames[i]);
  };
  read_info(section(Section::kInfo), *program);
  read_args(section(Section::kArgs), *program);
  read_scalars(section(Section::kScalars), *program);
  read_tensors(section(Section::kTensors), *program);
  read_accesses(section(Section::kAccesses), *program);
  read_constants(section(Section::kConstants), sections[static_cast<int>(Section::kData)],
                 *program);
  read_debug(section(Section::kDebug), *program);
  check_tensors(*program);
  decode_text(sections[static_cast<int>(Section::kText)], *program);
  return program;
}

}  // namespace tileflow
