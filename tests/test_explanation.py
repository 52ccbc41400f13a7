"""What an explanation says is what the network does: prefixes, word effects, gates."""

import dataclasses
import re

import numpy as np
import pytest

from sentiment import explanation as module
from sentiment.artifact import pack_network
from sentiment.data import bundled
from sentiment.equations import network_of, network_probabilities, replay, run_cell
from sentiment.explanation import (
    METHODS,
    Explanation,
    ExplanationError,
    WordReading,
    disagreements,
    explain,
    load_examples,
    read_examples,
    turning_point,
    verdict,
)
from sentiment.predictor import Predictor
from sentiment.preprocessing import OOV_ID, review_words

TEXT = "word3 word7 Word1, unheard word7 word12!"  # "!" and "unheard" are unknown to the models
WORDS = ["word3", "word7", "word1", "unheard", "word7", "word12", "!"]
# Of answers: ONNX Runtime computes in float32, and in other batches with other roundings.
ROUNDING = 1e-6


@pytest.fixture(scope="module")
def predictor(random_model) -> Predictor:
    return Predictor(random_model().artifact)


@pytest.fixture(scope="module")
def explained(predictor) -> Explanation:
    return explain(predictor, TEXT)


def score(predictor: Predictor, text: str) -> float:
    return predictor.details([text])[0].score


# ----------------------------------------------------------------------------------- the whole text


def test_the_answer_is_the_predictors(predictor, explained):
    prediction = predictor.details([TEXT])[0]
    assert explained.text == TEXT
    assert explained.label == prediction.label
    assert explained.score == pytest.approx(prediction.score, abs=ROUNDING)
    assert explained.probabilities == pytest.approx(prediction.probabilities, abs=ROUNDING)
    assert explained.target == "score"
    assert explained.left_out == 0
    assert [word.position for word in explained.words] == list(range(1, 8))


def test_words_are_those_that_the_network_read(explained):
    assert [word.word for word in explained.words] == WORDS
    assert [word.known for word in explained.words] == [
        w in TEXT.lower() and w[0] == "w" for w in WORDS
    ]


def test_the_running_answer_is_that_to_every_prefix(predictor, explained):
    for end, word in enumerate(explained.words, 1):
        prediction = predictor.details([" ".join(WORDS[:end])])[0]
        assert word.label == prediction.label
        assert word.score == pytest.approx(prediction.score, abs=ROUNDING)
        assert word.probabilities == pytest.approx(prediction.probabilities, abs=ROUNDING)
    assert len({round(word.score, 4) for word in explained.words}) > 4  # they do differ


def test_a_text_that_is_too_long_is_explained_as_it_is_read(predictor):
    explained = explain(predictor, " ".join(f"word{i % 50}" for i in range(30)))
    assert explained.left_out == 10
    read = [*range(5), *range(15, 30)]
    assert [word.word for word in explained.words] == [f"word{i}" for i in read]
    assert [word.position for word in explained.words] == [i + 1 for i in read]
    so_far = score(predictor, " ".join(f"word{i}" for i in read[:12]))  # the head, part of the tail
    assert explained.words[11].score == pytest.approx(so_far, abs=ROUNDING)
    assert explained.words[-1].score == pytest.approx(explained.score, abs=ROUNDING)


@pytest.mark.parametrize("text", ["", "  ", "...", "<br />"])
def test_a_text_without_words_is_refused(predictor, text):
    message = re.escape(f"Expected a text with at least one word. Received: {text!r}")
    with pytest.raises(ExplanationError, match=f"^{message}$"):
        explain(predictor, text)


def test_one_word(predictor):
    explained = explain(predictor, "word9")
    (word,) = explained.words
    assert word.effects["removed"] == pytest.approx(
        score(predictor, "word9") - score(predictor, ""), abs=ROUNDING
    )
    assert turning_point(explained) is None


def test_labels_without_an_order_are_explained_by_their_probability(random_model):
    predictor = Predictor(random_model(("books", "films", "music")).artifact)
    explained = explain(predictor, TEXT)
    assert explained.score is None
    assert all(word.score is None for word in explained.words)
    assert explained.target == explained.label == predictor.predict([TEXT])[0]
    without = predictor.details([TEXT.replace("word3 ", "")])[0].probabilities
    expected = explained.probabilities[explained.label] - without[explained.label]
    assert explained.words[0].effects["removed"] == pytest.approx(expected, abs=ROUNDING)


