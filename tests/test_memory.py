"""Memory over distance: gradients against finite differences, the recall task, tables, pictures."""

import csv
import dataclasses
import io
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.colors import to_hex

from sentiment import memory, plots
from sentiment.data import Reviews, Splits
from sentiment.equations import Network, network_of, network_probabilities
from sentiment.memory import (
    MemoryReport,
    gradient_by_distance,
    measure_memory,
    measure_recall,
    recall_sequences,
    write_memory,
)
from sentiment.models import BUILDERS, build_model, model_settings


def log_odds(network: Network, ids: np.ndarray, label: int) -> float:
    """Of a label against all others, in float64 NumPy."""
    (p,) = network_probabilities(ids[None], network)
    p = np.array([1 - p[0], p[0]]) if len(p) == 1 else p
    return float(np.log(p[label]) - np.log(np.delete(p, label).sum()))


def predicted(network: Network, ids: np.ndarray) -> int:
    (p,) = network_probabilities(ids[None], network)
    return int(p[0] > 0.5) if len(p) == 1 else int(p.argmax())


def norms_by_differences(model, ids: np.ndarray) -> np.ndarray:
    """Gradient norms of one text of different words by central differences, last word first."""
    network = network_of(model)
    label, step = predicted(network, ids), 1e-5
    gradient = np.zeros((len(ids), network.embeddings.shape[1]))
    for (position, feature), _ in np.ndenumerate(gradient):
        ends = []
        for sign in (1, -1):
            embeddings = network.embeddings.copy()
            embeddings[ids[position], feature] += sign * step
            ends.append(log_odds(dataclasses.replace(network, embeddings=embeddings), ids, label))
        gradient[position, feature] = (ends[0] - ends[1]) / (2 * step)
    return np.linalg.norm(gradient, axis=1)[::-1]


# Every kind of cell is compared with its equations elsewhere; here it is the way back.
@pytest.mark.parametrize(
    ("name", "num_classes"), [("rnn", 1), ("lstm", 3), ("bigru", 2), ("clockwork_rnn", 3)]
)
def test_gradients_are_the_finite_differences(name, num_classes, random_network):
    model = random_network(name, num_classes, pooling="last", dropout=0.5, word_dropout=0.5)
    ids = np.random.default_rng(2).permutation(np.arange(1, 11))  # each word once
    found = gradient_by_distance(model, [ids.tolist()], distances=10)
    # Keras computes in float32: relative errors of some 1e-7 a step.
    np.testing.assert_allclose(found.median, norms_by_differences(model, ids), rtol=2e-4)


def test_gradients_of_pooled_states(random_network):
    model = random_network("bigru", pooling="max+mean", merge="sum")
    ids = np.random.default_rng(3).permutation(np.arange(1, 7))
    found = gradient_by_distance(model, [ids.tolist()], distances=6)
    np.testing.assert_allclose(found.median, norms_by_differences(model, ids), rtol=2e-4)


def test_quantiles_are_over_texts_and_distance_counts_from_each_end(random_network, monkeypatch):
    monkeypatch.setattr(memory, "GRADIENT_BATCH", 2)  # batches of different lengths
    model = random_network("lstm", pooling="last")
    generator = np.random.default_rng(4)
    texts = [generator.permutation(np.arange(1, 20))[:n] for n in (9, 5, 12, 4, 7, 6)]
    each = np.array([norms_by_differences(model, t)[:5] for t in texts if len(t) >= 5])
    found = gradient_by_distance(model, [t.tolist() for t in texts], distances=5)
    assert found.texts == 5
    for values, share in ((found.low, 0.1), (found.median, 0.5), (found.high, 0.9)):
        np.testing.assert_allclose(values, np.quantile(each, share, axis=0), rtol=2e-4)


