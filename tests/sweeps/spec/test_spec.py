"""Specs: how a valid one is read, and that an invalid one gives one clear line."""

import math
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweeps.compute.restore import cell_from
from sweeps.rows.results import Results
from sweeps.spec.cells import Problem
from sweeps.spec.files import read_spec, shipped
from sweeps.spec.parse import parse
from sweeps.spec.recipes import architecture
from tests.sweeps import builders as make
from tests.sweeps.builders import grid_spec
from unlearn.attacks.classifiers.lira import Lira
from unlearn.attacks.classifiers.relearning import Relearning
from unlearn.attacks.generators.latent_label import LatentLabel
from unlearn.attacks.generators.relearn import Relearn
from unlearn.digests import digest
from unlearn.errors import BadInput
from unlearn.knobs import counted
from unlearn.models import build

CLASSIFIER: dict[str, Any] = {
    "name": "s",
    "models": ["cnn"],
    "method": "task-arithmetic",
    "forget": [1],
}


def test_a_cell_knows_everything_that_determines_it() -> None:
    def ids(**changes: Any) -> set[str]:
        return {cell.cell_id for cell in make.cells(**grid_spec(**changes))}

    base = ids()
    for change in (
        {"train": {"steps": 7}},
        {"unlearn": {"steps": 7}},
        {"eval": {"samples": 20}},
        {"seeds": [3]},
    ):
        assert not base & ids(**change), change
    assert ids(name="other", resources={"cpu": 2}) == base
    assert ids(resources={"gpu": "auto"}) == base
    assert ids(grid={"lam": [10.0, 100.0]}) == base


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (grid_spec(lamda=3), "unknown key 'lamda' in the spec; allowed: name, dataset"),
        (grid_spec(models=["cvae"]), "unknown model 'cvae'"),
        (grid_spec(method="amnesia"), "unknown method 'amnesia'; known: selective-amnesia"),
        (grid_spec(dataset="imagenet"), "unknown data set 'imagenet'"),
        (grid_spec(seeds=[]), "empty axis 'seeds'"),
        (grid_spec(grid={"lam": []}), "empty axis 'grid.lam'"),
        (grid_spec(grid={"lam": [1, 1]}), "names a value twice"),
        (grid_spec(grid={"lam": [-1]}), "lam must be at least 0, not -1"),
        (grid_spec(grid={"rho": [0.5]}), "unknown key 'rho' in grid"),
        (grid_spec(forget=[10]), "forget class 10 does not exist; allowed: 0 to 9"),
        (grid_spec(forget=[]), "empty axis 'forget'"),
        (grid_spec(forget=[[0, 1], [1, 0]]), "names a set of classes twice: [[0, 1], [1, 0]]"),
        (grid_spec(forget=[0, [0]]), "names a set of classes twice: [0, [0]]"),
        (grid_spec(train={"stepz": 3}), "unknown key 'stepz' in train"),
        (grid_spec(train={"lr": "1e-3"}), "train.lr must be a number, not '1e-3'"),
        (
            grid_spec(train={"expert_norms": "own"}),
            "unknown train.expert_norms 'own'; known: original, batch",
        ),
        (grid_spec(train={"lr": math.inf}), "train.lr must be a finite number, not inf"),
        (grid_spec(grid={"lam": [1, math.inf]}), "grid.lam must be a finite number, not inf"),
        (grid_spec(options={"std": [[math.nan]]}), "options.std must be a finite number, not nan"),
        (grid_spec(train={"steps": 0}), "steps must be at least 1"),
        (grid_spec(resources={"gpu_auto": True}), "resources.gpu_auto needs a share of one GPU"),
        (
            grid_spec(resources={"gpu": 1.5}),
            "resources.gpu above 1 must be a whole number, not 1.5",
        ),
        (grid_spec(eval={"judges": 0}), "judges must be at least 1"),
        (
            grid_spec(options={"stages": [{"width": 3}]}),
            "options.stages must be text, a number, true, false, null or a list",
        ),
        (grid_spec(name="a/b"), "name 'a/b' may hold"),
        (grid_spec(models=["cnn"]), "method selective-amnesia is for generators"),
        (grid_spec(search={"space": {"gamma": [0.0, 1.0]}}), "lacks the key 'trials'"),
        (
            grid_spec(search={"trials": 3, "space": {"lam": [1.0, 2.0]}}),
            "both grid and search.space",
        ),
        (grid_spec(search={"trials": 3, "space": {"gamma": [2.0, 1.0]}}), "low < high"),
        (
            grid_spec(search={"trials": 3, "sampler": "grid", "space": {"gamma": [0.0, 1.0]}}),
            "unknown search.sampler",
        ),
        (
            grid_spec(search={"trials": "60", "space": {"gamma": [0.0, 1.0]}}),
            "search.trials must be a whole number",
        ),
        (
            grid_spec(search={"trials": 60.5, "space": {"gamma": [0.0, 1.0]}}),
            "search.trials must be a whole number",
        ),
        (
            grid_spec(search={"trials": 3, "seed": "a", "space": {"gamma": [0.0, 1.0]}}),
            "search.seed must be a whole",
        ),
        (
            grid_spec(search={"trials": 3, "sampler": 5, "space": {"gamma": [0.0, 1.0]}}),
            "search.sampler must be a str",
        ),
        (grid_spec(search={"trails": 5}), "unknown key 'trails' in search"),
        (grid_spec(search={"trials": 30, "space": {"steps": [1, 20]}}), "only 20 points"),
        (grid_spec(search={"trials": 30, "space": {"steps": [1.0, 20.0]}}), "only 20 points"),
        (
            grid_spec(search={"trials": 3, "space": {"steps": [1, 9.5]}}),
            "must be [low, high] of ints with low < high",
        ),
        (
            grid_spec(search={"trials": 3, "space": {"gamma": ["low", "high"]}}),
            "[low, high] of floats with low < high",
        ),
        (
            grid_spec(search={"trials": 3, "space": {"gamma": [1, 2, 3]}}),
            "[low, high] of floats with low < high",
        ),
        (
            grid_spec(search={"trials": 3, "space": {"half": [0, 1, 2]}}),
            "half must be a bool, not 0",
        ),
        (
            grid_spec(search={"trials": 3, "space": {"lamda": [1, 9]}}),
            "unknown key 'lamda' in search.space",
        ),
        (
            grid_spec(
                method=["selective-amnesia", "fine-tune"],
                grid={},
                search={"trials": 3, "space": {"lam": [1, 9]}},
            ),
            "search.space is one method's",
        ),
        (grid_spec(search={"trials": 3}), "selective-amnesia has no search space of its own"),
        (
            {
                **CLASSIFIER,
                "method": ["scrub", "cf-k"],
                "unlearn": {"steps": 60},
                "search": {"trials": 3},
            },
            "scrub at {'steps': 60, 'msteps': 100}: msteps must",
        ),
        (
            {
                **CLASSIFIER,
                "method": "scrub",
                "search": {"trials": 9, "space": {"steps": [50, 90], "msteps": [10, 60]}},
            },
            # each goes alone, but not with every other
            "scrub at {'msteps': 60, 'steps': 50}: msteps must",
        ),
        (
            {
                **CLASSIFIER,
                "method": ["scrub", "cf-k"],
                "grid": {"lr": [1e-3]},
                "search": {"trials": 9},
            },
            "only 4 points (method cf-k)",
        ),
        (
            {**CLASSIFIER, "grid": {"rho": [1.2]}},
            "rho must lie in [0, 1], not 1.2",
        ),
        ({"name": "s"}, "lacks the key 'models'"),
    ],
)
def test_a_bad_spec_is_one_clear_line(document: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(document)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_is_known_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    """Equal files in two places give equal recipes. Options that build a network name no file."""
    keys = []
    for place in ("a", "b"):
        (tmp_path / place).write_bytes(b"weights")
        document = {"models": ["vit_tiny_patch16_224"], "method": "cf-k"}
        options = {"pretrained": str(tmp_path / place), "img_size": 32}
        problem = make.problem(**document, options=options, weights=str(tmp_path / place))
        assert architecture(problem.options) == {"img_size": 32}
        keys.append((problem.original.key, problem.oracle.key))
    assert keys[0] == keys[1]
    (tmp_path / "b").write_bytes(b"other")  # the same place, another content
    problem = make.problem(**document, options=options, weights=str(tmp_path / "b"))
    assert not {problem.original.key, problem.oracle.key} & set(keys[0])
    with pytest.raises(BadInput, match=r"pretrained: file .*nowhere does not exist"):
        make.sweep(**document, options={"pretrained": str(tmp_path / "nowhere")})


def test_options_may_be_lists_and_a_row_gives_back_the_cell(tmp_path: Path) -> None:
    options = {"mean": [0.13], "std": [0.3], "widths": [[4, 8], [16]], "width": 8}
    own = "tests.unlearn.models.own_models:plain"
    cell = make.cell(models=[own], method="cf-k", options=options)
    results = Results(str(tmp_path / "results"))
    assert architecture(cell.problem.options) == {
        **options,
        "mean": (0.13,),
        "std": (0.3,),
        "widths": ((4, 8), (16,)),
    }
    make.write(results, cell)
    again = cell_from(results.read("s").iloc[0])
    assert again == cell
    assert hash(again) == hash(cell)
    assert again.cell_id == cell.cell_id


def test_changes_reach_every_key(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: a\nmodels: cvae-mlp\nmethod: selective-amnesia\nforget: each\n---\n"
        "name: b\nmodels: cnn\nmethod: fine-tune\nforget: [1]\n"
    )
    a, b = read_spec(str(path), ["train.steps=30", "a:grid.lam=[1, 2]", "b:seeds=[4]"])
    assert dict(a.train)["cvae-mlp"].steps == dict(b.train)["cnn"].steps == 30
    assert (dict(a.grid)["lam"], b.grid, b.seeds) == ((1, 2), (), (4,))
    for change, says in (
        ("train.steps", "key=value"),
        ("c:seeds=[1]", "no sweep is named 'c'"),
        ("name.x=1", "holds a value"),
    ):
        with pytest.raises(BadInput, match=says):
            read_spec(str(path), [change])


def test_a_change_of_one_sweep_leaves_alone_what_an_earlier_change_gave_to_all(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: a\nmodels: cnn\nmethod: fine-tune\nforget: [1]\n---\n"
        "name: b\nmodels: cnn\nmethod: fine-tune\nforget: [1]\n"
    )
    a, b = read_spec(str(path), ["train={steps: 30}", "a:train.steps=40"])
    assert (dict(a.train)["cnn"].steps, dict(b.train)["cnn"].steps) == (40, 30)


def test_what_is_not_a_spec(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for text, says in (
        ("a: [", "is not YAML at line"),
        ("", "is empty"),
        ("- a\n", "must hold `key: value`"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=says):
            read_spec(str(path), [])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="is not YAML"):
        read_spec(str(path), [])
    with pytest.raises(BadInput, match=r"shipped: .*demo"):
        read_spec("no-such", [])


@pytest.mark.parametrize("name", shipped())
def test_shipped_specs_are_good(name: str) -> None:
    for sweep in read_spec(name, []):
        assert make.cells_of(sweep)


def test_the_checkpoint_from_elsewhere_finds_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, weights = Path(__file__).parents[2] / "elsewhere", tmp_path / "cifar_torchvision.pt"
    monkeypatch.syspath_prepend(str(elsewhere))
    weights.touch()
    for sweep in read_spec(str(elsewhere / "elsewhere.yaml"), [f"weights={weights}"]):
        problems = make.problems_of(sweep)
        assert {problem.task for problem in problems} == {"classifier"}
        options = dict(architecture(problems[0].options))
        assert build(sweep.models[0], (3, 32, 32), 10, options=options).head.weight.shape == (
            10,
            84,
        )


def test_effort_is_for_attacks_on_generators() -> None:
    says = r"eval\.effort is for attacks on generators, but model cnn is a classifier"
    with pytest.raises(BadInput, match=says):
        make.sweep(eval={"effort": 0.1})


@pytest.mark.parametrize("name", ["latent-label", "x"])
def test_an_attack_is_refused_that_a_classifier_does_not_know(name: str) -> None:
    says = f"unknown attack on a classifier '{name}'; known: .*relearning"
    with pytest.raises(BadInput, match=says):
        make.sweep(eval={"attacks": [name]})


def test_knobs_of_an_attack_reach_it_and_make_another_cell() -> None:
    def problem(**settings: Any) -> Problem:
        return make.problem(eval={"attacks": ["relearning", "lira"], **settings})

    given = problem(attack_knobs={"relearning": {"steps": 7, "reset_head": True}})
    assert given.eval.attack("relearning") == Relearning(steps=7, reset_head=True)
    assert given.eval.attack("lira") == Lira()
    assert problem().eval.attack("relearning") == Relearning()
    assert given != problem()
    no_knobs: dict[str, Any] = {}
    defaults: list[dict[str, Any]]
    defaults = [no_knobs, {"relearning": {}}, {"relearning": {"steps": 60.0}, "lira": {}}]
    for default in defaults:
        assert problem(attack_knobs=default) == problem()


def test_knobs_of_an_attack_on_generators_reach_it_too() -> None:
    def problem(**settings: Any) -> Problem:
        evaluation = {"attacks": ["latent-label", "relearn-kept"], **settings}
        return make.problem(models="cvae-mlp", method="selective-amnesia", eval=evaluation)

    given = problem(attack_knobs={"latent-label": {"steps": 7, "lr": 1}}, effort=0.5)
    assert given.eval.attack("latent-label") == LatentLabel(steps=7, lr=1.0)
    assert given.eval.attack("relearn-kept") == Relearn(per_class=0)
    assert given.eval.effort == 0.5
    assert given.eval.attack_knobs == '{"latent-label": {"lr": 1.0, "steps": 7}}'
    default = {"relearn-kept": {"per_class": 0}, "latent-label": {"steps": 1000}}
    assert problem(attack_knobs=default) == problem()
    assert problem(attack_knobs={"relearn-kept": {"per_class": 5}}) != problem()


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (
            {"latent-label": {"strength": 7}},
            "eval.attack_knobs: unknown key 'strength' in the knobs of latent-label; allowed: "
            "restarts, steps, lr",
        ),
        ({"latent-label": {"lr": 0}}, "eval.attack_knobs: lr must be above 0, not 0.0"),
        ({"ink": {"steps": 7}}, "eval.attack_knobs names 'ink', which is not among eval.attacks"),
    ],
)
def test_wrong_knobs_of_an_attack_on_generators_are_refused(knobs: Any, message: str) -> None:
    evaluation = {"attacks": ["latent-label"], "attack_knobs": knobs}
    with pytest.raises(BadInput, match=re.escape(message)):
        make.sweep(models="cvae-mlp", method="selective-amnesia", eval=evaluation)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"lira": {"steps": 7}}, "eval.attack_knobs names 'lira', which is not among eval.attacks"),
        (
            {"relearning": {"strength": 7}},
            "eval.attack_knobs: unknown key 'strength' in the knobs of relearning",
        ),
        ({"relearning": {"steps": 0}}, "eval.attack_knobs: steps must be at least 1, not 0"),
        ({"relearning": {"steps": "many"}}, "relearning: steps must be a whole number, not 'many'"),
        (
            {"relearning": {"steps": date(2020, 1, 1)}},
            "relearning: steps must be a whole number, not datetime.date(2020, 1, 1)",
        ),
        (
            {"relearning": {1: 2, "steps": 3}},
            "eval.attack_knobs: unknown key 1 in the knobs of relearning",
        ),
        ({"relearning": 0}, "relearning must hold `key: value` lines"),
        ([], "attack_knobs must hold `key: value` lines"),
        ({"relearning": 7}, "relearning must hold `key: value` lines"),
        (["relearning"], "attack_knobs must hold `key: value` lines"),
    ],
)
def test_wrong_knobs_of_an_attack_are_refused(knobs: Any, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        make.sweep(eval={"attacks": ["relearning"], "attack_knobs": knobs})


@pytest.mark.parametrize(
    "name", ["v1.2", "a", "no", "null", "nan", "1e5", "2024-01-01T12", "0xyz", "x²", "ñ" * 100]
)
def test_a_name_comes_back_from_the_folder_as_the_same_text(name: str, tmp_path: Path) -> None:
    folder = tmp_path / f"sweep={make.sweep(name=name).name}"
    folder.mkdir()
    pd.DataFrame({"seed": [0]}).to_parquet(folder / "rows-1.parquet")

    assert pd.read_parquet(tmp_path)["sweep"].tolist() == [name]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("007", "needs a letter"),
        ("2024", "needs a letter"),
        ("0x1F", "is a number, or no value, to readers of Parquet"),  # pandas: 31
        ("__HIVE_DEFAULT_PARTITION__", "is a number, or no value, to readers of Parquet"),
        ("a/b", "may hold letters, digits"),
        ("..", "needs a letter"),
        ("", "may hold letters"),
        ("a" * 300, "at most 100 characters and 240 bytes, not 300 and 300; shorten it"),
        ("文" * 100, "at most 100 characters and 240 bytes, not 100 and 300; shorten it"),
        (7, "name must be a str, not 7; write it in quotes"),
        (None, "name must be a str, not None; write it in quotes"),
        (False, "name must be a str, not False; write it in quotes"),
    ],
)
def test_a_name_that_would_not_come_back_is_refused(name: Any, says: str) -> None:
    with pytest.raises(BadInput, match=re.escape(says)):
        make.sweep(name=name)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset": ["mnist5k"]}, "dataset must be a str, not ['mnist5k']"),
        ({"models": [["cnn"]]}, "models must be a str, not ['cnn']"),
        ({"method": [False]}, "method must be a str, not False; write it in quotes"),
        ({"eval": {"attacks": [["lira"]]}}, "eval.attacks must be a str, not ['lira']"),
        ({"weights": 5}, "weights must be a str, not 5"),
        ({"options": {5: 1}}, "the key options.5 must be a str, not 5"),
        ({"seeds": [2**70]}, "seeds must be below 2^63, not a number of 71 bits"),
        ({"train": {"steps": 1.0e30}}, "train.steps must be below 2^63, not a number of 100 bits"),
        ({"train": {"lr": 10**400}}, "train.lr must be below 2^1023, not a number of 1329 bits"),
        ({"grid": {"steps": [16**9000]}}, "grid.steps must be below 2^1023, not a number of 36001"),
        ({"grid": {"steps": [5, 6, 5.0]}}, "axis 'grid.steps' names a value twice: 5.0"),
        ({"search": {}}, "search lacks the key 'trials'"),
        (
            {"search": {"trials": 2, "space": {"lr": ["1e-4", "1E-2"]}}},
            "not ['1e-4', '1E-2'] (YAML wants 1.0e-4) (YAML wants 1.0e-2)",
        ),
        (
            {"grid": {"steps": list(range(1, 1002)), "lr": [i / 1000 for i in range(1, 1001)]}},
            "sweep s has 1,001,000 cells, more than 1,000,000",
        ),
        (
            {"search": {"trials": 10**6, "space": {"lr": [0.1, 0.2]}}, "seeds": [0, 1]},
            "sweep s has 2,000,000 cells",
        ),
    ],
)
def test_a_value_that_no_row_could_hold_is_refused_at_once(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadInput, match=re.escape(says)):
        make.sweep(**changes)


