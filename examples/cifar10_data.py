# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 from files that the user has. Nothing is downloaded, nothing is unpickled."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_RECORD = 1 + 3 * 32 * 32


class Cifar10(NamedTuple):
    """Images uint8 `(N, 32, 32, 3)` and labels int32 `(N,)`."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_cifar10(source: str) -> Cifar10:
    """CIFAR-10 from `source`.

    Args:
        source: one of

            - an .npz with x_train, y_train, x_test and y_test, images uint8 NHWC;
            - the folder `cifar-10-batches-bin` of the official binary version. (The official
              Python version is pickled, and a pickle can run any code: it is not read.)
            - "digits": scikit-learn's 1,797 handwritten digits, enlarged to 32 x 32 pixels, for
              machines without CIFAR-10: every fifth is a test image.
            - "synthetic": random images and labels, 256 of each part, for smoke tests.
    Raises:
        ValueError: for a path that is neither, or arrays of other shapes.
    """
    if source in _MADE:
        data = _MADE[source]()
    else:
        path = pathlib.Path(source)
        if path.is_dir() and (path / "test_batch.bin").is_file():
            data = _binary(path)
        elif path.is_file():
            data = _npz(path)
        else:
            raise ValueError(
                f"load_cifar10: data is an .npz file or the folder cifar-10-batches-bin, got "
                f"source={source!r}. Pass its path, or 'digits' for handwritten digits."
            )
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        if x.shape != (len(y), 32, 32, 3) or x.dtype != np.uint8 or y.ndim != 1:
            raise ValueError(
                "load_cifar10: images are uint8 (N, 32, 32, 3) with N labels, got "
                f"shape={x.shape}, dtype={x.dtype}, labels {y.shape} in {source!r}. "
                "Convert the file."
            )
    return data


def normalize(images):
    """Images uint8 as the network takes them: scaled to 0 to 1, then by mean and deviation."""
    return (images.astype(np.float32) / 255 - _MEAN[None, None, None]) / _DEVIATION[
        None, None, None
    ]


def _npz(path: pathlib.Path) -> Cifar10:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            parts = {key: arrays[key] for key in Cifar10._fields}
    except (ValueError, KeyError, OSError, AttributeError, TypeError) as error:
        raise ValueError(
            f"load_cifar10: an .npz file holds {', '.join(Cifar10._fields)}, got "
            f"source={str(path)!r}: {error}. Write it with numpy.savez."
        ) from error
    for key in ("y_train", "y_test"):
        parts[key] = parts[key].reshape(-1).astype(np.int32)
    return Cifar10(**parts)


def _binary(folder: pathlib.Path) -> Cifar10:
    """Records of a label byte and 3 x 32 x 32 bytes, colour by colour."""

    def read(*names: str) -> tuple[np.ndarray, np.ndarray]:
        records = np.concatenate([np.fromfile(folder / name, np.uint8) for name in names])
        if records.size % _RECORD:
            raise ValueError(
                f"load_cifar10: a record has {_RECORD} bytes, got {records.size} bytes in "
                f"{folder}. A file is cut short."
            )
        records = records.reshape(-1, _RECORD)
        x = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(x), records[:, 0].astype(np.int32)

    train = read(*(f"data_batch_{i}.bin" for i in range(1, 6)))
    return Cifar10(*train, *read("test_batch.bin"))


def _synthetic() -> Cifar10:
    rng = np.random.default_rng(0)

    def part() -> tuple[np.ndarray, np.ndarray]:
        x = rng.integers(0, 256, (256, 32, 32, 3), np.uint8)
        return x, rng.integers(0, 10, 256, np.int32)

    return Cifar10(*part(), *part())


def _digits() -> Cifar10:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    images, labels = load_digits(return_X_y=True)
    small = (images.reshape(-1, 8, 8, 1) / 16 * 255).astype(np.uint8)
    x, y = small.repeat(4, 1).repeat(4, 2).repeat(3, 3), labels.astype(np.int32)
    test = np.arange(len(y)) % 5 == 4
    return Cifar10(x[~test], y[~test], x[test], y[test])


_MADE = {"digits": _digits, "synthetic": _synthetic}
