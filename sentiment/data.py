"""Reviews from every source, their splits, and the checks that keep the splits apart.

A *source* is `sample` (the reviews that ship with the package), `imdb`, a `.csv`, `.tsv`, `.jsonl`
or `.parquet` file (the first three also gzipped), a folder with one sub-folder of text files per
label, or a `.tar.gz` of such a folder.  Files are read in chunks of rows: `Table` serves training,
which takes all of them, and scoring, which holds one chunk at a time.
"""

import codecs
import csv
import gzip
import hashlib
import json
import os
import re
import tarfile
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

IMDB_URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
IMDB_MD5 = "7c2ac02c03563afcf9b574c7e56c153a"  # of the official archive, 84,125,825 bytes
IMDB_ADVICE = "Give the path of aclImdb_v1.tar.gz instead, if you have it: --data PATH"

NAMED_SOURCES = ("sample", "imdb")
TEXT_COLUMNS = ("text", "review", "sentence", "review_text", "content", "comment", "body")
LABEL_COLUMNS = ("label", "sentiment", "rating", "stars", "polarity", "class", "category")
SPLIT_COLUMN = "split"
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
FOLDER_LABELS = {"pos": "positive", "neg": "negative"}  # as IMDB's folders are named
UNLABELLED_FOLDERS = ("unsup",)

MAX_LISTED = 10  # row numbers that an error message lists


class DataError(ValueError):
    """Input that cannot be used; the message says what was expected, what came and what to do."""


