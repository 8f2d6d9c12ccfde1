"""`plan` and `run` try networks before anything starts: one line, exit code 2."""

from pathlib import Path

import pytest
import torch

from cluster.main import entry
from unlearn.models import build

SPEC = "name: s\nmodels: {model}\nmethod: cf-k\nforget: [0]\nunlearn: {{k: {k}}}\n"


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_network_that_a_method_cannot_use_stops_it(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.format(model="cnn", k=9))
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    assert entry([command, str(spec), *places]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "k is 9, but the model has 4 layers; choose k from 1 to 4" in said
    assert not (tmp_path / "store").exists()


def test_a_plan_says_which_weights_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = build("cnn", (1, 28, 28), 10).state_dict()
    torch.save({"state_dict": state, "state_dict_ema": state}, tmp_path / "two.ckpt")
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.format(model="cnn", k=1) + f"weights: {tmp_path}/two.ckpt\n")
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    assert entry(["plan", str(spec), *places]) == 0
    said = capsys.readouterr().out.splitlines()
    assert f"weights {tmp_path}/two.ckpt: weights are its 'state_dict', not " in said[-1]
