"""Reading, splitting and writing reviews, and what is said of files that cannot be used."""

import csv
import doctest
import gzip
import hashlib
import io
import json
import re
import tarfile
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment import data
from sentiment.data import (
    BadRows,
    DataError,
    Reviews,
    Splits,
    Table,
    TableWriter,
    download_imdb,
    find_column,
    label_values,
    load_reviews,
    load_splits,
    load_unlabelled,
    order_labels,
    partial_path,
    separate,
    table_format,
    text_problem,
)

ROWS = [
    {"text": 'Said "no",\nthen yes', "label": "pos"},
    {"text": "tab\there, çà et là 😍", "label": "neg"},
    {"text": "one\rtwo\r\nthree", "label": "pos"},
    {"text": "nul\x00inside of a text that is long enough for it " * 2, "label": "neg"},
]
READ = Reviews([row["text"] for row in ROWS], [row["label"] for row in ROWS])
SUFFIXES = [".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".parquet"]
MAGIC_PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)


def content_of(suffix, rows, bom=b""):
    """Bytes of a table file, written without the code under test."""
    if suffix == ".parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        return buffer.getvalue()
    text = io.StringIO()
    if suffix.startswith(".jsonl"):
        text.writelines(json.dumps(row) + "\n" for row in rows)
    else:
        delimiter = "\t" if suffix.startswith(".tsv") else ","
        writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
    content = bom + text.getvalue().encode()
    return gzip.compress(content) if suffix.endswith(".gz") else content


