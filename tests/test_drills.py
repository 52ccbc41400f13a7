"""The drill sentences are what data/README.md says, and give nothing away."""

from collections import Counter, defaultdict

import pytest

from sentiment.behaviour import CAPABILITIES
from sentiment.data import Reviews, _key, bundled, load_reviews
from sentiment.leaks import find_leaks
from sentiment.preprocessing import review_words

LABELS = ("negative", "neutral", "positive")
PHENOMENA = (
    "negated positive", "negated negative", "negated neutral", "negation at the end",
    "negation from afar", "negation of something else", "contrast", "then and now",
    "comparisons", "author against others", "wishes", "deeds as verdicts", "questions answered",
    "ratings", "sayings", "wide vocabulary", "degrees", "mild words", "neutral facts",
    "neutral filler", "two sentences", "noise",
)  # fmt: skip


@pytest.fixture(scope="module")
def rows(data_rows) -> list[dict[str, str]]:
    return data_rows("drills.csv")


@pytest.fixture(scope="module")
def texts(rows) -> list[str]:
    return [row["text"] for row in rows]


def test_columns_and_values(rows):
    assert list(rows[0]) == ["text", "label", "phenomenon"]
    for row in rows:
        assert row["label"] in LABELS, row
        assert row["phenomenon"] in PHENOMENA, row
        assert 1 <= len(row["text"].split()) <= 40, row
        assert row["text"] == " ".join(row["text"].split()), row


def test_every_row_is_read_to_learn_from(rows, texts):
    labels = [row["label"] for row in rows]
    assert load_reviews(bundled("data", "drills.csv"))[0] == {"all": Reviews(texts, labels)}


def test_praise_and_blame_are_balanced(rows):
    """In every phenomenon, and none is without neutral texts."""
    for name in PHENOMENA:
        inside = Counter(row["label"] for row in rows if row["phenomenon"] == name)
        verdicts = inside["negative"] + inside["positive"]
        assert inside["negative"] / verdicts == pytest.approx(0.5, abs=0.005), name
        assert 0.08 < inside["neutral"] / inside.total() < 0.8, name
    assert Counter(row["label"] for row in rows)["neutral"] / len(rows) > 0.2


def test_no_phenomenon_prevails(rows):
    counts = Counter(row["phenomenon"] for row in rows)
    assert 400 < min(counts.values()) <= max(counts.values()) < 0.15 * len(rows)


def test_no_text_comes_twice(texts):
    assert len({_key(text) for text in texts}) == len(texts)


def test_texts_that_a_model_reads_alike_have_one_label(rows):
    """Some differ in a comma or in dots, which `review_words` leaves out."""
    labels = defaultdict(set)
    for row in rows:
        labels[tuple(review_words(row["text"]))].add(row["label"])
    assert [words for words, found in labels.items() if len(found) > 1] == []


def test_nothing_is_measured_on_these_texts(texts, measured_on):
    leaks = find_leaks(texts, measured_on)
    assert [(texts[leak.position], measured_on[leak.test_position]) for leak in leaks] == []


def test_readme_states_the_counts(rows, texts, measured_on, checked_section):
    section = checked_section("Drills", rows, "phenomenon")
    assert f"holds {len(rows):,} short texts" in section
    shared = sum(name in CAPABILITIES for name in PHENOMENA)
    assert f"{shared} of the {len(PHENOMENA)} have the name of a capability" in section
    assert "I hated the beds." in texts
    assert "I hated the view." in measured_on
    example = "Note that the shop assistant wasn't pushy."
    assert f'"{example}" is positive' in section
    assert [row["label"] for row in rows if row["text"] == example] == ["positive"]
