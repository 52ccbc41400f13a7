"""Reading the Stanford Sentiment Treebank, and holding sentences out of it."""

import csv
import doctest
import json
import re
import zipfile
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment import treebank
from sentiment.data import DataError, Reviews
from sentiment.preprocessing import review_words
from sentiment.treebank import Treebank, detokenise, held_out, load_treebank, tree_phrases

TREES = {
    "trees/train.txt": [
        r"(3 (2 It) (4 (4 (2 's) (4 good)) (2 .)))",
        r"(1 (2 A) (0 (0 (0 bad) (2 film)) (2 .)))",
        r"(2 (2 It) (2 (2 (2 was) (2 on)) (2 .)))",
        r"(3 (2 It) (4 (4 (2 's) (4 good)) (2 .)))",
        r"(0 (2 -LRB-) (1 (1 (2 Car) (2 (2 and\/or) (1 M\*))) (2 -RRB-)))",
    ],
    "trees/dev.txt": ["(4 (2 ``) (4 (4 Great) (2 '')))", "(2 (2 ca) (2 n't))"],
    "trees/test.txt": ["(1 (2 No) (2 (2 ,) (1 not)))"],
}
READ = Treebank(
    Reviews(
        ["It's good.", "A bad film.", "It was on.", "It's good.", "(Car and/or M*)"],
        ["positive", "negative", "neutral", "positive", "negative"],
    ),
    Reviews(['"Great"', "can't"], ["positive", "neutral"]),
    Reviews(["No, not"], ["negative"]),
    Reviews(
        [
            "It", "'s", "good", "'s good", ".", "'s good.", "It's good.",
            "A", "bad", "film", "bad film", "bad film.", "A bad film.",
            "was", "on", "was on", "was on.", "It was on.",
            "(", "Car", "and/or", "M*", "and/or M*", "Car and/or M*", ")", "Car and/or M*)",
            "(Car and/or M*)",
        ],
        [
            "neutral", "neutral", "positive", "positive", "neutral", "positive", "positive",
            "neutral", "negative", "neutral", "negative", "negative", "negative",
            "neutral", "neutral", "neutral", "neutral", "neutral",
            "neutral", "neutral", "neutral", "negative", "neutral", "negative", "neutral",
            "negative", "negative",
        ],
    ),
)  # fmt: skip


@pytest.fixture
def archive(tmp_path):
    """`archive(trees)` writes the official archive's form: member → its trees."""

    def archive(trees):
        path = tmp_path / "trainDevTestTrees_PTB.zip"
        with zipfile.ZipFile(path, "w") as file:
            for name, lines in trees.items():
                text = lines if isinstance(lines, bytes) else "".join(f"{t}\n" for t in lines)
                file.writestr(name, text)
        return path

    return archive


def refused(message, path=""):
    """Expects a `DataError` with exactly this message, `PATH` standing for the path."""
    expected = message.replace("PATH", str(path))
    return pytest.raises(DataError, match=f"^{re.escape(expected)}$")


# ------------------------------------------------------------------------------------------ trees

WORDS = st.text(st.sampled_from("ab'.-\u00a0\u0085é0"), min_size=1, max_size=3)
NODES = st.recursive(
    st.tuples(st.integers(0, 4), WORDS),
    lambda nodes: st.tuples(st.integers(0, 4), st.lists(nodes, min_size=1, max_size=3)),
    max_leaves=8,
)


def written(node):
    label, inner = node
    return f"({label} {inner if isinstance(inner, str) else ' '.join(map(written, inner))})"


def words_of(node):
    return (
        [node[1]] if isinstance(node[1], str) else [w for part in node[1] for w in words_of(part)]
    )


def phrases_of(node):
    parts = [] if isinstance(node[1], str) else [p for part in node[1] for p in phrases_of(part)]
    return [*parts, (" ".join(words_of(node)), node[0])]


