// What instructions cost on a machine: cycles of their engine, bytes and cycles of DRAM.
#pragma once

#include <cstdint>

#include "program.h"
#include "resolve.h"

namespace tileflow {

// What one instruction asks for. All zero for one that touches nothing.
struct Demand {
  // EXEC.
  std::int64_t overhead = 0;     // cycles of filling and draining the array, or of starting up
  std::int64_t work = 0;         // cycles of the array or of the lanes
  bool array = false;            // the MAC array; else the lanes
  std::int64_t macs = 0;         // without padding
  std::int64_t lane_cycles = 0;  // elements, each times the cycles it takes
  // LOAD and STORE.
  std::int64_t bytes = 0;        // inside the tensor
  std::int64_t burst_bytes = 0;  // in whole bursts: what DRAM moves
  std::int64_t transfer = 0;     // cycles of DRAM
};

class CostModel {
 public:
  explicit CostModel(const Program& program)
      : program_(program), machine_(program.machine), tile_(program.tile()) {}

  Demand operator()(const GemmUse& use) const;
  Demand operator()(const UnaryUse& use) const;
  Demand operator()(const BinaryUse& use) const;
  Demand operator()(const SelectUse& use) const;
  Demand operator()(const ReduceUse& use) const;
  Demand operator()(const FillUse& use) const;
  Demand operator()(const TransposeUse& use) const;
  Demand operator()(const CastUse& use) const;
  Demand operator()(const AffineSelectUse& use) const;
  Demand operator()(const IotaUse& use) const;
  Demand operator()(const DmaUse& use) const;

 private:
  Demand elements(std::int64_t count, std::int64_t cycles_each = 1) const;

  const Program& program_;
  isa::Machine machine_;
  std::int64_t tile_;
};

}  // namespace tileflow
