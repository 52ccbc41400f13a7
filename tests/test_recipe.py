"""Recipes: files that are read strictly, and models made of tiny sources from end to end."""

import csv
import dataclasses
import inspect
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from sentiment import pretraining, stepwise, train
from sentiment import recipe as module
from sentiment.artifact import CARD_FILE, load_artifact
from sentiment.behaviour import CAPABILITIES, measure_behaviour
from sentiment.classifier import SentimentClassifier
from sentiment.data import DataError, Reviews, bundled, load_reviews
from sentiment.ngrams import fit_table
from sentiment.predictor import Predictor
from sentiment.preprocessing import TextEncoder
from sentiment.pretraining import pretrain, word_vectors
from sentiment.recipe import (
    NEUTRAL_PHRASES,
    READERS,
    SENTENCES,
    Material,
    Measured,
    Recipe,
    list_recipes,
    load_recipe,
    make,
)
from sentiment.treebank import held_out, load_treebank

# ------------------------------------------------------------------------------------- recipe files

FIRST = """
labels = ["negative", "positive"]
sources = ["imdb"]
ngram_sources = ["imdb"]

[settings]
model = "rnn"
units = 4
embedding_dim = 4
pooling = "max+mean"
ngrams = 40
num_words = 120
max_length = 20
ema = 0.9
seed = 3

[pretraining]
steps = 2
window = 6

[[phases]]
steps = 2
learning_rate = 0.01
sources.imdb = { share = 1.0, batch_size = 4, window = 5 }

[[phases]]
relabel = true
steps = 3
learning_rate = 0.005
sources.imdb = { share = 1.0, batch_size = 3, window = 20 }
"""
SECOND = """
labels = ["negative", "neutral", "positive"]
sources = ["imdb", "treebank"]
ngram_sources = ["imdb"]
more_words = 6

[settings]
model = "rnn"
units = 4
embedding_dim = 4
pooling = "max+mean"
ngrams = 40
num_words = 60
max_length = 20
seed = 2

[pretraining]
steps = 0

[[phases]]
steps = 3
learning_rate = 0.01
sources.imdb = { share = 0.5, batch_size = 4, window = 5 }
sources.treebank = { share = 0.5, batch_size = 6, window = 5 }
"""


def changed(old: str, new: str) -> bytes:
    """The first recipe with a change."""
    assert FIRST.count(old) == 1
    return FIRST.replace(old, new).encode()


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_can_be_made(name):
    """All that a long run would stumble over is known before it."""
    recipe = load_recipe(name)
    assert recipe.name == name
    classifier = SentimentClassifier(**recipe.settings)
    classifier.check_settings()
    used = set()
    for phase in recipe.phases:
        assert phase["steps"] > 0 < phase["learning_rate"]
        used |= phase["sources"].keys()
        for options in phase["sources"].values():
            assert options["window"] <= classifier.max_length
    assert used == set(recipe.sources)
    assert recipe.more_words >= 0


def test_pretraining_settings_are_those_of_pretrain():
    assert {*module.PRETRAINING} <= {*inspect.signature(pretrain).parameters}


def test_shipped_recipes():
    assert list_recipes() == ["default", "imdb"]
    assert load_recipe("default").labels == ("negative", "neutral", "positive")
    assert load_recipe("imdb").labels == ("negative", "positive")


