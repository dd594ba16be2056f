// SPDX-License-Identifier: Apache-2.0
// The CPU engine for tables that are sums of few products of int8 vectors.
#pragma once
#include <cstdint>

#include "conv_geometry.h"
#include "cpu/factored_cost.h"
#include "cpu/factored_terms.h"
#include "cpu/workers.h"

namespace axjax {

// The ways to compute it; both return the same sums.
enum class FactoredForm {
  kProducts,  // factored_products.h: int8 products, on whatever multiplies them
  kTable,     // lut_conv.h, after the table was multiplied out
};

// As LutConv, with the table's factors in its place. How many terms there are is read
// here, at every call, and the form chosen that is expected to take the least time.
void LutConvFactored(const ConvGeometry& geometry, const uint8_t* lhs,
                     const uint8_t* rhs, const TableFactors& factors, uint8_t pad_code,
                     int32_t* out, Workers& workers);

// The same in a given form, for tests and measurements.
void LutConvFactoredInForm(FactoredForm form, const ConvGeometry& geometry,
                           const uint8_t* lhs, const uint8_t* rhs,
                           const TableFactors& factors, uint8_t pad_code, int32_t* out,
                           Workers& workers);

// The form that LutConvFactored takes.
FactoredForm ChooseFactoredForm(const FactoredSizes& sizes);

}  // namespace axjax
