"""The table of claims: intervals, the gap to the oracle as colour, the methods in pairs."""

import numpy as np
import pandas as pd

from sweeps.report.claims import claims, interval, markdown


def rows() -> pd.DataFrame:
    made = []
    for method, retain in (("scrub", 0.9), ("salun", 0.8)):
        for seed in range(3):
            row = {
                "cell_id": f"{method}{seed}",
                "status": "ok",
                "val_stopped": None,
                "eval_candidates": "full",
                "dataset": "d",
                "task": "classifier",
                "model": "cnn",
            }
            row |= {
                "method": method,
                "forget": np.array([1]),
                "seed": seed,
                "eval_attacks": np.array([]),
            }
            row |= {
                "val_forget_probability": np.nan,
                "val_forget_accuracy": 0.0,
                "val_retain_accuracy": retain,
            }
            for kind, kept in (("", retain + seed / 100), ("original_", 0.98), ("oracle_", 0.9)):
                row |= {f"{kind}test_forget_accuracy": 0.0, f"{kind}test_retain_accuracy": kept}
                row |= {
                    f"{kind}forget_entropy": np.nan,
                    f"{kind}mia_auc": np.nan,
                    f"{kind}js_to_oracle": np.nan,
                }
            made.append(row)
    return pd.DataFrame(made)


def test_every_method_stands_beside_original_and_oracle() -> None:
    page = claims(rows())
    assert "Methods on d (classifiers)" in page
    assert [
        page.count(f"<td>{name}</td>") for name in ("original", "scrub", "salun", "oracle")
    ] == [
        1,
        3,
        3,
        1,
    ]  # and in two paired tables
    assert "0.910 [0.885, 0.935]" in page  # .90, .91, .92: Student's interval
    assert page.count("rgba(194,65,12,0.06)") == 1  # |.91 - .90| of |.98 - .90|, halved
    assert (
        page.count("rgba(194,65,12,0.50)") == 1
    )  # .81 is further from the oracle than the original was
    assert "Holm" in page


def test_the_same_table_for_a_readme() -> None:
    lines = markdown(rows(), ["test_retain_accuracy"]).splitlines()
    assert lines[0].startswith("d, classifiers")
    assert lines[2] == "| model | method | cells | seeds | `test_retain_accuracy` |"
    assert [line.split(" | ")[1] for line in lines[4:]] == ["original", "salun", "scrub", "oracle"]
    assert (
        lines[6] == "| cnn | scrub | 3 | 3 | 0.910 [0.885, 0.935] |"
    )  # .90, .91, .92: 4.302653 * .01 / sqrt(3)


def test_what_was_not_reached_says_so_and_what_is_fooled_too() -> None:
    table = rows().assign(relearn_steps=[np.array([0.0, 2.0])] * 6, average_gap=0.25)
    batches = [4.0, 6.0, 8.0, 4.0, np.nan, np.nan]
    page = claims(
        table.assign(relearn_batches_points=batches, oracle_relearn_batches_points=np.nan)
    )
    for words in (
        "6.000 [1.032, 10.968]",
        "not reached in 2 of 3",
        "not reached in 3 of 3",
        "0.250 [0.250, 0.250]",
    ):
        assert words in page, words
    assert "<b>average-gap</b>: it reads answers only" in page
    assert "<b>relearning</b>" in page
    assert "<b>lira</b>" not in page  # nobody asked for it


def test_one_triple_is_no_claim() -> None:
    assert claims(rows().query("seed == 0 and method == 'scrub'")) == ""


def test_an_interval_says_what_it_has() -> None:
    line = {
        "a": 0.5,
        "a_low": np.nan,
        "a_high": np.nan,
        "b": np.nan,
        "b_low": np.nan,
        "b_high": np.nan,
    }
    assert (interval(line, "a"), interval(line, "b")) == ("0.500", "")
