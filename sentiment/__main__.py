"""`python -m sentiment` lists the commands, and `python -m sentiment COMMAND …` runs one."""

import importlib
import sys
from collections.abc import Sequence

from sentiment import __version__

COMMANDS = {
    "train": "learn from labelled reviews",
    "evaluate": "measure a model on labelled reviews",
    "predict": "label texts, lines or files",
    "explain": "watch a model read, word by word and gate by gate",
    "compare": "train many models under the same conditions and rank them",
    "benchmark": "measure start-up, speed and memory on this machine",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named first; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        command = importlib.import_module(f"sentiment.{arguments[0]}")
        return command.main(arguments[1:])
    if arguments and arguments[0] == "--version":
        print(__version__)
        return 0
    if arguments and arguments[0] not in ("-h", "--help"):
        print(
            f"python -m sentiment: error: no command {arguments[0]!r}; "
            f"expected one of: {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return 2
    print("Sentiment classification with recurrent networks.\n")
    for name, purpose in COMMANDS.items():
        print(f"  python -m sentiment.{name:10} {purpose}")
    print("\nEach has --help.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
