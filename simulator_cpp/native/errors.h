// What ends tileflow-sim early.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace tileflow {

enum ExitCode : int { kFine = 0, kInputAtFault = 1, kUsage = 2, kInterrupted = 130 };

// What is wrong, where, and a way out, in the form of tileflow_tvm/errors.py.
class InputError : public std::exception {
 public:
  // `place` is a source line, `notes` are further lines, each with its end.
  explicit InputError(std::string what, std::string hint = "", std::string place = "",
                      std::string notes = "")
      : what_(std::move(what)),
        hint_(std::move(hint)),
        place_(std::move(place)),
        notes_(std::move(notes)) {}

  const char* what() const noexcept override { return what_.c_str(); }
  std::string text() const {
    return (place_.empty() ? "" : place_ + ": ") + "error: " + what_ + "\n" + notes_ +
           (hint_.empty() ? "" : "hint: " + hint_ + "\n");
  }

 private:
  std::string what_, hint_, place_, notes_;
};

// A command line that says nothing sensible.
class UsageError : public InputError {
  using InputError::InputError;
};

// Ctrl-C.
class Interrupted : public std::exception {};

}  // namespace tileflow