def test_log_odds_do_not_saturate(random_network):
    """With an output layer a thousand times larger, probabilities are 0 and 1 in float32."""
    model = random_network("rnn", 2, pooling="last")
    ids = [list(range(1, 9))]
    before = gradient_by_distance(model, ids, distances=8)
    output = model.get_layer("probabilities")
    output.set_weights([1000 * weights for weights in output.get_weights()])
    after = gradient_by_distance(model, ids, distances=8)
    np.testing.assert_allclose(after.median, 1000 * np.array(before.median), rtol=1e-4)


def test_an_untrained_recurrence_forgets_and_pooling_does_not():
    """Beside the last state alone, the mean gives every word a direct way to the output."""
    ids = [np.random.default_rng(5).integers(1, 20, 60).tolist()]
    last, mean = (
        gradient_by_distance(
            build_model("lstm", 20, 2, seed=0, embedding_dim=4, units=5, pooling=pooling),
            ids,
            distances=60,
        ).median
        for pooling in ("last", "mean")
    )
    assert last[59] < 1e-3 * last[0]
    assert mean[59] > 0.1 * mean[0]


@pytest.fixture
def eagerly():
    """Without compiling, which takes longer than a few steps do."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder_has_gradients(name, eagerly):  # noqa: ARG001
    sizes = {"embedding_dim": 4, "units": 6}
    model = build_model(name, 20, 2, seed=0, **sizes)
    found = gradient_by_distance(model, [[3, 5, 7, 2, 9, 4]], distances=6)
    assert len(found.median) == 6
    assert np.all(np.array(found.median) > 0)


def test_no_text_is_long_enough(random_network):
    model = random_network("rnn")
    message = "Expected at least one text of 5 words. Received: 2 texts, the longest of 4"
    with pytest.raises(ValueError, match=f"^{message}$"):
        gradient_by_distance(model, [[1, 2], [1, 2, 3, 4]], distances=5)


@pytest.mark.parametrize("distances", [0, -1, 2.0, True])
def test_distances_must_be_a_whole_number(distances, random_network):
    message = f"`distances` must be a whole number of at least 1. Received: {distances!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        gradient_by_distance(random_network("rnn"), [[1, 2]], distances=distances)


# --- recall ---


def test_the_label_is_that_of_the_first_word():
    for distance in (0, 1, 7):
        rows, labels = recall_sequences(3000, distance, np.random.default_rng(distance))
        assert (rows.shape, rows.dtype, labels.dtype) == ((3000, 1 + distance), "int32", "int32")
        np.testing.assert_array_equal(labels, rows[:, 0] % 2 == 0)
        counts = np.bincount(rows[:, 0], minlength=10)
        assert counts[0] == counts[9] == 0
        np.testing.assert_allclose(counts[1:9] / 3000, 1 / 8, atol=0.03)
        assert labels.mean() == pytest.approx(0.5, abs=0.05)
    assert (rows[:, 1:].min(), rows[:, 1:].max()) == (9, 508)
    assert len(np.unique(rows[:, 1:])) == 500
    # Nothing after the first word tells the label.
    means = [rows[labels == label, 1:].mean() for label in (0, 1)]
    assert abs(means[0] - means[1]) < 6


@pytest.fixture(scope="module")
def pupil() -> memory._Pupil:
    return memory._Pupil("gru")


@pytest.fixture
def lessons(pupil, monkeypatch) -> list[np.ndarray]:
    """What the pupil is given to learn from, instead of learning; its losses are `losses`."""
    given = []

    def learn(token_ids, labels):
        np.testing.assert_array_equal(labels, token_ids[:, 0] % 2 == 0)
        given.append(token_ids)
        return LOSSES[len(given) - 1] if len(given) <= len(LOSSES) else 1.0

    monkeypatch.setattr(pupil._model, "train_on_batch", learn)
    return given


LOSSES = [0.04] * 3 + [0.06] + [0.049] * 20


def test_training_ends_when_the_task_is_learned(pupil, lessons):
    """After 20 batches in a row below a loss of 0.05, not after 20 in all."""
    pupil.learn((3, 3), 100, 0, np.random.default_rng(0))
    assert len(lessons) == 24
    assert {rows.shape for rows in lessons} == {(32, 4)}


def test_training_ends_after_the_updates(pupil, lessons):
    pupil.learn((3, 3), 23, 0, np.random.default_rng(0))
    assert len(lessons) == 23


def test_training_distances_are_even_on_a_logarithmic_scale(pupil, lessons, monkeypatch):
    monkeypatch.setattr(memory, "LEARNED_BATCHES", 10**6)
    pupil.learn((10, 400), 3000, 0, np.random.default_rng(0))
    distances = [rows.shape[1] - 1 for rows in lessons]
    assert (min(distances), max(distances)) == (10, 400)
    edges = [10, 25, 50, 100, 200, 401]
    shares = np.histogram(distances, edges)[0] / 3000
    np.testing.assert_allclose(shares, np.diff(np.log(edges)) / np.log(40.1), atol=0.03)


def test_a_pupil_starts_from_the_weights_of_its_seed(pupil):
    for seed in (0, 3):
        pupil.learn((2, 2), 0, seed, np.random.default_rng(0))
        first = build_model(
            "gru",
            509,
            2,
            seed=seed,
            units=32,
            embedding_dim=32,
            pooling="last",
            word_dropout=0,
            dropout=0,
        )
        for weights, expected in zip(pupil._model.get_weights(), first.get_weights(), strict=True):
            np.testing.assert_array_equal(weights, expected)


def test_a_pupil_keeps_nothing_of_what_it_learned_before(pupil):
    """Neither weights nor the optimizer's moments and count of steps."""
    learned = []
    for seed in (1, 2, 1):
        pupil.learn((2, 2), 3, seed, np.random.default_rng(seed))
        learned.append(pupil._model.get_weights())
        assert int(pupil._optimizer.iterations.numpy()) == 3
    for first, other, again in zip(*learned, strict=True):
        np.testing.assert_allclose(again, first, rtol=0, atol=1e-6)
        assert np.abs(other - first).max() > 1e-3


