# Language level, floating-point rules (C4), warnings, sanitizers, hardening. One place for flags that hold everywhere.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(STET_CCACHE ccache)
if(STET_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${STET_CCACHE})
endif()

# The baseline binary runs on any x86-64-v2; faster instruction sets live in files of their own (kernels/CMakeLists.txt).
# -ffp-contract=off: g++ fuses a*b+c by default, and then bits depend on the optimiser (exactness C4).
add_compile_options(-march=x86-64-v2 -ffp-contract=off -fno-fast-math)
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")

set(STET_WARNINGS -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-align
    -Wno-missing-field-initializers)  # designated initialisers name what differs from the default
if(STET_WERROR)
  list(APPEND STET_WARNINGS -Werror)
endif()

if(STET_SANITIZE)
  add_compile_options(-fsanitize=${STET_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${STET_SANITIZE})
  if(STET_SANITIZE MATCHES "address,undefined")
    # What the address sanitizer stops at by itself. These checks stand at every access and cost a quarter of the build.
    add_compile_options(-fno-sanitize=null,object-size,vptr)
  endif()
else()
  add_compile_options(-fstack-protector-strong -fcf-protection)
  add_compile_options($<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>)
  add_link_options(-Wl,-z,relro,-z,now -Wl,--as-needed)
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()
