// What is wrong with a program, as an exception.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace tileflow {

// kBinary: bytes that are no program. kVerify: a program that is not well-synchronised or leaves
// its memory. kRun: the run itself (levels, memory). kCall: arrays that do not fit.
enum class FaultKind : std::uint8_t { kBinary, kVerify, kRun, kCall };

inline constexpr std::int64_t kNoPc = -1;

// The hint where a program cannot be proven, right or wrong.
inline constexpr const char* kUnproven =
    "run it unproven, on the sequential engine (--no-verify, verify=False), or make it smaller";
// Ends the hint of a fault that no kernel can be to blame for.
inline constexpr const char* kDefect =
    "; in compiled code it is a defect of the compiler: report it with the kernel and what "
    "--dump-passes wrote";

class Fault : public std::exception {
 public:
  Fault(FaultKind kind, std::string message, std::int64_t pc = kNoPc, std::int64_t other = kNoPc,
        std::string hint = "")
      : kind_(kind),
        message_(std::move(message)),
        hint_(std::move(hint)),
        pc_(pc),
        other_pc_(other) {}

  const char* what() const noexcept override { return message_.c_str(); }
  FaultKind kind() const { return kind_; }
  const std::string& message() const { return message_; }
  // What to do about it; may be empty.
  const std::string& hint() const { return hint_; }
  // The instruction at fault and the other side of a conflict; kNoPc where there is none.
  std::int64_t pc() const { return pc_; }
  std::int64_t other_pc() const { return other_pc_; }

 private:
  FaultKind kind_;
  std::string message_;
  std::string hint_;
  std::int64_t pc_;
  std::int64_t other_pc_;
};

}  // namespace tileflow
