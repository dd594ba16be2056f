// SPDX-License-Identifier: Apache-2.0
// Python module `_cpu`: the CPU handlers. Unpack, check, call; no arithmetic here.
#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <type_traits>

#include "cpu/factored.h"
#include "cpu/instruction_set.h"
#include "cpu/lut_conv.h"
#include "cpu/xla_workers.h"
#include "cpu_real_targets.h"
#include "ffi_factors.h"
#include "ffi_geometry.h"
#include "ffi_instruction_set.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace axjax {
namespace {

template <ffi::DataType kEntry>
ffi::Error LutConvHandler(ffi::ThreadPool pool, Codes5 lhs, Codes5 rhs,
                          Table2<kEntry> table, Code pad_code, ffi::Result<Sums5> out,
                          Triple strides, Triple padding_low, Triple lhs_dilation,
                          Triple rhs_dilation, int64_t groups) {
  ConvGeometry g;
  if (ffi::Error error = FillGeometry(lhs, rhs, out->dimensions(), strides, padding_low,
                                      lhs_dilation, rhs_dilation, groups, &g);
      error.failure())
    return error;
  if (ffi::Error error = CheckTable(table.dimensions()); error.failure()) return error;
  if (ffi::Error error = CheckInstructionSet(); error.failure()) return error;
  XlaWorkers workers(pool);
  LutConv(g, lhs.typed_data(), rhs.typed_data(), table.typed_data(),
          *pad_code.typed_data(), out->typed_data(), workers);
  return ffi::Error::Success();
}

template <ffi::DataType kEntry>
XLA_FFI_Error* LutConvTarget(XLA_FFI_CallFrame* frame) {
  static const auto* handler = GeometryAttributes(ffi::Ffi::Bind()
                                                      .Ctx<ffi::ThreadPool>()
                                                      .Arg<Codes5>()          // lhs
                                                      .Arg<Codes5>()          // rhs
                                                      .Arg<Table2<kEntry>>()  // table
                                                      .template Arg<Code>()  // pad_code
                                                      .template Ret<Sums5>())  // out
                                   .To(LutConvHandler<kEntry>)
                                   .release();
  return handler->Call(frame);
}

ffi::Error FactoredHandler(ffi::ThreadPool pool, Codes5 lhs, Codes5 rhs, FactorArray u,
                           FactorArray v, FactorSums beta, FactorSums words,
                           Code pad_code, ffi::Result<Sums5> out, Triple strides,
                           Triple padding_low, Triple lhs_dilation, Triple rhs_dilation,
                           int64_t groups) {
  ConvGeometry g;
  if (ffi::Error error = FillGeometry(lhs, rhs, out->dimensions(), strides, padding_low,
                                      lhs_dilation, rhs_dilation, groups, &g);
      error.failure())
    return error;
  TableFactors factors;
  if (ffi::Error error = FillFactors("cpu_factored", u, v, beta, words, &factors);
      error.failure())
    return error;
  if (ffi::Error error = CheckInstructionSet(); error.failure()) return error;
  XlaWorkers workers(pool);
  LutConvFactored(g, lhs.typed_data(), rhs.typed_data(), factors,
                  *pad_code.typed_data(), out->typed_data(), workers);
  return ffi::Error::Success();
}

XLA_FFI_Error* FactoredTarget(XLA_FFI_CallFrame* frame) {
  static const auto* handler = GeometryAttributes(ffi::Ffi::Bind()
                                                      .Ctx<ffi::ThreadPool>()
                                                      .Arg<Codes5>()       // lhs
                                                      .Arg<Codes5>()       // rhs
                                                      .Arg<FactorArray>()  // u
                                                      .Arg<FactorArray>()  // v
                                                      .Arg<FactorSums>()   // beta
                                                      .Arg<FactorSums>()   // words
                                                      .Arg<Code>()         // pad_code
                                                      .Ret<Sums5>())       // out
                                   .To(FactoredHandler)
                                   .release();
  return handler->Call(frame);
}

template <typename T>
nb::capsule Capsule(T* handler) {
  static_assert(std::is_invocable_r_v<XLA_FFI_Error*, T, XLA_FFI_CallFrame*>,
                "not an XLA FFI handler");
  return nb::capsule(reinterpret_cast<const void*>(handler));
}

}  // namespace
}  // namespace axjax

NB_MODULE(_cpu, m) {
  using namespace axjax;
  m.def("targets", [] {
    nb::dict targets;
    targets["axjax_lut_conv_cpu_u16"] = Capsule(&LutConvTarget<ffi::U16>);
    targets["axjax_lut_conv_cpu_s16"] = Capsule(&LutConvTarget<ffi::S16>);
    targets["axjax_lut_conv_cpu_s32"] = Capsule(&LutConvTarget<ffi::S32>);
    targets["axjax_quantize_cpu"] = Capsule(&QuantizeTarget);
    targets["axjax_quantize_and_back_cpu"] = Capsule(&QuantizeAndBackTarget);
    targets["axjax_correct_sums_cpu"] = Capsule(&CorrectSumsTarget);
    targets["axjax_lut_conv_cpu_factored"] = Capsule(&FactoredTarget);
    return targets;
  });
  m.def("build", [] {
    nb::dict build;
    build["xla_ffi_api_version"] = nb::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
    build["instruction_set"] = nb::str(Name(CurrentInstructionSet()));
    nb::list available;
    for (const InstructionSet set : AvailableInstructionSets())
      available.append(nb::str(Name(set)));
    build["instruction_sets"] = nb::tuple(available);
    return build;
  });
  // What the handler of engine cpu_factored would do for so many terms.
  m.def(
      "factored_form",
      [](int64_t pixels, int64_t depth, int64_t channels, int64_t outputs,
         int64_t groups, int64_t terms) {
        const bool products =
            ChooseFactoredForm({pixels, depth, channels, outputs, groups, terms}) ==
            FactoredForm::kProducts;
        return nb::str(products ? "products" : "table");
      },
      nb::kw_only(), nb::arg("pixels"), nb::arg("depth"), nb::arg("channels"),
      nb::arg("outputs"), nb::arg("groups"), nb::arg("terms"));
  // For tests: another one of `instruction_sets` for all later calls, false if it is
  // none.
  m.def("set_instruction_set", [](const char* name) {
    for (const InstructionSet set : AvailableInstructionSets())
      if (std::string(name) == Name(set)) return SetInstructionSet(set);
    return false;
  });
  m.attr("xla_ffi_api_version") = nb::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
}
