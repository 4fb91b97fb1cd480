# Flags of the whole build, and the one way to declare a library of lib/.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
find_program(DPTRAIN_CCACHE ccache)
if(DPTRAIN_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${DPTRAIN_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${DPTRAIN_CCACHE})
endif()

add_library(dptrain_flags INTERFACE)
target_compile_features(dptrain_flags INTERFACE cxx_std_20)
# Contraction is off for the whole build: a vector body and its scalar tail, and CPU and GPU, must give the same bits.
# errno and trapping are not used; dropping them changes no value and lets square roots vectorise. Device code calls constexpr
# functions (Philox, std::array) as it would any other.
set(warnings -Wall -Wextra -Wshadow -Wnon-virtual-dtor)
target_compile_options(dptrain_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:${warnings} -ffp-contract=off -fno-math-errno -fno-trapping-math>
  $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra>)
if(DPTRAIN_WERROR)
  target_compile_options(dptrain_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>
                                                 $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Werror>)
endif()
if(DPTRAIN_NATIVE)
  target_compile_options(dptrain_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(dptrain_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=x86-64-v3>)
endif()
# -O1: checked code compiles in two thirds of the time that -O2 takes.
foreach(sanitizer IN LISTS DPTRAIN_SANITIZE)
  target_compile_options(dptrain_flags INTERFACE -fsanitize=${sanitizer} -fno-omit-frame-pointer -O1 -g1)
  target_link_options(dptrain_flags INTERFACE -fsanitize=${sanitizer})
endforeach()
if("undefined" IN_LIST DPTRAIN_SANITIZE)
  target_compile_options(dptrain_flags INTERFACE -fno-sanitize-recover=all)
endif()

# Undefined behaviour is looked for in the libraries' own objects: programs and tests would take half as long again to compile. Where
# an inline function is not inlined the linker may take their copy of it, which is not checked.
add_library(dptrain_unchecked INTERFACE)
if("undefined" IN_LIST DPTRAIN_SANITIZE)
  target_compile_options(dptrain_unchecked INTERFACE -fno-sanitize=undefined)
endif()

# dptrain_library(NAME folder SOURCES ... [DEPENDS folder ...] [LINK library ...])
# One static library a folder of lib/; DEPENDS are other folders and give the direction of includes.
function(dptrain_library)
  cmake_parse_arguments(arg "" "NAME" "SOURCES;DEPENDS;LINK" ${ARGN})
  set(target dptrain_${arg_NAME})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(dptrain::${arg_NAME} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${arg_NAME})
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/lib>
                                              $<INSTALL_INTERFACE:include/dptrain>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:dptrain_flags>)
  foreach(folder IN LISTS arg_DEPENDS)
    target_link_libraries(${target} PUBLIC dptrain_${folder})
  endforeach()
  target_link_libraries(${target} PUBLIC ${arg_LINK})
  set_property(GLOBAL APPEND PROPERTY DPTRAIN_LIBRARIES ${target})
endfunction()
