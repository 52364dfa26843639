#pragma once

#include <pybind11/pybind11.h>

namespace tileflow {

// Adds the submodule `kernels`: raw calls of every SIMD level, for tests and experiments.
void bind_kernels(pybind11::module_& module);

}  // namespace tileflow
