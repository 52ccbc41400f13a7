"""Train a network on labelled reviews: python -m sentiment.train."""

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment import command_line
from sentiment.data import DataError, Splits, Table, is_table, load_splits, load_unlabelled

if TYPE_CHECKING:
    from sentiment.artifact import Artifact
    from sentiment.classifier import SentimentClassifier
    from sentiment.fitting import EpochReport
    from sentiment.metrics import Evaluation
    from sentiment.stepwise import StepReport

EXAMPLES = """examples:
  python -m sentiment.train
  python -m sentiment.train --data reviews.csv --model lstm --out my_model
  python -m sentiment.train --data path/to/aclImdb_v1.tar.gz --out saved_models/my_imdb
  python -m sentiment.train --data reviews.csv --pretrain many_unlabelled_reviews.csv
  python -m sentiment.train --recipe imdb --source imdb=path/to/aclImdb_v1.tar.gz
  python -m sentiment.train --train a.csv --validation b.csv --test c.csv --epochs 10
"""

# Options that are settings of SentimentClassifier: name, type, help.  Not given, they are left to
# its signature, where the defaults live; a test compares the defaults named here with it.
NETWORK_SETTINGS: tuple[tuple[str, type, str], ...] = (
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
)
SETTINGS = (
    *NETWORK_SETTINGS,
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
    unlabelled: Sequence[str] = (),
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    on_step: "Callable[[StepReport], None] | None" = None,
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
        unlabelled, callbacks, on_step, on_epoch, progress: as `SentimentClassifier.fit`.

    Raises:
        ValueError: a setting is out of range, or the folder or checkpoint stands in the way.
    """
    from sentiment.checkpoints import remove_files_of_run

    checkpoint = check_out(folder, overwrite=overwrite, resume=resume)
    try:
        classifier.fit(
            splits.train.texts,
            splits.train.labels,
            validation=(splits.validation.texts, splits.validation.labels),
            unlabelled=unlabelled,
            checkpoint=checkpoint,
            resume=resume,
            callbacks=callbacks,
            on_step=on_step,
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
    remove_files_of_run(checkpoint)
    return Training(folder, evaluation, split)


def check_out(folder: Path, *, overwrite: bool, resume: bool) -> Path:
    """The checkpoint that belongs to an output folder, if a run may use both.

    Raises:
        ValueError: the folder exists or cannot be written, or there is something of an unfinished
            run and neither `resume` nor `overwrite` says what to do with it.
    """
    from sentiment.artifact import check_writable
    from sentiment.checkpoints import files_of_run

    check_writable(folder, overwrite=overwrite)
    checkpoint = folder.absolute().with_name(f"{folder.name}.checkpoint.npz")
    if not (overwrite or resume):
        check_nothing_left(*files_of_run(checkpoint))
    return checkpoint


def check_nothing_left(*paths: Path) -> None:
    """Raise `ValueError` for the first of these files of an unfinished run that exists."""
    for path in paths:
        if path.exists():
            raise ValueError(
                f"{path} is left from a run that did not end. Add --resume to go on, "
                "or --overwrite to start again."
            )


def choose_start(
    start_from: str | None, wanted: Mapping[str, Any]
) -> "tuple[Artifact | None, str]":
    """What a network starts from, and a line that says so.

    Args:
        start_from: folder of a saved model, `"default"` for the one that ships with the package,
            `"scratch"` for none, or `None` for the one that ships where it suits.
        wanted: settings of the builder that were asked for, and the builder itself as `model`.

    Returns:
        The saved model, `None` for a start from scratch; and the line.

    Raises:
        ArtifactError: the model is missing, not whole or changed.
    """
    from sentiment.artifact import load_artifact, misfit, start_folder

    if start_from == "scratch":
        return None, "starting from scratch"
    shipped = "the model that ships with the package"
    folder = start_folder("default" if start_from is None else start_from)
    if start_from is None and not folder.exists():
        return None, f"starting from scratch: {shipped} is not installed"
    start = load_artifact(folder)
    if start_from is not None:
        return start, f"starting from {shipped if start_from == 'default' else folder}"
    other = misfit(start.manifest, wanted)
    if other is None:
        return start, f"starting from {shipped}"
    if other == "model":
        found = f"the builder {start.manifest.model}, not {wanted[other]}"
    elif other in start.manifest.settings:
        found = f"{other} {start.manifest.settings[other]}, not {wanted[other]}"
    else:
        found = f"no {other}"
    return None, f"starting from scratch: {shipped} has {found}"


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
        help="saved model to go on from, with its builder, settings and words: a folder, default "
        "for the one that ships with the package, or scratch for none, with the defaults below "
        "(default: default where it has the builder and settings asked for, else scratch)",
    )
    parser.add_argument(
        "--pretrain",
        metavar="SOURCE",
        help="start from word vectors and a language model of these unlabelled texts",
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="make one of the package's own models, imdb or default, or that of a recipe file",
    )
    parser.add_argument(
        "--source",
        dest="sources",
        action="append",
        default=[],
        type=_named_path,
        metavar="NAME=PATH",
        help="where a source of the recipe is; for each that does not come with the package",
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
        "--correct-spelling",
        action="store_true",
        default=argparse.SUPPRESS,
        help="read an unknown word as a known one that differs in a letter",
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


def _named_path(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"expected NAME=PATH. Received: {text!r}")
    return name, path


def default_out(model: str, source: str) -> Path:
    """`saved_models/MODEL-SOURCE` in the current folder."""
    name = Path(source).name.split(".")[0] or "reviews"
    return Path("saved_models") / f"{model}-{name}"


def _main(options: argparse.Namespace) -> None:
    given = vars(options)
    if options.recipe is not None:
        _make(options)
        return
    if options.sources:
        raise DataError("--source goes with --recipe. For other training there is --data.")
    if options.pretrain is not None and options.start_from not in (None, "scratch"):
        raise DataError(
            "Expected either --from, a saved model, or --pretrain, texts to start from. "
            "Received both."
        )
    if options.data is not None and options.train is not None:
        raise DataError(f"Expected either --data or --train. Received both: {options.data}")
    if options.train is None and (options.validation or options.test):
        raise DataError(
            "--validation and --test go with --train, the source of the training split. "
            "Received no --train."
        )
    source = "sample" if options.data is None else options.data
    names = [name.replace("-", "_") for name, _, _ in SETTINGS]
    names += ["bidirectional", "correct_spelling", "ema"]
    settings = {name: given[name] for name in names if name in given}
    settings["class_weight"] = None if options.class_weight == "none" else options.class_weight
    network = [name.replace("-", "_") for name, _, _ in NETWORK_SETTINGS]
    names = ("model", *network, "bidirectional")
    wanted = {name: given[name] for name in names if given.get(name) is not None}
    from_what = "scratch" if options.pretrain is not None else options.start_from
    start, start_line = choose_start(from_what, wanted)
    model = options.model or "bilstm"
    if start is not None:
        model = options.model or start.manifest.model
        settings["start_from"] = start.folder
    out = options.out or default_out(model, str(options.train or source))
    checkpoint = check_out(out, overwrite=options.overwrite, resume=options.resume)
    if options.log_csv is not None:
        _check_log(options.log_csv, append=options.resume, overwrite=options.overwrite)
    if options.tensorboard is not None:
        _check_tensorboard(options.tensorboard)
    with command_line.quiet_import():
        import keras

        from sentiment.checkpoints import files_of_run
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
    print(f"{splits.source}: {', '.join(sizes)} reviews")
    print(start_line, flush=True)
    unlabelled = []
    if options.pretrain is not None:
        unlabelled = _unlabelled(options, splits, watched)
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

    def report_steps(done: "StepReport") -> None:
        print(
            f"language model: step {done.step:,} of {done.steps:,}, loss {done.loss:.4f}, "
            f"{done.seconds:.0f} s",
            flush=True,
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
            unlabelled=unlabelled,
            resume=options.resume,
            callbacks=callbacks,
            on_step=report_steps,
            on_epoch=report,
            progress=watched,
        )
    except KeyboardInterrupt:
        advice = "No epoch was finished; nothing was written."
        if checkpoint.exists():
            advice = "The finished epochs are kept; add --resume to the same command to go on."
        elif any(path.exists() for path in files_of_run(checkpoint)):
            advice = "The language model so far is kept; add --resume to the same command to go on."
        raise KeyboardInterrupt(advice) from None
    _print_training(training, classifier)


def _unlabelled(options: argparse.Namespace, splits: Splits, watched: bool) -> list[str]:
    """Texts to pre-train on, without those that are like a text to validate or test on."""
    from sentiment.leaks import find_leaks

    source, column = options.pretrain, options.text_column
    if column is not None and not (is_table(source) and column in Table(Path(source)).columns):
        column = None  # it is that of --data alone
    texts, notes = load_unlabelled(
        source, text_column=column, skip_bad_rows=options.skip_bad_rows, progress=watched
    )
    measured = splits.validation.texts + splits.test.texts
    leaks = {leak.position for leak in find_leaks(texts, measured)}
    if leaks:
        notes.append(f"removed {len(leaks):,} unlabelled texts that are in validation or test")
    for note in notes:
        print(note)
    texts = [text for i, text in enumerate(texts) if i not in leaks]
    if not texts:
        raise DataError(f"{source} has no text to pre-train on that is not in validation or test.")
    print(f"{Path(source).name}: {len(texts):,} unlabelled texts", flush=True)
    return texts


def _make(options: argparse.Namespace) -> None:
    """Make the model of a recipe."""
    allowed = {"recipe", "sources", "out", "overwrite", "resume"}
    unset = vars(_parser().parse_args([]))
    others = [
        name
        for name, value in vars(options).items()
        if name not in allowed and (name not in unset or value != unset[name])
    ]
    if others:
        raise DataError(
            "--recipe brings its own settings and goes with --source, --out, --overwrite and "
            f"--resume alone. Received also: --{others[0].removeprefix('start_').replace('_', '-')}"
        )
    with command_line.quiet_import():
        from sentiment.recipe import load_recipe, make, remove_stages, stages_folder

    recipe = load_recipe(options.recipe)
    out = options.out or Path("saved_models") / recipe.name
    stages = stages_folder(out)
    if not (options.resume or options.overwrite):
        check_nothing_left(stages)
    try:
        make(
            recipe,
            dict(options.sources),
            out,
            overwrite=options.overwrite,
            resume=options.resume,
            say=lambda line: print(line, flush=True),
        )
    except KeyboardInterrupt:
        advice = "What was done is kept; add --resume to the same command to go on."
        raise KeyboardInterrupt(advice) from None
    remove_stages(stages)
    _print_saved(out)


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
    _print_saved(training.folder)


def _print_saved(folder: Path) -> None:
    print(f"saved in {folder}; predict with:")
    print(
        f'  python -m sentiment.predict --model-dir {shlex.quote(str(folder))} "This film was okay"'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command_line.run(_main, _parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
