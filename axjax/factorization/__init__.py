# SPDX-License-Identifier: Apache-2.0
"""Exact factors of a table: look-ups become an int8 matrix product.

docs/factorization.md derives what is done here.
"""

from axjax.factorization._factorize import factorize
from axjax.factorization._factors import WORD, Factors
from axjax.factorization._packed_factors import PackedFactors

__all__ = ["WORD", "Factors", "PackedFactors", "factorize"]
