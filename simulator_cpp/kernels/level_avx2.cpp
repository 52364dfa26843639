#include "kernels/levels.h"
#include "kernels/make_kernels.h"
#include "kernels/vec_avx2.h"

namespace tileflow {

constinit const Kernels kAvx2Kernels = make_kernels<Avx2>("avx2");

}  // namespace tileflow
