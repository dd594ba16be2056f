# SPDX-License-Identifier: Apache-2.0
"""Networks, checkpoints and data that the user names on the command line."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import pathlib
import sys
from typing import Any

import numpy as np

from axjax._cli._usage import UsageError
from axjax.evaluation._evaluate import Network, Plan
from axjax.evaluation._results import digest

DESCRIPTION = """\
A network is named as module:function, found from the current folder: a function of
(variables, inputs), or of the inputs alone where no --checkpoint is given. It returns
class scores in the last axis. A checkpoint is a .npz of arrays, whose names are paths
such as params/conv/kernel, or a .msgpack as flax.serialization writes it. Data are a
.npz with `inputs` (or images, x) and `labels` (or y)."""

_INPUTS, _LABELS = ("inputs", "images", "x"), ("labels", "targets", "y")


@dataclasses.dataclass(frozen=True)
class Task:
    """A network, ready to be called, and its data.

    Attributes:
        network: function of the arguments and a batch.
        arguments: the variables, or nothing.
        inputs: examples in the first axis.
        labels: one for each, or None.
        plan: how it is run.
        settings: all that results depend on, for the file of results.
    """

    network: Network
    arguments: tuple[Any, ...]
    inputs: np.ndarray
    labels: np.ndarray | None
    plan: Plan
    settings: dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name a task."""
    add = parser.add_argument
    add("network", metavar="MODULE:FUNCTION")
    add("--data", type=pathlib.Path, required=True, metavar="FILE", help="a .npz")
    add("--checkpoint", type=pathlib.Path, metavar="FILE", help="a .npz or .msgpack")
    add("--limit", type=_positive, metavar="N", help="use the first N examples only")
    add("--batch", type=_positive, default=100, metavar="N", help="default: %(default)s")
    add(
        "--exact", action="append", default=[], metavar="PATTERN",
        help="layers that stay exact: a regular expression for the whole path; repeatable",
    )  # fmt: skip
    add(
        "--calibration", type=int, default=1, metavar="N",
        help="batches that give the ranges of activations; 0: each batch its own "
        "(default: %(default)s)",
    )  # fmt: skip
    add("--fold-batch-norm", action="store_true", help="fold normalisation into kernels first")
    add("--engine", default="auto", help="default: %(default)s")


def task(function: str, options: argparse.Namespace) -> Task:
    """Loads everything.

    Raises:
        UsageError: for what the user can put right.
    """
    network = _function(function, options.network)
    settings: dict[str, Any] = {"network": options.network}
    arguments: tuple[Any, ...] = ()
    if options.checkpoint is not None:
        content = _read(function, "checkpoint", options.checkpoint)
        arguments = (_variables(function, options.checkpoint),)
        settings["checkpoint"] = digest(content)
    settings["data"] = digest(_read(function, "data", options.data))
    inputs, labels = _data(function, options.data)
    inputs = inputs[: options.limit]
    labels = None if labels is None else labels[: options.limit]
    plan = Plan(
        batch=min(options.batch, len(inputs)),
        exact=tuple(options.exact),
        calibration=max(options.calibration, 0),
        fold_batch_norm=options.fold_batch_norm,
        engine=options.engine,
    )
    settings |= {"examples": len(inputs), **dataclasses.asdict(plan)}
    settings["exact"] = list(plan.exact)
    del settings["engine"]  # engines return the same bits
    return Task(network, arguments, inputs, labels, plan, settings)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"a number of 1 or more, got {text!r}")
    return int(text)


def _function(function: str, name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(
            f"{function}: a network is module:function, got network={name!r}. "
            "For example my_networks:resnet."
        )
    sys.path.insert(0, "")  # the current folder, as for python -m
    try:
        found = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except Exception as error:  # whatever the user's module does
        raise UsageError(
            f"{function}: a network can be imported, got network={name!r}: "
            f"{described(error)}. Run it from the module's folder."
        ) from error
    finally:
        sys.path.remove("")
    if not callable(found):
        raise UsageError(
            f"{function}: a network is a function, got network={name!r}, which is of type "
            f"{type(found).__name__}. Name a function of (variables, inputs)."
        )
    return found


def described(error: Exception) -> str:
    """An error's type and first line."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}".removesuffix(": ")


def _read(function: str, what: str, path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{function}: a file of {what} can be read, got {what}={str(path)!r}: "
            f"{error.strerror}. Check its name."
        ) from error


def _variables(function: str, path: pathlib.Path) -> Any:
    try:
        if path.suffix == ".msgpack":
            from flax import serialization

            return serialization.msgpack_restore(path.read_bytes())
        arrays = _arrays(path)
    except Exception as error:  # NumPy and msgpack raise whatever their parts raise
        raise UsageError(
            f"{function}: a checkpoint is a .npz or a .msgpack, got checkpoint={str(path)!r}: "
            f"{described(error)}. Write it with numpy.savez, or flax.serialization."
        ) from error
    nested: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, leaf = name.split("/")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = array
    return nested


def _data(function: str, path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        arrays = _arrays(path)
    except Exception as error:  # NumPy raises whatever its parts raise
        raise UsageError(
            f"{function}: data are a .npz, got data={str(path)!r}: {described(error)}. "
            "Write it with numpy.savez(file, inputs=..., labels=...)."
        ) from error
    inputs = next((arrays[name] for name in _INPUTS if name in arrays), None)
    labels = next((arrays[name] for name in _LABELS if name in arrays), None)
    if inputs is None or inputs.ndim < 1 or len(inputs) == 0:
        raise UsageError(
            f"{function}: data have an array inputs, images or x, got "
            f"{', '.join(arrays) or 'none'} in {str(path)!r}. Name it so."
        )
    if labels is not None and labels.shape != inputs.shape[:1]:
        raise UsageError(
            f"{function}: there is a label for each input, got labels of shape {labels.shape} "
            f"for {len(inputs)} inputs in {str(path)!r}. Pass class numbers, or no labels."
        )
    return inputs, labels


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
