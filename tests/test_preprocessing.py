"""Texts to ids: equal to Keras where Keras has it, and the words of reviews where it has not."""

import copy
import doctest
import json
import re
import string
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keras.src.legacy.preprocessing import text as keras_text
from keras.utils import pad_sequences as keras_pad_sequences

from sentiment import preprocessing
from sentiment.preprocessing import (
    KERAS_FILTERS,
    OOV_ID,
    OOV_TOKEN,
    TextEncoder,
    Tokenizer,
    encoder_from_json,
    pad_sequences,
    review_words,
    text_to_word_sequence,
    tokenizer_from_json,
)

# Few words, so that they repeat, tie, and meet the oov_token; some letters whose cases are odd.
WORDS = ["a", "A", "b", "film", "Film", "good", "GOOD", "x", "oov", "OOV", OOV_TOKEN, "é", "É",
         "ß", "İ", "Σ", "1", "", "no-one", "it's", "a b"]  # fmt: skip
SEPARATORS = [" ", "  ", "\t", "\n", ",", "! ", "-", "<", ">", "xx", "\xa0"]
keras_like_texts = st.one_of(
    st.lists(st.one_of(st.sampled_from(WORDS), st.sampled_from(SEPARATORS)), max_size=12).map(
        "".join
    ),
    st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
    st.text(max_size=20),
)
word_lists = st.lists(st.sampled_from(WORDS), max_size=8)
corpora = st.lists(st.one_of(keras_like_texts, word_lists), max_size=6)
options = st.fixed_dictionaries(
    {},
    optional={
        "num_words": st.one_of(st.none(), st.integers(1, 8)),
        "filters": st.one_of(st.just(""), st.just("ab,!"), st.text("aé,-\n", max_size=4)),
        "lower": st.booleans(),
        "split": st.sampled_from([" ", ",", "xx", "\n", "F"]),
        "char_level": st.booleans(),
        "oov_token": st.sampled_from([None, OOV_TOKEN, "oov", "a", "film", ""]),
    },
)

# Text as it comes, and as it is made: what the rules of `review_words` look for.
PIECES = ["wasn't", "WASN’T", "didnt", "cant", "it`s", "7/10", "2.5/5", "3.5", ":)", ":-(", "=D",
          "<3", "</3", "^_^", "<br />", "<b>", "</b>", "&amp;", "&lt;", "&#39;", "&#x27;", "&nbsp;",
          "soooo", "!!!!", "?!", "😍", "❤️", "👍🏽", "e\u0301", "é", "ǰ", "İ", "ﬁ", "straße", "זה",
          "\x00", "\ud800", "\u0301", "\xa0", "\u2028", "\x1c", " ", "\n", "-", "_", "'", "n't",
          ".",
          "<", ">", "&", "film", "Good", "1000"]  # fmt: skip
review_texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=15).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=15).map(" ".join),
    st.text(st.characters(exclude_categories=()), max_size=40),
)


def both(texts, repeats, settings):
    """This package's and Keras' tokenizer, fitted alike."""
    ours, keras = Tokenizer(**settings), keras_text.Tokenizer(**settings)
    for start in range(repeats):
        ours.fit_on_texts(texts[start:])
        keras.fit_on_texts(texts[start:])
    return ours, keras


def assert_same_counts(ours, keras):
    assert list(ours.word_index.items()) == list(keras.word_index.items())
    assert ours.index_word == keras.index_word
    assert list(ours.word_counts.items()) == list(keras.word_counts.items())
    assert ours.word_docs == keras.word_docs
    assert ours.index_docs == keras.index_docs
    assert ours.document_count == keras.document_count


# ------------------------------------------------------------------------------- equal to Keras


@given(corpora, corpora, options, st.integers(1, 3))
@example([["a", "a", "b", "oov"]], [["zz"]], {"oov_token": "oov", "num_words": 2}, 1)
@example(["b a", "a b"], ["c"], {"oov_token": OOV_TOKEN, "num_words": 1}, 2)
@settings(max_examples=300)
def test_tokenizer_is_that_of_keras(texts, others, options, repeats):
    ours, keras = both(texts, repeats, options)
    assert_same_counts(ours, keras)
    assert ours.texts_to_sequences(texts + others) == keras.texts_to_sequences(texts + others)


@given(corpora, options, st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=4))
def test_sequences_to_texts_are_those_of_keras(texts, options, sequences):
    ours, keras = both(texts, 1, options)
    assert ours.sequences_to_texts(sequences) == keras.sequences_to_texts(sequences)
    as_arrays = [np.array(sequence, "int32") for sequence in sequences]
    assert ours.sequences_to_texts(as_arrays) == keras.sequences_to_texts(sequences)


