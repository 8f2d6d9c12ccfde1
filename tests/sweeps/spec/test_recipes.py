"""What makes an artifact another one: its recipe's key."""

from typing import Any

import pytest

from tests.sweeps import builders as make
from unlearn.errors import BadInput

GENERATOR = {"models": "cvae-mlp", "method": "selective-amnesia"}


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        ({"train": {"steps": 7}}, {"original", "oracle", "fisher", "expert"}),
        ({"seeds": [5]}, {"original", "oracle", "fisher", "expert"}),
        ({"forget": [4]}, {"oracle", "expert"}),
        ({"train": {"expert_steps": 7}}, {"expert"}),
        ({"train": {"expert_norms": "batch"}}, {"expert"}),
        ({"train": {"expert_schedule": "constant"}}, {"expert"}),
        ({"train": {"fisher_samples": 7}}, {"fisher"}),
        ({"eval": {"samples": 77}}, set()),
    ],
)
def test_an_artifact_is_made_anew_where_what_it_comes_from_changed(
    changes: dict[str, Any], anew: set[str]
) -> None:
    base = {"models": "cvae-mlp", "method": "selective-amnesia", "forget": [0]}
    before, after = make.problem(**base), make.problem(**{**base, **changes})
    kinds = ("original", "oracle", "fisher", "expert")
    assert {kind for kind in kinds if getattr(before, kind).key != getattr(after, kind).key} == anew


def test_no_two_experts_of_any_seed_draw_alike() -> None:
    sweep = make.sweep(method="sign-consensus", seeds=[0, 1, 2])
    problems = make.problems_of(sweep)
    seeds = [expert.seed for problem in problems for expert in problem.experts]
    assert len(seeds) == 3 * 3 == len(set(seeds))
    assert [problem.experts[0] for problem in problems] == [problem.expert for problem in problems]


def test_a_second_oracle_is_an_artifact_of_its_own() -> None:
    plain, asked = make.cell(), make.cell(eval={"second_oracle": True})
    assert plain.cell_id != asked.cell_id
    assert "second-oracle" not in plain.recipes()
    recipes = asked.recipes()
    assert recipes["oracle"].key == plain.recipes()["oracle"].key
    assert recipes["second-oracle"].key != recipes["oracle"].key
    assert recipes["second-oracle"].forget == recipes["oracle"].forget


def test_faded_judges_and_a_referee_are_other_judges() -> None:
    plain = make.cell(**GENERATOR)
    faded = make.cell(**GENERATOR, train={"judge_fade": 0.5})
    assert faded.recipes()["judge-lead"].key != plain.recipes()["judge-lead"].key
    assert faded.recipes()["original"].key == plain.recipes()["original"].key
    judged = make.cell(**GENERATOR, eval={"referee": "mnist"})
    recipes = judged.recipes()
    assert recipes["judge-referee"].dataset == "mnist"
    assert recipes["judge-lead"].key == plain.recipes()["judge-lead"].key


def test_a_fisher_of_the_originals_objective_is_another_artifact() -> None:
    plain = make.cell(**GENERATOR).recipes()["fisher"]
    own = make.cell(**GENERATOR, train={"fisher_objective": "original", "kl_weight": 2.0})
    assert own.recipes()["fisher"].key != plain.key
    assert own.recipes()["fisher"].knob("kl_weight") == 2.0
    with pytest.raises(BadInput, match=r"unknown train.fisher_objective 'x'"):
        make.sweep(**GENERATOR, train={"fisher_objective": "x"})
