"""Windows of texts, batches of several sources, and the loss that asks for some labels only."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.windows import (
    GROUP,
    TAIL,
    Corpus,
    PartialCrossentropy,
    Source,
    batches_of,
    windows_at,
)

# ------------------------------------------------------------------------------------------ corpus

TEXTS = [[5, 6, 7], [8], [2, 3, 4, 5, 6, 7, 8, 9], [9, 9]]


def read(corpus: Corpus) -> list[list[int]]:
    """The texts again."""
    ends = zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    return [corpus.token_ids[start:end].tolist() for start, end in ends]


def test_corpus():
    corpus = Corpus.of(TEXTS)
    assert read(corpus) == TEXTS
    assert len(corpus) == 4
    assert (corpus.token_ids.dtype, corpus.offsets.dtype) == (np.int32, np.int64)
    assert read(Corpus.of([])) == []


def test_joined_corpora():
    parts = [Corpus.of(TEXTS[:2]), Corpus.of([]), Corpus.of(TEXTS[2:])]
    joined, whole = Corpus.joined(parts), Corpus.of(TEXTS)
    assert read(joined) == TEXTS
    assert (joined.token_ids.dtype, joined.offsets.dtype) == (np.int32, np.int64)
    assert joined.sha256() == whole.sha256()


def test_hash_knows_words_and_where_texts_end():
    hashes = {Corpus.of(texts).sha256() for texts in ([[2, 3], [4]], [[2], [3, 4]], [[2, 3], [5]])}
    assert len(hashes) == 3


# ----------------------------------------------------------------------------------------- windows


def loop_windows(texts: list[list[int]], window: int, generator: np.random.Generator) -> list:
    """The obvious loop, with draws in the order of `windows_at`."""
    at_end = [generator.random() < TAIL for _ in texts]
    rows = []
    for text, last in zip(texts, at_end, strict=True):
        room = max(0, len(text) - window)
        start = generator.integers(0, room + 1)
        rows.append(text[room:] if last else text[start : start + window])
    longest = max(map(len, rows))
    return [row + [0] * (longest - len(row)) for row in rows]


@given(
    texts=st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=30), min_size=1, max_size=9),
    window=st.integers(1, 31),
    draw=st.data(),
)
def test_windows_equal_a_loop(texts, window, draw):
    positions = draw.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=12))
    seed = draw.draw(st.integers(0, 99))
    found = windows_at(Corpus.of(texts), np.array(positions), window, np.random.default_rng(seed))
    assert found.dtype == np.int32
    expected = loop_windows([texts[i] for i in positions], window, np.random.default_rng(seed))
    assert found.tolist() == expected


def test_windows_come_from_everywhere_and_more_often_from_the_end():
    corpus = Corpus.of([list(range(2, 12))])
    rows = windows_at(corpus, np.zeros(20_000, int), 4, np.random.default_rng(0))
    starts, counts = np.unique(rows[:, 0], return_counts=True)
    assert (rows == rows[:, :1] + np.arange(4)).all()
    assert starts.tolist() == [2, 3, 4, 5, 6, 7, 8]
    each = (1 - TAIL) / 7
    np.testing.assert_allclose(counts / 20_000, [*[each] * 6, each + TAIL], atol=0.01)


def test_texts_without_words_are_padding():
    rows = windows_at(Corpus.of([[], [3]]), np.array([0, 0]), 5, np.random.default_rng(0))
    assert rows.tolist() == [[0], [0]]


# ----------------------------------------------------------------------------------------- batches


def source(first: int, texts: int, labels: tuple[int, ...], **options) -> Source:
    """Texts of one word each, repeated 1 to 12 times: the word tells the text."""
    generator = np.random.default_rng(first)
    targets = np.zeros((texts, 3), "float32")
    targets[:, labels] = generator.dirichlet(np.ones(len(labels)), texts)
    options = {"share": 1.0, "batch_size": 4, "window": 8, "often": np.ones(texts)} | options
    ids = [[first + i] * int(generator.integers(1, 13)) for i in range(texts)]
    return Source(Corpus.of(ids), targets, np.isin(range(3), labels), **options)


FIRST = source(10, 30, (0, 2), share=0.5, batch_size=4, window=8)
SECOND = source(50, 20, (0, 1, 2), share=1.5, batch_size=3, window=5)


def test_batches_hold_texts_with_their_targets():
    batch_at = batches_of([FIRST, SECOND], seed=1)
    for step in range(100):
        ids, targets = batch_at(step)
        assert targets.dtype == np.float32
        part, first = (FIRST, 10) if ids[0, 0] < 50 else (SECOND, 50)
        texts = ids[:, 0] - first
        assert len(ids) == part.batch_size
        lengths = np.minimum(np.diff(part.corpus.offsets)[texts], part.window)
        expected = np.where(np.arange(lengths.max()) < lengths[:, None], ids[:, :1], 0)
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(targets, np.where(part.asked, part.targets[texts], -1))
        assert (targets[:, 1] < 0).all() == (part is FIRST)


def test_sources_come_by_share():
    batch_at = batches_of([FIRST, SECOND], seed=2)
    first = np.array([batch_at(step)[0][0, 0] < 50 for step in range(3000)])
    assert first.mean() == pytest.approx(0.25, abs=0.03)
    assert first[1500:].mean() == pytest.approx(0.25, abs=0.04)
    assert len({tuple(part) for part in first.reshape(3, 1000)}) == 3  # drawn anew, not repeated


def test_every_batch_of_a_source_comes_in_turn():
    """As if it were the only one."""
    mixed, alone = batches_of([FIRST, SECOND], seed=6), batches_of([FIRST], seed=6)
    found = [ids for ids in (mixed(step)[0] for step in range(200)) if ids[0, 0] < 50]
    assert len(found) > GROUP
    for step, ids in enumerate(found):
        np.testing.assert_array_equal(ids, alone(step)[0])


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_batch_is_the_same_whoever_asks_and_when():
    """Beyond the blocks in which sources and texts are drawn, too."""
    steps = [1203, 5, 1100, 0, 999, 1000, 85, 5, 1203]
    asked_once = batches_of([FIRST, SECOND], seed=3)
    in_order = batches_of([FIRST, SECOND], seed=3)
    expected = {step: in_order(step) for step in sorted(set(steps))}
    for step in steps:
        assert_same(asked_once(step), expected[step])
    assert_same(batches_of([FIRST, SECOND], seed=3)(1100), expected[1100])


def test_other_seeds_give_other_batches():
    first, second = (batches_of([FIRST], seed)(0)[0] for seed in (0, 1))
    assert first.shape != second.shape or (first != second).any()


def test_batches_differ():
    batch_at = batches_of([FIRST], seed=0)
    assert len({batch_at(step)[0].tobytes() for step in range(2 * GROUP)}) == 2 * GROUP


def test_texts_are_drawn_as_often_as_they_should():
    often = np.array([0, 1.0, 3.0, 0.0, 0.5])
    batch_at = batches_of([source(10, 5, (0, 2), batch_size=9, often=often)], seed=4)
    drawn = np.concatenate([batch_at(step)[0][:, 0] for step in range(400)]) - 10
    counts = np.bincount(drawn, minlength=5) / len(drawn)
    np.testing.assert_allclose(counts, often / often.sum(), atol=0.03)
    assert counts[0] == counts[3] == 0


def test_batches_of_a_group_have_texts_of_similar_length_in_any_order():
    batch_at = batches_of([source(10, 300, (0, 1), batch_size=6, window=10)], seed=5)
    for group in range(2):
        batches = [batch_at(step)[0] for step in range(group * GROUP, (group + 1) * GROUP)]
        lengths = [np.count_nonzero(ids, axis=1) for ids in batches]
        shortest = [part.min() for part in lengths]
        assert shortest != sorted(shortest)
        lengths.sort(key=lambda part: (part.max(), part.min()))
        flat = np.concatenate([np.sort(part) for part in lengths])
        assert (np.diff(flat) >= 0).all()
        assert flat[0] < flat[-1] == 10


# -------------------------------------------------------------------------------------------- loss


def expected_loss(targets: np.ndarray, probabilities: np.ndarray, rest: float) -> list[float]:
    """(1 − rest) · cross-entropy among the asked labels + rest · cross-entropy among all."""
    losses = []
    for row, p in zip(targets, probabilities, strict=True):
        asked = [i for i, target in enumerate(row) if target >= 0]
        total = sum(p[i] for i in asked)
        among = -sum(row[i] * np.log(p[i] / total) for i in asked)
        everything = -sum(row[i] * np.log(p[i]) for i in asked)
        losses.append((1 - rest) * among + rest * everything)
    return losses


def example(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets float32 (7, 4) that ask for two to four labels, and probabilities."""
    generator = np.random.default_rng(seed)
    targets = np.full((7, 4), -1, "float32")
    for row, size in zip(targets, (2, 3, 4, 2, 3, 4, 2), strict=True):
        asked = generator.permutation(4)[:size]
        row[asked] = generator.dirichlet(np.ones(size))
    targets[0, targets[0] >= 0] = [0, 1]  # a label, not a share of each
    return targets, generator.dirichlet(np.ones(4), 7).astype("float32")


