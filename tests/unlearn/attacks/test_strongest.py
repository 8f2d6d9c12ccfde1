"""Attacks at a ladder of rates, and the reset of the weights that take the forgotten labels."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.unlearn.attacks.quick import quick
from unlearn.attacks.generators import strongest_relearn
from unlearn.attacks.generators.base import Context, Recovery
from unlearn.attacks.generators.kept_label import KeptLabel, StrongestKeptLabel, attempts
from unlearn.attacks.generators.label_columns import label_columns, reset_label
from unlearn.attacks.generators.optimise import minimise
from unlearn.attacks.generators.relearn import Relearn
from unlearn.attacks.generators.strongest import Variant, each_alone, ladder, strongest
from unlearn.attacks.generators.strongest_relearn import StrongestRelearn, relearn_together
from unlearn.errors import BadInput
from unlearn.models import build
from unlearn.models.base import Generative
from unlearn.streams import seeded, stream


def test_a_ladder_has_equal_ratios() -> None:
    assert ladder(1e-3, 1e-1, 3) == pytest.approx([1e-3, 1e-2, 1e-1])
    assert ladder(1e-3, 1e-2, 4)[-1] == 1e-2
    assert ladder(0.5, 2.0, 1) == [0.5]


def test_the_strongest_has_the_most_hits_then_the_fewest_steps() -> None:
    found = [(3, 10), (5, 20), (5, 15), (4, 1)]
    variants = [{"lr": lr} for lr in (0.0, 1.0, 2.0, 3.0)]
    recoveries = [Recovery(hits, 10, torch.empty(0), steps) for hits, steps in found]
    best = strongest(variants, recoveries)
    assert (best.hits, best.steps, best.variant) == (5, 15, {"lr": 2.0})


def test_every_variant_draws_the_same_numbers() -> None:
    drawn = []
    generator = stream(0, "x")

    def recover(variant: Variant) -> Recovery:
        drawn.append(torch.rand(3, generator=generator))
        return Recovery(0, 1, torch.empty(0))

    each_alone([{"lr": 1.0}, {"lr": 2.0}], recover, generator)
    assert torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("name", ["cvae-mlp", "cvae-conv"])
def test_the_forgotten_label_takes_the_mean_of_the_kept_ones(name: str) -> None:
    with seeded(0, "labels"):
        model = build(name, (1, 28, 28), 4)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    assert len(label_columns(model)) == 2  # encoder and decoder
    reset_label(model, (1,))
    decoder = "decoder.0.weight" if name == "cvae-mlp" else "spread.weight"
    first = model.z_dim
    old, new = before[decoder], model.state_dict()[decoder]
    kept = old[:, [first, first + 2, first + 3]].mean(1)
    torch.testing.assert_close(new[:, first + 1], kept)
    others = [i for i in range(old.shape[1]) if i != first + 1]
    assert torch.equal(new[:, others], old[:, others])
    encoder = "encoder.0.weight" if name == "cvae-mlp" else "conv1.weight"
    changed = (model.state_dict()[encoder] != before[encoder]).any(0).flatten(1 - 1).nonzero()
    assert len(changed) == (1 if name == "cvae-mlp" else 16)  # one column; one plane of 4 x 4


def hide_behind_label(model: Generative) -> Any:
    """Make label 0 switch off every unit of the decoder's first layer: no gradient passes."""
    hidden: Any = copy.deepcopy(model)
    hidden.decoder[0].weight.data[:, hidden.z_dim] = -1e3
    return hidden


def test_one_setting_shows_obstruction_where_another_brings_the_class_back(
    original: Generative, context: Context
) -> None:
    longer = replace(context, effort=0.1)
    hidden = hide_behind_label(original)
    published, reset, ladder = (
        attack.recover(hidden, longer, stream(0, "relearn"))
        for attack in (
            Relearn(per_class=10, trials=60),
            Relearn(per_class=10, trials=60, reset_label=True),
            StrongestRelearn(per_class=10, trials=60, rungs=2),
        )
    )
    assert published.rate < 0.5 < reset.rate
    assert ladder.rate >= reset.rate
    assert ladder.variant.keys() == {"lr", "reset"}


