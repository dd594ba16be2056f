# SPDX-License-Identifier: Apache-2.0
"""Draws what finetune.py measured, and prints it as the table of docs/fine-tuning.md.

python benchmarks/finetune_report.py benchmarks/results/finetune.json docs/fine-tuning.png
"""

import argparse
import json
import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LOOKS = {"clipped_ste": ("#3a6ea5", "o"), "lut_difference": ("#c0692f", "D")}


def by_multiplier(results):
    """Rows of each multiplier by its gradient; multipliers from harmless to fatal."""
    found = {}
    for row in results["rows"]:
        found.setdefault(row["multiplier"], {})[row["gradient"]] = row
    return dict(sorted(found.items(), key=lambda item: -before(item[1])))


def before(rows):
    return next(iter(rows.values()))["before"]


def mean_and_deviation(row):
    accuracies = list(row["after"].values())
    return statistics.mean(accuracies), statistics.pstdev(accuracies)


def table(results):
    names = list(LOOKS)
    heads = ["multiplier", "before", *(f"`{name}`" for name in names), "seconds an epoch"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(names) + 2)]
    for multiplier, rows in by_multiplier(results).items():
        cells = [multiplier, f"{before(rows):.2f}"]
        for name in names:
            row = rows.get(name)
            cells.append(
                "" if row is None else "{:.2f} ± {:.2f}".format(*mean_and_deviation(row))
            )
        if "exact" in rows:  # the float network
            cells[2] = "{:.2f} ± {:.2f}".format(*mean_and_deviation(rows["exact"]))
        seconds = [statistics.median(row["seconds_per_epoch"]) for row in rows.values()]
        cells.append(", ".join(f"{s:.1f}" for s in seconds))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(record, path):
    rows = by_multiplier(record["results"])
    exact = [before(r) for name, r in rows.items() if name.startswith("exact")]
    rows = {n: r for n, r in rows.items() if n != "float" and not n.startswith("exact")}
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(rows) + 1.6), layout="constrained")
    axes.axvline(max(exact), color="0.35", linewidth=1, linestyle="--")
    axes.annotate("exact 8-bit", (max(exact), -0.9), ha="right", fontsize=8, color="0.35",
                  xytext=(-3, 0), textcoords="offset points")  # fmt: skip
    for y, by_gradient in enumerate(rows.values()):
        axes.plot(before(by_gradient), y, "|", color="0.2", markersize=11, markeredgewidth=2)
        for offset, (name, (colour, marker)) in zip((-0.14, 0.14), LOOKS.items(), strict=True):
            after, deviation = mean_and_deviation(by_gradient[name])
            axes.plot([before(by_gradient), after], [y + offset] * 2, color=colour, alpha=0.5)
            axes.errorbar(after, y + offset, xerr=deviation, fmt=marker, color=colour,
                          markersize=5, capsize=2, label=name if y == 0 else None)  # fmt: skip
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -1.3)
    axes.set(xlim=(0, 100), xlabel="accuracy, %: before (bar) and after fine-tuning")
    environment, settings = record["environment"], record["results"]["settings"]
    axes.set_title(
        f"ResNet-{settings['depth']} on CIFAR-10, {settings['epochs']} epochs, "
        f"{environment['device']}, {environment['date']}",
        fontsize=11,
    )
    axes.grid(axis="x", alpha=0.25)
    axes.legend(loc="upper left", fontsize=8)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    options = parser.parse_args()
    record = json.loads(options.results.read_text(encoding="utf-8"))
    print(table(record["results"]))
    draw(record, options.picture)


if __name__ == "__main__":
    main()
