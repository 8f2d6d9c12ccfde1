"""Draw matplotlib figures of rows and tensors; nothing is shown or saved here."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sweeps.choose.choose import objectives, pareto, unstopped
from sweeps.spec.cells import subset_of

T = TypeVar("T")
Style = dict[str, Any]  # keyword arguments of a matplotlib call

INK, ACCENT, PALE = "#222222", "#c2410c", "#9aa5b1"
LEAST_SPAN = 0.2  # of an axis of shares
MARGIN = 0.06  # of its span, on both sides
KINDS = (  # column prefix, name, colour
    ("original_", "original", PALE),
    ("", "unlearned", ACCENT),
    ("oracle_", "oracle", INK),
)


def _plot(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one plot; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _panels(
    content: Mapping[str, T], width: float, height: float
) -> tuple[Figure, Iterator[tuple[Axes, str, T]]]:
    """Return a figure with one titled panel per item, side by side; sizes per panel, in inches."""
    figure = Figure(figsize=(width * len(content), height), layout="constrained")
    axes = figure.subplots(1, len(content), squeeze=False)[0]
    for axis, name in zip(axes, content, strict=True):
        axis.set_title(name, fontsize=11)
    return figure, zip(axes, content.keys(), content.values(), strict=True)


def tile(images: Tensor, columns: int) -> Tensor:
    """Lay images (n, channels, height, width) out as one picture (h, w, channels).

    Values are in [0, 1]; gaps of one pixel are white.
    """
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    down, across = height + 1, width + 1  # from one image to the next, in pixels
    sheet = images.new_ones(rows * down - 1, columns * across - 1, channels)
    for i, image in enumerate(images):
        top = i // columns * down
        left = i % columns * across
        sheet[top : top + height, left : left + width] = image.permute(1, 2, 0)
    return sheet


def _draw(axis: Axes, images: Tensor, columns: int) -> None:
    """Draw images (n, channels, height, width) in [0, 1], tiled, pixel by pixel."""
    pixels = tile(images, columns).cpu().numpy().squeeze()
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def sheets(pictures: Mapping[str, Tensor], labels: Sequence[int], marked: Sequence[int]) -> Figure:
    """Draw images by label: one panel per model, one row per label; `marked` labels are red.

    pictures: model's name -> images (labels, n, channels, height, width) in [0, 1]
    """
    figure, panels = _panels(pictures, 3.6, 0.42 * len(labels) + 0.6)
    for axis, _, images in panels:
        _draw(axis, images.flatten(0, 1), images.shape[1])
        step = images.shape[3] + 1
        middles = [(i + 0.5) * step for i in range(len(labels))]
        axis.set_yticks(middles, [str(label) for label in labels])
        for text, label in zip(axis.get_yticklabels(), labels, strict=True):
            if label in marked:
                text.set(color=ACCENT, weight="bold")
            else:
                text.set(color=INK, weight="normal")
        axis.set_xticks([])
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
    return figure


def strips(pictures: Mapping[str, Tensor]) -> Figure:
    """Draw one row of images (n, channels, height, width) in [0, 1] per name."""
    figure = Figure(figsize=(6.4, 0.7 * len(pictures) + 0.2), layout="constrained")
    axes = figure.subplots(len(pictures), 1, squeeze=False)[:, 0]
    for axis, (name, images) in zip(axes, pictures.items(), strict=True):
        _draw(axis, images, len(images))
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7.5)
        axis.set(xticks=[], yticks=[])
    return figure


def mosaics(pictures: Mapping[str, Tensor]) -> Figure:
    """Draw titled grids of images (rows, columns, channels, height, width) in [0, 1]."""
    figure, panels = _panels(pictures, 4.2, 4.4)
    for axis, _, images in panels:
        _draw(axis, images.flatten(0, 1), images.shape[1])
        axis.set_axis_off()
    return figure


def pareto_front(rows: pd.DataFrame, chosen: str) -> Figure:
    """Draw all cells as (forget, retain) on val, their Pareto front, the chosen cell also on test.

    chosen: the chosen cell's cell_id
    """
    values, front = objectives(rows), pareto(rows)
    figure, axis = _plot(6.4, 4.4)
    dots: Style = {"s": 18, "color": PALE, "label": f"{len(rows)} cells, val"}
    axis.scatter(values.val_forget, values.val_retain, **dots)
    line = values[front].sort_values("val_forget")
    thin: Style = {"color": INK, "ms": 4, "lw": 1, "label": "Pareto front, val"}
    axis.plot(line.val_forget, line.val_retain, "-o", **thin)
    own = rows["cell_id"] == chosen
    on_val, on_test = values[own], _tested(rows[own].iloc[0])
    star: Style = {"color": ACCENT, "zorder": 3, "s": 120, "marker": "*"}
    axis.scatter(on_val.val_forget, on_val.val_retain, label="chosen, val", **star)
    hollow: Style = {"facecolor": "none", "edgecolor": ACCENT, "zorder": 3}
    axis.scatter(*on_test, s=60, marker="D", label="chosen, test", **hollow)
    shown = pd.concat([values, pd.DataFrame([on_test], columns=values.columns)])
    axis.set(xlabel="forget (probability or accuracy; less is better)", ylabel="retain accuracy")
    axis.set(xlim=span_of(shown.val_forget), ylim=span_of(shown.val_retain))
    axis.legend(frameon=False, fontsize=9)
    axis.grid(alpha=0.25)
    return figure


def span_of(shares: pd.Series) -> tuple[float, float]:
    """Return axis limits around shares: at least `LEAST_SPAN` wide, with a margin on both sides.

    A narrower axis would show the noise of a few images as if it were a trend.
    """
    low, high = float(shares.min()), float(shares.max())
    middle, span = (low + high) / 2, max(high - low, LEAST_SPAN)
    start = min(max(middle - span / 2, 0.0), 1.0 - span) if span < 1 else 0.0
    return start - MARGIN * span, start + (1 + MARGIN) * span


def _tested(row: pd.Series) -> tuple[float, float]:
    """Return (forget, retain) as reported: by other latents and judge, or on the test split."""
    if row["task"] == "generator":
        return row["forget_probability"], row["retain_accuracy"]
    return row["test_forget_accuracy"], row["test_retain_accuracy"]


def knob_map(rows: pd.DataFrame, x: str, y: str, chosen: str) -> Figure:
    """Draw forget and retain on val over two knobs, one dot per cell.

    Rings mark the Pareto front, a star the chosen cell, crosses candidates that stopped early.

    x, y: the two knobs' columns
    chosen: the chosen cell's cell_id
    """
    stopped = rows[rows["val_stopped"].eq(True)]
    rows = unstopped(rows)
    values, front = objectives(rows), pareto(rows)
    best, own = rows[front], rows[rows["cell_id"] == chosen]
    ring: Style = {"facecolor": "none", "edgecolor": INK}
    figure = Figure(figsize=(9.2, 3.8), layout="constrained")
    for axis, name in zip(figure.subplots(1, 2), ("forget", "retain"), strict=True):
        colour = values[f"val_{name}"]
        axis.scatter(stopped[x], stopped[y], marker="x", s=14, lw=0.8, color=PALE)
        dots = axis.scatter(rows[x], rows[y], c=colour, cmap="viridis", vmin=0, vmax=1, s=34)
        axis.scatter(best[x], best[y], s=80, label="Pareto front", **ring)
        axis.scatter(own[x], own[y], s=180, marker="*", color=ACCENT, label="chosen")
        axis.set(xlabel=x, ylabel=y, title=f"{name}, val")
        figure.colorbar(dots, ax=axis)
    axis.legend(frameon=False, fontsize=8)
    return figure


def curves(row: pd.Series) -> Figure:
    """Draw the loss terms of one cell over its unlearning steps, in nats per image."""
    figure, axis = _plot(6.4, 3.2)
    for name, values in zip(row["curve_terms"], row["curve"], strict=True):
        axis.plot(row["curve_step"], values, lw=1.2, label=name)
    axis.set(xlabel="step", ylabel="loss term, nats per image")
    axis.legend(frameon=False, fontsize=9)
    axis.grid(alpha=0.25)
    return figure


def by_class(row: pd.Series) -> Figure:
    """Draw each class's accuracy for the three models; the axis names the forgotten classes."""
    column = "class_accuracy" if row["task"] == "generator" else "test_class_accuracy"
    classes = range(len(row[column]))
    figure, axis = _plot(6.4, 2.8)
    for shift, (prefix, name, colour) in enumerate(KINDS):
        places = [label + 0.27 * (shift - 1) for label in classes]
        axis.bar(places, row[prefix + column], width=0.25, color=colour, label=name)
    forgotten = subset_of(row) or ", ".join(map(str, row["forget"]))
    axis.set(xlabel=f"class (forgotten: {forgotten})", ylabel="accuracy", ylim=(0, 1.02))
    figure.legend(loc="outside upper center", frameon=False, fontsize=9, ncols=3)
    axis.set_xticks(classes)
    return figure