@dataclass(frozen=True)
class Reviews:
    """Labelled texts.

    Attributes:
        texts: the reviews.
        labels: the label of each.
    """

    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def sha256(self) -> str:
        """Hash of all texts and labels, in order."""
        digest = hashlib.sha256()
        for text, label in zip(self.texts, self.labels, strict=True):
            digest.update(json.dumps([text, label]).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Splits:
    """A source, split.

    Attributes:
        source: name of what was asked for: `sample`, `imdb`, or that of the file or folder.
        train: what the network learns from.
        validation: what decides on epochs and calibration.
        test: what is measured at the end; may be empty.
        own_test_split: whether the source itself says which reviews are its test split.
        notes: what a person should know: guessed columns, rows left out, duplicates.
    """

    source: str
    train: Reviews
    validation: Reviews
    test: Reviews
    own_test_split: bool = False
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------- labels


def order_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """The distinct labels in their natural order.

    Negative, neutral, positive; numbers (also "4 stars") by value; otherwise alphabetical.
    """
    names = set(labels)
    values = _polarities(names) or _numbers(names)
    return tuple(sorted(names, key=(lambda name: (values[name], name)) if values else str))


def label_values(labels: Sequence[str]) -> tuple[float, ...] | None:
    """Where each label lies between −1 (worst) and 1 (best), or `None` if they have no order.

    The score of a text is the mean of these values under its probabilities.  For negative,
    (neutral,) positive that is p(positive) − p(negative).

    >>> label_values(["1", "2", "3", "4", "5"])
    (-1.0, -0.5, 0.0, 0.5, 1.0)
    """
    polarities = _polarities(labels)
    if polarities:
        return tuple(polarities[name] for name in labels)
    numbers = _numbers(labels)
    if not numbers or len(numbers) < 2:
        return None
    low, high = min(numbers.values()), max(numbers.values())
    return tuple(2 * (numbers[name] - low) / (high - low) - 1 for name in labels)


def _polarities(labels: Iterable[str]) -> dict[str, float] | None:
    known = {"negative": -1.0, "neg": -1.0, "neutral": 0.0, "neu": 0.0, "positive": 1.0, "pos": 1.0}
    values = {name: known.get(name.casefold()) for name in labels}
    found = list(values.values())
    if None in found or len(set(found)) < len(found) or not {-1.0, 1.0} <= set(found):
        return None
    return values


def _numbers(labels: Iterable[str]) -> dict[str, float] | None:
    values = {}
    for name in labels:
        match = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(?:\s*stars?)?", name, re.IGNORECASE)
        if not match:
            return None
        values[name] = float(match[1])
    return values if len(set(values.values())) == len(values) else None


# ----------------------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        number: line of a text file or row of a Parquet file, from 1; a CSV's header is line 1.
        values: column → value.
        problem: why the row cannot be used, or empty.
    """

    number: int
    values: dict[str, Any]
    problem: str = ""


@dataclass
class Table:
    """A file of rows, read from the start each time that `chunks` is called.

    Attributes:
        path: the file.
        format: `.csv`, `.tsv`, `.jsonl` or `.parquet`.
        columns: its columns; of a JSONL file, the keys of all objects.
        schema: the pyarrow schema of a Parquet file, else `None`.

    Raises:
        DataError: the file is missing, empty, binary, not UTF-8, malformed as a whole, of an
            unknown format or without rows.  A single bad row is no error but has a `Row.problem`.
    """

    path: Path
    format: str = field(init=False)
    columns: tuple[str, ...] = field(init=False)
    schema: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        self.format = table_format(self.path)
        _check_is_file(self.path)
        if self.format == ".parquet":
            self.schema = _parquet_file(self.path).schema_arrow
            self.columns = tuple(self.schema.names)
        else:
            _check_is_text(self.path)
            self.columns = self._first_columns()
        if next(self.chunks(1), None) is None:
            raise DataError(f"{self.path} has no rows under its header.")

    def _first_columns(self) -> tuple[str, ...]:
        if self.format == ".jsonl":
            # Objects may have keys of their own: the columns are those of all lines.
            columns = dict.fromkeys(name for row in self._rows() for name in row.values)
            row = next(self._rows(), None)
            if row is None:
                raise DataError(f"{self.path} is empty.")
            if columns or not row.problem:
                return tuple(columns)
            raise DataError(
                f"{self.path} has no line that can be read; line {row.number}: {row.problem}"
            )
        with self._open() as lines, self._named_errors():
            columns = tuple(next(self._csv_reader(lines), ()))
        repeated = [name for name, n in Counter(columns).items() if n > 1]
        if repeated:
            raise DataError(f"{self.path} has more than one column {repeated[0]!r}.")
        return columns

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """All rows, at most `size` at a time."""
        chunk: list[Row] = []
        for row in self._rows():
            chunk.append(row)
            if len(chunk) == size:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _rows(self) -> Iterator[Row]:
        readers = {".parquet": self._parquet_rows, ".jsonl": self._jsonl_rows}
        with self._named_errors():
            yield from readers.get(self.format, self._csv_rows)()

    def _csv_rows(self) -> Iterator[Row]:
        columns = self.columns
        with self._open() as lines:
            reader = self._csv_reader(lines)
            next(reader)
            before = reader.line_num
            for values in reader:
                number, before = before + 1, reader.line_num
                if len(values) == len(columns):
                    yield Row(number, dict(zip(columns, values, strict=True)))
                elif values:  # a blank line is no row
                    yield Row(number, {}, f"{len(values)} fields instead of {len(columns)}")

    def _csv_reader(self, lines: Iterable[str]) -> Any:
        csv.field_size_limit(2**31 - 1)  # the module's only setting for this; a review may be long
        return csv.reader(lines, delimiter="\t" if self.format == ".tsv" else ",", strict=True)

    def _jsonl_rows(self) -> Iterator[Row]:
        with self._open() as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    values = json.loads(line)
                except json.JSONDecodeError as error:
                    yield Row(number, {}, f"not JSON: {error.msg} at column {error.colno}")
                    continue
                except (ValueError, RecursionError) as error:  # a number of 5000 digits, nesting
                    yield Row(number, {}, f"not JSON: {error}")
                    continue
                if isinstance(values, dict):
                    yield Row(number, values)
                else:
                    yield Row(number, {}, f"not a JSON object but {type(values).__name__}")

    def _parquet_rows(self) -> Iterator[Row]:
        number = 0
        for batch in _parquet_file(self.path).iter_batches(batch_size=4096):
            for values in batch.to_pylist():
                number += 1
                yield Row(number, values)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        with _opener(self.path)(self.path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield lines

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Errors of the readers, with file and place."""
        with _named_errors(self.path):
            try:
                yield
            except csv.Error as error:
                raise DataError(
                    f"{self.path}, near line {self._last_good_line() + 1}: malformed "
                    f"{self.format[1:].upper()}: {error}"
                ) from error

    def _last_good_line(self) -> int:
        with self._open() as lines:
            reader = self._csv_reader(lines)
            last = 0
            try:
                for _ in reader:
                    last = reader.line_num
            except csv.Error:
                return last
        return last


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Errors of reading a text file, with its name."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte {_first_bad_byte(path)} cannot be decoded "
            f"({error.reason}). Save it as UTF-8."
        ) from error
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _opener(path: Path) -> Callable[..., Any]:
    """`open`, or `gzip.open` where the file's name ends in .gz."""
    return gzip.open if path.suffix.lower() == ".gz" else open


