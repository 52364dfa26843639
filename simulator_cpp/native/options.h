// The command line of tileflow-sim; names and forms are those of `tileflow run`.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loaded_program.h"

namespace tileflow {

struct Scalar {
  std::string name, text;
  std::optional<std::int64_t> value;  // none: beyond 64 bits
};

struct Options {
  std::string binary;
  std::vector<std::string> inputs, outputs;
  std::vector<Scalar> scalars;
  EngineChoice engine = EngineChoice::kAuto;
  std::string level;
  bool verify = true;
  bool stats = false;
  bool json = false;
  bool help = false;
};

extern const std::string_view kUsageText;
extern const std::string_view kHelpText;

// Throws UsageError. With `help` nothing else is meant.
Options parse_options(std::span<const char* const> arguments);

}  // namespace tileflow