def scatter(points: Mapping[str, Tensor], labels: Tensor, marked: Sequence[int]) -> Figure:
    """Draw points (n, 2) coloured by label (n,), one panel per name; marked labels are crosses."""
    dot: Style = {"marker": "o", "s": 9, "alpha": 0.7}
    cross: Style = {"marker": "x", "s": 26, "lw": 1.4}
    figure, panels = _panels(points, 4.4, 4.2)
    ordered = sorted(labels.unique().tolist(), key=lambda label: label in marked)
    for axis, _, places in panels:
        for label in ordered:
            x, y = places[labels == label].cpu().numpy().T
            style = cross if label in marked else dot
            axis.scatter(x, y, color=f"C{label % 10}", label=str(label), **style)
        axis.set(xticks=[], yticks=[])
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=9)
    return figure


def displacements(moved: Sequence[float], labels: Sequence[int], marked: Sequence[int]) -> Figure:
    """Draw how far each class's latent centroid moved, in latent units; marked ones are red."""
    figure, axis = _plot(6.4, 2.6)
    places = range(len(moved))
    colours = [ACCENT if label in marked else PALE for label in labels]
    axis.bar(places, moved, color=colours)
    axis.set_xticks(places, [str(label) for label in labels])
    axis.set(xlabel="class", ylabel="centroid moved, latent units")
    return figure