def table_format(path: Path) -> str:
    """The format that a file's name says.

    Raises:
        DataError: it says none that is known.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if suffixes and suffixes[-1] in FORMATS:
        if suffixes[-1] == ".parquet" and path.suffix.lower() == ".gz":
            raise DataError(f"{path}: Parquet files are compressed inside; unzip it first.")
        return suffixes[-1]
    raise DataError(
        f"The name of {path} must end in {', '.join(FORMATS)} (the first three also with .gz)."
    )


def find_column(
    columns: Sequence[str], wanted: str | None, usual: Sequence[str], kind: str, path: Path
) -> tuple[str, str]:
    """The column to use, and a note if it was guessed.

    Args:
        columns: the columns there are.
        wanted: the name a person gave, or `None` to look for a usual one.
        usual: usual names, best first; case does not matter.
        kind: `text` or `label`, for messages.
        path: the file, for messages.

    Raises:
        DataError: there is no such column.
    """
    listed = ", ".join(repr(name) for name in columns) or "none"
    if wanted is not None:
        if wanted not in columns:
            raise DataError(f"{path} has no column {wanted!r}. Its columns: {listed}.")
        return wanted, ""
    by_name = {str(name).casefold(): name for name in reversed(columns)}
    for name in usual:
        if name in by_name:
            found = by_name[name]
            return found, f"{kind} column of {path.name}: {found!r} (guessed by its name)"
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
        raise DataError(
            f"{path} has one column only: {listed}. Its fields seem to be separated by "
            "semicolons or tabs. Expected commas, or tabs in a .tsv file."
        )
    raise DataError(
        f"{path} has no column with a usual name for the {kind}. Its columns: {listed}. "
        f"Name one with --{kind}-column."
    )


def text_problem(value: Any) -> str:
    """Why a value is no text to read, or empty."""
    if value is None:
        return "missing text"
    if not isinstance(value, str):
        return f"text is {type(value).__name__}"
    return "" if value.strip() else "blank text"


class BadRows:
    """Collects rows that cannot be used, for one message about all of them."""

    def __init__(self, path: Path):
        self._path = path
        self._found: list[tuple[int, str]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, number: int, problem: str) -> None:
        """Note a bad row."""
        self._count += 1
        if len(self._found) < MAX_LISTED:
            self._found.append((number, problem))

    def __str__(self) -> str:
        """Such as `reviews.csv: 2 bad rows: row 3 (blank text), row 9 (missing label)`."""
        listed = ", ".join(f"row {number} ({problem})" for number, problem in self._found)
        more = f" and {self._count - MAX_LISTED} more" if self._count > MAX_LISTED else ""
        rows = "1 bad row" if self._count == 1 else f"{self._count} bad rows"
        return f"{self._path}: {rows}: {listed}{more}"

    def refuse(self) -> None:
        """Raise `DataError` if there are any."""
        if self._count:
            raise DataError(f"{self}. Mend them, or leave them out with --skip-bad-rows.")


def partial_path(path: Path) -> Path:
    """The name under which a file is written before it takes its final one."""
    return path.with_name(f".{path.name}.part")


class TableWriter:
    """Writes rows to a file that appears under its name only when it is whole.

    Use as a context manager; an exception inside removes what was written.

    Args:
        path: where to; the ending says the format.
        columns: the columns of the first rows; a JSONL file takes each row's own.
        schema: pyarrow schema for a Parquet file, or `None` to infer it from the first rows.
    """

    def __init__(self, path: Path, columns: Sequence[str], schema: Any = None):
        self._path = path
        self._format = table_format(path)
        self._columns = list(columns)
        self._schema = schema
        self._file: Any = None
        self._write: Callable[[list[dict[str, Any]]], None]

    def __enter__(self) -> "TableWriter":
        partial = partial_path(self._path)
        if self._format == ".parquet":
            _pyarrow()  # fails before anything is written
            self._write = self._write_parquet
            return self
        # lone surrogates cannot be stored as UTF-8: they become question marks
        self._file = _opener(self._path)(
            partial, "wt", encoding="utf-8", newline="", errors="replace"
        )
        if self._format == ".jsonl":
            self._write = self._write_jsonl
        else:
            # Before Python 3.13 csv quotes a lone "\r" only where the terminator holds one.
            lines = SimpleNamespace(
                write=lambda line: self._file.write(line.removesuffix("\r\n") + "\n")
            )
            delimiter = "\t" if self._format == ".tsv" else ","
            writer = csv.writer(lines, delimiter=delimiter, lineterminator="\r\n")
            writer.writerow(self._columns)
            self._write = lambda rows: writer.writerows(
                [_plain(row.get(name)) for name in self._columns] for row in rows
            )
        return self

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows."""
        if rows:
            self._write(rows)

    def _write_jsonl(self, rows: list[dict[str, Any]]) -> None:
        self._file.writelines(
            json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows
        )

    def _write_parquet(self, rows: list[dict[str, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{name: _storable(row.get(name)) for name in self._columns} for row in rows]
        try:
            table = pa.Table.from_pylist(rows, schema=self._schema)
        except pa.ArrowException as error:
            raise DataError(
                f"{self._path} cannot be written: a column of a Parquet file holds values of one "
                f"type ({error}). Write another format instead."
            ) from error
        if self._file is None:
            self._schema = table.schema
            self._file = pq.ParquetWriter(partial_path(self._path), table.schema)
        self._file.write_table(table)

    def __exit__(self, kind: Any, *_: object) -> None:
        partial = partial_path(self._path)
        try:
            if kind is None and self._file is None:
                self._write_parquet([])  # a whole file, though without rows
            if self._file is not None:
                self._file.close()  # may fail too, where the disk is full
            if kind is None:
                os.replace(partial, self._path)
        finally:
            partial.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """A value as a CSV cell."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _storable(value: Any) -> Any:
    """A value without lone surrogates, which become question marks."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def _pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError("Parquet files need pyarrow. Install it: pip install pyarrow") from error


def _parquet_file(path: Path) -> Any:
    _pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is not a readable Parquet file: {reason}") from error


def _check_is_file(path: Path) -> None:
    if not path.exists():
        raise DataError(f"There is no file {path}.")
    if path.is_dir():
        raise DataError(f"Expected a file. Received the folder {path}.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.")


def _check_is_text(path: Path) -> None:
    """Refuse binary files by name rather than by a strange parsing error."""
    try:
        with _opener(path)(path, "rb") as file:
            head = file.read(8192)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not head.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"{path} is empty.")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path} is not UTF-8: byte 0 starts a UTF-16 file. Save it as UTF-8.")
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x00" for byte in head)
    magic = (b"PK\x03\x04", b"\x1f\x8b", b"PAR1", b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"\x7fELF")
    if head.startswith(magic) or control + head.count(0) > 0.02 * len(head):
        raise DataError(f"{path} is a binary file. Expected text in UTF-8.")


