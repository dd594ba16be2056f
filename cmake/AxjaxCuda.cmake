# SPDX-License-Identifier: Apache-2.0
# Builds the Python module `_cuda` where there is a CUDA compiler. It is sought, in this
# order: CMAKE_CUDA_COMPILER or $CUDACXX; nvcc on the PATH or in /usr/local/cuda, unless
# $AXJAX_CUDA_WHEELS is set; NVIDIA's pip wheels in the Python environment.
if(NOT AXJAX_CUDA)
  message(STATUS "axjax: CUDA handlers switched off")
  return()
endif()

if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  set(_nvcc "")
  if(NOT "$ENV{AXJAX_CUDA_WHEELS}")
    find_program(_nvcc nvcc PATHS /usr/local/cuda/bin NO_CACHE)
  endif()
  if(_nvcc)
    set(CMAKE_CUDA_COMPILER "${_nvcc}")
  else()
    execute_process(
      COMMAND "${Python_EXECUTABLE}" "${CMAKE_CURRENT_LIST_DIR}/find_wheel_cuda.py"
      OUTPUT_VARIABLE _root OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE _missing)
    if(NOT _missing)
      set(CMAKE_CUDA_COMPILER "${_root}/bin/nvcc")
      set(CUDAToolkit_ROOT "${_root}")
      # The 13.0 wheels' nvcc looks for libraries in lib64; they are in lib.
      set(CMAKE_CUDA_FLAGS_INIT "-L${_root}/lib")
      # FindCUDAToolkit insists on a libcudart.so, of which wheels have only the versioned
      # name. It is not linked: the static one is.
      file(GLOB _cudart "${_root}/lib/libcudart.so.*")
      list(GET _cudart 0 CUDA_CUDART)
    endif()
  endif()
endif()

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(AXJAX_CUDA STREQUAL "AUTO")
    message(STATUS "axjax: no CUDA compiler, building for the CPU alone")
    return()
  endif()
  message(FATAL_ERROR "axjax: AXJAX_CUDA=${AXJAX_CUDA}, but there is no nvcc. Put it on the "
                      "PATH, set CUDACXX, or set AXJAX_CUDA_WHEELS=1.")
endif()

# Machine code for the GPUs there are: PTX of a toolkit newer than the driver cannot be
# compiled at run time. One PTX, the newest, for GPUs to come.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
  set(CMAKE_CUDA_ARCHITECTURES "75-real;80-real;86-real;89-real;90-real;100-real;120")
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
list(JOIN CMAKE_CUDA_ARCHITECTURES " " _architectures)
message(STATUS "axjax: CUDA ${CUDAToolkit_VERSION} for ${_architectures}")

# axjax_cuda_kernels(NAME [ARCHITECTURES a...] SOURCES s...)
# A library of kernels. ARCHITECTURES replaces the list above, for sources with instructions
# of one GPU: 90a-real for wgmma.
function(axjax_cuda_kernels name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "ARCHITECTURES;SOURCES")
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/xla_ffi)
  target_link_libraries(${name} PUBLIC CUDA::cudart_static)
  set_target_properties(${name} PROPERTIES
    CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_VISIBILITY_PRESET hidden
    CUDA_RUNTIME_LIBRARY Static)
  if(arg_ARCHITECTURES)
    set_target_properties(${name} PROPERTIES CUDA_ARCHITECTURES "${arg_ARCHITECTURES}")
  endif()
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O3> --threads=2
                                         -Xfatbin=-compress-all -Xcompiler=-Wall,-Wextra)
endfunction()

axjax_cuda_kernels(axjax_cuda_lookup SOURCES
  xla_ffi/cuda/gather.cu
  xla_ffi/cuda/reference.cu
  xla_ffi/cuda/table_textures.cu
  xla_ffi/cuda/texture.cu)
axjax_cuda_kernels(axjax_cuda_tensor_core SOURCES
  xla_ffi/cuda/tensor_core.cu
  xla_ffi/cuda/tensor_core_sm80.cu)
axjax_cuda_kernels(axjax_cuda_wgmma ARCHITECTURES 90a-real SOURCES
  xla_ffi/cuda/tensor_core_sm90.cu)
target_link_libraries(axjax_cuda_tensor_core PUBLIC axjax_cuda_wgmma)

nanobind_add_module(_cuda STABLE_ABI NB_STATIC NOMINSIZE xla_ffi/cuda_module.cc)
target_compile_definitions(_cuda PRIVATE AXJAX_CUDA_ARCHITECTURES="${_architectures}")
target_link_libraries(_cuda PRIVATE
  axjax_cuda_lookup axjax_cuda_tensor_core xla_ffi_headers CUDA::cudart_static)
# The static runtime's symbols stay inside.
target_link_options(_cuda PRIVATE -Wl,--exclude-libs,ALL)
install(TARGETS _cuda LIBRARY DESTINATION axjax)
