"""Texts to integers and back: `Tokenizer`, `pad_sequences`, `TextEncoder`.

One implementation serves training and prediction, so the two cannot differ.  Nothing here needs
Keras: with its default settings `Tokenizer` gives the ids of Keras' `Tokenizer`, and
`pad_sequences` the arrays of `keras.utils.pad_sequences`.  The application itself uses
`Tokenizer(analyzer="reviews")`, whose words come from `review_words`.
"""

import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby, islice
from typing import Any

import numpy as np

PADDING_ID = 0
OOV_ID = 1
OOV_TOKEN = "<OOV>"
SHORTEST_MISSPELT = 5  # letters

KERAS_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'

# ---------------------------------------------------------------------------- words of a review

_TAG = re.compile(r"<(?:/?[a-zA-Z]|!)[^<>]*>")  # not "</3 … >"
_LONG_REFERENCE = re.compile(r"(?<=&#)[0-9]{8,}")  # no character has such a number
_MOST_MARKS = 30  # combining marks in a row, as in Unicode's Stream-Safe Text Format (UAX 15)
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u00b4": "'", "`": "'"})
# "sooooo" and "!!!!" say no more than "soo" and "!!"; digits keep their repeats (1000).
_REPEATED = re.compile(r"([^\W\d_]|[!?])\1{2,}")
# "didnt" is read as "didn't"
_NO_APOSTROPHE = re.compile(
    r"\b(ai|are|ca|could|did|do|does|had|has|have|is|might|must|need|should|was|were|wo|would)nt\b"
)
_EMOTICON = r"""[<>]?[:;=][-'^o]?[)(\]\[dp/\\|*}{@3]+(?!\w)|</?3(?!\d)|\^_+\^"""
_EMOJI = "[\u2600-\u27bf\u2b50\u2b55\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff]"
_WORD = re.compile(
    rf"""
      (?<!\w)(?:{_EMOTICON}) | (?<=\w)[:;]-?[)(]+(?!\w)  # also great:)
    | \d+(?:\.\d+)?/\d+                        # 7/10, 2.5/5
    | [^\W\d_]+(?=n't\b) | n't\b               # was|n't, ca|n't: the negation is a word of its own
    | '(?:s|re|ve|ll|d|m)\b                    # it|'s, they|'re
    | \w+                                      # words and numbers
    | [!?]
    | {_EMOJI}
    """,
    re.VERBOSE,
)


def review_words(text: str) -> list[str]:
    """Split a review into the words that the application's networks read.

    HTML is unescaped and tags such as `<br />` become spaces; Unicode is normalised (NFC) and case
    folded; letters and `!?` repeated more than twice are cut to two; contractions, also without
    their apostrophe, are split so that *n't* is a word; `!`, `?`, ratings such as 7/10, emoticons
    and emoji are words; other punctuation separates words.

    Args:
        text: one review.

    Returns:
        The words, in reading order; empty when the text holds none.

    >>> review_words("It wasn't <b>bad</b>... 7/10 :)")
    ['it', 'was', "n't", 'bad', '7/10', ':)']
    """
    return [word for chunk in _without_html(text).split() for word in _chunk_words(chunk)]


# No rule looks across whitespace, so words are worked out once for each whitespace-free chunk: most
# chunks of a text have come before.  The bounds keep memory at some tens of MB for texts of any
# size.
_CACHED_CHUNKS = 200_000
_CACHED_CHUNK_LENGTH = 64