@given(keras_like_texts, st.text("aé,-\n", max_size=4), st.booleans(), st.sampled_from([" ", "xx"]))
def test_text_to_word_sequence_is_that_of_keras(text, filters, lower, split):
    expected = keras_text.text_to_word_sequence(text, filters, lower, split)
    assert text_to_word_sequence(text, filters, lower, split) == expected
    assert text_to_word_sequence(text) == keras_text.text_to_word_sequence(text)


def test_keras_filters():
    assert keras_text.Tokenizer().filters == KERAS_FILTERS


@given(corpora, corpora, options)
def test_json_of_keras_loads(texts, others, options):
    _, keras = both(texts, 1, options)
    loaded = tokenizer_from_json(keras.to_json())
    assert_same_counts(loaded, keras)
    assert loaded.texts_to_sequences(texts + others) == keras.texts_to_sequences(texts + others)
    for name in ("num_words", "filters", "lower", "split", "char_level", "oov_token"):
        assert getattr(loaded, name) == getattr(keras, name)


def test_default_ids():
    """The ids themselves, so that this does not hang on Keras alone."""
    tokenizer = Tokenizer(num_words=5, oov_token=OOV_TOKEN)
    tokenizer.fit_on_texts(["The film, the FILM!", "A good film", "a bad one"])
    index = {OOV_TOKEN: 1, "film": 2, "the": 3, "a": 4, "good": 5, "bad": 6, "one": 7}
    assert list(tokenizer.word_index.items()) == list(index.items())
    assert tokenizer.word_counts == {"the": 2, "film": 3, "a": 2, "good": 1, "bad": 1, "one": 1}
    assert tokenizer.word_docs == {"the": 1, "film": 2, "a": 2, "good": 1, "bad": 1, "one": 1}
    assert tokenizer.index_docs == {3: 1, 2: 2, 4: 2, 5: 1, 6: 1, 7: 1}
    assert tokenizer.texts_to_sequences(["the good film unseen", ""]) == [[3, 1, 2, 1], []]
    assert tokenizer.sequences_to_texts([[3, 1, 2, 6, 99, 0]]) == [
        "the <OOV> film <OOV> <OOV> <OOV>"
    ]


# ------------------------------------------------------------------------- what holds of our own


analyzers = st.sampled_from([None, "reviews"])


@given(corpora, corpora, options, analyzers)
def test_json_round_trip_is_the_identity(texts, others, options, analyzer):
    tokenizer = Tokenizer(**options, analyzer=analyzer)
    tokenizer.fit_on_texts(texts)
    loaded = tokenizer_from_json(tokenizer.to_json())
    assert loaded.get_config() == tokenizer.get_config()
    for name in ("word_index", "index_word", "word_counts", "word_docs", "index_docs"):
        assert list(getattr(loaded, name).items()) == list(getattr(tokenizer, name).items())
    assert loaded.to_json() == tokenizer.to_json()
    assert loaded.texts_to_sequences(others) == tokenizer.texts_to_sequences(others)


@given(corpora, corpora, options, analyzers)
@example([["a", "a", "b", "oov"]], [["zz"]], {"oov_token": "oov", "num_words": 2}, None)
@example(["a"], ["zz"], {"oov_token": OOV_TOKEN, "num_words": 1}, None)
def test_ids_are_below_vocab_size(texts, others, options, analyzer):
    tokenizer = Tokenizer(**options, analyzer=analyzer)
    tokenizer.fit_on_texts(texts)
    ids = [i for row in tokenizer.texts_to_sequences(texts + others) for i in row]
    assert all(0 < i < tokenizer.vocab_size for i in ids)
    if not others:  # no larger than it must be, but for ids that only unknown words have
        possible = {*ids, tokenizer.word_index.get(tokenizer.oov_token, 0)}
        assert tokenizer.vocab_size <= max(max(possible) + 1, options.get("num_words") or 0)


@given(corpora, corpora, options, analyzers)
@example([["a", "a", "b", "oov"]], [["zz", "b"]], {"oov_token": "oov", "num_words": 2}, None)
def test_cut_gives_the_same_sequences(texts, others, options, analyzer):
    tokenizer = Tokenizer(**options, analyzer=analyzer)
    tokenizer.fit_on_texts(texts)
    before = tokenizer.to_json()
    cut = tokenizer.cut()
    assert cut.texts_to_sequences(texts + others) == tokenizer.texts_to_sequences(texts + others)
    assert cut.vocab_size <= tokenizer.vocab_size
    assert cut.document_count == tokenizer.document_count
    assert tokenizer.to_json() == before
    given_out = {i for i in tokenizer.word_index.values() if i < (tokenizer.num_words or 10**9)}
    given_out.add(tokenizer.word_index.get(tokenizer.oov_token, 0))
    assert set(cut.word_index.values()) == given_out - {0}


