# SPDX-License-Identifier: Apache-2.0
"""ResNet-20 on CIFAR-10, unmodified, under whole folders of multipliers: accuracy by table.

    python benchmarks/emulate_resnet20.py --data cifar10.npz --parameters resnet20.npz \\
        --multipliers mul8u_exact mul8s_exact folder/of/tables --output results/emulate_resnet20

The float network is calibrated on training images, and all its convolutions are emulated.
Every table is run with two batch sizes (and each engine that is named), whose predictions have
to be equal. The data and the parameters are as for examples/cifar10_resnet.py.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import axjax

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
from cifar10_data import load_cifar10, normalize
from resnet import ResNet, load_parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--parameters", type=pathlib.Path, required=True)
    parser.add_argument("--multipliers", nargs="+", required=True, help="names, files, folders")
    parser.add_argument("--engines", nargs="+", default=["auto"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1000, 250])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--calibration-images", type=int, default=1000)
    parser.add_argument("--observer", default="min_max")
    parser.add_argument("--fold", action="store_true", help="fold batch normalisation")
    parser.add_argument("--output", type=pathlib.Path, help="writes OUTPUT.json")
    options = parser.parse_args()
    data = load_cifar10(options.data)
    depth, variables, _ = load_parameters(options.parameters)
    network = ResNet(depth).apply
    x_test, y_test = data.x_test[: options.images], data.y_test[: options.images]

    ranges: dict[str, Any] = {}

    @jax.jit
    def predict(rules, ranges, images):
        function = network
        if rules:
            function = axjax.emulate(network, rules, ranges, fold_batch_norm=options.fold)
        return function(variables, normalize(images)).argmax(-1)

    def predictions(rules, batch):
        begin = time.perf_counter()
        parts = [
            np.asarray(predict(rules, ranges, jnp.asarray(x_test[start : start + batch])))
            for start in range(0, len(x_test), batch)
        ]
        return np.concatenate(parts), time.perf_counter() - begin

    floats, _ = predictions([], options.batches[0])
    rows = [{"multiplier": "float", "accuracy": float((floats == y_test).mean() * 100)}]
    print(rows[0])
    images = normalize(data.x_train[: options.calibration_images])
    calibration = [(variables, images[n : n + 250]) for n in range(0, len(images), 250)]
    for multiplier in tables(options.multipliers):
        for engine in options.engines:
            rules = [axjax.Rule(".*", multiplier, kind="conv", engine=engine)]
            if not ranges or options.observer not in ("min_max", "average_min_max"):
                ranges = axjax.calibrate(
                    network,
                    rules,
                    calibration,
                    observer=options.observer,
                    fold_batch_norm=options.fold,
                )
            found = [predictions(rules, batch) for batch in options.batches]
            rows.append(
                {
                    "multiplier": multiplier.name,
                    "engine": engine,
                    "accuracy": float((found[0][0] == y_test).mean() * 100),
                    "equal to other batch size": [
                        int((found[0][0] == other).sum()) for other, _ in found[1:]
                    ],
                    "seconds": [round(seconds, 1) for _, seconds in found],
                }
            )
            print(rows[-1], flush=True)
    result = {
        "date": datetime.date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "images": len(x_test),
        "batches": options.batches,
        "calibration_images": options.calibration_images,
        "observer": options.observer,
        "fold_batch_norm": options.fold,
        "rows": rows,
    }
    if options.output:
        text = json.dumps(result, indent=1)
        options.output.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def tables(names: list[str]) -> list[axjax.Multiplier]:
    """Multipliers by name, file, or folder of tables; of one kind if their codes are."""
    kinds: dict[Any, list[axjax.Multiplier]] = {}
    for name in names:
        path = pathlib.Path(name)
        endings = (".bin", ".npy", ".npz")
        files = (
            sorted(f for f in path.iterdir() if f.suffix in endings)
            if path.is_dir()
            else [name]
        )
        for multiplier in map(axjax.load, files):
            kinds.setdefault((multiplier.activation, multiplier.weight), []).append(multiplier)
    return [multiplier for kind in kinds.values() for multiplier in axjax.alike(kind)]


if __name__ == "__main__":
    main()