def _first_bad_byte(path: Path) -> int:
    """Offset of the first byte that is not UTF-8, within the unzipped file."""
    offset, kept = 0, b""
    with _opener(path)(path, "rb") as file:
        while chunk := file.read(1 << 20):
            data = kept + chunk
            try:
                data.decode("utf-8")
                offset, kept = offset + len(data), b""
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data":
                    return offset + error.start
                offset, kept = offset + error.start, data[error.start :]
    return offset


# ---------------------------------------------------------------------------------------- sources


def bundled(*parts: str) -> Path:
    """Path of a file of the package: inside it when installed, else in the checkout."""
    package = Path(__file__).resolve().parent
    inside = package.joinpath("_bundled", *parts)
    return inside if inside.exists() else package.parent.joinpath(*parts)


def load_reviews(
    source: str | Path,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    skip_bad_rows: bool = False,
    progress: bool = False,
) -> tuple[dict[str, Reviews], tuple[str, ...]]:
    """Read a source whole.

    Args:
        source: see the module's docstring.
        text_column, label_column: columns of a file; `None` looks for usual names.
        skip_bad_rows: leave out rows that cannot be used rather than refuse the file.
        progress: whether a download shows its progress on standard error.

    Returns:
        The reviews by split (`train`, `validation`, `test`, or only `all` where the source has no
        splits of its own) and notes for the person.

    Raises:
        DataError: the source is missing or cannot be used.
    """
    path, name = _located(source, text_column, label_column, progress=progress)
    if path.is_dir() or _is_archive(path):
        return _read_texts(path, name, skip_bad_rows)
    if str(source) == "sample":
        text_column, label_column = "text", "label"
    return _read_file(path, text_column, label_column, skip_bad_rows)