@pytest.fixture
def write(tmp_path):
    """`write(name, content)` makes a file from text or bytes, gzipped if its name ends in .gz."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def refused(message, path=""):
    """Expects a `DataError` with exactly this message, `PATH` standing for the path."""
    expected = message.replace("PATH", str(path))
    return pytest.raises(DataError, match=f"^{re.escape(expected)}$")


# ------------------------------------------------------------------------------------ the formats


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".CSV", ".Csv.GZ"])
def test_every_format(tmp_path, suffix):
    path = tmp_path / f"my.reviews{suffix}"
    path.write_bytes(content_of(suffix.lower(), ROWS))
    parts, notes = load_reviews(path)
    assert parts == {"all": READ}
    assert notes == (
        f"text column of {path.name}: 'text' (guessed by its name)",
        f"label column of {path.name}: 'label' (guessed by its name)",
    )
    assert load_reviews(str(path), text_column="text", label_column="label") == (parts, ())


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != ".parquet"])
def test_byte_order_mark(tmp_path, suffix):
    path = tmp_path / f"r{suffix}"
    path.write_bytes(content_of(suffix, ROWS, bom=b"\xef\xbb\xbf"))
    assert load_reviews(path)[0] == {"all": READ}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_chunks(tmp_path, suffix, size):
    path = tmp_path / f"r{suffix}"
    path.write_bytes(content_of(suffix, ROWS))
    table = Table(path)
    assert table.columns == ("text", "label")
    for _ in range(2):  # from the start each time
        chunks = list(table.chunks(size))
        assert [row.values for chunk in chunks for row in chunk] == ROWS
        assert [len(chunk) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    assert not [row.problem for chunk in chunks for row in chunk if row.problem]


def test_numbers_of_rows_are_lines(write):
    text = 'text,label\n"a\nb",x\n\nc,y\n"d\n\n\ne",x\nf,y\n'
    rows = [row for chunk in Table(write("r.csv", text)).chunks(9) for row in chunk]
    assert [row.number for row in rows] == [2, 5, 6, 10]
    lines = '{"text": "a"}\n\n{"text": "b"}\n'
    rows = [row for chunk in Table(write("r.jsonl", lines)).chunks(9) for row in chunk]
    assert [row.number for row in rows] == [1, 3]


@pytest.mark.parametrize("name", ["reviews", "reviews.txt", "reviews.csv.zip", "r.gz", "csv"])
def test_unknown_format(write, name):
    message = (
        "The name of PATH must end in .csv, .tsv, .jsonl, .parquet (the first three also with .gz)."
    )
    path = write(name, "text,label\na,b\n")
    with refused(message, path):
        load_reviews(path)


def test_gzipped_parquet(write):
    path = write("r.parquet.GZ", b"x")
    with refused("PATH: Parquet files are compressed inside; unzip it first.", path):
        table_format(path)


# ---------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        (["id", "Review", "Sentiment"], "Review", "Sentiment"),
        (["rating", "sentence", "stars"], "sentence", "rating"),
        (["body", "comment", "TEXT", "class", "label"], "TEXT", "label"),
        (["text", "Text", "polarity"], "text", "polarity"),
    ],
)
def test_guessed_columns(write, columns, text, label):
    path = write("r.csv", ",".join(columns) + "\n" + ",".join(f"in {c}" for c in columns) + "\n")
    parts, notes = load_reviews(path)
    assert parts == {"all": Reviews([f"in {text}"], [f"in {label}"])}
    assert notes == (
        f"text column of r.csv: {text!r} (guessed by its name)",
        f"label column of r.csv: {label!r} (guessed by its name)",
    )


def test_named_columns(write):
    path = write("r.csv", "text,a,b\n1,2,3\n")
    parts, notes = load_reviews(path, text_column="b", label_column="a")
    assert parts == {"all": Reviews(["3"], ["2"])}
    assert notes == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_column": "no"}, "PATH has no column 'no'. Its columns: 'x', 'text', 'label'."),
        ({"label_column": "no"}, "PATH has no column 'no'. Its columns: 'x', 'text', 'label'."),
        ({"text_column": "TEXT"}, "PATH has no column 'TEXT'. Its columns: 'x', 'text', 'label'."),
        ({"text_column": "label"}, "PATH: the column 'label' cannot hold both text and label."),
        ({"label_column": "text"}, "PATH: the column 'text' cannot hold both text and label."),
    ],
)
def test_wrong_columns(write, options, message):
    path = write("r.csv", "x,text,label\n1,a,b\n")
    with refused(message, path):
        load_reviews(path, **options)


@pytest.mark.parametrize(("columns", "kind"), [("x,label", "text"), ("text,x", "label")])
def test_no_usual_column(write, columns, kind):
    path = write("r.csv", f"{columns}\n1,2\n")
    listed = ", ".join(repr(name) for name in columns.split(","))
    message = (
        f"PATH has no column with a usual name for the {kind}. Its columns: {listed}. "
        f"Name one with --{kind}-column."
    )
    with refused(message, path):
        load_reviews(path)


def test_no_columns_at_all(tmp_path):
    with refused("r.csv has no column 'a'. Its columns: none."):
        find_column((), "a", (), "text", tmp_path.relative_to(tmp_path) / "r.csv")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_separators_are_hinted_at(write, mark):
    path = write("r.csv", f"text{mark}label\ngood{mark}1\n")
    message = (
        f"PATH has one column only: {f'text{mark}label'!r}. Its fields seem to be separated by "
        "semicolons or tabs. Expected commas, or tabs in a .tsv file."
    )
    with refused(message, path):
        load_reviews(path)


def test_columns_of_jsonl_are_the_keys_of_all_lines(write):
    lines = ['{"id": 1, "text": "a"}', "{no", "", '{"label": "x", "text": "b"}', '{"more": null}']
    path = write("r.jsonl", "\n".join(lines))
    assert Table(path).columns == ("id", "text", "label", "more")
    parts, _ = load_reviews(write("s.jsonl", "\n".join(lines)), skip_bad_rows=True)
    assert parts == {"all": Reviews(["b"], ["x"])}


def test_jsonl_without_any_key(write):
    path = write("r.jsonl", "{}\n{}\n")
    message = (
        "PATH has no column with a usual name for the text. Its columns: none. "
        "Name one with --text-column."
    )
    with refused(message, path):
        load_reviews(path)


def test_repeated_column(write):
    path = write("r.csv", "text,label,text\na,b,c\n")
    with refused("PATH has more than one column 'text'.", path):
        load_reviews(path)


# ----------------------------------------------------------------------- files that cannot be used


def test_missing_file(tmp_path):
    path = tmp_path / "r.csv"
    message = "There is no file or folder PATH. Expected `sample`, `imdb`, or a path."
    with refused(message, path):
        load_reviews(path)
    with refused("There is no file PATH.", path):
        Table(path)
    with refused("There is no file PATH.", tmp_path / "r.tar.gz"):
        load_reviews(tmp_path / "r.tar.gz")
    (tmp_path / "folder.csv").mkdir()
    with refused("Expected a file. Received the folder PATH.", tmp_path / "folder.csv"):
        Table(tmp_path / "folder.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b" \n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_empty_file(write, suffix, content):
    if suffix == ".parquet":
        content = b""
    path = write(f"r{suffix}", content)
    with refused("PATH is empty.", path):
        load_reviews(path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz"])
def test_header_only(write, suffix):
    path = write(f"r{suffix}", "text,label\n\n")
    with refused("PATH has no rows under its header.", path):
        load_reviews(path)


def test_parquet_without_rows(tmp_path):
    path = tmp_path / "r.parquet"
    pq.write_table(pa.table({"text": pa.array([], "string")}), path)
    with refused("PATH has no rows under its header.", path):
        load_reviews(path)


@pytest.mark.parametrize(
    "content",
    [MAGIC_PNG, b"PK\x03\x04" + b"x" * 99, b"\x7fELF" + bytes(99), bytes(range(256)) * 9,
     gzip.compress(b"text,label\n"), "text,label\na,b\n".encode("utf-16-le")],
    ids=["png", "zip", "elf", "bytes", "gzip", "utf-16"],  # gzip's bytes tell the time
)  # fmt: skip
@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.tsv.gz"])
def test_binary_file(write, content, name):
    path = write(name, content)
    with refused("PATH is a binary file. Expected text in UTF-8.", path):
        load_reviews(path)


def test_utf_16(write):
    path = write("r.csv", "text,label\na,b\n".encode("utf-16"))
    with refused("PATH is not UTF-8: byte 0 starts a UTF-16 file. Save it as UTF-8.", path):
        load_reviews(path)


def test_what_is_no_parquet(write):
    path = write("r.parquet", b"text,label\na,b\n")
    with pytest.raises(
        DataError, match=f"^{re.escape(str(path))} is not a readable Parquet file: .*magic bytes"
    ):
        load_reviews(path)


def test_broken_gzip(tmp_path):
    path = tmp_path / "r.csv.gz"
    path.write_bytes(b"text,label\na,b\n")
    with pytest.raises(DataError, match=r"r\.csv\.gz cannot be read: Not a gzipped file"):
        load_reviews(path)
    lines = "".join(f"{hashlib.md5(str(i).encode()).hexdigest()},x\n" for i in range(20_000))
    whole = gzip.compress(b"text,label\n" + lines.encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"r\.csv\.gz cannot be read: Compressed file ended before"):
        load_reviews(path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + b"\xff" * 500 + whole[middle + 500 :])
    with pytest.raises(DataError, match=r"r\.csv\.gz cannot be read: "):
        load_reviews(path)
    path.write_bytes(whole[:10] + b"\xff" * 500 + whole[510:])
    with pytest.raises(DataError, match=r"r\.csv\.gz cannot be read: Error -3"):
        load_reviews(path)


MEGABYTE = 1 << 20


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize(
    "before",
    [0, 9000, MEGABYTE - 1, MEGABYTE, 2 * MEGABYTE + 12345],
    ids=lambda size: f"after {size}",
)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_wrong_encoding(write, suffix, before, bom):
    """The byte is named wherever it stands: `é` in Latin-1 among `é` in UTF-8."""
    if suffix.startswith(".csv"):
        head, row, end = b"text,label\n", "schön é,x\n".encode(), b"caf\xe9 is bad,x\n"
    else:
        head, end = b"", b'{"text": "caf\xe9 is bad", "label": "x"}\n'
        row = '{"text": "schön é", "label": "x"}\n'.encode()
    good = bom + head + row * -(-before // len(row))
    good += b"\n" * (before > 0)
    path = write(f"r{suffix}", good + end + row)
    at = len(good) + end.index(b"\xe9")
    message = (
        f"PATH is not UTF-8: byte {at} cannot be decoded (invalid continuation byte). "
        "Save it as UTF-8."
    )
    with refused(message, path):
        load_reviews(path)


def test_file_that_ends_within_a_character(write):
    content = b"text,label\nb,y\na,caf\xc3"
    path = write("r.csv", content)
    message = (
        "PATH is not UTF-8: byte 20 cannot be decoded (unexpected end of data). Save it as UTF-8."
    )
    with refused(message, path):
        load_reviews(path)
    assert content[20] == 0xC3


@pytest.mark.parametrize("cut", range(1, 4))
def test_characters_across_the_chunks_of_the_search(write, cut):
    """Four-byte characters, none of which starts where a megabyte does."""
    good = b"text,label\n" + b"x" * (MEGABYTE - 11 - cut) + "😍".encode() * 5
    path = write("r.csv", good + b"\xff,x\n")
    with pytest.raises(DataError, match=rf" byte {len(good)} cannot be decoded"):
        load_reviews(path)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('text,label\na,b\n"c"d,e\n', 3, "',' expected after '\"'"),
        ('text,label\n"a\nb",x\n\n"c"d,e\nf,g\n', 5, "',' expected after '\"'"),
        ('text,label\na,b\n"never closed,c\nd,e\n', 3, "unexpected end of data"),
        ('"te"xt,label\na,b\n', 1, "',' expected after '\"'"),
    ],
)
def test_malformed_csv(write, text, line, reason):
    for name in ("r.csv", "r.csv.gz"):
        path = write(name, text)
        with refused(f"PATH, near line {line}: malformed CSV: {reason}", path):
            load_reviews(path, skip_bad_rows=True)
    path = write("r.tsv", text.replace(",", "\t"))
    message = f"PATH, near line {line}: malformed TSV: {reason}".replace("','", "'\t'")
    with refused(message, path):
        load_reviews(path)


# -------------------------------------------------------------------------------------- bad rows


MEND = " Mend them, or leave them out with --skip-bad-rows."


def check_bad_rows(path, bad, good):
    """Refused with the list of bad rows; left out, and said, with `skip_bad_rows`."""
    with refused(f"PATH: {bad}.{MEND}", path):
        load_reviews(path)
    parts, notes = load_reviews(path, skip_bad_rows=True)
    assert parts == {"all": good}
    assert notes[2:] == (f"left out: {path}: {bad}",)


def test_bad_rows_of_csv(write):
    path = write("r.csv", "text,label\na,x\n,x\n  \t,y\nb\nb,\nb,c,d\n\n  good  , y \n")
    bad = (
        "5 bad rows: row 3 (blank text), row 4 (blank text), row 5 (1 fields instead of 2), "
        "row 6 (missing label), row 7 (3 fields instead of 2)"
    )
    check_bad_rows(path, bad, Reviews(["a", "  good  "], ["x", "y"]))


def test_bad_rows_of_jsonl(write):
    long = "9" * 5000
    lines = ['{"text": "a", "label": 4.0}', "{no", '["text"]', "", '{"label": "x"}', '{"text": 5}',
             '{"text": "b", "label": NaN}', '{"text": null, "label": 1}',
             f'{{"text": "c", "label": {long}}}', '{"text": "d", "label": true}']  # fmt: skip
    path = write("r.jsonl", "\n".join(lines))
    with pytest.raises(DataError) as error:
        load_reviews(path)
    start = f"{path}: 7 bad rows: row 2 (not JSON: Expecting property name enclosed in"
    assert str(error.value).startswith(start)
    for reason in (
        " at column 2), row 3 (not a JSON object but list), row 5 (missing text), ",
        "row 5 (missing text), row 6 (text is int), "
        "row 7 (missing label), row 8 (missing text), row 9 (not JSON: Exceeds the limit",
        MEND,
    ):
        assert reason in str(error.value)
    parts, notes = load_reviews(path, skip_bad_rows=True)
    assert parts == {"all": Reviews(["a", "d"], ["4", "True"])}
    assert notes[2].startswith(f"left out: {start}")


def test_bad_rows_of_parquet(tmp_path):
    path = tmp_path / "r.parquet"
    rows = [("a", 1.0), (None, 2.0), ("b", None), ("", 3.5), ("c", 3.5)]
    pq.write_table(pa.Table.from_pylist([{"text": t, "label": n} for t, n in rows]), path)
    bad = "3 bad rows: row 2 (missing text), row 3 (missing label), row 4 (blank text)"
    check_bad_rows(path, bad, Reviews(["a", "c"], ["1", "3.5"]))


def test_ten_bad_rows_are_listed(write):
    path = write("r.csv", "text,label\n" + ",x\n" * 12 + "a,x\n")
    listed = ", ".join(f"row {number} (blank text)" for number in range(2, 12))
    check_bad_rows(path, f"12 bad rows: {listed} and 2 more", Reviews(["a"], ["x"]))


def test_one_bad_row(tmp_path):
    bad = BadRows(tmp_path)
    bad.refuse()
    assert len(bad) == 0
    bad.add(3, "blank text")
    assert str(bad) == f"{tmp_path}: 1 bad row: row 3 (blank text)"
    with refused(f"PATH: 1 bad row: row 3 (blank text).{MEND}", tmp_path):
        bad.refuse()


def test_what_is_wrong_with_json(write):
    path = write("r.jsonl", '{"text": "a", "label": 1}\n{"text": "b" "label": 2}\n')
    check_bad_rows(
        path,
        "1 bad row: row 2 (not JSON: Expecting ',' delimiter at column 14)",
        Reviews(["a"], ["1"]),
    )


def test_nothing_but_bad_rows(write):
    path = write("r.csv", "text,label\n,x\n")
    with refused("PATH has no usable rows.", path):
        load_reviews(path, skip_bad_rows=True)
    path = write("r.jsonl", "\n\n{no\n[]\n")
    message = rf"^{re.escape(str(path))} has no line that can be read; line 3: not JSON: Expecting"
    with pytest.raises(DataError, match=message):
        load_reviews(path, skip_bad_rows=True)


@pytest.mark.parametrize(
    ("value", "problem"),
    [("a", ""), ("\x00", ""), ("", "blank text"), (" \n", "blank text"), (None, "missing text"),
     (5, "text is int"), (float("nan"), "text is float"), (b"a", "text is bytes")],
)  # fmt: skip
def test_text_problem(value, problem):
    assert text_problem(value) == problem


# ---------------------------------------------------------------------------- folders and archives


TREE = {"good/1.txt": "fine", "good/2.txt": "\ufeffgreat\n", "bad/1.txt": "awful"}
BY_LABEL = {"all": Reviews(["awful", "fine", "great\n"], ["bad", "good", "good"])}
IMDB = {
    "train/pos/0_9.txt": "train good", "train/neg/0_1.txt": "train bad", 
    "test/neg/0_2.txt": "t bad",
    "test/pos/0_8.txt": "t good", "train/unsup/0_0.txt": "nobody knows",
    "train/urls_pos.txt": "http",
    "imdbEr.txt": "5.0", "README": "about", "imdb.vocab": "the",
}  # fmt: skip
IMDB_READ = {
    "test": Reviews(["t bad", "t good"], ["negative", "positive"]),
    "train": Reviews(["train bad", "train good"], ["negative", "positive"]),
}


def make_folder(folder, tree):
    for name, text in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def make_archive(path, tree, prefix=""):
    mode = "w" if path.suffix == ".tar" else "w:gz"
    with tarfile.open(path, mode) as archive:
        for name, text in reversed(tree.items()):
            content = text if isinstance(text, bytes) else text.encode()
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (TREE, BY_LABEL),
        (IMDB, IMDB_READ),
        ({f"train/{k}": v for k, v in TREE.items()}, {"train": BY_LABEL["all"]}),
        ({f"Dev/{k}": v for k, v in TREE.items()}, {"validation": BY_LABEL["all"]}),
        ({**TREE, "bad/.2.txt": "hidden", "bad/notes.md": "no"}, BY_LABEL),
    ],
    ids=["labels", "imdb", "train only", "dev", "other files"],
)
def test_folders_and_archives(tmp_path, tree, expected):
    folder = make_folder(tmp_path / "corpus", tree)
    assert load_reviews(folder) == (expected, ())
    for name, prefix in [("a.tar.gz", "corpus/"), ("b.tgz", ""), ("c.TAR.GZ", "./"), ("d.tar", "")]:
        archive = make_archive(tmp_path / name, tree, prefix)
        assert load_reviews(archive) == (expected, ()), (name, prefix)


def test_folder_that_the_archive_was_extracted_in(tmp_path):
    make_folder(tmp_path / "aclImdb", IMDB)
    assert load_reviews(tmp_path) == (IMDB_READ, ())


@pytest.mark.parametrize("kind", [make_folder, make_archive])
def test_wrong_folders(tmp_path, kind):
    def made(name, tree):
        return kind(tmp_path / (name + ".tar.gz" * (kind is make_archive)), tree)

    path = made("empty", {"README": "nothing", "a.txt": "b"})
    message = "PATH holds no text files. Expected one sub-folder per label."
    with refused(message, path):
        load_reviews(path)
    path = made("mixed", {**TREE, "train/good/3.txt": "x"})
    message = (
        "PATH: some labels lie under train/ or test/ and some do not. "
        "Expected either LABEL/… or train/LABEL/… and test/LABEL/…"
    )
    with refused(message, path):
        load_reviews(path)
    path = made("latin", {**TREE, "good/3.txt": b"caf\xe9"})
    with refused("PATH: good/3.txt is not UTF-8: byte 3 cannot be decoded.", path):
        load_reviews(path)
    path = made("blank", {**TREE, "good/1.txt": " ", "good/0.txt": ""})
    bad = "2 bad rows: row 2 (blank text in good/0.txt), row 3 (blank text in good/1.txt)"
    with refused(f"PATH: {bad}.{MEND}", path):
        load_reviews(path)
    expected = {"all": Reviews(["awful", "great\n"], ["bad", "good"])}
    assert load_reviews(path, skip_bad_rows=True) == (expected, (f"left out: {path}: {bad}",))


@pytest.mark.parametrize("option", ["text_column", "label_column"])
def test_columns_go_with_tables(tmp_path, write, monkeypatch, option):
    folder = make_folder(tmp_path / "corpus", TREE)
    like_lines = make_folder(tmp_path / "corpus.txt", TREE)
    for source in (folder, like_lines, make_archive(tmp_path / "a.tar.gz", TREE), "sample", "imdb"):
        message = f"--text-column and --label-column go with a file of rows. Received: {source}"
        with refused(message):
            load_reviews(source, **{option: "text"})
    write("sample", "a file of that name")  # which is not meant
    monkeypatch.chdir(tmp_path)
    with refused("--text-column and --label-column go with a file of rows. Received: sample"):
        load_reviews("sample", **{option: "text"})


def test_empty_name(tmp_path, monkeypatch):
    """`--data "$UNSET"`: the current folder is not meant."""
    make_folder(tmp_path, TREE)
    monkeypatch.chdir(tmp_path)
    message = "Expected a source: `sample`, `imdb`, or a path. Received an empty name."
    for options in ({"source": ""}, {"train": ""}, {"train": tmp_path, "test": ""}):
        with refused(message):
            load_splits(**options)


def test_broken_archive(write, tmp_path):
    path = write("r.tar", b"no archive" * 100)
    with pytest.raises(DataError, match=r"r\.tar is not a readable archive: "):
        load_reviews(path)
    whole = make_archive(tmp_path / "w.tar.gz", {f"a/{i}.txt": f"{i}" * 999 for i in range(99)})
    content = whole.read_bytes()
    for broken in (content[: len(content) // 2], content[:200] + b"\xff" * 50 + content[250:]):
        whole.write_bytes(broken)
        with pytest.raises(DataError, match=r"w\.tar\.gz is not a readable archive: "):
            load_reviews(whole)


# ------------------------------------------------------------------------------ texts alone


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_texts_of_every_format(tmp_path, suffix):
    path = tmp_path / f"r{suffix}"
    path.write_bytes(content_of(suffix, [{"body": row["text"], "other": "x"} for row in ROWS]))
    guessed = f"text column of {path.name}: 'body' (guessed by its name)"
    assert load_unlabelled(path) == (READ.texts, [guessed])
    assert load_unlabelled(str(path), text_column="body") == (READ.texts, [])
    assert load_unlabelled(path, text_column="other") == (["x"], ["removed 3 repeated texts"])


def test_texts_of_rows_without_a_label(write):
    path = write("r.csv", "text,label\na,\nb,good\n")
    assert load_unlabelled(path)[0] == ["a", "b"]


def test_texts_are_not_those_of_held_out_rows(write):
    splits = ["train", "", "test", " Training ", "dev", "nan", "somewhere", "VALIDATION"]
    rows = "".join(f"t{i},{name}\n" for i, name in enumerate(splits))
    path = write("r.csv", "text,split\n" + rows)
    assert load_unlabelled(path, text_column="text") == (["t0", "t1", "t3", "t5"], [])
    rows = [{"text": f"t{i}", "split": name} for i, name in enumerate(["train", None, "test"])]
    path = write("r.jsonl", "".join(json.dumps(row) + "\n" for row in [*rows, {"text": "t3"}]))
    assert load_unlabelled(path, text_column="text") == (["t0", "t1", "t3"], [])


def test_sample_texts_are_those_of_its_training_split():
    assert load_unlabelled("sample") == (load_reviews("sample")[0]["train"].texts, [])


LINES = "one\n\n  two, \u2028 three \r\n\tONE\nfour\nTwo,  three\n"


@pytest.mark.parametrize("name", ["r.txt", "R.TXT", "r.txt.gz"])
def test_texts_of_lines(write, name):
    path = write(name, "\ufeff" + LINES)
    texts = ["one", "  two, \u2028 three ", "four"]
    assert load_unlabelled(path) == (texts, ["removed 2 repeated texts"])
    with refused("--text-column goes with a file of rows. Received: PATH", path):
        load_unlabelled(path, text_column="text")


def test_lines_that_cannot_be_read(write):
    path = write("r.txt", b"one\ncaf\xe9\n")
    message = (
        "PATH is not UTF-8: byte 7 cannot be decoded (invalid continuation byte). Save it as UTF-8."
    )
    with refused(message, path):
        load_unlabelled(path)
    path = write("e.txt", " \n")
    with refused("PATH is empty.", path):
        load_unlabelled(path)
    path = write("b.txt", MAGIC_PNG)
    with refused("PATH is a binary file. Expected text in UTF-8.", path):
        load_unlabelled(path)


@pytest.mark.parametrize(
    ("tree", "texts"),
    [
        (IMDB, ["nobody knows"]),
        ({**IMDB, "test/unsup/0_0.txt": "held out"}, ["nobody knows"]),
        ({k: v for k, v in IMDB.items() if "unsup" not in k}, ["train bad", "train good"]),
        (TREE, ["awful", "fine", "great\n"]),
        ({**TREE, "notes.txt": "about", "good/.3.txt": "hidden"}, ["awful", "fine", "great\n"]),
        ({"a/unsup/1.txt": "x", "b/unsup/1.txt": "y", "b/good/1.txt": "z"}, ["x", "y"]),
        ({"Dev/a/1.txt": "x", "TEST/a/b/1.txt": "y", "train/a/1.txt": "z"}, ["z"]),
        ({"1.txt": "x", "2.txt": "y", "test/1.txt": "z"}, ["x", "y"]),
    ],
    ids=["imdb", "held out", "no unsup", "labels", "others", "two", "splits", "no folders"],
)
def test_texts_of_folders_and_archives(tmp_path, tree, texts):
    folder = make_folder(tmp_path / "corpus", tree)
    assert load_unlabelled(folder) == (texts, [])
    for name, prefix in [("a.tar.gz", "corpus/"), ("b.tar", "")]:
        archive = make_archive(tmp_path / name, tree, prefix)
        assert load_unlabelled(archive) == (texts, []), (name, prefix)


def test_held_out_texts_are_not_even_looked_at(tmp_path):
    tree = {**TREE, "test/good/1.txt": b"caf\xe9", "test/bad/1.txt": ""}
    expected = (["awful", "fine", "great\n"], [])
    assert load_unlabelled(make_folder(tmp_path / "corpus", tree)) == expected
    assert load_unlabelled(make_archive(tmp_path / "a.tar", tree)) == expected


def test_bad_rows_of_texts(write, tmp_path):
    path = write("r.csv", 'text,split\na,train\n" ",\n ,test\nb\n')
    bad = "2 bad rows: row 3 (blank text), row 5 (1 fields instead of 2)"
    with refused(f"PATH: {bad}.{MEND}", path):
        load_unlabelled(path)
    texts, notes = load_unlabelled(path, skip_bad_rows=True)
    assert (texts, notes[1:]) == (["a"], [f"left out: {path}: {bad}"])
    folder = make_folder(tmp_path / "corpus", {**TREE, "good/3.txt": "\n"})
    with refused(f"PATH: 1 bad row: row 4 (blank text in good/3.txt).{MEND}", folder):
        load_unlabelled(folder)


def test_no_text_to_learn_from(write, tmp_path):
    held_out = "text,split\na,test\nb,other\n"
    folder = make_folder(tmp_path / "corpus", {"test/good/1.txt": "a", "train/README": "b"})
    for path in (write("r.csv", held_out), folder, make_archive(tmp_path / "a.tar", {"b": "c"})):
        message = (
            "PATH holds no text to learn from. Expected texts of its train split, or texts "
            "without a split."
        )
        with refused(message, path):
            load_unlabelled(path)


def test_texts_of_wrong_sources(tmp_path, write):
    message = "There is no file or folder PATH. Expected `sample`, `imdb`, or a path."
    for name in ("none.txt", "none.csv"):
        with refused(message, tmp_path / name):
            load_unlabelled(tmp_path / name)
    with refused("There is no file PATH.", tmp_path / "none.tar.gz"):
        load_unlabelled(tmp_path / "none.tar.gz")
    with refused("Expected a source: `sample`, `imdb`, or a path. Received an empty name."):
        load_unlabelled("")
    with refused("--text-column and --label-column go with a file of rows. Received: sample"):
        load_unlabelled("sample", text_column="text")
    path = write("r.csv", "words\nx\n")
    message = (
        "PATH has no column with a usual name for the text. Its columns: 'words'. "
        "Name one with --text-column."
    )
    with refused(message, path):
        load_unlabelled(path)


def test_repeated_texts_are_given_once(write):
    rows = ["Good  film", "bad", "good film", "a", "GOOD FILM", "a"]
    path = write("r.jsonl", "".join(json.dumps({"text": row}) + "\n" for row in rows))
    texts, notes = load_unlabelled(path)
    assert (texts, notes[1:]) == (["Good  film", "bad", "a"], ["removed 3 repeated texts"])


# ----------------------------------------------------------------------------------------- splits


def rows_of(counts, start=0):
    """CSV rows with texts of their own; `counts` has the number of each label."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    return "".join(f"text {start + i},{label}\n" for i, label in enumerate(labels))