def _without_html(text: str) -> str:
    if "&" in text:
        # Python refuses to read numbers of thousands of digits; the first eight say as much.
        text = _LONG_REFERENCE.sub(lambda match: f"0{match.group().lstrip('0')[:8]}", text)
        text = html.unescape(text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    return text


def _chunk_words(chunk: str) -> tuple[str, ...]:
    split = _split_chunk_cached if len(chunk) <= _CACHED_CHUNK_LENGTH else _split_chunk
    return split(chunk)


def _split_chunk(chunk: str) -> tuple[str, ...]:
    if not chunk.isascii():
        chunk = unicodedata.normalize("NFC", _without_mark_floods(chunk))
    chunk = chunk.translate(_APOSTROPHES).casefold()
    chunk = _NO_APOSTROPHE.sub(r"\1n't", _REPEATED.sub(r"\1\1", chunk))
    return tuple(match.group() for match in _WORD.finditer(chunk))


def _without_mark_floods(chunk: str) -> str:
    """Cut long runs of combining marks, which normalisation would sort in quadratic time."""
    runs = groupby(chunk, key=lambda character: unicodedata.combining(character) > 0)
    return "".join("".join(islice(run, _MOST_MARKS) if marks else run) for marks, run in runs)


_split_chunk_cached = lru_cache(_CACHED_CHUNKS)(_split_chunk)


def text_to_word_sequence(
    text: str, filters: str = KERAS_FILTERS, lower: bool = True, split: str = " "
) -> list[str]:
    """Split a text as Keras' function of this name does.

    Args:
        text: the text.
        filters: characters that are replaced by `split`.
        lower: whether to lower-case first.
        split: the separator between words.

    Returns:
        The non-empty parts between separators.
    """
    if lower:
        text = text.lower()
    text = text.translate(dict.fromkeys(map(ord, filters), split))
    return [word for word in text.split(split) if word]


def one_letter_less(word: str) -> set[str]:
    """A word with each of its letters but the first left out: two slips of one word share one.

    >>> sorted(one_letter_less("graet") & one_letter_less("great"))
    ['grat', 'gret']
    """
    return {word[:i] + word[i + 1 :] for i in range(1, len(word))}


ANALYZERS: dict[str, Callable[[str], list[str]]] = {"reviews": review_words}


class _ChunkIds(dict):
    """Ids of whitespace-free chunks, worked out once each."""

    def __init__(self, word_id: Callable[[str], int | None]):
        super().__init__()
        self._word_id = word_id

    def __missing__(self, chunk: str) -> tuple[int, ...]:
        ids = tuple(i for i in map(self._word_id, _split_chunk(chunk)) if i is not None)
        if len(self) >= _CACHED_CHUNKS:
            self.clear()
        if len(chunk) <= _CACHED_CHUNK_LENGTH:
            self[chunk] = ids
        return ids


class Tokenizer:
    """Turns texts into lists of word ids, most frequent word first.

    The interface and, with default settings, the ids are those of Keras' `Tokenizer`: id 0 is kept
    for padding, `oov_token` takes id 1 when it is given, words follow by falling frequency, equally
    frequent words in the order in which they were first seen.  Unlike there, `analyzer` names an
    entry of `ANALYZERS`, so that it survives `to_json`.

    Args:
        num_words: only ids below this number are given out; `None` for no limit.
        filters: characters that are taken for the separator.  Not used with an analyzer.
        lower: whether to lower-case.  Not used with an analyzer.
        split: separator between words.  Not used with an analyzer.
        char_level: whether each character is a word.
        oov_token: stands for unknown words; without it they are left out.
        analyzer: name of the function that splits texts, or `None` for Keras' rule.
        correct_spelling: whether an unknown word of five letters or more is read as the most
            frequent known one that differs in a letter, missing, added, changed or moved: "graet"
            as "great".  The first letter is taken to be right.

    Attributes:
        word_index: word → id, of every word seen, also of those from `num_words` on.
        index_word: id → word.
        word_counts: word → number of occurrences, in the order in which the words were first seen.
        word_docs: word → number of texts that contain it.
        index_docs: id → number of texts that contain the word.
        document_count: number of texts fitted on.

    Raises:
        ValueError: `analyzer` is not in `ANALYZERS`, or `num_words` is below 1.
    """

    def __init__(
        self,
        num_words: int | None = None,
        *,
        filters: str = KERAS_FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        analyzer: str | None = None,
        correct_spelling: bool = False,
    ):
        if analyzer is not None and analyzer not in ANALYZERS:
            raise ValueError(
                f"`analyzer` must be None or one of {sorted(ANALYZERS)}. Received: {analyzer!r}"
            )
        if num_words is not None and num_words < 1:
            raise ValueError(f"`num_words` must be at least 1 or None. Received: {num_words}")
        self.num_words = num_words
        self.filters = filters
        self.lower = lower
        self.split = split
        self.char_level = char_level
        self.oov_token = oov_token
        self.analyzer = analyzer
        self.correct_spelling = correct_spelling
        self.document_count = 0
        self.word_counts: dict[str, int] = {}
        self.word_docs: dict[str, int] = {}
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}
        self.index_docs: dict[int, int] = {}
        self._chunk_ids = _ChunkIds(self._word_id)

    def words(self, text: str | list[str]) -> list[str]:
        """Split one text, or take a list of words as it is (lower-cased if `lower`)."""
        if isinstance(text, list):
            return [word.lower() for word in text] if self.lower else list(text)
        if self.char_level:
            return list(text.lower() if self.lower else text)
        if self.analyzer is not None:
            return ANALYZERS[self.analyzer](text)
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def fit_on_texts(self, texts: Iterable[str | list[str]]) -> None:
        """Count the words of `texts` and number them.  May be called again: counts add up.

        Raises:
            TypeError: `texts` is a single string.
        """
        counts = Counter(self.word_counts)
        docs = Counter(self.word_docs)
        document_count = self.document_count
        for text in checked_texts(texts, str | list):
            words = self.words(text)
            counts.update(words)
            docs.update(dict.fromkeys(words).keys())  # a set's order differs between processes
            document_count += 1
        self.document_count = document_count
        self.word_counts = dict(counts)
        self.word_docs = dict(docs)
        vocabulary = [] if self.oov_token is None else [self.oov_token]
        vocabulary += sorted(counts, key=counts.__getitem__, reverse=True)  # stable
        # Where the oov_token is also a word of the texts the later id counts, as in Keras.
        self._number({word: i for i, word in enumerate(vocabulary, 1)})

    def _number(self, word_index: dict[str, int]) -> None:
        self.word_index = word_index
        self.index_word = {i: word for word, i in self.word_index.items()}
        self.index_docs = {self.word_index[word]: n for word, n in self.word_docs.items()}
        self._chunk_ids = _ChunkIds(self._word_id)
        self.__dict__.pop("_slips", None)  # made anew when it is needed

    def _word_id(self, word: str) -> int | None:
        """Id of a word; the id of `oov_token`, or `None` without one, where it has none."""
        i = self._known_id(word)
        if i is None and self.correct_spelling and len(word) >= SHORTEST_MISSPELT:
            less = one_letter_less(word)
            found = [self._slips.get(slip) for slip in (word, *less)]  # a letter is missing, or is
            found += map(self._known_id, less)  # another or elsewhere; or there is one too many
            i = min((other for other in found if other is not None), default=None)
        return self._oov_id if i is None else i

    @cached_property
    def _slips(self) -> dict[str, int]:
        """Known words with one letter left out → the most frequent such word's id."""
        slips: dict[str, int] = {}
        for word, i in self.word_index.items():
            if len(word) >= SHORTEST_MISSPELT - 1 and self._known_id(word) is not None:
                for slip in one_letter_less(word):
                    slips[slip] = min(i, slips.get(slip, i))
        return slips

    def _known_id(self, word: str) -> int | None:
        """Id of a word that has one."""
        i = self.word_index.get(word)
        return None if i is None or (self.num_words and i >= self.num_words) else i

    def texts_to_sequences(self, texts: Iterable[str | list[str]]) -> list[list[int]]:
        """Ids of each text's words.

        Args:
            texts: strings, or lists of words.

        Returns:
            One list of ids per text, empty where a text has no (known) word.

        Raises:
            TypeError: `texts` is a single string.
        """
        if self.analyzer == "reviews" and not self.char_level:
            return [
                self._review_ids(text) if isinstance(text, str) else self._ids(text)
                for text in checked_texts(texts, str | list)
            ]
        return [self._ids(text) for text in checked_texts(texts, str | list)]

    def _ids(self, text: str | list[str]) -> list[int]:
        return [i for i in map(self._word_id, self.words(text)) if i is not None]

    def _review_ids(self, text: str) -> list[int]:
        """`_ids` for the review analyzer, some ten times as fast: a dictionary look-up a chunk."""
        ids: list[int] = []
        extend, known = ids.extend, self._chunk_ids
        for chunk in _without_html(text).split():
            extend(known[chunk])
        return ids

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """Words of each sequence, joined by spaces; ids without a word become `oov_token`."""
        texts = []
        for sequence in sequences:
            words = []
            for i in map(int, sequence):
                word = self.index_word.get(i)
                if word is None or (self.num_words and i >= self.num_words):
                    word = self.oov_token
                if word is not None:
                    words.append(word)
            texts.append(" ".join(words))
        return texts

    @property
    def vocab_size(self) -> int:
        """Rows that an embedding of these ids needs: the highest id given out, plus one."""
        size = max(self.word_index.values(), default=0) + 1
        if not self.num_words:
            return size
        # As in Keras the oov_token keeps its id, even one that `num_words` excludes.
        return max(min(size, self.num_words), self.word_index.get(self.oov_token, 0) + 1)

    def cut(self) -> "Tokenizer":
        """A copy that forgets the words it gives no id to.  Its sequences are the same."""
        copy = Tokenizer(self.num_words, **self._settings())
        copy.document_count = self.document_count
        kept = {
            word: i
            for word, i in self.word_index.items()
            if i == self._oov_id or self._known_id(word) is not None
        }
        copy.word_counts = {word: n for word, n in self.word_counts.items() if word in kept}
        copy.word_docs = {word: n for word, n in self.word_docs.items() if word in kept}
        copy._number(kept)
        return copy

    def extended(self, texts: Iterable[str], *, most: int, least: int = 2) -> "Tokenizer":
        """A copy that gives new ids, above all others, to words of these texts that it lacks.

        Args:
            texts: where new words come from.
            most: new words at most, the most frequent first.
            least: how often a new word must occur.
        """
        counts: Counter[str] = Counter()
        docs: Counter[str] = Counter()
        for text in checked_texts(texts):
            words = [word for word in self.words(text) if self._known_id(word) is None]
            counts.update(words)
            docs.update(dict.fromkeys(words).keys())
        new = [word for word, n in counts.most_common() if n >= least][:most]
        copy = self.cut()
        copy.word_counts |= {word: counts[word] for word in new}
        copy.word_docs |= {word: docs[word] for word in new}
        ids = {word: i for i, word in enumerate(new, self.vocab_size)}
        copy.num_words = self.vocab_size + len(new)
        copy._number(copy.word_index | ids)
        return copy

    @property
    def _oov_id(self) -> int | None:
        return None if self.oov_token is None else self.word_index.get(self.oov_token)

    def _settings(self) -> dict[str, Any]:
        return {
            "filters": self.filters,
            "lower": self.lower,
            "split": self.split,
            "char_level": self.char_level,
            "oov_token": self.oov_token,
            "analyzer": self.analyzer,
            "correct_spelling": self.correct_spelling,
        }

    def get_config(self) -> dict[str, Any]:
        """Settings and counts, as plain values."""
        return {
            "num_words": self.num_words,
            **self._settings(),
            "document_count": self.document_count,
            "word_index": self.word_index,
            "word_counts": self.word_counts,
            "word_docs": self.word_docs,
        }

    def to_json(self, **kwargs: Any) -> str:
        """Everything as JSON, for `tokenizer_from_json`; `kwargs` go to `json.dumps`."""
        return json.dumps({"class_name": "Tokenizer", "config": self.get_config()}, **kwargs)


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """Read a `Tokenizer` from JSON, written by this package or by Keras' own `Tokenizer`.

    Raises:
        ValueError: the text is not JSON of a tokenizer.
    """
    return _tokenizer(_parsed(json_string, "Tokenizer"))


