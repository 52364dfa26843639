// The Python module tileflow_tvm._sim: converts, and nothing else.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fault.h"
#include "isa.h"
#include "kernels/bindings_kernels.h"
#include "loaded_program.h"
#include "parker.h"

namespace py = pybind11;

namespace tileflow {
namespace {

constexpr std::int64_t kNsBetweenSignalChecks = 50'000'000;

// Lets Python handle Ctrl-C while the interpreter lock is released. Python does so in its main
// thread only; others need not compete for the lock.
class SignalPoll {
 public:
  void operator()() {
    if (elsewhere_) return;
    const std::int64_t now = now_ns();
    if (now - last_ < kNsBetweenSignalChecks) return;
    last_ = now;
    const py::gil_scoped_acquire gil;
    elsewhere_ = !in_main_thread();
    if (!elsewhere_ && PyErr_CheckSignals() != 0) throw py::error_already_set();
  }

 private:
  static bool in_main_thread() {
    const py::module_ threading = py::module_::import("threading");
    return threading.attr("get_ident")().equal(threading.attr("main_thread")().attr("ident"));
  }

  bool elsewhere_ = false;  // another thread handles signals
  std::int64_t last_ = now_ns();
};

const char* name_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::kBinary: return "binary";
    case FaultKind::kVerify: return "verify";
    case FaultKind::kRun: return "run";
    case FaultKind::kCall: return "call";
  }
  return "run";
}

py::object pc_or_none(std::int64_t pc) {
  return pc == kNoPc ? py::object(py::none()) : py::object(py::int_(pc));
}

void raise_fault(const py::handle& type, const Fault& fault) {
  py::object error = type(fault.message());
  error.attr("kind") = name_of(fault.kind());
  error.attr("pc") = pc_or_none(fault.pc());
  error.attr("other_pc") = pc_or_none(fault.other_pc());
  error.attr("message") = fault.message();
  error.attr("hint") = fault.hint();
  PyErr_SetObject(type.ptr(), error.ptr());
}

[[noreturn]] void bad_call(const Argument& arg, const std::string& what) {
  throw Fault(FaultKind::kCall, "'" + arg.name + "' " + what);
}

// NumPy knows bf16 by name, from ml_dtypes. Looking at a name takes microseconds.
bool is_bf16(const py::dtype& dtype) {
  static py::handle known;  // kept for good
  if (dtype.is(known)) return true;
  const auto name = isa::kDTypeNumpyNames[static_cast<std::size_t>(isa::DType::kBf16)];
  if (dtype.itemsize() != isa::item_bytes(isa::DType::kBf16) ||
      dtype.attr("name").cast<std::string>() != name) {
    return false;
  }
  if (!known) known = py::dtype(dtype).release();
  return true;
}

// Whether `object` is an array of this element type, in the host's byte order.
bool holds(const py::handle& object, isa::DType dtype) {
  switch (dtype) {
    case isa::DType::kF32: return py::isinstance<py::array_t<float>>(object);
    case isa::DType::kI8: return py::isinstance<py::array_t<std::int8_t>>(object);
    case isa::DType::kI32: return py::isinstance<py::array_t<std::int32_t>>(object);
    case isa::DType::kBf16: break;
  }
  return py::isinstance<py::array>(object) &&
         is_bf16(py::reinterpret_borrow<py::array>(object).dtype());
}

std::byte* memory_of(const Argument& arg, const py::handle& object) {
  if (!holds(object, arg.dtype)) {
    const auto name = isa::kDTypeNumpyNames[static_cast<std::size_t>(arg.dtype)];
    bad_call(arg, "is to be a " + std::string(name) + " array");
  }
  const auto array = py::reinterpret_borrow<py::array>(object);
  if (!std::ranges::equal(std::span(array.shape(), static_cast<std::size_t>(array.ndim())),
                          arg.shape)) {
    bad_call(arg, "has another shape than the program's argument");
  }
  if ((array.flags() & py::array::c_style) == 0) bad_call(arg, "is not C-contiguous");
  const auto item = static_cast<std::uintptr_t>(isa::item_bytes(arg.dtype));
  if (reinterpret_cast<std::uintptr_t>(array.data()) % item != 0) {
    bad_call(arg, "is not aligned");
  }
  if (arg.role != isa::Role::kIn && !array.writeable()) bad_call(arg, "is read-only");
  // Inputs are only read: decoding refuses stores into them.
  return const_cast<std::byte*>(static_cast<const std::byte*>(array.data()));
}

