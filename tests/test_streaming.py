"""A stream gives, after every word, the answer to the text up to there, however the text comes."""

import dataclasses
import functools
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sentiment
from sentiment import equations, predict, streaming
from sentiment.data import label_values
from sentiment.equations import Network, network_probabilities
from sentiment.models import POOLINGS, model_settings
from sentiment.predictor import Predictor
from sentiment.preprocessing import TextEncoder, Tokenizer, pad_sequences, review_words
from sentiment.streaming import LONGEST_TAG, Reading, Stream

ROOT = Path(sentiment.__file__).parent.parent
LABELS = ("negative", "neutral", "positive")
FORWARD = (
    "rnn",
    "lstm",
    "gru",
    "peephole_lstm",
    "coupled_lstm",
    "forget_gate_lstm",
    "depth_gated_lstm",
    "clockwork_rnn",
    "grid_lstm",
    "attention_gru",
)
MAX_LENGTH = 15
UNITS = 5  # of `random_network`
# Ids 2 to 19; "nonesuch" is out of vocabulary.
TEXT = "word3 word1 nonesuch word17 word0 word9 word9 word4 nonesuch word12 word2 word5 word16"
UNORDERED = ("books", "food", "hotels")
# The batch answers with ONNX Runtime in float32, the stream in float64: see test_equations.py.
TOLERANCE = 2e-6
REFUSED = (
    "Expected a model that reads forward only. Received one that reads both ways, whose answer "
    "needs the words to come. Train a forward one, for example: python -m sentiment.train "
    "--model lstm"
)


def possible(name: str, **settings: Any) -> dict[str, Any]:
    """Those of the settings that a builder has."""
    return {key: value for key, value in settings.items() if key in model_settings(name)}


def networks() -> list[tuple[str, dict[str, Any]]]:
    """Every forward builder of one layer and of two, with one pooling after the other."""
    pairs = [(name, layers) for name in FORWARD for layers in (1, 2)]
    return [
        (name, possible(name, pooling=pooling, layers=layers + (name == "depth_gated_lstm")))
        for (name, layers), pooling in zip(pairs, itertools.cycle(POOLINGS), strict=False)
    ]


def with_pooling(network: Network, pooling: str) -> Network:
    """The network with another pooling and random weights for it and for what comes after."""
    generator = np.random.default_rng(7)
    units, features = UNITS, UNITS * len(pooling.split("+"))
    shapes = (features, len(LABELS)), (len(LABELS),), (units, units), (units,), (units,)
    kernel, bias, *context = (generator.normal(size=shape) for shape in shapes)
    return dataclasses.replace(
        network, pooling=pooling, output=(kernel, bias), context=tuple(context)
    )


@pytest.fixture(scope="module")
def predictor_of(random_model, random_network) -> Callable[..., Predictor]:
    """(builder, settings) → a `Predictor` with random weights and a vocabulary of 18 words."""
    from sentiment.onnx_export import export_onnx

    words = " ".join(f"word{i}" for i in range(18))
    encoder = TextEncoder.fit([words], num_words=20, max_length=MAX_LENGTH)

    @functools.cache
    def make(name: str = "lstm", *, labels: tuple[str, ...] = LABELS, **settings: Any) -> Predictor:
        model = random_network(name, len(labels), seed=5, **settings)
        manifest = dataclasses.replace(
            random_model().manifest, labels=labels, label_values=label_values(labels)
        )
        made = dataclasses.replace(
            random_model(), model=model, manifest=manifest, encoder=encoder, onnx=export_onnx(model)
        )
        return Predictor(made.artifact)

    return make


@pytest.fixture(scope="module")
def predictor(predictor_of) -> Predictor:
    return predictor_of()


def probabilities(readings: list[Reading]) -> np.ndarray:
    return np.array([list(reading.probabilities.values()) for reading in readings])


def words_of(readings: list[Reading]) -> list[str]:
    return [reading.word for reading in readings]


