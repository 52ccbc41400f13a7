"""Watch a saved model read, word by word: python -m sentiment.explain."""

import argparse
import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment import command_line
from sentiment.data import DataError, Reviews, choose_split, load_reviews

if TYPE_CHECKING:
    from sentiment.explanation import ExampleReading, Explanation, WordReading
    from sentiment.faithfulness import Estimate, Faithfulness
    from sentiment.predictor import Predictor
    from sentiment.units import Unit, UnitsReport

METHODS = ("removed", "unknown", "gradients")
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
        default=METHODS[0],
        help="how a word's effect is measured: the answer without the word (removed) or with an "
        "unknown word in its place (unknown) is taken from the answer; or integrated gradients "
        "(gradients). Default: %(default)s",
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
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test", "all"),
        help="split of a source that has splits (default: test)",
    )
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
    default = _parser().parse_args([])
    changed = [name for name, value in vars(options).items() if value != getattr(default, name)]
    strays = [_written(name) for name in changed if name not in (mode, *COMMON, *OPTIONS[mode])]
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

    explanation = explain(predictor, options.text)
    if options.plot is not None:
        from sentiment.plots import save_reading_plot

        save_reading_plot(options.plot, explanation, method=options.method)
    if options.html is not None:
        from sentiment.page import reading_page

        page = reading_page(explanation, method=options.method)
        options.html.write_text(page, encoding="utf-8")
    if options.json:
        _print_json(_as_json(explanation, options.method))
    else:
        _print(explanation, options.method)
    _print_written(options)


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=not command_line.writes_utf8(), allow_nan=False))


def _print_written(options: argparse.Namespace) -> None:
    for path in (options.plot, options.html):
        if path is not None:
            print(f"wrote {path}", file=sys.stderr)


def _check_files(options: argparse.Namespace) -> None:
    from sentiment.artifact import check_parent_writable

    for path, endings in ((options.plot, PICTURES), (options.html, (".html", ".htm"))):
        if path is None:
            continue
        if path.suffix.lower() not in endings:
            raise DataError(
                f"Expected a file that ends in {' or '.join(endings)}. Received: {path}"
            )
        if path.exists() and not options.overwrite:
            raise DataError(f"{path} exists already. Choose another, or add --overwrite.")
        check_parent_writable(path)
    if options.overwrite and options.plot is None and options.html is None:
        raise DataError("--overwrite goes with --plot and --html. Received neither.")


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
    from sentiment.explanation import disagreements, target_name, verdict

    for line in _table(explanation, method):
        print(line)
    print(f"\n{verdict(explanation, method)}")
    for (one, other), correlation in disagreements(explanation).items():
        print(
            f"Careful: the effects by {one} and by {other} disagree (correlation "
            f"{correlation:+.2f})."
        )
    if explanation.truncated:
        print("The text is too long: only its head and its tail were read.")
    print(
        f"\nEffects ({method}) are differences in {target_name(explanation)}. The gates were "
        f"replayed from the\nweights; the replayed answer is {explanation.replay_error:.0e} from "
        "the network's. Integrated gradients miss\n"
        f"{explanation.completeness_error:.0e} of the difference to unknown words."
    )


