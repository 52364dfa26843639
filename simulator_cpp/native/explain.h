// Faults of a program, with the source line of its instruction.
#pragma once

#include <string>

#include "errors.h"
#include "fault.h"
#include "program.h"

namespace tileflow {

// `file` is the place where the instruction's is not known.
InputError explain(const Fault& fault, const Program& program, const std::string& file);

}  // namespace tileflow
