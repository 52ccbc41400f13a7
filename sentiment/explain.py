"""Watch a saved model read, word by word: python -m sentiment.explain."""

import argparse
import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment import command_line
from sentiment.data import DataError

if TYPE_CHECKING:
    from sentiment.data import Reviews
    from sentiment.explanation import ExampleReading, Explanation, WordReading
    from sentiment.faithfulness import Estimate, Faithfulness
    from sentiment.predictor import Predictor
    from sentiment.units import Unit, UnitsReport

METHODS = ("removed", "unknown", "gradients")  # `explanation.METHODS`, without NumPy for --help
PICTURES = (".png", ".svg")
EXAMPLES = """examples:
  python -m sentiment.explain "I loved the movie, but the ending was disappointing."
  python -m sentiment.explain --plot reading.png --html reading.html "Not bad at all!"
  python -m sentiment.explain --examples
  python -m sentiment.explain --faithfulness --data sample --plot deletion.png
  python -m sentiment.explain --units --data sample --plot units.png
"""
COMMON = ("model_dir", "json")  # options of every mode
DATA_OPTIONS = ("data", "text_column", "label_column", "skip_bad_rows", "split", "texts")
OPTIONS = {  # mode → its others
    "text": ("method", "plot", "html", "overwrite"),
    "examples": (),
    "faithfulness": (*DATA_OPTIONS, "plot", "overwrite"),
    "units": (*DATA_OPTIONS, "plot", "overwrite"),
}
WIDEST_WORD = 24  # of the table


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "explain", "Watch a model read a text: running answer, gates, word effects.", EXAMPLES
    )
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the text to read")
    parser.add_argument(
        "--examples",
        action="store_true",
        help="read the sentences of data/examples.csv, beside what a reader would say",
    )
    command_line.add_model_option(parser)
    parser.add_argument(
        "--method",
        choices=METHODS,
        help="how a word's effect is measured: the answer without the word (removed) or with an "
        "unknown word in its place (unknown) is taken from the answer; or integrated gradients "
        f"(gradients). Default: {METHODS[0]}",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the reading, as .png or .svg"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with coloured words"
    )
    command_line.add_overwrite_option(parser)
    parser.add_argument(
        "--faithfulness",
        action="store_true",
        help="measure on many texts whether the words that a method names make the answer: they "
        "are deleted in the order of their effects, beside random orders and the reversed order",
    )
    parser.add_argument(
        "--units",
        action="store_true",
        help="find the single units whose states tell the labels of many texts apart, and measure "
        "how much of the time gates are open or shut",
    )
    command_line.add_data_options(parser, purpose="reviews for --faithfulness and --units")
    command_line.add_split_option(parser)
    parser.add_argument(
        "--texts",
        type=int,
        metavar="N",
        help="at most so many of the reviews (default: 200, with --units 500)",
    )
    return parser


def _main(options: argparse.Namespace) -> None:
    modes = {
        "text": _read_text,
        "examples": _read_examples,
        "faithfulness": _faithfulness,
        "units": _units,
    }
    chosen = [mode for mode in modes if getattr(options, mode) not in (None, False)]
    if len(chosen) != 1:
        raise DataError(
            'Expected a text, such as "This film was okay", or one of --examples, --faithfulness '
            f"and --units. Received: {', '.join(map(_written, chosen)) or 'none of them'}"
        )
    mode = chosen[0]
    given = [name for name, value in vars(options).items() if value not in (None, False)]
    strays = [_written(name) for name in given if name not in (mode, *COMMON, *OPTIONS[mode])]
    if strays:
        raise DataError(
            f"{_written(mode)} goes without {' and '.join(strays)}. It takes: "
            f"{', '.join(map(_written, (*OPTIONS[mode], *COMMON)))}."
        )
    if "data" in OPTIONS[mode] and options.data is None:
        raise DataError(f"{_written(mode)} measures on reviews. Add --data, such as --data sample.")
    _check_files(options)
    # Read when NumPy is first imported: for products as small as these a second thread only waits.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from sentiment.predictor import Predictor  # not at the top: --help need not wait for NumPy

    modes[mode](Predictor.load(options.model_dir), options)