def _table(explanation: "Explanation", method: str) -> list[str]:
    """Lines of the table: a head, then one per word."""
    from sentiment.explanation import ARROWS

    first = explanation.words[0]
    gates, ways = _shown_gates(first.gates), first.memory_change
    head = [
        "",
        "word",
        *map(_head, gates),
        *(f"change {ARROWS[way] if len(ways) > 1 else ''}".strip() for way in ways),
        "so far",
        "p" if first.score is None else "score",
        "effect",
    ]
    rows = [
        [
            str(number),
            _shortened(word.word) + ("" if word.known else " (unknown)"),
            *(f"{word.gates[name]:.2f}" for name in gates),
            *(f"{change:.2f}" for change in word.memory_change.values()),
            word.label,
            _running(word),
            f"{word.effects[method]:+.2f}",
        ]
        for number, word in enumerate(explanation.words, 1)
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    texts = (1, len(head) - 3)  # columns of words and labels
    return [
        " ".join(
            f" {cell:<{width}} " if place in texts else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    ]


def _running(word: "WordReading") -> str:
    """The running score, or the label's probability where labels have no order."""
    if word.score is None:
        return f"{max(word.probabilities.values()):.2f}"
    return f"{word.score:+.2f}"


def _shown_gates(names: Iterable[str]) -> list[str]:
    """Those of the top layer, whether layers are stacked or one cell holds them all."""

    def layer(name: str) -> int:
        found = re.search(r"^layer_(\d+)_|(?<!clock)_(\d+)$", name)
        return int(found[1] or found[2]) if found else 0

    names = list(names)
    top = max(map(layer, names), default=0)
    return [name for name in names if layer(name) in (0, top)]


def _head(gate: str) -> str:
    """`layer_2_backward_forget` → `forget ←`: all are of one layer."""
    from sentiment.explanation import gate_title

    return gate_title(re.sub(r"^layer_\d+_", "", gate))


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
            + ["" if agrees else "← differs"]
            for word, expected, polarity, agrees in zip(
                reading.explanation.words,
                reading.example.expected,
                reading.polarities,
                reading.agrees,
                strict=True,
            )
        ]
        head = ["so far", "a reader", "the model", "score", ""]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
            print(f"  {'  '.join(cells)}".rstrip())
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


def _reviews(options: argparse.Namespace) -> tuple[str, Reviews]:
    """Name and reviews of the split to measure on."""
    splits, notes = load_reviews(
        options.data,
        text_column=options.text_column,
        label_column=options.label_column,
        skip_bad_rows=options.skip_bad_rows,
        progress=command_line.interactive(sys.stderr),
    )
    for note in notes:
        print(note, file=sys.stderr)
    return choose_split(splits, options.split)


def _faithfulness(predictor: "Predictor", options: argparse.Namespace) -> None:
    from sentiment.faithfulness import measure_faithfulness

    split, reviews = _reviews(options)
    report = measure_faithfulness(predictor, reviews.texts, **_settings(options))
    if options.plot is not None:
        from sentiment.plots import save_deletion_plot

        save_deletion_plot(options.plot, report)
    if options.json:
        _print_json(dataclasses.asdict(report))
    else:
        _print_faithfulness(report, f"{options.data}, {split} split")
    _print_written(options)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Of a measurement; the number of texts is left to its default where none is given."""
    settings = {"progress": command_line.interactive(sys.stderr)}
    return settings if options.texts is None else settings | {"texts": options.texts}


def _print_faithfulness(report: "Faithfulness", source: str) -> None:
    from sentiment.faithfulness import RANDOM_ORDERS, verdict

    def estimate(found: "Estimate", sign: str = "") -> str:
        low, high = found.interval
        return f"{found.value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"

    head = ["order", "area", "over random", "over reversed", "beats random", "seconds"]
    rows = [
        [
            name,
            estimate(method.curve.area),
            estimate(method.over_random, "+"),
            estimate(method.over_reversed, "+"),
            f"{method.beats_random:.1%}",
            f"{method.seconds:.1f}",
        ]
        for name, method in report.methods.items()
    ]
    rows.append(["random", estimate(report.random.area), *[""] * 4])
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    print(f"{verdict(report)}\n\n{source}: {report.texts:,} texts, {report.words:,} words")
    for name, *cells in (head, *rows):
        others = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        print(f"{name:{widths[0]}}  {'  '.join(others)}".rstrip())
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
    if options.plot is not None:
        from sentiment.plots import save_units_plot

        save_units_plot(options.plot, report)
    if options.json:
        _print_json(dataclasses.asdict(report))
    else:
        _print_units(report, f"{options.data}, {split} split")
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
    from sentiment.explanation import ARROWS
    from sentiment.units import high_says

    def row(unit: "Unit") -> list[str]:
        low, high = unit.interval
        return [
            f"{unit.number}{ARROWS.get(unit.direction, '')}",
            unit.feature,
            high_says(unit),
            f"{unit.auc:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{unit.chosen_auc:.3f}",
        ]

    head = ["unit", "feature", "high says", "AUC", "95 % interval", "AUC in choosing"]
    rows = [head, *map(row, report.units)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:{'<' if place in (1, 2) else '>'}{width}}"
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        for cells in rows
    ]


def _saturation_lines(report: "UnitsReport") -> list[str]:
    from sentiment.explanation import ARROWS
    from sentiment.units import OPEN, SHUT, WITHOUT_GATES

    if not report.saturation:
        return [f"Saturation is left out: {WITHOUT_GATES[report.cell]}."]
    layers = max(found.layer for found in report.saturation)
    names = [
        f"layer {found.layer} " * (layers > 1) + found.gate + ARROWS[found.direction]
        for found in report.saturation
    ]
    width = max(map(len, names))
    lines = [f"{'gate':{width}}  shut, below {SHUT}  open, above {OPEN}  of the most open unit"]
    for name, found in zip(names, report.saturation, strict=True):
        shut, opened = (sum(shares) / len(shares) for shares in (found.shut, found.open))
        lines.append(f"{name:{width}}  {shut:15.2%}  {opened:15.2%}  {max(found.open):21.2%}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command_line.run(_main, _parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