def _parsed(json_string: str, class_name: str) -> dict[str, Any]:
    """The `config` in the JSON that a class of this name wrote."""
    try:
        value = json.loads(json_string)
        if value["class_name"] != class_name:
            raise ValueError(
                f"Expected the JSON of a {class_name}. Received: {value['class_name']}"
            )
        return dict(value["config"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"Expected the JSON of a {class_name}. Received: {error!r}") from error


def _tokenizer(config: dict[str, Any]) -> Tokenizer:
    try:
        # Keras nests JSON in JSON.
        index, counts, docs = (
            json.loads(config[name]) if isinstance(config[name], str) else config[name]
            for name in ("word_index", "word_counts", "word_docs")
        )
        names = ("filters", "lower", "split", "char_level", "oov_token")
        settings = {name: config[name] for name in names}
        # Keras' own tokenizer has neither of these.
        settings |= {
            name: config[name] for name in ("analyzer", "correct_spelling") if name in config
        }
        tokenizer = Tokenizer(config["num_words"], **settings)
        tokenizer.document_count = int(config["document_count"])
        tokenizer.word_counts = {str(word): int(n) for word, n in counts.items()}
        tokenizer.word_docs = {str(word): int(n) for word, n in docs.items()}
        tokenizer._number({str(word): int(i) for word, i in index.items()})
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"Expected the settings of a Tokenizer. Received: {error!r}") from error
    return tokenizer