def test_a_key_without_a_value_is_one_that_is_not_there() -> None:
    nothing = dict.fromkeys(("train", "grid", "search", "options", "weights", "unlearn"))
    assert make.sweep(**nothing) == make.sweep()
    assert make.sweep(eval={"attacks": []}) == make.sweep(eval={"attacks": None}) == make.sweep()


def test_a_change_of_one_section_leaves_an_alias_of_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: s\nmodels: cnn\nmethod: fine-tune\nforget: [1]\n"
        "train: &steps {steps: 30}\nunlearn: *steps\n"
    )

    [sweep] = read_spec(str(path), ["train.steps=99"])

    assert dict(sweep.train)["cnn"].steps == 99
    assert dict(sweep.unlearn) == {"steps": 30}


def test_a_change_reaches_a_section_that_is_still_empty(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: s\nmodels: cnn\nmethod: fine-tune\nforget: [1]\ntrain:\n")

    [sweep] = read_spec(str(path), ["train.steps=99"])

    assert dict(sweep.train)["cnn"].steps == 99


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("train={steps: 5, steps: 6}", "the value of --set 'train={steps: 5, steps: 6}' is not"),
        ("seeds=[007]", "YAML reads 007 as 7"),
        ("train.lr=1e-3", "YAML reads 1e-3 as text; write 1.0e-3"),
        ("seeds=[1", "is not YAML at line 1"),
        ("seeds=1\n---\n2", "holds 2 documents; give one value"),
    ],
)
def test_a_change_is_read_as_strictly_as_the_file(change: str, says: str) -> None:
    with pytest.raises(BadInput, match=re.escape(says)):
        read_spec("demo", [change])


