"""One HTML page of a results folder: what was chosen, what it looks like, what it cost, beside original and oracle."""

import base64
import html
import io
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sweeps.choose.choose import choose, unstopped
from sweeps.choose.comparable import differing_settings, varied_knobs
from sweeps.choose.intervals import COUNTS, regret, saving
from sweeps.compute.attacks import REFERENCES, stem
from sweeps.compute.recorder import gif
from sweeps.report import figures
from sweeps.report.claims import BESIDE, SCORES, claims, table_of
from sweeps.report.pictures import grids, of_classifier, of_generator, stored
from sweeps.rows.results import Results
from unlearn.files import write_whole
from unlearn.models import check_builder

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;font-size:14px}
td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}img{max-width:100%}figure{margin:1.5rem 0}figcaption{color:#555}
img[src^="data:image/gif"]{width:36rem;image-rendering:pixelated}
h2{margin-top:3rem;border-top:2px solid #222}.why{background:#f6f3ee;padding:.6rem 1rem}
.scroll{overflow-x:auto;margin:1.5rem 0}.scroll td{white-space:nowrap}
"""
JUDGES = ["judge_test_accuracy", "judge_forget_probability", "judge_forget_accuracy", "judge_forget_entropy",
          "judge_noise_floor", "judge_grey_floor"]  # fmt: skip


def write_report(
    results: Results, sweep: str | None, out: str, data_root: str, builders: tuple[str, ...] = ()
) -> str:
    """Write the page for all sweeps or one; returns its path. Pictures of generators need the store the rows name.
    `builders`: those of one's own that may be called."""
    names, rows = [sweep] if sweep else results.sweeps(), results.read(sweep)
    for model in rows["model"].unique():
        check_builder(model, builders, "report")
    parts = [claims(rows)] + [section(name, results.read(name), data_root) for name in names]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>amnesia report</title><style>{STYLE}</style>"
    page += "<h1>amnesia report</h1>" + "".join(parts)
    write_whole(out, page.encode())
    return str(Path(out))


def section(name: str, rows: pd.DataFrame, data_root: str) -> str:
    """One sweep: the choice of every model x forget set x seed, with its pictures, then all rows."""
    errors = rows[rows["error"].notna()]
    counts = f"{len(rows)} cells, {(rows['status'] == 'failed').sum()} failed; data set {rows['dataset'].iloc[0]}"
    parts = [f"<h2>{html.escape(name)}</h2><p>{counts}.</p>"]
    good = rows[rows["status"] == "ok"]
    best = choose(good).row["cell_id"] if len(good) else None
    apart = differing_settings(rows)
    for _, group in rows.groupby(
        rows["forget"].map(str) + rows["model"] + apart + rows["seed"].map(str)
    ):
        if (group["status"] == "ok").any():
            parts.append(group_part(group, data_root, best, apart[group.index[0]]))
    if len(errors):
        parts.append("<h3>Errors</h3>" + table_of(errors[["cell_id", "method", "status", "error"]]))
    parts.append(
        "<details><summary>All rows</summary><div class=scroll>"
        + table_of(_main(rows))
        + "</div></details>"
    )
    return "".join(parts)


def group_part(every: pd.DataFrame, data_root: str, best: str | None, setting: str) -> str:
    """The chosen cell of one model x forget set x seed (and `setting`, where there are several): why, scores beside
    original and oracle, pictures; of the sweep's `best` cell also the portraits, which take seconds each."""
    rows = every[every["status"] == "ok"]
    chosen = choose(rows)
    row = chosen.row
    if row["eval_candidates"] == "val":
        return (
            f"<p>{html.escape(str(row['model']))}: the choice is not confirmed yet; run the same command again "
            "(with --retry-failed where that failed).</p>"
        )
    title = f"{row['model']}{setting}, forget {', '.join(map(str, row['forget']))}, seed {row['seed']}: {row['method']}"
    knobs = ", ".join(
        f"{name} {_text(row[name])}" for name in varied_knobs(rows) if pd.notna(row[name])
    )
    which = f"Cell {row['cell_id']}" + (f" ({knobs})" if knobs else "")
    parts = [f"<h3>{html.escape(title)}</h3><p class=why>{which}: {chosen.why}.</p>"]
    candidates = rows[rows["eval_candidates"] == "val"]
    if len(candidates):
        parts.append(
            f"<p>{len(candidates)} candidates were read on val alone, {len(candidates) - len(unstopped(candidates))} "
            "of them only until they could no longer win: those are missing among the points below, and crosses on "
            "the map.</p>"
        )
    cost = regret(rows, row)
    if cost is not None:
        among = " among its method's candidates" if len(candidates) else ""
        parts.append(
            f"<p>Choosing on val instead of test{among} cost {cost:.4f} of the score on test.</p>"
        )
    alone, whole, retraining = saving(every, row)
    parts.append(
        f"<p>Unlearning took {alone:.2f} s; with what it needs and every cell of its method that was tried "
        f"{whole:.1f} s; retraining {retraining:.1f} s: {1 - whole / retraining:.0%} saved.</p>"
    )
    parts.append(comparison(row))
    if row["task"] == "generator":
        parts.append(_judges(row))
        parts.append(
            _picture(
                grids(row, data_root),
                "Same latents, three models; rows are labels, forgotten ones in red.",
            )
        )
        parts += [probes(row), *_shown(row)]
    if len(rows) > 2:
        parts.append(
            _picture(
                figures.pareto_front(unstopped(rows), row["cell_id"]),
                "Chosen on val; the diamond is its reading on test.",
            )
        )
        if rows["alpha"].nunique() > 1 and rows["rho"].nunique() > 1:
            parts.append(
                _picture(
                    figures.heat(rows, "alpha", "rho", row["cell_id"]),
                    "Every cell over its two knobs, on val.",
                )
            )
    if row["cell_id"] == best:
        portraits = of_generator if row["task"] == "generator" else of_classifier
        parts += [_picture(figure, caption) for figure, caption in portraits(row, data_root)]
    parts.append(_picture(figures.by_class(row), "Accuracy of every class, on test."))
    if row["relearn_steps"] is not None:
        parts.append(
            _picture(figures.relearning(row), "Relearning the forgotten class, in mini-batches.")
        )
    if row["curve_terms"] is not None:
        parts.append(_picture(figures.curves(row), "Loss terms while unlearning."))
    return "".join(parts)


def comparison(row: pd.Series) -> str:
    """original | unlearned | oracle, score by score."""
    table = pd.DataFrame(
        {kind: {name: _score(row, prefix, name) for name in SCORES[row["task"]] + BESIDE[row["task"]]}
         for prefix, kind, _ in figures.KINDS}
    )  # fmt: skip
    return table[(table != "").any(axis=1)].to_html()


def _score(row: pd.Series, prefix: str, name: str) -> str:
    """The value as text; "" where the cell has none."""
    value = row.get(prefix + name)
    if pd.notna(value):
        return f"{value:.4f}"
    unreached = name in COUNTS and prefix + name in row and row["relearn_steps"] is not None
    return "not reached" if unreached else ""


def _judges(row: pd.Series) -> str:
    """What each judge reads, beside its floor on noise and grey: below that, no forgetting can be read."""
    table = pd.DataFrame({name: row[name] for name in JUDGES}, index=list(row["judge_names"]))
    return "<p>By judge (lead is reject-aware):</p>" + table.to_html(
        float_format=lambda value: f"{value:.3f}"
    )


def probes(row: pd.Series) -> str:
    """Each probe's success with its 95 % interval, beside original, oracle, untrained decoder; "" where not asked."""
    lines = {}
    for name in row["eval_attacks"]:
        if pd.isna(row[f"{stem(name)}_rate"]):
            continue  # it broke: the row's error says how
        of = {kind: row[f"{kind}_{stem(name)}_rate"] for kind in REFERENCES}
        own = [
            row[f"{stem(name)}_{column}"]
            for column in ("rate", "rate_low", "rate_high", "excess_low", "excess_high")
        ]
        interval, excess = (
            f"{own[0]:.2f} [{own[1]:.2f}, {own[2]:.2f}]",
            f"[{own[3]:+.2f}, {own[4]:+.2f}]",
        )
        lines[name] = {"unlearned": interval, **of, "above the oracle": excess}
    if not lines:
        return ""
    table = pd.DataFrame.from_dict(lines, orient="index").to_html(
        float_format=lambda value: f"{value:.2f}"
    )
    return (
        "<p>Attacks, share of tries that brought a forgotten class back (95 % interval), graded by a judge that the "
        f"attacker never saw. Recovered means above the oracle.</p>{table}"
    )


def _shown(row: pd.Series) -> list[str]:
    """What the cell left in the store: its probes' catch and its film."""
    pictures, parts = stored(row), []
    done = [name for name in row["eval_attacks"] if name in pictures]
    probed = {name: pictures[name][:, :8].flatten(0, 1)[:8].float() / 255 for name in done}
    if probed:
        parts.append(
            _picture(figures.strips(probed), "What each attack brought out of the unlearned model.")
        )
    if "film" in pictures:
        last = int(pictures["film_steps"][-1])
        parts.append(
            _image(
                gif(pictures["film"]),
                "gif",
                f"Forgetting, from step 0 to {last}: a column a label.",
            )
        )
    return parts


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else html.escape(str(value))


def _main(rows: pd.DataFrame) -> pd.DataFrame:
    keys = ["cell_id", "model", "method", "forget", "seed", *varied_knobs(rows), "status", "wall_s"]
    columns = [*keys, *SCORES[rows["task"].iloc[0]]]
    return rows[[name for name in columns if name in rows]].dropna(axis=1, how="all")


def _picture(figure: Figure, caption: str) -> str:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110)
    return _image(sink.getvalue(), "png", caption)


def _image(content: bytes, kind: str, caption: str) -> str:
    data, text = base64.b64encode(content).decode(), html.escape(caption, quote=True)
    return f'<figure><img alt="{text}" src="data:image/{kind};base64,{data}"><figcaption>{text}</figcaption></figure>'
