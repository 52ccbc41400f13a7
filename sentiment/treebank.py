"""Labelled phrases and sentences of the Stanford Sentiment Treebank.

The treebank's sentences come from film reviews.  Each is a tree, and each of its phrases, down to
the single word, was labelled from 0 (very negative) to 4 (very positive).  Here 0 and 1 are
negative, 2 is neutral, 3 and 4 are positive.

Source: Socher et al., "Recursive deep models for semantic compositionality over a sentiment
treebank" (2013).
"""

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentiment.data import (
    SPLIT_NAMES,
    BadRows,
    DataError,
    Reviews,
    Table,
    find_column,
    text_problem,
)
from sentiment.preprocessing import review_words

MEMBERS = {  # of the official archive, trainDevTestTrees_PTB.zip
    "train": "trees/train.txt",
    "validation": "trees/dev.txt",
    "test": "trees/test.txt",
}
ALLOWED = {  # values of a table's columns, beside its `text`
    "label": {*"01234"},
    "split": SPLIT_NAMES,
    "is_sentence": {*"01"},
}
LABELS = ("negative", "negative", "neutral", "positive", "positive")  # of 0 to 4
SHORT = 5  # a phrase of fewer words is anybody's: it may be in a held-out sentence too

_TREE_TOKEN = re.compile(r"\([0-4](?= )|[()]|[^() ]+")  # a lone "(" opens no phrase
_SYMBOLS = {"-LRB-": "(", "-RRB-": ")", "''": '"'}
_ESCAPED = re.compile(r"\\([/*])")
_BEFORE = re.compile(  # spaces that natural writing does not have: before these words …
    r"""[ ](?=(?:n't|'(?:s|re|ve|ll|d|m)?|[".,!?;:)%]|\.\.\.)(?:[ ]|$))"""
)
_AFTER = re.compile(r"(?:(?<= )|^)([($#]|``?) ")  # … and after these


@dataclass(frozen=True)
class Treebank:
    """The treebank, written as a person writes.

    Attributes:
        train, validation, test: the sentences of each split, in the order of the file; empty where
            the file has none.  The labels are `negative`, `neutral` and `positive`.
        phrases: the distinct phrases of the training sentences, whole sentences included, in the
            order in which they come first, and with the label that they first have.
    """

    train: Reviews
    validation: Reviews
    test: Reviews
    phrases: Reviews


@dataclass(frozen=True)
class _Phrase:
    """One phrase as the file has it; `split` is a key of `MEMBERS`, `label` 0 to 4."""

    text: str
    label: int
    split: str
    is_sentence: bool