def read(predictor: Predictor, *pieces: str) -> list[Reading]:
    """All readings of one text."""
    stream = predictor.stream()
    return [reading for piece in pieces for reading in stream.feed(piece)] + stream.end()


def prefixes(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[: n + 1]) for n in range(len(words))]


# ------------------------------------------------------------------------------- equal to the batch


@pytest.mark.parametrize(("name", "settings"), networks(), ids=str)
def test_every_prefix_is_answered_as_the_batch_does(name, settings, predictor_of):
    """By ONNX Runtime with the network's own pooling, by the equations with every one."""
    predictor = predictor_of(name, **settings)
    expected = np.concatenate([predictor.predict_proba([prefix]) for prefix in prefixes(TEXT)])
    found = probabilities(read(predictor, TEXT))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    ids = pad_sequences(predictor.encoder.encode(prefixes(TEXT)).token_ids, padding="post")
    for pooling in POOLINGS:
        network = with_pooling(predictor.network, pooling)
        stream = Stream(network, predictor.encoder, LABELS, None)
        found = probabilities(stream.feed(f"{TEXT} "))
        np.testing.assert_allclose(found, network_probabilities(ids, network), rtol=1e-10)
        assert np.ptp(found, axis=0).max() > 0.01  # else nothing was compared


@pytest.mark.parametrize("pooling", POOLINGS)
def test_an_empty_text_is_answered_as_the_batch_does(pooling, predictor_of):
    predictor = predictor_of(pooling=pooling)
    empty = predictor.stream()
    assert empty.end() == []
    np.testing.assert_allclose(
        probabilities([empty.answer]), predictor.predict_proba([""]), rtol=0, atol=TOLERANCE
    )
    assert (empty.answer.word, empty.answer.known) == ("<OOV>", False)


def test_one_label_after_the_other(predictor):
    """Label, score and names are those of `details`; unknown words are marked."""
    for reading, prediction in zip(
        read(predictor, TEXT), predictor.details(prefixes(TEXT)), strict=True
    ):
        assert reading.label == prediction.label
        assert reading.score == pytest.approx(prediction.score, abs=TOLERANCE)
        assert reading.probabilities == pytest.approx(prediction.probabilities, abs=TOLERANCE)
        assert reading.known is (reading.word != "nonesuch")
        assert reading.word == prediction.text.split()[-1]
    assert {reading.label for reading in read(predictor, TEXT)} == set(LABELS)


def test_answer_is_the_last_reading(predictor):
    stream = predictor.stream()
    (first,) = stream.feed("word1 word")
    assert stream.answer is first
    (second,) = stream.end()
    assert stream.answer is second
    assert second.word == "word"
    assert stream.end() == []
    assert stream.answer is second


def test_text_after_the_end_is_read_on(predictor):
    stream = predictor.stream()
    first = stream.feed("word1 word2") + stream.end()
    assert first + stream.feed("word3 ") == read(predictor, "word1 word2 word3")


def test_longer_texts_are_read_whole(predictor_of):
    """The batch leaves out the middle; a stream gives the network's answer to all words."""
    predictor = predictor_of(pooling="mean")
    text = " ".join([TEXT] * 4)
    ids = predictor.encoder.tokenizer.texts_to_sequences([text])
    assert len(ids[0]) == 52 > MAX_LENGTH
    found = probabilities(read(predictor, text))
    for length in (MAX_LENGTH, MAX_LENGTH + 1, 40, 52):
        expected = network_probabilities(np.array(ids)[:, :length], predictor.network)[0]
        np.testing.assert_allclose(found[length - 1], expected, rtol=1e-12)
    batch = predictor.predict_proba([text])[0]
    assert np.abs(found[-1] - batch).max() > 1e-3


