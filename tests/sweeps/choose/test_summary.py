"""Choosing, summaries, paired tests, Holm's correction: against numbers worked by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit

from sweeps.choose.comparable import differing_settings
from sweeps.choose.intervals import clopper_pearson, share_interval
from sweeps.choose.summary import chosen_cells, holm, paired, summary
from tests.sweeps import builders as make
from tests.sweeps.builders import compared as row


def table() -> pd.DataFrame:
    rows = [row("a", seed, 0.90 + 0.01 * seed) for seed in range(4)]
    rows += [row("a", seed, 0.5) for seed in range(4)]  # worse on val: never chosen
    rows += [row("b", seed, 0.80 + 0.02 * seed) for seed in range(4)]
    rows += [row("b", 0, 0.99, status="failed")]
    return make.table(rows)


def test_val_chooses_one_cell_per_method_and_problem() -> None:
    chosen = chosen_cells(table())
    assert len(chosen) == 8
    assert sorted(chosen[chosen["method"] == "a"]["test_retain_accuracy"]) == pytest.approx(
        [0.9, 0.91, 0.92, 0.93]
    )


def test_images_are_counted_where_the_rows_tell_them() -> None:
    zero = {"test_forget_accuracy": 0.0, "test_forget_images": 100.0}
    rows = make.table([row("a", seed, 0.9, **zero) for seed in range(3)])
    lines = summary(chosen_cells(rows), ["test_forget_accuracy"]).set_index("method")
    assert lines.loc["a", "test_forget_accuracy_high"] == pytest.approx(1 - 0.025 ** (1 / 300))


def test_seeds_with_unequal_forget_sets_have_no_mean() -> None:
    rows = [row("a", seed, 0.9) | {"forget": np.array([label])} for seed, label in [(0, 1), (1, 1)]]
    equal = summary(chosen_cells(make.table(rows)), ["test_retain_accuracy"])
    assert not equal["unequal"].any()
    rows.append(row("a", 1, 0.5) | {"forget": np.array([2])})
    lines = summary(chosen_cells(make.table(rows)), ["test_retain_accuracy"]).set_index("method")
    assert lines.loc["a", "unequal"]
    assert lines["test_retain_accuracy"].isna().all()


def test_summary_holds_original_and_oracle_beside_the_methods() -> None:
    lines = summary(chosen_cells(table()), ["test_retain_accuracy"]).set_index("method")
    assert list(lines.index) == ["original", "a", "b", "oracle"]
    assert lines.loc["a", "test_retain_accuracy"] == pytest.approx(0.915)
    oracle = lines.loc["oracle"]
    low, high = clopper_pearson(0.97 * 4, 4)  # all seeds are equal: no zero width
    assert oracle["test_retain_accuracy_low"] == pytest.approx(low)
    assert oracle["test_retain_accuracy_high"] == pytest.approx(high)
    assert set(lines["cells"]) == set(lines["seeds"]) == {4}


def test_forget_sets_of_one_seed_are_one_observation() -> None:
    """The forget sets of a seed share its original, so they are not independent observations."""
    spread = [
        (seed, label, 0.9 + 0.01 * seed + 0.001 * label) for seed in range(3) for label in range(4)
    ]
    rows = make.table(
        [
            row(method, seed, retain + more * (1 + seed)) | {"forget": np.array([label])}
            for method, more in (("a", 0.0), ("b", 0.01))
            for seed, label, retain in spread
        ]
    )
    chosen = chosen_cells(rows)
    line = summary(chosen, ["test_retain_accuracy"]).set_index("method").loc["a"]
    assert (line["cells"], line["seeds"]) == (12, 3)
    logits = logit(np.array([0.9015, 0.9115, 0.9215]))
    half = 4.302653 * logits.std(ddof=1) / np.sqrt(3)
    high = float(expit(logits.mean() + half))
    assert line["test_retain_accuracy_high"] == pytest.approx(high, abs=1e-6)
    found = paired(chosen, "test_retain_accuracy").iloc[0]
    assert (found["cells"], found["seeds"]) == (12, 3)
    assert found["p"] == pytest.approx(stats.ttest_1samp([-0.01, -0.02, -0.03], 0).pvalue)
    one_seed = chosen[chosen["seed"] == 0]
    lines = summary(one_seed, ["test_retain_accuracy"])
    assert np.isnan(lines["test_retain_accuracy_low"]).all()
    assert paired(one_seed, "test_retain_accuracy").empty


def test_cells_of_several_settings_are_several_models() -> None:
    """Scores of a quick trial run are not averaged with those of the real run."""
    good = table()
    both = pd.concat(
        [good.assign(train_steps=1000), good.assign(train_steps=10, test_retain_accuracy=1.0)]
    )
    chosen = chosen_cells(both.reset_index(drop=True))
    lines = summary(chosen, ["test_retain_accuracy"]).set_index(["model", "method"])
    assert set(lines.index.get_level_values("model")) == {"cnn, steps 10", "cnn, steps 1000"}
    assert lines.loc[("cnn, steps 1000", "a"), "test_retain_accuracy"] == pytest.approx(0.915)
    assert set(differing_settings(good.assign(train_steps=10))) == {""}
    harder = pd.concat(
        [good, good.assign(eval_attack_knobs='{"relearning": {"steps": 9}}')], ignore_index=True
    )
    assert set(differing_settings(harder)) == {
        ", eval_attack_knobs {}",
        ', eval_attack_knobs {"relearning": {"steps": 9}}',
    }
    older = pd.concat([good, good.assign(eval_attack_knobs="{}")], ignore_index=True)
    assert set(differing_settings(older)) == {""}


def test_equal_differences_have_no_p() -> None:
    rows = make.table([row(m, seed, r) for m, r in (("a", 0.9), ("b", 0.8)) for seed in range(2)])
    line = paired(chosen_cells(rows), "test_retain_accuracy").iloc[0]
    assert np.isnan(line[["p", "p_holm"]].astype(float)).all()


def test_paired_comparison_is_scipy_s_on_the_shared_problems() -> None:
    line = paired(chosen_cells(table()), "test_retain_accuracy").iloc[0]
    a, b = [0.9, 0.91, 0.92, 0.93], [0.8, 0.82, 0.84, 0.86]
    assert line["difference"] == pytest.approx(np.mean(np.subtract(a, b)))
    assert line["p"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert line["p_holm"] == line["p"]


def test_holm_against_a_worked_example() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    assert len(holm(np.array([]))) == 0
    assert holm(np.array([0.02, np.nan, 0.03])) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)


def test_a_reference_s_score_comes_from_any_cell_that_has_it() -> None:
    """A row lacks the columns of original and oracle where an attack broke on its own model."""
    scores = {
        "original_lira_auc": [0.8, 0.9, 1.0],
        "oracle_lira_auc": [0.5, 0.6, 0.7],
        "lira_auc": [0.6, 0.7, 0.8],
    }
    rows = make.table(
        [
            row(m, seed, 0.9, **{n: of[seed] for n, of in scores.items()})
            for m in ("a", "b")
            for seed in range(3)
        ]
    )
    rows.loc[(rows["method"] == "a") & (rows["seed"] == 0), list(scores)] = np.nan
    means = summary(chosen_cells(rows), ["lira_auc"]).set_index("method")["lira_auc"]
    assert means.to_dict() == pytest.approx({"original": 0.9, "oracle": 0.6, "a": 0.75, "b": 0.7})


def test_infinite_differences_have_no_p() -> None:
    scores = {"forget_elbo": [-np.inf, 1.0], "other": [1.0, 0.5]}
    rows = [
        {"method": method, "model": "m", "forget": "0", "seed": seed, "score": values[seed]}
        for method, values in scores.items()
        for seed in (0, 1)
    ]

    [line] = paired(pd.DataFrame(rows), "score").to_dict("records")

    assert line["difference"] == -np.inf
    assert np.isnan([line["low"], line["high"], line["p"], line["p_holm"]]).all()


def test_an_interval_spans_what_an_independent_judge_reads() -> None:
    """Lead reads .98, .99, .985; the referee .90, .91, .92."""
    read = zip((0.98, 0.99, 0.985), (0.90, 0.91, 0.92), strict=True)
    cells = [
        row("a", seed, 0.9, retain_accuracy=lead, referee_retain_accuracy=other)
        for seed, (lead, other) in enumerate(read)
    ]
    rows = make.table(cells)
    line = summary(chosen_cells(rows), ["retain_accuracy"]).set_index("method").loc["a"]
    lead = share_interval(rows["retain_accuracy"], 3)
    other = share_interval(rows["referee_retain_accuracy"], 3)
    assert line["retain_accuracy"] == pytest.approx(lead.mean)
    assert line["retain_accuracy_low"] == pytest.approx(other.low)
    assert line["retain_accuracy_high"] == pytest.approx(lead.high)


def test_a_second_oracle_is_a_line_of_its_own() -> None:
    far = {"js_to_oracle": 0.10, "oracle_js_to_oracle": 0.0, "original_js_to_oracle": 0.6}
    rows = [row("a", seed, 0.9, **far) for seed in range(2)]
    alone = summary(chosen_cells(make.table(rows)), ["js_to_oracle"])
    assert list(alone["method"]) == ["original", "a", "oracle"]
    beside = [{**line, "second_oracle_js_to_oracle": 0.04} for line in rows]
    lines = summary(chosen_cells(make.table(beside)), ["js_to_oracle"]).set_index("method")
    assert list(lines.index) == ["original", "a", "oracle", "second oracle"]
    assert lines.loc["second oracle", "js_to_oracle"] == pytest.approx(0.04)


def test_seconds_count_every_trial_and_stand_beside_those_of_retraining() -> None:
    """Two trials of a (1 + 2 and 3 + 4 s) and 5 s of experts; retraining took 60 s."""
    seconds = [(1.0, 2.0, 0.9), (3.0, 4.0, 0.8)]
    rows = []
    for unlearn_s, evaluate_s, retain in seconds:
        spent = {"unlearn_s": unlearn_s, "evaluate_s": evaluate_s, "needs_s": 5.0}
        rows.append(row("fine-tune", 0, retain, wall_s=9.0, oracle_s=60.0, **spent))
    lines = summary(chosen_cells(make.table(rows)), ["unlearn_s", "total_s"])
    found = lines.set_index("method")[["unlearn_s", "total_s"]].T.to_dict("list")
    assert found["fine-tune"] == [1.0, 15.0]
    assert found["oracle"] == [60.0, 60.0]