def test_split_column(write):
    names = ["train", "Training", " val ", "dev", "validation", "valid", "TEST"]
    rows = "".join(f"t{i},x,{name}\n" for i, name in enumerate(names))
    parts, _ = load_reviews(write("r.csv", "text,label,split\n" + rows))
    assert {name: part.texts for name, part in parts.items()} == {
        "train": ["t0", "t1"],
        "validation": ["t2", "t3", "t4", "t5"],
        "test": ["t6"],
    }


def test_split_column_in_some_rows_only(write):
    path = write("r.csv", "text,label,split\na,x,train\nb,y,\nc,y,holdout\n")
    message = (
        "PATH: the column 'split' must hold train, validation or test in every row, or in none. "
        "Received 2 rows with something else."
    )
    with refused(message, path):
        load_reviews(path)


def test_splits_of_the_source_are_kept(write):
    rows = [("a", "x", "train"), ("b", "y", "train"), ("c", "x", "dev"), ("d", "y", "test")]
    path = write("r.csv", "text,label,split\n" + "".join(f"{','.join(row)}\n" for row in rows))
    splits = load_splits(path, seed=5)
    assert splits == Splits(
        "r.csv",
        Reviews(["a", "b"], ["x", "y"]),
        Reviews(["c"], ["x"]),
        Reviews(["d"], ["y"]),
        own_test_split=True,
        notes=(
            "text column of r.csv: 'text' (guessed by its name)",
            "label column of r.csv: 'label' (guessed by its name)",
        ),
    )


