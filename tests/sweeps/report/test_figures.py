"""Figures: images laid out row by row, panels by model, forgotten labels marked."""

import pandas as pd
import pytest
import torch

from sweeps.report.figures import ACCENT, by_class, pareto_front, sheets, span_of, tile
from tests.sweeps import builders as make


def test_images_are_laid_out_row_by_row_with_white_gaps() -> None:
    images = torch.tensor([0.1, 0.2, 0.3])[:, None, None, None].expand(3, 1, 1, 1)
    sheet = tile(images, 2)
    expected = [[0.1, 1.0, 0.2], [1.0, 1.0, 1.0], [0.3, 1.0, 1.0]]
    assert torch.equal(sheet[:, :, 0], torch.tensor(expected))


def test_every_model_is_a_panel_and_forgotten_labels_are_marked() -> None:
    images = torch.zeros(3, 2, 1, 4, 4)
    figure = sheets({"original": images, "oracle": images}, [0, 1, 2], [1])
    assert [axis.get_title() for axis in figure.axes] == ["original", "oracle"]
    colours = [text.get_color() for text in figure.axes[0].get_yticklabels()]
    assert [colour == ACCENT for colour in colours] == [False, True, False]


def test_accuracies_by_class_stand_original_unlearned_oracle() -> None:
    row = pd.Series({"task": "classifier", "forget": [1]})
    row["original_test_class_accuracy"] = [0.9, 0.8]
    row["test_class_accuracy"] = [0.7, 0.1]
    row["oracle_test_class_accuracy"] = [0.6, 0.0]
    axis = by_class(row).axes[0]
    heights = [[bar.get_height() for bar in bars] for bars in axis.containers]
    assert heights == [[0.9, 0.8], [0.7, 0.1], [0.6, 0.0]]
    assert [bars.get_label() for bars in axis.containers] == ["original", "unlearned", "oracle"]
    assert axis.get_xlabel() == "class (forgotten: 1)"


@pytest.mark.parametrize(
    ("shares", "limits"),
    [
        ([0.5, 0.51], (0.393, 0.617)),  # .2 around .505, and 6 % of that on both sides
        ([0.97, 0.99], (0.788, 1.012)),  # shifted below 1
        ([0.0, 0.01], (-0.012, 0.212)),  # shifted above 0
        ([0.0, 1.0], (-0.06, 1.06)),
        ([0.2, 0.7], (0.17, 0.73)),
    ],
)
def test_an_axis_of_shares_is_never_so_narrow_that_noise_looks_like_a_trend(
    shares: list[float], limits: tuple[float, float]
) -> None:
    assert span_of(pd.Series(shares)) == pytest.approx(limits)


def test_the_front_s_axes_hold_all_cells_and_the_choice_on_test() -> None:
    values = {"test_forget_accuracy": 0.6, "test_retain_accuracy": 0.5}
    rows = make.table(make.scored(cell_id=name, **values) for name in "ab")
    axis = pareto_front(rows, "a").axes[0]
    assert axis.get_xlim() == pytest.approx((-0.036, 0.636))  # 0 on val, .6 on test
    assert axis.get_ylim() == pytest.approx((0.476, 0.924))  # .9 on val, .5 on test