def test_cut_forgets():
    tokenizer = Tokenizer(3, oov_token=OOV_TOKEN)
    tokenizer.fit_on_texts(["a a b", "c"])
    cut = tokenizer.cut()
    assert cut.word_index == {OOV_TOKEN: 1, "a": 2}
    assert cut.word_counts == {"a": 2}
    assert cut.word_docs == {"a": 1}
    assert cut.index_docs == {2: 1}
    assert (cut.document_count, cut.vocab_size, cut.num_words) == (2, 3, 3)


def test_order_of_counts_does_not_hang_on_the_hashes_of_strings():
    words = [f"{a}{b}" for a in string.ascii_lowercase for b in string.ascii_lowercase]
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts([" ".join(words)])
    assert list(tokenizer.word_docs) == list(tokenizer.word_counts) == words


@pytest.mark.parametrize("analyzer", [None, "reviews"])
@pytest.mark.parametrize("method", ["fit_on_texts", "texts_to_sequences"])
def test_what_is_no_list_of_texts_is_refused(method, analyzer):
    tokenizer = Tokenizer(analyzer=analyzer)
    tokenizer.fit_on_texts(["a b"])
    before = tokenizer.to_json()
    one = r"^Expected a list of texts\. Received: one str; write \[text\] instead\.$"
    with pytest.raises(TypeError, match=one):
        getattr(tokenizer, method)("a b")
    with pytest.raises(TypeError, match=r"^Expected texts\. Received: None at position 1$"):
        getattr(tokenizer, method)(["c", None])
    with pytest.raises(TypeError, match=r"^Expected texts\. Received: b'c' at position 0$"):
        getattr(tokenizer, method)([b"c"])
    assert tokenizer.to_json() == before


def test_bad_settings_of_tokenizer():
    with pytest.raises(ValueError, match=r"^`num_words` must be at least 1 or None\. Received: 0$"):
        Tokenizer(0)
    message = r"^`analyzer` must be None or one of \['reviews'\]\. Received: 'words'$"
    with pytest.raises(ValueError, match=message):
        Tokenizer(analyzer="words")


def changed(tokenizer, **config):
    value = json.loads(tokenizer.to_json())
    value["config"] |= config
    return json.dumps(value)


def test_json_of_something_else_is_refused():
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(["a b"])
    with pytest.raises(ValueError, match=r"^Expected the JSON of a Tokenizer\. Received: JSONDec"):
        tokenizer_from_json("{")
    with pytest.raises(ValueError, match=r"^Expected the JSON of a Tokenizer\. Received: KeyError"):
        tokenizer_from_json("{}")
    with pytest.raises(ValueError, match=r"^Expected the JSON of a Tokenizer\. Received: TypeErro"):
        tokenizer_from_json("[]")
    with pytest.raises(ValueError, match=r"^Expected the JSON of a Tokenizer\. Received: Other$"):
        tokenizer_from_json('{"class_name": "Other", "config": {}}')
    settings = r"^Expected the settings of a Tokenizer\. Received: "
    with pytest.raises(ValueError, match=settings + r"KeyError\('word_index'\)$"):
        tokenizer_from_json('{"class_name": "Tokenizer", "config": {}}')
    with pytest.raises(ValueError, match=settings + r"KeyError\('c'\)$"):
        tokenizer_from_json(changed(tokenizer, word_docs={"c": 1}))
    with pytest.raises(ValueError, match=settings + "AttributeError"):
        tokenizer_from_json(changed(tokenizer, word_index=["a", "b"]))
    with pytest.raises(ValueError, match=settings + "TypeError"):
        tokenizer_from_json(changed(tokenizer, num_words="many"))
    with pytest.raises(ValueError, match=r"^`analyzer` must be"):
        tokenizer_from_json(changed(tokenizer, analyzer="mine"))


# ---------------------------------------------------------------------------------- pad_sequences


items = st.one_of(st.integers(-99, 99), st.floats(-99, 99, width=32))
pair = st.lists(st.integers(-9, 9), min_size=2, max_size=2)
ragged = st.one_of(
    st.lists(st.lists(st.integers(-99, 99), max_size=7), min_size=1, max_size=6),
    st.lists(st.lists(items, max_size=7), min_size=1, max_size=6),
    st.lists(st.lists(pair, max_size=5), min_size=1, max_size=5),
    st.lists(st.lists(st.integers(0, 9), max_size=5).map(np.array), min_size=1, max_size=5),
    st.lists(st.lists(st.integers(0, 9), max_size=5).map(tuple), min_size=1, max_size=5).map(tuple),
)
padding_options = st.fixed_dictionaries(
    {},
    optional={
        "maxlen": st.one_of(st.none(), st.integers(1, 9)),
        "dtype": st.sampled_from(["int32", "int64", "float32", "float64", "bool", object]),
        "padding": st.sampled_from(["pre", "post"]),
        "truncating": st.sampled_from(["pre", "post"]),
        "value": st.sampled_from([0.0, 0, 7, -1, 2.5]),
    },
)


