# Libraries built from a folder of their sources, where the system does not have them: DPTRAIN_SOURCES holds a folder for
# each, as unpacked from its release or by scripts/collect_sources. The targets are our own and as small as what we use of
# them: the libraries' own build files expect other versions of CMake, tests, and more.

set(DPTRAIN_SOURCES "" CACHE PATH "Folder with sources of libraries that the system lacks; scripts/collect_sources fills one")
if(DPTRAIN_SOURCES AND NOT IS_DIRECTORY ${DPTRAIN_SOURCES})
  message(FATAL_ERROR "DPTRAIN_SOURCES: there is no folder ${DPTRAIN_SOURCES}")
endif()

# source_folder(VARIABLE file): the folder in DPTRAIN_SOURCES that holds `file`, whatever its name; empty where there is none.
function(source_folder variable file)
  set(${variable} "" PARENT_SCOPE)
  if(DPTRAIN_SOURCES)
    file(GLOB found ${DPTRAIN_SOURCES}/*/${file})
    if(found)
      list(GET found 0 first)
      string(REPLACE "/${file}" "" first ${first})
      set(${variable} ${first} PARENT_SCOPE)
    endif()
  endif()
endfunction()

# from_sources(NAME TARGET INCLUDE folder HEADER file [SOURCES pattern ...]): TARGET from the sources, if they are there and
# the system has none. Headers are the system's to the compiler: their warnings are not ours.
function(from_sources name target)
  cmake_parse_arguments(arg "" "INCLUDE;HEADER" "SOURCES" ${ARGN})
  if(TARGET ${target})
    return()
  endif()
  string(REGEX REPLACE "^\\./" "" header ${arg_INCLUDE}/${arg_HEADER})
  source_folder(folder ${header})
  if(NOT folder)
    return()
  endif()
  set(own bundled_${name})
  if(arg_SOURCES)
    list(TRANSFORM arg_SOURCES PREPEND ${folder}/)
    file(GLOB sources CONFIGURE_DEPENDS ${arg_SOURCES})
    add_library(${own} STATIC EXCLUDE_FROM_ALL ${sources})
    target_include_directories(${own} SYSTEM PUBLIC ${folder}/${arg_INCLUDE})
    target_compile_options(${own} PRIVATE -w)
  else()
    add_library(${own} INTERFACE)
    target_include_directories(${own} SYSTEM INTERFACE ${folder}/${arg_INCLUDE})
  endif()
  add_library(${target} ALIAS ${own})
  set_property(GLOBAL APPEND PROPERTY DPTRAIN_BUNDLED ${name})
  message(STATUS "${name}: built from ${folder}")
endfunction()