@pytest.mark.parametrize("scale", [1, 300, 1e4, -1e4])
def test_attention_is_exact_and_finite(predictor_of, scale):
    """Logits whose exponentials overflow, or vanish, growing and falling along the text."""
    predictor = predictor_of("attention_gru")
    *others, context = predictor.network.context
    network = dataclasses.replace(predictor.network, context=(*others, context * scale))
    ids = predictor.encoder.encode([TEXT]).token_ids
    stream = Stream(network, predictor.encoder, LABELS, None)
    found = probabilities(stream.feed(TEXT + " "))
    for n in range(len(found)):
        expected = network_probabilities(np.array(ids)[:, : n + 1], network)[0]
        np.testing.assert_allclose(found[n], expected, rtol=1e-10)


def test_labels_without_order_have_no_score(predictor_of):
    readings = read(predictor_of(labels=UNORDERED), TEXT)
    assert {reading.score for reading in readings} == {None}
    assert {reading.label for reading in readings} <= set(UNORDERED)


@pytest.mark.parametrize("name", ["bilstm", "attention_bilstm", "peephole_lstm"])
def test_both_directions_are_refused(name, predictor_of):
    predictor = predictor_of(name, **possible(name, bidirectional=True))
    with pytest.raises(ValueError, match=f"^{re.escape(REFUSED)}$"):
        predictor.stream()


# ------------------------------------------------------------------------------------------- pieces

PIECES = (
    "Didn't", "word1", "WORD2", " ", "\n", "\t", "\xa0", "\u2028", ":)", "7/10", "</3", "<3", "!",
    "<br />", "<br", "/>", "<", ">", "<i>", "</i>", "<!--", "-->", '<a href="x y">', "&lt;br ", "b",
    "&gt;", "&amp;lt;", "&", "#", "60;", "&#60;b", "&#x3C", "&nbsp;", "&not", "in;", "cafe\u0301",
    "\u0301", "é", "🎬", "don’t", "\0", "x" * 66, "&#" + "9" * 40, ":-", ")", "n't", "'s",
)  # fmt: skip
# Shorter in all than LONGEST_TAG, since a longer tag is read as text.
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join),
    st.text(st.characters(exclude_categories=()), max_size=40),
)


@settings(deadline=None)
@given(texts, st.lists(st.integers(0, 200), max_size=8))
def test_pieces_make_no_difference(predictor, text, cuts):
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in zip(places, places[1:], strict=False)]
    readings = read(predictor, *pieces)
    assert words_of(readings) == review_words(text)
    assert readings == read(predictor, text)


SPLIT = (
    "fine <br /><br /> film",
    "<p class='a b'>It wasn't</p > bad<br\n/>at all",
    "A &lt;br /&gt; B &amp;lt;b&gt; C&nbsp;D E&#60;i&#x3e;F &notin; &copy G",
    "this <b is no tag < b> and </3 or <!-- this is --> so <i x <b> y",
    "I <3 it :) 7/10 it's caf\u00e9 cafe\u0301",
)


@pytest.mark.parametrize("text", SPLIT)
def test_split_at_every_place(text, predictor):
    whole = read(predictor, text)
    assert words_of(whole) == review_words(text)
    for cut in range(len(text) + 1):
        assert read(predictor, text[:cut], text[cut:]) == whole
    assert read(predictor, *text) == whole


def test_words_are_answered_when_they_are_settled(predictor):
    stream = predictor.stream()
    for piece, settled in (
        ("Didn", []),
        ("'t", []),
        (" a<", ["did", "n't"]),
        (" 3 ", ["a", "3"]),  # no tag has a space there
        ("so <br", ["so"]),
        (" class='x y' ", []),
        ("/>", []),
        ("good\n", ["good"]),
        ("&l", []),
        ("t;i &", []),
        ("gt; ", []),  # &lt;i &gt; is a tag
        ("b <x y <", ["b"]),
        ("z> w ", ["x", "y", "w"]),  # <x is no tag, <z> is
        ("a > ", ["a"]),
    ):
        assert words_of(stream.feed(piece)) == settled, piece
    assert stream.end() == []