def test_variants_that_relearn_as_one_program_give_what_each_gives_alone(
    original: Generative, context: Context
) -> None:
    longer = replace(context, effort=0.1)
    hidden = hide_behind_label(original)
    attacks = [
        Relearn(per_class=10, trials=60, lr=lr, reset_label=reset)
        for lr, reset in ((1e-3, False), (1e-3, True), (1e-2, True))
    ]
    together = relearn_together(attacks, hidden, longer, stream(0, "relearn"))
    for attack, found in zip(attacks, together, strict=True):
        alone = attack.recover(hidden, longer, stream(0, "relearn"))
        assert abs(found.hits - alone.hits) <= 1
        assert found.steps == alone.steps
        apart = (found.pictures.float() - alone.pictures.float()).abs()
        assert float(apart.mean()) < 0.5  # of 255 levels
    assert together[0].hits < together[2].hits  # each went at its own rate, from its own start


def test_variants_that_cannot_be_one_program_relearn_one_after_the_other(
    original: Generative, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = StrongestRelearn(per_class=10, trials=20, rungs=2)
    alone = attack.recover(original, context, stream(0, "relearn"))

    def broken(attacks: Any, subject: Any, context: Any, generator: torch.Generator) -> Any:
        torch.rand(3, generator=generator)
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(strongest_relearn, "together_pays", lambda subject, device: True)
    monkeypatch.setattr(strongest_relearn, "relearn_together", broken)
    found = attack.recover(original, context, stream(0, "relearn"))
    assert (found.hits, found.steps, found.variant) == (alone.hits, alone.steps, alone.variant)
    assert torch.equal(found.pictures, alone.pictures)


def test_kept_labels_at_several_rates_give_what_each_gives_alone(
    original: Generative, context: Context
) -> None:
    attacks = [KeptLabel(restarts=4, lr=0.03), KeptLabel(restarts=4, lr=0.3, ball=True)]
    together = attempts(attacks, original, context, stream(0, "kept"))
    for attack, found in zip(attacks, together, strict=True):
        alone = attack.recover(original, context, stream(0, "kept"))
        assert (found.hits, found.trials) == (alone.hits, alone.trials)
        apart = (found.pictures.float() - alone.pictures.float()).abs()
        assert float(apart.mean()) < 1


def test_a_projection_runs_after_every_step() -> None:
    x = torch.zeros(1, 2)
    aim = torch.tensor([[10.0, 0.0]])

    def project() -> None:
        x.mul_((1 / x.norm(dim=1, keepdim=True)).clamp(max=1))

    minimise({x: 0.1}, lambda: (x - aim).square().sum(1), 100, [], project)
    torch.testing.assert_close(x, torch.tensor([[1.0, 0.0]]))


def test_kept_labels_are_tried_with_z_free_and_in_the_ball(
    original: Generative, context: Context
) -> None:
    attack = StrongestKeptLabel(restarts=4, rungs=1)
    found = attack.recover(original, context, stream(0, "kept"))
    assert found.variant.keys() == {"lr", "ball"}
    in_ball = replace(attack, ball=True).recover(original, context, stream(0, "kept"))
    assert in_ball.variant["ball"] == 1.0


@pytest.mark.parametrize("name", ["relearn-strongest-10", "kept-label-strongest"])
def test_a_ladder_does_not_go_down(name: str) -> None:
    with pytest.raises(BadInput, match="highest_lr must be at least lr"):
        quick(name, lr=1.0)


def test_a_rate_shows_memory_only_beyond_both_oracles() -> None:
    def recovery(hits: int) -> Recovery:
        return Recovery(hits, 200, torch.empty(0))

    own, attack = recovery(150), Relearn()
    found = {"original": recovery(200), "oracle": recovery(100), "untrained": recovery(0)}
    alone = attack.report("relearn-10", own, found)
    assert alone["probe_relearn_10_excess_low"] > 0
    assert alone["probe_relearn_10_beyond_low"] is None
    assert alone["second_oracle_probe_relearn_10_rate"] is None
    beside = attack.report("relearn-10", own, {**found, "second_oracle": recovery(145)})
    assert beside["second_oracle_probe_relearn_10_rate"] == 0.725
    assert beside["probe_relearn_10_beyond_low"] == own.above(recovery(145))[0] < 0
    assert beside["probe_relearn_10_excess_low"] == alone["probe_relearn_10_excess_low"]
