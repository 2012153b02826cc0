#pragma once

namespace sluice {

// Results and operands too small for a normal floating-point number become zero, in this thread and in those it starts
// from now on. Arithmetic on such numbers takes a processor a hundred times as long: a net whose gradients die out
// would be many times slower than it was when it learned. Source: Intel 64 manual, MXCSR (FTZ, DAZ); Arm: FPCR.FZ.
// Numerics     changes nothing above 1.2e-38 (float), 2.3e-308 (double).
void FlushDenormals();

}  // namespace sluice
