"""Train a network on labelled reviews: python -m sentiment.train."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment import command_line
from sentiment.data import DataError, Splits, load_splits

if TYPE_CHECKING:
    from sentiment.classifier import SentimentClassifier
    from sentiment.fitting import EpochReport
    from sentiment.metrics import Evaluation

EXAMPLES = """examples:
  python -m sentiment.train
  python -m sentiment.train --data reviews.csv --model lstm --out my_model
  python -m sentiment.train --data path/to/aclImdb_v1.tar.gz --out saved_models/my_imdb
  python -m sentiment.train --train a.csv --validation b.csv --test c.csv --epochs 10
"""

# Options that are settings of SentimentClassifier: name, type, help.  Not given, they are left to
# its signature, where the defaults live; a test compares the defaults named here with it.
SETTINGS: tuple[tuple[str, type, str], ...] = (
    ("units", int, "width of the recurrent state, of each direction (default: 64)"),
    ("layers", int, "recurrent layers, 1 to 4 (default: the builder's)"),
    ("groups", int, "groups of units with a clock of their own (default: 5)"),
    ("embedding-dim", int, "width of a word's vector (default: 128)"),
    ("word-dropout", float, "share of words left out in training (default: the builder's)"),
    ("dropout", float, "share of features dropped in training (default: the builder's)"),
    ("recurrent-dropout", float, "share of state features dropped at each step (default: 0.0)"),
    ("merge", str, "of two directions: concatenate, sum or average (default: concatenate)"),
    (
        "pooling",
        str,
        "of the states: last, max, mean, max+mean or attention (default: the builder's)",
    ),
    (
        "ngrams",
        int,
        "n-grams of one to three words that get weights beside the network (default: 0)",
    ),
    ("num-words", int, "size of the vocabulary (default: 20000)"),
    ("max-length", int, "most words read of a text; longer ones keep head and tail (default: 400)"),
    ("epochs", int, "most passes over the training texts (default: about 1,000 updates)"),
    ("batch-size", int, "texts per update (default: 32)"),
    ("learning-rate", float, "peak learning rate of Adam (default: 0.002)"),
    ("patience", int, "epochs without improvement before stopping (default: 3)"),
    ("seed", int, "of everything random (default: 0)"),
)


@dataclass(frozen=True)
class Training:
    """What a training run gave.

    Attributes:
        folder: the saved model.
        evaluation: how good it is.
        split: the split it was evaluated on, `test` or, where there is none, `validation`.
    """

    folder: Path
    evaluation: "Evaluation"
    split: str


def train(
    splits: Splits,
    classifier: "SentimentClassifier",
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    on_epoch: "Callable[[EpochReport], None] | None" = None,
    progress: bool = False,
) -> Training:
    """Fit a classifier, evaluate it on the test split, save it with its card.

    Args:
        splits: the reviews.
        classifier: with its settings.
        folder: where the model is written.  A checkpoint lies beside it until it is.
        overwrite: whether a model folder, or an unfinished run's checkpoint, may be replaced.
        resume: go on from the checkpoint of a run that did not end.
        callbacks, on_epoch, progress: as `fitting.fit_model`.

    Raises:
        ValueError: a setting is out of range, or the folder or checkpoint stands in the way.
    """
    checkpoint = check_out(folder, overwrite=overwrite, resume=resume)
    if not resume:
        checkpoint.unlink(missing_ok=True)
    try:
        classifier.fit(
            splits.train.texts,
            splits.train.labels,
            validation=(splits.validation.texts, splits.validation.labels),
            checkpoint=checkpoint,
            resume=resume,
            callbacks=callbacks,
            on_epoch=on_epoch,
            progress=progress,
        )
    except FloatingPointError:
        checkpoint.unlink(missing_ok=True)  # nothing there is worth going on from
        raise
    split = "test" if len(splits.test) else "validation"
    reviews = getattr(splits, split)
    evaluation, _ = classifier.predictor_.evaluate(reviews.texts, reviews.labels)
    classifier.save(
        folder,
        overwrite=overwrite,
        source=splits.source,
        own_test_split=splits.own_test_split,
        notes=splits.notes,
        test=splits.test,
        evaluation=evaluation,
        evaluated_split=split,
    )
    checkpoint.unlink(missing_ok=True)
    return Training(folder, evaluation, split)


def check_out(folder: Path, *, overwrite: bool, resume: bool) -> Path:
    """The checkpoint that belongs to an output folder, if a run may use both.

    Raises:
        ValueError: the folder exists or cannot be written, or an unfinished run's checkpoint
            exists and neither `resume` nor `overwrite` says what to do with it.
    """
    from sentiment.artifact import check_writable

    check_writable(folder, overwrite=overwrite)
    checkpoint = folder.absolute().with_name(f"{folder.name}.checkpoint.npz")
    if checkpoint.exists() and not (overwrite or resume):
        raise ValueError(
            f"{checkpoint} is left from a run that did not end. Add --resume to go on, "
            "or --overwrite to start again."
        )
    return checkpoint


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "train", "Train a recurrent network on labelled reviews.", EXAMPLES
    )
    command_line.add_data_options(parser, purpose="reviews to learn from", default="sample")
    for split in ("train", "validation", "test"):
        parser.add_argument(f"--{split}", metavar="SOURCE", help=f"source of the {split} split")
    parser.add_argument(
        "--from",
        dest="start_from",
        metavar="FOLDER",
        help="go on from a saved model, with its builder, settings and words: a folder, or default "
        "for the one that ships with the package",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="builder: rnn, lstm, gru, bilstm, bigru, peephole_lstm, coupled_lstm, "
        "forget_gate_lstm, depth_gated_lstm, clockwork_rnn, grid_lstm, attention_bilstm or "
        "attention_gru (default: bilstm)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where to save the model (default: saved_models/MODEL-SOURCE)",
    )
    command_line.add_overwrite_option(parser)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint of a run that did not end"
    )
    for name, kind, text in SETTINGS:
        metavar = {int: "N", float: "X", str: "NAME"}[kind]
        parser.add_argument(
            f"--{name}", type=kind, default=argparse.SUPPRESS, metavar=metavar, help=text
        )
    parser.add_argument(
        "--bidirectional",
        action="store_true",
        default=argparse.SUPPRESS,
        help="read in both directions, where the builder leaves the choice",
    )
    parser.add_argument(
        "--ema",
        type=_number_or_none,
        default=argparse.SUPPRESS,
        metavar="X",
        help="decay of the running average of weights, or none (default: 0.99)",
    )
    parser.add_argument(
        "--class-weight",
        choices=("balanced", "none"),
        default="none",
        help="balanced weighs rare labels higher (default: none)",
    )
    parser.add_argument(
        "--log-csv", type=Path, metavar="FILE", help="also log epochs to a CSV file"
    )
    parser.add_argument(
        "--tensorboard", type=Path, metavar="FOLDER", help="also log epochs for TensorBoard"
    )
    return parser


def _number_or_none(text: str) -> float | None:
    try:
        return None if text == "none" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or none. Received: {text!r}") from None


def default_out(model: str, source: str) -> Path:
    """`saved_models/MODEL-SOURCE` in the current folder."""
    name = Path(source).name.split(".")[0] or "reviews"
    return Path("saved_models") / f"{model}-{name}"


def _main(options: argparse.Namespace) -> None:
    from sentiment.artifact import load_artifact, start_folder

    given = vars(options)
    if options.data is not None and options.train is not None:
        raise DataError(f"Expected either --data or --train. Received both: {options.data}")
    if options.train is None and (options.validation or options.test):
        raise DataError(
            "--validation and --test go with --train, the source of the training split. "
            "Received no --train."
        )
    source = "sample" if options.data is None else options.data
    settings = {
        name: given[name]
        for name in (*(name.replace("-", "_") for name, _, _ in SETTINGS), "bidirectional", "ema")
        if name in given
    }
    settings["class_weight"] = None if options.class_weight == "none" else options.class_weight
    model = options.model or "bilstm"
    if options.start_from is not None:
        start = load_artifact(start_folder(options.start_from))
        model = options.model or start.manifest.model
        settings["start_from"] = options.start_from
    out = options.out or default_out(model, str(options.train or source))
    checkpoint = check_out(out, overwrite=options.overwrite, resume=options.resume)
    if options.log_csv is not None:
        _check_log(options.log_csv, append=options.resume, overwrite=options.overwrite)
    if options.tensorboard is not None:
        _check_tensorboard(options.tensorboard)
    with command_line.quiet_import():
        import keras

        from sentiment.classifier import SentimentClassifier
    classifier = SentimentClassifier(model, **settings)
    classifier.check_settings()

    watched = command_line.interactive(sys.stderr)
    splits = load_splits(
        source,
        train=options.train,
        validation=options.validation,
        test=options.test,
        text_column=options.text_column,
        label_column=options.label_column,
        skip_bad_rows=options.skip_bad_rows,
        seed=classifier.seed,
        progress=watched,
    )
    for note in splits.notes:
        print(note)
    sizes = [f"{name} {len(getattr(splits, name)):,}" for name in ("train", "validation", "test")]
    print(f"{splits.source}: {', '.join(sizes)} reviews", flush=True)
    callbacks: list[Any] = []
    if options.log_csv is not None:
        callbacks.append(keras.callbacks.CSVLogger(options.log_csv, append=options.resume))
    if options.tensorboard is not None:
        callbacks.append(keras.callbacks.TensorBoard(options.tensorboard))
    if options.resume:
        found = checkpoint.exists()
        print(
            f"going on from {checkpoint}"
            if found
            else "no checkpoint; starting from the first epoch"
        )

    def report(epoch: "EpochReport") -> None:
        print(
            f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, validation loss "
            f"{epoch.validation_loss:.4f}, validation accuracy {epoch.validation_accuracy:.2%}, "
            f"{epoch.seconds:.1f} s",
            flush=True,
        )

    try:
        training = train(
            splits,
            classifier,
            out,
            overwrite=options.overwrite,
            resume=options.resume,
            callbacks=callbacks,
            on_epoch=report,
            progress=watched,
        )
    except KeyboardInterrupt:
        advice = "No epoch was finished; nothing was written."
        if checkpoint.exists():
            advice = "The finished epochs are kept; add --resume to the same command to go on."
        raise KeyboardInterrupt(advice) from None
    _print_training(training, classifier)


def _check_log(path: Path, *, append: bool, overwrite: bool) -> None:
    from sentiment.artifact import check_parent_writable

    if path.exists() and not (append or overwrite):
        raise ValueError(f"{path} exists already. Choose another, or add --overwrite.")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{path} cannot be written: its folder does not exist.")
    check_parent_writable(path)


def _check_tensorboard(folder: Path) -> None:
    import tensorboard  # noqa: F401  TensorFlow no longer brings it, and says so obscurely

    from sentiment.artifact import check_parent_writable

    check_parent_writable(folder / "events")


def _print_training(training: Training, classifier: "SentimentClassifier") -> None:
    evaluation, result = training.evaluation, classifier.result_
    low, high = evaluation.accuracy_interval
    print(
        f"best epoch: {result.best_epoch}, temperature {result.temperature:.2f}"
        + (", stopped early" if result.stopped_early else "")
    )
    print(
        f"{training.split}: accuracy {evaluation.accuracy:.2%} (95 % interval {low:.2%} to "
        f"{high:.2%}), macro-F1 {evaluation.macro_f1:.3f}, calibration error "
        f"{evaluation.ece:.2%}, {evaluation.n:,} reviews"
    )
    print(f"saved in {training.folder}; predict with:")
    print(
        f"  python -m sentiment.predict --model-dir {shlex.quote(str(training.folder))} "
        '"This film was okay"'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command_line.run(_main, _parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