@pytest.mark.parametrize(
    ("names", "own"),
    [(("train", "dev", "test"), True), (("train", "test"), True), (("train", "dev"), False)],
)
def test_own_test_split(write, names, own):
    """The texts that were measured on are found again only if the source says which they are."""
    rows = [f"{row},{name}" for i, name in enumerate(names)
            for row in rows_of({"x": 9, "y": 9}, 100 * i).splitlines()]  # fmt: skip
    path = write("r.csv", "\n".join(["text,label,split", *rows]))
    assert load_splits(path).own_test_split is own


def test_own_test_split_is_that_of_one_source(write):
    path = write("r.csv", "text,label\n" + rows_of({"a": 20, "b": 20}))
    splits = load_splits(path)
    assert len(splits.test) == 4
    assert not splits.own_test_split
    test = write("test.csv", "text,label\nnew,a\n")
    assert not load_splits(train=path, test=test).own_test_split


def test_files_with_splits_of_their_own(write):
    """Of a source for training, the test texts are not learned; and so on."""
    names = ("train", "dev", "test")
    whole, other = (
        write(f"{i}.csv", "text,label,split\n" + "".join(
            f"{i} {name} {label},{label},{name}\n" for name in names for label in "ab"))
        for i in range(2)
    )  # fmt: skip
    splits = load_splits(train=whole, validation=other, test=other)
    assert splits.train == Reviews(["0 train a", "0 train b"], ["a", "b"])
    assert splits.validation == Reviews(["1 dev a", "1 dev b"], ["a", "b"])
    assert splits.test == Reviews(["1 test a", "1 test b"], ["a", "b"])
    alone = write("alone.csv", "text,label,split\na,a,dev\nb,b,test\n")
    learned = write("learned.csv", "text,label,split\na,a,train\nb,b,train\n")
    for split, path, held in [
        ("train", alone, "validation, test"),
        ("validation", learned, "train"),
        ("test", learned, "train"),
    ]:
        message = (
            f"PATH has no {split} split, only: {held}. Expected a source with one, or without "
            f"splits, for --{split}."
        )
        with refused(message, path):
            load_splits(**{"train": whole, split: path})


