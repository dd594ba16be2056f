// SPDX-License-Identifier: Apache-2.0
// Python module `_cuda`: the CUDA handlers. Unpack, check, call; no arithmetic here,
// and no driver needed to import it: the runtime is linked statically and finds the
// driver at its first call.
#include <cuda_runtime_api.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <type_traits>

#include "cuda/gather.h"
#include "cuda/operands.h"
#include "cuda/reference.h"
#include "cuda/tensor_core.h"
#include "cuda/texture.h"
#include "ffi_factors.h"
#include "ffi_geometry.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace axjax {
namespace {

using Stream = ffi::PlatformStream<cudaStream_t>;
using Workspace1 = ffi::BufferR1<ffi::U8>;

ffi::Error ErrorOf(const char* engine, const LaunchStatus& status) {
  if (status.ok()) return ffi::Error::Success();
  const std::string text = std::string("axjax: ") + engine + ": " + status.text;
  return status.kind == LaunchStatus::kInvalidArgument
             ? ffi::Error::InvalidArgument(text)
             : ffi::Error::Internal(text);
}

// `Engine` says the name and launches.
template <typename Engine, ffi::DataType kEntry>
ffi::Error LutConvHandler(cudaStream_t stream, Codes5 lhs, Codes5 rhs,
                          Table2<kEntry> table, Code pad_code, ffi::Result<Sums5> out,
                          ffi::Result<Workspace1> workspace, Triple strides,
                          Triple padding_low, Triple lhs_dilation, Triple rhs_dilation,
                          int64_t groups) {
  ConvGeometry g;
  if (ffi::Error error = FillGeometry(lhs, rhs, out->dimensions(), strides, padding_low,
                                      lhs_dilation, rhs_dilation, groups, &g,
                                      /*wider_input=*/true);
      error.failure())
    return error;
  if (ffi::Error error = CheckTable(table.dimensions()); error.failure()) return error;
  const LutConvOperands<ffi::NativeType<kEntry>> operands = {
      lhs.typed_data(),       rhs.typed_data(),  table.typed_data(),
      pad_code.typed_data(),  out->typed_data(), workspace->typed_data(),
      workspace->size_bytes()};
  return ErrorOf(Engine::kName, Engine::Launch(g, operands, stream));
}

struct Texture {
  static constexpr const char* kName = "cuda_texture";
  template <typename Entry>
  static LaunchStatus Launch(const ConvGeometry& geometry,
                             const LutConvOperands<Entry>& operands,
                             cudaStream_t stream) {
    return LaunchTexture(geometry, operands, stream);
  }
};

struct Gather {
  static constexpr const char* kName = "cuda_gather";
  template <typename Entry>
  static LaunchStatus Launch(const ConvGeometry& geometry,
                             const LutConvOperands<Entry>& operands,
                             cudaStream_t stream) {
    return LaunchGather(geometry, operands, stream);
  }
};

struct Reference {
  static constexpr const char* kName = "cuda_reference";
  template <typename Entry>
  static LaunchStatus Launch(const ConvGeometry& geometry,
                             const LutConvOperands<Entry>& operands,
                             cudaStream_t stream) {
    return LaunchReference(geometry, operands, stream);
  }
};

template <typename Engine, ffi::DataType kEntry>
XLA_FFI_Error* LutConvTarget(XLA_FFI_CallFrame* frame) {
  // Only launches on buffers that it is given: XLA may record it in a CUDA graph.
  static const auto* handler =
      GeometryAttributes(ffi::Ffi::Bind()
                             .Ctx<Stream>()
                             .Arg<Codes5>()                // lhs
                             .Arg<Codes5>()                // rhs
                             .Arg<Table2<kEntry>>()        // table
                             .template Arg<Code>()         // pad_code
                             .template Ret<Sums5>()        // out
                             .template Ret<Workspace1>())  // workspace
          .To(LutConvHandler<Engine, kEntry>, {ffi::Traits::kCmdBufferCompatible})
          .release();
  return handler->Call(frame);
}

ffi::Error TensorCoreHandler(cudaStream_t stream, Codes5 lhs, Codes5 rhs, FactorArray u,
                             FactorArray v, FactorSums beta, FactorSums words,
                             Code pad_code, ffi::Result<Sums5> out,
                             ffi::Result<Workspace1> workspace, Triple strides,
                             Triple padding_low, Triple lhs_dilation,
                             Triple rhs_dilation, int64_t groups) {
  const auto invalid = [](const std::string& text) {
    return ffi::Error::InvalidArgument("axjax: cuda_tensor_core: " + text);
  };
  ConvGeometry g;
  if (ffi::Error error = FillGeometry(lhs, rhs, out->dimensions(), strides, padding_low,
                                      lhs_dilation, rhs_dilation, groups, &g,
                                      /*wider_input=*/true);
      error.failure())
    return error;
  if (g.in_c_per_group() % 4 != 0)
    return invalid("channels of a group are whole words: a multiple of 4");
  TableFactors factors;
  if (ffi::Error error = FillFactors("cuda_tensor_core", u, v, beta, words, &factors);
      error.failure())
    return error;
  if (!TensorCoreTakes(g, factors))
    return invalid(
        "pixels, channels and depth are below 2**30 each, got more. Split the "
        "operation, or use engine 'cuda_gather'.");
  const size_t needed = TensorCoreWorkspaceBytes(g, factors);
  if (workspace->size_bytes() < needed)
    return invalid(
        "the workspace has " + std::to_string(needed) +
        " bytes, got workspace_bytes=" + std::to_string(workspace->size_bytes()));
  const TensorCoreBuffers buffers = {lhs.typed_data(),        rhs.typed_data(),
                                     pad_code.typed_data(),   out->typed_data(),
                                     workspace->typed_data(), rhs.dimensions()[3]};
  const cudaError_t error = LaunchTensorCore(g, factors, buffers, stream);
  if (error == cudaErrorNotSupported)
    return invalid(
        "int8 tensor cores come with compute capability 8.0, got an older GPU. Use "
        "engine 'cuda_gather'.");
  return ErrorOf("cuda_tensor_core", LaunchStatus::Of(error, "launching"));
}

XLA_FFI_Error* TensorCoreTarget(XLA_FFI_CallFrame* frame) {
  static const auto* handler =
      GeometryAttributes(ffi::Ffi::Bind()
                             .Ctx<Stream>()
                             .Arg<Codes5>()       // lhs
                             .Arg<Codes5>()       // rhs
                             .Arg<FactorArray>()  // u
                             .Arg<FactorArray>()  // v
                             .Arg<FactorSums>()   // beta
                             .Arg<FactorSums>()   // words
                             .Arg<Code>()         // pad_code
                             .Ret<Sums5>()        // out
                             .Ret<Workspace1>())  // workspace
          .To(TensorCoreHandler, {ffi::Traits::kCmdBufferCompatible})
          .release();
  return handler->Call(frame);
}

// Bytes of workspace for sizes as Python knows them: kernel taps, channels of a group,
// outputs, groups, planes of factors and the terms that each has room for.
size_t TensorCoreWorkspace(int64_t taps, int64_t in_c_per_group, int64_t out_c,
                           int64_t groups, int planes, int capacity) {
  ConvGeometry g = {};
  g.batch = 1;
  g.in_c = in_c_per_group * groups;
  g.out_c = out_c;
  g.groups = groups;
  for (int d = 0; d < 3; ++d) {
    g.in[d] = g.out[d] = g.kernel[d] = 1;
    g.stride[d] = g.in_dilation[d] = g.kernel_dilation[d] = 1;
  }
  g.kernel[2] = taps;
  TableFactors factors = {};
  factors.planes = planes;
  factors.stride = capacity;
  return TensorCoreWorkspaceBytes(g, factors);
}

template <typename T>
nb::capsule Capsule(T* handler) {
  static_assert(std::is_invocable_r_v<XLA_FFI_Error*, T, XLA_FFI_CallFrame*>,
                "not an XLA FFI handler");
  return nb::capsule(reinterpret_cast<const void*>(handler));
}

template <typename Engine>
void AddTargets(nb::dict* targets) {
  const std::string name = std::string("axjax_lut_conv_") + Engine::kName;
  (*targets)[(name + "_u16").c_str()] = Capsule(&LutConvTarget<Engine, ffi::U16>);
  (*targets)[(name + "_s16").c_str()] = Capsule(&LutConvTarget<Engine, ffi::S16>);
  (*targets)[(name + "_s32").c_str()] = Capsule(&LutConvTarget<Engine, ffi::S32>);
}

// GPUs that the driver shows, 0 without a driver.
int DeviceCount() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // not to be found by the next launch
    return 0;
  }
  return count;
}

