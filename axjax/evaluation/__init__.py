# SPDX-License-Identifier: Apache-2.0
"""A network's accuracy under many multipliers: measured, kept, compared."""

from axjax.evaluation._evaluate import Score, evaluate, measure_codes
from axjax.evaluation._results import Results, read_results

__all__ = ["Results", "Score", "evaluate", "measure_codes", "read_results"]