COUNTS = {"a": 120, "b": 60, "c": 20}


def test_random_split(write):
    path = write("r.csv", "text,label\n" + rows_of(COUNTS))
    splits = load_splits(path, seed=1)
    parts = {name: getattr(splits, name) for name in ("train", "validation", "test")}
    assert {name: Counter(part.labels) for name, part in parts.items()} == {
        "train": {"a": 96, "b": 48, "c": 16},
        "validation": {"a": 12, "b": 6, "c": 2},
        "test": {"a": 12, "b": 6, "c": 2},
    }
    pairs = [pair for p in parts.values() for pair in zip(p.texts, p.labels, strict=True)]
    everything = load_reviews(path)[0]["all"]
    assert sorted(pairs) == sorted(zip(everything.texts, everything.labels, strict=True))
    assert load_splits(path, seed=1) == splits
    other = load_splits(path, seed=2)
    assert set(other.test.texts) != set(splits.test.texts)
    assert set(other.validation.texts) != set(splits.validation.texts)


def test_validation_comes_out_of_train(write):
    train = "".join(f"{row},train\n" for row in rows_of({"a": 60, "b": 40}).splitlines())
    path = write("r.csv", f"text,label,split\n{train}x,a,test\ny,b,test\n")
    splits = load_splits(path, seed=3)
    assert splits.test == Reviews(["x", "y"], ["a", "b"])
    assert Counter(splits.validation.labels) == {"a": 6, "b": 4}
    assert Counter(splits.train.labels) == {"a": 54, "b": 36}
    assert not {*splits.train.texts} & {*splits.validation.texts}


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.integers(3, 40), min_size=2), st.integers(0, 9)
)
@settings(max_examples=60, deadline=None)
def test_any_labels_can_be_split(counts, seed):
    labels = [label for label, count in counts.items() for _ in range(count)]
    everything = Reviews([f"text {i}" for i in range(len(labels))], labels)
    parts = data._split({"all": everything}, seed, "r.csv")
    texts = [text for part in parts.values() for text in part.texts]
    assert sorted(texts) == sorted(everything.texts)
    size = max(len(counts), round(len(labels) / 10))
    assert len(parts["test"]) == len(parts["validation"]) == size
    for part in parts.values():
        assert part.labels == [labels[int(text.split()[1])] for text in part.texts]
    for name in ("test", "validation"):
        for label, count in counts.items():
            assert abs(parts[name].labels.count(label) - size * count / len(labels)) <= 1.5
    assert set(parts["train"].labels) == set(counts)