@pytest.mark.parametrize("name", BUILDERS)
def test_the_recall_network_reads_the_last_state_alone(name):
    assert memory.RECALL_NETWORK["pooling"] == "last"
    model = memory._Pupil(name)._model
    layers = [layer.name for layer in model.layers]
    if "pooling" in model_settings(name):  # the others have attention, their way to read all
        assert "pooling" not in layers
    assert model.get_layer("embedding").get_weights()[0].shape == (509, 32)
    assert not [layer.name for layer in model.layers if getattr(layer, "rate", 0)]


def test_recall_is_counted_on_fresh_sequences(monkeypatch):
    """A pupil that knows the first word at distances it has learned, and else says 1."""
    taught, tested = [], []

    class Knowing(memory._Pupil):
        def __init__(self, name):
            assert name == "rnn"
            self._model = self

        def learn(self, span, updates, seed, generator):
            assert updates == 7
            taught.append((tuple(span), seed))
            self.first = recall_sequences(5, span[0], generator)[0]

        def predict_on_batch(self, rows):
            distance = rows.shape[1] - 1
            tested.append(rows)
            (low, high), _ = taught[-1]
            if distance == low:
                assert not any((rows == row).all(axis=1).any() for row in self.first)
            known = low <= distance <= high and distance != 30
            return np.eye(2)[np.where(known, 1 - rows[:, 0] % 2, 1)]

    monkeypatch.setattr(memory, "_Pupil", Knowing)
    found = measure_recall("rnn", seeds=2, updates=7, tests=50, distances=(5, 30, 60))
    alone = [((d, d), seed) for seed in (0, 1) for d in (5, 30, 60)]
    assert taught == alone + [((5, 60), 0), ((5, 60), 1)]
    shapes = [rows.shape for rows in tested]
    assert shapes == [(50, 1 + d) for d in (5, 30, 60)] * 4
    # A label of 1 where the word is not known is right as often as the label is 1.
    positive = [float((rows[:, 0] % 2 == 0).mean()) for rows in tested]
    assert all(0.2 < positive[i] < 0.8 for i in (1, 4, 7, 10))
    assert (found.sequences, found.distances) == (50, (5, 30, 60))
    assert found.alone == ((1.0, positive[1], 1.0), (1.0, positive[4], 1.0))
    assert found.mixed == ((1.0, positive[7], 1.0), (1.0, positive[10], 1.0))