def load_treebank(path: str | Path) -> Treebank:
    """Read the treebank.

    Args:
        path: `trainDevTestTrees_PTB.zip`, the official archive; or a table (see `sentiment.data`)
            with the columns `text`, `label` (0 to 4), `split` (train, dev or test) and
            `is_sentence` (0 or 1), a row for each phrase.

    Raises:
        DataError: the file is missing, is neither, or holds something that is no labelled phrase;
            or no training sentence.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}. Expected trainDevTestTrees_PTB.zip or a table.")
    is_zip = path.suffix.lower() == ".zip"
    treebank = _gathered(_zip_phrases(path) if is_zip else _table_phrases(path))
    if not len(treebank.train):
        raise DataError(f"{path} holds no training sentence.")
    return treebank


def held_out(treebank: Treebank, *, count: int = 850, seed: int = 0) -> tuple[Reviews, Reviews]:
    """Take sentences out of training, to validate on, and all that would give them away.

    Of the other sentences' phrases, those stay that are in no held-out sentence.  A phrase of fewer
    than five words also stays if it is in one but is not the whole of it: "a good film" may be said
    anywhere.  What is compared are the words that a network reads (`review_words`).  Phrases
    without a word are left out.

    Args:
        treebank: the treebank.
        count: of training sentences to hold out; a tenth by default.
        seed: which ones.

    Returns:
        The phrases to learn from and the sentences held out.  A phrase is a whole sentence where
        its text is in `treebank.train.texts`.

    Raises:
        ValueError: `count` is below 1, or leaves no sentence to learn from.
    """
    sentences = treebank.train
    if not 1 <= count < len(sentences):
        raise ValueError(
            f"`count` must be at least 1 and below the number of training sentences, "
            f"{len(sentences)}. Received: {count}"
        )
    drawn = set(np.random.default_rng(seed).choice(len(sentences), count, replace=False).tolist())
    words = [tuple(review_words(text)) for text in sentences.texts]
    whole = {words[i] for i in drawn}
    inside = {run for sentence in whole for run in _runs(sentence, len(sentence))}
    others = {run for sentence in set(words) - whole for run in _runs(sentence, SHORT - 1)}
    given_away = inside - (others - whole)
    kept = Reviews([], [])
    for text, label in zip(treebank.phrases.texts, treebank.phrases.labels, strict=True):
        phrase = tuple(review_words(text))
        if phrase and phrase not in given_away:
            kept.texts.append(text)
            kept.labels.append(label)
    order = sorted(drawn)
    return kept, Reviews([sentences.texts[i] for i in order], [sentences.labels[i] for i in order])


def _runs(words: tuple[str, ...], longest: int) -> Iterator[tuple[str, ...]]:
    """All runs of one to so many words in a row."""
    for start in range(len(words)):
        for end in range(start + 1, min(start + longest, len(words)) + 1):
            yield words[start:end]


def detokenise(text: str) -> str:
    """A text of the treebank as a person would write it: contractions, quotes, punctuation.

    >>> print(detokenise("It 's `` fun '' -LRB- at times -RRB- , but you ca n't laugh ."))
    It's "fun" (at times), but you can't laugh.
    """
    text = " ".join(_SYMBOLS.get(word, word) for word in text.split())
    text = _AFTER.sub(r"\1", _BEFORE.sub("", text)).replace("``", '"').replace("`", "'")
    return _ESCAPED.sub(r"\1", text)


def tree_phrases(tree: str) -> list[tuple[str, int]]:
    """All phrases of a tree with their labels, parts before the whole.

    Args:
        tree: in brackets: a label from 0 to 4, then a word or trees.

    Raises:
        ValueError: it is not one whole tree.

    >>> tree_phrases("(3 (2 It) (4 works))")
    [('It', 2), ('works', 4), ('It works', 3)]
    """
    words: list[str] = []
    opened: list[tuple[int, int]] = []  # label, and number of words before
    phrases: list[tuple[str, int]] = []
    for token in _TREE_TOKEN.findall(tree):
        if token[0] == "(" and len(token) == 2 and (opened or not phrases):
            opened.append((int(token[1]), len(words)))
        elif token == ")" and opened and opened[-1][1] < len(words):
            label, start = opened.pop()
            phrases.append((" ".join(words[start:]), label))
        elif token[0] not in "()" and opened:
            words.append(token)
        else:
            break
    else:
        if phrases and not opened:
            return phrases
    raise ValueError(
        f"`tree` must be one tree such as (3 (2 It) (4 works)). Received: {tree[:60]!r}"
    )


def _gathered(phrases: Iterable[_Phrase]) -> Treebank:
    sentences = {split: Reviews([], []) for split in MEMBERS}
    labels: dict[str, str] = {}
    for phrase in phrases:
        if phrase.split != "train" and not phrase.is_sentence:
            continue
        text = detokenise(phrase.text)
        if phrase.is_sentence:
            sentences[phrase.split].texts.append(text)
            sentences[phrase.split].labels.append(LABELS[phrase.label])
        if phrase.split == "train":
            labels.setdefault(text, LABELS[phrase.label])
    return Treebank(**sentences, phrases=Reviews(list(labels), list(labels.values())))


def _zip_phrases(path: Path) -> Iterator[_Phrase]:
    for split, member in MEMBERS.items():
        for number, tree in enumerate(_member(path, member).split("\n"), 1):
            if not tree.strip():
                continue
            try:
                *parts, whole = tree_phrases(tree.rstrip("\r"))
            except ValueError as error:
                raise DataError(f"{path}: line {number} of {member}: {error}") from error
            yield from (_Phrase(*part, split, False) for part in parts)
            yield _Phrase(*whole, split, True)


def _member(path: Path, member: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member).decode()
    except KeyError as error:
        raise DataError(
            f"{path} has no {member}. Expected trainDevTestTrees_PTB.zip of the Stanford Sentiment "
            "Treebank."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: {member} is not UTF-8: byte {error.start} cannot be decoded."
        ) from error
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, zlib.error) as error:
        raise DataError(f"{path} is not a readable zip archive: {error}") from error


def _table_phrases(path: Path) -> Iterator[_Phrase]:
    table = Table(path)
    for name in ("text", *ALLOWED):
        find_column(table.columns, name, (), name, path)
    bad = BadRows(path)
    for rows in table.chunks(4096):
        for row in rows:
            values = {name: str(row.values.get(name)).strip().casefold() for name in ALLOWED}
            problem = row.problem or text_problem(row.values.get("text")) or _problem(values)
            if problem:
                bad.add(row.number, problem)
                continue
            yield _Phrase(
                row.values["text"],
                int(values["label"]),
                SPLIT_NAMES[values["split"]],
                values["is_sentence"] == "1",
            )
    if bad:
        raise DataError(
            f"{bad}. Expected a label from 0 to 4, a split of train, dev or test, and is_sentence "
            "0 or 1."
        )


def _problem(values: dict[str, str]) -> str:
    wrong = [name for name, allowed in ALLOWED.items() if values[name] not in allowed]
    return f"{wrong[0]} is {values[wrong[0]]!r}" if wrong else ""
