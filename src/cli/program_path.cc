#include "cli/program_path.h"

#include <climits>
#include <cstdlib>

namespace sluice::cli {

Result<std::string> ProgramPath() {
  char path[PATH_MAX];
  if (realpath("/proc/self/exe", path) == nullptr)
    return IoError("the path of this program is not known (/proc/self/exe)");
  return std::string(path);
}

}  // namespace sluice::cli
