#include "kernels/gemm_i8.h"
#include "kernels/levels.h"
#include "kernels/vec_avx512.h"

namespace tileflow {
namespace {

struct Avx512Vnni : Avx512 {
  // acc + the products of four unsigned bytes and four signed ones.
  static I dot_bytes(I acc, I a, I b) { return _mm512_dpbusd_epi32(acc, a, b); }
};

}  // namespace

void gemm_i8_vnni(const GemmArgs& args) { GemmWords<QuadsI8<Avx512Vnni>>::run(args); }

}  // namespace tileflow
