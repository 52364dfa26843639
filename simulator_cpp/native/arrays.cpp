#include "arrays.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <iterator>
#include <span>
#include <string_view>

#include "errors.h"
#include "files.h"
#include "npy.h"

namespace tileflow {
namespace {

bool is_read(const Array& array) { return array.argument.role != isa::Role::kOut; }
bool is_written(const Array& array) { return array.argument.role != isa::Role::kIn; }

std::string listing(const std::vector<Array*>& arrays) {
  std::string text;
  for (const Array* array : arrays) {
    std::string sizes;
    for (const std::int64_t size : array->argument.shape) {
      sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
    }
    text += (text.empty() ? "" : ", ") + array->argument.name + "[" + sizes + "]";
  }
  return text.empty() ? "none" : text;
}

// What files are given for: what the program reads, or writes.
struct Direction {
  const char* what;
  const char* does;
  const char* option;
  std::string Array::* file;
};
constexpr Direction kInputs{"input", "reads", "--in", &Array::input};
constexpr Direction kOutputs{"output", "writes", "--out", &Array::output};

bool is_name(std::string_view text) {
  const auto fits = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  return !text.empty() && !(text[0] >= '0' && text[0] <= '9') && std::ranges::all_of(text, fits);
}

[[noreturn]] void no_argument(const std::string& name, const std::string& text,
                              const std::vector<Array*>& arrays, const Direction& way) {
  const std::string option = way.option;
  throw InputError("the program has no argument '" + name + "' that it " + way.does + "; it " +
                       way.does + " " + listing(arrays),
                   (arrays.empty() ? "leave " + option + " out"
                                   : option + " " + arrays[0]->argument.name + "=FILE.npy") +
                       "; a file with '=' in its name is given as ./" + text);
}

// NAME=FILE by name, FILE by position among those that have no name.
void assign(const std::vector<std::string>& texts, const std::vector<Array*>& arrays,
            const Direction& way) {
  std::vector<std::string> positional;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    const std::string name = equals == std::string::npos ? "" : text.substr(0, equals);
    const auto named = std::ranges::find_if(arrays, [&](const Array* array) {
      return equals != std::string::npos && array->argument.name == name;
    });
    if (named == arrays.end()) {
      if (is_name(name)) no_argument(name, text, arrays, way);
      positional.push_back(text);
      continue;
    }
    const std::string path = text.substr(equals + 1);
    std::string& file = (*named)->*way.file;
    if (!file.empty()) {
      throw InputError(std::string(way.what) + " '" + name + "' is given twice",
                       "give one file for it: " + name + "=" + path);
    }
    file = path;
  }
  auto next = positional.begin();
  for (Array* array : arrays) {
    std::string& file = array->*way.file;
    if (file.empty() && next != positional.end()) file = *next++;
  }
  if (next != positional.end()) {
    throw InputError(std::to_string(texts.size()) + " " + way.what +
                         "s are given, the program has " + std::to_string(arrays.size()) + ": " +
                         listing(arrays),
                     std::string("leave out what is too much; ") + way.option +
                         " NAME=FILE says which is which");
  }
}

// The elements of a .npy file that is what the argument takes.
std::span<const std::uint8_t> elements(std::span<const std::uint8_t> file, const Array& array) {
  const Argument& argument = array.argument;
  const auto no_array = [&](const std::string& why) -> InputError {
    return InputError(array.input + " is no .npy array: " + why, "write one with numpy.save");
  };
  NpyHeader header;
  try {
    header = read_npy_header(file);
  } catch (const InputError& error) {
    throw no_array(error.what());
  }
  const std::string wanted(isa::kDTypeNumpyNames[static_cast<std::size_t>(argument.dtype)]);
  const auto refuse = [&](const std::string& takes) -> InputError {
    return InputError("'" + argument.name + "' takes " + takes,
                      "write another file, np.save('" + array.input +
                          "', ...), in C order, with dtype " + wanted + " and shape " +
                          shape_text(argument.shape) +
                          ", or give this one to another argument: --in NAME=" + array.input,
                      array.input);
  };
  if (!is_descr_of(header.descr, argument.dtype)) {
    throw refuse(wanted + ", not " + dtype_name(header.descr));
  }
  if (header.shape != argument.shape) {
    throw refuse("shape " + shape_text(argument.shape) + ", not " + shape_text(header.shape));
  }
  if (header.fortran_order) throw refuse("C order, not Fortran order");
  const auto data = file.subspan(header.data_at);
  const auto bytes = static_cast<std::size_t>(argument.bytes);
  if (data.size() < bytes) {
    throw no_array("it has " + std::to_string(data.size()) + " of " + std::to_string(bytes) +
                   " bytes of elements");
  }
  return data.first(bytes);
}

}  // namespace

std::vector<Array> assign_files(const Program& program, const Options& options) {
  std::vector<Array> arrays;
  for (const Argument& argument : program.args) arrays.push_back({argument, "", "", nullptr});
  std::vector<Array*> reads, writes;
  for (Array& array : arrays) {
    if (is_read(array)) reads.push_back(&array);
    if (is_written(array)) writes.push_back(&array);
  }
  assign(options.outputs, writes, kOutputs);
  std::vector<std::string> outputs;
  for (const Array* array : writes) {
    if (!array->output.empty()) outputs.push_back(array->output);
  }
  check_outputs(outputs, options.binary);
  assign(options.inputs, reads, kInputs);
  std::vector<Array*> missing;
  std::ranges::copy_if(reads, std::back_inserter(missing),
                       [](const Array* array) { return array->input.empty(); });
  if (!missing.empty()) {
    throw InputError("no array for " + listing(missing),
                     "give a file for each, --in " + missing[0]->argument.name + "=FILE.npy");
  }
  return arrays;
}

void read_arrays(std::vector<Array>& arrays) {
  for (Array& array : arrays) {
    if (!is_read(array)) {
      array.memory = allocate(static_cast<std::size_t>(array.argument.bytes));
      continue;
    }
    const std::vector<std::uint8_t> file = read_file(array.input);
    const auto data = elements(file, array);
    array.memory = allocate(data.size());
    if (!data.empty()) std::memcpy(array.memory.get(), data.data(), data.size());
  }
}

void poison_outputs(std::vector<Array>& arrays) {
  for (Array& array : arrays) {
    if (is_read(array)) continue;
    std::memset(array.memory.get(), 0xFF, static_cast<std::size_t>(array.argument.bytes));
  }
}

void write_arrays(const std::vector<Array>& arrays) {
  for (const Array& array : arrays) {
    if (array.output.empty()) continue;
    const std::string header = npy_header(array.argument.dtype, array.argument.shape);
    const auto* const data = reinterpret_cast<const std::uint8_t*>(array.memory.get());
    write_file(array.output, {{reinterpret_cast<const std::uint8_t*>(header.data()), header.size()},
                              {data, static_cast<std::size_t>(array.argument.bytes)}});
  }
}

}  // namespace tileflow
