#include "kernels/levels.h"
#include "kernels/make_kernels.h"
#include "kernels/vec_scalar.h"

namespace tileflow {

constinit const Kernels kScalarKernels = make_kernels<Scalar>("scalar");

}  // namespace tileflow