def test_five_ordered_labels(random_model):
    predictor = Predictor(random_model(("1", "2", "3", "4", "5")).artifact)
    explained = explain(predictor, TEXT)
    expected = score(predictor, TEXT) - score(predictor, TEXT.replace("word12", ""))
    assert explained.words[5].effects["removed"] == pytest.approx(expected, abs=ROUNDING)


# ------------------------------------------------------------------------------------- word effects


def test_effect_of_removal(predictor, explained):
    for t, word in enumerate(explained.words):
        without = " ".join(WORDS[:t] + WORDS[t + 1 :])
        expected = score(predictor, TEXT) - score(predictor, without)
        assert word.effects["removed"] == pytest.approx(expected, abs=ROUNDING)


def test_effect_of_an_unknown_word_in_its_place(predictor, explained):
    for t, word in enumerate(explained.words):
        changed = " ".join([*WORDS[:t], "blah", *WORDS[t + 1 :]])
        expected = score(predictor, TEXT) - score(predictor, changed)
        assert word.effects["unknown"] == pytest.approx(expected, abs=ROUNDING)
    assert [word.effects["unknown"] for word in explained.words if not word.known] == [0, 0]


def test_integrated_gradients_are_the_path_integral(predictor, explained):
    """By brute force: the midpoint rule over central differences, one feature at a time."""
    network = predictor.network
    (ids,) = predictor.encoder.encode([TEXT]).token_ids
    vectors = network.word_vectors(np.array(ids))
    unknown = network.word_vectors(np.full(len(ids), OOV_ID))
    mask, values = np.ones((1, len(ids)), bool), np.array(predictor.manifest.label_values)

    def answer(x):
        return float(replay(network, x[None], mask).probabilities[0] @ values)

    steps, nudge = 200, 1e-6
    expected = np.zeros(len(ids))
    for share in (np.arange(steps) + 0.5) / steps:
        x = unknown + share * (vectors - unknown)
        for t, feature in np.ndindex(vectors.shape):
            difference = vectors[t, feature] - unknown[t, feature]
            if difference:
                x[t, feature] += nudge
                up = answer(x)
                x[t, feature] -= 2 * nudge
                expected[t] += difference * (up - answer(x)) / (2 * nudge) / steps
                x[t, feature] += nudge
    # The states' maximum changes its word along the path: both rules err by about a jump's width.
    np.testing.assert_allclose(explained.effects("gradients"), expected, atol=0.02)
    assert np.abs(expected).max() > 0.2


def test_completeness(predictor, explained):
    """Unknown words only: as many as the text has."""
    whole = score(predictor, TEXT) - score(predictor, " ".join(["blah"] * len(WORDS)))
    missed = abs(explained.effects("gradients").sum() - whole)
    assert explained.completeness_error == pytest.approx(missed, abs=ROUNDING)
    assert missed < 0.02


def test_completeness_is_exact_where_nothing_jumps(random_model, random_network):
    model = random_network("lstm", 2, seed=4, pooling="mean")
    explained = explain(predictor_of(random_model, model), TEXT)
    assert explained.completeness_error < 1e-6


def test_long_texts_are_integrated_in_parts(predictor, explained, monkeypatch):
    monkeypatch.setattr(module, "PATH_WORDS", 20)  # fewer points, two rows at a time
    monkeypatch.setattr(module, "FEWEST_POINTS", 128)
    again = explain(predictor, TEXT)
    np.testing.assert_allclose(again.effects("gradients"), explained.effects("gradients"))


def test_a_wrong_gradient_would_show(predictor, monkeypatch):
    right = module.value_and_gradient
    wrong = lambda function, x: (right(function, x)[0], 1.2 * right(function, x)[1])  # noqa: E731
    monkeypatch.setattr(module, "value_and_gradient", wrong)
    assert explain(predictor, TEXT).completeness_error > 0.03


# ------------------------------------------------------------------------------- gates and memories


def predictor_of(random_model, network) -> Predictor:
    """A predictor with this network and the vocabulary of `random_model`."""
    from sentiment.onnx_export import export_onnx

    other = dataclasses.replace(random_model(), model=network, onnx=export_onnx(network))
    return Predictor(other.artifact)