def confusions(tables: Mapping[str, np.ndarray], marked: Sequence[int]) -> Figure:
    """Draw confusion matrices (true, predicted) side by side; each row sums to 1."""
    figure, panels = _panels(tables, 3.4, 3.4)
    for axis, _, table in panels:
        axis.imshow(table, cmap="Greys", vmin=0, vmax=1)
        ticks = range(len(table))
        axis.set(xticks=ticks, yticks=ticks, xlabel="predicted", ylabel="true")
        for label in marked:
            axis.get_yticklabels()[label].set(color=ACCENT, weight="bold")
        axis.tick_params(labelsize=7)
    return figure


def relearning(row: pd.Series, mode: str = "") -> Figure:
    """Draw the test accuracy while the forgotten classes are learned again.

    Solid lines: forgotten classes. Dashed lines: kept classes, low where the model is damaged.
    mode: prefix of the columns, `rehearsed_` or "".
    """
    figure, axis = _plot(6.4, 3.2)
    for prefix, name, colour in KINDS:
        steps = row[f"{prefix}{mode}relearn_steps"]
        forget = row[f"{prefix}{mode}relearn_forget_accuracy"]
        retain = row[f"{prefix}{mode}relearn_retain_accuracy"]
        axis.plot(steps, forget, "-o", ms=3, color=colour, label=name)
        axis.plot(steps, retain, "--", lw=1, color=colour, label=f"{name}, kept")
    axis.set(xlabel="mini-batches", ylabel="test accuracy", ylim=(-0.02, 1.02))
    axis.legend(frameon=False, fontsize=9)
    axis.grid(alpha=0.25)
    return figure
