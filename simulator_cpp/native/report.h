// What a run did: as a table for people, as JSON for scripts.
#pragma once

#include <string>
#include <vector>

#include "arrays.h"
#include "loaded_program.h"

namespace tileflow {

std::string as_table(const Program& program, const RunReport& report);
// As `tileflow run --json` prints it.
std::string as_json(const Program& program, const std::vector<Array>& arrays,
                    const RunReport& report);

}  // namespace tileflow
