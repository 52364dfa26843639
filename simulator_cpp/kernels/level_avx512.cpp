#include "kernels/levels.h"
#include "kernels/make_kernels.h"
#include "kernels/vec_avx512.h"

namespace tileflow {

constinit const Kernels kAvx512BaseKernels = make_kernels<Avx512>("avx512bw");

}  // namespace tileflow
