# cmake --install: the tool, the libraries with their headers, the dataset descriptors, and a package for find_package().
# Included last: it installs every target that dptrain_library() has declared.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(TARGET dptrain)
  install(TARGETS dptrain RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/datasets/ DESTINATION ${CMAKE_INSTALL_DATADIR}/dptrain/datasets
        FILES_MATCHING PATTERN "*.yaml")

# Users of the libraries need what these were built with; where that came from a folder of sources, there is nothing to find.
get_property(bundled GLOBAL PROPERTY DPTRAIN_BUNDLED)
if(bundled)
  message(STATUS "cmake --install: the tool alone, because of libraries that are built from their sources")
  return()
endif()
get_property(libraries GLOBAL PROPERTY DPTRAIN_LIBRARIES)
install(TARGETS ${libraries} EXPORT dptrainTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/lib/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/dptrain FILES_MATCHING PATTERN "*.h")

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/dptrain)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/dptrainConfig.cmake.in ${PROJECT_BINARY_DIR}/dptrainConfig.cmake
                              INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/dptrainConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/dptrainConfig.cmake ${PROJECT_BINARY_DIR}/dptrainConfigVersion.cmake
        DESTINATION ${package})
foreach(module FindOneDNN FindxxHash FindcuDNN FindNCCL FindcuBLASLt NvidiaFolders)
  install(FILES ${CMAKE_CURRENT_LIST_DIR}/${module}.cmake DESTINATION ${package})
endforeach()
install(EXPORT dptrainTargets NAMESPACE dptrain:: DESTINATION ${package})
