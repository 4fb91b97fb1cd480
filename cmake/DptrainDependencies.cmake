# Where each library comes from: the system (Debian packages, which scripts/bootstrap installs), or where it has none the
# sources in the folder that DPTRAIN_SOURCES names. What is not needed may be absent; the build is smaller then, and says so.

include(DptrainSources)
find_package(Threads REQUIRED)

# ---- needed
find_package(fmt 9 QUIET)                    # libfmt-dev: messages
find_package(yaml-cpp 0.7 QUIET)             # libyaml-cpp-dev: the YAML event parser, used by lib/spec alone
find_package(nlohmann_json 3.11 QUIET)       # nlohmann-json3-dev: metrics, summaries, checkpoint state
find_package(CLI11 2 QUIET)                  # libcli11-dev: the command line, used by apps alone
find_package(xxHash QUIET)                   # libxxhash-dev: weight hashes
if(DPTRAIN_TESTS)
  find_package(doctest QUIET)                # doctest-dev: the test framework
  find_package(rapidcheck QUIET)             # librapidcheck-dev: property tests
endif()
from_sources(fmt fmt::fmt INCLUDE include HEADER fmt/format.h SOURCES src/format.cc)
from_sources(yaml-cpp yaml-cpp INCLUDE include HEADER yaml-cpp/yaml.h SOURCES src/*.cpp)
from_sources(nlohmann-json nlohmann_json::nlohmann_json INCLUDE include HEADER nlohmann/json.hpp)
from_sources(CLI11 CLI11::CLI11 INCLUDE include HEADER CLI/CLI.hpp)
from_sources(xxHash xxHash::xxhash INCLUDE . HEADER xxhash.h SOURCES xxhash.c)
if(TARGET bundled_yaml-cpp)
  target_compile_options(bundled_yaml-cpp PRIVATE -include cstdint)  # 0.7 and 0.8 forget it, which GCC 13 and later notice
endif()
if(DPTRAIN_TESTS)
  from_sources(doctest doctest::doctest INCLUDE . HEADER doctest/doctest.h)
endif()

set(needed fmt::fmt yaml-cpp nlohmann_json::nlohmann_json CLI11::CLI11 xxHash::xxhash)
if(DPTRAIN_TESTS)
  list(APPEND needed doctest::doctest)
endif()
set(missing)
foreach(target IN LISTS needed)
  if(NOT TARGET ${target})
    string(REGEX REPLACE "::.*" "" name ${target})
    list(APPEND missing ${name})
  endif()
endforeach()
if(missing)
  list(JOIN missing ", " missing)
  message(FATAL_ERROR "Not found: ${missing}.\nInstall the packages (on Debian and Ubuntu scripts/bootstrap does), or give "
                      "their sources: `scripts/collect_sources FOLDER` on a machine with a network, then "
                      "-DDPTRAIN_SOURCES=FOLDER here.")
endif()

# ---- may be absent
find_package(ZLIB QUIET)                     # zlib1g-dev: gzipped datasets
find_package(CURL QUIET)                     # libcurl4-openssl-dev: dataset downloads
find_package(OpenSSL QUIET COMPONENTS Crypto)  # libssl-dev: SHA-256 of dataset files
find_package(JPEG QUIET)                     # libjpeg-dev, which is libjpeg-turbo's: JPEG datasets
find_package(PNG 1.6 QUIET)                  # libpng-dev: PNG datasets
find_package(LibArchive QUIET)               # libarchive-dev: compressed archives
find_package(OneDNN 2.6 QUIET)               # libdnnl-dev: oneDNN, the CPU kernels
find_package(MPI 3 QUIET COMPONENTS C)       # libopenmpi-dev, and openmpi-bin to start with: more than one process
from_sources(zlib ZLIB::ZLIB INCLUDE . HEADER zlib.h SOURCES *.c)
if(TARGET bundled_zlib)
  target_compile_definitions(bundled_zlib PRIVATE HAVE_UNISTD_H)
endif()

# dptrain_have(VARIABLE target cost): whether there is the library; where there is not, what that costs.
function(dptrain_have variable target cost)
  if(TARGET ${target})
    set(${variable} TRUE PARENT_SCOPE)
  else()
    set(${variable} FALSE PARENT_SCOPE)
    message(STATUS "WITHOUT ${cost}")
  endif()
endfunction()
dptrain_have(DPTRAIN_HAVE_ZLIB ZLIB::ZLIB "zlib: this build reads no gzipped files")
dptrain_have(DPTRAIN_HAVE_CURL CURL::libcurl "libcurl: this build downloads no datasets")
dptrain_have(DPTRAIN_HAVE_OPENSSL OpenSSL::Crypto "OpenSSL: the hashes of datasets are computed by slower code of our own")
dptrain_have(DPTRAIN_HAVE_JPEG JPEG::JPEG "libjpeg-turbo: this build reads no JPEGs")
dptrain_have(DPTRAIN_HAVE_PNG PNG::PNG "libpng: this build reads no PNGs")
dptrain_have(DPTRAIN_HAVE_LIBARCHIVE LibArchive::LibArchive "libarchive: this build reads no compressed archives")
dptrain_have(DPTRAIN_HAVE_ONEDNN OneDNN::OneDNN "oneDNN: this build trains on GPUs alone, and tests of the CPU are left out")
set(mpi MPI::MPI_C)
if(NOT MPI_FOUND)
  set(mpi MPI::none)  # FindMPI makes its target where there is no MPI too
endif()
dptrain_have(DPTRAIN_HAVE_MPI ${mpi} "MPI: this build trains in one process alone")
if(DPTRAIN_TESTS)
  dptrain_have(DPTRAIN_HAVE_RAPIDCHECK rapidcheck "rapidcheck: property tests are left out")
endif()
if(NOT DPTRAIN_HAVE_ONEDNN AND NOT DPTRAIN_CUDA)
  message(FATAL_ERROR "Neither oneDNN 2.6 (libdnnl-dev) was found nor is DPTRAIN_CUDA on: there would be nothing to train on. "
                      "scripts/bootstrap installs oneDNN on Debian and Ubuntu.")
endif()