def load_unlabelled(
    source: str | Path,
    *,
    text_column: str | None = None,
    skip_bad_rows: bool = False,
    progress: bool = False,
) -> tuple[list[str], list[str]]:
    """Read texts to learn the language from; labels are not needed, and ignored.

    Of a table these are the rows whose split is train or empty.  Of a folder or archive they are
    the texts in folders named `unsup`, or all if there are none, but never those in a folder of a
    validation or test split.  A text that comes again (spaces and case aside) is left out.

    Args:
        source: see the module's docstring; also a `.txt` file (or `.txt.gz`) with a text a line.
        text_column, skip_bad_rows, progress: as `load_reviews`.

    Returns:
        The texts and notes for the person.

    Raises:
        DataError: the source is missing or cannot be used, or holds no such text.
    """
    path, name = _located(source, text_column, progress=progress)
    entries, notes = _training_entries(source, path, name, text_column)
    bad = BadRows(name)
    texts: dict[str, str] = {}
    repeated = 0
    for entry in entries:
        if entry.problem:
            bad.add(entry.number, entry.problem)
            continue
        key = _key(entry.text)
        repeated += key in texts
        texts.setdefault(key, entry.text)
    notes += _left_out(bad, skip_bad_rows)
    if repeated:
        notes.append(f"removed {repeated} repeated texts")
    if not texts:
        raise DataError(
            f"{name} holds no text to learn from. Expected texts of its train split, or texts "
            "without a split."
        )
    return list(texts.values()), notes


def _training_entries(
    source: str | Path, path: Path, name: Path, text_column: str | None
) -> tuple[Iterator["_Entry"], list[str]]:
    """What `load_unlabelled` reads, and notes."""
    if path.is_dir() or _is_archive(path):
        return _file_entries(_training_files(path), name), []
    if _has_lines(path):
        if text_column is not None:
            raise DataError(f"--text-column goes with a file of rows. Received: {source}")
        return _line_entries(path), []
    if str(source) == "sample":
        text_column = "text"
    table = Table(path)
    text_column, note = find_column(table.columns, text_column, TEXT_COLUMNS, "text", path)
    rows = (row for row in _row_entries(table, text_column) if row.split in ("", "train"))
    return rows, [note] if note else []


def _located(source: str | Path, *columns: str | None, progress: bool = False) -> tuple[Path, Path]:
    """Where a source lies, downloaded if need be, and its name in messages."""
    path = Path(source)
    if not str(source):
        raise DataError("Expected a source: `sample`, `imdb`, or a path. Received an empty name.")
    named = str(source) in NAMED_SOURCES
    if not _is_one_file(source) and (named or path.exists()) and any(columns):
        raise DataError(
            f"--text-column and --label-column go with a file of rows. Received: {source}"
        )
    if str(source) == "sample":
        path = bundled("data", "reviews.csv")
        return path, path
    if str(source) == "imdb":
        return download_imdb(progress=progress), path
    if not path.is_dir() and _is_archive(path):
        _check_is_file(path)
    if not path.exists():
        raise DataError(f"There is no file or folder {path}. Expected `sample`, `imdb`, or a path.")
    return path, path


def choose_split(splits: dict[str, Reviews], wanted: str | None) -> tuple[str, Reviews]:
    """The split to measure on: the one asked for, else test, else all there is.

    Raises:
        DataError: there is no such split.
    """
    if wanted == "all":
        texts = [text for part in splits.values() for text in part.texts]
        return "all", Reviews(texts, [label for part in splits.values() for label in part.labels])
    name = wanted or ("test" if "test" in splits else next(iter(splits)))
    if name not in splits:
        known = dict.fromkeys((*splits, "all"))
        raise DataError(f"There is no {name} split. Expected one of: {', '.join(known)}.")
    if wanted is None and len(splits) > 1 and name != "test":
        raise DataError(f"There is no test split. Choose with --split: {', '.join(splits)}, all.")
    return name, splits[name]


@dataclass(frozen=True)
class _Entry:
    """One text of a source.

    Attributes:
        number: of the row, line or file, from 1.
        text: the text, or whatever is in its place where there is a problem.
        label: its label, or empty.
        split: `train`, `validation` or `test`, something else that is written there, or empty.
        problem: why it cannot be used, or empty.
    """

    number: int
    text: Any
    label: str = ""
    split: str = ""
    problem: str = ""


def is_table(source: str | Path) -> bool:
    """Whether a source is a file of rows, whose columns have names."""
    path = Path(source)
    return path.exists() and _is_one_file(source) and not _has_lines(path)


def _is_one_file(source: str | Path) -> bool:
    """Whether a source is, or would be, a file of rows or lines."""
    path = Path(source)
    named = str(source) in NAMED_SOURCES
    return not named and not path.is_dir() and not _is_archive(path)


def _has_lines(path: Path) -> bool:
    return path.name.lower().endswith((".txt", ".txt.gz"))


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith((".tar.gz", ".tgz", ".tar"))


