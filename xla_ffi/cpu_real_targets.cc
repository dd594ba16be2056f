// SPDX-License-Identifier: Apache-2.0
#include "cpu_real_targets.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "cpu/corrected_sums.h"
#include "cpu/quantize.h"
#include "cpu/xla_workers.h"
#include "ffi_geometry.h"
#include "ffi_instruction_set.h"

namespace axjax {
namespace {

namespace ffi = xla::ffi;

ffi::Error Wrong(const std::string& text) {
  return ffi::Error::InvalidArgument("axjax: " + text);
}

// Python has checked all of this; what is checked here keeps a handler within its
// buffers. `given` holds the ends of a range, or a scale, or nothing.
ffi::Error Fill(ffi::AnyBuffer x, ffi::RemainingArgs given, Triple layout,
                int64_t source, bool symmetric, bool include_zero, Triple codes,
                Quantization* q, RealOperand* operand) {
  if (layout.size() != 4 || codes.size() != 3 ||
      *std::min_element(layout.begin(), layout.end()) < 1)
    return Wrong("a layout has four positive sizes, and three numbers tell the codes");
  *q = {layout[0],
        layout[1],
        layout[2],
        layout[3],
        static_cast<ScaleSource>(source),
        symmetric,
        include_zero,
        static_cast<int>(codes[0]),
        static_cast<int>(codes[1]),
        static_cast<int>(codes[2])};
  if (q->size() != static_cast<int64_t>(x.element_count()))
    return Wrong("the layout is that of the operand");
  if (codes[0] < -128 || codes[1] > 255 || codes[0] >= codes[1] ||
      codes[2] < codes[0] || codes[2] > codes[1])
    return Wrong("codes fit a byte");
  if (source < 0 || source > 2 || given.size() != (source == 0 ? 0 : 3 - source))
    return Wrong("a range has two ends, a scale is one number");
  *operand = {kFloat32, x.untyped_data(), nullptr, nullptr, true};
  if (x.element_type() == ffi::BF16)
    operand->kind = kBfloat16;
  else if (x.element_type() != ffi::F32)
    return Wrong("numbers are float32 or bfloat16");
  for (size_t i = 0; i < given.size(); ++i) {
    const auto end = given.get<ffi::Buffer<ffi::F32>>(i);
    if (end.has_error()) return end.error();
    const int64_t count = static_cast<int64_t>(end->element_count());
    const bool one_for_all = count == 1;
    if ((!one_for_all && count != q->scales()) ||
        (i > 0 && one_for_all != operand->one_for_all))
      return Wrong("what is given is given once, or for each scale");
    operand->one_for_all = one_for_all;
    (i == 0 ? operand->first : operand->last) = end->typed_data();
  }
  return CheckInstructionSet();
}

ffi::Error Quantize(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::RemainingArgs given,
                    ffi::Result<ffi::Buffer<ffi::U8>> codes,
                    ffi::Result<ffi::Buffer<ffi::F32>> scale,
                    ffi::Result<ffi::Buffer<ffi::S32>> zero, Triple layout,
                    int64_t source, bool symmetric, bool include_zero,
                    Triple code_range) {
  Quantization q;
  RealOperand operand;
  if (ffi::Error error = Fill(x, given, layout, source, symmetric, include_zero,
                              code_range, &q, &operand);
      error.failure())
    return error;
  if (static_cast<int64_t>(codes->element_count()) != q.size() ||
      static_cast<int64_t>(scale->element_count()) != q.scales() ||
      static_cast<int64_t>(zero->element_count()) != q.scales())
    return Wrong("there are as many codes as numbers, and as many scales as channels");
  XlaWorkers workers(pool);
  QuantizeToCodes(q, operand, codes->typed_data(), scale->typed_data(),
                  zero->typed_data(), workers);
  return ffi::Error::Success();
}

ffi::Error BackAgain(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::RemainingArgs given,
                     ffi::Result<ffi::Buffer<ffi::F32>> rounded,
                     ffi::Result<ffi::Buffer<ffi::PRED>> inside, Triple layout,
                     int64_t source, bool symmetric, bool include_zero,
                     Triple code_range) {
  Quantization q;
  RealOperand operand;
  if (ffi::Error error = Fill(x, given, layout, source, symmetric, include_zero,
                              code_range, &q, &operand);
      error.failure())
    return error;
  if (static_cast<int64_t>(rounded->element_count()) != q.size() ||
      static_cast<int64_t>(inside->element_count()) != q.size())
    return Wrong("there are as many results as numbers");
  XlaWorkers workers(pool);
  QuantizeAndBack(q, operand, rounded->typed_data(), inside->typed_data(), workers);
  return ffi::Error::Success();
}

ffi::Error Correct(ffi::ThreadPool pool, Sums5 sums, Codes5 lhs, Codes5 rhs,
                   ffi::BufferR0<ffi::S32> lhs_zero, ffi::BufferR1<ffi::S32> rhs_zero,
                   ffi::Result<ffi::Buffer<ffi::F32, 5>> out, Triple strides,
                   Triple padding_low, Triple lhs_dilation, Triple rhs_dilation,
                   int64_t groups, bool lhs_signed, bool rhs_signed) {
  ConvGeometry g;
  if (ffi::Error error = FillGeometry(lhs, rhs, out->dimensions(), strides, padding_low,
                                      lhs_dilation, rhs_dilation, groups, &g);
      error.failure())
    return error;
  const int64_t zeros = rhs_zero.dimensions()[0];
  if (sums.element_count() != out->element_count() || (zeros != 1 && zeros != g.out_c))
    return Wrong("there is a sum for each output, and a zero point for each channel");
  if (ffi::Error error = CheckInstructionSet(); error.failure()) return error;
  XlaWorkers workers(pool);
  CorrectSums(g, sums.typed_data(), lhs.typed_data(), lhs_signed, rhs.typed_data(),
              rhs_signed, {*lhs_zero.typed_data(), rhs_zero.typed_data(), zeros == 1},
              out->typed_data(), workers);
  return ffi::Error::Success();
}

// What both handlers of an operand take, after their results.
template <typename Binding>
auto OperandAttributes(Binding binding) {
  return std::move(binding)
      .template Attr<Triple>("layout")
      .template Attr<int64_t>("source")
      .template Attr<bool>("symmetric")
      .template Attr<bool>("include_zero")
      .template Attr<Triple>("codes");  // least, greatest, zero point of a given scale
}

}  // namespace

XLA_FFI_Error* QuantizeTarget(XLA_FFI_CallFrame* frame) {
  static const auto* handler =
      OperandAttributes(ffi::Ffi::Bind()
                            .Ctx<ffi::ThreadPool>()
                            .Arg<ffi::AnyBuffer>()        // x
                            .RemainingArgs()              // ends of a range, or a scale
                            .Ret<ffi::Buffer<ffi::U8>>()  // codes
                            .Ret<ffi::Buffer<ffi::F32>>()   // scale
                            .Ret<ffi::Buffer<ffi::S32>>())  // zero
          .To(Quantize)
          .release();
  return handler->Call(frame);
}

XLA_FFI_Error* QuantizeAndBackTarget(XLA_FFI_CallFrame* frame) {
  static const auto* handler =
      OperandAttributes(ffi::Ffi::Bind()
                            .Ctx<ffi::ThreadPool>()
                            .Arg<ffi::AnyBuffer>()  // x
                            .RemainingArgs()        // ends of a range, or a scale
                            .Ret<ffi::Buffer<ffi::F32>>()    // rounded
                            .Ret<ffi::Buffer<ffi::PRED>>())  // inside
          .To(BackAgain)
          .release();
  return handler->Call(frame);
}

XLA_FFI_Error* CorrectSumsTarget(XLA_FFI_CallFrame* frame) {
  static const auto* handler =
      GeometryAttributes(ffi::Ffi::Bind()
                             .Ctx<ffi::ThreadPool>()
                             .Arg<Sums5>()                      // sums
                             .Arg<Codes5>()                     // lhs
                             .Arg<Codes5>()                     // rhs
                             .Arg<ffi::BufferR0<ffi::S32>>()    // lhs_zero
                             .Arg<ffi::BufferR1<ffi::S32>>()    // rhs_zero
                             .Ret<ffi::Buffer<ffi::F32, 5>>())  // out
          .Attr<bool>("lhs_signed")
          .Attr<bool>("rhs_signed")
          .To(Correct)
          .release();
  return handler->Call(frame);
}

}  // namespace axjax
