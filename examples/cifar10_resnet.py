# SPDX-License-Identifier: Apache-2.0
"""ResNet on CIFAR-10 under approximate multipliers: train, evaluate, fine-tune.

    python cifar10_resnet.py evaluate --data cifar10.npz --multipliers mul8u_drum4 mine.bin
    python cifar10_resnet.py finetune --data cifar10.npz --multiplier mul8u_drum3 --save new.npz
    python cifar10_resnet.py train --data cifar10.npz --depth 32 --save resnet32.npz

All convolutions run on the multiplier, with activation ranges calibrated on training images,
so that an image's result does not depend on its batch. The jitted steps take the multiplier
as an argument: tables of one kind share a compiled program. Without CIFAR-10: `--data digits`
takes scikit-learn's handwritten digits, for which a network is trained first, in minutes.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import sys
import time
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.progress
from cifar10_data import Cifar10, load_cifar10, normalize
from cifar10_training import Epoch, Recipe, fit
from resnet import (
    Ranges,
    ResNet,
    blocks_per_stage,
    input_ranges,
    load_parameters,
    resnet,
    save_parameters,
)

import axjax

PARAMETERS = pathlib.Path(__file__).parent / "parameters"
"""Of ResNet-8 and ResNet-20, which `examples/parameters/README.md` says how to make."""

GRADIENTS = {
    "clipped_ste": lambda multiplier: axjax.Gradient.clipped_ste(),
    "ste": lambda multiplier: axjax.Gradient.ste(),
    "lut_difference": axjax.Gradient.lut_difference,
}


@functools.partial(jax.jit, static_argnames=("depth", "engine"))
def predict(variables, images, multiplier, ranges, *, depth, engine):
    """The classes that the network sees in images uint8: int32 `(N,)`."""
    scores = resnet(depth, multiplier, ranges, engine).apply(variables, normalize(images))
    return scores.argmax(-1).astype(jnp.int32)


def predict_all(variables, images, multiplier, ranges, options, title) -> np.ndarray:
    """`predict` in batches of one size; the last one is filled up, and its rest dropped."""
    batch = min(options.batch, len(images))
    classes = []
    for start in bar(range(0, len(images), batch), title):
        part = images[start : start + batch]
        filled = np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
        found = predict(
            variables,
            filled,
            multiplier,
            ranges if multiplier is not None else {},
            depth=options.depth,
            engine=options.engine,
        )
        classes.append(np.asarray(found)[: len(part)])
    return np.concatenate(classes)


def calibrate(variables: Any, data: Cifar10, options: argparse.Namespace) -> Ranges:
    """Range of every convolution's input over the first training images."""
    images = data.x_train[: options.calibration_images]
    ranges: Ranges = {}
    for start in bar(range(0, len(images), 250), "calibrating"):
        x = normalize(images[start : start + 250])
        for name, (low, high) in input_ranges(variables, x, depth=options.depth).items():
            least, greatest = ranges.get(name, (low, high))
            ranges[name] = jnp.minimum(least, low), jnp.maximum(greatest, high)
    return ranges


def train(variables, data, multiplier, ranges, options) -> Any:
    """Trains for `options.epochs`, in float or on a multiplier."""
    recipe = Recipe(
        options.epochs,
        options.learning_rate,
        options.weight_decay,
        options.train_batch,
        options.distill,
    )

    def report(epoch: Epoch) -> None:
        seconds = f"{epoch.seconds:.1f} s"
        print(f"epoch {epoch.number}: loss {epoch.loss:.4f}, {seconds}", flush=True)

    return fit(
        variables,
        data.x_train,
        data.y_train,
        recipe,
        multiplier=multiplier,
        ranges=ranges,
        depth=options.depth,
        engine=options.engine,
        seed=options.seed,
        checkpoint=options.checkpoint,
        progress=bar,
        after_epoch=report,
    )


def run_train(options: argparse.Namespace) -> None:
    data = read_data(options)
    image = jnp.zeros((1, 32, 32, 3))
    network = ResNet(options.depth)
    variables = jax.jit(network.init)(jax.random.key(options.seed), image)
    variables = train(variables, data, None, {}, options)
    classes = predict_all(variables, data.x_test, None, {}, options, "float")
    print(f"float: {percent(classes == data.y_test):.2f} % of {len(data.y_test)} test images")
    save_parameters(options.save, variables, calibrate(variables, data, options))
    print(f"wrote {options.save}")