def test_separate_files(write):
    train = write("train.csv", "text,label\n" + rows_of({"a": 20, "b": 20}))
    validation = write("dev.jsonl", '{"review": "v", "stars": "a"}')
    test = write("test.tsv", "body\tclass\ttext\nno\tb\tyes\n")
    splits = load_splits(train=train, validation=validation, test=test)
    assert splits.source == "train.csv"
    assert len(splits.train) == 40
    assert splits.validation == Reviews(["v"], ["a"])
    assert splits.test == Reviews(["yes"], ["b"])
    assert splits.notes == tuple(
        f"{kind} column of {name}: '{column}' (guessed by its name)"
        for name, text, label in [
            ("train.csv", "text", "label"),
            ("dev.jsonl", "review", "stars"),
            ("test.tsv", "text", "class"),
        ]
        for kind, column in [("text", text), ("label", label)]
    )
    without = load_splits(train=train, test=test)
    assert (len(without.train), len(without.validation), len(without.test)) == (36, 4, 1)
    assert len(load_splits(train=train, validation=validation).test) == 0
    with refused("--validation and --test go with --train. Received no --train."):
        load_splits(test=test)


def test_labels_that_cannot_be_learned(write):
    path = write("r.csv", "text,label\n" + rows_of({"a": 9}))
    message = "r.csv: expected at least two labels in training. Received only 'a'."
    with refused(message, path):
        load_splits(path)
    path = write("r.csv", "text,label\n" + rows_of({"a": 9, "b": 1, "c": 2}))
    least = "Expected at least 3, one for each split, and many more to learn from."
    with refused(f"r.csv: the label 'b' has 1 row. {least}", path):
        load_splits(path)
    path = write("r.csv", "text,label\n" + rows_of({"a": 9, "c": 2}))
    with refused(f"r.csv: the label 'c' has 2 rows. {least}", path):
        load_splits(path)
    train = write("train.csv", "text,label\n" + rows_of({"positive": 9, "negative": 9}))
    test = write("test.csv", "text,label\nnew,neutral\n")
    for name in ("validation", "test"):
        message = (
            f"train.csv: the label 'neutral' occurs in {name} but never in training "
            "(negative, positive)."
        )
        with refused(message, train):
            load_splits(train=train, **{name: test})
    path = write("r.csv", "text,label,split\na,x,test\nb,y,validation\n")
    with refused("r.csv has no training reviews, only: test, validation.", path):
        load_splits(path)


