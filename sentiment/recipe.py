"""Models made by a recipe: a checked-in file that names sources, settings and phases of learning.

A recipe reads its sources, makes sure that no training text is a test text, learns from unlabelled
reviews (word vectors, a language model, labels given by a teacher), fits the network on windows of
all sources side by side, joins the n-grams, calibrates on validation texts and measures.  Every
long stage is kept in a folder beside the output, so that a run that was killed goes on.
"""

import inspect
import json
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sentiment.artifact import check_writable
from sentiment.behaviour import CAPABILITIES, measure_behaviour
from sentiment.checkpoints import identity_of, keep_weights, read_checkpoint, write_checkpoint
from sentiment.classifier import SentimentClassifier
from sentiment.data import (
    DataError,
    Reviews,
    bundled,
    label_values,
    load_reviews,
    load_splits,
    load_unlabelled,
    order_labels,
)
from sentiment.fitting import FitResult, finish, predict_token_ids
from sentiment.leaks import check_no_leaks, find_leaks
from sentiment.metrics import Evaluation
from sentiment.models import build_model
from sentiment.ngrams import NgramTable, fit_table, ngram_scores
from sentiment.predictor import NEUTRAL
from sentiment.preprocessing import TextEncoder
from sentiment.pretraining import start_from_texts
from sentiment.stepwise import StepReport, fit_steps
from sentiment.treebank import held_out, load_treebank
from sentiment.windows import LONGEST, Corpus, PartialCrossentropy, Source, batches_of

RECIPES = Path(__file__).with_name("recipes")
STAGE = re.compile(r".+-[0-9a-f]{12}\.npz(\.steps)?(\.part)?")  # a file that a stage leaves
PHASE = ("steps", "learning_rate", "sources")  # what a phase has
SOURCE = ("share", "batch_size", "window")  # and each of its sources
PRETRAINING = ("steps", "window", "batch_size", "learning_rate")  # arguments of `pretrain`
HELD_OUT = 850  # sentences of the treebank to validate on, a tenth
SENTENCES = 3.0  # how often the treebank's sentences are drawn, beside shorter phrases
NEUTRAL_PHRASES = 0.3  # and neutral phrases, most of which are fragments, beside others


@dataclass(frozen=True)
class Recipe:
    """A recipe file, read.

    Attributes:
        name: of the file, without its ending.
        labels: of the model.
        sources: names of the sources, keys of `READERS`.
        settings: of `SentimentClassifier`.
        phases: of learning: `steps`, `learning_rate`, and for each source `share` of the updates,
            `batch_size` and `window`; with `relabel`, the network so far helps to label the
            unlabelled texts anew.
        pretraining: arguments of `pretraining.pretrain`.
        ngram_sources: the sources whose labelled texts weigh the n-grams.
        more_words: words of the sources after the first that enter the vocabulary beside those of
            the first, at most.
    """

    name: str
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    settings: Mapping[str, Any]
    phases: tuple[Mapping[str, Any], ...]
    pretraining: Mapping[str, Any]
    ngram_sources: tuple[str, ...]
    more_words: int = 0


@dataclass(frozen=True)
class Material:
    """What a source gives.

    Attributes:
        train: labelled texts.
        often: float (texts,), how often each is drawn, beside the others of its source.
        unlabelled: texts for a teacher to label, as the source has them.
        validation: decides on the weight of the n-grams and on calibration.
        measured: what the model is measured on at the end, and nothing else is done with.
        split: what the source calls those.
    """

    train: Reviews
    often: np.ndarray
    unlabelled: list[str]
    validation: Reviews
    measured: Reviews
    split: str


@dataclass(frozen=True)
class Measured:
    """How good the model is on one source.

    Attributes:
        source: name of the source.
        split: of it.
        labels: the labels that the source has; the model's other ones are left out of its answers.
        evaluation: the figures.
    """

    source: str
    split: str
    labels: tuple[str, ...]
    evaluation: Evaluation