def assert_same_array(ours, expected):
    assert ours.dtype == expected.dtype
    assert ours.shape == expected.shape
    np.testing.assert_array_equal(ours, expected)


@given(ragged, padding_options)
@settings(max_examples=300)
def test_pad_sequences_is_that_of_keras(sequences, options):
    assert_same_array(
        pad_sequences(sequences, **options), keras_pad_sequences(sequences, **options)
    )


@pytest.mark.parametrize(
    ("sequences", "options"),
    [
        ([["a", "bb"], ["ccc"]], {"dtype": object, "value": "<pad>"}),
        ([["a", "bb"], ["ccc"]], {"dtype": "<U4", "value": "", "padding": "post", "maxlen": 1}),
        ([[b"a"], []], {"dtype": "S1", "value": "x"}),
        ([[], []], {}),
        ([[], []], {"maxlen": 3, "value": 4}),
        ([[[]], []], {"maxlen": 3}),
        ([[1], [2, 3]], {"maxlen": 0, "truncating": "post"}),
        ([], {"maxlen": 2}),
        ([[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]], [[9, 10], [11, 12]]]], {"padding": "post"}),
    ],
)
def test_pad_sequences_is_that_of_keras_at_the_edges(sequences, options):
    assert_same_array(
        pad_sequences(sequences, **options), keras_pad_sequences(sequences, **options)
    )


def test_pad_sequences_itself():
    rows = [[1], [2, 3], [4, 5, 6]]
    assert pad_sequences(rows).tolist() == [[0, 0, 1], [0, 2, 3], [4, 5, 6]]
    post = pad_sequences(rows, 2, padding="post", truncating="post", value=9)
    assert post.tolist() == [[1, 9], [2, 3], [4, 5]]
    assert post.dtype == np.int32