def run_finetune(options: argparse.Namespace) -> None:
    multiplier = read_multipliers([options.multiplier])[0]
    multiplier = multiplier.with_gradient(GRADIENTS[options.gradient](multiplier))
    data = read_data(options)
    variables, ranges = read_parameters(options, data)
    before = predict_all(variables, data.x_test, multiplier, ranges, options, "before")
    variables = train(variables, data, multiplier, ranges, options)
    after = predict_all(variables, data.x_test, multiplier, ranges, options, "after")
    print(
        f"{multiplier.name}: {percent(before == data.y_test):.2f} % -> "
        f"{percent(after == data.y_test):.2f} % of {len(data.y_test)} test images"
    )
    save_parameters(options.save, variables, ranges)
    print(f"wrote {options.save}")


def run_evaluate(options: argparse.Namespace) -> None:
    multipliers = with_exact(read_multipliers(options.multipliers))
    data = read_data(options)
    variables, ranges = read_parameters(options, data)
    warm: set[Any] = set()
    rows: list[dict[str, Any]] = []
    float_classes = np.zeros(0)
    exact_accuracy: dict[str, float] = {}
    for multiplier in (None, *multipliers):
        name = "float" if multiplier is None else multiplier.name
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(multiplier))
        kind = jax.tree.structure(multiplier), shapes
        if kind not in warm:  # compiles, so that times below are of running alone
            few = data.x_test[: options.batch]
            predict_all(variables, few, multiplier, ranges, options, f"compiling for {name}")
            warm.add(kind)
        started = time.perf_counter()
        classes = predict_all(variables, data.x_test, multiplier, ranges, options, name)
        seconds = time.perf_counter() - started
        accuracy = percent(classes == data.y_test)
        row: dict[str, Any] = {"multiplier": name, "accuracy": accuracy}
        if multiplier is None:
            float_classes = classes
        else:
            codes = f"{multiplier.activation} x {multiplier.weight}"
            exact = exact_accuracy.setdefault(codes, accuracy)  # the exact one comes first
            row |= {"codes": codes, "metrics": multiplier.metrics().asdict()}
            row |= {"change_from_exact": round(accuracy - exact, 4)}
            row |= {"agreement_with_float": percent(classes == float_classes)}
        rows.append(row | {"seconds": seconds})
    settings = {
        "network": f"ResNet-{options.depth}",
        "parameters": str(options.parameters),
        "data": options.data,
        "test_images": len(data.y_test),
        "calibration_images": min(options.calibration_images, len(data.x_train)),
        "engine": options.engine,
        "batch": options.batch,
        "axjax": axjax.__version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "compiled_programs": predict._cache_size(),
    }
    text = markdown(settings, rows)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    ends = {name: [float(low), float(high)] for name, (low, high) in ranges.items()}
    content = {**settings, "input_ranges": ends, "results": rows}
    (options.out / "cifar10_resnet.json").write_text(json.dumps(content, indent=2) + "\n")
    (options.out / "cifar10_resnet.md").write_text(text)
    print(f"wrote {options.out}/cifar10_resnet.json and .md")


def with_exact(multipliers: list[axjax.Multiplier]) -> list[axjax.Multiplier]:
    """Kind after kind by mean absolute error, an exact multiplier first in each."""
    kinds: dict[Any, list[axjax.Multiplier]] = {}
    for m in multipliers:
        kinds.setdefault((m.activation, m.weight), []).append(m)
    for (x, w), kind in kinds.items():
        kind.sort(key=lambda m: m.metrics().mae)
        if kind[0].errors().any():
            kind.insert(0, exact_multiplier(x, w))
    return [m for kind in kinds.values() for m in kind]


def exact_multiplier(x: axjax.CodeType, w: axjax.CodeType) -> axjax.Multiplier:
    """The exact multiplier of a kind, with its factors where axjax ships them."""
    exact = axjax.Multiplier.exact((x.bits, w.bits), signed=(x.signed, w.signed))
    for shipped in map(axjax.load, ("mul8u_exact", "mul8s_exact")):
        if (shipped.activation, shipped.weight) == (x, w):
            return exact.with_factors(shipped.factors)
    return exact


