// SPDX-License-Identifier: Apache-2.0
#include "cpu/factored.h"

#include <algorithm>
#include <cstring>

#include "cpu/factored_products.h"
#include "cpu/instruction_set.h"
#include "cpu/lut_conv.h"

namespace axjax {
namespace {

void Run(const FactoredForm* form, const ConvGeometry& g, const uint8_t* lhs,
         const uint8_t* rhs, const TableFactors& factors, uint8_t pad_code,
         int32_t* out, Workers& workers) {
  if (g.pixels() == 0 || g.out_c == 0) return;
  if (g.depth() == 0) {
    std::memset(out, 0, g.pixels() * g.out_c * sizeof(int32_t));
    return;
  }
  FactoredTerms terms(factors);
  const FactoredForm chosen =
      form ? *form
           : ChooseFactoredForm({g.pixels(), g.depth(), g.in_c_per_group(),
                                 g.out_c_per_group(), g.groups, terms.count()});
  if (chosen == FactoredForm::kProducts)
    SumProducts(g, lhs, rhs, terms, pad_code, out, workers);
  else
    LutConv(g, lhs, rhs, terms.Table().get(), pad_code, out, workers);
}

}  // namespace

FactoredForm ChooseFactoredForm(const FactoredSizes& sizes) {
  const InstructionSet set = CurrentInstructionSet();
  return ProductsCost(sizes, set) <= TableCost(sizes, set) ? FactoredForm::kProducts
                                                           : FactoredForm::kTable;
}

void LutConvFactored(const ConvGeometry& g, const uint8_t* lhs, const uint8_t* rhs,
                     const TableFactors& factors, uint8_t pad_code, int32_t* out,
                     Workers& workers) {
  Run(nullptr, g, lhs, rhs, factors, pad_code, out, workers);
}

void LutConvFactoredInForm(FactoredForm form, const ConvGeometry& g, const uint8_t* lhs,
                           const uint8_t* rhs, const TableFactors& factors,
                           uint8_t pad_code, int32_t* out, Workers& workers) {
  Run(&form, g, lhs, rhs, factors, pad_code, out, workers);
}

}  // namespace axjax
