"""Whole files: every row of a table and the model's answer beside it, in memory that stays flat."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment.artifact import check_parent_writable
from sentiment.data import (
    TEXT_COLUMNS,
    BadRows,
    DataError,
    Row,
    Table,
    TableWriter,
    find_column,
    table_format,
    text_problem,
)
from sentiment.predictor import Answers, Predictor

CHUNK = 4096  # rows that are held at a time
LABEL_COLUMN, SCORE_COLUMN, PROBABILITY_PREFIX = "predicted_label", "predicted_score", "p_"


@dataclass(frozen=True)
class Scoring:
    """What scoring a file did.

    Attributes:
        rows: rows written.
        bad: what was wrong with rows that have no answer, or empty.
        note: the guessed column, or empty.
    """

    rows: int
    bad: str
    note: str


def score_file(
    predictor: Predictor,
    source: Path,
    target: Path,
    *,
    text_column: str | None = None,
    neutral_band: tuple[float, float] | None = None,
    skip_bad_rows: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> Scoring:
    """Add the model's answers to every row of a table.

    The file is read twice: once to check and count all rows, so that a bad one is found before any
    work is done, and once to score them, a chunk at a time.  The result appears under its name when
    it is whole.

    Args:
        predictor: the model.
        source: a .csv, .tsv, .jsonl or .parquet file, the first three also gzipped.
        target: the file to write; its name says the format.
        text_column: column with the texts; `None` looks for a usual name.
        neutral_band: as `Predictor.predict`.
        skip_bad_rows: keep rows without text, but without an answer, and leave out lines that
            cannot be read.
        overwrite: whether `target` may be replaced.
        progress: whether to show a progress bar on standard error.

    Raises:
        DataError: the source cannot be used, a column of the result exists in it already, or
            `target` exists.
    """
    _check_target(source, target, overwrite=overwrite)
    table = Table(source)
    column, note = find_column(table.columns, text_column, TEXT_COLUMNS, "text", source)
    added = result_columns(predictor)
    clash = [name for name in added if name in table.columns]
    if clash:
        raise DataError(
            f"{source} already has a column {clash[0]!r}, which the result needs. Rename it first."
        )
    bad = BadRows(source)
    total = 0
    for rows in table.chunks(CHUNK):
        total += len(rows)
        for row in rows:
            if problem := _problem(row, column, added):
                bad.add(row.number, problem)
    if not skip_bad_rows:
        bad.refuse()

    from tqdm import tqdm

    kept: list[list[Row]] = []  # chunks whose answers are still to come

    def windows() -> Iterator[list[str]]:
        for rows in table.chunks(CHUNK):
            readable = [row for row in rows if not row.problem]
            kept.append(readable)
            yield [row.values[column] for row in readable if not _problem(row, column, added)]

    written = 0
    schema = _result_schema(table, predictor, target)
    bar = tqdm(total=total, unit="row", disable=not progress)
    with bar, TableWriter(target, (*table.columns, *added), schema) as writer:
        for answers in predictor.answer_windows(windows(), neutral_band=neutral_band):
            rows = kept.pop(0)
            results = result_rows(predictor, answers)
            writer.write(
                [
                    row.values | ({} if _problem(row, column, added) else next(results))
                    for row in rows
                ]
            )
            written += len(rows)
            bar.update(len(rows))
    return Scoring(written, str(bad) if bad else "", note)


def _problem(row: Row, column: str, added: Sequence[str]) -> str:
    if row.problem:
        return row.problem
    if any(name in row.values for name in added):  # JSONL rows have keys of their own
        return f"has a value named like a column of the result: {', '.join(added)}"
    return text_problem(row.values.get(column))


def result_columns(predictor: Predictor) -> tuple[str, ...]:
    """Columns that scoring adds; there is no score column for labels without an order."""
    score = () if predictor.manifest.label_values is None else (SCORE_COLUMN,)
    return (LABEL_COLUMN, *score, *(PROBABILITY_PREFIX + name for name in predictor.labels))


def result_rows(predictor: Predictor, answers: Answers) -> Iterator[dict[str, Any]]:
    """The answers as rows with `result_columns`; numbers have six decimals."""
    columns: list[list[Any]] = [answers.labels]
    if answers.scores is not None:
        columns.append(answers.scores.round(6).tolist())
    columns += answers.probabilities.astype("float64").round(6).T.tolist()
    names = result_columns(predictor)
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _result_schema(table: Table, predictor: Predictor, target: Path) -> Any:
    """The schema of a Parquet result: that of a Parquet source, else text, plus the answers."""
    if table_format(target) != ".parquet":
        return None
    try:
        import pyarrow as pa
    except ImportError:
        return None  # TableWriter says what to install
    known = table.schema
    if known is None and table.format != ".jsonl":
        known = pa.schema([(name, pa.string()) for name in table.columns])
    if known is None:
        return None  # JSONL values have types of their own: inferred from the first chunk
    for name in result_columns(predictor):
        known = known.append(pa.field(name, pa.string() if name == LABEL_COLUMN else pa.float64()))
    return known


def _check_target(source: Path, target: Path, *, overwrite: bool) -> None:
    table_format(target)
    if target.is_dir():
        raise DataError(f"{target} is a folder. Expected the name of a file.")
    if target.exists() and source.exists() and target.samefile(source):
        raise DataError(f"{target} is the input itself. Choose another name for the output.")
    if target.exists() and not overwrite:
        raise DataError(f"{target} exists already. Choose another name, or add --overwrite.")
    if not target.absolute().parent.is_dir():
        raise DataError(f"{target} cannot be written: its folder does not exist.")
    check_parent_writable(target)
