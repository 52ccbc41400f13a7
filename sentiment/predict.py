"""Label texts with a saved model: python -m sentiment.predict."""

import argparse
import codecs
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment import command_line
from sentiment.data import DataError

if TYPE_CHECKING:
    from sentiment.predictor import Prediction

EXAMPLES = """examples:
  python -m sentiment.predict "This film was okay" "What a waste of time"
  cat lines.txt | python -m sentiment.predict --json
  python -m sentiment.predict --input reviews.csv --text-column review --output scored.csv
"""
LINES = 4096  # lines from a pipe that are held at a time


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser("predict", "Label texts: negative, positive, …", EXAMPLES)
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts; without any, lines of standard input"
    )
    command_line.add_model_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object per text")
    parser.add_argument(
        "--neutral-band",
        type=_band,
        metavar="LOW,HIGH",
        help="of two labels, say neutral where the probability of the positive one lies between",
    )
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="score a .csv, .tsv, .jsonl or .parquet file"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write scored rows")
    parser.add_argument("--text-column", metavar="NAME", help="column of --input with the texts")
    command_line.add_skip_option(parser)
    command_line.add_overwrite_option(parser)
    return parser


def _band(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected two numbers such as 0.4,0.6. Received: {text!r}"
        ) from None
    return low, high


def _main(options: argparse.Namespace) -> None:
    from sentiment.predictor import Predictor  # not at the top: --help need not wait for NumPy
    from sentiment.scoring import score_file

    if options.input is not None and options.output is None:
        raise DataError("--input needs --output, the file to write.")
    if options.input is None and (options.output or options.text_column):
        raise DataError("--output and --text-column go with --input. Received no --input.")
    if options.input is None and (options.overwrite or options.skip_bad_rows):
        raise DataError("--overwrite and --skip-bad-rows go with --input. Received no --input.")
    if options.input is not None and options.json:
        raise DataError("--json goes with texts. For a JSON file end --output in .jsonl.")
    if options.input is not None and options.texts:
        raise DataError(f"Expected either --input or texts. Received both: {options.texts[0]!r}")
    predictor = Predictor.load(options.model_dir)
    if options.input is not None:
        scoring = score_file(
            predictor,
            options.input,
            options.output,
            text_column=options.text_column,
            neutral_band=options.neutral_band,
            skip_bad_rows=options.skip_bad_rows,
            overwrite=options.overwrite,
            progress=command_line.interactive(sys.stderr),
        )
        if scoring.note:
            print(scoring.note, file=sys.stderr)
        if scoring.bad:
            print(f"without an answer: {scoring.bad}", file=sys.stderr)
        rows = "1 row" if scoring.rows == 1 else f"{scoring.rows:,} rows"
        print(f"{rows} written to {options.output}", file=sys.stderr)
        return
    for texts in [options.texts] if options.texts else _lines():
        for prediction in predictor.details(texts, neutral_band=options.neutral_band):
            if options.json:
                print(json.dumps(asdict(prediction), ensure_ascii=not _writes_utf8()))
            else:
                print(_line(prediction))
        sys.stdout.flush()


def _writes_utf8() -> bool:
    """Whether standard output takes every character; else JSON needs its own escapes for them."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name == "utf-8"


def _lines() -> Iterator[list[str]]:
    """Lines of standard input: one at a time from a terminal, in chunks from a pipe."""
    if sys.stdin is None:
        raise DataError("Expected texts, or lines on standard input. Received neither.")
    size = LINES
    if command_line.interactive(sys.stdin):
        print("one text per line; Ctrl-D ends", file=sys.stderr)
        size = 1
    source = getattr(sys.stdin, "buffer", None)
    lines = sys.stdin if source is None else _decoded(source)
    while chunk := [line.rstrip("\r\n") for line in islice(lines, size)]:
        yield chunk


def _decoded(lines: Iterator[bytes]) -> Iterator[str]:
    offset = 0
    for line in lines:
        try:
            yield line.decode("utf-8-sig" if offset == 0 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"Standard input is not UTF-8: byte {offset + error.start} cannot be decoded "
                f"({error.reason})."
            ) from error
        offset += len(line)


def _line(prediction: "Prediction") -> str:
    """One line for a person: label, score, probabilities, the text, and what to be wary of."""
    parts = [prediction.label]
    if prediction.score is not None:
        parts.append(f"{prediction.score:+.3f}")
    shares = ", ".join(f"{name} {p:.3f}" for name, p in prediction.probabilities.items())
    parts += [f"({shares})", " ".join(prediction.text.split())]
    if prediction.oov:
        words = "1 unknown word" if prediction.oov == 1 else f"{prediction.oov} unknown words"
        parts.append(f"[{words}]")
    if prediction.truncated:
        parts.append("[too long: only head and tail were read]")
    return "  ".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command_line.run(_main, _parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
