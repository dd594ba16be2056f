# SPDX-License-Identifier: Apache-2.0
"""Draws what gpu_engines.py measured, and prints it as the table of docs/engines.md.

python benchmarks/gpu_report.py benchmarks/results/gpu_engines.json docs/gpu_engines.png
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CURVES = {
    "3x3, (M, K, N) = (65536, 1152, 128)": "3x3, 128 to 128 channels",
    "ResNet-50 stage 1, 3x3": "3x3, 64 to 64",
    "ResNet-50 stage 3, 1x1 1024 to 256": "1x1, 1024 to 256",
    "ResNet-50 stem 7x7": "7x7, 3 to 64",
    "ResNet-20 stage 1": "3x3, 16 to 16",
}
LINES = {  # of the first layer
    "exact float32": ("exact float32 (XLA, TF32)", "0.35", "--"),
    "cuda_gather": ("gather through L1", "#b0413e", "--"),
    "cuda_texture": ("texture fetches (TFApprox's method)", "#b0413e", ":"),
    "plain JAX gather": ("plain JAX gather", "#b0413e", "-."),
}


def draw(record, path):
    results = record["results"]
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    colours = plt.cm.viridis([i / len(CURVES) for i in range(len(CURVES))])
    for (layer, label), colour in zip(CURVES.items(), colours, strict=True):
        rates = {
            int(name.split()[1]): row["products_per_second"] / 1e12
            for name, row in results[layer].items()
            if name.startswith("cuda_tensor_core")
        }
        axes.plot(list(rates), list(rates.values()), "o-", color=colour, label=label)
    first = results[next(iter(CURVES))]
    for name, (label, colour, style) in LINES.items():
        rate = first[name]["products_per_second"] / 1e12
        axes.axhline(rate, color=colour, linestyle=style, linewidth=1)
        axes.annotate(
            f"{label}: {rate:.3g} T", (256, rate), xytext=(0, 3), textcoords="offset points",
            ha="right", fontsize=8, color=colour,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="int8 terms of the table",
             ylabel="emulated products a second (T)")  # fmt: skip
    axes.set_xticks([4, 8, 16, 32, 64, 128, 256], ["4", "8", "16", "32", "64", "128", "256"])
    axes.minorticks_off()
    environment = record["environment"]
    axes.set_title(
        f"Factored tables on tensor cores, {environment['device']}, {environment['date']}",
        fontsize=11,
    )
    axes.legend(title="engine cuda_tensor_core", fontsize=8, loc="lower left")
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=120)


COLUMNS = {
    "cuda_texture": "texture",
    "cuda_gather": "gather",
    **{f"cuda_tensor_core, {terms} terms": f"{terms} terms" for terms in (4, 8, 16, 64, 256)},
    "plain JAX gather": "plain JAX",
    "exact float32": "exact float32",
    "exact bfloat16": "exact bfloat16",
}


def table(record):
    """T products a second in Markdown."""
    lines = [
        f"| layer | {' | '.join(COLUMNS.values())} |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for layer, rows in record["results"].items():
        rates = (rows[name]["products_per_second"] / 1e12 for name in COLUMNS)
        lines.append(f"| {layer} | " + " | ".join(f"{rate:.3g}" for rate in rates) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    options = parser.parse_args()
    record = json.loads(options.results.read_text(encoding="utf-8"))
    draw(record, options.picture)
    print(table(record))


if __name__ == "__main__":
    main()