def test_a_cells_id_hashes_all_of_it_in_one_canonical_form() -> None:
    """The part of the problem is written once for all cells; the hash is that of the whole."""
    for cell in make.cells(**grid_spec(grid={"lam": [0.0, 10], "steps": [3, 4]}, seeds=[0, 7])):
        problem = counted(cell.problem) | {"options": {}}
        content = {"schema": "v1", **problem, "method": "selective-amnesia"}
        assert cell.cell_id == digest({**content, "knobs": counted(cell.method)})


def test_a_weights_file_may_lie_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.safetensors").touch()
    path = tmp_path / "s.yaml"
    path.write_text("name: s\nmodels: cnn\nmethod: fine-tune\nforget: [1]\n")

    [sweep] = read_spec(str(path), ["weights=~/own.safetensors"])

    assert dict(sweep.options)["weights"] == str(tmp_path / "own.safetensors")


GENERATOR = {"models": "cvae-mlp", "method": "selective-amnesia"}
REFUSED = [
    ({"eval": {"referee": "cifar10"}}, "has other images or classes than mnist5k"),
    ({"eval": {"referee": "x"}}, "unknown eval.referee 'x'"),
    ({"train": {"judge_fade": 1.5}}, "judge_fade must be between 0 and 1, not 1.5"),
]


