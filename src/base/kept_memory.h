#pragma once

namespace sluice {

// From now on memory that is freed stays with the process: for processes that take and free messages of megabytes
// again and again, whose pages would otherwise go back to the kernel and be cleared anew for every message.
// Cost         the process keeps the most that it ever had in use at a time, per arena of the allocator.
// Threads      any; the whole process. Does nothing where the C library has no such settings.
void KeepFreedMemory();

}  // namespace sluice
