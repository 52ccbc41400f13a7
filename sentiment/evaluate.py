"""Measure a saved model on labelled reviews: python -m sentiment.evaluate."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment import command_line
from sentiment.data import DataError, Reviews

if TYPE_CHECKING:
    from sentiment.behaviour import BehaviourReport, Failure
    from sentiment.metrics import Evaluation
    from sentiment.predictor import Answers

EXAMPLES = """examples:
  python -m sentiment.evaluate --data path/to/aclImdb_v1.tar.gz
  python -m sentiment.evaluate --model-dir my_model --data reviews.csv --plots pictures
  python -m sentiment.evaluate --model-dir my_model --data reviews.csv --json
  python -m sentiment.evaluate --model-dir my_model --behaviour
"""
MISTAKES = 10
PLOT_FILES = ("confusion_matrix.png", "reliability.png", "roc.png")
EXCERPT = 160  # characters of a text that a mistake shows


@dataclass(frozen=True)
class Mistake:
    """A wrong answer.

    Attributes:
        text: the text.
        label: its true label.
        predicted: what the model said.
        probability: how sure it was.
    """

    text: str
    label: str
    predicted: str
    probability: float


def confident_mistakes(reviews: Reviews, answers: "Answers", most: int = MISTAKES) -> list[Mistake]:
    """The wrong answers of which the model was surest."""
    sure = answers.probabilities.max(axis=1)
    wrong = [i for i, label in enumerate(reviews.labels) if label != answers.labels[i]]
    wrong.sort(key=lambda i: -sure[i])
    return [
        Mistake(reviews.texts[i], reviews.labels[i], answers.labels[i], float(sure[i]))
        for i in wrong[:most]
    ]


def check_plots(folder: Path, *, overwrite: bool) -> None:
    """Refuse, before any work is done, a folder that the pictures cannot be written to.

    Raises:
        DataError: it is a file, or holds pictures and `overwrite` is false.
        ArtifactError: it cannot be written to.
    """
    from sentiment.artifact import check_parent_writable

    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file. Expected a folder for the pictures.")
    old = [folder / name for name in PLOT_FILES if (folder / name).exists()]
    if old and not overwrite:
        raise DataError(f"{old[0]} exists already. Choose another folder, or add --overwrite.")
    check_parent_writable(folder / PLOT_FILES[0])


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser("evaluate", "Measure a model on labelled reviews.", EXAMPLES)
    command_line.add_model_option(parser)
    command_line.add_data_options(parser, purpose="reviews to measure on")
    parser.add_argument(
        "--behaviour",
        action="store_true",
        help="rather than on reviews, measure on the package's own tests of negation, contrast, …",
    )
    command_line.add_split_option(parser)
    parser.add_argument(
        "--ignore",
        metavar="LABEL",
        action="append",
        default=[],
        help="a label of the model that the reviews cannot have, such as neutral: its answers are "
        "then among the others",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--plots",
        type=Path,
        metavar="FOLDER",
        help="write confusion matrix, reliability diagram and ROC as PNG",
    )
    command_line.add_overwrite_option(parser)
    return parser


def _main(options: argparse.Namespace) -> None:
    from sentiment.predictor import Predictor  # not at the top: --help need not wait for NumPy

    if options.behaviour:
        _behaviour(options)
        return
    if options.data is None:
        raise DataError("Expected --data with reviews to measure on, or --behaviour.")
    if options.plots is not None:
        check_plots(options.plots, overwrite=options.overwrite)
    predictor = Predictor.load(options.model_dir)
    split, reviews, notes = command_line.read_split(options)
    if split != "test" and predictor.manifest.data["source"] == Path(options.data).resolve().name:
        notes.append(
            f"beware: the model was trained on a source called {Path(options.data).name}; where it "
            "is this one, texts that it learned from are measured too"
        )
    if options.skip_bad_rows:
        known = [i for i, label in enumerate(reviews.labels) if label in predictor.labels]
        if len(known) < len(reviews):
            notes.append(
                f"left out: {len(reviews) - len(known):,} reviews whose label the model does not "
                "know"
            )
            reviews = Reviews([reviews.texts[i] for i in known], [reviews.labels[i] for i in known])
    if not len(reviews):
        raise DataError(f"{options.data} has no review whose label the model knows.")
    evaluation, answers = predictor.evaluate(reviews.texts, reviews.labels, ignore=options.ignore)
    for note in notes:
        print(note, file=sys.stderr)
    if options.json:
        print(json.dumps(dataclasses.asdict(evaluation), allow_nan=False))
    else:
        print(f"{options.data}, {split} split: {evaluation.n:,} reviews")
        _print(evaluation)
        _print_mistakes(confident_mistakes(reviews, answers))
    if options.plots is not None:
        from sentiment.plots import save_evaluation_plots

        files = save_evaluation_plots(
            options.plots, predictor.labels, answers.probabilities, reviews.labels
        )
        print("wrote " + ", ".join(map(str, files)), file=sys.stderr)


def _behaviour(options: argparse.Namespace) -> None:
    from sentiment.behaviour import measure_behaviour
    from sentiment.predictor import Predictor

    given = [name for name, value in vars(options).items() if value not in (None, False, [])]
    others = [name for name in given if name not in ("behaviour", "model_dir", "json")]
    if others:
        raise DataError(
            "--behaviour brings its own texts and goes with --model-dir and --json alone. "
            f"Received also: --{', --'.join(others).replace('_', '-')}"
        )
    report = measure_behaviour(Predictor.load(options.model_dir))
    if options.json:
        print(json.dumps(dataclasses.asdict(report), allow_nan=False))
    else:
        _print_behaviour(report)


def _print_behaviour(report: "BehaviourReport") -> None:
    print(f"Answers are read {report.reading}.\n")
    width = max(map(len, report.capabilities))
    print(f"{'capability':{width}}  kind  cases  failures    rate")
    for name, result in report.capabilities.items():
        print(
            f"{name:{width}}  {result.kind:4}  {result.cases:5}  {result.failures:8}  "
            f"{result.failure_rate:6.1%}"
        )
    print(f"{'mean':{width}}  {'':21}  {report.mean_failure_rate:6.1%}")
    for name, result in report.capabilities.items():
        if result.examples:
            print(f"\n{name}: some failures")
        for failure in result.examples:
            _print_failure(failure)


def _print_failure(failure: "Failure") -> None:
    print(f"  expected {failure.expected}, received")
    for polarity, score, text in zip(
        failure.polarities, failure.scores, failure.texts, strict=True
    ):
        print(f"    {polarity:8}  {score:+.2f}  {text}")


def _print(evaluation: "Evaluation") -> None:
    low, high = evaluation.accuracy_interval
    print(f"accuracy            {evaluation.accuracy:.2%}   95 % interval {low:.2%} to {high:.2%}")
    print(f"macro-F1            {evaluation.macro_f1:.4f}")
    if evaluation.roc_auc is not None:
        print(f"ROC-AUC             {evaluation.roc_auc:.4f}")
    print(f"calibration error   {evaluation.ece:.2%}")
    print(f"Brier score         {evaluation.brier:.4f}")
    print(f"unknown words       {evaluation.oov_share:.2%}")
    print(f"texts cut           {evaluation.truncated_share:.2%}")
    width = max(5, *(len(name) for name in evaluation.labels))
    print(f"\n{'label':{width}}  precision  recall      F1    texts")
    for name, m in evaluation.per_label.items():
        print(
            f"{name:{width}}  {m['precision']:9.3f}  {m['recall']:6.3f}  {m['f1']:6.3f}  "
            f"{m['n']:7,}"
        )
    columns = [max(7, len(name)) for name in evaluation.labels]
    heads = "  ".join(f"{n:>{c}}" for n, c in zip(evaluation.labels, columns, strict=True))
    print(f"\n{'true':{width}}  {heads}   ← predicted")
    for name, row in zip(evaluation.labels, evaluation.confusion, strict=True):
        cells = "  ".join(f"{n:>{c},}" for n, c in zip(row, columns, strict=True))
        print(f"{name:{width}}  {cells}")


def _print_mistakes(mistakes: list[Mistake]) -> None:
    if not mistakes:
        print("\nno mistakes")
        return
    print("\nmost confident mistakes")
    for mistake in mistakes:
        text = " ".join(mistake.text.split())
        cut = text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
        print(f"  {mistake.predicted} {mistake.probability:.3f}, truly {mistake.label}: {cut}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command_line.run(_main, _parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
