"""What a cell comes to: from which numbers a method draws, from where an attack is counted."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sweeps.compute import attacks
from sweeps.compute import cell as computing
from sweeps.spec.cells import grid_cells, problems
from sweeps.spec.parse import parse
from unlearn.attacks import ATTACKS, Findings
from unlearn.attacks.generators.base import Recovery


def test_an_attacks_excess_is_counted_from_the_oracle() -> None:
    hits = {"original": 90, "oracle": 20, "untrained": 1}
    own = Recovery(60, 100, torch.empty(0))
    found = {of: Recovery(hit, 100, torch.empty(0)) for of, hit in hits.items()}
    record = ATTACKS["random-z"].report("random-z", own, found)
    assert record["probe_random_z_excess"] == pytest.approx(0.4)
    assert (
        0.2 < record["probe_random_z_excess_low"] < 0.4 < record["probe_random_z_excess_high"] < 0.6
    )
    assert {of: record[f"{of}_probe_random_z_rate"] for of in hits} == {
        of: hit / 100 for of, hit in hits.items()
    }


def test_what_a_method_draws_follows_from_seed_and_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        computing,
        "make_method",
        lambda name, knobs: lambda model, splits, generator: generator.initial_seed(),
    )
    cache: Any = SimpleNamespace(device="cpu", splits=lambda *_: None, model=lambda _: None)
    spec = {
        "name": "s",
        "models": "cnn",
        "method": ["fine-tune", "cf-k"],
        "forget": [1],
        "seeds": [0, 1],
    }
    cells = [cell for problem in problems(parse(spec)) for cell in grid_cells(parse(spec), problem)]
    drawn = [computing.unlearn(cache, cell, {}) for cell in cells]
    assert len(set(drawn)) == len(cells) == 4
    assert drawn == [computing.unlearn(cache, cell, {}) for cell in cells]


def test_an_attack_that_breaks_takes_nothing_else_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(cache: Any, problem: Any, name: str, subject: Any) -> Findings:
        if name == "lira":
            raise RuntimeError("out of memory")
        return Findings({f"{name} of": subject})

    monkeypatch.setattr(attacks, "attack_subject", run)
    spec = {"name": "s", "models": "cnn", "method": "fine-tune", "forget": [1]}
    sweep = parse({**spec, "eval": {"attacks": ["lira", "relearning"]}})
    (cell,) = grid_cells(sweep, next(problems(sweep)))
    found, pictures = attacks.attack(SimpleNamespace(build=lambda *_: "the model"), cell, {})  # type: ignore[arg-type]
    assert found.pop("error").startswith("no lira: RuntimeError: out of memory (test_cell.py:")
    assert (found, pictures) == ({"relearning of": "the model"}, {})
