// Runs a binary as if it had been proven, without the verifier: a race, or an access outside of
// SRAM, that it would refuse happens in the engines' own code. So the tests know that a sanitizer
// build reports such faults.
//
//     planted_faults FILE.bin sequential|threaded [BYTES]
//
// BYTES: how far the arguments are off their alignment.
#include <algorithm>
#include <cstring>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include "engines.h"
#include "fault.h"
#include "files.h"
#include "loaded_program.h"

namespace tileflow {
namespace {

void run(const std::string& path, EngineChoice engine, std::size_t off) {
  const auto program = parse_program(read_file(path));
  const Buffers buffers(*program);
  std::vector<HostMemory> memories;
  Memory memory{buffers.sram(), buffers.scratch(), {}};
  for (const Argument& argument : program->args) {
    const auto bytes = static_cast<std::size_t>(argument.bytes);
    memories.push_back(allocate(bytes + off));
    std::memset(memories.back().get(), 0, bytes + off);
    memory.args.push_back(memories.back().get() + off);
  }
  const std::vector<std::int64_t> scalars(program->scalars.size());
  const Poll poll = [] {};
  const Launch launch{*program, scalars, find_kernels(""), memory, poll};
  if (engine == EngineChoice::kThreaded) {
    run_threaded(launch, {.threads = kEngines, .hand_over = 0});
  } else {
    run_sequential(launch, true);
  }
}

}  // namespace
}  // namespace tileflow

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  if (arguments.size() < 2) return 2;
  try {
    tileflow::run(arguments[0], tileflow::engine_named(arguments[1]),
                  arguments.size() > 2 ? std::stoul(arguments[2]) : 0);
  } catch (const tileflow::Fault& fault) {
    std::cerr << "error: " << fault.message() << "\n";
    return 1;
  }
  return 0;
}