def test_labels_that_separation_takes_away(write):
    same = "text,label,split\na,x,train\nb,y,train\nB,y,test\nc,x,dev\n"
    path = write("r.csv", same)
    with refused("r.csv: expected at least two labels in training. Received only 'x'.", path):
        load_splits(path)
    path = write("r.csv", same.replace("B,y", "q,y").replace("c,x", "Q,x"))
    with refused("r.csv: the validation split is empty.", path):
        load_splits(path)


def test_separate():
    splits = Splits(
        "r.csv",
        train=Reviews(
            ["one", "Two ", "three", "THREE", "four", "four", "five", "six\n x", "one", "two"],
            ["a", "a", "a", "a", "a", "b", "b", "a", "a", "b"],
        ),
        validation=Reviews(["FIVE", "six x", "seven", "seven"], ["a", "b", "a", "b"]),
        test=Reviews(["two", "Six  X", "eight", "eight"], ["a", "b", "b", "b"]),
        notes=("said before",),
    )
    found = separate(splits)
    assert found.train == Reviews(["one", "three"], ["a", "a"])
    assert found.validation == Reviews(["FIVE", "seven", "seven"], ["a", "a", "b"])
    assert found.test == splits.test
    assert found.notes == (
        "said before",
        "removed 3 training texts that are also in test",
        "removed 2 repeated training texts",
        "removed 2 training texts that come with different labels",
        "removed 1 training texts that are also in validation",
        "removed 1 validation texts that are also in test",
    )
    again = separate(found)
    assert again == found


texts = st.lists(st.sampled_from(["a", "A", "b ", "b", "c  d", "C d", "e"]), max_size=12)


@given(texts, texts, texts)
def test_separated_splits_are_disjoint(train, validation, test):
    def labelled(names):
        return Reviews(names, [str(i % 2) for i in range(len(names))])

    def keys(reviews):
        return [" ".join(text.lower().split()) for text in reviews.texts]

    splits = Splits("x", labelled(train), labelled(validation), labelled(test))
    found = separate(splits)
    assert found.test == splits.test
    assert not set(keys(found.train)) & {*keys(found.validation), *keys(found.test)}
    assert not set(keys(found.validation)) & set(keys(found.test))
    assert len(set(keys(found.train))) == len(found.train)
    before = len(train) + len(validation) + len(test)
    after = len(found.train) + len(found.validation) + len(found.test)
    assert before - after == sum(int(note.split()[1]) for note in found.notes)


def test_hash_of_reviews():
    reviews = Reviews(["a", "b"], ["x", "y"])
    assert reviews.sha256() == Reviews(["a", "b"], ["x", "y"]).sha256()
    others = [Reviews(["b", "a"], ["x", "y"]), Reviews(["a", "b"], ["y", "x"]),
              Reviews(["a", "b\ud800"], ["x", "y"]), Reviews(["ax", "b"], ["", "y"])]  # fmt: skip
    assert len({reviews.sha256(), *(other.sha256() for other in others)}) == 5


# ----------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("written", "label"),
    [("4", "4"), ("4.0", "4"), ('"4.0"', "4"), ('" 4.00 "', "4"), ("-1.0", "-1"), ("10.0", "10"),
     ("4.5", "4.5"), ("100", "100"), ('"1.0.0"', "1.0.0"), ('"x.0"', "x.0"), ("true", "True")],
)  # fmt: skip
def test_numbers_as_labels(write, written, label):
    """4, 4.0 and "4.0" are one label: pandas writes whole numbers as floats if one is missing."""
    path = write("r.jsonl", f'{{"text": "a", "label": {written}}}\n')
    assert load_reviews(path)[0] == {"all": Reviews(["a"], [label])}


@pytest.mark.parametrize("label", ["nan", "NaN", " NAN ", ""])
def test_missing_labels(write, label):
    path = write("r.csv", f"text,label\na,x\nb,{label}\n")
    check_bad_rows(path, "1 bad row: row 3 (missing label)", Reviews(["a"], ["x"]))


@pytest.mark.parametrize(
    ("labels", "order", "values"),
    [
        (["positive", "negative"], ["negative", "positive"], (-1, 1)),
        (["pos", "neu", "neg"], ["neg", "neu", "pos"], (-1, 0, 1)),
        (["Positive", "NEUTRAL", "Negative"], ["Negative", "NEUTRAL", "Positive"], (-1, 0, 1)),
        (["5", "10", "1"], ["1", "5", "10"], (-1, -1 / 9, 1)),
        (["4 stars", "1 Star", "5stars"], ["1 Star", "4 stars", "5stars"], (-1, 0.5, 1)),
        (["1.5", "-1", "+1"], ["-1", "+1", "1.5"], (-1, 0.6, 1)),
        (["0", "1"], ["0", "1"], (-1, 1)),
        (["b", "a", "C"], ["C", "a", "b"], None),
        (["1", "1.0"], ["1", "1.0"], None),
        (["1", "two", "10"], ["1", "10", "two"], None),
        (["positive", "neutral"], ["neutral", "positive"], None),
        (["positive", "negative", "mixed"], ["mixed", "negative", "positive"], None),
        (["pos", "positive", "neg"], ["neg", "pos", "positive"], None),
        (["3"], ["3"], None),
        ([], [], None),
    ],
)
def test_order_and_values_of_labels(labels, order, values):
    assert order_labels(labels * 2) == tuple(order)
    assert order_labels(reversed(labels)) == tuple(order)
    assert label_values(order) == (None if values is None else pytest.approx(values, abs=1e-15))
    if values:
        assert label_values(order[::-1]) == pytest.approx(values[::-1], abs=1e-15)


# ---------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_can_be_read(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    with TableWriter(path, ("text", "label")) as writer:
        writer.write(ROWS[:1])
        writer.write([])
        writer.write(ROWS[1:])
        assert not path.exists()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    table = Table(path)
    assert table.columns == ("text", "label")
    assert [row.values for chunk in table.chunks(9) for row in chunk] == ROWS


