"""A plan tries its networks before anything is trained: what cannot work is refused here."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps.plan.networks import check_networks
from tests.sweeps import builders as make
from tests.unlearn.zoo.classifiers import REFUSED
from unlearn.data import DATASETS, DatasetSource
from unlearn.errors import BadInput
from unlearn.models import build

ZOO = "tests.unlearn.zoo.classifiers"
SMALL = {"name": "s", "dataset": "small", "forget": [[0]]}


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of 8 x 8 images in three classes, and one of 8 x 7; neither is read."""

    def read(root: Path) -> Any:
        raise AssertionError("a plan reads no images")

    monkeypatch.setitem(DATASETS, "small", DatasetSource((1, 8, 8), 3, 2, read))
    monkeypatch.setitem(DATASETS, "narrow", DatasetSource((1, 8, 7), 3, 2, read))


def refusal(folder: Path, **spec: Any) -> str:
    """What is said of a plan that is refused."""
    planned = make.plan(folder, make.sweep(**{**SMALL, **spec}))
    with pytest.raises(BadInput) as raised:
        check_networks(planned)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("how", ["tuple in training", "always drops", "float64", "KeyError"])
def test_a_network_that_no_method_can_use_is_refused(tmp_path: Path, how: str) -> None:
    said = refusal(tmp_path, models=f"{ZOO}:unfit", options={"how": how})
    assert re.search(REFUSED[how], said)


def test_a_layer_too_many_is_refused_for_a_grid_and_at_the_end_of_a_search(tmp_path: Path) -> None:
    reason = "k is 3, but the model has 2 layers; choose k from 1 to 2"
    spec = {"models": f"{ZOO}:plain", "method": "cf-k"}
    assert reason in refusal(tmp_path, **spec, grid={"k": [1, 2, 3]})
    search = {"trials": 3, "space": {"k": [1, 3], "lr": [1e-4, 1e-2]}}
    assert reason in refusal(tmp_path, **spec, search=search)
    assert (
        check_networks(make.plan(tmp_path, make.sweep(**SMALL, **spec, grid={"k": [1, 2]}))) == []
    )


def test_a_task_that_the_name_does_not_tell_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, models="tests.unlearn.zoo.generators:undeclared")
    assert "is a generator, but its name stands for a classifier; set `task = 'generator'`" in said


def test_images_that_no_judge_reads_are_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, dataset="narrow", models="cvae-mlp", method="selective-amnesia")
    assert "at least 8 x 8 pixels, not 8 x 7" in said


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = build("cnn", (1, 8, 8), 3).state_dict()
    state["head.bias"][1] = torch.nan
    torch.save(state, tmp_path / "broken.pt")
    said = refusal(tmp_path, models="cnn", weights=str(tmp_path / "broken.pt"))
    assert "model 'cnn': its weight 'head.bias' is not finite; give other weights" in said


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save(build("cnn", (1, 12, 12), 3).state_dict(), tmp_path / "other.pt")
    said = refusal(tmp_path, models="cnn", weights=str(tmp_path / "other.pt"))
    assert "does not fit it: 1 of another shape (hidden.weight: (64, 288) for (64, 128))" in said


def test_a_builder_that_loads_weights_itself_is_named(tmp_path: Path) -> None:
    sweep = make.sweep(**SMALL, models=[f"{ZOO}:plain", f"{ZOO}:starts_trained"])
    (note,) = check_networks(make.plan(tmp_path, sweep))
    assert note.startswith(f"model {ZOO}:starts_trained: its builder gives the same weights")


def test_a_plan_says_which_weights_of_a_file_it_takes(tmp_path: Path) -> None:
    path, state = tmp_path / "two.ckpt", build("cnn", (1, 8, 8), 3).state_dict()
    torch.save({"state_dict": state, "state_dict_ema": state}, path)
    planned = make.plan(tmp_path, make.sweep(**SMALL, models="cnn", weights=str(path)))
    taken = "weights are its 'state_dict', not 'state_dict_ema'; to use another one, save it alone"
    assert check_networks(planned) == [f"weights {path}: {taken}"]