def test_a_tag_that_never_ends_is_text(predictor):
    stream = predictor.stream()
    assert words_of(stream.feed("good <b ")) == ["good"]
    words = LONGEST_TAG // 5
    for _ in range(words):
        assert stream.feed("word ") == []
    assert words_of(stream.feed("1 2 3 ")) == ["b", *["word"] * words, "1", "2", "3"]
    assert words_of(stream.feed("4 > ")) == ["4"]
    held = "<b " + "x" * (LONGEST_TAG - 2)
    assert words_of(read(predictor, held + "> y")) == ["y"]
    assert words_of(read(predictor, held + " > y")) == ["y"]
    assert words_of(read(predictor, held + "x  > y")) == review_words(f"b {held[3:]}x y")


def test_a_very_long_word_in_small_pieces(predictor):
    stream = predictor.stream()
    for _ in range(20_000):
        assert stream.feed("long") == []
    (reading,) = stream.feed(" ")
    assert reading.word == "long" * 20_000
    (reading,) = read(predictor, "x" * 500_000)  # for minutes, were it looked at from every letter
    assert reading.word == "xx"


@pytest.mark.parametrize("text", [None, b"word1", ["word1"]])
def test_wrong_type(predictor, text):
    message = f"`text` must be a str. Received: {text!r}"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        predictor.stream().feed(text)


@pytest.mark.parametrize(("name", "layers"), [("lstm", 1), ("lstm", 2), ("attention_gru", 1)])
def test_every_word_costs_the_same(name, layers, predictor_of, monkeypatch):
    """Steps, rows that attention compares and characters that are tokenised, word by word."""
    stream = predictor_of(name, layers=layers).stream()
    work: list[tuple] = []
    cell = "gru" if name == "attention_gru" else name
    step, widths = equations.STEPS[cell]
    attention, words = equations.attention, Tokenizer.words

    def counted_step(x, states, weights):
        work.append(("step", x.shape, *(state.shape for state in states)))
        return step(x, states, weights)

    def counted_attention(states, mask, weights):
        work.append(("attention", states.shape))
        return attention(states, mask, weights)

    def counted_words(self, text):
        work.append(("words", len(text)))
        return words(self, text)

    monkeypatch.setitem(equations.STEPS, cell, (counted_step, widths))
    monkeypatch.setattr(streaming, "attention", counted_attention)
    monkeypatch.setattr(Tokenizer, "words", counted_words)
    costs = []
    for _ in range(1000):
        work.clear()
        (_,) = stream.feed("word7 ")
        costs.append(list(work))
    assert costs[9] == costs[999] == costs[0]
    assert [shape[0] for kind, shape, *_ in costs[999] if kind == "step"] == [1] * layers
    assert [w for w in costs[999] if w[0] == "attention"] == (
        [("attention", (1, 2, UNITS))] if name == "attention_gru" else []
    )


# -------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def folder(predictor_of, tmp_path_factory) -> Path:
    return save(predictor_of(), tmp_path_factory.mktemp("streaming") / "forward")


def save(predictor: Predictor, folder: Path) -> Path:
    from sentiment.artifact import save_artifact

    save_artifact(folder, predictor._artifact, lambda path: path.write_bytes(EMPTY_ZIP))
    return folder


EMPTY_ZIP = b"PK\x05\x06" + bytes(18)  # in place of the Keras file, which no prediction reads


@pytest.fixture
def call(capfd, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """`call(folder, *options, stdin=bytes)` → status, standard output, standard error."""

    def run(folder: Path, *options: str, stdin: Any = b"") -> tuple[int, str, str]:
        if isinstance(stdin, bytes):
            stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stdin)
        status = predict.main(["--model-dir", str(folder), "--stream", *options])
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return run