@given(NODES)
def test_phrases_of_any_tree(node):
    assert tree_phrases(written(node)) == phrases_of(node)


@given(NODES, st.data())
def test_no_tree_without_one_of_its_brackets(node, draw):
    tree = written(node)
    place = draw.draw(st.sampled_from([i for i, c in enumerate(tree) if c in "()"]))
    with pytest.raises(ValueError, match="^`tree` must be one tree such as "):
        tree_phrases(tree[:place] + tree[place + 1 :])


@pytest.mark.parametrize(
    "tree",
    ["", "word", "()", "(2)", "(2 )", "(5 a)", "(12 a)", "(a b)", "((2 a) (2 b))", "(2 a) b"]
    + ["(2 a) (2 b)", "(2 a))", "(2 (2 a) ())", "a (2 b)", "(2a)"],
)
def test_what_is_no_tree(tree):
    message = f"`tree` must be one tree such as (3 (2 It) (4 works)). Received: {tree!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        tree_phrases(tree)


# ---------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("text", "natural"),
    [
        ("It 's what they 're , I 'll say , we 've had , I 'm told he 'd like", None),
        ("the actors ' work ; the film 's end : a mess ! Why ? No idea ...", None),
        ("... and is n't 100 % fun -- at all", "... and isn't 100% fun -- at all"),
        ("n't good", "n't good"),
        ("'s good ,", "'s good,"),
        (", but it is", ", but it is"),
        ("`` Fun '' and `` The Fun , '' too", '"Fun" and "The Fun," too'),
        ("a ` funny ' film", "a 'funny' film"),
        ("called `` ` Fun ' '' .", "called \"'Fun'\"."),
        ("-LRB- `` Fun '' -RRB- , -LRB- and $ 5 -RRB-", '("Fun"), (and $5)'),
        ("( as above )", "(as above)"),
        (r"writer\/director , M \* A \* S \* H", "writer/director, M * A * S * H"),
        ("the '70s , rock 'n' roll , pack 'em in", "the '70s, rock 'n' roll, pack 'em in"),
        ("well - made , a Mr. B .", "well - made, a Mr. B."),
        ("8\u00a01\\/2 Women", "8 1/2 Women"),
        ("``", '"'),
        (".", "."),
    ],
)
def test_natural_writing(text, natural):
    natural = natural or re.sub(r" (?=['.,;:!?])", "", text)
    assert detokenise(text) == natural
    assert detokenise(natural) == natural


def test_networks_read_the_same_words():
    """What `review_words` makes of a text is what it makes of the treebank's words."""
    for texts in TREES.values():
        for tree in texts:
            for text, _ in tree_phrases(tree):
                spaced = text.replace("-LRB-", "").replace("-RRB-", "")
                assert review_words(detokenise(text)) == review_words(spaced), text


# ---------------------------------------------------------------------------------------- reading


def rows_of(trees):
    """The rows of a table that holds the same as the trees."""
    splits = {"trees/train.txt": "train", "trees/dev.txt": "dev", "trees/test.txt": "test"}
    for name, lines in trees.items():
        for line in lines:
            *parts, whole = tree_phrases(line)
            for text, label in parts:
                yield {"text": text, "label": label, "split": splits[name], "is_sentence": 0}
            yield {"text": whole[0], "label": whole[1], "split": splits[name], "is_sentence": 1}


def test_official_archive(archive):
    assert load_treebank(archive(TREES)) == READ
    lines = {name: "\r\n".join(["", *trees]).encode() for name, trees in TREES.items()}
    assert load_treebank(str(archive(lines))) == READ


def test_tables(tmp_path):
    rows = list(rows_of(TREES))
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["split", "text", "is_sentence", "label", "more"])
        writer.writeheader()
        writer.writerows(rows)
    assert load_treebank(path) == READ
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert load_treebank(path) == READ