// What is written must not share memory with any other array.
void check_apart(const Program& program, const std::vector<std::byte*>& args) {
  const auto end = [&](std::size_t i) { return args[i] + program.args[i].bytes; };
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (program.args[i].role == isa::Role::kIn) continue;
    for (std::size_t j = 0; j < args.size(); ++j) {
      if (i == j || args[i] >= end(j) || args[j] >= end(i)) continue;
      if (program.args[i].bytes == 0 || program.args[j].bytes == 0) continue;
      bad_call(program.args[i], "shares memory with '" + program.args[j].name + "'");
    }
  }
}

std::vector<std::byte*> memories_of(const Program& program, const py::tuple& arrays) {
  if (arrays.size() != program.args.size()) {
    throw Fault(FaultKind::kCall, "the program takes " + std::to_string(program.args.size()) +
                                      " arrays, not " + std::to_string(arrays.size()));
  }
  std::vector<std::byte*> args;
  args.reserve(program.args.size());
  for (std::size_t i = 0; i < program.args.size(); ++i) {
    args.push_back(memory_of(program.args[i], py::object(arrays[i])));
  }
  check_apart(program, args);
  return args;
}

// What a run did, as a mapping: most callers never look at it.
struct Figures {
  std::shared_ptr<const Program> program;
  RunReport report;
};

py::dict dict_of(const Figures& figures) {
  const auto& [shared, report] = figures;
  const Program& program = *shared;
  py::dict instructions;
  for (const auto& [mnemonic, count] : instructions_run(report.counters)) {
    instructions[py::str(mnemonic)] = count;
  }
  py::dict dram_bytes;
  for (const Traffic& traffic : dram_traffic(program, report.counters)) {
    py::dict ways;
    ways["load"] = traffic.loaded_bytes;
    ways["store"] = traffic.stored_bytes;
    dram_bytes[py::str(traffic.tensor)] = ways;
  }
  py::dict stats;
  stats["engine"] = report.engine;
  stats["simd"] = report.level;
  stats["instructions"] = instructions;
  stats["dram_bytes"] = dram_bytes;
  stats["flops"] = report.counters.flops;
  stats["wall_ns"] = report.wall_ns;
  stats["overlap_ns"] = report.overlap_ns;
  stats["verify_ns"] = report.verify_ns;
  stats["helped_bands"] = report.helped_bands;
  return stats;
}

template <std::size_t N>
py::dict named(const std::array<std::string_view, N>& names,
               const std::array<std::int64_t, N>& values) {
  py::dict dict;
  for (std::size_t i = 0; i < N; ++i) dict[py::str(std::string(names[i]))] = values[i];
  return dict;
}

// "load", "exec", "exec1", ..., "store".
std::string engine_name(std::size_t index, std::size_t engines) {
  if (index == kLoad) return "load";
  if (index + 1 == engines) return "store";
  return index == kFirstExec ? "exec" : "exec" + std::to_string(index - kFirstExec);
}

py::dict timing_of(const TimingReport& report) {
  py::dict engines, stalled;
  for (std::size_t i = 0; i < report.engines.size(); ++i) {
    const EngineTime& time = report.engines[i];
    const py::str name = engine_name(i, report.engines.size());
    engines[name] = py::make_tuple(time.busy, named(kWaitNames, time.waiting), time.idle);
    stalled[name] = report.sequencer.stalled[i];
  }
  const auto moved = [](const std::vector<Transfers>& tensors) {
    py::list list;
    for (const Transfers& t : tensors) {
      list.append(py::make_tuple(t.count, t.bytes, t.burst_bytes));
    }
    return list;
  };
  py::dict timing;
  timing["cycles"] = report.cycles;
  timing["instructions"] = report.instructions;
  timing["control"] = report.control;
  timing["engines"] = engines;
  timing["sequencer"] = py::make_tuple(report.sequencer.issuing, stalled, report.sequencer.idle);
  timing["critical_path"] = named(kSpentNames, report.path.cycles);
  timing["waits_for_room"] =
      py::dict(py::arg("queue") = report.path.queue, py::arg("slot") = report.path.slot,
               py::arg("outstanding") = report.path.outstanding);
  timing["macs"] = report.macs;
  timing["lane_cycles"] = report.lane_cycles;
  timing["dram_cycles"] = report.dram_cycles;
  timing["loads"] = moved(report.loads);
  timing["stores"] = moved(report.stores);
  return timing;
}