def _read_file(
    path: Path, text_column: str | None, label_column: str | None, skip_bad_rows: bool
) -> tuple[dict[str, Reviews], tuple[str, ...]]:
    table = Table(path)
    text_column, text_note = find_column(table.columns, text_column, TEXT_COLUMNS, "text", path)
    label_column, label_note = find_column(
        table.columns, label_column, LABEL_COLUMNS, "label", path
    )
    if label_column == text_column:
        raise DataError(f"{path}: the column {text_column!r} cannot hold both text and label.")
    bad = BadRows(path)
    splits = _by_split(_row_entries(table, text_column, label_column), bad)
    notes = [note for note in (text_note, label_note) if note] + _left_out(bad, skip_bad_rows)
    if "all" in splits and len(splits) > 1:
        raise DataError(
            f"{path}: the column {SPLIT_COLUMN!r} must hold train, validation or test in every "
            f"row, or in none. Received {len(splits['all'])} rows with something else."
        )
    if not splits:
        raise DataError(f"{path} has no usable rows.")
    return splits, tuple(notes)


def _row_entries(
    table: Table, text_column: str, label_column: str | None = None
) -> Iterator[_Entry]:
    for rows in table.chunks(4096):
        for row in rows:
            text = row.values.get(text_column)
            split = _label(row.values.get(SPLIT_COLUMN)).casefold()
            yield _Entry(
                row.number,
                text,
                _label(row.values.get(label_column)),
                SPLIT_NAMES.get(split, split),
                row.problem or text_problem(text),
            )


def _line_entries(path: Path) -> Iterator[_Entry]:
    _check_is_text(path)
    with _named_errors(path), _opener(path)(path, "rt", encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _Entry(number, line.rstrip("\n"))


def _label(value: Any) -> str:
    """A label as text; empty where it is missing.  4, 4.0 and "4.0" are the same label."""
    if value is None:
        return ""
    label = str(value).strip()
    if label.casefold() == "nan":  # what pandas writes for a missing value
        return ""
    return re.sub(r"(?<=\d)\.0+$", "", label) if re.fullmatch(r"[+-]?\d+\.0+", label) else label


def _read_texts(
    path: Path, source: Path, skip_bad_rows: bool
) -> tuple[dict[str, Reviews], tuple[str, ...]]:
    """Reviews from text files whose path ends in [split/]label/name."""
    files = _files(path, lambda file: file.parent.name not in UNLABELLED_FOLDERS)
    bad = BadRows(source)
    labelled = (file for file in files if _has_label(file[0]))
    splits = _by_split(_file_entries(labelled, source), bad)
    notes = _left_out(bad, skip_bad_rows)
    if not splits:
        raise DataError(f"{source} holds no text files. Expected one sub-folder per label.")
    if "all" in splits and len(splits) > 1:
        raise DataError(
            f"{source}: some labels lie under train/ or test/ and some do not. "
            "Expected either LABEL/… or train/LABEL/… and test/LABEL/…"
        )
    return splits, tuple(notes)


def _by_split(entries: Iterable[_Entry], bad: BadRows) -> dict[str, Reviews]:
    """Reviews by split, `all` where it is none that is known; what cannot be used goes to `bad`."""
    splits: dict[str, Reviews] = {}
    for entry in entries:
        problem = entry.problem or ("" if entry.label else "missing label")
        if problem:
            bad.add(entry.number, problem)
            continue
        split = entry.split if entry.split in SPLIT_NAMES.values() else "all"
        part = splits.setdefault(split, Reviews([], []))
        part.texts.append(entry.text)
        part.labels.append(entry.label)
    return splits


def _left_out(bad: BadRows, skip_bad_rows: bool) -> list[str]:
    """A note on the bad rows, if there are any and they may be left out."""
    if not skip_bad_rows:
        bad.refuse()
    return [f"left out: {bad}"] if bad else []


# A text file of a folder or archive: path inside it, and content.
_File = tuple[PurePosixPath, bytes]


def _file_entries(files: Iterable[_File], source: Path) -> Iterator[_Entry]:
    for number, (path, content) in enumerate(files, 1):
        if path.name.startswith("."):
            continue
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{source}: {path} is not UTF-8: byte {error.start} cannot be decoded."
            ) from error
        label, folder = path.parent.name, path.parent.parent.name
        problem = text_problem(text)
        yield _Entry(
            number,
            text,
            FOLDER_LABELS.get(label, label),
            SPLIT_NAMES.get(folder.casefold(), ""),
            f"{problem} in {path}" if problem else "",
        )


def _has_label(file: PurePosixPath) -> bool:
    """Whether the folder that a file lies in is named for a label."""
    return file.parent.name not in ("", *SPLIT_NAMES, *UNLABELLED_FOLDERS)


