"""What the commands share: options, and how errors, Ctrl-C and exit statuses reach the person."""

import argparse
import codecs
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from sentiment.data import Reviews

FAILED = 2  # wrong input or settings
INTERRUPTED = 128 + signal.SIGINT
INSTALL = "in the checkout, pip install -e '.[{extra}]'"

# Errors that a person can do something about.  All others are bugs and keep their traceback.
KNOWN_ERRORS = (ValueError, OSError, FloatingPointError)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and that abbreviates no option."""

    def __init__(self, prog: str, description: str, epilog: str = ""):
        super().__init__(
            prog=f"python -m sentiment.{prog}",
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2."""
        print(f"{self.prog}: error: {message} (--help lists all options)", file=sys.stderr)
        raise SystemExit(FAILED)


def add_data_options(
    parser: argparse.ArgumentParser, *, purpose: str, default: str | None = None
) -> None:
    """Options that say which reviews to read; `--data` is `None` unless it is given.

    Args:
        parser: of the command.
        purpose: what the reviews are for.
        default: the source that the command takes where none is given, for the help.
    """
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help=f"{purpose}: sample, imdb, a .csv/.tsv/.jsonl/.parquet file, a folder with one "
        "sub-folder per label, or a .tar.gz of one" + (f" (default: {default})" if default else ""),
    )
    parser.add_argument("--text-column", metavar="NAME", help="column with the texts")
    parser.add_argument("--label-column", metavar="NAME", help="column with the labels")
    add_skip_option(parser)


def add_split_option(parser: argparse.ArgumentParser) -> None:
    """The option that says which split to measure on."""
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test", "all"),
        help="split of a source that has splits (default: test)",
    )


def read_split(options: argparse.Namespace) -> "tuple[str, Reviews, list[str]]":
    """Name and reviews of the split that the options ask for, and notes for the person."""
    from sentiment.data import choose_split, load_reviews

    splits, notes = load_reviews(
        options.data,
        text_column=options.text_column,
        label_column=options.label_column,
        skip_bad_rows=options.skip_bad_rows,
        progress=interactive(sys.stderr),
    )
    return *choose_split(splits, options.split), list(notes)


def add_skip_option(parser: argparse.ArgumentParser) -> None:
    """The option to go on over rows that cannot be used."""
    parser.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="report rows that cannot be used and go on, rather than refuse the file",
    )


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """The option that says which saved model to use."""
    parser.add_argument(
        "--model-dir",
        metavar="FOLDER",
        help="folder of a saved model (default: the one that ships with the package)",
    )


def add_overwrite_option(parser: argparse.ArgumentParser) -> None:
    """The option to replace what is there."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the output if it exists already"
    )


def run(
    main: Callable[[argparse.Namespace], None],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
) -> int:
    """Parse, call, and turn known errors into one line on standard error.

    Args:
        main: does the work.
        parser: of the command.
        argv: arguments; `None` for the process' own.

    Returns:
        The exit status: 0, 2 after an error, 130 after Ctrl-C.
    """
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:  # --help, or Parser.error
        return int(stop.code or 0)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not when a test or a notebook replaced it
            stream.reconfigure(errors="backslashreplace")
    try:
        main(options)
        if sys.stdout is not None:  # closed before the command was started
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        if interactive(sys.stderr):
            print(file=sys.stderr)  # the terminal shows ^C, and a bar may stand there
        print(f"{parser.prog}: interrupted. {stop}".rstrip(), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "sentiment":
            raise
        install = INSTALL.format(extra="tensorboard" if error.name == "tensorboard" else "train")
        print(
            f"{parser.prog}: error: this needs the package {error.name}: {install}",
            file=sys.stderr,
        )
        return FAILED
    except KNOWN_ERRORS as error:
        message = " ".join(str(error).split())
        print(f"{parser.prog}: error: {message}", file=sys.stderr)
        return FAILED
    return 0


def interactive(stream: Any) -> bool:
    """Whether a stream is a terminal, so that a person watches."""
    return bool(getattr(stream, "isatty", lambda: False)())


def writes_utf8() -> bool:
    """Whether standard output takes every character; else JSON needs its own escapes for them."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name == "utf-8"


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Keep what TensorFlow's libraries print while they are imported off the terminal.

    They write to file descriptor 2 directly.  If the import fails, what was kept is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tempfile

    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        saved = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception:
            os.dup2(saved, 2)
            kept.seek(0)
            sys.stderr.write(kept.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