LINES = ["word1 nonesuch don't", "", "  <br", "/> word3\t\0", "last <without newline"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_json(folder, call, predictor, monkeypatch, end, size):
    """Whole, in tiny reads, with a byte order mark: each line a text of its own."""
    monkeypatch.setattr(predict, "PIECE", size)
    status, out, err = call(folder, "--json", stdin=b"\xef\xbb\xbf" + end.join(LINES).encode())
    assert (status, err) == (0, "")
    expected = [
        {"line": line, "position": position} | dataclasses.asdict(reading)
        for line, text in enumerate(LINES, 1)
        for position, reading in enumerate(read(predictor, text), 1)
    ]
    assert [json.loads(line) for line in out.splitlines()] == expected
    keys = ["line", "position", "word", "known", "label", "score", "probabilities"]
    assert list(json.loads(out.splitlines()[0])) == keys


def test_lines_for_a_person(folder, call, predictor):
    status, out, err = call(folder, stdin="\n".join(LINES).encode() + b"\n")
    assert (status, err) == (0, "")
    expected = []
    for text in LINES:
        stream = predictor.stream()
        readings = stream.feed(text) + stream.end()
        for position, r in enumerate(readings, 1):
            shares = ", ".join(f"{name} {p:.3f}" for name, p in r.probabilities.items())
            unknown = "" if r.known else "  [unknown word]"
            expected.append(
                f"{position:5d}  {r.word:16s}  {r.label:8s}  {r.score:+.3f}  ({shares}){unknown}"
            )
        said = stream.answer
        shares = ", ".join(f"{name} {p:.3f}" for name, p in said.probabilities.items())
        unknown = sum(not r.known for r in readings)
        warning = {0: "", 1: "  [1 unknown word]"}.get(unknown, f"  [{unknown} unknown words]")
        line = f"{said.label}  {said.score:+.3f}  ({shares})  {' '.join(text.split())}"
        expected.append(line + warning)
    assert out.splitlines() == expected


def test_last_line_is_the_one_of_predict(folder, call, capfd):
    _, out, _ = call(folder, stdin=TEXT.encode())
    assert predict.main(["--model-dir", str(folder), TEXT]) == 0
    assert out.splitlines()[-1] == capfd.readouterr().out.rstrip("\n")


def test_labels_without_order(predictor_of, call, tmp_path):
    folder = save(predictor_of(labels=UNORDERED), tmp_path / "topics")
    _, out, _ = call(folder, stdin=b"word1\n")
    word, line = out.splitlines()
    assert re.fullmatch(r"    1  word1             (books |food  |hotels)  \(books \d.*\)", word)
    assert re.fullmatch(r"(books|food|hotels)  \(books \d.*\)  word1", line)
    _, out, _ = call(folder, "--json", stdin=b"word1\n")
    assert json.loads(out)["score"] is None


@pytest.mark.parametrize("stdin", [b"", b"\xef\xbb\xbf"])
def test_nothing(folder, call, stdin):
    assert call(folder, stdin=stdin) == (0, "", "")


def test_replaced_standard_input(folder, call):
    """As in a notebook: text without bytes beneath it."""
    _, out, _ = call(folder, "--json", stdin=io.StringIO("word1 word2\nword3"))
    found = [(word["line"], word["word"]) for word in map(json.loads, out.splitlines())]
    assert found == [(1, "word1"), (1, "word2"), (2, "word3")]


ALONE = "--stream goes without texts, --input, --neutral-band: it reads standard input. Received: "


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a text"], f"{ALONE}texts"),
        (["--input", "a.csv", "--output", "b.csv"], f"{ALONE}--input"),
        (["--neutral-band", "0.4,0.6", "x"], f"{ALONE}texts, --neutral-band"),
        (["--output", "b.csv"], "--output and --text-column go with --input. Received no --input."),
    ],
)
def test_options_that_do_not_go_together(folder, call, options, message):
    status, out, err = call(folder, *options)
    assert (status, out, err) == (2, "", f"python -m sentiment.predict: error: {message}\n")


