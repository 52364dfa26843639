# Compiles everything that follows under the sanitizer TILEFLOW_SANITIZE.
set(TILEFLOW_SANITIZE_FLAGS -fsanitize=${TILEFLOW_SANITIZE} -fno-omit-frame-pointer)
if(TILEFLOW_SANITIZE STREQUAL "undefined")
  list(APPEND TILEFLOW_SANITIZE_FLAGS -fno-sanitize-recover=all)
elseif(NOT TILEFLOW_SANITIZE MATCHES "^(thread|address)$")
  message(FATAL_ERROR "TILEFLOW_SANITIZE is '${TILEFLOW_SANITIZE}', not thread, address or undefined.")
endif()

include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_FLAGS -fsanitize=${TILEFLOW_SANITIZE})
check_cxx_source_compiles("int main() { return 0; }" TILEFLOW_SANITIZER_WORKS)
unset(CMAKE_REQUIRED_FLAGS)
if(NOT TILEFLOW_SANITIZER_WORKS)
  message(FATAL_ERROR "${CMAKE_CXX_COMPILER} links nothing with -fsanitize=${TILEFLOW_SANITIZE}: "
    "install its sanitizer libraries (libtsan, libasan, libubsan; for clang: compiler-rt).")
endif()
# Fast enough to run, and reports have lines. Checks of addresses as calls: inline, they would take
# the compiler minutes.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
if(TILEFLOW_SANITIZE STREQUAL "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND TILEFLOW_SANITIZE_FLAGS --param=asan-instrumentation-with-call-threshold=0)
endif()
add_compile_options(${TILEFLOW_SANITIZE_FLAGS})
add_link_options(${TILEFLOW_SANITIZE_FLAGS})