def test_nothing_to_pad():
    """Keras fails in NumPy here; an empty batch is no reason to fail."""
    assert pad_sequences([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("sequences", "options", "message", "keras_refuses"),
    [
        (5, {}, r"^`sequences` must be a list of lists\. Received: object of type 'int'", True),
        ([1, 2], {}, r"^`sequences` must be a list of lists\. Received: object of type 'i", True),
        ((r for r in [[1]]), {}, r"^`sequences` must be a list of lists\. Received: object", True),
        ([[1]], {"padding": "left"}, r"^`padding` must be .pre. or .post.\. Received: .left", True),
        ([[1]], {"truncating": 1}, r'^`truncating` must be "pre" or "post"\. Received: 1$', True),
        ([[]], {"padding": "left"}, r'^`padding` must be "pre" or "post"', False),
        ([[1]], {"value": "x"}, r"^`value` must fit `dtype` int32\. Received: 'x'$", True),
        ([[[1, 2]], [[3]]], {}, r"^All items must have the shape \(2,\)\. Received: \(1,\)$", True),
        ([[[1, 2]], [3]], {}, r"^All items must have the shape \(2,\)\. Received: \(\)$", True),
        ([[[1, 2], [3]]], {}, "inhomogeneous", True),
        ([[1, 2]], {"maxlen": -1}, "negative dimensions", True),
    ],
)  # fmt: skip
def test_pad_sequences_errors(sequences, options, message, keras_refuses):
    with pytest.raises(ValueError, match=message):
        pad_sequences(sequences, **options)
    if keras_refuses:
        with pytest.raises(ValueError, match=r"."):
            keras_pad_sequences(sequences, **options)


# ----------------------------------------------------------------------------------- review_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # contractions
        ("It wasn't bad", "it was n't bad"),
        ("It wasn’t bad", "it was n't bad"),
        ("It wasnt bad", "it was n't bad"),
        ("DON'T Don`t don´t donʼt don‘t", "do n't do n't do n't do n't do n't"),
        ("can't cant won't wont", "ca n't ca n't wo n't wo n't"),
        ("couldnt didnt doesnt arent hadnt hasnt havent isnt shouldnt werent wouldnt",
         "could n't did n't does n't are n't had n't has n't have n't is n't should n't were n't "
         "would n't"),
        ("it's I'm they're we've he'll she'd", "it 's i 'm they 're we 've he 'll she 'd"),
        ("wouldn't've", "would n't 've"),
        ("cannot want front restaurant", "cannot want front restaurant"),
        ("rock'n'roll o'clock 'quoted' ‘quoted’", "rock n roll o clock quoted quoted"),
        # HTML
        ("great<br />movie<br/>end", "great movie end"),
        ("great:) ok;-( 10:30", "great :) ok ;-( 10 30"),
        ("aint mustnt", "ai n't must n't"),
        ("<b>bold</b> <!-- note --> <a href='x'>link</a>", "bold link"),
        ("Tom &amp; Jerry&nbsp;&quot;x&quot; isn&#39;t isn&#x27;t", "tom jerry x is n't is n't"),
        ("a &lt;br /&gt; b &qqx; &", "a b qqx"),
        ("a < b > c, 3<4", "a b c 3 4"),
        ("broken </3 all > mine", "broken </3 all mine"),
        # emoticons and emoji
        (":) :-( ;) =D :'( ^_^ <3 </3 :3 :P", ":) :-( ;) =d :'( ^_^ <3 </3 :3 :p"),
        (">:( :-)) &lt;3", ">:( :-)) <3"),
        ("http://x.y", "http x y"),
        ("I ❤️ it 😍😍 👍🏽", "i ❤ it 😍 😍 👍 🏽"),
        ("👨‍👩‍👧 🇬🇧 ★★ ☹", "👨 👩 👧 🇬 🇧 ★ ★ ☹"),
        # numbers and ratings
        ("7/10, 2.5/5. 10/10!", "7/10 2.5/5 10/10 !"),
        ("8 / 10", "8 10"),
        ("1000 3.5 1,000 50% $20 3D", "1000 3 5 1 000 50 20 3d"),
        # repeats
        ("sooooo goood!!!!! why???? ha", "soo good ! ! why ? ? ha"),
        ("SOOoo eeeé", "soo eeé"),
        ("?!?! ... --- 1000000 ___", "? ! ? ! 1000000 ___"),
        # Unicode
        ("café CAFÉ cafe\u0301 CAFE\u0301", "café café café café"),
        ("straße STRASSE ﬁlm Σίσυφος ΣΊΣΥΦΟΣ", "strasse strasse film σίσυφοσ σίσυφοσ"),
        ("זה סרט נהדר! مذهل", "זה סרט נהדר ! مذهل"),
        ("素晴らしい 映画。よかった", "素晴らしい 映画 よかった"),
        # separators
        ("well-made, low-key; (really) U.S.A.", "well made low key really u s a"),
        ("snake_case @user #tag", "snake_case user tag"),
        ("see https://www.imdb.com/title/?id=5", "see https ww imdb com title ? id 5"),
        ("a\x00b\ud800c\u200bd\xade\ufefff", "a b c d e f"),
        ("a\xa0b\u2028c\x1cd\u3000e\x85f", "a b c d e f"),
        ("", ""),
        (" \t\r\n\xa0\u3000", ""),
        ("... -- () \x00 \ud800 \u0301", ""),
    ],
)  # fmt: skip
def test_review_words(text, words):
    assert review_words(text) == words.split()


@given(review_texts, review_texts)
def test_words_do_not_look_across_spaces(a, b):
    a, b = (re.sub("[<>&]", "", text) for text in (a, b))
    assert review_words(a + " " + b) == review_words(a) + review_words(b)


@given(review_texts)
def test_words_are_words(text):
    for word in review_words(text):
        assert word
        assert not any(character.isspace() for character in word)
        word.encode("utf-8")  # no lone surrogate comes through, so that a vocabulary can be saved


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_normal_forms_of_a_text_have_the_same_words(form):
    text = "Café naïve Ångström việt öäü ÉÈ señor"
    words = ["café", "naïve", "ångström", "việt", "öäü", "éè", "señor"]
    assert review_words(preprocessing.unicodedata.normalize(form, text)) == words


@pytest.mark.parametrize("number", ["65", "0065", "0" * 5000 + "65"])
def test_long_references(number):
    """`html.unescape` fails on numbers of more than 4,300 digits."""
    assert review_words(f"x &#{number}; &#{number}") == ["x", "a", "a"]


@pytest.mark.parametrize("number", ["9" * 5000, "0" * 9, "123456789", "x" + "f" * 5000])
def test_references_to_no_character(number):
    assert review_words(f"x&#{number};y") == ["x", "y"]