def test_gates_and_memory_are_those_of_the_equations(predictor, explained):
    network = predictor.network
    (ids,) = predictor.encoder.encode([TEXT]).token_ids
    vectors, mask = network.word_vectors(np.array([ids])), np.ones((1, len(ids)), bool)
    for side, direction in enumerate(("forward", "backward")):
        trace = explained.traces[side]
        assert (trace.layer, trace.direction) == (1, direction)
        run = run_cell("lstm", vectors, mask, network.recurrent[0][side], backward=side == 1)
        assert set(trace.gates) == {"input", "forget", "candidate", "output"}
        for name, values in run.gates.items():
            np.testing.assert_array_equal(trace.gates[name], values[0])
        memory = run.states[1][0]
        np.testing.assert_array_equal(trace.memory, memory)
        for gate in ("input", "forget", "output"):
            found = [word.gates[f"{direction}_{gate}"] for word in explained.words]
            np.testing.assert_allclose(found, run.gates[gate][0].mean(axis=1))
        before = np.zeros_like(memory)
        if side == 0:
            before[1:] = memory[:-1]
        else:
            before[:-1] = memory[1:]
        found = [word.memory_change[direction] for word in explained.words]
        np.testing.assert_allclose(found, np.abs(memory - before).mean(axis=1))
    assert "forward_candidate" not in explained.words[0].gates


NAMES = {
    ("rnn", 1, False): [],
    ("lstm", 1, False): ["input", "forget", "output"],
    ("gru", 2, False): ["layer_1_update", "layer_1_reset", "layer_2_update", "layer_2_reset"],
    ("bigru", 1, None): ["forward_update", "forward_reset", "backward_update", "backward_reset"],
    ("coupled_lstm", 1, False): ["forget", "output"],
    ("forget_gate_lstm", 1, False): ["forget"],
    ("depth_gated_lstm", 2, False): [
        *("input_1", "forget_1", "output_1", "depth_2", "input_2", "forget_2", "output_2")
    ],
    ("clockwork_rnn", 1, False): ["clock_1", "clock_2", "clock_4"],
    ("attention_gru", 1, False): ["update", "reset", "attention"],
}


@pytest.mark.parametrize(("name", "layers", "both"), NAMES)
def test_gates_of_other_cells(name, layers, both, random_model, random_network):
    settings = {"layers": layers}
    if name == "clockwork_rnn":
        settings["groups"] = 3
    network = random_network(name, 2, seed=5, **settings)
    predictor = predictor_of(random_model, network)
    explained = explain(predictor, TEXT)
    assert list(explained.words[0].gates) == NAMES[name, layers, both]
    for word in explained.words:
        assert all(0 <= value <= 1 for value in word.gates.values())
    assert list(explained.words[0].memory_change) == (
        ["forward", "backward"] if name == "bigru" else ["forward"]
    )
    if name == "clockwork_rnn":
        ticks = [[word.gates[f"clock_{n}"] for word in explained.words] for n in (1, 2, 4)]
        assert ticks == [[1] * 7, [1, 0, 1, 0, 1, 0, 1], [1, 0, 0, 0, 1, 0, 0]]
    if name == "attention_gru":
        assert sum(word.gates["attention"] for word in explained.words) == pytest.approx(1)
        found = [(word.word, word.gates["attention"]) for word in explained.words]
        expected = [value for _, value in predictor.attention([TEXT])[0]]
        assert [value for _, value in found] == pytest.approx(expected, abs=ROUNDING)


def test_the_replay_is_checked(predictor, random_model):
    """Weights of another network, as a folder put together by hand could hold."""
    other = random_model()
    network = network_of(other.model)
    kernel, bias = network.output
    changed = dataclasses.replace(network, output=(kernel, bias + [0.001, 0]))
    artifact = dataclasses.replace(other.artifact, weights=pack_network(changed, other.onnx))
    wrong = Predictor(artifact)
    (ids,) = predictor.encoder.encode([TEXT]).token_ids
    apart = np.abs(
        network_probabilities(np.array([ids]), changed) - predictor.predict_proba([TEXT])
    ).max()
    message = (
        f"{artifact.folder}: the saved weights give another answer than the network, {apart:.1e} "
        "apart where 1e-05 is allowed. Train the model again."
    )
    with pytest.raises(ExplanationError, match=f"^{re.escape(message)}$"):
        explain(wrong, TEXT)
    assert explain(predictor, TEXT).replay_error < 1e-6