def _is_held_out(file: PurePosixPath) -> bool:
    splits = {SPLIT_NAMES.get(folder.casefold()) for folder in file.parent.parts}
    return bool(splits & {"validation", "test"})


def _training_files(path: Path) -> list[_File]:
    """Those in `unsup` folders; else in label folders; else all that are not held out."""
    files = list(_files(path, lambda file: not _is_held_out(file)))
    unlabelled = [file for file in files if file[0].parent.name in UNLABELLED_FOLDERS]
    return unlabelled or [file for file in files if _has_label(file[0])] or files


def _files(path: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[_File]:
    """The text files of a folder or archive whose path is wanted, in order."""
    return _folder_texts(path, wanted) if path.is_dir() else _tar_texts(path, wanted)


def _folder_texts(folder: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[_File]:
    inner = folder / "aclImdb"  # the extracted archive, or the folder it was extracted in
    root = inner if inner.is_dir() else folder
    for path in sorted(root.rglob("*.txt")):
        relative = PurePosixPath(path.relative_to(root).as_posix())
        if wanted(relative):
            yield relative, path.read_bytes()


def _tar_texts(path: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[_File]:
    entries = []
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if member.isfile() and name.suffix == ".txt" and wanted(name):
                    entries.append((name, archive.extractfile(member).read()))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is not a readable archive: {error}") from error
    tops = {name.parts[0].casefold() for name, _ in entries}
    wrapped = len(tops) == 1 and tops.isdisjoint(SPLIT_NAMES)  # all lies in one folder
    for name, content in sorted(entries):  # whatever order the archive has
        yield PurePosixPath(*name.parts[wrapped:]), content


def download_imdb(*, progress: bool = False) -> Path:
    """Path of the IMDB archive, downloaded to the user's cache if it is not there yet.

    Raises:
        DataError: it cannot be downloaded, or is not the official archive.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sentiment"
    target = cache / "aclImdb_v1.tar.gz"
    if target.exists():
        return target
    from tqdm import tqdm

    cache.mkdir(parents=True, exist_ok=True)
    partial = partial_path(target)
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with urllib.request.urlopen(IMDB_URL, timeout=60) as answer, partial.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(
                desc="downloading IMDB", total=size, unit="B", unit_scale=True, disable=not progress
            ) as bar:
                while block := answer.read(1 << 18):
                    file.write(block)
                    digest.update(block)
                    bar.update(len(block))
        if digest.hexdigest() != IMDB_MD5:
            raise DataError(
                f"The file at {IMDB_URL} is not the official archive (MD5 {digest.hexdigest()}, "
                f"expected {IMDB_MD5}). {IMDB_ADVICE}"
            )
        os.replace(partial, target)
    except (urllib.error.URLError, OSError, TimeoutError) as error:
        raise DataError(
            f"IMDB cannot be downloaded from {IMDB_URL}: {error}. {IMDB_ADVICE}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


# ----------------------------------------------------------------------------------------- splits


def load_splits(
    source: str | Path | None = "sample",
    *,
    train: str | Path | None = None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    skip_bad_rows: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Splits:
    """Read and split reviews for training.

    A source's own splits are kept.  Otherwise a tenth each becomes validation and test, with the
    labels in equal shares; the choice follows `seed`.  A source with train and test but no
    validation split, such as IMDB, gives a tenth of train to validation.  Afterwards no text is in
    two splits, and none comes twice in training.

    Args:
        source: where from; ignored when `train` is given.
        train, validation, test: sources for each split instead.
        text_column, label_column, skip_bad_rows, progress: as `load_reviews`.
        seed: of the random split.

    Raises:
        DataError: a source cannot be used, there are fewer than two labels, a label occurs in
            validation or test but not in train, or too rarely to be split.
    """
    options = {
        "text_column": text_column,
        "label_column": label_column,
        "skip_bad_rows": skip_bad_rows,
        "progress": progress,
    }
    if train is None and (validation is not None or test is not None):
        raise DataError("--validation and --test go with --train. Received no --train.")
    parts: dict[str, Reviews] = {}
    notes: list[str] = []
    if train is None:
        parts, found = load_reviews(source, **options)
        notes += found
        name = Path(source).resolve().name
    else:
        name = Path(train).resolve().name
        for split, path in (("train", train), ("validation", validation), ("test", test)):
            if path is not None:
                read, found = load_reviews(path, **options)
                if split not in read and "all" not in read:
                    raise DataError(
                        f"{path} has no {split} split, only: {', '.join(read)}. Expected a source "
                        f"with one, or without splits, for --{split}."
                    )
                parts[split] = read.get(split) or read["all"]
                notes += found
    own_test_split = train is None and "test" in parts
    parts = _split(parts, seed, name)
    splits = Splits(
        name,
        parts["train"],
        parts["validation"],
        parts.get("test", Reviews([], [])),
        own_test_split,
        tuple(dict.fromkeys(notes)),
    )
    _check_labels(splits)
    splits = separate(splits)
    _check_labels(splits)
    return splits


def _split(parts: dict[str, Reviews], seed: int, source: str) -> dict[str, Reviews]:
    if "all" in parts:
        _check_enough(parts["all"].labels, 3, source)
        rest, test = _stratified(parts["all"], seed)
        train, validation = _stratified(rest, seed, of=len(parts["all"]))
        return {"train": train, "validation": validation, "test": test}
    if "train" not in parts:
        raise DataError(f"{source} has no training reviews, only: {', '.join(parts)}.")
    if "validation" not in parts:
        _check_enough(parts["train"].labels, 2, source)
        train, validation = _stratified(parts["train"], seed)
        return {**parts, "train": train, "validation": validation}
    return parts


def _stratified(reviews: Reviews, seed: int, of: int | None = None) -> tuple[Reviews, Reviews]:
    """Take out a tenth of `of` texts (of all by default), each label in its share."""
    from sklearn.model_selection import train_test_split

    names = len(set(reviews.labels))
    size = max(names, round((of or len(reviews)) / 10))
    positions = train_test_split(
        range(len(reviews)), test_size=size, random_state=seed, stratify=reviews.labels
    )
    return tuple(
        Reviews([reviews.texts[i] for i in part], [reviews.labels[i] for i in part])
        for part in map(sorted, positions)
    )


def _check_enough(labels: list[str], least: int, source: str) -> None:
    for label, count in Counter(labels).items():
        if count < least:
            raise DataError(
                f"{source}: the label {label!r} has {count} row{'s' * (count > 1)}. Expected at "
                f"least {least}, one for each split, and many more to learn from."
            )


def _check_labels(splits: Splits) -> None:
    known = set(splits.train.labels)
    if len(known) < 2:
        only = f"only {next(iter(known))!r}" if known else "none"
        raise DataError(
            f"{splits.source}: expected at least two labels in training. Received {only}."
        )
    for name in ("validation", "test"):
        reviews: Reviews = getattr(splits, name)
        unseen = sorted(set(reviews.labels) - known)
        if unseen:
            raise DataError(
                f"{splits.source}: the label {unseen[0]!r} occurs in {name} but never in training "
                f"({', '.join(order_labels(known))})."
            )
    if not len(splits.validation):
        raise DataError(f"{splits.source}: the validation split is empty.")


def separate(splits: Splits) -> Splits:
    """Make the splits disjoint and training free of repeats and contradictions.

    A text (spaces and case aside) that is in test leaves validation and train, one that is in
    validation leaves train; of a repeated training text the first stays, and none if its labels
    differ.  What was removed is noted.
    """
    test = {_key(text) for text in splits.test.texts}
    validation = {_key(text) for text in splits.validation.texts}
    labels_of: dict[str, set[str]] = {}
    for text, label in zip(splits.train.texts, splits.train.labels, strict=True):
        labels_of.setdefault(_key(text), set()).add(label)
    removed: Counter[str] = Counter()
    seen: set[str] = set()

    def keep_train(key: str) -> bool:
        if key in test:
            removed["training texts that are also in test"] += 1
        elif key in validation:
            removed["training texts that are also in validation"] += 1
        elif len(labels_of[key]) > 1:
            removed["training texts that come with different labels"] += 1
        elif key in seen:
            removed["repeated training texts"] += 1
        else:
            seen.add(key)
            return True
        return False

    def keep_validation(key: str) -> bool:
        if key in test:
            removed["validation texts that are also in test"] += 1
        return key not in test

    train = _kept(splits.train, keep_train)
    validation_reviews = _kept(splits.validation, keep_validation)
    notes = tuple(f"removed {count} {what}" for what, count in removed.items())
    return replace(splits, train=train, validation=validation_reviews, notes=splits.notes + notes)


def _key(text: str) -> str:
    return " ".join(text.casefold().split())


def _kept(reviews: Reviews, keep: Callable[[str], bool]) -> Reviews:
    pairs = zip(reviews.texts, reviews.labels, strict=True)
    kept = [(text, label) for text, label in pairs if keep(_key(text))]
    return Reviews([text for text, _ in kept], [label for _, label in kept])