def test_a_recipe_of_ones_own(tmp_path):
    path = tmp_path / "second.toml"
    path.write_text(SECOND)
    assert load_recipe(str(path)) == Recipe(
        "second",
        ("negative", "neutral", "positive"),
        ("imdb", "treebank"),
        {
            "model": "rnn", "units": 4, "embedding_dim": 4, "pooling": "max+mean", "ngrams": 40,
            "num_words": 60, "max_length": 20, "seed": 2,
        },
        (
            {
                "steps": 3,
                "learning_rate": 0.01,
                "sources": {
                    "imdb": {"share": 0.5, "batch_size": 4, "window": 5},
                    "treebank": {"share": 0.5, "batch_size": 6, "window": 5},
                },
            },
        ),
        {"steps": 0},
        ("imdb",),
        6,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"labels = ", "{} is not a recipe: Invalid value (at end of document)"),
        (b"", "{} is not a recipe: 'labels'"),
        (FIRST.replace("phases", "phase").encode(), "{} is not a recipe: 'phases'"),
        (b"\xff", "{} is not a recipe: 'utf-8' codec can't decode byte 0xff in position 0: "
                  "invalid start byte"),
        (FIRST.replace('["imdb"]', '["imdb", "web"]').encode(),
         "{}: `sources` must be of imdb, treebank, sample, drills. Received: 'web'"),
        (b"more_word = 3" + FIRST.encode(),
         "{}: `keys` must be of labels, sources, settings, phases, pretraining, ngram_sources, "
         "more_words. Received: 'more_word'"),
        (FIRST.replace('labels = ["negative", "positive"]', "labels = 3").encode(),
         "{} is not a recipe: 'int' object is not iterable"),
        (changed("units = 4", "unit = 4"),
         "{}: `settings` must be of model, units, layers, groups, embedding_dim, word_dropout, "
         "dropout, recurrent_dropout, bidirectional, merge, pooling, ngrams, num_words, "
         "max_length, head_share, correct_spelling, epochs, batch_size, learning_rate, warmup, "
         "clip_norm, ema, class_weight, patience, seed. Received: 'unit'"),
        (changed("ngrams = 40\n", ""), "{}: `settings` has no `ngrams`."),
        (changed("ngrams = 40", "ngrams = 0"),
         "{}: `ngrams` must be above 0, since the teacher goes by them. Received: 0"),
        (changed('["negative", "positive"]', '["a", "b"]'),
         "{}: `labels` must be names that have an order, from negative to positive. "
         "Received: ['a', 'b']"),
        (changed('["negative", "positive"]', '["positive", "negative"]'),
         "{}: `labels` must be names that have an order, from negative to positive. "
         "Received: ['positive', 'negative']"),
        (changed('ngram_sources = ["imdb"]', 'ngram_sources = ["sample"]'),
         "{}: `ngram_sources` must be of imdb. Received: 'sample'"),
        (changed("window = 6", "windows = 6"),
         "{}: `pretraining` must be of steps, window, batch_size, learning_rate. "
         "Received: 'windows'"),
        (changed("relabel", "label"),
         "{}: `phases[2]` must be of steps, learning_rate, sources, relabel. Received: 'label'"),
        (changed("steps = 3\n", ""), "{}: `phases[2]` has no `steps`."),
        (changed("sources.imdb = { share = 1.0, batch_size = 3", "sources.web = { batch_size = 3"),
         "{}: `phases[2].sources` must be of imdb. Received: 'web'"),
        (changed("{ share = 1.0, batch_size = 3", "{ batch_size = 3"),
         "{}: `phases[2].sources.imdb` has no `share`."),
        (changed("{ share = 1.0, batch_size = 3", "{ share = 1.0, batch = 3"),
         "{}: `phases[2].sources.imdb` must be of share, batch_size, window. Received: 'batch'"),
    ],
)  # fmt: skip
def test_files_that_are_no_recipe(content, message, tmp_path):
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{re.escape(message.format(path))}$"):
        load_recipe(str(path))


def test_no_such_recipe(tmp_path):
    for name in ("sst5", str(tmp_path)):
        message = f"There is no recipe {name!r}. Expected one of default, imdb, or a file."
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            load_recipe(name)


# ------------------------------------------------------------------------------------------ sources

WORDS = {
    "negative": ("bad", "awful", "dull"),
    "neutral": ("long", "new", "Danish"),
    "positive": ("good", "great", "lovely"),
}
FOLDERS = {"negative": "neg", "positive": "pos"}


def texts_of(label: str, count: int, tag: str) -> list[str]:
    """Different texts of 13 words that say what the label says; the same at every call."""
    generator = np.random.default_rng(list(tag.encode()))
    found = []
    for i in range(count):
        first, second = generator.choice(WORDS[label], 2)
        filler = " ".join(f"w{n}" for n in generator.integers(0, 40, 8))
        found.append(f"{tag}{i} a {first} film {filler} {second}")
    return found


@pytest.fixture(scope="module")
def imdb(tmp_path_factory) -> Path:
    """A folder like that of the archive, of 18 + 18 training, 12 other and 4 + 4 test reviews.

    Of the training reviews one is a test review but for spaces, and one but for punctuation; of the
    others one is a test review, and one a training review.
    """
    root = tmp_path_factory.mktemp("sources") / "aclImdb"
    reviews = {
        f"{split}/{FOLDERS[label]}": texts_of(label, count, f"{split}{label}")
        for split, count in (("train", 18), ("test", 4))
        for label in FOLDERS
    }
    first, second = reviews["test/pos"][0], reviews["test/neg"][0]
    reviews["train/pos"] += [f"{first}  "]
    reviews["train/neg"] += [second.replace(" film ", ' "film", ')]
    reviews["train/unsup"] = [
        *texts_of("negative", 6, "more"),
        *texts_of("positive", 6, "unseen"),
        reviews["test/pos"][1],
        reviews["train/pos"][1],
    ]
    for folder, texts in reviews.items():
        (root / folder).mkdir(parents=True)
        for i, text in enumerate(texts):
            (root / folder / f"{i}_0.txt").write_text(text, encoding="utf-8")
    return root.parent


@pytest.fixture(scope="module")
def treebank(tmp_path_factory) -> Path:
    """A table of 12 training sentences, each with two phrases, and six others of each split."""
    path = tmp_path_factory.mktemp("sources") / "treebank.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "split", "is_sentence"])
        for split, count in (("train", 4), ("dev", 2), ("test", 2)):
            for label, number in (("negative", 1), ("neutral", 2), ("positive", 3)):
                for text in texts_of(label, count, f"{split}bank{label}"):
                    writer.writerow([text, number, split, 1])
                    if split == "train":
                        writer.writerow([" ".join(text.split()[:4]), number, split, 0])
                        writer.writerow([" ".join(text.split()[4:9]), 2, split, 0])
    return path


