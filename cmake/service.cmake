# What of the parameter service needs gRPC: src/service/grpc. Without it the program says so where somebody asks for it.
set(SLUICE_HAS_SERVICE OFF)
set(SLUICE_HAS_PROMETHEUS OFF)
if(NOT SLUICE_SERVICE STREQUAL "OFF")
  find_package(Protobuf QUIET)
  find_package(gRPC CONFIG QUIET)
  find_program(SLUICE_GRPC_PLUGIN grpc_cpp_plugin)
  if(Protobuf_FOUND AND gRPC_FOUND AND SLUICE_GRPC_PLUGIN)
    set(SLUICE_HAS_SERVICE ON)
  elseif(SLUICE_SERVICE STREQUAL "ON")
    message(FATAL_ERROR "SLUICE_SERVICE: needs gRPC for C++, protobuf, protoc and grpc_cpp_plugin (scripts/packages.txt)")
  endif()
endif()
message(STATUS "Parameter service: ${SLUICE_HAS_SERVICE}")
if(NOT SLUICE_HAS_SERVICE)
  return()
endif()

set(proto_folder ${PROJECT_SOURCE_DIR}/src/service/grpc)
set(generated_folder ${PROJECT_BINARY_DIR}/generated)
set(generated)
foreach(suffix pb grpc.pb)
  list(APPEND generated ${generated_folder}/parameter_service.${suffix}.cc ${generated_folder}/parameter_service.${suffix}.h)
endforeach()
file(MAKE_DIRECTORY ${generated_folder})
add_custom_command(
  OUTPUT ${generated}
  COMMAND protobuf::protoc --proto_path=${proto_folder} --cpp_out=${generated_folder} --grpc_out=${generated_folder}
          --plugin=protoc-gen-grpc=${SLUICE_GRPC_PLUGIN} ${proto_folder}/parameter_service.proto
  DEPENDS ${proto_folder}/parameter_service.proto
  COMMENT "Generating the control messages of the parameter service")
file(GLOB grpc_sources CONFIGURE_DEPENDS ${proto_folder}/*.cc)
# An object library, so that its headers are nobody else's.
add_library(sluice_service_grpc OBJECT ${grpc_sources} ${generated})
target_include_directories(sluice_service_grpc PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_include_directories(sluice_service_grpc SYSTEM PRIVATE ${generated_folder})
target_link_libraries(sluice_service_grpc PRIVATE sluice_embedding gRPC::grpc++ protobuf::libprotobuf)
target_sources(sluice_service PRIVATE $<TARGET_OBJECTS:sluice_service_grpc>)
target_link_libraries(sluice_service PUBLIC gRPC::grpc++ protobuf::libprotobuf)
target_compile_definitions(sluice_service PRIVATE SLUICE_HAS_SERVICE=1)
if(SLUICE_SANITIZE STREQUAL "thread")  # hand_over.cc
  target_link_options(sluice_service INTERFACE -Wl,--undefined=sluice_grpc_hand_over)
  target_link_libraries(sluice_service PUBLIC ${CMAKE_DL_LIBS})
endif()
if(TARGET test_service_fast)
  target_compile_definitions(test_service_fast PRIVATE SLUICE_HAS_SERVICE=1)
endif()

find_package(prometheus-cpp CONFIG QUIET)
if(prometheus-cpp_FOUND)
  set(SLUICE_HAS_PROMETHEUS ON)
  target_compile_definitions(sluice_service PRIVATE SLUICE_HAS_PROMETHEUS=1)
  target_link_libraries(sluice_service PUBLIC prometheus-cpp::pull)
endif()