# ----------------------------------------------------------------------------------------- in words


LABELS = ("negative", "neutral", "positive")


def made(
    *words: tuple[str, str, float],
    label: str,
    labels: tuple[str, ...] = LABELS,
    target: str = "score",
    gradients: float = 1.0,
) -> Explanation:
    """An explanation of (word, running label, effect).

    Effects by `unknown` are turned round, those by `gradients` so many times as large.
    """
    readings = tuple(
        WordReading(
            word,
            position,
            True,
            running,
            0.0,
            {},
            {"removed": e, "unknown": -e, "gradients": gradients * e},
            {},
            {},
        )
        for position, (word, running, e) in enumerate(words, 1)
    )
    probabilities = dict.fromkeys(labels, 1 / len(labels))
    return Explanation("…", label, 0.0, probabilities, target, readings, (), 0.0, 0.0, 0)


TURN = made(
    ("loved", "positive", 0.3),
    ("it", "positive", 0.01),
    ("but", "positive", -0.2),
    ("dull", "negative", -0.8),
    ("end", "negative", -0.1),
    label="negative",
)


def test_verdict():
    assert verdict(TURN, "removed") == (
        "Negative: “dull” (-0.80), “but” (-0.20) spoke for it; “loved” (+0.30) spoke against it; "
        "it turned at word 4, “dull”."
    )
    assert verdict(made(("fine", "positive", 0.2), label="positive"), "removed") == (
        "Positive: “fine” (+0.20) spoke for it; it was so from the first word on."
    )


def test_verdict_on_labels_without_an_order():
    topics = {"labels": ("b", "c"), "target": "c"}
    assert verdict(made(("a", "c", 0.3), ("x", "c", -0.2), label="c", **topics), "removed") == (
        "C: “a” (+0.30) spoke for it; “x” (-0.20) spoke against it; it was so from the first word "
        "on."
    )
    assert verdict(made(("a", "NOT so", 0.3), label="NOT so", **topics), "removed").startswith(
        "NOT so: "
    )


def test_verdict_on_a_label_in_the_middle():
    """Words that raise the score may speak for it or against it."""
    middle = made(("okay", "neutral", 0.3), ("dull", "neutral", -0.2), label="neutral")
    assert verdict(middle, "removed") == (
        "Neutral: “okay” (+0.30) raised the score; “dull” (-0.20) lowered the score; it was so "
        "from the first word on."
    )


def test_verdict_goes_by_the_label_and_not_by_the_scores_sign():
    """One star may be the most probable label while the expected number of stars is above three."""
    stars = made(
        ("great", "1", 0.3), ("awful", "1", -0.4), label="1", labels=("1", "2", "3", "4", "5")
    )
    assert verdict(stars, "removed") == (
        "1: “awful” (-0.40) spoke for it; “great” (+0.30) spoke against it; it was so from the "
        "first word on."
    )


def test_verdict_where_no_word_alone_decides():
    many = (("hated", "negative", -0.004), ("awful", "negative", -0.003))
    assert verdict(made(*many, label="negative", gradients=100), "removed") == (
        "Negative: no word alone makes the score differ by 0.05 (removed), but shared out by "
        "gradients “hated” (-0.40), “awful” (-0.30) spoke for it; it was so from the first word on."
    )
    assert verdict(made(*many, label="negative"), "removed") == (
        "Negative: no word alone makes the score differ by 0.05 (removed); it was so from the "
        "first word on."
    )
    assert verdict(made(*many, label="negative"), "gradients") == (
        "Negative: no word alone makes the score differ by 0.05 (gradients); it was so from the "
        "first word on."
    )


def test_verdict_names_three_words_a_side():
    many = made(*((f"w{i}", "negative", -1 + i / 10) for i in range(5)), label="negative")
    assert verdict(many, "removed").startswith(
        "Negative: “w0” (-1.00), “w1” (-0.90), “w2” (-0.80) spoke for it; it was"
    )


def test_the_turn_is_the_last():
    swaying = made(*(("w", label, 0.0) for label in ("n", "p", "n", "p", "n", "n")), label="n")
    assert turning_point(swaying) == 4


def test_unknown_method():
    message = "`method` must be one of unknown, removed, gradients. Received: 'guess'"
    with pytest.raises(ExplanationError, match=f"^{re.escape(message)}$"):
        verdict(TURN, "guess")


