// Files: clean errors, and outputs that are whole or absent.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tileflow {

inline constexpr std::string_view kStandard = "-";  // standard input or output

inline std::string display_name(const std::string& path) {
  return path == kStandard ? "<stdin>" : path;
}

// The bytes of a file, a pipe, or standard input.
std::vector<std::uint8_t> read_file(const std::string& path);

// Throws InputError for outputs that cannot work, before the work is done.
void check_outputs(const std::vector<std::string>& outputs, const std::string& input);

// Writes `parts` one behind the other: aside, then renamed. Devices, pipes and standard output are
// written to as they are.
void write_file(const std::string& path, const std::vector<std::span<const std::uint8_t>>& parts);

}  // namespace tileflow
