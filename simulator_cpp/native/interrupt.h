// Ctrl-C, noticed where it is safe to stop.
#pragma once

namespace tileflow {

// From here on SIGINT is noted, and makes a blocking read or write return.
void catch_interrupts();
// Throws Interrupted once there was a SIGINT.
void check_interrupt();

}  // namespace tileflow
