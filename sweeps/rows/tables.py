"""Rows as Arrow tables and as Parquet files: bring a file of any version to the schema of today."""

import io
from collections.abc import Collection, Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.rows.columns import COLUMNS
from sweeps.rows.schema import ROWS, Row
from unlearn.errors import BadInput
from unlearn.files import read_whole

ORDER = ("model", "method", "seed", "cell_id")  # rows of a file are sorted by these
GROUP_ROWS = 1000  # the fewest rows of a row group that ends where model or method changes
ADDED = ("sweep", "__index_level_0__")  # columns that pandas adds to rows it rewrites


def table_of(rows: Iterable[Row]) -> pa.Table:
    """Return the table of rows; a column that a row lacks is null.

    Columns that `ROWS` lacks, of another version, come last with the types that their values have.
    """
    listed = list(rows)
    others = {name for row in listed for name in row} - COLUMNS.keys()
    table = pa.Table.from_pylist(listed, schema=ROWS)
    for name in sorted(others):
        table = table.append_column(name, pa.array([row.get(name) for row in listed]))
    return table


def in_full(
    tables: Iterable[pa.Table], place: str, columns: Collection[str] | None = None
) -> pa.Table:
    """Concatenate tables; columns of `ROWS` come first, those of other versions last.

    columns: those of `ROWS` that the tables were read with; None for all

    Raises `BadInput` where two files give a column that `ROWS` lacks different types.
    """
    schema = ROWS
    if columns is not None:
        schema = pa.schema([field for field in ROWS if field.name in set(columns)])
    try:
        return pa.concat_tables([schema.empty_table(), *tables], promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise BadInput(f"rows of {place} are of another version of amnesia: {error}") from error


def conformed(table: pa.Table, path: str) -> pa.Table:
    """Return the table of a file with the types of `ROWS`; columns that `ROWS` lacks stay.

    Integers become floats where a float belongs, and so on: values that pandas or another version
    has rewritten are read as what they are. Raises `BadInput`, naming file and column, where a
    value would change, and for a file that holds no rows of ours.
    """
    if "cell_id" not in table.column_names:
        raise BadInput(f"{path} holds no rows of amnesia (it has no cell_id); move it away")
    extra = [name for name in ADDED if name in table.column_names]
    table = table.drop_columns(extra)
    for position, name in enumerate(table.column_names):
        if name not in COLUMNS:
            continue
        field = ROWS.field(name)
        column = table.column(position)
        if column.type == field.type:
            continue
        try:
            cast = column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise BadInput(
                f"{path}: column {name} is {column.type}, not {field.type} ({error}); "
                "move the file away, or write it again from the rows of amnesia"
            ) from error
        table = table.set_column(position, field, cast)
    return table


def read_parquet(path: str, columns: list[str] | None = None) -> pa.Table:
    """Read a file of rows in one request: a file replaced meanwhile is read as it was or as it is.

    columns: only these; a column that the file lacks is left out

    Raises `FileNotFoundError`, and `BadInput` for a file that is not Parquet or not ours.
    """
    source = io.BytesIO(read_whole(path))
    try:
        file = pq.ParquetFile(source)
        wanted = columns
        if columns is not None:
            names = file.schema_arrow.names
            wanted = [name for name in columns if name in names]
        table = file.read(columns=wanted, use_threads=False)
    except pa.ArrowInvalid as error:
        raise BadInput(
            f"{path} is not a Parquet file of amnesia ({error}); move it away"
        ) from error
    return conformed(table, path)


def schema_of(path: str) -> pa.Schema:
    """Return the schema of a file of rows as it is stored."""
    return pq.read_schema(io.BytesIO(read_whole(path)))


def is_of_today(schema: pa.Schema) -> bool:
    """Whether a stored schema begins with all columns of `ROWS`, with their types."""
    stored = [(field.name, field.type) for field in schema]
    today = [(field.name, field.type) for field in ROWS]
    return stored[: len(today)] == today


def as_parquet(table: pa.Table) -> bytes:
    """Return the bytes of a Parquet file that holds the table, sorted by `ORDER`.

    A large file has a row group for each model and method, so that filters by these skip the rest;
    small groups are joined, because each costs as much footer as 40 rows.
    """
    keys = [(name, "ascending") for name in ORDER if name in table.column_names]
    ordered = table.sort_by(keys)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, ordered.schema, compression="zstd") as writer:
        for start, stop in row_groups(ordered):
            writer.write_table(ordered.slice(start, stop - start))
    return sink.getvalue()


def row_groups(ordered: pa.Table) -> Iterator[tuple[int, int]]:
    """Yield (first row, row after the last) of each row group of a sorted table."""
    rows = len(ordered)
    models, methods = ordered["model"].to_pylist(), ordered["method"].to_pylist()
    start = 0
    for row in range(GROUP_ROWS, rows - GROUP_ROWS + 1):
        changes = models[row] != models[row - 1] or methods[row] != methods[row - 1]
        if changes and row - start >= GROUP_ROWS:
            yield start, row
            start = row
    yield start, rows
