// Runs a binary as if it had been proven, without the verifier: a race, or an access outside of
// SRAM, that it would refuse happens in the engines' own code. So the tests know that a sanitizer
// build reports such faults.
//
//     planted_faults FILE.bin sequential|threaded [LEVEL]
//     planted_faults FILE.bin overflow
//
// LEVEL: of the kernels. overflow: runs nothing, but adds 1 to the largest number of 64 bits; what
// kernels do differs by level and changes with them, this does not.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "engines.h"
#include "fault.h"
#include "files.h"
#include "loaded_program.h"

namespace tileflow {
namespace {

void run(const std::string& path, EngineChoice engine, const std::string& level) {
  const auto program = parse_program(read_file(path));
  const Buffers buffers(*program);
  std::vector<HostMemory> memories;
  Memory memory{buffers.sram(), buffers.scratch(), {}};
  for (const Argument& argument : program->args) {
    const auto bytes = static_cast<std::size_t>(argument.bytes);
    memories.push_back(allocate(bytes));
    std::memset(memories.back().get(), 0, bytes);
    memory.args.push_back(memories.back().get());
  }
  const std::vector<std::int64_t> scalars(program->scalars.size());
  const Poll poll = [] {};
  const Launch launch{*program, scalars, find_kernels(level), memory, poll};
  if (engine == EngineChoice::kThreaded) {
    run_threaded(launch, {.threads = kEngines, .hand_over = 0});
  } else {
    run_sequential(launch, true);
  }
}

void overflow() {
  // The compiler can neither tell what they hold nor leave their sum out.
  volatile std::int64_t most = std::numeric_limits<std::int64_t>::max();
  volatile std::int64_t one = 1;
  most = most + one;
}

}  // namespace
}  // namespace tileflow

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  if (arguments.size() < 2) return 2;
  try {
    if (arguments[1] == "overflow") {
      tileflow::overflow();
    } else {
      tileflow::run(arguments[0], tileflow::engine_named(arguments[1]),
                    arguments.size() > 2 ? arguments[2] : "");
    }
  } catch (const tileflow::Fault& fault) {
    std::cerr << "error: " << fault.message() << "\n";
    return 1;
  }
  return 0;
}