@pytest.fixture(scope="module", autouse=True)
def small():
    """Six held-out sentences, two capabilities, and no compiling, which takes longer than steps."""
    tf.config.run_functions_eagerly(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HELD_OUT", 6)
        for name in list(CAPABILITIES)[2:]:
            patch.delitem(CAPABILITIES, name)
        yield
    tf.config.run_functions_eagerly(False)


def test_imdb(imdb):
    material = READERS["imdb"](str(imdb), 0)
    # A tenth of 38 is for validation; one of the others is a test review.
    assert Counter(material.train.labels) == {"negative": 17, "positive": 16}
    assert Counter(material.validation.labels) == {"negative": 2, "positive": 2}
    assert Counter(material.measured.labels) == {"negative": 4, "positive": 4}
    assert (material.split, set(material.often)) == ("test", {1.0})
    known = {*material.train.texts, *material.validation.texts}
    assert len(material.unlabelled) == 13
    assert known.isdisjoint(material.unlabelled)


def test_treebank(treebank):
    material = READERS["treebank"](str(treebank), 0)
    bank = load_treebank(treebank)
    phrases, validation = held_out(bank, count=6, seed=0)
    assert (material.train, material.validation) == (phrases, validation)
    assert (material.measured, material.split) == (bank.validation, "dev")
    assert material.unlabelled == []
    expected = [
        (SENTENCES if text in bank.train.texts else 1)
        * (NEUTRAL_PHRASES if label == "neutral" else 1)
        for text, label in zip(phrases.texts, phrases.labels, strict=True)
    ]
    np.testing.assert_allclose(material.often, expected)
    assert len(set(expected)) == 4


def test_a_part_of_the_treebank(treebank, monkeypatch):
    monkeypatch.setattr(module, "HELD_OUT", 500)
    found = len(load_treebank(treebank).train)
    message = (
        f"{treebank} has {found} training sentences. Expected the whole treebank, 8,544 of them."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        READERS["treebank"](str(treebank), 0)


def beside_neutral(train: Reviews, count: int) -> None:
    """After `count` texts come half as many, a neutral one of them before or after each."""
    label_of = dict(zip(train.texts[:count], train.labels[:count], strict=True))
    assert len(train) == count + count // 2
    firsts = Counter()
    pairs = list(zip(train.texts[count:], train.labels[count:], strict=True))
    for text, label in pairs[:: max(1, len(pairs) // 200)]:
        splits = [(text[:i], text[i + 1 :]) for i, sign in enumerate(text) if sign == " "]
        known = [[label_of[t] for t in split] for split in splits if set(split) <= label_of.keys()]
        orders = [labels for labels in known if sorted(labels) == sorted([label, "neutral"])]
        assert orders, text
        firsts[orders[0][0] == "neutral"] += label != "neutral"
    assert min(firsts.values()) > 0.3 * firsts.total()


def test_sample():
    material = READERS["sample"]("sample", 0)
    splits = load_reviews("sample")[0]
    more = load_reviews(bundled("data", "more_reviews.csv"))[0]["all"]
    count = len(splits["train"]) + len(more)
    assert material.train.texts[:count] == splits["train"].texts + more.texts
    beside_neutral(material.train, count)
    assert (material.validation, material.measured) == (splits["validation"], splits["test"])
    assert (material.unlabelled, material.often.sum()) == ([], len(material.train))


def test_drills():
    material = READERS["drills"]("drills", 0)
    drills = load_reviews(bundled("data", "drills.csv"))[0]["all"]
    assert material.train.texts[: len(drills)] == drills.texts
    beside_neutral(material.train, len(drills))
    assert len(material.validation) == len(material.measured) == len(material.unlabelled) == 0


def test_seed_decides_which_texts_stand_beside_a_neutral_one():
    reviews = Reviews([f"text{i}" for i in range(9)], [*WORDS] * 3)
    first, again, other = (module._also_beside_neutral(reviews, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 9 + 4


# ---------------------------------------------------------------------------------- from end to end


def made(recipe: Recipe, paths: dict, folder: Path, **options) -> tuple[list[Measured], list[str]]:
    """What a recipe was measured at, and what was said.  It goes on from stages that are there."""
    said = []
    keras.utils.set_random_seed(1)
    return make(recipe, paths, folder, resume=True, say=said.append, **options), said


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> dict[str, Recipe]:
    folder = tmp_path_factory.mktemp("recipes")
    for name, content in {"first": FIRST, "second": SECOND}.items():
        (folder / f"{name}.toml").write_text(content)
    return {name: load_recipe(str(folder / f"{name}.toml")) for name in ("first", "second")}


@pytest.fixture(scope="module")
def first(recipes, imdb, tmp_path_factory) -> tuple[Path, list[Measured], list[str]]:
    """The first recipe's model; beside it lie its stages, since no command has removed them."""
    folder = tmp_path_factory.mktemp("made") / "first"
    return folder, *made(recipes["first"], {"imdb": str(imdb)}, folder)


@pytest.fixture(scope="module")
def second(recipes, imdb, treebank, tmp_path_factory) -> tuple[Path, list[Measured], list[str]]:
    """The second recipe's model, of two sources."""
    folder = tmp_path_factory.mktemp("made") / "second"
    return folder, *made(recipes["second"], {"imdb": str(imdb), "treebank": str(treebank)}, folder)


def steps_of(name: str, steps: int) -> list[str]:
    return [
        rf"{name}: step {step} of {steps}, loss \d+\.\d{{4}}, \d+ s" for step in range(1, steps + 1)
    ]


SHARE = r"\d+\.\d\d%"
FIGURES = rf"\(95 % interval {SHARE} to {SHARE}\), calibration error {SHARE}"
MEASURES = [
    rf"imdb, {split}: accuracy {SHARE} among negative, positive {FIGURES}"
    for split in ("validation", "test")
]
BEHAVIOUR = r"behaviour: mean failure rate \d+\.\d%"


def assert_lines(found: list[str], expected: list[str]) -> None:
    for line, pattern in zip(found, expected, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


def test_progress(first):
    assert_lines(
        first[2],
        [
            # One training and one other review are as a test review is.
            "imdb: train 32, unlabelled 12, validation 4, test 8",
            r"\d+ words; \d+ s so far",
            r"n-grams weighed; \d+ s so far",
            *steps_of("pretraining", 2),
            *steps_of("phase 1", 2),
            *steps_of("phase 2", 3),
            *MEASURES,
            BEHAVIOUR,
        ],
    )


def test_manifest(first, imdb):
    folder, measured, _ = first
    predictor = Predictor.load(folder)
    manifest = predictor.manifest
    material = READERS["imdb"](str(imdb), 3)
    assert (manifest.model, manifest.labels) == ("rnn", ("negative", "positive"))
    assert manifest.settings["units"] == 4
    fitting = {name: manifest.fitting[name] for name in ("recipe", "ema", "seed")}
    assert fitting == {"recipe": "first", "ema": 0.9, "seed": 3}
    # It has phases, and what `SentimentClassifier.fit` goes by says nothing of them.
    assert not {"start", "epochs", "history", "learning_rate", "batch_size"} & {*manifest.fitting}
    sizes = {name: part["texts"] for name, part in manifest.data["splits"].items()}
    assert sizes == {"imdb, train": 32, "imdb, validation": 4, "imdb, test": 8}
    hashes = {name: part["sha256"] for name, part in manifest.data["splits"].items()}
    assert hashes["imdb, validation"] == material.validation.sha256()
    assert hashes["imdb, test"] == material.measured.sha256()
    assert manifest.data["source"] == "imdb"
    assert manifest.data["notes"] == [
        "imdb: left out 2 training texts that are like a measured one"
    ]

    expected = []
    for split, part in (("validation", material.validation), ("test", material.measured)):
        evaluation, _ = predictor.evaluate(part.texts, part.labels)
        expected.append(Measured("imdb", split, predictor.labels, evaluation))
    assert measured == expected
    stored = json.loads(json.dumps([dataclasses.asdict(result) for result in expected]))
    assert manifest.metrics["measured"] == stored
    behaviour = measure_behaviour(predictor)
    assert manifest.metrics["behaviour"] == {
        "mean_failure_rate": behaviour.mean_failure_rate,
        "capabilities": {
            name: {"cases": result.cases, "failures": result.failures}
            for name, result in behaviour.capabilities.items()
        },
    }
    assert len(behaviour.capabilities) == 2


def test_card(first):
    folder, measured, _ = first
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    for result in measured:
        figures = result.evaluation
        low, high = figures.accuracy_interval
        assert (
            f"| imdb, {result.split} | negative, positive | {figures.n} | {figures.accuracy:.2%} "
            f"({low:.2%} to {high:.2%}) | {figures.macro_f1:.4f} | {figures.ece:.2%} |\n"
        ) in card
    assert "* imdb: left out 2 training texts that are like a measured one\n" in card
    behaviour = load_artifact(folder).manifest.metrics["behaviour"]
    assert f"mean failure rate {behaviour['mean_failure_rate']:.1%}." in card
    for name, result in behaviour["capabilities"].items():
        rate = result["failures"] / result["cases"]
        assert f"| {name} | {result['cases']} | {rate:.1%} |\n" in card


def test_the_model_can_be_loaded_to_go_on(first):
    texts = texts_of("positive", 3, "x") + texts_of("negative", 3, "y")
    classifier = SentimentClassifier.load(first[0])
    expected = Predictor.load(first[0]).predict_proba(texts)
    np.testing.assert_allclose(classifier.model_.predict_on_batch(
        np.array(classifier.predictor_.encoder.encode(texts).token_ids, "int32")
    ), expected, atol=2e-6)  # fmt: skip
    values, tags = classifier.model_.get_layer("ngrams").get_weights()
    assert values.any()
    assert tags.any()
    assert classifier.ngrams == 40


def test_texts_of_the_behaviour_tests_are_left_out_too(imdb):
    material = READERS["imdb"](str(imdb), 0)
    text = next(iter(CAPABILITIES.values())).cases()[0].texts[0]
    material = dataclasses.replace(material, unlabelled=[*material.unlabelled, text.upper()])
    kept, notes = module._without_leaks({"imdb": material})
    assert text.upper() not in kept["imdb"].unlabelled
    assert notes == ["imdb: left out 3 training texts that are like a measured one"]


def test_words_of_unlabelled_reviews_are_known(first):
    """But no word that test reviews alone have."""
    words = Predictor.load(first[0]).encoder.tokenizer.word_index
    assert {"more0", "unseen5", "trainpositive3", "dull"} <= words.keys()
    assert not {word for word in words if word.startswith("test")}


def stage(folder: Path, name: str) -> np.ndarray:
    (path,) = folder.with_name(f"{folder.name}.recipe").glob(f"{name}-*.npz")
    with np.load(path) as stored:
        return stored["array"]


def test_labels_given_by_the_ngrams(first, imdb):
    material = READERS["imdb"](str(imdb), 3)
    targets = stage(first[0], "imdb-in-1")
    assert targets.shape == (44, 2)
    assert Counter(map(tuple, targets[:32].tolist())) == {(0, 1): 16, (1, 0): 16}
    taught = targets[32:]
    np.testing.assert_allclose(taught.sum(axis=1), 1, atol=1e-6)
    texts = [text for text in material.unlabelled if not text.startswith("test")]
    assert (taught[:, 1] > 0.5).tolist() == [text.startswith("unseen") for text in texts]


def test_labels_given_again(first):
    """Labels that are known stay; of the others some move, now that the network has a say."""
    before, after = (stage(first[0], f"imdb-in-{number}") for number in (1, 2))
    np.testing.assert_array_equal(after[:32], before[:32])
    assert (after[32:] != before[32:]).any()
    np.testing.assert_allclose(after[32:].sum(axis=1), 1, atol=1e-6)


def test_a_network_that_knows_better_than_ngrams_gives_the_labels(imdb):
    """N-grams of labels that have nothing to do with the texts know nothing."""
    material = READERS["imdb"](str(imdb), 3)
    labels = ["negative", "positive"] * len(material.train)
    material = dataclasses.replace(
        material, train=Reviews(material.train.texts, labels[: len(material.train)])
    )
    encoder = TextEncoder.fit(material.train.texts + material.unlabelled)

    praise = {i for ids in encoder.encode(WORDS["positive"]).token_ids for i in ids}

    def read(token_ids):
        return np.array([1.0 if set(ids) & praise else -1.0 for ids in token_ids])

    sources, labels = {"imdb": material}, ("negative", "positive")
    table = module._table(("imdb",), sources, encoder, labels, 40)
    teach = module._teacher(sources, encoder, labels, table, read)
    found = teach(material.unlabelled)
    token_ids = encoder.encode(material.unlabelled).token_ids
    np.testing.assert_array_equal(found > 0.5, read(token_ids) > 0)


def test_stages_that_are_kept(first):
    names = sorted(path.name for path in first[0].with_name("first.recipe").iterdir())
    patterns = ("imdb-in-1", "imdb-in-2", "phase-1", "phase-2", "pretraining")
    for name, pattern in zip(names, patterns, strict=True):
        assert re.fullmatch(rf"{pattern}-[0-9a-f]{{12}}\.npz", name)


def never(*_, **__):
    pytest.fail("this was done before")


def test_what_was_done_is_not_done_again(recipes, first, imdb, tmp_path, monkeypatch):
    folder = tmp_path / "again"
    shutil.copytree(first[0].with_name("first.recipe"), tmp_path / "again.recipe")
    for name in ("fit_steps", "_targets", "_teacher"):
        monkeypatch.setattr(module, name, never)
    for name in ("fit_steps", "word_vectors"):
        monkeypatch.setattr(pretraining, name, never)
    measured, said = made(recipes["first"], {"imdb": str(imdb)}, folder)
    assert said[3:5] == ["phase 1: done before", "phase 2: done before"]
    assert measured == first[1]
    assert load_artifact(folder).onnx == load_artifact(first[0]).onnx


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("phase 1: step 1 ", [*steps_of("phase 1", 2)[1:], *steps_of("phase 2", 3)]),
        ("phase 2: step 2 ", ["phase 1: done before", *steps_of("phase 2", 3)[2:]]),
    ],
)
def test_a_run_that_was_killed_goes_on(line, expected, recipes, first, imdb, tmp_path, monkeypatch):
    """And makes the same model."""
    monkeypatch.setattr(stepwise, "CHECKPOINT_SECONDS", -1)
    folder = tmp_path / "cut"
    shutil.copytree(
        first[0].with_name("first.recipe"),
        tmp_path / "cut.recipe",
        ignore=shutil.ignore_patterns("phase*", "*-in-2*"),
    )

    def stop(said):
        if said.startswith(line):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(recipes["first"], {"imdb": str(imdb)}, folder, resume=True, say=stop)
    assert {path.name for path in tmp_path.iterdir()} == {"cut.recipe"}
    _, said = made(recipes["first"], {"imdb": str(imdb)}, folder)
    assert_lines(said[3:], [*expected, *MEASURES, BEHAVIOUR])
    assert load_artifact(folder).onnx == load_artifact(first[0]).onnx


def test_a_run_that_was_killed_between_phases_goes_on(recipes, first, imdb, tmp_path):
    """And drops out what a run that was not killed drops out."""
    stages = first[0].with_name("first.recipe")
    shutil.copytree(stages, tmp_path / "cut.recipe", ignore=shutil.ignore_patterns("phase-2*"))
    _, said = made(recipes["first"], {"imdb": str(imdb)}, tmp_path / "cut")
    assert_lines(said[3:7], ["phase 1: done before", *steps_of("phase 2", 3)])
    assert load_artifact(tmp_path / "cut").onnx == load_artifact(first[0]).onnx


def test_stages_are_removed_once_all_is_read(recipes, first, imdb, tmp_path):
    """A run that cannot begin leaves what another one has done."""
    left = tmp_path / "again.recipe"
    shutil.copytree(first[0].with_name("first.recipe"), left)
    (left / "phase-3-0123456789ab.npz.steps").write_bytes(b"")
    before = sorted(left.iterdir())
    with pytest.raises(DataError, match=r"^There is no file or folder nowhere\."):
        make(recipes["first"], {"imdb": "nowhere"}, tmp_path / "again")
    assert sorted(left.iterdir()) == before
    said = []
    make(recipes["first"], {"imdb": str(imdb)}, tmp_path / "again", say=said.append)
    assert "phase 1: done before" not in said
    assert len(list(left.iterdir())) == len(before) - 1


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_is_not_a_stage_is_not_removed(what, recipes, imdb, tmp_path):
    place = tmp_path / "mine.recipe"
    if what == "folder":
        place.mkdir()
        (place / "thesis.txt").write_text("mine")
    else:
        place.write_text(FIRST)
    named = place / "thesis.txt" if what == "folder" else place
    message = (
        f"{named} is in the way of what the recipe's stages give, and was not made by them. Move "
        "it, or choose another --out."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(recipes["first"], {"imdb": str(imdb)}, tmp_path / "mine", overwrite=True)
    assert named.read_text() in ("mine", FIRST)


@pytest.mark.parametrize(
    ("paths", "name"), [({"IMDB": "x"}, "IMDB"), ({"imdb": "x", "treebank": "y"}, "treebank")]
)
def test_sources_that_the_recipe_does_not_take(paths, name, recipes, tmp_path):
    message = f"This recipe takes no source {name!r} from elsewhere. Its sources: imdb."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        make(recipes["first"], paths, tmp_path / "out")


def test_drills_come_with_the_package(tmp_path):
    message = (
        "This recipe takes no source 'drills' from elsewhere. Its sources: imdb, treebank, sample."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        make(load_recipe("default"), {"drills": "mine.csv"}, tmp_path / "out")


def test_stages_of_other_settings_are_not_taken(recipes, first, imdb, tmp_path):
    """Each stage belongs to what came before it, and to nothing that comes after."""
    shutil.copytree(first[0].with_name("first.recipe"), tmp_path / "other.recipe")
    phases = [dict(phase) for phase in recipes["first"].phases]
    phases[1]["learning_rate"] = 0.02
    recipe = dataclasses.replace(recipes["first"], phases=tuple(phases))
    _, said = made(recipe, {"imdb": str(imdb)}, tmp_path / "other")
    assert_lines(said[3:], ["phase 1: done before", *steps_of("phase 2", 3), *MEASURES, BEHAVIOUR])


def test_labels_of_texts_that_were_cut_elsewhere_are_not_taken(recipes, first, imdb, tmp_path):
    """A setting that the network does not show may change what the teacher reads."""
    shutil.copytree(first[0].with_name("first.recipe"), tmp_path / "longer.recipe")
    settings = {**recipes["first"].settings, "max_length": 21}
    recipe = dataclasses.replace(recipes["first"], settings=settings)
    _, said = made(recipe, {"imdb": str(imdb)}, tmp_path / "longer")
    assert "phase 1: done before" not in said


def relabelled(reader):
    """A reader that finds other labels on the same texts."""

    def read(path: str, seed: int) -> Material:
        material = reader(path, seed)
        other = {"negative": "positive", "positive": "negative"}
        labels = [other[label] for label in material.train.labels]
        return dataclasses.replace(material, train=Reviews(material.train.texts, labels))

    return read


def test_labels_given_before_are_not_taken_for_other_ones(
    recipes, first, imdb, tmp_path, monkeypatch
):
    shutil.copytree(first[0].with_name("first.recipe"), tmp_path / "other.recipe")
    monkeypatch.setitem(READERS, "imdb", relabelled(READERS["imdb"]))
    _, said = made(recipes["first"], {"imdb": str(imdb)}, tmp_path / "other")
    assert "phase 1: done before" not in said


def test_without_measuring_test_texts_are_left_alone(recipes, first, imdb, tmp_path, monkeypatch):
    shutil.copytree(first[0].with_name("first.recipe"), tmp_path / "blind.recipe")
    asked = []
    answers = Predictor.answers

    def watched(self, texts, **options):
        asked.extend(texts)
        return answers(self, texts, **options)

    monkeypatch.setattr(Predictor, "answers", watched)
    measured, said = made(recipes["first"], {"imdb": str(imdb)}, tmp_path / "blind", measure=False)
    assert_lines(said[3:], ["phase 1: done before", "phase 2: done before", MEASURES[0], BEHAVIOUR])
    assert measured == first[1][:1]
    material = READERS["imdb"](str(imdb), 3)
    assert set(asked) >= set(material.validation.texts)
    assert set(asked).isdisjoint(material.measured.texts)
    assert "| imdb, test | negative, positive |" not in (tmp_path / "blind" / CARD_FILE).read_text()


# ---------------------------------------------------------------------------------- several sources


def test_progress_of_several_sources(second):
    among = ("negative, positive", "negative, neutral, positive")
    assert_lines(
        second[2],
        [
            "imdb: train 32, unlabelled 12, validation 4, test 8",
            r"treebank: train \d+, unlabelled 0, validation 6, dev 6",
            r"\d+ words; \d+ s so far",
            r"n-grams weighed; \d+ s so far",
            *steps_of("phase 1", 3),
            *MEASURES,
            *(
                rf"treebank, {split}: accuracy {SHARE} among {labels} {FIGURES}"
                for split in ("validation", "dev")
                for labels in among[::-1]
            ),
            BEHAVIOUR,
        ],
    )


def test_manifest_of_several_sources(second, imdb, treebank):
    folder, measured, _ = second
    predictor = Predictor.load(folder)
    manifest = predictor.manifest
    assert manifest.labels == ("negative", "neutral", "positive")
    assert manifest.fitting["recipe"] == "second"
    assert manifest.data["source"] == "imdb, treebank"
    assert [note.partition(":")[0] for note in manifest.data["notes"]] == ["imdb", "treebank"]
    by_name = {(result.source, result.split, result.labels): result for result in measured}
    dev = load_treebank(treebank).validation
    expected, _ = predictor.evaluate(dev.texts, dev.labels)
    assert by_name["treebank", "dev", predictor.labels].evaluation == expected
    clear = [i for i, label in enumerate(dev.labels) if label != "neutral"]
    texts, labels = [dev.texts[i] for i in clear], [dev.labels[i] for i in clear]
    expected, _ = predictor.evaluate(texts, labels, ignore=["neutral"])
    assert expected.n == 4
    assert by_name["treebank", "dev", ("negative", "positive")].evaluation == expected
    test = READERS["imdb"](str(imdb), 2).measured
    expected, _ = predictor.evaluate(test.texts, test.labels, ignore=["neutral"])
    assert by_name["imdb", "test", ("negative", "positive")].evaluation == expected


def test_vocabulary_is_the_first_sources_with_some_words_of_the_others(second, imdb):
    """Which come after it, so that it is not crowded out."""
    encoder = Predictor.load(second[0]).encoder
    index = encoder.tokenizer.word_index
    material = READERS["imdb"](str(imdb), 2)
    known = {word for t in material.train.texts + material.unlabelled for word in t.lower().split()}
    ordered = sorted(index, key=index.get)
    assert encoder.vocab_size == 60 + 6
    assert set(ordered[1:59]) <= known  # the first is the unknown word
    assert set(ordered[59:]).isdisjoint(known)
    assert len(ordered) == 65
    assert {"danish", "long", "new"} & set(ordered[59:])


def test_labels_given_to_two_of_three(second, imdb):
    """None is neutral; the n-grams are those of the same source, so they say much the same."""
    targets = stage(second[0], "imdb-in-1")
    assert targets.shape == (44, 3)
    assert not targets[:, 1].any()
    texts = READERS["imdb"](str(imdb), 2).unlabelled
    truth = [text.startswith("unseen") for text in texts if not text.startswith("test")]
    assert (targets[32:, 2] > 0.5).tolist() == truth
    labels = stage(second[0], "treebank-in-1")
    assert set(map(tuple, labels.tolist())) == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_ngrams_are_of_the_sources_that_are_named(second, imdb):
    predictor = Predictor.load(second[0])
    train = module._without_leaks({"imdb": READERS["imdb"](str(imdb), 2)})[0]["imdb"].train
    ids = predictor.encoder.encode(train.texts).token_ids
    positive = np.array([label == "positive" for label in train.labels])
    expected, found = fit_table(ids, positive, ngrams=40), predictor.network.ngrams
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.tags, expected.tags)
    assert np.count_nonzero(found.values) > 20


@pytest.fixture
def watched(monkeypatch) -> dict[str, list]:
    """The arguments of what `make` calls, by name; the n-grams are the network's at that time."""
    calls = {}

    def watch(name: str) -> None:
        real = getattr(module, name)
        calls[name] = []

        def call(*args, **options):
            network = isinstance(args[0], keras.Model) and args[0].get_layer("ngrams")
            ngrams = network and network.get_weights()
            calls[name].append((args, options, ngrams))
            return real(*args, **options)

        monkeypatch.setattr(module, name, call)

    for name in ("start_from_texts", "batches_of", "fit_steps", "finish"):
        watch(name)
    monkeypatch.setattr(module, "_measure_and_save", lambda classifier, *_: classifier)
    return calls


def test_what_the_network_learns_from(recipes, imdb, treebank, tmp_path, watched):
    """With updates of nothing, so that word vectors stay as they are, but for rounding."""
    phase = recipes["second"].phases[0] | {"learning_rate": 1e-12}
    recipe = dataclasses.replace(recipes["second"], phases=(phase,))
    paths = {"imdb": str(imdb), "treebank": str(treebank)}
    classifier, _ = made(recipe, paths, tmp_path / "still")
    (((_, texts), options, _),) = watched["start_from_texts"]
    bank = READERS["treebank"](str(treebank), 2)
    assert len(texts) == 44 + len(bank.train)
    assert (options["seed"], options["steps"]) == (2, 0)
    (words,) = classifier.model_.get_layer("embedding").get_weights()
    np.testing.assert_allclose(words, word_vectors(texts, 66, dim=4, seed=2), atol=1e-3)

    ((((reviews, phrases), seed), _, _),) = watched["batches_of"]
    assert seed == 3
    assert (len(reviews.corpus), len(phrases.corpus)) == (44, len(bank.train))
    assert (reviews.asked.tolist(), phrases.asked.tolist()) == ([True, False, True], [True] * 3)
    assert (reviews.share, reviews.batch_size, reviews.window) == (0.5, 4, 5)
    np.testing.assert_array_equal(reviews.often, np.ones(44))
    np.testing.assert_array_equal(phrases.often, bank.often)
    names = [recipe.labels[i] for i in phrases.targets.argmax(axis=1)]
    assert names == bank.train.labels

    ((_, options, ngrams),) = watched["fit_steps"]
    assert not any(weights.any() for weights in ngrams)  # it learns without them
    assert (options["steps"], options["learning_rate"], options["ema"]) == (3, 1e-12, 0.99)
    (((model, _, ids, labels), _, _),) = watched["finish"]
    assert all(weights.any() for weights in model.get_layer("ngrams").get_weights())
    held_out = [READERS["imdb"](str(imdb), 2).validation, bank.validation]
    assert [recipe.labels[i] for i in labels] == [n for part in held_out for n in part.labels]
    texts = [text for part in held_out for text in part.texts]
    assert ids == classifier.predictor_.encoder.encode(texts).token_ids


# ------------------------------------------------------------------------------------------ command


@pytest.fixture
def command(imdb, tmp_path, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first.toml").write_text(FIRST)
    return ["--recipe", "first.toml", "--source", f"imdb={imdb}"]


def test_command(command, first, tmp_path, capsys):
    """Here from what another run has done, to be quick."""
    shutil.copytree(first[0].with_name("first.recipe"), tmp_path / "saved_models" / "first.recipe")
    assert train.main([*command, "--resume"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    *lines, saved, advice = printed.out.splitlines()
    assert lines[3:5] == ["phase 1: done before", "phase 2: done before"]
    assert saved == "saved in saved_models/first; predict with:"
    assert advice == (
        '  python -m sentiment.predict --model-dir saved_models/first "This film was okay"'
    )
    assert [path.name for path in (tmp_path / "saved_models").iterdir()] == ["first"]
    assert load_artifact("saved_models/first").onnx == load_artifact(first[0]).onnx


def test_command_refuses_left_stages(command, first, tmp_path, capsys):
    stages = tmp_path / "out.recipe"
    shutil.copytree(first[0].with_name("first.recipe"), stages)
    before = sorted(stages.iterdir())
    assert train.main([*command, "--out", "out"]) == 2
    assert capsys.readouterr() == ("", (
        f"python -m sentiment.train: error: {stages} is left from a run that did not end. Add "
        "--resume to go on, or --overwrite to start again.\n"
    ))  # fmt: skip
    assert sorted(stages.iterdir()) == before


@pytest.mark.parametrize("resume", [False, True])
def test_command_starts_again_or_goes_on(command, first, tmp_path, capsys, monkeypatch, resume):
    shutil.copytree(first[0].with_name("first.recipe"), tmp_path / "out.recipe")
    asked = []

    def fail(recipe, paths, folder, *, overwrite, resume, say):
        say("reading")
        asked.append((recipe.name, paths, folder, overwrite, resume))
        raise DataError("broken")

    monkeypatch.setattr(module, "make", fail)
    options = ["--overwrite", "--resume"] if resume else ["--overwrite"]
    assert train.main([*command, "--out", "out", *options]) == 2
    assert capsys.readouterr() == ("reading\n", "python -m sentiment.train: error: broken\n")
    paths = dict([command[3].split("=", 1)])
    assert asked == [("first", paths, Path("out"), True, resume)]
    assert (tmp_path / "out.recipe").exists()


def test_command_that_is_interrupted(command, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "make", interrupted)
    assert train.main([*command, "--out", "out"]) == 130
    assert capsys.readouterr() == ("", (
        "python -m sentiment.train: interrupted. What was done is kept; add --resume to the same "
        "command to go on.\n"
    ))  # fmt: skip