def _written(name: str) -> str:
    """An option as a person writes it."""
    return "TEXT" if name == "text" else "--" + name.replace("_", "-")


def _read_text(predictor: "Predictor", options: argparse.Namespace) -> None:
    from sentiment.explanation import explain

    method = options.method or METHODS[0]
    explanation = explain(predictor, options.text)
    if options.plot is not None:  # before all else: it refuses long texts
        from sentiment.reading_plots import save_reading_plot

        save_reading_plot(options.plot, explanation, method=method)
    if options.html is not None:
        from sentiment.page import reading_page

        options.html.write_text(reading_page(explanation, method=method), encoding="utf-8")
    if options.json:
        _print_json(_as_json(explanation, method))
    else:
        _print(explanation, method)
    _print_written(options)


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=not command_line.writes_utf8(), allow_nan=False))


def _print_written(options: argparse.Namespace) -> None:
    for path in (options.plot, options.html):
        if path is not None:
            print(f"wrote {path}", file=sys.stderr)


def _check_files(options: argparse.Namespace) -> None:
    """Refuse, before any work is done, files that could not be written, and pictures in vain."""
    from sentiment.artifact import check_parent_writable

    for path, endings in ((options.plot, PICTURES), (options.html, (".html", ".htm"))):
        if path is None:
            continue
        if path.suffix.lower() not in endings:
            raise DataError(
                f"Expected a file that ends in {' or '.join(endings)}. Received: {path}"
            )
        if path.is_dir() or (path.exists() and not options.overwrite):
            advice = "." if path.is_dir() else ", or add --overwrite."
            raise DataError(f"{path} exists already. Choose another{advice}")
        check_parent_writable(path)
        if not path.absolute().parent.is_dir():
            raise DataError(f"{path} cannot be written: its folder does not exist.")
    if options.overwrite and options.plot is None and options.html is None:
        raise DataError("--overwrite goes with --plot and --html. Received neither.")
    if options.plot is not None:
        import matplotlib  # noqa: F401  a command without it says so at once


def _as_json(explanation: "Explanation", method: str) -> dict[str, Any]:
    from sentiment.explanation import disagreements, verdict

    words = [
        {"effect": word.effects[method], **dataclasses.asdict(word)} for word in explanation.words
    ]
    values = {
        field.name: getattr(explanation, field.name)
        for field in dataclasses.fields(explanation)
        if field.name not in ("words", "traces")
    }
    disagreeing = [
        {"methods": list(pair), "correlation": correlation}
        for pair, correlation in disagreements(explanation).items()
    ]
    return {
        **values,
        "method": method,
        "verdict": verdict(explanation, method),
        "disagreements": disagreeing,
        "words": words,
    }


def _print(explanation: "Explanation", method: str) -> None:
    from sentiment.explanation import checks, target_name, verdict

    for line in _table(explanation, method):
        print(line)
    print(f"\n{verdict(explanation, method)}\n")
    print(f"Effects ({method}) are differences in {target_name(explanation)}.")
    for sentence in checks(explanation):
        print(sentence)


def _aligned(rows: Sequence[Sequence[str]], *, left: Collection[int]) -> list[str]:
    """Rows of a table as lines; columns whose places are in `left` begin at the same letter."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if place in left else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _table(explanation: "Explanation", method: str) -> list[str]:
    """Lines of the table: a head, then one per word, and one for words that were left out."""
    from sentiment.explanation import top_gates

    first = explanation.words[0]
    gates, ways = top_gates(first.gates), list(first.memory_change)
    rows = [
        [
            "",
            "word",
            *map(_head, gates),
            *(_head(f"{way}_change" if len(ways) > 1 else "change") for way in ways),
            "so far",
            "p" if first.score is None else "score",
            "effect",
        ]
    ]
    for word, before in zip(explanation.words, (first, *explanation.words), strict=False):
        if word.position > before.position + 1:
            gap = f"({explanation.left_out:,} words left out)"
            rows.append(["…", gap, *[""] * len(rows[0][2:])])
        rows.append(
            [
                str(word.position),
                _shortened(word.word) + ("" if word.known else " (unknown)"),
                *(f"{word.gates[name]:.2f}" for name in gates),
                *(f"{change:.2f}" for change in word.memory_change.values()),
                word.label,
                _running(word),
                f"{word.effects[method]:+.2f}",
            ]
        )
    return _aligned(rows, left=(1, len(rows[0]) - 3))


def _running(word: "WordReading") -> str:
    """The running score, or the label's probability where labels have no order."""
    if word.score is None:
        return f"{max(word.probabilities.values()):.2f}"
    return f"{word.score:+.2f}"


