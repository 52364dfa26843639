// While one lives, SSE, AVX and AVX-512 read denormals as zeros and give zeros in place of them,
// all of their sign; a result is denormal if it is so rounded to 24 bits whatever its exponent.
// They round to the nearest even.
#pragma once

#include <immintrin.h>

namespace tileflow {
namespace {

class DenormalsAsZerosX86 {
 public:
  DenormalsAsZerosX86() : before_(_mm_getcsr()) { _mm_setcsr(kMode); }
  ~DenormalsAsZerosX86() { _mm_setcsr(before_); }
  DenormalsAsZerosX86(const DenormalsAsZerosX86&) = delete;
  DenormalsAsZerosX86& operator=(const DenormalsAsZerosX86&) = delete;

 private:
  static constexpr unsigned kMode = _MM_MASK_MASK | _MM_FLUSH_ZERO_ON | 0x0040;  // and DAZ
  unsigned before_;
};

}  // namespace
}  // namespace tileflow
