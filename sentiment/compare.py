"""Train many models under the same conditions and rank them: python -m sentiment.compare."""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment import command_line, comparison
from sentiment.data import Splits, load_splits
from sentiment.workers import WorkerError

if TYPE_CHECKING:
    from sentiment.comparison import Conditions, Run, Task
    from sentiment.memory import MemoryReport

EXAMPLES = """examples:
  python -m sentiment.compare
  python -m sentiment.compare --data reviews.csv --models lstm,gru,bilstm --seeds 5
  python -m sentiment.compare --data path/to/aclImdb_v1.tar.gz --train-size all --units 64

After Ctrl-C the same command goes on.  More --models or --seeds add runs to those that are there.
"""


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "compare", "Train many models under the same conditions and rank them.", EXAMPLES
    )
    parser.add_argument(
        "--data",
        default="imdb",
        metavar="SOURCE",
        help="reviews to learn from and to measure on, as for train (default: imdb)",
    )
    parser.add_argument("--text-column", metavar="NAME", help="column with the texts")
    parser.add_argument("--label-column", metavar="NAME", help="column with the labels")
    command_line.add_skip_option(parser)
    parser.add_argument(
        "--train-size",
        type=_size,
        default=5000,
        metavar="N",
        help="training reviews, the same in every run, each label in its share; or all "
        "(default: 5000)",
    )
    parser.add_argument(
        "--models",
        type=_names,
        metavar="A,B,…",
        help="builders and baselines (default: all builders, and the baselines installed)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="runs of each model, with the seeds 0 to N-1 (default: 3; with --gradients 1)",
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--parameters",
        type=int,
        metavar="N",
        help="weights outside the embedding: each builder gets the units that come closest "
        "(default: those of lstm with 64 units)",
    )
    budget.add_argument(
        "--units", type=int, metavar="N", help="the same units for all builders instead"
    )
    parser.add_argument(
        "--pooling",
        metavar="NAME",
        help="of the states, for all builders that have it: last, max, mean, max+mean "
        "or attention (default: max+mean; with --gradients last)",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="most passes over the training texts (default: about 1,000 updates)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="texts per update (default: 32)"
    )
    parser.add_argument(
        "--gradients",
        action="store_true",
        help="measure instead how far back each builder remembers: gradients by distance, and "
        "recall of the first word",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="runs made at once, each with one thread (default: the number of cores)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("comparison"),
        metavar="FOLDER",
        help="where to write runs, table, leaderboard and picture (default: comparison)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="remove what an earlier comparison left there, and start again",
    )
    return parser


def _size(text: str) -> int | None:
    """A number of reviews, or `None` for all."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of at least 1, or all. Received: {text!r}"
        )
    return int(text)


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _main(options: argparse.Namespace, command: str) -> None:
    with command_line.quiet_import():
        import keras  # noqa: F401  most of the waiting, done quietly
    settings = {
        name: getattr(options, name)
        for name in ("parameters", "units", "epochs", "batch_size", "jobs")
    }
    (_gradients if options.gradients else _compare)(options, settings, command)


def _compare(options: argparse.Namespace, settings: dict[str, Any], command: str) -> None:
    settings["seeds"] = 3 if options.seeds is None else options.seeds
    settings["pooling"] = options.pooling or "max+mean"
    comparison.check_comparison(options.models, options.out, **settings)
    splits = _splits(options)
    with _advice(options, comparison.RUNS_FOLDER):
        compared = comparison.compare(
            splits, options.models, **settings, **_shared(options), on_run=_print_line
        )
    files = comparison.write_comparison(compared, options.out, command=command)
    print(f"\n{compared.table()}\n")
    print("wrote " + ", ".join(map(str, files)))


def _gradients(options: argparse.Namespace, settings: dict[str, Any], _: str) -> None:
    for name in ("seeds", "pooling"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"--{name} does not go with --gradients, which has one seed and pools the last "
                f"state. Received: {getattr(options, name)}"
            )
    networks = comparison.check_networks(options.models)
    comparison.check_comparison(networks, options.out, seeds=1, pooling="last", **settings)
    splits = _splits(options)
    with _advice(options, comparison.MEMORY_FOLDER):
        reports = comparison.measure_gradients(
            splits, networks, **settings, **_shared(options), on_report=_print_line
        )
    from sentiment.memory import write_memory

    files = write_memory(reports, options.out)
    print("wrote " + ", ".join(map(str, files)))


def _shared(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "folder": options.out,
        "overwrite": options.overwrite,
        "on_plan": _print_plan,
        "progress": command_line.interactive(sys.stderr),
    }


def _splits(options: argparse.Namespace) -> Splits:
    splits = load_splits(
        options.data,
        text_column=options.text_column,
        label_column=options.label_column,
        skip_bad_rows=options.skip_bad_rows,
        progress=command_line.interactive(sys.stderr),
    )
    splits = comparison.smaller_training(splits, options.train_size)
    for note in splits.notes:
        print(note)
    return splits


@contextlib.contextmanager
def _advice(options: argparse.Namespace, kept: str) -> Iterator[None]:
    """Say after Ctrl-C or the end of a worker process what is kept and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, WorkerError) as stop:
        advice = "Nothing was finished."
        if any((options.out / kept).glob("*.json")):
            again = (
                "the same command without --overwrite" if options.overwrite else "the same command"
            )
            advice = f"What is finished is kept in {options.out}; {again} goes on from it."
        raise type(stop)(f"{stop} {advice}".strip()) from None


def _print_plan(conditions: "Conditions", tasks: "Sequence[Task]", finished: int) -> None:
    print(conditions)
    kept = f", {finished} finished before" if finished else ""
    print(f"{len(tasks)} run{'s' * (len(tasks) != 1)} to make{kept}", flush=True)


def _print_line(line: "Run | MemoryReport") -> None:
    from tqdm import tqdm

    tqdm.write(str(line), file=sys.stdout)  # above the bar, if there is one
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join(["python", "-m", "sentiment.compare", *arguments])
    return command_line.run(lambda options: _main(options, command), _parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