def pad_sequences(
    sequences: Sequence[Sequence[Any]],
    maxlen: int | None = None,
    dtype: str = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float | str = 0.0,
) -> np.ndarray:
    """Bring sequences to one length, as `keras.utils.pad_sequences` does, defaults included.

    Args:
        sequences: the sequences, of any lengths; items may be arrays of one shape.
        maxlen: length of the result; `None` takes the longest sequence's.
        dtype: NumPy type of the result.
        padding: `"pre"` fills at the start, `"post"` at the end.  This package always uses
            `"post"`, since masks and fused kernels need it.
        truncating: which end of a sequence that is too long is cut off, `"pre"` or `"post"`.
        value: what to fill with.

    Returns:
        Array of shape `(len(sequences), maxlen, …)`.

    Raises:
        ValueError: `sequences` or one of them has no length, `padding` or `truncating` is neither
            `"pre"` nor `"post"`, the sequences' items differ in shape, or `value` does not fit
            `dtype`.
    """
    for name, choice in (("padding", padding), ("truncating", truncating)):
        if choice not in ("pre", "post"):
            raise ValueError(f'`{name}` must be "pre" or "post". Received: {choice!r}')
    try:
        len(sequences)  # a generator would be empty the second time
        lengths = [len(sequence) for sequence in sequences]
    except TypeError as error:
        raise ValueError(f"`sequences` must be a list of lists. Received: {error}") from error
    if maxlen is None:
        maxlen = max(lengths, default=0)
    item_shape = next((np.shape(s)[1:] for s in sequences if len(s)), ())
    is_text = np.issubdtype(dtype, np.str_) or np.issubdtype(dtype, np.bytes_)
    if isinstance(value, str) and dtype is not object and not is_text:
        raise ValueError(f"`value` must fit `dtype` {dtype}. Received: {value!r}")
    padded = np.full((len(lengths), maxlen, *item_shape), value, dtype=dtype)
    if maxlen == 0:
        return padded
    for row, sequence in zip(padded, sequences, strict=True):
        if not len(sequence):
            continue
        kept = np.asarray(sequence[-maxlen:] if truncating == "pre" else sequence[:maxlen], dtype)
        if kept.shape[1:] != item_shape:
            raise ValueError(
                f"All items must have the shape {item_shape}. Received: {kept.shape[1:]}"
            )
        if padding == "pre":
            row[-len(kept) :] = kept
        else:
            row[: len(kept)] = kept
    return padded


