// erf, tanh and gelu, piecewise: coefficients are looked up in registers by the interval of |x|.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/exponentials.h"

namespace tileflow {
namespace {

// Coefficients of sixteen intervals: [i][j] is that of d^i in interval j.
template <std::size_t N>
using PieceTable = float[N][16];

// The polynomial of an interval from d^I on, divided by d^I.
template <class V, std::size_t I = 0, std::size_t N>
[[gnu::always_inline]] inline typename V::F piecewise(const PieceTable<N>& pieces,
                                                      typename V::I interval, typename V::F d) {
  const auto first = V::lookup(pieces[I], interval);
  if constexpr (I + 1 == N) {
    return first;
  } else {
    return V::fma(piecewise<V, I + 1>(pieces, interval, d), d, first);
  }
}

// erf(65/256 j + d), |d| <= 65/512, but erf(d) - d for j = 0; within 2^-23.9 of erf.
alignas(64) constexpr PieceTable<6> kErf = {
    {0x0.0p+0F, 0x1.1f31b2p-2F, 0x1.0dff4ep-1F, 0x1.6fef76p-1F, 0x1.b2bb68p-1F, 0x1.dad53ep-1F,
     0x1.f00614p-1F, 0x1.f9e15cp-1F, 0x1.fdea6ep-1F, 0x1.ff5eb6p-1F, 0x1.ffd4cap-1F, 0x1.fff5c0p-1F,
     0x1.fffddap-1F, 0x1.ffff9ap-1F, 0x1.fffff0p-1F, 0x1.fffffep-1F},
    {0x1.06eba8p-3F, 0x1.0ed47cp+0F, 0x1.be6870p-1F, 0x1.436686p-1F, 0x1.9be438p-2F, 0x1.cd22a8p-3F,
     0x1.c5d04ap-4F, 0x1.8894ecp-5F, 0x1.2a875cp-6F, 0x1.8f182cp-8F, 0x1.d4fed8p-10F,
     0x1.e477d0p-12F, 0x1.b7e946p-14F, 0x1.5f2162p-16F, 0x1.ecb9d0p-19F, 0x1.2fe3b6p-21F},
    {0x1.643f0cp-22F, -0x1.130ebcp-2F, -0x1.c55c2ap-2F, -0x1.ecae4cp-2F, -0x1.a25572p-2F,
     -0x1.24b8bap-2F, -0x1.59b404p-3F, -0x1.5cd6eep-4F, -0x1.2f30aep-5F, -0x1.c870e8p-7F,
     -0x1.2a5a0ep-8F, -0x1.51e73cp-10F, -0x1.55d3c0p-12F, -0x1.24b184p-14F, -0x1.89aa32p-16F,
     -0x1.148c08p-17F},
    {-0x1.812bfep-2F, -0x1.3a9204p-2F, -0x1.202aa2p-3F, 0x1.14a304p-5F, 0x1.23e1aep-3F,
     0x1.55c2b2p-3F, 0x1.137166p-3F, 0x1.5bf540p-4F, 0x1.68d256p-5F, 0x1.3a1558p-6F, 0x1.d0d556p-8F,
     0x1.26bc4ep-9F, 0x1.41f88cp-11F, 0x1.3021ecp-13F, 0x1.f233d0p-16F, 0x1.679812p-18F},
    {0x1.560218p-12F, 0x1.056ac2p-3F, 0x1.72f228p-3F, 0x1.2d523cp-3F, 0x1.075432p-4F,
     -0x1.401a30p-7F, -0x1.71c0aap-5F, -0x1.855968p-5F, -0x1.099ca0p-5F, -0x1.0df110p-6F,
     -0x1.c59370p-8F, -0x1.71db46p-9F, -0x1.cfbe46p-12F, -0x1.71fa72p-13F, 0x1.3753f6p-11F,
     0x1.7f78b8p-12F},
    {0x1.c5cda4p-4F, 0x1.47d93ap-4F, 0x1.9f4e9ap-9F, -0x1.bc75c6p-5F, -0x1.17382cp-4F,
     -0x1.6c4a16p-5F, -0x1.919b22p-7F, 0x1.002662p-7F, 0x1.ab5616p-7F, 0x1.48751ep-7F,
     0x1.682af2p-8F, 0x1.365316p-9F, 0x1.b58eb4p-11F, 0x1.0176ecp-12F, 0x1.0019a2p-14F,
     0x1.f1a0eap-19F}};

template <class V>
[[gnu::always_inline]] inline typename V::F error_function(typename V::F x) {
  constexpr float kStep = 65.0F / 256.0F;
  const auto a = V::min_or_second(V::splat(3.9355F), absolute<V>(x));  // rounds to 1; keeps NaN
  const auto rounded = V::fma(a, V::splat(1.0F / kStep), V::splat(kRoundToInteger));
  const auto d = V::fma(rounded - V::splat(kRoundToInteger), V::splat(-kStep), a);
  const auto interval = V::bits(rounded);
  const auto first = V::less(rounded, V::splat(kRoundToInteger + 1.0F));
  const auto base = V::select(first, d, V::lookup(kErf[0], interval));
  return with_sign_of<V>(x, V::fma(piecewise<V, 1>(kErf, interval, d), d, base));
}

// tanh(a), a = b - 9/8 and d its distance from the middle of an interval of b; tanh(d) - d for the
// first interval, whose middle is a = 0. Within 2^-24.1. Intervals of b are those of kTail.
alignas(64) constexpr PieceTable<7> kTanh = {
    {0x1.9e5cb6p-1F, 0x1.d9c6fap-1F, 0x1.f1994ep-1F, 0x1.faa794p-1F, 0x1.fecd6cp-1F, 0x1.ffd678p-1F,
     0x1.fffa60p-1F, 0x1.ffff3ep-1F, 0x1.fffff6p-1F, 0x1.p+0F, 0x1.p+0F, 0x1.p+0F, 0x0.0p+0F,
     0x1.f597eap-3F, 0x1.d9353ep-2F, 0x1.45323ep-1F},
    {0x1.615002p-2F, 0x1.265e34p-3F, 0x1.c65b1cp-5F, 0x1.545202p-6F, 0x1.3238b8p-8F,
     0x1.4c3652p-11F, 0x1.67c762p-14F, 0x1.858b04p-17F, 0x1.364ea6p-21F, 0x1.7ef9fcp-25F, 0x0.0p+0F,
     0x0.0p+0F, 0x1.ad8ca8p-34F, 0x1.e149a0p-1F, 0x1.92a948p-1F, 0x1.3173b2p-1F},
    {-0x1.1df02cp-2F, -0x1.10603cp-3F, -0x1.b993e4p-5F, -0x1.50dd96p-6F, -0x1.318c4ap-8F,
     -0x1.4c9cfcp-11F, -0x1.602c9ap-14F, -0x1.bc92e2p-17F, -0x1.c1b38ep-22F, 0x1.57b526p-24F,
     0x0.0p+0F, 0x0.0p+0F, -0x1.e20d8ap-25F, -0x1.d77fc8p-3F, -0x1.74297cp-2F, -0x1.8401p-2F},
    {0x1.c69064p-4F, 0x1.33e14ep-4F, 0x1.15b508p-5F, 0x1.b79d2cp-7F, 0x1.95417cp-9F,
     0x1.ba6b3ep-12F, 0x1.df8836p-15F, 0x1.038322p-17F, 0x1.9c2026p-22F, 0x1.2200c8p-23F, 0x0.0p+0F,
     0x0.0p+0F, -0x1.5553f6p-2F, -0x1.071c2ap-2F, -0x1.81eacap-4F, 0x1.56849ep-5F},
    {0x1.b5d022p-9F, -0x1.a274d8p-6F, -0x1.ea9ebap-7F, -0x1.945bc8p-8F, -0x1.9029f0p-10F,
     -0x1.a55646p-13F, -0x1.90344ap-15F, 0x1.c65cb4p-17F, -0x1.4743ccp-21F, 0x1.a0c98ap-24F,
     0x0.0p+0F, 0x0.0p+0F, -0x1.779128p-13F, 0x1.1d284ap-3F, 0x1.540052p-3F, 0x1.916db8p-4F},
    {-0x1.077e3ap-5F, 0x1.4d7630p-10F, 0x1.249066p-8F, 0x1.34f1e0p-9F, 0x1.448d34p-11F,
     0x1.698412p-14F, 0x1.88d402p-17F, 0x1.ae8b4ap-20F, 0x1.6c85b6p-24F, 0x1.6dbf42p-25F, 0x0.0p+0F,
     0x0.0p+0F, 0x1.16c004p-3F, 0x1.24ffd4p-4F, -0x1.a4720cp-6F, -0x1.062e1ep-4F},
    {0x1.211338p-6F, 0x1.e60a76p-8F, -0x1.3805e2p-11F, -0x1.b5c62ep-9F, -0x1.b4d89ap-13F,
     -0x1.bfe83cp-15F, 0x1.87bd70p-15F, -0x1.882cfep-15F, 0x1.082a24p-22F, 0x1.9e4196p-28F,
     0x0.0p+0F, 0x0.0p+0F, -0x1.45f18ep-6F, -0x1.affd94p-5F, -0x1.a74450p-4F, 0x1.1dc410p-4F}};

template <class V>
[[gnu::always_inline]] inline typename V::F hyperbolic_tangent(typename V::F x) {
  const auto a = V::min_or_second(V::splat(9.02F), absolute<V>(x));  // rounds to 1; keeps NaN
  const auto b = V::bits(a + V::splat(1.125F));
  const auto middle =
      V::bit_or(V::bit_and(b, V::splat_bits(0xFFE00000U)), V::splat_bits(0x00100000U));
  const auto d = a - (V::from_bits(middle) - V::splat(1.125F));
  const auto interval = V::template shr<21>(b);
  const auto first = V::less(V::from_bits(b), V::splat(1.25F));
  const auto base = V::select(first, d, V::lookup(kTanh[0], interval));
  return with_sign_of<V>(x, V::fma(piecewise<V, 1>(kTanh, interval, d), d, base));
}

// Q(a) e^(a^2/2), Q being the upper tail of the normal distribution: a = b - 1 + d, where b has two
// bits after its first and 0 <= d < 2^(exponent of b) / 4; within 2^-24.4. Interval j is that of
// the b whose exponent and bits end in j.
alignas(64) constexpr PieceTable<7> kTail = {
    {0x1.0bdb2ep-2F, 0x1.a57056p-3F, 0x1.5845dcp-3F, 0x1.217252p-3F, 0x1.f1b89cp-4F, 0x1.82b4bcp-4F,
     0x1.3b0fbcp-4F, 0x1.095608p-4F, 0x1.c9e120p-5F, 0x1.66ccb8p-5F, 0x1.26b4d0p-5F, 0x1.f3ddc2p-6F,
     0x1.0000p-1F, 0x1.a7f808p-2F, 0x1.66027ap-2F, 0x1.337024p-2F},
    {-0x1.195246p-3F, -0x1.71c0bcp-4F, -0x1.00f91ep-4F, -0x1.75aaf8p-5F, -0x1.19ced8p-5F,
     -0x1.5cf9f2p-6F, -0x1.d61362p-7F, -0x1.506710p-7F, -0x1.f7d48ep-8F, -0x1.378168p-8F,
     -0x1.a5db2ep-9F, -0x1.301240p-9F, -0x1.988452p-2F, -0x1.2e8638p-2F, -0x1.cb045ep-3F,
     -0x1.63e192p-3F},
    {0x1.fcc5dap-5F, 0x1.2053c2p-5F, 0x1.5cec9cp-6F, 0x1.bf12c8p-7F, 0x1.2c02c0p-7F, 0x1.2dee2cp-8F,
     0x1.53e3e6p-9F, 0x1.a0533ap-10F, 0x1.1048b0p-10F, 0x1.0b7924p-11F, 0x1.2bad66p-12F,
     0x1.6fb692p-13F, 0x1.ffff60p-3F, 0x1.5c4d5ap-3F, 0x1.e5dcc0p-4F, 0x1.5c5f6cp-4F},
    {-0x1.9ac7f0p-6F, -0x1.9c0070p-7F, -0x1.ae7962p-8F, -0x1.f10286p-9F, -0x1.2e4968p-9F,
     -0x1.f91d94p-11F, -0x1.d54718p-12F, -0x1.e5427ap-13F, -0x1.1fa740p-13F, -0x1.c77c84p-15F,
     -0x1.a8b9e8p-16F, -0x1.b58c52p-17F, -0x1.104ab6p-3F, -0x1.581a30p-4F, -0x1.ac22a2p-5F,
     -0x1.3a24bep-5F},
    {0x1.2ca554p-7F, 0x1.1fb47ap-8F, 0x1.7d47dcp-10F, 0x1.c61edcp-11F, 0x1.1d4cc2p-11F,
     0x1.a4fff2p-13F, 0x1.fee978p-15F, 0x1.1e2c9ep-16F, 0x1.1cdac0p-16F, 0x1.84f51ep-18F,
     0x1.38706cp-19F, 0x1.c37408p-21F, 0x1.fde50ap-5F, 0x1.1e7fp-5F, 0x1.502390p-9F, 0x1.bb6fp-6F},
    {-0x1.7e4266p-9F, -0x1.c2f95ep-10F, 0x1.90ed56p-12F, 0x1.ffce5cp-17F, -0x1.cded6ap-14F,
     -0x1.6715d0p-15F, 0x1.63d548p-19F, 0x1.81b160p-17F, -0x1.c18aaap-20F, -0x1.45ce48p-21F,
     -0x1.009e90p-22F, -0x1.d9ee34p-28F, -0x1.9e59f2p-6F, -0x1.bae176p-8F, 0x1.0188a6p-4F,
     -0x1.995c4ep-5F},
    {0x1.406d30p-11F, 0x1.3406aap-11F, -0x1.06c32cp-11F, -0x1.10dcd0p-13F, 0x1.cc116ap-17F,
     0x1.ce2e80p-18F, -0x1.e23f8ap-19F, -0x1.4c8da0p-18F, 0x1.717676p-24F, 0x1.8601aep-25F,
     0x1.59cffap-26F, -0x1.d5481ap-28F, 0x1.cf1f72p-8F, -0x1.9374cep-8F, -0x1.797df6p-4F,
     0x1.f2ab6cp-5F}};

// x / 2 (1 + erf(x / sqrt 2)) = max(x, 0) - |x| Q(|x|): what is subtracted is at most half. At most
// 4 ulp off, which is 3.51 at -6.08.
template <class V>
[[gnu::always_inline]] inline typename V::F gaussian_weighted(typename V::F x) {
  constexpr std::uint32_t kSign = 0x80000000U;
  const auto a = V::min_or_second(V::splat(14.5F), absolute<V>(x));  // Q underflows; keeps NaN
  const auto minus_a = V::from_bits(V::bit_or(V::bits(a), V::splat_bits(kSign)));
  // a^2/2 = u - lost.
  const auto u = a * (a * V::splat(0.5F));
  const auto lost = V::fma(minus_a, a * V::splat(0.5F), u);
  NegativePower<V> of(u);
  of.s = of.s - lost;
  const auto two = of.template power<32>();
  const auto power = V::fma(of.q(), of.s * two, two);  // times 2^32: no denormal

  const auto b = V::bits(a + V::splat(1.0F));
  const auto start = V::from_bits(V::bit_and(b, V::splat_bits(0xFFE00000U))) - V::splat(1.0F);
  const auto tail = piecewise<V>(kTail, V::template shr<21>(b), a - start);
  return V::fma(power * (tail * minus_a), V::splat(0x1p-32F), V::max_or_second(V::splat(-0.0F), x));
}

}  // namespace
}  // namespace tileflow