@pytest.mark.parametrize("rest", [0.0, 0.1, 0.6, 1.0])
def test_loss(rest):
    targets, probabilities = example(int(10 * rest))
    found = np.array(PartialCrossentropy(rest).call(targets, probabilities))
    assert found.shape == (7,)
    np.testing.assert_allclose(found, expected_loss(targets, probabilities, rest), rtol=1e-4)


def test_rest_is_a_tenth_by_default():
    targets, probabilities = example(3)
    found = PartialCrossentropy().call(targets, probabilities)
    np.testing.assert_allclose(found, expected_loss(targets, probabilities, 0.1), rtol=1e-4)


@pytest.mark.parametrize("rest", [0.0, 0.3])
def test_where_all_labels_are_asked_it_is_keras_loss(rest):
    targets, probabilities = example(4)
    targets, probabilities = targets[[2, 5]], probabilities[[2, 5]]
    np.testing.assert_allclose(
        PartialCrossentropy(rest).call(targets, probabilities),
        keras.losses.categorical_crossentropy(targets, probabilities),
        rtol=1e-5,
    )


def test_a_label_that_nobody_asks_for_is_left_alone_but_for_the_rest():
    """Among two labels of three a source says nothing of the third."""
    targets = np.array([[1, -1, 0]], "float32")
    small, large = (np.array([p], "float32") for p in ([0.6, 0.1, 0.3], [0.12, 0.82, 0.06]))
    without, with_rest = (PartialCrossentropy(rest).call for rest in (0.0, 0.5))
    np.testing.assert_allclose(without(targets, small), without(targets, large), rtol=1e-5)
    assert np.array(with_rest(targets, large))[0] > np.array(with_rest(targets, small))[0] + 0.5


def test_impossible_labels_have_a_finite_loss():
    targets = np.array([[1, -1, 0], [0, 0, 1]], "float32")
    found = np.array(
        PartialCrossentropy().call(targets, np.array([[0, 1, 0], [1, 0, 0]], "float32"))
    )
    assert np.isfinite(found).all()
    assert (found > 0.5).all()


def test_loss_of_a_batch_is_the_mean_and_survives_saving():
    targets, probabilities = example(5)
    loss = PartialCrossentropy(0.3)
    again = PartialCrossentropy.from_config(loss.get_config())
    for found in (loss(targets, probabilities), again(targets, probabilities)):
        expected = np.mean(expected_loss(targets, probabilities, 0.3))
        assert float(found) == pytest.approx(expected, rel=1e-4)
