"""Leaks of the test split, against a comparison of sets that anybody can follow."""

import re
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentiment.data import DataError
from sentiment.leaks import Leak, check_no_leaks, find_leaks

LONG = [f"word{i}" for i in range(200)]  # a review: 193 different 8-grams
OTHER = [f"other{i}" for i in range(200)]


def text(words: list[str]) -> str:
    return " ".join(words)


# ------------------------------------------------------------------------------------ the oracle


def ngrams(words: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def overlap(first: list[str], second: list[str], n: int) -> Fraction:
    if first and first == second:
        return Fraction(1)
    sets = ngrams(first, n), ngrams(second, n)
    fewer = min(map(len, sets))
    return Fraction(len(sets[0] & sets[1]), fewer) if fewer else Fraction(0)


def expected_leaks(
    train: list[list[str]], test: list[list[str]], n: int, most: Fraction
) -> list[Leak]:
    leaks = []
    for position, words in enumerate(train):
        # Equal texts come first, then the largest overlap, then the first in order.
        ranks = [(words == other, overlap(words, other, n)) for other in test]
        if words and ranks and max(ranks)[1] >= most:
            leaks.append(Leak(position, ranks.index(max(ranks)), float(max(ranks)[1])))
    return leaks


texts = st.lists(st.lists(st.sampled_from("abc"), max_size=12), max_size=6)
shares = st.fractions(Fraction(1, 12), 1, max_denominator=12)


@given(texts, texts, st.integers(1, 4), shares)
@example([list("abab")], [list("ab"), list("abab")], 2, Fraction(1))  # equal, behind a part
@example([list("aaab")], [list("baaa")], 2, Fraction(1, 2))  # the order of words counts
@example([list("abcabc")], [list("abc")], 2, Fraction(1))  # the test text is the smaller
@settings(max_examples=500)
def test_leaks_are_those_of_the_sets(train, test, n, most):
    found = find_leaks(
        [text(words) for words in train],
        [text(words) for words in test],
        ngram=n,
        most=float(most),
    )
    assert found == expected_leaks(train, test, n, most)


# --------------------------------------------------------------------------------- equal texts


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("very good", "very good"),
        ("Good.", "good"),
        ("very  good\n", "Very... GOOD!"),
        ("It's a film<br /><br />and more", "it s a film and more"),
        ("good<BR>bad</p><!-- x -->", "good bad"),
        ("a _great_ film", "a great film"),
        ("STRASSE", "straße"),
        ("caf\u00e9", "cafe\u0301"),
        ("\ufb01lm \uff21\uff11", "film a1"),  # ligature, full width
        ("10/10", "10 10"),
        ("хороший фильм", "Хороший фильм!"),
    ],
)
def test_equal_but_for_markup_marks_and_case(train, test):
    assert find_leaks(["something else", train], ["another", test]) == [Leak(1, 1, 1.0)]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("very good", "very very good"),
        ("very good", "good very"),
        ("cafe", "café"),
        ("10/10", "1010"),
        ("i <3 this > that", "i that"),  # no tag
        ("verygood", "very good"),
    ],
)
def test_other_words_are_another_text(train, test):
    assert find_leaks([train], [test]) == []


def test_a_text_without_words_is_no_leak():
    empty = ["", " \n", "<br />", "?!", "🙂", "_"]
    assert find_leaks(empty, empty) == []
    assert find_leaks(empty, empty, ngram=1) == []


def test_nothing_to_compare():
    assert find_leaks([], ["good"]) == []
    assert find_leaks(["good", text(LONG)], []) == []


def test_of_several_equal_test_texts_the_first():
    test = [text(LONG + OTHER), "Good", "good", text(LONG)]
    train = [text(LONG), "good", "GOOD"]
    assert find_leaks(train, test) == [Leak(0, 3, 1.0), Leak(1, 1, 1.0), Leak(2, 1, 1.0)]


# ----------------------------------------------------------------------------------- copied texts


@pytest.mark.parametrize(
    ("changed", "lost"), [(0, 1), (3, 4), (7, 8), (100, 8), (196, 4), (199, 1)]
)
def test_a_review_with_one_word_changed(changed, lost):
    copy = text([*LONG[:changed], "typo", *LONG[changed + 1 :]])
    assert find_leaks([text(OTHER), copy], [text(LONG)]) == [Leak(1, 0, (193 - lost) / 193)]


def test_a_review_with_a_new_end():
    """The share is that of the shorter text; the longer one's would be too small."""
    assert find_leaks([text(LONG + OTHER * 3)], [text(LONG)]) == [Leak(0, 0, 1.0)]
    assert find_leaks([text(LONG)], [text(OTHER * 3 + LONG)]) == [Leak(0, 0, 1.0)]


def test_a_quoted_phrase_is_no_leak():
    quoting = text([*OTHER[:100], *LONG[50:58], *OTHER[100:]])
    assert find_leaks([quoting], [text(LONG)]) == []
    assert find_leaks([quoting], [text(LONG)], most=1 / 193) == [Leak(0, 0, 1 / 193)]