@given(st.lists(st.fixed_dictionaries({"a": st.text(), "b": st.text()}), min_size=1, max_size=5))
@settings(deadline=None)
def test_any_text_can_be_written(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("any")
    for suffix in (".csv", ".tsv", ".jsonl"):
        with TableWriter(folder / f"x{suffix}", ("a", "b")) as writer:
            writer.write(rows)
        padding = [{"a": "x" * 999, "b": "y" * 999}]  # so that no file is taken for a binary one
        with TableWriter(folder / f"y{suffix}", ("a", "b")) as writer:
            writer.write(padding + rows)
        found = [row.values for chunk in Table(folder / f"y{suffix}").chunks(99) for row in chunk]
        assert found == padding + rows


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exception_leaves_nothing(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    path.write_text("older")

    def fail():
        with TableWriter(path, ("text", "label")) as writer:
            writer.write(ROWS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "older"


def test_disk_that_is_full_at_the_end_leaves_nothing(tmp_path):
    path = tmp_path / "out.csv"

    def fail():
        with TableWriter(path, ("text",)) as writer:
            file = writer._file
            writer._file = FullDisk(file)

    class FullDisk:
        def __init__(self, file):
            self.file = file

        def close(self):
            self.file.close()
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_hidden_name_beside_the_file(tmp_path):
    assert partial_path(tmp_path / "out.csv") == tmp_path / ".out.csv.part"


def test_text_of_the_files(tmp_path):
    rows = [{"a": "x,y", "b": None, "c": [1, "é"], "d": 1.5}, {"a": 'q"', "c": {"k": "ü"}, "e": 9}]
    for suffix, expected in {
        ".csv": 'a,b,c,d\n"x,y",,"[1, ""é""]",1.5\n"q""",,"{""k"": ""ü""}",\n',
        ".tsv": 'a\tb\tc\td\nx,y\t\t"[1, ""é""]"\t1.5\n"q"""\t\t"{""k"": ""ü""}"\t\n',
        ".jsonl": '{"a": "x,y", "b": null, "c": [1, "é"], "d": 1.5}\n'
        '{"a": "q\\"", "c": {"k": "ü"}, "e": 9}\n',
    }.items():
        path = tmp_path / f"out{suffix}"
        with TableWriter(path, ("a", "b", "c", "d")) as writer:
            writer.write(rows)
        assert path.read_bytes().decode() == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lone_surrogates_become_question_marks(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    with TableWriter(path, ("text", "label")) as writer:
        writer.write([{"text": "a\ud800é", "label": "x"}])
    (row,) = next(Table(path).chunks(9))
    assert row.values == {"text": "a?é", "label": "x"}


def test_parquet_keeps_types(tmp_path):
    schema = pa.schema([("text", pa.large_string()), ("n", pa.int16()),
                        ("tags", pa.list_(pa.string())),
                        ("day", pa.date32()), ("p", pa.float32())])  # fmt: skip
    rows = [{"text": "a", "n": 5, "tags": ["x"], "day": None, "p": 0.5},
            {"text": "b", "n": None, "tags": [], "day": None, "p": 0.25}]  # fmt: skip
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), source)
    table = Table(source)
    with TableWriter(target, table.columns, table.schema) as writer:
        for chunk in table.chunks(1):
            writer.write([row.values for row in chunk])
    assert pq.read_table(target).equals(pq.read_table(source))
    assert pq.read_schema(target).equals(schema)


def test_parquet_without_a_row(tmp_path):
    schema = pa.schema([("text", pa.string()), ("p", pa.float64())])
    with TableWriter(tmp_path / "out.parquet", ("text", "p"), schema) as writer:
        writer.write([])
    assert pq.read_table(tmp_path / "out.parquet").equals(schema.empty_table())
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


@pytest.mark.parametrize(
    "batches",
    [[[{"a": 1}, {"a": "x"}]], [[{"a": "x"}, {"a": [1]}]], [[{"a": 1}], [{"a": "x"}]]],
)
def test_parquet_of_values_that_differ_in_type(tmp_path, batches):
    path = tmp_path / "out.parquet"

    def fail():
        with TableWriter(path, ("a",)) as writer:
            for batch in batches:
                writer.write(batch)

    message = "cannot be written: a column of a Parquet file holds values of one type"
    with pytest.raises(DataError, match=message):
        fail()
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------- download


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The official archive is a small one beside, the cache is empty."""
    archive = make_archive(tmp_path / "official.tar.gz", IMDB, "aclImdb/")
    monkeypatch.setattr(data, "IMDB_URL", archive.as_uri())
    digest = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(data, "IMDB_MD5", digest)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sentiment"


ADVICE = "Give the path of aclImdb_v1.tar.gz instead, if you have it: --data PATH"


@pytest.mark.parametrize("progress", [False, True])
def test_download(cache, tmp_path, capsys, progress):
    path = download_imdb(progress=progress)
    assert path == cache / "aclImdb_v1.tar.gz"
    assert path.read_bytes() == (tmp_path / "official.tar.gz").read_bytes()
    assert list(cache.iterdir()) == [path]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("downloading IMDB: 100%" in shown.err) == progress
    (tmp_path / "official.tar.gz").unlink()  # it is downloaded once
    assert download_imdb() == path
    assert load_reviews("imdb") == (IMDB_READ, ())
    assert load_unlabelled("imdb") == (["nobody knows"], [])


def test_download_of_something_else(cache, monkeypatch, tmp_path):
    official = tmp_path / "official.tar.gz"
    digest = hashlib.md5(official.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(data, "IMDB_MD5", "0" * 32)
    message = (
        f"The file at {official.as_uri()} is not the official archive (MD5 {digest}, "
        f"expected {'0' * 32}). {ADVICE}"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        download_imdb()
    assert list(cache.iterdir()) == []


def test_unreachable_download(cache, tmp_path):
    official = tmp_path / "official.tar.gz"
    official.unlink()
    with pytest.raises(DataError) as error:
        download_imdb()
    start = f"IMDB cannot be downloaded from {official.as_uri()}: "
    assert str(error.value).startswith(start)
    assert str(error.value).endswith(f". {ADVICE}")
    assert list(cache.iterdir()) == []


def test_facts_of_the_official_archive():
    assert data.IMDB_URL == "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
    assert data.IMDB_MD5 == "7c2ac02c03563afcf9b574c7e56c153a"


def test_sample():
    parts, notes = load_reviews("sample")
    assert set(parts) == {"train", "validation", "test"}
    assert {label for part in parts.values() for label in part.labels} == {
        "negative",
        "neutral",
        "positive",
    }
    assert notes == ()


def test_examples_of_the_documentation():
    result = doctest.testmod(data)
    assert result.attempted > 0
    assert result.failed == 0
