// The checksums of the container.
#pragma once

#include <cstdint>
#include <span>

namespace tileflow {

// CRC-32 as in zlib.
std::uint32_t crc32(std::span<const std::uint8_t> bytes);

// The first eight bytes of SHA-256 (FIPS 180-4), read as a little-endian number.
std::uint64_t sha256_u64(std::span<const std::uint8_t> bytes);

}  // namespace tileflow
