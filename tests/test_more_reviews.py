"""The reviews for training alone are what data/README.md says, and give nothing away."""

import csv
import io
import math
from collections import Counter
from pathlib import Path

import pytest

from sentiment.data import Reviews, _key, load_reviews, load_unlabelled
from sentiment.leaks import find_leaks
from sentiment.preprocessing import review_words

FOLDER = Path(__file__).parent.parent / "data"
LABELS = ("negative", "neutral", "positive")
PHENOMENA = (
    "plain", "mild", "negated", "contrasted", "comparative", "temporal", "ironic", "mixed",
)  # fmt: skip
DOMAINS = ("film", "product", "restaurant", "hotel", "book", "app")
COLUMNS = ("phenomenon", "domain")
NEAR = 0.6  # overlap of two word sets (Jaccard) from which on they are near-duplicates


@pytest.fixture(scope="module")
def rows(data_rows) -> list[dict[str, str]]:
    return data_rows("more_reviews.csv")


@pytest.fixture(scope="module")
def texts(rows) -> list[str]:
    return [row["text"] for row in rows]


def near_pairs(texts: list[str], others: list[str]) -> list[tuple[str, str]]:
    """Each text that nearly equals an earlier one, or one of the others, with that one."""
    bags = [frozenset(review_words(text)) for text in [*others, *texts]]
    frequency = Counter(word for bag in bags for word in bag)
    holding: dict[str, list[int]] = {}
    pairs = []
    for i, bag in enumerate(bags):
        # Bags that share `NEAR` of their union share a word among the rarest 1 − NEAR, plus one, of
        # each: looking only there keeps this quick.
        rarest = sorted(bag, key=lambda word: (frequency[word], word))
        rare = rarest[: len(bag) - math.ceil(NEAR * len(bag) - 1e-9) + 1]
        if i >= len(others):
            for j in sorted({j for word in rare for j in holding.get(word, ())}):
                shared = len(bag & bags[j])
                if shared >= NEAR * (len(bag) + len(bags[j]) - shared):
                    pairs.append((texts[i - len(others)], [*others, *texts][j]))
        for word in rare:
            holding.setdefault(word, []).append(i)
    return pairs


def test_columns_and_values(rows):
    assert list(rows[0]) == ["text", "label", "domain", "phenomenon"]
    for row in rows:
        assert row["label"] in LABELS, row
        assert row["domain"] in DOMAINS, row
        assert row["phenomenon"] in PHENOMENA, row
        assert 2 <= len(row["text"].split()) <= 80, row
        assert row["text"] == " ".join(row["text"].split()), row


@pytest.mark.parametrize("name", ["reviews.csv", "more_reviews.csv", "drills.csv"])
def test_the_files_are_written_alike(name):
    """Quotes where they are needed alone, lines that end in a line feed."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(lines)
    assert (FOLDER / name).read_bytes() == written.getvalue().encode()


def test_every_row_is_read_to_learn_from(rows, texts):
    path = FOLDER / "more_reviews.csv"
    assert load_reviews(path)[0] == {"all": Reviews(texts, [row["label"] for row in rows])}
    assert load_unlabelled(path, text_column="text") == (texts, [])


def test_labels_are_balanced(rows):
    """Between 31 and 36 % in all, and no label rules a domain or, but irony, a phenomenon.

    Mild and mixed reviews are mostly neutral in `reviews.csv`; here no verdict is as frequent.
    """
    for label, count in Counter(row["label"] for row in rows).items():
        assert 0.31 < count / len(rows) < 0.36, label
    for column, names in (("domain", DOMAINS), ("phenomenon", PHENOMENA)):
        for name in names:
            inside = Counter(row["label"] for row in rows if row[column] == name)
            for label in LABELS:
                share = inside[label] / inside.total()
                low, high = (0.27, 0.45) if name in ("mild", "mixed") else (0.3, 0.4)
                assert low < share < high or name == "ironic", (name, label, share)


def test_no_text_comes_twice(texts):
    assert len({_key(text) for text in texts}) == len(texts)


def test_nothing_is_measured_on_these_texts(texts, measured_on):
    keys = {_key(text) for text in measured_on}
    assert [text for text in texts if _key(text) in keys] == []
    leaks = find_leaks(texts, measured_on)
    assert [(texts[leak.position], measured_on[leak.test_position]) for leak in leaks] == []


def test_no_near_duplicates(texts, measured_on, data_rows):
    """Neither of each other nor of anything in the other files and the behaviour tests."""
    train = [row["text"] for row in data_rows("reviews.csv") if row["split"] == "train"]
    assert near_pairs(texts, [*measured_on, *train]) == []


def test_the_checks_find_copies(texts, measured_on):
    copy = next(text for text in measured_on if len(review_words(text)) > 12)
    changed = f"Well now, {copy}"
    assert near_pairs([changed], measured_on)[0][0] == changed
    assert near_pairs([*texts[:50], texts[7].upper() + "!"], [])[-1][1] == texts[7]
    assert [leak.position for leak in find_leaks(["no", changed], measured_on)] == [1]


def test_no_sequence_of_five_words_is_frequent(texts):
    sequences: Counter = Counter()
    for text in texts:
        words = review_words(text)
        sequences.update({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    sequence, count = sequences.most_common(1)[0]
    assert count <= 0.001 * len(texts), sequence


def test_readme_states_the_counts(rows, checked_section):
    section = checked_section("More reviews to train on", rows, *COLUMNS)
    assert f"holds {len(rows):,} further reviews" in section
