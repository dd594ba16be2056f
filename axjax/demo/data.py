# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits and their split."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TEST_IMAGES = 500
_SPLIT_SEED = 2020  # of the split alone: the same images are tested whatever the run's seed


class Images(NamedTuple):
    """Images float32 `(N, 8, 8, 1)` from 0 to 1, and the digits they show, int32 `(N,)`."""

    x: np.ndarray
    y: np.ndarray


class Digits(NamedTuple):
    """Images to learn from, and images that are only looked at for the report."""

    train: Images
    test: Images


def load_digits() -> Digits:
    """The 1,797 handwritten digits in scikit-learn's wheel: 1,297 to train, 500 to test.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, 1998 (its test part, as scikit-learn ships it).
    """
    from sklearn import datasets

    found = datasets.load_digits()
    x = (found.images[..., None] / 16).astype(np.float32)  # pixels are 0 to 16
    y = found.target.astype(np.int32)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(y))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return Digits(Images(x[train], y[train]), Images(x[test], y[test]))