@pytest.mark.parametrize(("section", "message"), REFUSED)
def test_wrong_judges_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make.sweep(**GENERATOR, **section)


def test_a_referee_is_a_judge_of_generators() -> None:
    with pytest.raises(BadInput, match="a judge of generators"):
        make.sweep(eval={"referee": "mnist"})


def test_a_random_share_is_another_set_for_every_seed() -> None:
    cells = make.cells(forget=[{"random": 0.1}], seeds=[0, 1])
    assert [cell.problem.subset for cell in cells] == ["random 0.1"] * 2
    assert cells[0].problem.forget == ()
    oracle = cells[0].recipes()["oracle"]
    assert (oracle.subset, oracle.draw) == ("random 0.1", 0)
    assert cells[1].recipes()["oracle"].draw == 1
    classes = make.cell().recipes()
    assert oracle.key != classes["oracle"].key
    assert cells[0].recipes()["original"].key == classes["original"].key
    second = make.cell(forget=[{"random": 0.1}], eval={"second_oracle": True}).problem.second_oracle
    assert (second.subset, second.draw) == (
        oracle.subset,
        oracle.draw,
    )
    assert cell_from(pd.Series(make.row(cells[1]))) == cells[1]


def test_a_file_of_indices_counts_by_its_content(tmp_path: Path) -> None:
    ids: set[str] = set()
    keys: set[str] = set()
    for name, values in (("a", [1, 2]), ("b", [1, 2]), ("c", [1, 3])):
        np.save(tmp_path / f"{name}.npy", np.array(values))
        cell = make.cell(forget=[{"indices": str(tmp_path / f"{name}.npy")}])
        assert cell_from(pd.Series(make.row(cell))) == cell
        ids.add(cell.cell_id)
        keys.add(cell.recipes()["oracle"].key)
    assert len(ids) == len(keys) == 2


