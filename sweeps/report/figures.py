"""Pictures of results: functions from a table or tensors to a matplotlib `Figure`; nothing is shown or saved."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from sweeps.choose.choose import objectives, pareto, unstopped

INK, ACCENT, PALE = "#222222", "#c2410c", "#9aa5b1"
KINDS = (
    ("original_", "original", PALE),
    ("", "unlearned", ACCENT),
    ("oracle_", "oracle", INK),
)  # column prefix, ...


def tile(images: Tensor, columns: int) -> Tensor:
    """Images (n, channels, height, width) in [0, 1] as one picture (h, w, channels) with white gaps."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = images.new_ones(rows * (height + 1) - 1, columns * (width + 1) - 1, channels)
    for i, image in enumerate(images):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image.permute(1, 2, 0)
    return sheet


def sheets(pictures: Mapping[str, Tensor], labels: Sequence[int], marked: Sequence[int]) -> Figure:
    """Before | after | oracle: one panel a model, one row a label; `pictures` hold (labels, n, c, h, w) in [0, 1]."""
    figure = Figure(figsize=(3.6 * len(pictures), 0.42 * len(labels) + 0.6), layout="constrained")
    for axis, (title, images) in zip(
        figure.subplots(1, len(pictures), squeeze=False)[0], pictures.items(), strict=True
    ):
        picture = tile(images.flatten(0, 1), images.shape[1])
        axis.imshow(
            picture.cpu().numpy().squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
        )
        axis.set_title(title, fontsize=11)
        step = images.shape[3] + 1
        axis.set_yticks(
            [(i + 0.5) * step for i in range(len(labels))], [str(label) for label in labels]
        )
        for text, label in zip(axis.get_yticklabels(), labels, strict=True):
            text.set(
                color=ACCENT if label in marked else INK,
                weight="bold" if label in marked else "normal",
            )
        axis.set_xticks([])
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
    return figure


def strips(pictures: Mapping[str, Tensor]) -> Figure:
    """One row of images (n, channels, height, width) in [0, 1] a name."""
    figure = Figure(figsize=(6.4, 0.7 * len(pictures) + 0.2), layout="constrained")
    for axis, (name, images) in zip(
        figure.subplots(len(pictures), 1, squeeze=False)[:, 0], pictures.items(), strict=True
    ):
        picture = tile(images, len(images))
        axis.imshow(
            picture.cpu().numpy().squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
        )
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[])
    return figure


def pareto_front(rows: pd.DataFrame, chosen: str) -> Figure:
    """All cells as (forget, retain) on val, the Pareto front, and the chosen cell with its reading on test."""
    values, front = objectives(rows), pareto(rows)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis = figure.subplots()
    axis.scatter(
        values.val_forget, values.val_retain, s=18, color=PALE, label=f"{len(rows)} cells, val"
    )
    line = values[front].sort_values("val_forget")
    axis.plot(
        line.val_forget, line.val_retain, "-o", color=INK, ms=4, lw=1, label="Pareto front, val"
    )
    at = rows["cell_id"] == chosen
    axis.scatter(
        values[at].val_forget,
        values[at].val_retain,
        s=120,
        marker="*",
        color=ACCENT,
        zorder=3,
        label="chosen, val",
    )
    forget, retain = tested(rows[at].iloc[0])
    axis.scatter(
        [forget],
        [retain],
        s=60,
        marker="D",
        facecolor="none",
        edgecolor=ACCENT,
        zorder=3,
        label="chosen, test",
    )
    axis.set(xlabel="forget (probability or accuracy; less is better)", ylabel="retain accuracy")
    axis.legend(frameon=False, fontsize=9)
    axis.grid(alpha=0.25)
    return figure


def tested(row: pd.Series) -> tuple[float, float]:
    """(forget, retain) as reported for a row: other latents and another judge, or the test split."""
    if row["task"] == "generator":
        return row["forget_probability"], row["retain_accuracy"]
    return row["test_forget_accuracy"], row["test_retain_accuracy"]


