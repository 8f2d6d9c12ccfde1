"""The dictionary of columns, and what is made from it: schema, metadata, texts, tooltips."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.report.elements import with_tooltips
from sweeps.rows.columns import COLUMNS, joined, lookup_columns
from sweeps.rows.reference import describe
from sweeps.rows.schema import ROWS, type_name
from sweeps.rows.tables import as_parquet, in_full
from tests.sweeps import builders as make
from unlearn.attacks import ATTACKS, attack_columns
from unlearn.columns import Column, Scale, merged, scale_of
from unlearn.errors import BadInput
from unlearn.methods import KNOBS, knob_entries
from unlearn.metrics import METRICS
from unlearn.metrics import columns as metric_columns

PLAIN = pa.schema([(field.name, field.type) for field in ROWS])


def test_the_schema_is_the_dictionary_with_and_without_metadata() -> None:
    assert ROWS.names == list(COLUMNS) == PLAIN.names
    assert ROWS.equals(PLAIN)
    assert not ROWS.equals(PLAIN, check_metadata=True)
    assert {*KNOBS, *metric_columns(), *attack_columns()} <= set(COLUMNS)


def test_a_parquet_field_tells_what_its_column_is() -> None:
    table = pq.read_table(io.BytesIO(as_parquet(ROWS.empty_table())))
    facts = table.schema.field("zrf").metadata
    assert facts[b"unit"] == b"share"
    assert facts[b"direction"] == b"oracle"
    assert facts[b"meaning"].startswith(b"1 - mean JS divergence")
    assert facts[b"source"] == b"metric zrf (arXiv:2205.08096)"
    assert b"unit" not in table.schema.field("cell_id").metadata


@pytest.mark.parametrize("first", [PLAIN, ROWS], ids=["plain", "with metadata"])
def test_rows_with_and_without_metadata_make_one_table(first: pa.Schema) -> None:
    other = ROWS if first is PLAIN else PLAIN
    row = make.row(make.cell())
    tables = [pa.Table.from_pylist([row], schema=schema) for schema in (first, other)]
    whole = in_full(tables, "here")
    assert (len(whole), whole.schema.names) == (2, ROWS.names)
    assert whole.schema.field("zrf").metadata[b"unit"] == b"share"


@pytest.mark.parametrize("name", METRICS)
def test_every_column_of_a_metric_has_a_meaning_and_a_scale_fits_one(name: str) -> None:
    metric = METRICS[name]
    entries = metric.entries(name)
    assert [entry.name for entry in entries] == list(metric.columns)
    for pattern in metric.scales:
        alone = {pattern: Scale("x")}
        assert any(scale_of(entry.name, alone).unit for entry in entries), pattern


def test_what_leaks_out_of_kept_classes_is_better_where_it_is_lower() -> None:
    leaks = [name for name in metric_columns() if "retain_leak" in name and "oracle" not in name]
    own = [COLUMNS[name] for name in leaks if not name.startswith("original_")]
    assert len(own) == 7  # by lead, val and referee, two each; by a classifier on val and test
    assert {entry.scale for entry in own} == {Scale("share", "lower")}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attacks_entries_are_its_columns(name: str) -> None:
    attack = ATTACKS[name]
    told = {entry.name: entry.type for entry in attack.entries(name)}
    assert told == attack.columns(name)
    assert all(entry.source.startswith(f"attack {name}") for entry in attack.entries(name))


def test_a_knob_with_two_meanings_tells_both_with_their_methods() -> None:
    entry = knob_entries()["alpha"]
    assert "task-arithmetic: step along the task vector" in entry.meaning
    assert "scrub: weight of the divergence on retained images" in entry.meaning
    assert entry.source.startswith("knob of task-arithmetic, ")
    assert ": " not in knob_entries()["again"].source


def test_one_name_of_two_metrics_is_one_entry() -> None:
    one = Column("x", float, "how often", source="metric a")
    other = Column("x", float, "how much", source="metric b")
    (entry,) = merged(one, other).values()
    assert entry.meaning == "metric a: how often; metric b: how much"
    assert one.of("oracle").meaning == "`x` of the oracle model"
    assert one.of("second_oracle").meaning == "`x` of the second oracle model"


def test_columns_are_found_by_name_and_by_pattern() -> None:
    assert [entry.name for entry in lookup_columns(["seed", "val_b*"])] == ["seed", "val_bar"]
    with pytest.raises(BadInput, match=r"no column 'retain_acuracy'; like it: retain_accuracy"):
        lookup_columns(["retain_acuracy"])


def test_a_column_is_described_line_by_line() -> None:
    assert describe(COLUMNS["evaluate_s"]).splitlines() == [
        "evaluate_s",
        "  type: double",
        "  unit: s",
        "  direction: lower (a lower value is better)",
        "  meaning: seconds of scoring",
        "  source: the run",
    ]
    assert type_name("curve") == "list of list of double"


def test_a_heading_with_a_columns_name_gets_its_meaning_as_a_tooltip() -> None:
    page = "<th>a_b</th><th>other</th><td>a_b</td>"
    told = with_tooltips(page, {"a_b": 'says "x" & more'})
    title = "says &quot;x&quot; &amp; more"
    assert told == f'<th title="{title}">a_b</th><th>other</th><td>a_b</td>'


def test_a_column_that_is_defined_twice_is_refused() -> None:
    """A knob `bound` once took the place of the column of that name, and no row could be folded."""
    entry = COLUMNS["evaluate_s"]
    with pytest.raises(BadInput, match="column 'evaluate_s' is defined twice"):
        joined({"evaluate_s": entry}, {"wall_s": entry}, {"evaluate_s": entry})
    assert list(joined({"evaluate_s": entry}, {"wall_s": entry})) == ["evaluate_s", "wall_s"]