def test_a_file_of_indices_is_looked_for_from_the_folder_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("forget.npy", np.array([1, 2]))
    Path("s.yaml").write_text(
        "name: s\nmodels: cnn\nmethod: fine-tune\nforget: [{indices: forget.npy}, 3]\n"
    )

    [sweep] = read_spec("s.yaml", [])

    assert str(sweep.forget[0]).endswith(f" {tmp_path}/forget.npy")
    assert sweep.forget[1] == (3,)


LOADERS = "tests.unlearn.own_loaders"


def test_a_data_set_of_one_s_own_counts_by_its_content(tmp_path: Path) -> None:
    ids: set[str] = set()
    keys: set[str] = set()
    for name, pixel in (("a", 1), ("b", 1), ("c", 2)):
        x, y = np.full((40, 4, 6), pixel, np.uint8), np.arange(40) % 2
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
        cell = make.cell(dataset=str(tmp_path / f"{name}.npz"))
        assert cell.problem.dataset.startswith(f"{tmp_path}/{name}.npz#")
        assert cell_from(pd.Series(make.row(cell))) == cell
        ids.add(cell.cell_id)
        keys.add(cell.recipes()["original"].key)
    assert len(ids) == len(keys) == 2


def test_a_file_of_images_is_looked_for_from_the_folder_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", x=np.zeros((40, 4, 6), np.uint8), y=np.arange(40) % 2)
    Path("s.yaml").write_text(
        "name: s\ndataset: own.npz\nmodels: cnn\nmethod: fine-tune\nforget: [1]\n"
    )

    [sweep] = read_spec("s.yaml", [])

    assert sweep.dataset.startswith(f"{tmp_path}/own.npz#")