def _head(gate: str) -> str:
    """`layer_2_backward_forget` → `forget ←`: all are of one layer."""
    from sentiment.explanation import gate_title

    gate = re.sub(r"^layer_\d+_|(?<!clock)_\d+$", "", gate)
    title = gate_title(gate)
    return title if command_line.writes_utf8() else title.replace("→", ">").replace("←", "<")


def _shortened(word: str) -> str:
    return word if len(word) <= WIDEST_WORD else word[: WIDEST_WORD - 1] + "…"


def _read_examples(predictor: "Predictor", options: argparse.Namespace) -> None:
    from sentiment.explanation import read_examples

    readings = read_examples(predictor)
    if options.json:
        _print_json([_example_as_json(reading) for reading in readings])
        return
    for reading in readings:
        print(reading.example.text)
        rows = [
            [word.word, " or ".join(expected), polarity, f"{word.score:+.2f}"]
            + ["" if agrees else "differs"]
            for word, expected, polarity, agrees in zip(
                reading.explanation.words,
                reading.example.expected,
                reading.polarities,
                reading.agrees,
                strict=True,
            )
        ]
        rows.insert(0, ["so far", "a reader", "the model", "score", ""])
        for line in _aligned(rows, left=range(len(rows[0]))):
            print(f"  {line}")
        print()
    words = [agrees for reading in readings for agrees in reading.agrees]
    whole = [reading.agrees[-1] for reading in readings]
    print(
        f"The model says what a reader could say after {sum(words)} of {len(words)} words, and at "
        f"the end of {sum(whole)} of {len(whole)} sentences."
    )


def _example_as_json(reading: "ExampleReading") -> dict[str, Any]:
    columns = (reading.explanation.words, reading.example.expected, reading.polarities)
    return {
        "text": reading.example.text,
        "words": [
            {
                "word": word.word,
                "expected": expected,
                "polarity": polarity,
                "score": word.score,
                "agrees": agrees,
            }
            for word, expected, polarity, agrees in zip(*columns, reading.agrees, strict=True)
        ],
    }


def _faithfulness(predictor: "Predictor", options: argparse.Namespace) -> None:
    from sentiment.faithfulness import measure_faithfulness

    split, reviews = _reviews(options)
    report = measure_faithfulness(predictor, reviews.texts, **_settings(options))
    _show(report, options, _print_faithfulness, f"{options.data}, {split} split")
    if options.plot is not None:
        from sentiment.reading_plots import save_deletion_plot

        save_deletion_plot(options.plot, report)
    _print_written(options)


def _reviews(options: argparse.Namespace) -> tuple[str, "Reviews"]:
    split, reviews, notes = command_line.read_split(options)
    for note in notes:
        print(note, file=sys.stderr)
    return split, reviews