nb::tuple Architectures() {
  nb::list names;
  std::string name;
  for (const char c : std::string(AXJAX_CUDA_ARCHITECTURES) + ' ') {
    if (c != ' ') {
      name += c;
    } else if (!name.empty()) {
      names.append(nb::str(name.c_str()));
      name.clear();
    }
  }
  return nb::tuple(names);
}

}  // namespace
}  // namespace axjax

NB_MODULE(_cuda, m) {
  using namespace axjax;
  m.def("targets", [] {
    nb::dict targets;
    AddTargets<Texture>(&targets);
    AddTargets<Gather>(&targets);
    AddTargets<Reference>(&targets);
    targets["axjax_lut_conv_cuda_tensor_core"] = Capsule(&TensorCoreTarget);
    return targets;
  });
  m.def("device_count", &DeviceCount);
  m.def("tensor_core_workspace_bytes", &TensorCoreWorkspace, nb::arg("taps"),
        nb::arg("in_c_per_group"), nb::arg("out_c"), nb::arg("groups"),
        nb::arg("planes"), nb::arg("capacity"));
  m.def("build", [] {
    nb::dict build;
    build["xla_ffi_api_version"] = nb::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
    build["cuda_runtime"] = CUDART_VERSION;
    build["architectures"] = Architectures();
    return build;
  });
  m.attr("xla_ffi_api_version") = nb::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
  m.attr("compiled_runtime_version") = CUDART_VERSION;
  m.attr("compiled_architectures") = Architectures();
}