def test_a_class_that_a_data_set_of_one_s_own_lacks_is_refused() -> None:
    with pytest.raises(BadInput, match="forget class 2 does not exist; allowed: 0 to 1"):
        make.sweep(dataset=f"{LOADERS}:halves", forget=[2])


def test_fine_labels_are_forgotten_within_classes() -> None:
    spec = {"dataset": f"{LOADERS}:halves", "forget": [{"subclass": [5, 3]}, {"subclass": 9}]}
    cells = make.cells(**spec)
    assert [cell.problem.subset for cell in cells] == ["subclass 3,5", "subclass 9"]
    assert cells[0].recipes()["oracle"].subset == "subclass 3,5"
    assert cell_from(pd.Series(make.row(cells[0]))) == cells[0]


def test_an_attack_that_unlearns_is_refused_for_methods_that_need_artifacts() -> None:
    make.sweep(eval={"attacks": ["u-lira"]})
    with pytest.raises(BadInput, match=r"u-lira runs the method .* task-arithmetic would need"):
        make.sweep(method=["task-arithmetic", "fine-tune"], eval={"attacks": ["u-lira"]})


NO_SUBSETS = [
    ({"forget": [{"subclass": [3]}]}, "subclass 3: the data set has no fine labels"),
    ({"forget": [{"subclass": ["a"]}]}, "forget.subclass must be whole numbers"),
    ({"forget": [{"subclass": [10]}], "dataset": f"{LOADERS}:halves"}, "allowed: 0 to 9"),
    ({"forget": [{"random": 0.1, "subclass": 1}]}, "a forget set is `random: SHARE`"),
    ({"forget": [{"random": 1.5}]}, "between 0 and 1"),
    ({"forget": [{"half": 0.5}]}, "unknown key 'half' in a forget set"),
    ({"forget": [{"random": "a"}]}, "forget.random must be a number"),
    ({"forget": [{"random": 0.1}], "eval": {"candidates": "val"}}, "candidates val reads no"),
    ({"forget": [{"random": 0.1}], **GENERATOR}, "is for classifiers"),
]


