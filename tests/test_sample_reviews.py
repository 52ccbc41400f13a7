"""The sample reviews are what data/README.md says they are."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "data"
LABELS = ("negative", "neutral", "positive")
PHENOMENA = (
    "plain", "mild", "negated", "contrasted", "comparative", "temporal", "ironic", "mixed",
)  # fmt: skip
DOMAINS = ("film", "product", "restaurant", "hotel", "book", "app")


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (FOLDER / "reviews.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_columns_and_values(rows):
    assert list(rows[0]) == ["text", "label", "split", "domain", "phenomenon"]
    assert len(rows) >= 2400
    for row in rows:
        assert row["label"] in LABELS, row
        assert row["split"] in ("train", "validation", "test"), row
        assert row["domain"] in DOMAINS, row
        assert row["phenomenon"] in PHENOMENA, row
        assert 3 <= len(row["text"].split()) <= 80, row
        assert row["text"] == row["text"].strip(), row


def test_no_two_reviews_are_near_duplicates(rows):
    bags = [frozenset(words(row["text"])) for row in rows]
    holding: dict[str, list[int]] = {}
    for i, bag in enumerate(bags):
        # Two bags that share 0.6 of their union share one of any 0.4 of either bag's words, plus
        # one; looking only at the rarest of them keeps this quick.
        for word in bag:
            holding.setdefault(word, []).append(i)
    frequency = {word: len(found) for word, found in holding.items()}
    for i, bag in enumerate(bags):
        rare = sorted(bag, key=frequency.__getitem__)[: int(0.4 * len(bag)) + 1]
        for j in {j for word in rare for j in holding[word] if j < i}:
            shared = len(bag & bags[j]) / len(bag | bags[j])
            assert shared < 0.6, (rows[i]["text"], rows[j]["text"])


def test_no_sequence_of_five_words_is_frequent(rows):
    sequences: Counter = Counter()
    for row in rows:
        found = words(row["text"])
        sequences.update({tuple(found[i : i + 5]) for i in range(len(found) - 4)})
    sequence, count = sequences.most_common(1)[0]
    assert count <= 0.005 * len(rows), sequence


def test_labels_splits_and_domains_are_balanced(rows):
    labels = Counter(row["label"] for row in rows)
    assert len(set(labels.values())) == 1, labels
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    for split, share in shares.items():
        inside = [row for row in rows if row["split"] == split]
        assert len(inside) / len(rows) == pytest.approx(share, abs=0.01)
        for label in LABELS:
            part = sum(row["label"] == label for row in inside) / len(inside)
            assert part == pytest.approx(1 / 3, abs=0.02), (split, label)
        films = sum(row["domain"] == "film" for row in inside) / len(inside)
        assert films == pytest.approx(2 / 3, abs=0.02), split
    for domain in DOMAINS[1:]:
        count = sum(row["domain"] == domain for row in rows)
        assert count / len(rows) == pytest.approx(1 / 15, abs=0.01), domain


def test_phenomena_are_in_every_split_in_like_shares(rows):
    overall = Counter(row["phenomenon"] for row in rows)
    for split in ("train", "validation", "test"):
        inside = Counter(row["phenomenon"] for row in rows if row["split"] == split)
        for phenomenon in PHENOMENA:
            share = inside[phenomenon] / inside.total()
            expected = overall[phenomenon] / overall.total()
            assert share == pytest.approx(expected, abs=0.02), (split, phenomenon)


def test_readme_states_the_counts(rows):
    """The table of data/README.md holds phenomenon × label, counted."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for phenomenon in PHENOMENA:
        counts = [
            sum(r["phenomenon"] == phenomenon and r["label"] == label for r in rows)
            for label in LABELS
        ]
        line = " | ".join(map(str, (*counts, sum(counts))))
        assert re.search(rf"^\| {phenomenon} \| {re.escape(line)} \|", text, re.MULTILINE), line
    for split in ("train", "validation", "test"):
        count = sum(row["split"] == split for row in rows)
        assert re.search(rf"^\| {split} \| {count} \|", text, re.MULTILINE), (split, count)


def test_reviews_have_typos_and_emoji(rows):
    """Natural spelling: some rows hold emoji, some none but lower-case letters."""
    emoji = sum(bool(re.search("[\U0001f300-\U0001faff\u2600-\u27bf]", r["text"])) for r in rows)
    lower = sum(row["text"] == row["text"].lower() for row in rows)
    assert emoji > 0.01 * len(rows)
    assert lower > 0.02 * len(rows)
