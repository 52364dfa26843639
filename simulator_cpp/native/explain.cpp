#include "explain.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

namespace tileflow {
namespace {

// A binary may name anything as its source.
constexpr std::size_t kLongestLine = 400;

const Place* place_of(std::int64_t pc, const Program& program) {
  const auto& places = program.places;
  const auto after = std::ranges::upper_bound(places, pc, {}, &Place::pc);
  if (after == places.begin()) return nullptr;
  const Place& place = *std::prev(after);
  return place.file == Place::kUnknown ? nullptr : &place;
}

std::string text_of(const Place* place, const Program& program) {
  if (place == nullptr) return "";
  const std::string column = place->col == 0 ? "" : ":" + std::to_string(place->col);
  return program.files[place->file] + ":" + std::to_string(place->line) + column;
}

// The source line with a caret below the column; empty where it cannot be read.
std::string excerpt(const Place* place, const Program& program) {
  std::error_code ignored;
  if (place == nullptr || !std::filesystem::is_regular_file(program.files[place->file], ignored)) {
    return "";
  }
  std::ifstream source(program.files[place->file]);
  std::string line;
  for (std::uint32_t number = 0; number < place->line; ++number) {
    if (!std::getline(source, line)) return "";
  }
  line.erase(line.find_last_not_of(" \t\r") + 1);
  if (line.empty() || line.size() > kLongestLine) return "";
  const std::string shown = "    " + line + "\n";
  if (place->col == 0 || place->col > line.size()) return shown;
  return shown + std::string(3 + place->col, ' ') + "^\n";
}

}  // namespace

InputError explain(const Fault& fault, const Program& program, const std::string& file) {
  const Place* const place = place_of(fault.pc(), program);
  std::string notes = excerpt(place, program);
  const std::string other = text_of(place_of(fault.other_pc(), program), program);
  if (!other.empty()) notes += "the other one comes from " + other + "\n";
  const std::string where = text_of(place, program);
  return InputError(fault.message(), fault.hint(), where.empty() ? file : where, notes);
}

}  // namespace tileflow
