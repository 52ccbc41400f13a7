"""The reviews of services are what data/README.md says, and no other file has them."""

from collections import Counter

import pytest

from sentiment.data import bundled, load_splits
from sentiment.leaks import find_leaks
from sentiment.preprocessing import review_words


@pytest.fixture(scope="module")
def rows(data_rows):
    return data_rows("services.csv")


def test_the_section_holds(rows, checked_section):
    assert "200 to learn from and 520 to test on" in checked_section(
        "Reviews of services", rows, "domain"
    )
    assert Counter(row["split"] for row in rows) == {"train": 200, "test": 520}


def test_each_label_is_a_third_of_each_split(rows):
    for split, count in (("train", 200), ("test", 520)):
        labels = Counter(row["label"] for row in rows if row["split"] == split)
        assert all(abs(n - count / 3) < 1 for n in labels.values())


def test_the_file_splits_as_it_says():
    splits = load_splits(bundled("data", "services.csv"))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (180, 20, 520)


def test_no_two_are_alike(rows):
    words = [set(review_words(row["text"])) for row in rows]
    for i, some in enumerate(words):
        assert all(len(some & other) < 0.6 * len(some | other) for other in words[:i])


def test_no_other_file_has_them(rows, data_rows):
    others = ("reviews.csv", "more_reviews.csv", "drills.csv")
    texts = [row["text"] for name in others for row in data_rows(name)]
    assert find_leaks(texts, [row["text"] for row in rows]) == []
