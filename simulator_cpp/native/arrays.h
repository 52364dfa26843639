// The arrays of a run: read from .npy files, and written back.
#pragma once

#include <string>
#include <vector>

#include "memory.h"
#include "options.h"
#include "program.h"

namespace tileflow {

// An argument of the program, its file if it has one, and its memory.
struct Array {
  const Argument& argument;
  std::string input, output;
  HostMemory memory;
};

// One for each argument, with the files that the command line gives it.
std::vector<Array> assign_files(const Program& program, const Options& options);

// Memory for every argument, with what is in the files of those that are read.
void read_arrays(std::vector<Array>& arrays);
// Quiet NaNs into what is only written: a program that was not verified may leave elements out.
void poison_outputs(std::vector<Array>& arrays);
void write_arrays(const std::vector<Array>& arrays);

}  // namespace tileflow