def curves(row: pd.Series) -> Figure:
    """The unlearning curve of one cell, a line a loss term (nats per image; the log of steps is not taken)."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, values in zip(row["curve_terms"], row["curve"], strict=True):
        axis.plot(row["curve_step"], values, lw=1.2, label=name)
    axis.set(xlabel="step", ylabel="loss term, nats an image")
    axis.legend(frameon=False, fontsize=9)
    axis.grid(alpha=0.25)
    return figure


def by_class(row: pd.Series) -> Figure:
    """Accuracy of every class: original, unlearned, oracle; the forgotten classes marked."""
    column = "class_accuracy" if row["task"] == "generator" else "test_class_accuracy"
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axis = figure.subplots()
    for shift, (prefix, name, colour) in enumerate(KINDS):
        places = [label + 0.27 * (shift - 1) for label in range(len(row[column]))]
        axis.bar(places, row[prefix + column], width=0.25, color=colour, label=name)
    axis.set(
        xlabel="class (forgotten: " + ", ".join(map(str, row["forget"])) + ")",
        ylabel="accuracy",
        ylim=(0, 1.02),
    )
    figure.legend(loc="outside upper center", frameon=False, fontsize=9, ncols=3)
    axis.set_xticks(range(len(row[column])))
    return figure


def mosaics(pictures: Mapping[str, Tensor]) -> Figure:
    """Grids of images (rows, columns, channels, height, width) in [0, 1], side by side under their names."""
    figure = Figure(figsize=(4.2 * len(pictures), 4.4), layout="constrained")
    for axis, (name, images) in zip(
        figure.subplots(1, len(pictures), squeeze=False)[0], pictures.items(), strict=True
    ):
        picture = tile(images.flatten(0, 1), images.shape[1])
        axis.imshow(
            picture.cpu().numpy().squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
        )
        axis.set_title(name, fontsize=11)
        axis.set_axis_off()
    return figure


def scatter(points: Mapping[str, Tensor], labels: Tensor, marked: Sequence[int]) -> Figure:
    """Points (n, 2) coloured by label (n,), one panel a name; marked labels are crosses, in front."""
    figure = Figure(figsize=(4.4 * len(points), 4.2), layout="constrained")
    axes = figure.subplots(1, len(points), squeeze=False)[0]
    for axis, (name, places) in zip(axes, points.items(), strict=True):
        for label in sorted(labels.unique().tolist(), key=lambda label: label in marked):
            at = places[labels == label].cpu().numpy()
            shape = (
                {"marker": "x", "s": 26, "lw": 1.4}
                if label in marked
                else {"marker": "o", "s": 9, "alpha": 0.7}
            )
            axis.scatter(at[:, 0], at[:, 1], color=f"C{label % 10}", label=str(label), **shape)
        axis.set_title(name, fontsize=11)
        axis.set(xticks=[], yticks=[])
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=9)
    return figure


def displacements(moved: Sequence[float], labels: Sequence[int], marked: Sequence[int]) -> Figure:
    """How far each class's latent centroid moved; the marked classes in colour."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axis = figure.subplots()
    axis.bar(
        range(len(moved)), moved, color=[ACCENT if label in marked else PALE for label in labels]
    )
    axis.set_xticks(range(len(moved)), [str(label) for label in labels])
    axis.set(xlabel="class", ylabel="centroid moved, latent units")
    return figure


def confusions(tables: Mapping[str, np.ndarray], marked: Sequence[int]) -> Figure:
    """Confusion matrices (true, predicted), each row a share of its class, side by side under their names."""
    figure = Figure(figsize=(3.4 * len(tables), 3.4), layout="constrained")
    for axis, (name, table) in zip(
        figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True
    ):
        axis.imshow(table, cmap="Greys", vmin=0, vmax=1)
        ticks = range(len(table))
        axis.set(xticks=ticks, yticks=ticks, xlabel="predicted", ylabel="true")
        for label in marked:
            axis.get_yticklabels()[label].set(color=ACCENT, weight="bold")
        axis.tick_params(labelsize=7)
        axis.set_title(name, fontsize=11)
    return figure


def heat(rows: pd.DataFrame, x: str, y: str, chosen: str) -> Figure:
    """Forget and retain on val over two knobs, a dot a cell: the Pareto front ringed, the chosen cell starred; a cross
    for a cell that stopped on val."""
    stopped, rows = rows[rows["val_stopped"].eq(True)], unstopped(rows)
    values, front, at = objectives(rows), pareto(rows), rows["cell_id"] == chosen
    figure, columns = (
        Figure(figsize=(9.2, 3.8), layout="constrained"),
        {"forget": "val_forget", "retain": "val_retain"},
    )
    for axis, (name, column) in zip(figure.subplots(1, 2), columns.items(), strict=True):
        axis.scatter(stopped[x], stopped[y], marker="x", s=14, lw=0.8, color=PALE)
        dots = axis.scatter(
            rows[x], rows[y], c=values[column], cmap="viridis", vmin=0, vmax=1, s=34
        )
        axis.scatter(
            rows[x][front],
            rows[y][front],
            s=80,
            facecolor="none",
            edgecolor=INK,
            label="Pareto front",
        )
        axis.scatter(rows[x][at], rows[y][at], s=180, marker="*", color=ACCENT, label="chosen")
        axis.set(xlabel=x, ylabel=y, title=f"{name}, val")
        figure.colorbar(dots, ax=axis)
    axis.legend(frameon=False, fontsize=8)
    return figure


def relearning(row: pd.Series) -> Figure:
    """Accuracy on the forgotten class while it is taught again, and dashed on the kept ones: a wreck's stays low."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axis = figure.subplots()
    for prefix, name, colour in KINDS:
        steps, accuracy = row[f"{prefix}relearn_steps"], row[f"{prefix}relearn_forget_accuracy"]
        axis.plot(steps, accuracy, "-o", ms=3, color=colour, label=name)
        axis.plot(
            steps,
            row[f"{prefix}relearn_retain_accuracy"],
            "--",
            lw=1,
            color=colour,
            label=f"{name}, kept",
        )
    axis.set(xlabel="mini-batches", ylabel="test accuracy", ylim=(-0.02, 1.02))
    axis.legend(frameon=False, fontsize=9)
    axis.grid(alpha=0.25)
    return figure