@dataclass(frozen=True)
class Encoded:
    """What `TextEncoder.encode` makes of some texts.

    Attributes:
        token_ids: one list of ids per text, at least one id and at most `max_length` each.
        truncated: per text, whether words were left out because it was longer than `max_length`.
        words: per text, the number of its words.
        oov: per text, the number of its words that are out of vocabulary.
    """

    token_ids: list[list[int]]
    truncated: list[bool]
    words: list[int]
    oov: list[int]


class TextEncoder:
    """Texts to the ids that a network reads: tokenise, keep head and tail, never leave a row empty.

    Args:
        tokenizer: a fitted tokenizer with an `oov_token`.
        max_length: the most ids a text may have; of a longer one head and tail are kept, since
            reviews open with their subject and close with their verdict.
        head_share: share of `max_length` that the head gets.

    Raises:
        ValueError: the tokenizer has no `oov_token` or was not fitted, `max_length` is below 1, or
            `head_share` is outside 0…1.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_length: int = 400, head_share: float = 0.25):
        if not tokenizer.word_index or tokenizer.word_index.get(tokenizer.oov_token) != OOV_ID:
            raise ValueError(
                f"`tokenizer` must be fitted and have an oov_token with id {OOV_ID}. "
                f"Received: {len(tokenizer.word_index)} words, oov_token={tokenizer.oov_token!r}"
            )
        if max_length < 1:
            raise ValueError(f"`max_length` must be at least 1. Received: {max_length}")
        if not 0 <= head_share <= 1:
            raise ValueError(f"`head_share` must be between 0 and 1. Received: {head_share}")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.head_share = head_share

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        num_words: int = 20_000,
        max_length: int = 400,
        head_share: float = 0.25,
        correct_spelling: bool = False,
    ) -> "TextEncoder":
        """Make an encoder whose vocabulary is the `num_words` most frequent ids of `texts`."""
        tokenizer = Tokenizer(
            num_words,
            oov_token=OOV_TOKEN,
            analyzer="reviews",
            correct_spelling=correct_spelling,
        )
        tokenizer.fit_on_texts(texts)
        return cls(tokenizer.cut(), max_length=max_length, head_share=head_share)

    def extended(
        self,
        texts: Iterable[str],
        *,
        most: int,
        max_length: int,
        head_share: float,
        correct_spelling: bool = False,
    ) -> "TextEncoder":
        """An encoder with the same ids, and new ones for words of these texts that it lacks.

        Args:
            texts: where new words come from; each must occur twice in them.
            most: new words at most, the most frequent first.
            max_length, head_share, correct_spelling: of the new encoder, which also corrects the
                spelling where this one does.
        """
        tokenizer = self.tokenizer.extended(texts, most=most)
        tokenizer.correct_spelling |= correct_spelling
        return TextEncoder(tokenizer, max_length=max_length, head_share=head_share)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding: every id is below this number."""
        return self.tokenizer.vocab_size

    def encode(self, texts: Iterable[str]) -> Encoded:
        """Encode texts.

        Args:
            texts: the texts.  One without any word becomes a single out-of-vocabulary id.

        Raises:
            TypeError: `texts` is a single string or holds something that is no string.
        """
        texts = list(checked_texts(texts))
        token_ids, truncated, words, oov = [], [], [], []
        for ids in self.tokenizer.texts_to_sequences(texts):
            words.append(len(ids))
            oov.append(ids.count(OOV_ID))
            truncated.append(len(ids) > self.max_length)
            token_ids.append(self._cut(ids) or [OOV_ID])
        return Encoded(token_ids, truncated, words, oov)

    def words_read(self, text: str) -> list[str]:
        """The words behind the ids that `encode` gives for a text, one for each id."""
        return self._cut(self.tokenizer.words(text)) or [self.tokenizer.oov_token]

    @property
    def head_length(self) -> int:
        """How many words of a text that is too long are its head; the rest of them are its tail."""
        return round(self.max_length * self.head_share)

    def _cut(self, words: list[Any]) -> list[Any]:
        """Words or ids of a text, head and tail of one that is too long."""
        if len(words) <= self.max_length:
            return words
        head = self.head_length
        return words[:head] + words[len(words) - (self.max_length - head) :]

    def decode(self, token_ids: Iterable[Iterable[int]]) -> list[str]:
        """Words of each row, joined by spaces; padding is skipped."""
        rows = [[i for i in row if i != PADDING_ID] for row in token_ids]
        return self.tokenizer.sequences_to_texts(rows)

    def to_json(self) -> str:
        """Everything as JSON, for `encoder_from_json`."""
        config = {
            "max_length": self.max_length,
            "head_share": self.head_share,
            "tokenizer": self.tokenizer.get_config(),
        }
        return json.dumps({"class_name": "TextEncoder", "config": config}, ensure_ascii=False)


def encoder_from_json(json_string: str) -> TextEncoder:
    """Read a `TextEncoder` that `to_json` wrote.

    Raises:
        ValueError: the text is not JSON of a text encoder.
    """
    config = _parsed(json_string, "TextEncoder")
    try:
        tokenizer = _tokenizer(config["tokenizer"])
        lengths = {"max_length": config["max_length"], "head_share": config["head_share"]}
        return TextEncoder(tokenizer, **lengths)
    except (KeyError, TypeError) as error:
        raise ValueError(f"Expected the settings of a TextEncoder. Received: {error!r}") from error


def checked_texts(texts: Iterable[Any], kinds: Any = str) -> Iterator[Any]:
    """The texts one by one, refused when they are one string or one is not of `kinds`.

    Raises:
        TypeError: `texts` is a single string, or holds something else than `kinds`.
    """
    if isinstance(texts, str):
        raise TypeError("Expected a list of texts. Received: one str; write [text] instead.")
    for position, text in enumerate(texts):
        if not isinstance(text, kinds):
            raise TypeError(f"Expected texts. Received: {text!r} at position {position}")
        yield text
