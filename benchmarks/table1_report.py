# SPDX-License-Identifier: Apache-2.0
"""Draws what table1.py measured, and prints it as the tables of docs/table1.md.

python benchmarks/table1_report.py docs/table1.png benchmarks/results/table1*.json
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CURVES = {  # program: label, colour, style
    "cuda_texture": ("texture fetches", "#b0413e", "o-"),
    "cuda_gather": ("gathers through L1", "#d08b3c", "o-"),
    "cuda_tensor_core, 16 terms": ("tensor cores, 16 terms", "#7fb3a6", "o-"),
    "cuda_tensor_core, 8 terms": ("tensor cores, 8 terms", "#3f8f7f", "o-"),
    "cuda_tensor_core, 4 terms": ("tensor cores, 4 terms", "#1d5c50", "o-"),
    "exact float32, highest": ("exact float32, full precision", "0.55", "s--"),
    "exact float32": ("exact float32, TF32", "0.2", "s--"),
}
PUBLISHED = {"emulated, GTX 1080": ("o:", "emulated"), "exact, GTX 1080": ("s:", "exact")}


def seconds_of(measured):
    """Seconds by program and depth."""
    found = {}
    for row in measured["rows"]:
        found.setdefault(row["program"], {})[row["depth"]] = row["seconds"]
    return found


def table(measured):
    found = seconds_of(measured)
    depths = list(found["exact float32"])
    scaled = measured["timed_images"] != measured["images"]
    note = f", scaled from {measured['timed_images']}" if scaled else ""
    lines = [
        f"{measured['device']}, seconds for {measured['images']} images{note}",
        "",
        f"| program | {' | '.join(f'ResNet-{depth}' for depth in depths)} | to exact |",
        "|---|" + "---:|" * (len(depths) + 1),
    ]
    for program, seconds in found.items():
        ratio = seconds[depths[-1]] / found["exact float32"][depths[-1]]
        cells = [f"{seconds[depth]:.3g}" for depth in depths]
        lines.append(f"| {program} | {' | '.join(cells)} | {ratio:.2f} |")
    return "\n".join(lines)


def draw(record, path):
    measured = record["results"]["measured"][0]
    found, published = seconds_of(measured), record["results"]["tfapprox"]
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, (style, label) in PUBLISHED.items():
        axes.plot(published["depths"], published["seconds"][name], style, color="#8a6fb0",
                  markersize=4, label=f"TFApprox, {label}: GTX 1080, published")  # fmt: skip
    for program, (label, colour, style) in CURVES.items():
        if program in found:
            axes.plot(list(found[program]), list(found[program].values()), style, color=colour,
                      markersize=4, label=label)  # fmt: skip
    environment = record["environment"]
    axes.set(yscale="log", xlabel="depth of the ResNet", ylabel="seconds for 10,000 images")
    axes.set_xticks(published["depths"])
    axes.set_title(
        f"TFApprox's Table I on one {environment['device']}, {environment['date']}", fontsize=11
    )
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path, nargs="+")
    options = parser.parse_args()
    records = [json.loads(path.read_text(encoding="utf-8")) for path in options.results]
    for record in records:
        for measured in record["results"]["measured"]:
            print(table(measured), end="\n\n")
    draw(records[0], options.picture)


if __name__ == "__main__":
    main()