def markdown(settings: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{settings['network']}, {settings['test_images']} test images, "
        f"{settings['device']}, engine {settings['engine']}",
        "",
        "| multiplier | codes | MAE | MRE % | accuracy % | against exact | agrees with float % "
        "| seconds |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = ["", "", "", "", ""]
        if "metrics" in row:
            metrics = row["metrics"]
            cells = [row["codes"], f"{metrics['MAE']:.4g}", f"{metrics['MRE%']:.3g}"]
            cells += [f"{row['change_from_exact']:+.2f}", f"{row['agreement_with_float']:.2f}"]
        cells.insert(3, f"{row['accuracy']:.2f}")
        cells = [row["multiplier"], *cells, f"{row['seconds']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read_data(options: argparse.Namespace) -> Cifar10:
    data = load_cifar10(options.data)
    if options.data == "synthetic":
        print("synthetic data: random images and labels, accuracies mean nothing")
    return Cifar10(
        data.x_train[: options.train_limit],
        data.y_train[: options.train_limit],
        data.x_test[: options.limit],
        data.y_test[: options.limit],
    )


def read_parameters(options: argparse.Namespace, data: Cifar10) -> tuple[Any, Ranges]:
    """Variables and activation ranges: the file's own, or calibrated now."""
    ranges = None
    path, ours = options.parameters, PARAMETERS / f"resnet{options.depth}.npz"
    if path is None and options.data != "digits" and ours.is_file():
        path = ours
    if path is not None:
        options.depth, variables, ranges = load_parameters(path)
        variables = jax.device_put(variables)
    elif options.data == "synthetic":
        print(f"no --parameters: a ResNet-{options.depth} with random ones")
        image = jnp.zeros((1, 32, 32, 3))
        variables = jax.jit(ResNet(options.depth).init)(jax.random.key(options.seed), image)
    else:
        raise ValueError(
            "cifar10_resnet: a network has to be trained, as those of depths 8 and 20 here are "
            f"for CIFAR-10, got depth={options.depth}. Pass --parameters FILE, which the "
            "command train writes."
        )
    return variables, calibrate(variables, data, options) if ranges is None else ranges


def read_multipliers(names: Iterable[str]) -> list[axjax.Multiplier]:
    multipliers = [axjax.load(name) for name in names]
    twice = {m.name for m in multipliers if sum(m.name == n.name for n in multipliers) > 1}
    if twice:
        raise ValueError(
            f"cifar10_resnet: multipliers have names of their own, got two of {min(twice)!r}. "
            "Name each once, or rename a file."
        )
    return multipliers


def check_engine(engine: str) -> None:
    states: Any = axjax.build_info()["engines"]
    if (state := states.get(engine, "usable")) != "usable":
        raise ValueError(
            f"cifar10_resnet: an engine has to run here, got engine={engine!r}: {state}. "
            "Or pass --engine auto."
        )


def percent(hits: np.ndarray) -> float:
    return round(100 * float(hits.mean()), 4)


def bar(steps: Any, title: str) -> Iterable[Any]:
    """Progress on standard error; nothing where that is not a terminal."""
    console = rich.console.Console(stderr=True)
    return rich.progress.track(
        steps, title, console=console, transient=True, disable=not console.is_terminal
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    add = common.add_argument
    add("--data", required=True, help=".npz, folder cifar-10-batches-bin, or digits")
    add("--parameters", type=pathlib.Path, help=".npz of a trained network (ours)")
    add("--depth", type=int, default=20, help="6n + 2, without --parameters (20)")
    add("--engine", default="auto", choices=["auto", *axjax.ENGINES])
    add("--batch", type=int, default=1000, help="images in a step of evaluation (1000)")
    add("--limit", type=int, help="evaluate the first LIMIT test images alone")
    add("--train-limit", type=int, help="use the first training images alone")
    add("--calibration-images", type=int, default=1000, help="for activation ranges (1000)")
    add("--seed", type=int, default=0)

    found = commands.add_parser("evaluate", parents=[common], help="accuracy under multipliers")
    found.add_argument(
        "--multipliers",
        nargs="*",
        default=axjax.available(),
        metavar="NAME",
        help="names or files (all that ship with axjax); none: float alone",
    )
    found.add_argument("--out", type=pathlib.Path, default=pathlib.Path("cifar10-results"))
    found.set_defaults(run=run_evaluate)
    for name, run, help_text, epochs, rate in (
        ("train", run_train, "train in float", 100, 0.1),
        ("finetune", run_finetune, "train further under a multiplier", 2, 0.002),
    ):
        found = commands.add_parser(name, parents=[common], help=help_text)
        found.add_argument("--epochs", type=int, default=epochs, help=f"({epochs})")
        found.add_argument("--learning-rate", type=float, default=rate, help=f"({rate})")
        found.add_argument("--weight-decay", type=float, default=5e-4, help="(5e-4)")
        found.add_argument("--train-batch", type=int, default=128, help="(128)")
        found.add_argument(
            "--checkpoint", type=pathlib.Path, help="written after each epoch; to go on from"
        )
        found.add_argument("--save", type=pathlib.Path, required=True, metavar="FILE.npz")
        if name == "finetune":
            found.add_argument("--multiplier", required=True, metavar="NAME")
            found.add_argument("--gradient", choices=GRADIENTS, default="clipped_ste")
            found.add_argument(
                "--distill",
                type=float,
                default=0.0,
                metavar="SHARE",
                help="of the loss that is the distance to the float network's scores (0)",
            )
        found.set_defaults(run=run, **({} if name == "finetune" else {"distill": 0.0}))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    # Float32 is float32 on every device: no TF32 in what the emulation is compared with.
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        blocks_per_stage(options.depth)
        check_engine(options.engine)
        options.run(options)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