def _show(
    report: Any, options: argparse.Namespace, show: Callable[[Any, str], None], source: str
) -> None:
    if options.json:
        _print_json(dataclasses.asdict(report))
    else:
        show(report, source)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Of a measurement; the number of texts is left to its default where none is given."""
    settings = {"progress": command_line.interactive(sys.stderr)}
    return settings if options.texts is None else settings | {"texts": options.texts}


def _print_faithfulness(report: "Faithfulness", source: str) -> None:
    from sentiment.faithfulness import RANDOM_ORDERS, verdict

    def estimate(found: "Estimate", sign: str = "") -> str:
        low, high = found.interval
        return f"{found.value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"

    rows = [["order", "area", "over random", "over reversed", "beats random", "seconds"]]
    for name, method in report.methods.items():
        rows.append(
            [
                name,
                estimate(method.curve.area),
                estimate(method.over_random, "+"),
                estimate(method.over_reversed, "+"),
                f"{method.beats_random:.1%}",
                f"{method.seconds:.1f}",
            ]
        )
    rows.append(["random", estimate(report.random.area), *[""] * 4])
    print(f"{verdict(report)}\n\n{source}: {report.texts:,} texts, {report.words:,} words")
    for line in _aligned(rows, left=(0,)):
        print(line)
    print(
        "\nWords are deleted one after another, those first that speak most for the answer. The "
        "area is the mean\nof what the probability of the predicted label has lost at every 5 % of "
        "the words: the larger, the truer\nthe effects. In brackets: 95 % intervals over texts. "
        f"Random is the mean of {RANDOM_ORDERS} orders of each text."
    )
    if report.truncated:
        print(f"Of {report.truncated:,} long texts only head and tail were read, and measured.")


def _units(predictor: "Predictor", options: argparse.Namespace) -> None:
    from sentiment.units import measure_units

    split, reviews = _reviews(options)
    report = measure_units(predictor, reviews, **_settings(options))
    _show(report, options, _print_units, f"{options.data}, {split} split")
    if options.plot is not None:
        from sentiment.reading_plots import save_units_plot

        save_units_plot(options.plot, report)
    _print_written(options)


def _print_units(report: "UnitsReport", source: str) -> None:
    from sentiment.units import DRAWN, name_of, sentence

    counts = ", ".join(f"{count:,} {label}" for label, count in report.texts.items())
    print(f"{sentence(report)}\n\n{source}: {counts}; {report.words:,} words")
    if report.left_out:
        print(f"Left out: {report.left_out:,} reviews whose label the model does not know.")
    print(
        f"Of {report.all_units:,} units, the best on {report.chosen_on:,} texts, measured on "
        f"{report.measured_on:,} others:\n"
    )
    for line in _units_table(report):
        print(line)
    for unit in report.units[:DRAWN]:
        print(f"\n{name_of(unit)}")
        for head, texts in (("highest", unit.highest), ("lowest", unit.lowest)):
            for text in texts:
                print(f"  {head:7}  {text.state:+.2f}  {text.label}, “{text.word}”: {text.excerpt}")
    print()
    for line in _saturation_lines(report):
        print(line)


def _units_table(report: "UnitsReport") -> list[str]:
    """Lines of the table: a head, then one per unit."""
    from sentiment.units import high_says

    def row(unit: "Unit") -> list[str]:
        low, high = unit.interval
        return [
            f"{unit.number} {_head(unit.direction)}",
            unit.feature,
            high_says(unit),
            f"{unit.auc:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{unit.chosen_auc:.3f}",
        ]

    head = ["unit", "feature", "high says", "AUC", "95 % interval", "AUC in choosing"]
    return _aligned([head, *map(row, report.units)], left=(1, 2))


def _saturation_lines(report: "UnitsReport") -> list[str]:
    from sentiment.units import OPEN, SHUT, WITHOUT_GATES

    if not report.saturation:
        return [f"Saturation is left out: {WITHOUT_GATES[report.cell]}."]
    layers = max(found.layer for found in report.saturation)
    rows = [["gate", f"shut, below {SHUT}", f"open, above {OPEN}", "of the most open unit"]]
    for found in report.saturation:
        shut, opened = (sum(shares) / len(shares) for shares in (found.shut, found.open))
        gate = f"layer {found.layer} " * (layers > 1) + _head(f"{found.direction}_{found.gate}")
        rows.append([gate, f"{shut:.2%}", f"{opened:.2%}", f"{max(found.open):.2%}"])
    return _aligned(rows, left=(0,))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command_line.run(_main, _parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
