#include "options.h"

#include <charconv>
#include <utility>

#include "errors.h"
#include "fault.h"

namespace tileflow {

const std::string_view kUsageText =
    "usage: tileflow-sim FILE.bin [--in X.npy [X.npy ...]] [--out Y.npy [Y.npy ...]]\n"
    "                    [--engine {auto,sequential,threaded}] [--simd LEVEL] [--no-verify]\n"
    "                    [--scalar NAME=N] [--stats | --json] [-h]\n";

const std::string_view kHelpText =
    R"(
Run a binary on the simulator, as `tileflow run` does, without Python. Arrays are .npy files of
float32 in C order, in the order of the program's arguments, or NAME=FILE; - is standard input
or output.

  FILE.bin              the program
  --in X.npy [X.npy ...]
                        what the program reads
  --out Y.npy [Y.npy ...]
                        where to put what it writes
  --engine {auto,sequential,threaded}
                        auto picks by the amount of work (default); all give the same bits
  --simd LEVEL          the level of the kernels: scalar, avx2, ... (default: TILEFLOW_SIMD, or
                        the fastest of this processor); all give the same bits
  --no-verify           run it without proof that it is free of races; the sequential engine only
  --scalar NAME=N       a launch parameter of the program; may be repeated
  --stats               print what the run did
  --json                print it as JSON
  -h, --help            show this help and exit

example:
  tileflow-sim gemm.bin --in a.npy b.npy --out c.npy

exit codes: 0 fine, 1 the input is at fault, 2 usage, 130 interrupted
)";

namespace {

// A whole number as Python's int(text, 0) reads it; false where it is none.
bool read_whole_number(std::string_view text, std::optional<std::int64_t>& value) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  int base = 10;
  for (const auto& [prefix, its_base] : {std::pair{"0x", 16}, {"0o", 8}, {"0b", 2}}) {
    if (!text.starts_with(prefix)) continue;
    base = its_base;
    text.remove_prefix(2);
    break;
  }
  std::uint64_t size = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, size, base);
  if (stop != end || error == std::errc::invalid_argument) return false;
  const bool fits = error == std::errc() && size <= std::uint64_t{1} << 62;
  value.reset();
  if (fits) value = negative ? -static_cast<std::int64_t>(size) : static_cast<std::int64_t>(size);
  return true;
}

Scalar scalar(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError("argument --scalar: '" + text + "' is not of the form NAME=N");
  }
  Scalar scalar{text.substr(0, equals), text.substr(equals + 1), std::nullopt};
  if (!read_whole_number(scalar.text, scalar.value)) {
    throw UsageError("argument --scalar: '" + scalar.text + "' is not a whole number");
  }
  return scalar;
}

class Parser {
 public:
  explicit Parser(std::span<const char* const> arguments) : left_(arguments) {}

  Options parse() {
    while (!left_.empty()) {
      const std::string word = take();
      if (word == "--" && !only_files_) {
        only_files_ = true;
      } else if (is_option(word)) {
        option(word);
      } else if (options_.binary.empty()) {
        options_.binary = word;
      } else {
        throw UsageError("unrecognized arguments: " + word);
      }
      if (options_.help) return options_;
    }
    if (options_.binary.empty()) {
      throw UsageError("the following arguments are required: FILE.bin");
    }
    return options_;
  }

 private:
  std::string take() {
    std::string word = left_.front();
    left_ = left_.subspan(1);
    return word;
  }

  // A lone - is a file.
  bool is_option(std::string_view word) const {
    return !only_files_ && word.size() > 1 && word.starts_with('-');
  }

  void option(const std::string& word) {
    const std::size_t equals = word.starts_with("--") ? word.find('=') : std::string::npos;
    name_ = word.substr(0, equals);
    attached_.reset();
    if (equals != std::string::npos) attached_ = word.substr(equals + 1);
    if (flag()) {
      if (attached_) throw UsageError("argument " + name_ + ": ignored explicit argument");
    } else if (name_ == "--in") {
      files(options_.inputs);
    } else if (name_ == "--out") {
      files(options_.outputs);
    } else if (name_ == "--engine") {
      options_.engine = engine(value());
    } else if (name_ == "--simd") {
      options_.level = value();
    } else if (name_ == "--scalar") {
      options_.scalars.push_back(scalar(value()));
    } else {
      throw UsageError("unrecognized arguments: " + word);
    }
    if (options_.stats && options_.json) {
      throw UsageError("argument --json: not allowed with argument --stats");
    }
  }

  bool flag() {
    if (name_ == "-h" || name_ == "--help") return options_.help = true;
    if (name_ == "--no-verify") return !(options_.verify = false);
    if (name_ == "--stats") return options_.stats = true;
    if (name_ == "--json") return options_.json = true;
    return false;
  }

  std::string value() {
    if (attached_) return *attached_;
    if (left_.empty() || is_option(left_.front())) {
      throw UsageError("argument " + name_ + ": expected one argument");
    }
    return take();
  }

  // Every word up to the next option.
  void files(std::vector<std::string>& into) {
    if (attached_) return into.push_back(*attached_);
    if (left_.empty() || is_option(left_.front())) {
      throw UsageError("argument " + name_ + ": expected at least one argument");
    }
    while (!left_.empty() && !is_option(left_.front())) into.push_back(take());
  }

  EngineChoice engine(const std::string& name) const {
    try {
      return engine_named(name);
    } catch (const Fault& fault) {
      throw UsageError("argument " + name_ + ": " + fault.message());
    }
  }

  std::span<const char* const> left_;
  bool only_files_ = false;  // after --
  std::string name_;         // of the option at hand
  std::optional<std::string> attached_;
  Options options_;
};

}  // namespace

Options parse_options(std::span<const char* const> arguments) { return Parser(arguments).parse(); }

}  // namespace tileflow
