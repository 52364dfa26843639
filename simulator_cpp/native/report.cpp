#include "report.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>
#include <utility>

namespace tileflow {
namespace {

std::string formatted(const char* format, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

// 1234567 -> "1,234,567".
std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

// 4096 -> "4.0 KiB"; below 1 KiB in plain bytes.
std::string in_bytes(std::int64_t count) {
  if (count < 1024) return std::to_string(count) + " B";
  auto size = static_cast<double>(count);
  const char* unit = "B";
  for (const char* larger : {"KiB", "MiB", "GiB"}) {
    if (size < 1024) break;
    size /= 1024;
    unit = larger;
  }
  return formatted("%.1f ", size) + unit;
}

std::string quoted(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) {
      json += c;
      continue;
    }
    std::array<char, 8> escape{};
    std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
    json += escape.data();
  }
  return json + '"';
}

// A JSON value with its members, each on a line of its own.
class Members {
 public:
  explicit Members(int depth) : depth_(depth) {}

  void add(const std::string& value) {
    text_ += (text_.empty() ? "" : ",") + line(depth_ + 1) + value;
  }
  void add(std::string_view name, const std::string& value) { add(quoted(name) + ": " + value); }
  void add(std::string_view name, std::int64_t value) { add(name, std::to_string(value)); }
  std::string in(char open, char close) const {
    return open + (text_.empty() ? "" : text_ + line(depth_)) + close;
  }
  std::string object() const { return in('{', '}'); }
  std::string list() const { return in('[', ']'); }

 private:
  static std::string line(int depth) {
    return "\n" + std::string(2 * static_cast<std::size_t>(depth), ' ');
  }

  int depth_;
  std::string text_;
};

std::string outputs_json(const std::vector<Array>& arrays) {
  Members outputs(1);
  for (const Array& array : arrays) {
    if (array.argument.role == isa::Role::kIn) continue;
    Members shape(3);
    for (const std::int64_t size : array.argument.shape) shape.add(std::to_string(size));
    Members output(2);
    output.add("name", quoted(array.argument.name));
    output.add("shape", shape.list());
    const auto dtype = static_cast<std::size_t>(array.argument.dtype);
    output.add("dtype", quoted(std::string(isa::kDTypeNumpyNames[dtype])));
    output.add("file", array.output.empty() ? "null" : quoted(array.output));
    outputs.add(output.object());
  }
  return outputs.list();
}

std::string stats_json(const Program& program, const RunReport& report) {
  Members instructions(2);
  for (const auto& [mnemonic, count] : instructions_run(report.counters)) {
    instructions.add(mnemonic, count);
  }
  Members dram_bytes(2);
  for (const Traffic& traffic : dram_traffic(program, report.counters)) {
    Members ways(3);
    ways.add("load", traffic.loaded_bytes);
    ways.add("store", traffic.stored_bytes);
    dram_bytes.add(traffic.tensor, ways.object());
  }
  Members stats(1);
  stats.add("engine", quoted(report.engine));
  stats.add("simd", quoted(report.level));
  stats.add("instructions", instructions.object());
  stats.add("dram_bytes", dram_bytes.object());
  stats.add("flops", report.counters.flops);
  stats.add("wall_ns", report.wall_ns);
  stats.add("overlap_ns", report.overlap_ns);
  stats.add("verify_ns", report.verify_ns);
  stats.add("helped_bands", report.helped_bands);
  return stats.object();
}

}  // namespace

std::string as_table(const Program& program, const RunReport& report) {
  auto instructions = instructions_run(report.counters);
  std::ranges::sort(instructions);
  std::int64_t total = 0;
  for (const auto& row : instructions) total += row.second;
  std::int64_t loaded = 0;
  std::int64_t stored = 0;
  for (const Traffic& traffic : dram_traffic(program, report.counters)) {
    loaded += traffic.loaded_bytes;
    stored += traffic.stored_bytes;
  }
  const auto wall = static_cast<double>(report.wall_ns);
  const double overlap = wall > 0 ? static_cast<double>(report.overlap_ns) / wall : 0;
  std::vector<std::pair<std::string, std::string>> rows = {
      {"engine", std::string(report.engine) + ", " + report.level + " kernels"},
      {"instructions", grouped(total)}};
  for (const auto& [mnemonic, count] : instructions)
    rows.emplace_back("  " + mnemonic, grouped(count));
  rows.emplace_back("DRAM read", in_bytes(loaded));
  rows.emplace_back("DRAM written", in_bytes(stored));
  rows.emplace_back("FLOPs", grouped(report.counters.flops));
  rows.emplace_back("wall time", formatted("%.3f ms", wall / 1e6));
  rows.emplace_back("DMA and compute both busy", formatted("%.0f%% of it", 100 * overlap));
  constexpr std::size_t kWidth = 28;
  std::string text;
  for (auto& [name, value] : rows) {
    name.resize(std::max(kWidth, name.size() + 1), ' ');
    text += name + value + "\n";
  }
  return text;
}

std::string as_json(const Program& program, const std::vector<Array>& arrays,
                    const RunReport& report) {
  Members all(0);
  all.add("program", quoted(program.name));
  all.add("machine", quoted(program.machine_name));
  all.add("outputs", outputs_json(arrays));
  all.add("stats", stats_json(program, report));
  return all.object() + "\n";
}

}  // namespace tileflow
