# Every library comes from the distribution; scripts/packages.txt lists the packages.
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)

# Libraries without a CMake package of their own.
function(sluice_plain_library target header library)
  find_path(${target}_INCLUDE ${header} REQUIRED)
  find_library(${target}_LIBRARY ${library} REQUIRED)
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} INTERFACE ${${target}_INCLUDE})
  target_link_libraries(${target} INTERFACE ${${target}_LIBRARY})
endfunction()
sluice_plain_library(xxHash::xxhash xxhash.h xxhash)
sluice_plain_library(zstd::zstd zstd.h zstd)
# The distribution's own package of oneDNN also asks for OpenCL, which nothing here uses.
sluice_plain_library(dnnl::dnnl oneapi/dnnl/dnnl.hpp dnnl)