def test_a_gated_network_learns_to_recall(pupil, monkeypatch):
    """The real training, over distances short enough for a test."""
    monkeypatch.setattr(memory, "_Pupil", lambda _: pupil)
    found = measure_recall("gru", seeds=1, updates=100, tests=100, distances=(1, 3))
    assert min(*found.alone[0], *found.mixed[0]) > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "`seeds` must be a whole number of at least 1. Received: 0"),
        ({"updates": 0}, "`updates` must be a whole number of at least 1. Received: 0"),
        ({"tests": True}, "`tests` must be a whole number of at least 1. Received: True"),
        ({"name": "none"}, "`model` must be one of "),
    ],
)
def test_recall_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        measure_recall(**{"name": "rnn"} | settings)


# --- the report ---

SMALL = {"units": 4, "embedding_dim": 4, "epochs": 1, "max_length": 12}
BRIEF = {"seeds": 1, "updates": 2, "tests": 8, "distances": (2, 4)}


@pytest.fixture(scope="module")
def splits() -> Splits:
    """Reviews of 8 to 19 words, the first of which says the label."""
    generator = np.random.default_rng(0)

    def reviews(count: int) -> Reviews:
        labels = ["negative", "positive"] * (count // 2)
        texts = [
            " ".join(["good" if label == "positive" else "bad"] + ["word"] * generator.integers(19))
            for label in labels
        ]
        return Reviews(texts, labels)

    return Splits("made up", reviews(60), reviews(10), reviews(40))


def measured(name: str, splits: Splits, **options) -> MemoryReport:
    short = {"settings": SMALL, "distances": 10, "recall": BRIEF}
    return measure_memory(name, splits, **short | options)


def test_measure_memory(splits, monkeypatch):
    networks, epochs = [], []
    real = memory.gradient_by_distance

    def listen(model, token_ids, **options):
        networks.append((model, token_ids))
        return real(model, token_ids, **options)

    monkeypatch.setattr(memory, "gradient_by_distance", listen)
    recalled = memory.Recall(8, (2, 4), ((1.0, 0.5),), ((0.75, 0.625),))
    asked = []

    def recall(name, **settings):
        asked.append((name, settings))
        return recalled

    monkeypatch.setattr(memory, "measure_recall", recall)
    report = measured("gru", splits, seed=5, texts=6, on_epoch=epochs.append)
    (first, first_ids), (trained, trained_ids) = networks
    assert first_ids == trained_ids
    assert (len(first_ids), report.texts) == (6, 6)
    assert all(len(ids) >= 10 for ids in first_ids)
    for model in (first, trained):
        assert "pooling" not in [layer.name for layer in model.layers]
    vocab_size = trained.get_layer("embedding").input_dim
    again = build_model("gru", vocab_size, 2, seed=5, units=4, embedding_dim=4, pooling="last")
    for weights, expected in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, expected)

    assert report.model == "gru"
    assert report.distances == tuple(range(10))
    assert report.untrained_median == real(first, first_ids, distances=10).median
    assert report.untrained_low == real(first, first_ids, distances=10).low
    assert report.untrained_high == real(first, first_ids, distances=10).high
    assert report.trained_median == real(trained, first_ids, distances=10).median
    assert report.trained_low == real(trained, first_ids, distances=10).low
    assert report.trained_high == real(trained, first_ids, distances=10).high
    assert report.trained_median != report.untrained_median
    assert [epoch.validation_accuracy for epoch in epochs] == [report.trained_accuracy]
    assert report.seconds > 0
    assert asked == [("gru", BRIEF)]
    for name in ("sequences", "distances", "alone", "mixed"):
        assert getattr(report, f"recall_{name}") == getattr(recalled, name)
    assert str(report) == (
        f"gru: validation accuracy {report.trained_accuracy:.2%} after training, "
        f"measured in {report.seconds:.1f} s"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distances": 13}, "`distances` must be at most `max_length`, 12. Received: 13"),
        ({"texts": 0}, "`texts` must be a whole number of at least 1. Received: 0"),
        ({"distances": 0}, "`distances` must be a whole number of at least 1. Received: 0"),
        ({"settings": {"units": 0}}, "`units` must be a whole number from 1 to 8192. Received: 0"),
        (
            {"distances": 20, "settings": {"max_length": 20}},
            "Expected at least one test review of 20 words. Received: 40 reviews, the longest of ",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(options, message, splits, monkeypatch):
    monkeypatch.setattr(memory, "measure_recall", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        measured("rnn", splits, **options)


# --- tables and pictures ---


def made_up(model: str, last: float = 1e-9) -> MemoryReport:
    norms = tuple(np.geomspace(1, last, 4).tolist())
    return MemoryReport(
        model=model,
        texts=7,
        distances=(0, 1, 2, 3),
        untrained_median=norms,
        untrained_low=tuple(n / 2 for n in norms),
        untrained_high=tuple(n * 2 for n in norms),
        trained_median=tuple(n * 10 for n in norms),
        trained_low=tuple(n * 5 for n in norms),
        trained_high=tuple(n * 20 for n in norms),
        trained_accuracy=0.875,
        recall_sequences=50,
        recall_distances=(10, 400),
        recall_alone=((1.0, 0.5), (0.75, 0.25)),
        recall_mixed=((1.0, 0.625), (0.875, 0.5)),
        seconds=1.5,
    )


def tuples(value):
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def test_json_keeps_a_report():
    report = made_up("gru")
    read = MemoryReport(**json.loads(json.dumps(dataclasses.asdict(report))))
    for field in dataclasses.fields(MemoryReport):
        value = getattr(read, field.name)
        expected = getattr(report, field.name)
        assert tuples(value) == expected


def test_tables_have_a_row_per_model_and_distance(tmp_path):
    reports = [made_up("rnn"), made_up("clockwork_rnn", last=0.1)]
    files = write_memory(reports, tmp_path / "new" / "folder")
    names = ["gradients.csv", "recall.csv", "gradients.png", "recall.png"]
    assert [file.name for file in files] == names
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == sorted(names)

    gradients = list(csv.DictReader(io.StringIO(files[0].read_text())))
    columns = [f"{w}_{q}" for w in ("untrained", "trained") for q in ("median", "low", "high")]
    assert list(gradients[0]) == ["model", "distance", "texts", *columns]
    assert [(r["model"], r["distance"]) for r in gradients] == [
        (name, str(d)) for name in ("rnn", "clockwork_rnn") for d in range(4)
    ]
    for number, row in enumerate(gradients):
        report, distance = reports[number // 4], number % 4
        assert [float(row[c]) for c in columns] == [getattr(report, c)[distance] for c in columns]
        assert row["texts"] == "7"
    assert files[1].read_text().splitlines() == [
        "model,trained_at,distance,seed,sequences,accuracy",
        *(
            f"{name},{trained_at},{distance},{seed},50,{accuracy}"
            for name in ("rnn", "clockwork_rnn")
            for trained_at, distance, seed, accuracy in (
                ("alone", 10, 0, 1.0),
                ("alone", 400, 0, 0.5),
                ("alone", 10, 1, 0.75),
                ("alone", 400, 1, 0.25),
                ("mixed", 10, 0, 1.0),
                ("mixed", 400, 0, 0.625),
                ("mixed", 10, 1, 0.875),
                ("mixed", 400, 1, 0.5),
            )
        ),
    ]


def test_no_reports_are_refused(tmp_path):
    with pytest.raises(ValueError, match="^Expected at least one report. Received none.$"):
        write_memory([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [1, 5])
def test_a_panel_for_each_network_in_the_same_colour(count, tmp_path, saved_figures):
    names = [f"{i}_{cell}" for i in range(5) for cell in ("rnn", "lstm", "gru")][:count]
    reports = [made_up(name) for name in names]
    plots.save_gradient_plot(tmp_path / "g.png", reports)
    plots.save_recall_plot(tmp_path / "r.png", reports)
    for figure in saved_figures:
        assert [axes.get_title() for axes in figure.axes] == names
        assert figure.axes[-1].get_xlabel()
        assert figure.get_supylabel()
    gradients, recall = saved_figures
    assert "median of up to 7 long reviews" in gradients.get_suptitle()
    assert "mean of 2 seeds, shaded from the lowest to the highest" in recall.get_suptitle()
    for report, first, second in zip(reports, gradients.axes, recall.axes, strict=True):
        line = first.lines[-1]  # the panel's own is drawn last, on top
        np.testing.assert_array_equal(line.get_ydata(), report.trained_median)
        colour = {"rnn": plots.VERMILION, "lstm": plots.BLUE, "gru": plots.GREEN}
        expected = colour[report.model.split("_")[1]].lower()
        assert to_hex(line.get_color()) == expected
        chance, mixed, alone = second.lines
        assert list(chance.get_ydata()) == [0.5, 0.5]
        assert to_hex(alone.get_color()) == expected
        assert to_hex(mixed.get_color()) == plots.GREY.lower()
        np.testing.assert_array_equal(alone.get_xdata(), report.recall_distances)
        np.testing.assert_array_equal(alone.get_ydata(), [0.875, 0.375])
        np.testing.assert_array_equal(mixed.get_ydata(), [0.9375, 0.5625])
        shades = [shade.get_paths()[0].get_extents() for shade in second.collections]
        assert [(shade.y0, shade.y1) for shade in shades] == [(0.5, 1.0), (0.25, 1.0)]


@pytest.mark.parametrize(("count", "labelled"), [(4, 2), (5, 5), (13, 5)])
def test_rows_with_free_places_below_have_tick_labels(count, labelled, tmp_path, saved_figures):
    """All of such a row, and the last row; the panels above share them."""
    reports = [made_up(f"{i}_lstm") for i in range(count)]
    plots.save_gradient_plot(tmp_path / "g.png", reports)
    plots.save_recall_plot(tmp_path / "r.png", reports)
    for figure in saved_figures:
        shown = [bool(axes.get_xlabel()) for axes in figure.axes]
        assert shown == [False] * (count - labelled) + [True] * labelled
        first = [axes.xaxis.get_major_ticks()[0] for axes in figure.axes]
        assert [tick.label1.get_visible() for tick in first] == shown


def test_a_lone_word_between_zeros_is_seen(tmp_path, saved_figures):
    """Lines come from below the axis, where zeros are on a logarithmic one, and go back there."""
    report = dataclasses.replace(made_up("rnn"), trained_median=(0.0, 0.0, 1.0, 0.0))
    plots.save_gradient_plot(tmp_path / "g.png", [report])
    (axes,) = saved_figures[0].axes
    assert axes.get_ylim()[0] > 0
    line = axes.lines[-1]
    path = line.get_transform().transform_path(line.get_path())
    bottom = axes.bbox.y0
    heights = [y - bottom for y in path.vertices[:, 1]]
    assert np.isfinite(heights).all()
    assert [height > 0 for height in heights] == [False, False, True, False]
