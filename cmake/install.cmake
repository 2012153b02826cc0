# `cmake --install` gives a library that find_package(sluice) finds; examples/embed_in_cpp uses it.
include(GNUInstallDirs)
get_property(modules GLOBAL PROPERTY SLUICE_MODULES)
install(TARGETS sluice RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sluice FILES_MATCHING PATTERN "*.h")
