"""Label texts with a saved model: python -m sentiment.predict."""

import argparse
import codecs
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sentiment import command_line
from sentiment.data import DataError

if TYPE_CHECKING:
    from sentiment.predictor import Prediction, Predictor
    from sentiment.streaming import Reading, Stream

EXAMPLES = """examples:
  python -m sentiment.predict "This film was okay" "What a waste of time"
  cat lines.txt | python -m sentiment.predict --json
  cat lines.txt | python -m sentiment.predict --model-dir my_lstm --stream
  python -m sentiment.predict --input reviews.csv --text-column review --output scored.csv
"""
LINES = 4096  # lines from a pipe that are held at a time
PIECE = 4096  # bytes that --stream reads at most before it answers their words


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser("predict", "Label texts: negative, positive, …", EXAMPLES)
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts; without any, lines of standard input"
    )
    command_line.add_model_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object per text")
    parser.add_argument(
        "--stream",
        action="store_true",
        help="answer each word of standard input as it comes (models that read forward only)",
    )
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

    others = {
        "texts": options.texts, "--input": options.input, "--neutral-band": options.neutral_band
    }  # fmt: skip
    given = [name for name, value in others.items() if value]
    if options.stream and given:
        raise DataError(
            f"--stream goes without {', '.join(others)}: it reads standard input. "
            f"Received: {', '.join(given)}"
        )
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
    if options.stream:
        _read_along(predictor, as_json=options.json)
        return
    for texts in [options.texts] if options.texts else _lines():
        for prediction in predictor.details(texts, neutral_band=options.neutral_band):
            if options.json:
                print(json.dumps(asdict(prediction), ensure_ascii=not command_line.writes_utf8()))
            else:
                print(_line(prediction))
        sys.stdout.flush()


def _lines() -> Iterator[list[str]]:
    """Lines of standard input: one at a time from a terminal, in chunks from a pipe."""
    source = _standard_input()
    size = 1 if command_line.interactive(sys.stdin) else LINES
    lines = sys.stdin if source is None else _decoded(source)
    while chunk := [line.rstrip("\r\n") for line in islice(lines, size)]:
        yield chunk


def _standard_input() -> BinaryIO | None:
    """Its bytes, or `None` where it was replaced by something that has none."""
    if sys.stdin is None:
        raise DataError("Expected texts, or lines on standard input. Received neither.")
    if command_line.interactive(sys.stdin):
        print("one text per line; Ctrl-D ends", file=sys.stderr)
    return getattr(sys.stdin, "buffer", None)


def _decoded(parts: Iterable[bytes]) -> Iterator[str]:
    """Text of UTF-8 whose parts may end inside a character; without a byte order mark."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    received = 0
    for part in chain(parts, [b""]):
        received += len(part)
        try:
            text = decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            byte = received - len(error.object) + error.start
            raise DataError(
                f"Standard input is not UTF-8: byte {byte} cannot be decoded ({error.reason})."
            ) from error
        if text:
            yield text


def _pieces() -> Iterator[str]:
    """Standard input as it arrives, cut after each line."""
    source = _standard_input()
    texts: Iterable[str] = sys.stdin
    if source is not None:
        texts = _decoded(iter(lambda: source.read1(PIECE), b""))  # waits for one byte, not for all
    for text in texts:
        yield from re.findall(r"[^\n]*\n|[^\n]+", text)


def _read_along(predictor: "Predictor", *, as_json: bool) -> None:
    """Answer the words of standard input as they come, each line a text of its own."""
    stream = predictor.stream()  # a model that cannot do it is refused before anything is typed
    pieces = _pieces()
    for number, piece in enumerate(pieces, 1):
        _read_line(stream, number, chain([piece], pieces), as_json=as_json)
        stream = predictor.stream()


def _read_line(stream: "Stream", number: int, pieces: Iterator[str], *, as_json: bool) -> None:
    """Answer each word of a line as soon as it is settled, then, for a person, the line."""
    from sentiment.predictor import Prediction

    text: list[str] = []
    oov = 0
    for position, reading in enumerate(_readings(stream, pieces, text), 1):
        oov += not reading.known
        if as_json:
            word = {"line": number, "position": position} | asdict(reading)
            print(json.dumps(word, ensure_ascii=not command_line.writes_utf8()), flush=True)
        else:
            print(_word_line(position, reading), flush=True)
    if not as_json:
        said = stream.answer
        line = Prediction(
            "".join(text), said.label, said.score, said.probabilities, truncated=False, oov=oov
        )
        print(_line(line), flush=True)


def _readings(stream: "Stream", pieces: Iterator[str], text: list[str]) -> Iterator["Reading"]:
    """Readings of one line, whose pieces are added to `text`."""
    for piece in pieces:
        text.append(piece)
        yield from stream.feed(piece)
        if piece.endswith("\n"):
            break
    yield from stream.end()


def _word_line(position: int, reading: "Reading") -> str:
    """One line for a person: position, word, answer up to it, and whether the word is unknown."""
    width = max(map(len, reading.probabilities))
    said = "  ".join(_said(reading, width))
    unknown = "" if reading.known else "  [unknown word]"
    return f"{position:>5}  {reading.word:<16}  {said}{unknown}"


def _said(answer: "Prediction | Reading", width: int = 0) -> list[str]:
    """Label, at least so wide, score if there is one, and probabilities."""
    score = [] if answer.score is None else [f"{answer.score:+.3f}"]
    shares = ", ".join(f"{name} {p:.3f}" for name, p in answer.probabilities.items())
    return [f"{answer.label:<{width}}", *score, f"({shares})"]


def _line(prediction: "Prediction") -> str:
    """One line for a person: label, score, probabilities, the text, and what to be wary of."""
    parts = [*_said(prediction), " ".join(prediction.text.split())]
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