def test_quotations_of_several_test_texts_do_not_add_up():
    test = [text(LONG[start : start + 40]) for start in range(0, 200, 40)]  # 33 8-grams each
    quoting = text([word for start in range(0, 200, 40) for word in LONG[start : start + 20]])
    assert find_leaks([quoting], test) == []
    assert find_leaks([quoting], test, most=13 / 33) == [Leak(0, 0, 13 / 33)]


def test_the_test_text_that_shares_most():
    test = [text(OTHER), text(LONG[:120]), text(LONG[:180] + OTHER[:20]), text(OTHER)]
    copy = text([*LONG[:60], "typo", *LONG[61:]])  # 105 of 113, and 165 of 193
    assert find_leaks([copy], test) == [Leak(0, 1, 105 / 113)]
    assert find_leaks([copy], test[2:]) == [Leak(0, 0, 165 / 193)]


def test_the_share_itself_is_enough():
    """22 words have 15 8-grams, 8 of them in the first 15 words."""
    train, test = text(LONG[:22]), text(LONG[:15] + OTHER[:7])
    assert find_leaks([train], [test], most=8 / 15) == [Leak(0, 0, 8 / 15)]
    assert find_leaks([train], [test], most=8 / 15 + 1e-9) == []


def test_repeated_words_count_once():
    """ "na na …" has one 8-gram, however long it is."""
    train, test = text(["na"] * 50 + LONG[:20]), text(["na"] * 30 + OTHER[:20])
    # 1 + 20 of the train text, as many of the test text; in common the one, 1 of 21.
    assert find_leaks([train], [test], most=1 / 21) == [Leak(0, 0, 1 / 21)]


def test_shorter_texts_than_an_ngram_are_compared_whole():
    assert find_leaks([text(LONG[:7])], [text(LONG), text(LONG[:8])]) == []
    assert find_leaks([text(LONG), text(LONG[:8])], [text(LONG[:7])]) == []
    assert find_leaks([text(LONG[:8])], [text(LONG)]) == [Leak(0, 0, 1.0)]


def test_half_of_eight_words_by_default():
    half = text(LONG[:97] + OTHER[:90])  # 187 words, 180 8-grams, 90 of them shared
    assert find_leaks([half], [text(LONG)]) == [Leak(0, 0, 0.5)]
    less = text(LONG[:97] + OTHER[:91])
    assert find_leaks([less], [text(LONG)]) == []


# --------------------------------------------------------------------------------------- messages


def test_the_first_leak_is_shown():
    train = ["Fine.", text(OTHER), text([*LONG[:100], "typo", *LONG[101:]]), "so\nbad!"]
    test = ["So bad", "<br />" + text(LONG)]
    message = (
        "`train` must hold no text that is in `test`, in whole or in large part. Received: 2 of 4; "
        "the first, at position 2, shares 96% with the test text at position 1: "
        "'word0 word1 word2 word3 word4 word5 word6 word7 word8 word9…' and "
        "'<br />word0 word1 word2 word3 word4 word5 word6 word7 word8…'. "
        "Leave out of `train` what `find_leaks` lists."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check_no_leaks(train, test)


def test_short_texts_are_shown_whole_and_on_one_line():
    message = (
        "`train` must hold no text that is in `test`, in whole or in large part. Received: 1 of 1; "
        "the first, at position 0, shares 100% with the test text at position 0: "
        rf"'so\nbad!' and '{'So bad':<60}'. "
        "Leave out of `train` what `find_leaks` lists."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check_no_leaks(["so\nbad!"], [f"{'So bad':<60}"])


def test_no_leak_no_error():
    copy = text([*LONG[:100], "typo", *LONG[101:]])
    check_no_leaks([text(OTHER), "good", ""], [text(LONG), "bad", ""])
    check_no_leaks([copy], [text(LONG)], most=0.96)
    check_no_leaks([copy], [text(LONG)], ngram=101)
    with pytest.raises(DataError):
        check_no_leaks([copy], [text(LONG)], most=0.95)


@pytest.mark.parametrize("check", [find_leaks, check_no_leaks])
@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("good", [], "`train` must be a list of texts. Received: one str; write [text] instead."),
        ([], "good", "`test` must be a list of texts. Received: one str; write [text] instead."),
        (["good", None], [], "`train` must hold texts. Received: None at position 1"),
        ([], [2.5], "`test` must hold texts. Received: 2.5 at position 0"),
    ],
)
def test_what_is_no_list_of_texts(check, train, test, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        check(train, test)


@pytest.mark.parametrize("check", [find_leaks, check_no_leaks])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"ngram": 0}, "`ngram` must be a whole number of at least 1. Received: 0"),
        ({"ngram": 2.0}, "`ngram` must be a whole number of at least 1. Received: 2.0"),
        ({"ngram": True}, "`ngram` must be a whole number of at least 1. Received: True"),
        ({"most": 0}, "`most` must be above 0 and at most 1. Received: 0"),
        ({"most": 50}, "`most` must be above 0 and at most 1. Received: 50"),
        ({"most": float("nan")}, "`most` must be above 0 and at most 1. Received: nan"),
    ],
)
def test_settings_out_of_range(check, setting, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check([], [], **setting)
