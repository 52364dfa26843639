// tileflow-sim: runs a binary on arrays from files, without Python.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "arrays.h"
#include "errors.h"
#include "explain.h"
#include "fault.h"
#include "files.h"
#include "interrupt.h"
#include "loaded_program.h"
#include "options.h"
#include "report.h"

namespace tileflow {
namespace {

// What LoadedProgram::run takes, of either sign.
constexpr std::int64_t kScalarLimit = std::int64_t{1} << 40;

std::unique_ptr<LoadedProgram> load(const std::string& path) {
  const std::vector<std::uint8_t> file = read_file(path);
  const auto magic = std::span(file).first(std::min(file.size(), isa::kMagic.size()));
  const bool ours =
      !magic.empty() && std::ranges::equal(magic, std::span(isa::kMagic).first(magic.size()));
  try {
    return std::make_unique<LoadedProgram>(file);
  } catch (const Fault& fault) {
    throw InputError(
        fault.message(),
        ours ? "the file is damaged, or of another version: compile or assemble it again"
             : "a .asm file is assembled first: tileflow asm",
        display_name(path));
  }
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

[[noreturn]] void bad_launch(const std::string& what) {
  throw InputError(
      what, "give each launch parameter once, and no other, as --scalar NAME=N with |N| < 2^40");
}

// The launch scalars in the program's order.
std::vector<std::int64_t> scalars_of(const Program& program, const std::vector<Scalar>& scalars) {
  std::vector<std::string> given;
  for (std::size_t i = 0; i < scalars.size(); ++i) {
    const auto first = std::ranges::find(scalars, scalars[i].name, &Scalar::name);
    if (first != scalars.begin() + static_cast<std::ptrdiff_t>(i)) {
      bad_launch("--scalar " + first->name + " is given twice: " + first->text + " and " +
                 scalars[i].text);
    }
    given.push_back(scalars[i].name);
  }
  if (!std::ranges::is_permutation(given, program.scalars)) {
    bad_launch("the program's launch scalars are: " + joined(program.scalars) +
               "; given: " + joined(given));
  }
  std::vector<std::int64_t> values;
  for (const std::string& name : program.scalars) {
    const Scalar& scalar = *std::ranges::find(scalars, name, &Scalar::name);
    if (!scalar.value || *scalar.value <= -kScalarLimit || *scalar.value >= kScalarLimit) {
      bad_launch("launch scalar " + name + "=" + scalar.text +
                 " is not an integer below 2^40 in magnitude");
    }
    values.push_back(*scalar.value);
  }
  return values;
}

void run(const Options& options) {
  const auto loaded = load(options.binary);
  const Program& program = loaded->program();
  std::vector<Array> arrays = assign_files(program, options);
  const Poll poll = check_interrupt;
  try {
    read_arrays(arrays);
    RunRequest request{.args = {},
                       .scalars = scalars_of(program, options.scalars),
                       .engine = options.engine,
                       .level = options.level,
                       .verify = options.verify,
                       .threading = {}};
    if (!options.verify) poison_outputs(arrays);
    for (const Array& array : arrays) request.args.push_back(array.memory.get());
    const RunReport report = loaded->run(request, poll);
    write_arrays(arrays);
    if (options.json) std::cout << as_json(program, arrays, report);
    if (options.stats) std::cout << as_table(program, report);
  } catch (const Fault& fault) {
    throw explain(fault, program, display_name(options.binary));
  }
}

int run_command(std::span<const char* const> arguments) {
  try {
    const Options options = parse_options(arguments);
    if (options.help) {
      std::cout << kUsageText << kHelpText;
    } else {
      catch_interrupts();
      run(options);
    }
    if (!std::cout.flush())
      throw InputError("cannot write to standard output", "make room, or read all of it");
    return kFine;
  } catch (const UsageError& error) {
    std::cerr << kUsageText << "tileflow-sim: error: " << error.what() << "\n";
    return kUsage;
  } catch (const InputError& error) {
    std::cerr << error.text();
  } catch (const std::bad_alloc&) {
    std::cerr << "error: out of memory\nhint: use smaller arrays, or a machine with more room\n";
  } catch (const Interrupted&) {
    std::cerr << "interrupted\n";
    return kInterrupted;
  }
  return kInputAtFault;
}

}  // namespace
}  // namespace tileflow

int main(int argc, char** argv) {
  const std::vector<const char*> arguments(argv + std::min(argc, 1), argv + argc);
  return tileflow::run_command(arguments);
}