MILLION = 1_000_000


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("good film " * (MILLION // 10), MILLION // 5),
        ("x" * MILLION, 1),
        ("xy" * (MILLION // 2), 1),
        ("1." * (MILLION // 2), MILLION // 2),
        ("<a" * (MILLION // 2), MILLION // 2),
        ("<" * MILLION, 0),
        ("&#" * (MILLION // 2), 0),
        ("&#" + "9" * MILLION + ";", 0),
        ("&lt;" * (MILLION // 4), 0),
        (":" + "(" * MILLION, 1),
        (":" + "d" * MILLION + "x", 1),
        ("^" + "_" * MILLION, 1),
        ("e\u0301" * (MILLION // 2), 1),
        ("a" + "\u0301\u0323" * (MILLION // 2), 1),
        ("\u0301\u0323" * (MILLION // 2), 0),
        ("😍" * MILLION, MILLION),
        (" " * MILLION, 0),
        ("\x00" * MILLION, 0),
    ],
    ids=lambda value: ascii(value[:6]) if isinstance(value, str) else None,
)
def test_a_million_characters(text, count):
    start = time.process_time()
    words = review_words(text)
    assert time.process_time() - start < 5  # each takes less than half a second; quadratic is hours
    assert len(words) == count


# ------------------------------------------------------------------------- the cached fast path


@given(st.lists(review_texts, max_size=5), st.lists(review_texts, max_size=5), options)
@settings(max_examples=200)
def test_fast_path_is_the_slow_path(texts, others, options):
    tokenizer = Tokenizer(**options, analyzer="reviews")
    tokenizer.fit_on_texts(texts)
    for _ in range(2):  # the second time from the cache
        expected = [tokenizer._ids(text) for text in texts + others]
        assert tokenizer.texts_to_sequences(texts + others) == expected
    tokenizer.fit_on_texts(others)  # numbers the words anew
    assert tokenizer.texts_to_sequences(texts) == [tokenizer._ids(text) for text in texts]


def test_cached_words_are_those_of_review_words():
    tokenizer = Tokenizer(analyzer="reviews", oov_token=OOV_TOKEN)
    text = "It wasn't <b>baaaad</b>, 7/10 :) " + "long" * 40
    tokenizer.fit_on_texts([text])
    words = tokenizer.sequences_to_texts(tokenizer.texts_to_sequences([text]))[0].split()
    assert words == review_words(text)
    assert words[:7] == ["it", "was", "n't", "baad", "7/10", ":)", "long" * 40]


def test_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(preprocessing, "_CACHED_CHUNKS", 10)
    monkeypatch.setattr(preprocessing, "_CACHED_CHUNK_LENGTH", 6)
    tokenizer = Tokenizer(analyzer="reviews", oov_token=OOV_TOKEN)
    texts = [f"word{i} muchlonger{i} again" for i in range(50)]
    tokenizer.fit_on_texts(texts)
    largest = 0
    for text in texts:
        assert tokenizer.texts_to_sequences([text]) == [tokenizer._ids(text)]
        largest = max(largest, len(tokenizer._chunk_ids))
        assert all(len(chunk) <= 6 for chunk in tokenizer._chunk_ids)
    assert 5 < largest <= 10


def test_cache_of_words_is_bounded():
    info = preprocessing._split_chunk_cached.cache_info
    assert info().maxsize == preprocessing._CACHED_CHUNKS
    before = info().misses
    review_words("y" * preprocessing._CACHED_CHUNK_LENGTH + "-")
    assert info().misses == before  # too long a chunk to be kept


def test_copies_do_not_share_ids():
    tokenizer = Tokenizer(analyzer="reviews")
    tokenizer.fit_on_texts(["a b"])
    tokenizer.texts_to_sequences(["a b"])
    other = copy.deepcopy(tokenizer)
    other.fit_on_texts(["b"])
    assert other.texts_to_sequences(["a b"]) == [[2, 1]]
    assert tokenizer.texts_to_sequences(["a b"]) == [[1, 2]]


# ------------------------------------------------------------------------------------ TextEncoder


def numbered(count):
    """An encoder of w2, w3 … whose ids are their numbers."""
    return [" ".join(f"w{i}" for i in range(2, count + 2))]


@pytest.mark.parametrize(
    ("max_length", "head_share", "kept"),
    [
        (8, 0.25, [2, 3, 16, 17, 18, 19, 20, 21]),
        (8, 0, [14, 15, 16, 17, 18, 19, 20, 21]),
        (8, 1, [2, 3, 4, 5, 6, 7, 8, 9]),
        (8, 0.5, [2, 3, 4, 5, 18, 19, 20, 21]),
        (5, 0.3, [2, 3, 19, 20, 21]),  # 1.5 rounds to the even 2
        (1, 0.25, [21]),
        (1, 1, [2]),
        (19, 0.5, [*range(2, 12), *range(13, 22)][:10] + [*range(13, 22)]),
        (20, 0.25, [*range(2, 22)]),
        (400, 0.25, [*range(2, 22)]),
    ],
)
def test_head_and_tail_are_kept(max_length, head_share, kept):
    texts = numbered(20)
    encoder = TextEncoder.fit(texts, max_length=max_length, head_share=head_share)
    encoded = encoder.encode(texts)
    assert encoded.token_ids == [kept]
    assert encoded.truncated == [max_length < 20]
    assert encoded.words == [20]
    assert encoded.oov == [0]


def test_what_encode_counts():
    encoder = TextEncoder.fit(numbered(6), num_words=6, max_length=3)
    assert encoder.vocab_size == 6
    encoded = encoder.encode(["w2 w3 w4", "w2 unseen w7 w3", "", " \t", "?!", "\x00", "😍"])
    assert encoded.token_ids == [[2, 3, 4], [2, 1, 3], [1], [1], [1, 1], [1], [1]]
    assert encoded.truncated == [False, True, False, False, False, False, False]
    assert encoded.words == [3, 4, 0, 0, 2, 0, 1]
    assert encoded.oov == [0, 2, 0, 0, 2, 0, 1]


@given(
    st.lists(review_texts, max_size=4),
    st.lists(review_texts, max_size=4),
    st.integers(1, 12),
    st.integers(1, 6),
    st.floats(0, 1),
)
def test_every_text_can_be_encoded(texts, others, num_words, max_length, head_share):
    encoder = TextEncoder.fit(
        texts, num_words=num_words, max_length=max_length, head_share=head_share
    )
    encoded = encoder.encode(texts + others)
    assert encoder.vocab_size <= max(num_words, OOV_ID + 1)
    for ids, truncated, words, oov, text in zip(
        encoded.token_ids, encoded.truncated, encoded.words, encoded.oov, texts + others,
        strict=True,
    ):  # fmt: skip
        full = encoder.tokenizer._ids(text)
        assert all(0 < i < encoder.vocab_size for i in ids)
        assert len(ids) == min(max(len(full), 1), max_length)
        assert truncated == (len(full) > max_length)
        assert words == len(full) == len(review_words(text))
        assert oov == full.count(OOV_ID)
    loaded = encoder_from_json(encoder.to_json())
    assert loaded.to_json() == encoder.to_json()
    assert list(loaded.tokenizer.word_index.items()) == list(encoder.tokenizer.word_index.items())
    assert (loaded.max_length, loaded.head_share) == (max_length, head_share)
    assert loaded.encode(texts + others) == encoded
    encoder.to_json().encode("utf-8")


def test_decode():
    encoder = TextEncoder.fit(["the film wasn't bad"])
    ids = encoder.encode(["The film wasn't awful"]).token_ids
    padded = pad_sequences(ids, 8, padding="post")
    assert encoder.decode(padded) == ["the film was n't <OOV>"]
    assert encoder.decode([[0, 0], []]) == ["", ""]


def test_one_text_is_no_list_of_texts():
    encoder = TextEncoder.fit(["a"])
    message = r"^Expected a list of texts\. Received: one str; write \[text\] instead\.$"
    with pytest.raises(TypeError, match=message):
        encoder.encode("a")
    with pytest.raises(TypeError, match=message):
        TextEncoder.fit("a")
    with pytest.raises(TypeError, match=r"^Expected texts\. Received: nan at position 1$"):
        encoder.encode(["a", float("nan")])
    with pytest.raises(TypeError, match=r"^Expected texts\. Received: \['b', 'c'\] at position 1$"):
        encoder.encode(["a", ["b", "c"]])


def test_bad_settings_of_encoder():
    tokenizer = Tokenizer(oov_token=OOV_TOKEN)
    unfitted = (
        r"^`tokenizer` must be fitted and have an oov_token with id 1\. "
        r"Received: 0 words, oov_token='<OOV>'$"
    )
    with pytest.raises(ValueError, match=unfitted):
        TextEncoder(tokenizer)
    tokenizer.fit_on_texts(["a b"])
    with pytest.raises(ValueError, match=r"^`max_length` must be at least 1\. Received: 0$"):
        TextEncoder(tokenizer, max_length=0)
    for share in (-0.1, 1.5, float("nan")):
        message = rf"^`head_share` must be between 0 and 1\. Received: {share}$"
        with pytest.raises(ValueError, match=message):
            TextEncoder(tokenizer, head_share=share)
    without = Tokenizer()
    without.fit_on_texts(["a b"])
    with pytest.raises(ValueError, match=r"Received: 2 words, oov_token=None$"):
        TextEncoder(without)
    a_word = Tokenizer(oov_token="a")
    a_word.fit_on_texts(["b b a"])  # "a" has id 3 here
    with pytest.raises(ValueError, match=r"Received: 2 words, oov_token='a'$"):
        TextEncoder(a_word)


def test_json_of_no_encoder_is_refused():
    encoder = TextEncoder.fit(["a b"])
    with pytest.raises(ValueError, match=r"^Expected the JSON of a TextEncoder\. Received: Tokeni"):
        encoder_from_json(encoder.tokenizer.to_json())
    value = json.loads(encoder.to_json())
    settings = r"^Expected the settings of a TextEncoder\. Received: "
    for name in ("max_length", "head_share", "tokenizer"):
        config = {key: value["config"][key] for key in value["config"] if key != name}
        with pytest.raises(ValueError, match=settings + rf"KeyError\('{name}'\)$"):
            encoder_from_json(json.dumps(value | {"config": config}))
    config = value["config"] | {"max_length": "many"}
    with pytest.raises(ValueError, match=settings + "TypeError"):
        encoder_from_json(json.dumps(value | {"config": config}))
    config = value["config"] | {"max_length": 0}
    with pytest.raises(ValueError, match=r"^`max_length` must be at least 1\. Received: 0$"):
        encoder_from_json(json.dumps(value | {"config": config}))


def test_examples_of_the_documentation():
    result = doctest.testmod(preprocessing)
    assert result.attempted > 0
    assert result.failed == 0


# ---------------------------------------------------------------------------------- spelling


def one_letter_differs(word, other):
    """Whether two words have the same first letter and differ in one letter only.

    That is: missing, added, changed, or standing elsewhere.
    """
    if word[0] != other[0] or abs(len(word) - len(other)) > 1:
        return False
    mine = {word[:i] + word[i + 1 :] for i in range(1, len(word))} | {word}
    theirs = {other[:i] + other[i + 1 :] for i in range(1, len(other))} | {other}
    same_length = len(word) == len(other)
    return bool((mine - {word} if same_length else mine) & theirs)


def spelling_tokenizer(words, num_words=None):
    tokenizer = Tokenizer(num_words, oov_token=OOV_TOKEN, analyzer="reviews", correct_spelling=True)
    tokenizer.fit_on_texts([" ".join(words)])
    return tokenizer


@pytest.mark.parametrize(
    ("word", "read_as"),
    [
        ("graet", "great"),  # two letters in each other's place
        ("terible", "terrible"),  # one too few
        ("awfull", "awful"),  # one too many
        ("borimg", "boring"),  # another
        ("Graet", "great"),
        ("grat", OOV_TOKEN),  # too short to tell
        ("rgeat", OOV_TOKEN),  # not the first letter
        ("grxyt", OOV_TOKEN),  # two letters
        ("gr8at5", OOV_TOKEN),
    ],
)
def test_an_unknown_word_is_read_as_a_known_one_that_differs_in_a_letter(word, read_as):
    tokenizer = spelling_tokenizer(["great", "terrible", "awful", "boring"])
    assert tokenizer.sequences_to_texts(tokenizer.texts_to_sequences([word])) == [read_as]


def test_of_several_known_words_the_most_frequent_is_read():
    tokenizer = spelling_tokenizer(["grate", "great", "great", "greet"])
    assert tokenizer.sequences_to_texts(tokenizer.texts_to_sequences(["graet"])) == ["great"]


letters = st.text("abc", min_size=1, max_size=7)


@given(st.lists(letters, min_size=1, max_size=12), st.lists(letters, max_size=6))
def test_spelling_is_corrected_as_an_obvious_search_does(known, others):
    tokenizer = spelling_tokenizer(known, num_words=8)
    words = {w: i for w, i in tokenizer.word_index.items() if i < 8 and w != OOV_TOKEN}

    def expected(word):
        if word in words or len(word) < 5:
            return words.get(word, OOV_ID)
        near = (i for w, i in words.items() if len(w) >= 4 and one_letter_differs(word, w))
        return min(near, default=OOV_ID)

    for one in (tokenizer, tokenizer.cut(), tokenizer_from_json(tokenizer.to_json())):
        found = one.texts_to_sequences([[word] for word in others])
        assert found == [[expected(word)] for word in others]


def test_spelling_is_not_corrected_unless_asked():
    tokenizer = Tokenizer(oov_token=OOV_TOKEN, analyzer="reviews")
    tokenizer.fit_on_texts(["great"])
    assert tokenizer.texts_to_sequences(["graet"]) == [[OOV_ID]]


def test_an_extended_encoder_learns_words_that_it_would_have_corrected():
    encoder = TextEncoder.fit(["a great film"], correct_spelling=True)
    assert encoder.encode(["graet"]).token_ids == encoder.encode(["great"]).token_ids
    more = encoder.extended(["graet graet"], most=5, max_length=9, head_share=0.5)
    assert more.tokenizer.correct_spelling
    assert more.encode(["graet"]).token_ids == [[encoder.vocab_size]]
    loaded = encoder_from_json(more.to_json())
    assert loaded.encode(["graat"]).token_ids == encoder.encode(["great"]).token_ids