@pytest.mark.parametrize(("changes", "message"), NO_SUBSETS)
def test_wrong_random_shares_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make.sweep(**changes)


def test_a_search_in_epochs_takes_the_methods_scale_free_spaces() -> None:
    document = {**CLASSIFIER, "method": ["fine-tune", "ssd", "task-arithmetic"]}
    spaces = {}
    for units in ("steps", "epochs"):
        sweep = parse({**document, "search": {"trials": 2, "units": units}})
        spaces[units] = {method: dict(search.space) for method, search in sweep.search}
    assert spaces["steps"]["fine-tune"] == {"steps": (100, 2000), "lr": (1e-4, 1e-2)}
    assert spaces["epochs"]["fine-tune"] == {"epochs": (2.0, 40.0), "lr": (1e-4, 1e-2)}
    assert spaces["epochs"]["ssd"] == spaces["steps"]["ssd"]
    assert spaces["epochs"]["task-arithmetic"]["tau_norm"] == ("unit-relative",)
    with pytest.raises(BadInput, match=r"unknown search\.units 'hours'; known: steps, epochs"):
        parse({**document, "search": {"trials": 2, "units": "hours"}})


def test_an_accuracy_of_experts_is_one_of_classifiers() -> None:
    with pytest.raises(BadInput, match="expert_accuracy is for experts of classifiers"):
        parse(grid_spec(train={"expert_accuracy": 0.9}))
    with pytest.raises(BadInput, match=r"expert_accuracy must lie in \[0, 1\], not 2"):
        parse({**CLASSIFIER, "train": {"expert_accuracy": 2}})
    with pytest.raises(BadInput, match="expert_epochs must be at least 0, not -1"):
        parse({**CLASSIFIER, "train": {"expert_epochs": -1}})
