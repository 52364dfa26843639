#include "kernels/levels.h"
#include "kernels/make_kernels.h"
#include "kernels/vec_avx2.h"
#include "kernels/vec_pair.h"

namespace tileflow {

constinit const Kernels kAvx2PairKernels = make_kernels<Pair<Avx2>>("avx2x2");

}  // namespace tileflow