py::dict time(LoadedProgram& loaded, const std::vector<std::int64_t>& scalars) {
  const Poll poll = SignalPoll();
  const auto report = [&] {
    const py::gil_scoped_release release;
    return loaded.time(scalars, poll);
  }();
  return timing_of(*report);
}

Figures run(LoadedProgram& loaded, const py::sequence& given, std::vector<std::int64_t> scalars,
            const std::string& engine, const std::string& level, bool verify, int threads,
            std::int64_t hand_over, bool share_gemms) {
  const py::tuple arrays(given);  // keeps them alive, whatever becomes of the sequence
  const RunRequest request{.args = memories_of(loaded.program(), arrays),
                           .scalars = std::move(scalars),
                           .engine = engine_named(engine),
                           .level = level,
                           .verify = verify,
                           .threading = {threads, hand_over, share_gemms}};
  const Poll poll = SignalPoll();
  const py::gil_scoped_release release;
  return {loaded.shared_program(), loaded.run(request, poll)};
}

std::unique_ptr<LoadedProgram> decode(const py::bytes& file) {
  const std::string_view view = file;
  return std::make_unique<LoadedProgram>(
      std::span(reinterpret_cast<const std::uint8_t*>(view.data()), view.size()));
}

template <std::size_t N>
py::tuple names(const std::array<std::string_view, N>& all) {
  py::tuple tuple(N);
  for (std::size_t i = 0; i < N; ++i) tuple[i] = py::str(std::string(all[i]));
  return tuple;
}

void bind_program(py::module_& module) {
  py::class_<Figures>(module, "Figures", "What a run did, by name.")
      .def("keys", [](const Figures& figures) { return dict_of(figures).attr("keys")(); })
      .def("__getitem__", [](const Figures& figures, const py::str& name) {
        return py::object(dict_of(figures)[name]);
      });
  py::class_<LoadedProgram>(module, "Program",
                            "A decoded .bin. Several threads may run it at once.")
      .def(py::init(&decode), py::arg("file"))
      .def(
          "verify",
          [](LoadedProgram& loaded, const std::vector<std::int64_t>& scalars) {
            const Poll poll = SignalPoll();
            const py::gil_scoped_release release;
            return loaded.verify(scalars, poll);
          },
          py::arg("scalars") = std::vector<std::int64_t>(),
          "Proves the program for these launch scalars; the ns it took, 0 where it was proven.")
      .def("time", &time, py::arg("scalars") = std::vector<std::int64_t>(),
           "Model time for these launch scalars; proves the program unless it was.")
      .def(
          "run", &run, py::arg("arrays"), py::arg("scalars") = std::vector<std::int64_t>(),
          py::arg("engine") = "auto", py::arg("level") = "", py::arg("verify") = true,
          py::kw_only(), py::arg("threads") = 0, py::arg("hand_over") = -1,
          py::arg("share_gemms") = false,
          "Runs on arrays, one for each argument and of its dtype; `out` and `inout` ones are "
          "written.\n"
          "`threads`, `hand_over` and `share_gemms` are for tests of the threaded engine: how "
          "many\n"
          "threads, after how many instructions to wait for them (-1: never), and whether several\n"
          "compute every product, however busy the host is.");
}

}  // namespace

PYBIND11_MODULE(_sim, module) {
  module.doc() = "Decodes, verifies and runs programs.";
  // The module keeps the type alive; a fault is raised only while it is there.
  static const py::handle fault_type =
      PyErr_NewException("tileflow_tvm._sim.Fault", PyExc_Exception, nullptr);
  module.add_object("Fault", fault_type);
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const Fault& fault) {
      raise_fault(fault_type, fault);
    }
  });
  bind_program(module);
  module.def(
      "levels",
      [] {
        std::vector<std::string> all;
        for (const Kernels* kernels : available_kernels()) all.emplace_back(kernels->level);
        return all;
      },
      "The SIMD levels of this processor, slowest first.");
  module.def(
      "default_level", [] { return std::string(find_kernels("").level); },
      "The level a run uses unless it is told: TILEFLOW_SIMD, or the fastest.");
  module.attr("ISA_FINGERPRINT") = isa::kIsaFingerprint;
  module.attr("UNARY_FUNCS") = names(isa::kUnaryFuncNames);
  module.attr("BINARY_FUNCS") = names(isa::kBinaryFuncNames);
  module.attr("REDUCE_FUNCS") = names(isa::kReduceFuncNames);
  bind_kernels(module);
}

}  // namespace tileflow
