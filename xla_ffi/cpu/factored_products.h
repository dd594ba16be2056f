// SPDX-License-Identifier: Apache-2.0
// The factored convolution as int8 products.
//
// Weights are expanded once a call, to their tiles. A job takes a block of pixels and a
// range of outputs: segment by segment of the depth it expands the codes to lines in
// memory of its own, small enough for the second-level cache, and multiplies them, two
// tiles of pixels by two of outputs at a time.
#pragma once
#include <cstdint>

#include "conv_geometry.h"
#include "cpu/factored_terms.h"
#include "cpu/workers.h"

namespace axjax {

// out[p, o] = sum over taps and channels of the terms' products and of beta; arguments
// as in factored.h. Memory: a byte for each term, weight code and output, lines and
// outputs filled up to whole tiles; and ThreadScratch, or the lines of one tile of
// pixels and all that its windows see, if that is more.
void SumProducts(const ConvGeometry& geometry, const uint8_t* lhs, const uint8_t* rhs,
                 FactoredTerms& terms, uint8_t pad_code, int32_t* out,
                 Workers& workers);

}  // namespace axjax