def test_table_without_every_split(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [row for row in rows_of(TREES) if row["split"] == "train"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    nothing = Reviews([], [])
    assert load_treebank(path) == Treebank(READ.train, nothing, nothing, READ.phrases)


def test_words_with_spaces_of_other_kinds_are_words(archive):
    trees = {**TREES, "trees/train.txt": ["(3 (2 8\u00a01\\/2) (3 fun\u0085ny))"]}
    assert load_treebank(archive(trees)).phrases.texts == ["8 1/2", "fun ny", "8 1/2 fun ny"]


def test_first_label_of_a_phrase_counts(archive):
    trees = {
        **TREES,
        "trees/train.txt": ["(4 (1 so) (2 x))", "(0 (3 so) (2 y))", "(0 (1 so) (2 x))"],
    }
    found = load_treebank(archive(trees))
    assert found.train == Reviews(["so x", "so y", "so x"], ["positive", "negative", "negative"])
    expected = ["so", "x", "so x", "y", "so y"], ["negative", "neutral", "positive", "neutral"]
    assert found.phrases == Reviews(expected[0], [*expected[1], "negative"])


# ----------------------------------------------------------------------------------------- errors


def test_missing_file(tmp_path):
    for path in (tmp_path / "none.zip", tmp_path):
        message = "There is no file PATH. Expected trainDevTestTrees_PTB.zip or a table."
        with refused(message, path):
            load_treebank(path)


def test_wrong_archive(archive, tmp_path):
    path = archive({"trees/train.txt": TREES["trees/train.txt"]})
    message = (
        "PATH has no trees/dev.txt. Expected trainDevTestTrees_PTB.zip of the Stanford Sentiment "
        "Treebank."
    )
    with refused(message, path):
        load_treebank(path)
    path = archive({**TREES, "trees/dev.txt": ["(2 a)", "(2 (3 b)"]})
    message = (
        "PATH: line 2 of trees/dev.txt: `tree` must be one tree such as (3 (2 It) (4 works)). "
        "Received: '(2 (3 b)'"
    )
    with refused(message, path):
        load_treebank(path)
    path = archive({**TREES, "trees/test.txt": b"(2 caf\xe9)"})
    with refused("PATH: trees/test.txt is not UTF-8: byte 6 cannot be decoded.", path):
        load_treebank(path)
    path = archive({**TREES, "trees/train.txt": []})
    with refused("PATH holds no training sentence.", path):
        load_treebank(path)
    whole = archive(TREES).read_bytes()
    for content in (b"", b"no zip", whole[: len(whole) // 2], whole.replace(b"good", b"dead")):
        path = tmp_path / "broken.zip"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"broken\.zip is not a readable zip archive: "):
            load_treebank(path)


def test_wrong_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label,split\na,1,train\n", encoding="utf-8")
    with refused("PATH has no column 'is_sentence'. Its columns: 'text', 'label', 'split'.", path):
        load_treebank(path)
    rows = ["a,5,train,1", "b,1,all,1", "c,1,dev,yes", ",1,test,0", "d", " , ,,", "e,1,train,1"]
    path.write_text("text,label,split,is_sentence\n" + "\n".join(rows), encoding="utf-8")
    message = (
        "PATH: 6 bad rows: row 2 (label is '5'), row 3 (split is 'all'), row 4 (is_sentence is "
        "'yes'), row 5 (blank text), row 6 (1 fields instead of 4), row 7 (blank text). Expected a "
        "label from 0 to 4, a split of train, dev or test, and is_sentence 0 or 1."
    )
    with refused(message, path):
        load_treebank(path)
    path.write_text("text,label,split,is_sentence\na,1,dev,1\nb,1,train,0\n", encoding="utf-8")
    with refused("PATH holds no training sentence.", path):
        load_treebank(path)


# --------------------------------------------------------------------------------------- held out


def made(sentences):
    """A treebank whose phrases are all runs of words of its sentences."""
    labels = ["negative", "neutral", "positive"] * len(sentences)
    runs = {
        " ".join(words[i:j]): None
        for words in map(str.split, sentences)
        for i in range(len(words))
        for j in range(i + 1, len(words) + 1)
    }
    nothing = Reviews([], [])
    phrases = Reviews([*runs], [labels[i % 3] for i in range(len(runs))])
    return Treebank(Reviews(sentences, labels[: len(sentences)]), nothing, nothing, phrases)


def expected_phrases(bank, held):
    """The rule, with texts instead of words: there are only letters and spaces."""
    held = [f" {text.casefold()} " for text in held]
    others = [f" {text.casefold()} " for text in bank.train.texts]
    others = [text for text in others if text not in held]
    kept = []
    for text, label in zip(bank.phrases.texts, bank.phrases.labels, strict=True):
        inner = f" {text.casefold()} "
        shared = any(inner in other for other in others)
        short = len(text.split()) < 5
        if not any(inner in other for other in held) or (short and shared and inner not in held):
            kept.append((text, label))
    return kept


@given(
    st.lists(
        st.lists(st.sampled_from("a b c d A".split()), min_size=1, max_size=8).map(" ".join),
        min_size=2,
        max_size=6,
    ),
    st.data(),
)
def test_phrases_that_give_nothing_away(sentences, draw):
    bank = made(sentences)
    count = draw.draw(st.integers(1, len(sentences) - 1))
    kept, held = held_out(bank, count=count, seed=draw.draw(st.integers(0, 99)))
    assert len(held) == count
    pairs = Counter(zip(bank.train.texts, bank.train.labels, strict=True))
    assert Counter(zip(held.texts, held.labels, strict=True)) <= pairs
    assert list(zip(kept.texts, kept.labels, strict=True)) == expected_phrases(bank, held.texts)


def held_out_of(bank, text):
    """`held_out` with a seed that draws this sentence."""
    for seed in range(99):
        kept, held = held_out(bank, count=1, seed=seed)
        if held.texts == [text]:
            return kept.texts
    raise AssertionError("never drawn")


def test_short_and_long_phrases():
    one, other = "I like a very good film now", "We saw a very good film now and liked it"
    bank = made([one, other])
    kept = held_out_of(bank, one)
    assert "a very good film" in kept  # four words, in both
    assert "a very good film now" not in kept  # five words
    assert "I like" not in kept  # in the held-out sentence alone
    assert other in kept
    assert one not in kept


def test_held_out_sentence_is_no_phrase_of_another():
    bank = made(["Very good", "It was very good", "VERY good"])
    kept = held_out_of(bank, "Very good")
    assert not {"very good", "VERY good"} & set(kept)
    assert {"very", "good", "was very good", "It was very good"} <= set(kept)


def test_punctuation_makes_no_difference_and_words_are_needed():
    phrases = ["It", "works,", "It works, by and by", "Fine!", ",", '"', "fine"]
    bank = Treebank(
        Reviews(["It works by, and by.", "Fine!"], ["positive", "neutral"]),
        Reviews([], []),
        Reviews([], []),
        Reviews(phrases, ["neutral"] * len(phrases)),
    )
    assert held_out_of(bank, "It works by, and by.") == ["Fine!", "fine"]


def test_seed_decides():
    bank = made([f"sentence number {i}" for i in range(40)])
    first = held_out(bank, count=10, seed=1)
    assert held_out(bank, count=10, seed=1) == first
    assert held_out(bank, count=10, seed=2) != first
    order = [bank.train.texts.index(text) for text in first[1].texts]
    assert order == sorted(set(order))


@pytest.mark.parametrize("count", [-1, 0, 3, 4])
def test_wrong_count(count):
    message = (
        "`count` must be at least 1 and below the number of training sentences, 3. "
        f"Received: {count}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        held_out(made(["a", "b", "c"]), count=count)


def test_examples_of_the_documentation():
    result = doctest.testmod(treebank)
    assert result.attempted == 2
    assert result.failed == 0