def test_disagreements():
    found = disagreements(TURN)
    assert set(found) == {("unknown", "removed"), ("unknown", "gradients")}
    assert all(value == pytest.approx(-1) for value in found.values())
    two = made(("a", "n", 0.1), ("b", "n", 0.2), label="n")
    assert disagreements(two) == {}  # any two points lie on a line
    flat = made(*(("a", "n", 0.1) for _ in range(4)), label="n")
    assert disagreements(flat) == {}


def test_checks():
    said = module.checks(dataclasses.replace(TURN, left_out=1234, replay_error=3e-8))
    assert said == [
        "Careful: the effects by unknown and by removed disagree (correlation -1.00).",
        "Careful: the effects by unknown and by gradients disagree (correlation -1.00).",
        "The text is too long: 1,234 words in its middle were left out.",
        "The gates were replayed from the saved weights; the replayed answer is 3e-08 from the "
        "network's.",
        "Integrated gradients miss 0e+00 of the difference between the text and as many unknown "
        "words.",
    ]
    fine = module.checks(made(("a", "n", 0.1), label="n"))
    assert [sentence.split()[0] for sentence in fine] == ["The", "Integrated"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["input", "forget", "output"], ["input", "forget", "output"]),
        (["layer_1_forget", "layer_2_forget", "attention"], ["layer_2_forget", "attention"]),
        (["layer_9_forget", "layer_10_forget"], ["layer_10_forget"]),
        (
            ["forward_time_input_1", "forward_depth_input_1", "forward_time_input_2"],
            ["forward_time_input_2"],
        ),
        (["depth_2", "forget_1", "forget_2"], ["depth_2", "forget_2"]),
        (["clock_1", "clock_2", "clock_16"], ["clock_1", "clock_2", "clock_16"]),
        (["layer_1_clock_1", "layer_2_clock_1", "attention"], ["layer_2_clock_1", "attention"]),
        ([], []),
    ],
)
def test_the_gates_of_the_top_layer(names, shown):
    assert module.top_gates(names) == shown


def test_methods_are_in_their_order():
    assert list(METHODS) == ["unknown", "removed", "gradients"]


# ----------------------------------------------------------------------------------------- examples


def test_examples_are_the_sentences_of_the_literature():
    assert [example.text for example in load_examples()] == [
        "I loved the movie, but the ending was disappointing.",
        "I love this movie. It's amazing!",
        "The movie was not bad",
        "The movie was not at all boring and quite enjoyable.",
        "The weather is sunny, but I feel sad.",
        "Ganesh likes AIML. Ram likes DevSecOps.",
        "This film was okay",
    ]
    for example in load_examples():
        assert list(example.words) == review_words(example.text)
        for expected in example.expected:
            assert expected
            assert set(expected) <= {"negative", "neutral", "positive"}


def test_a_readers_mind_is_made_up_at_the_end():
    ends = {example.text.split()[-1]: example.expected[-1] for example in load_examples()}
    assert ends["disappointing."] == ends["sad."] == ("negative",)
    assert ends["amazing!"] == ends["enjoyable."] == ("positive",)
    assert ends["okay"] == ("neutral",)


def test_examples_ship_as_a_file():
    lines = bundled("data", "examples.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "text,position,word,expected"
    positions = [int(line.rsplit(",", 3)[1]) for line in lines[1:]]
    assert positions == [i for example in load_examples() for i in range(1, len(example.words) + 1)]


def test_read_examples():
    readings = read_examples(Predictor.load())
    assert [reading.example for reading in readings] == load_examples()
    for reading in readings:
        assert len(reading.polarities) == len(reading.example.words)
        for agrees, polarity, expected in zip(
            reading.agrees, reading.polarities, reading.example.expected, strict=True
        ):
            assert agrees == (polarity in expected)
    first = readings[0]
    assert first.polarities[1] == "positive"  # I loved
    assert first.polarities[-1] == "negative"  # disappointing


def test_examples_need_an_order(random_model):
    predictor = Predictor(random_model(("books", "films", "music")).artifact)
    message = (
        "The examples need a model whose labels have an order, such as negative and positive. "
        "Received one with: books, films, music."
    )
    with pytest.raises(ExplanationError, match=f"^{re.escape(message)}$"):
        read_examples(predictor)