def list_recipes() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """A recipe that ships with the package, or the file of this path.

    Raises:
        DataError: there is none, or it is not a recipe.
    """
    path = RECIPES / f"{name}.toml" if name in list_recipes() else Path(name)
    if not path.is_file():
        raise DataError(
            f"There is no recipe {name!r}. Expected one of {', '.join(list_recipes())}, or a file."
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe(
            path.stem,
            tuple(values["labels"]),
            tuple(values["sources"]),
            values["settings"],
            tuple(values["phases"]),
            values["pretraining"],
            tuple(values["ngram_sources"]),
            values.get("more_words", 0),
        )
        _check_recipe(recipe, values, path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError) as error:
        raise DataError(f"{path} is not a recipe: {error}") from error
    except (TypeError, AttributeError) as error:  # a number where a table or list belongs
        raise DataError(f"{path} is not a recipe: {error}") from error
    return recipe


def _check_recipe(recipe: Recipe, values: Mapping[str, Any], path: Path) -> None:
    """Find out before a long run what it would stumble over."""

    def check(
        name: str, received: Iterable[str], allowed: Iterable[str], needed: Iterable[str] = ()
    ) -> None:
        for one in received:
            if one not in allowed:
                listed = ", ".join(allowed)
                raise DataError(f"{path}: `{name}` must be of {listed}. Received: {one!r}")
        for one in needed:
            if one not in received:
                raise DataError(f"{path}: `{name}` has no `{one}`.")

    check("keys", values, [field.name for field in fields(Recipe) if field.name != "name"])
    check("sources", recipe.sources, READERS)
    check("ngram_sources", recipe.ngram_sources, recipe.sources)
    settings = [*inspect.signature(SentimentClassifier).parameters]
    settings.remove("start_from")  # a recipe starts from texts
    check("settings", recipe.settings, settings, ["ngrams"])
    check("pretraining", recipe.pretraining, PRETRAINING)
    if recipe.labels != order_labels(recipe.labels) or label_values(recipe.labels) is None:
        raise DataError(
            f"{path}: `labels` must be names that have an order, from negative to positive. "
            f"Received: {list(recipe.labels)}"
        )
    if recipe.settings["ngrams"] < 1:
        raise DataError(
            f"{path}: `ngrams` must be above 0, since the teacher goes by them. "
            f"Received: {recipe.settings['ngrams']}"
        )
    for number, phase in enumerate(recipe.phases, 1):
        check(f"phases[{number}]", phase, (*PHASE, "relabel"), PHASE)
        check(f"phases[{number}].sources", phase["sources"], recipe.sources)
        for name, options in phase["sources"].items():
            check(f"phases[{number}].sources.{name}", options, SOURCE, SOURCE)


# --------------------------------------------------------------------------------------- sources


def _imdb(path: str, seed: int) -> Material:
    splits = load_splits(path, seed=seed)
    unlabelled, _ = load_unlabelled(path)
    known = {*splits.train.texts, *splits.validation.texts}
    return Material(
        splits.train,
        np.ones(len(splits.train)),
        [text for text in unlabelled if text not in known],
        splits.validation,
        splits.test,
        "test",
    )


def _sample(path: str, seed: int) -> Material:
    splits = load_splits(path, seed=seed)
    more = load_reviews(bundled("data", "more_reviews.csv"))[0]["all"]
    train = Reviews(splits.train.texts + more.texts, splits.train.labels + more.labels)
    train = _also_beside_neutral(train, seed)
    return Material(train, np.ones(len(train)), [], splits.validation, splits.test, "test")


def _treebank(path: str, seed: int) -> Material:
    treebank = load_treebank(path)
    if len(treebank.train) <= HELD_OUT:
        raise DataError(
            f"{path} has {len(treebank.train):,} training sentences. Expected the whole treebank, "
            "8,544 of them."
        )
    phrases, validation = held_out(treebank, count=HELD_OUT, seed=seed)
    sentences = set(treebank.train.texts)
    often = np.array([SENTENCES if text in sentences else 1.0 for text in phrases.texts])
    often[np.array(phrases.labels) == NEUTRAL] *= NEUTRAL_PHRASES
    return Material(phrases, often, [], validation, treebank.validation, "dev")


def _drills(path: str, seed: int) -> Material:
    del path  # they come with the package, all of them for training
    train = _also_beside_neutral(load_reviews(bundled("data", "drills.csv"))[0]["all"], seed)
    return Material(train, np.ones(len(train)), [], _NONE, _NONE, "test")


def _also_beside_neutral(reviews: Reviews, seed: int) -> Reviews:
    """The texts, and again half of them with a neutral text before or after: the label stays."""
    generator = np.random.default_rng(seed)
    neutral = [i for i, label in enumerate(reviews.labels) if label == NEUTRAL]
    texts, labels = list(reviews.texts), list(reviews.labels)
    for i in generator.permutation(len(reviews))[: len(reviews) // 2]:
        pair = [reviews.texts[i], reviews.texts[generator.choice(neutral)]]
        texts.append(" ".join(pair if generator.random() < 0.5 else pair[::-1]))
        labels.append(reviews.labels[i])
    return Reviews(texts, labels)


_NONE = Reviews([], [])
READERS: dict[str, Callable[[str, int], Material]] = {
    "imdb": _imdb,
    "treebank": _treebank,
    "sample": _sample,
    "drills": _drills,
}


# ---------------------------------------------------------------------------------------- making


def make(
    recipe: Recipe,
    paths: Mapping[str, str],
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    measure: bool = True,
    say: Callable[[str], None] = print,
) -> list[Measured]:
    """Make the model of a recipe and save it with its card.

    Args:
        recipe: the recipe.
        paths: where sources are that do not come with the package, by name.
        folder: where the model is written.  What its stages gave lies beside it, in
            `stages_folder(folder)`, and stays there.
        overwrite: whether a model folder may be replaced.
        resume: go on from stages that are there; else those are removed once all sources are read.
        measure: whether to measure on the test splits; else on validation texts alone.
        say: told of the progress, line by line.

    Raises:
        DataError: a source is missing or cannot be used, or a training text is a test text.
        ValueError: a setting is out of range, or `folder` cannot be written.
    """
    began = time.perf_counter()
    classifier = SentimentClassifier(**recipe.settings)
    classifier.check_settings()
    check_writable(folder, overwrite=overwrite)
    left = stages_folder(folder)
    _check_stages(left)
    for name in paths:
        if name not in recipe.sources or name == "drills":
            needed = [source for source in recipe.sources if source != "drills"]
            raise DataError(
                f"This recipe takes no source {name!r} from elsewhere. Its sources: "
                f"{', '.join(needed)}."
            )
    labels, seed = recipe.labels, classifier.seed
    materials = {name: READERS[name](paths.get(name, name), seed) for name in recipe.sources}
    materials, notes = _without_leaks(materials)
    for name, material in materials.items():
        say(
            f"{name}: train {len(material.train):,}, unlabelled {len(material.unlabelled):,}, "
            f"validation {len(material.validation):,}, {material.split} {len(material.measured):,}"
        )
    encoder = _encoder(recipe, classifier, materials)
    whole = TextEncoder(encoder.tokenizer, max_length=LONGEST)
    corpora = {
        name: Corpus.of(whole.encode(material.train.texts + material.unlabelled).token_ids)
        for name, material in materials.items()
    }
    say(f"{encoder.vocab_size:,} words; {time.perf_counter() - began:.0f} s so far")

    @cache  # the teacher's sources are those of the model itself, more often than not
    def table_of(names: tuple[str, ...]) -> NgramTable:
        return _table(names, materials, encoder, labels, classifier.ngrams)

    table = table_of(recipe.ngram_sources)
    say(f"n-grams weighed; {time.perf_counter() - began:.0f} s so far")

    settings = classifier.builder_settings()
    model = build_model(classifier.model, encoder.vocab_size, len(labels), seed=seed, **settings)
    hashes = [c.sha256() for c in corpora.values()]
    hashes += [part.sha256() for m in materials.values() for part in (m.train, m.validation)]
    identity = identity_of(model, hashes, dict(recipe.settings), dict(recipe.pretraining))
    if not resume:
        remove_stages(left)
    stages = _Stages(left, identity, say)
    start_from_texts(
        model,
        Corpus.joined(list(corpora.values())),
        seed=seed,
        kept=stages.path("pretraining"),
        on_report=stages.reporter("pretraining"),
        **recipe.pretraining,
    )
    # On the texts that it was made from the table is too sure, so the network learns without it.
    model.get_layer("ngrams").set_table(
        NgramTable(np.zeros_like(table.values), np.zeros_like(table.tags))
    )
    unlabelled = {name: material for name, material in materials.items() if material.unlabelled}
    targets: dict[str, np.ndarray] = {}
    for number, phase in enumerate(recipe.phases, 1):
        if number == 1 or phase.get("relabel"):
            read = None if number == 1 else partial(_log_odds, model)
            teacher = cache(
                partial(_teacher, unlabelled, encoder, labels, table_of(tuple(unlabelled)), read)
            )
            targets = {
                name: stages.array(
                    f"{name} in {number}", partial(_targets, material, labels, teacher)
                )
                for name, material in materials.items()
            }
        sources = _sources(phase, materials, corpora, targets, labels)
        stages.advance(dict(phase), classifier.ema, seed)
        stages.fit(
            f"phase {number}",
            model,
            partial(
                fit_steps,
                model,
                batches_of(sources, seed + number),
                loss=PartialCrossentropy(),
                steps=phase["steps"],
                learning_rate=phase["learning_rate"],
                ema=classifier.ema,
            ),
        )
    validation = [(m.validation.texts, m.validation.labels) for m in materials.values()]
    temperature = finish(
        model,
        table,
        [ids for texts, _ in validation for ids in encoder.encode(texts).token_ids],
        np.array([labels.index(label) for _, found in validation for label in found]),
    )
    classifier.keep(
        model,
        encoder,
        FitResult((), 0, temperature, False),
        labels=np.array(labels),
        splits={
            f"{name}, {split}": reviews
            for name, m in materials.items()
            for split, reviews in (
                ("train", m.train),
                ("validation", m.validation),
                (m.split, m.measured),
            )
        },
        fitting={"recipe": recipe.name, "ema": classifier.ema, "seed": seed},
        settings=settings,
    )
    return _measure_and_save(classifier, materials, notes, folder, overwrite, measure, say)


def _measure_and_save(
    classifier: SentimentClassifier,
    materials: Mapping[str, Material],
    notes: Sequence[str],
    folder: Path,
    overwrite: bool,
    measure: bool,
    say: Callable[[str], None],
) -> list[Measured]:
    predictor = classifier.predictor_
    found = []
    for name, material in materials.items():
        splits = {"validation": material.validation}
        if measure:
            splits[material.split] = material.measured
        for split, reviews in splits.items():
            for part in (reviews, _without_neutral(reviews)):
                labels = order_labels(part.labels)
                if not labels or (part is not reviews and labels == order_labels(reviews.labels)):
                    continue
                others = [label for label in predictor.labels if label not in labels]
                evaluation, _ = predictor.evaluate(part.texts, part.labels, ignore=others)
                found.append(Measured(name, split, labels, evaluation))
                say(_line(found[-1]))
    behaviour = measure_behaviour(predictor)
    say(f"behaviour: mean failure rate {behaviour.mean_failure_rate:.1%}")
    classifier.save(
        folder,
        overwrite=overwrite,
        source=", ".join(materials),
        notes=notes,
        metrics={
            "measured": [asdict(result) for result in found],
            "behaviour": {
                "mean_failure_rate": behaviour.mean_failure_rate,
                "capabilities": {
                    name: {"cases": result.cases, "failures": result.failures}
                    for name, result in behaviour.capabilities.items()
                },
            },
        },
    )
    return found


def _without_neutral(reviews: Reviews) -> Reviews:
    pairs = zip(reviews.texts, reviews.labels, strict=True)
    kept = [(text, label) for text, label in pairs if label != NEUTRAL]
    return Reviews([text for text, _ in kept], [label for _, label in kept])


def _line(result: Measured) -> str:
    low, high = result.evaluation.accuracy_interval
    return (
        f"{result.source}, {result.split}: accuracy {result.evaluation.accuracy:.2%} among "
        f"{', '.join(result.labels)} (95 % interval {low:.2%} to {high:.2%}), "
        f"calibration error {result.evaluation.ece:.2%}"
    )


def stages_folder(folder: Path) -> Path:
    """Where the stages lie of a model that is made in this folder."""
    return folder.absolute().with_name(f"{folder.name}.recipe")


def remove_stages(stages: Path) -> None:
    """Remove this folder of stages, if it is there."""
    _check_stages(stages)
    if stages.exists():
        for path in stages.iterdir():
            path.unlink()
        stages.rmdir()


def _check_stages(stages: Path) -> None:
    """Raise `ValueError` where something stands in the place of stages that is none of theirs."""
    if not stages.exists():
        return
    others = [stages]
    if stages.is_dir():
        others = [path for path in sorted(stages.iterdir()) if not STAGE.fullmatch(path.name)]
    if others:
        raise ValueError(
            f"{others[0]} is in the way of what the recipe's stages give, and was not made by "
            "them. Move it, or choose another --out."
        )


class _Stages:
    """What the stages of a run gave, in a folder; each belongs to all that came before it."""

    def __init__(self, folder: Path, identity: str, say: Callable[[str], None]):
        self._identity = identity
        self._folder = folder
        self._say = say

    def advance(self, *parts: Any) -> None:
        """What follows depends on these settings too."""
        self._identity = sha256(json.dumps([self._identity, *parts]).encode()).hexdigest()

    def path(self, name: str) -> Path:
        """The file of a stage."""
        return self._folder / f"{name.replace(' ', '-')}-{self._identity[:12]}.npz"

    def reporter(self, name: str) -> Callable[[StepReport], None]:
        """What tells of a stage's steps."""
        return lambda report: self._say(
            f"{name}: step {report.step:,} of {report.steps:,}, loss {report.loss:.4f}, "
            f"{report.seconds:.0f} s"
        )

    def array(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """An array that takes long to make."""
        path = self.path(name)
        if not path.exists():
            write_checkpoint(path, self._identity, {}, {"array": make()})
        return read_checkpoint(path, self._identity)[1]["array"]

    def fit(self, name: str, model: keras.Model, fit: Callable[..., None]) -> None:
        """Give a network the weights that `fit` ends with.

        It is called with the arguments `checkpoint`, `identity` and `on_report`.
        """
        found = keep_weights(
            self.path(name),
            self._identity,
            model,
            lambda path: fit(
                checkpoint=path, identity=self._identity, on_report=self.reporter(name)
            ),
        )
        if found:
            self._say(f"{name}: done before")


def _without_leaks(
    materials: Mapping[str, Material],
) -> tuple[dict[str, Material], list[str]]:
    """Leave out every training text that is like a text to measure on, then make sure of it."""
    measured = [text for material in materials.values() for text in material.measured.texts]
    measured += [t for c in CAPABILITIES.values() for case in c.cases() for t in case.texts]
    leaks = {leak.position for leak in find_leaks(_learned(materials), measured)}
    kept, notes, first = {}, [], 0
    for name, material in materials.items():
        train, unlabelled = material.train, material.unlabelled
        labelled = [i for i in range(len(train)) if first + i not in leaks]
        first += len(train)
        others = [text for i, text in enumerate(unlabelled) if first + i not in leaks]
        first += len(unlabelled)
        left_out = len(train) + len(unlabelled) - len(labelled) - len(others)
        notes.append(f"{name}: left out {left_out:,} training texts that are like a measured one")
        kept[name] = replace(
            material,
            train=Reviews([train.texts[i] for i in labelled], [train.labels[i] for i in labelled]),
            often=material.often[labelled],
            unlabelled=others,
        )
    check_no_leaks(_learned(kept), measured)
    return kept, notes


def _learned(materials: Mapping[str, Material]) -> list[str]:
    return [text for m in materials.values() for text in (*m.train.texts, *m.unlabelled)]


def _encoder(
    recipe: Recipe, classifier: SentimentClassifier, materials: Mapping[str, Material]
) -> TextEncoder:
    """The vocabulary: the first source's, and words of the others that it lacks."""
    first, *others = materials
    encoder = classifier.encoder(_learned({first: materials[first]}), None)
    return encoder.extended(
        _learned({name: materials[name] for name in others}),
        most=recipe.more_words,
        max_length=encoder.max_length,
        head_share=encoder.head_share,
    )


def _table(
    names: Sequence[str],
    materials: Mapping[str, Material],
    encoder: TextEncoder,
    labels: Sequence[str],
    ngrams: int,
) -> NgramTable:
    """Weights of n-grams, from the labelled texts of these sources."""
    values = dict(zip(labels, label_values(labels), strict=True))
    texts = [text for name in names for text in materials[name].train.texts]
    positive = [(values[label] + 1) / 2 for name in names for label in materials[name].train.labels]
    return fit_table(encoder.encode(texts).token_ids, np.array(positive), ngrams=ngrams)


def _targets(
    material: Material,
    labels: Sequence[str],
    teacher: Callable[[], Callable[[list[str]], np.ndarray]],
) -> np.ndarray:
    """Probabilities to learn, float32 (texts, num_classes): labels, then what the teacher says.

    `teacher` gives the teacher; nobody asks for it where all texts have labels.
    """
    known = np.eye(len(labels), dtype=np.float32)[[labels.index(n) for n in material.train.labels]]
    taught = np.zeros((len(material.unlabelled), len(labels)), np.float32)
    if len(taught):
        taught[:, -1] = teacher()(material.unlabelled)
        taught[:, 0] = 1 - taught[:, -1]
    return np.concatenate([known, taught])


def _teacher(
    materials: Mapping[str, Material],
    encoder: TextEncoder,
    labels: Sequence[str],
    table: NgramTable,
    read: Callable[[list[list[int]]], np.ndarray] | None,
) -> Callable[[list[str]], np.ndarray]:
    """A function that gives p(last label), against the first, of unlabelled texts.

    It goes by the n-grams of these sources, in `table`, and by what a network `read` in their ids,
    weighed so that the sources' validation labels are most likely.
    """
    from sklearn.linear_model import LogisticRegression

    def features(texts: list[str]) -> np.ndarray:
        rows = encoder.encode(texts).token_ids
        columns = [np.array([ngram_scores(np.array([ids]), table)[0] for ids in rows])]
        if read is not None:
            columns.append(read(rows))
        return np.stack(columns, axis=1)

    texts = [text for material in materials.values() for text in material.validation.texts]
    truth = [label for material in materials.values() for label in material.validation.labels]
    scale = LogisticRegression(C=1e6).fit(features(texts), truth)
    column = list(scale.classes_).index(labels[-1])
    return lambda texts: scale.predict_proba(features(texts))[:, column]


def _log_odds(model: keras.Model, token_ids: list[list[int]]) -> np.ndarray:
    """Log-odds of the last label against the first, float64 (texts,)."""
    found = predict_token_ids(model, token_ids).astype(np.float64)
    return np.log(np.maximum(found[:, -1], 1e-30) / np.maximum(found[:, 0], 1e-30))


def _sources(
    phase: Mapping[str, Any],
    materials: Mapping[str, Material],
    corpora: Mapping[str, Corpus],
    targets: Mapping[str, np.ndarray],
    labels: Sequence[str],
) -> list[Source]:
    sources = []
    for name, options in phase["sources"].items():
        material = materials[name]
        asked = np.isin(labels, material.train.labels)
        often = np.concatenate([material.often, np.ones(len(material.unlabelled))])
        sources.append(Source(corpora[name], targets[name], asked, often=often, **options))
    return sources
