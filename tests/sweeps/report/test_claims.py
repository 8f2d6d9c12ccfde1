"""The table of claims: intervals, the gap to the oracle as colour, the methods in pairs."""

from typing import Any

import numpy as np
import pandas as pd

from sweeps.report.claims import claims, interval, markdown
from sweeps.report.elements import escape
from tests.sweeps import builders as make
from unlearn.metrics import METRICS


def rows() -> pd.DataFrame:
    """Two methods on three seeds: .90, .91, .92 and .80, .81, .82; original .98, oracle .90."""
    made = []
    for method, retain in (("scrub", 0.9), ("salun", 0.8)):
        for seed in range(3):
            values: dict[str, Any] = {"method": method, "seed": seed, "cell_id": f"{method}{seed}"}
            values |= {"val_retain_accuracy": retain, "eval_attacks": np.array([])}
            for kind, kept in (("", retain + seed / 100), ("original_", 0.98), ("oracle_", 0.9)):
                values |= {f"{kind}test_forget_accuracy": 0.0, f"{kind}test_retain_accuracy": kept}
                for absent in ("forget_entropy", "mia_auc", "js_to_oracle"):
                    values[kind + absent] = np.nan
            made.append(make.scored(**values))
    return make.table(made)


def test_every_method_stands_beside_original_and_oracle() -> None:
    page = claims(rows())
    assert "Methods on d (classifiers)" in page
    counts = {
        name: page.count(f"<td>{name}</td>") for name in ("original", "scrub", "salun", "oracle")
    }
    # The methods stand in two paired tables, too.
    assert counts == {"original": 1, "scrub": 3, "salun": 3, "oracle": 1}
    assert "0.910 [0.882, 0.932]" in page  # .90, .91, .92: Student's interval of the logits
    assert page.count("rgba(194,65,12,0.06)") == 1  # |.91 - .90| of |.98 - .90|, halved
    # .81 is further from the oracle than the original is.
    assert page.count("rgba(194,65,12,0.50)") == 1
    assert "Holm" in page


def test_the_same_table_for_a_readme() -> None:
    lines = markdown(rows(), ["test_retain_accuracy"]).splitlines()
    assert lines[0].startswith("d, classifiers")
    assert lines[2] == "| model | method | cells | seeds | `test_retain_accuracy` |"
    assert [line.split(" | ")[1] for line in lines[4:]] == ["original", "salun", "scrub", "oracle"]
    # .90, .91, .92: 4.302653 * .01 / sqrt(3)
    assert lines[6] == "| cnn | scrub | 3 | 3 | 0.910 [0.882, 0.932] |"


def test_it_says_what_relearning_did_not_reach_and_what_fools_a_metric() -> None:
    batches = [4.0, 6.0, 8.0, 4.0, np.nan, np.nan]
    table = rows().assign(
        relearn_steps=pd.Series([np.array([0.0, 2.0])] * 6),
        relearn_batches_points=batches,
        oracle_relearn_batches_points=np.nan,
        average_gap=0.25,
    )
    page = claims(table)
    assert "6.000 [1.032, 10.968]" in page
    assert "not reached in 2 of 3" in page
    assert "not reached in 3 of 3" in page
    assert "0.250 [0.250, 0.250]" in page
    assert f"<b>average-gap</b>: {escape(METRICS['average-gap'].blind_spot)}" in page
    assert "<b>relearning</b>" in page
    assert "<b>lira</b>" not in page  # nobody asked for it


def test_one_seed_has_a_table_that_says_so() -> None:
    page = claims(rows().query("seed == 0 and method == 'scrub'"))
    assert "<td>0.900</td>" in page or ">0.900</td>" in page
    assert "One seed: no interval, so a difference may be chance." in page
    assert "no interval" not in claims(rows())
    some = rows().query("seed == 0 or method == 'scrub'")
    assert "Some methods have one seed: no interval" in claims(some)


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert interval({"a": 0.1, "a_low": -0.0001, "a_high": 0.2}, "a") == "0.100 [0.000, 0.200]"


def test_names_from_rows_are_escaped() -> None:
    evil = "<script>"
    page = claims(rows().assign(model=evil, dataset=evil))
    assert "<script" not in page
    assert "Methods on &lt;script&gt; (classifiers)" in page
    assert page.count("<td>&lt;script&gt;</td>") == 4  # a line per method and reference


def test_an_interval_says_what_it_has() -> None:
    one = {"a": 0.5, "a_low": np.nan, "a_high": np.nan}
    none = {"b": np.nan, "b_low": np.nan, "b_high": np.nan}
    assert interval(one, "a") == "0.500"
    assert interval(none, "b") == ""