def test_both_directions_are_refused_before_anything_is_read(model_folder, call):
    stdin = io.StringIO("word1\n")
    status, out, err = call(model_folder, stdin=stdin)
    assert (status, out, err) == (2, "", f"python -m sentiment.predict: error: {REFUSED}\n")
    assert stdin.tell() == 0


def test_no_standard_input(folder, call):
    status, out, err = call(folder, stdin=None)
    assert (status, out) == (2, "")
    assert err == (
        "python -m sentiment.predict: error: Expected texts, or lines on standard input. Received "
        "neither.\n"
    )


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("size", [1, 4096])
@pytest.mark.parametrize(
    ("stdin", "byte", "reason"),
    [
        (b"word1\nna\xefve\n", 8, "invalid continuation byte"),
        (b"\xef\xbb\xbfword1 \xc3\xa9\xff", 11, "invalid start byte"),
        (b"word1 \xf0\x9f\x8e", 6, "unexpected end of data"),
    ],
)
def test_wrong_encoding(folder, call, monkeypatch, stdin, byte, reason, size, options):
    monkeypatch.setattr(predict, "PIECE", size)
    status, _, err = call(folder, *options, stdin=stdin)
    assert status == 2
    assert err == (
        f"python -m sentiment.predict: error: Standard input is not UTF-8: byte {byte} cannot be "
        f"decoded ({reason}).\n"
    )


@pytest.fixture
def process(folder) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts the command with pipes; it heeds SIGINT, even if the test run was told not to."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = []

    def start(*options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "sentiment.predict", "--model-dir", str(folder)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = os.environ | {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": ""}
        process = subprocess.Popen(
            [*command, "--stream", *options], cwd=ROOT, env=environment, bufsize=0, **pipes
        )
        timer = threading.Timer(60, process.kill)  # rather than wait for ever for its answer
        timer.start()
        started.append((process, timer))
        return process

    yield start
    signal.signal(signal.SIGINT, before)
    for process, timer in started:
        timer.cancel()
        process.kill()
        process.communicate()


def test_answers_come_before_the_line_ends(process):
    running = process("--json")

    def next_word() -> tuple[int, str]:
        line = b""
        while not line.endswith(b"\n"):
            byte = running.stdout.read(1)
            assert byte, "no answer"
            line += byte
        word = json.loads(line)
        return word["position"], word["word"]

    running.stdin.write(b"word1 wor")
    assert next_word() == (1, "word1")
    running.stdin.write(b"d2 caf\xc3")
    assert next_word() == (2, "word2")
    running.stdin.write(b"\xa9 <br ")
    assert next_word() == (3, "café")
    running.stdin.write(b"/> word3\nword4 ")
    assert next_word() == (4, "word3")
    assert next_word() == (1, "word4")
    out, err = running.communicate(b"word5", timeout=60)
    assert json.loads(out)["word"] == "word5"
    assert (running.returncode, err) == (0, b"")


def test_ctrl_c(process):
    running = process()
    running.stdin.write(b"word1 ")
    assert running.stdout.read(12) == b"    1  word1"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGINT
    assert err == b"python -m sentiment.predict: interrupted.\n"


def test_closed_pipe(process):
    running = process()
    running.stdin.write(b"word1 ")
    assert running.stdout.read(12) == b"    1  word1"
    running.stdout.close()
    running.stdin.write(b"word2 word3 word4\n")
    assert running.stderr.read() == b""
    assert running.wait(timeout=60) == 128 + signal.SIGPIPE


HEAVY = ("tensorflow", "keras", "sklearn", "pandas", "onnx", "matplotlib", "scipy", "pyarrow")


def test_streaming_imports_nothing_heavy(folder):
    code = (
        "import sys\n"
        "from sentiment import predict\n"
        "assert predict.main(['--stream', '--json', '--model-dir', sys.argv[1]]) == 0\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, input=b"word1 word2", cwd=ROOT)
    *words, modules = done.stdout.decode().splitlines()
    assert len(words) == 2
    assert set(modules.split()).isdisjoint(HEAVY)
