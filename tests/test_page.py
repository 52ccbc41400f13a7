"""The page of a reading: complete, true to the numbers, and safe to open."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest

import sentiment
from sentiment import explain as command
from sentiment import page, plots
from sentiment.explanation import METHODS, explain, gate_title, verdict

VOID = {"meta", "input"}
HOSTILE = ("<script>alert(1)</script>", '"it\'s"', "&amp;", "שלום", "👍", "$style", "${words}")


class Reader(HTMLParser):
    """What a page holds; fails where tags are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.tags = []
        self.words = []  # attributes, name and card of each word
        self.rows = []  # of the table's body
        self.style = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes))
        if "word" in attributes.get("class", "").split():
            self.words.append([attributes, "", ""])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        classes = [attributes.get("class", "").split() for _, attributes in self.open]
        if ["card"] in classes:
            self.words[-1][2] += data
        elif any("word" in names for names in classes):
            self.words[-1][1] += data
        elif "td" in tags or "th" in tags:
            self.rows[-1][-1] += data
        elif "style" in tags:
            self.style += data


@pytest.fixture(scope="module")
def explanation():
    return explain(sentiment.load(), "I loved the zxqvy film, but its ending was disappointing")


@pytest.fixture(scope="module")
def hostile(explanation):
    """Words and labels that would break a page that does not escape them; labels without order."""
    label = '<b>bad</b> & "ugly"'
    words = tuple(
        dataclasses.replace(
            word,
            word=text,
            label=label,
            score=None,
            probabilities={label: share, "good": 1 - share},
        )
        for word, text, share in zip(
            explanation.words, HOSTILE, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), strict=False
        )
    )
    last = words[-1]
    return dataclasses.replace(
        explanation,
        text=" ".join(HOSTILE),
        label=label,
        score=None,
        probabilities=last.probabilities,
        target=label,
        words=words,
    )


def signed(value):
    return f"{value:+.2f}".replace("-", "−")


@pytest.mark.parametrize("method", METHODS)
def test_words_in_order_with_their_numbers(explanation, method):
    read = Reader(page.reading_page(explanation, method=method))
    assert [name for _, name, _ in read.words] == [word.word for word in explanation.words]
    for number, ((attributes, _, card), word) in enumerate(
        zip(read.words, explanation.words, strict=True), 1
    ):
        assert attributes["tabindex"] == "0"
        assert attributes["aria-describedby"] == f"word-{number}"
        assert ("oov" in attributes["class"]) == (not word.known)
        assert card.split("\n") == [
            f"{number}. \u2068{word.word}\u2069" + ", not in the vocabulary" * (not word.known),
            f"so far: {word.label}, score {signed(word.score)}",
            "effect: " + ", ".join(f"{m} {signed(word.effects[m])}" for m in METHODS),
            "gates, mean: "
            + ", ".join(
                f"{gate} {arrow} {word.gates[f'{way}_{gate}']:.2f}"
                for way, arrow in (("forward", "→"), ("backward", "←"))
                for gate in ("input", "forget", "output")
            ),
            f"change of memory: → {word.memory_change['forward']:.2f}, "
            f"← {word.memory_change['backward']:.2f}",
        ]


def test_table(explanation):
    read = Reader(page.reading_page(explanation, method="removed"))
    groups, head, *rows = read.rows
    assert groups == ["", "so far", "effect", "gates, mean", "change of memory"]
    assert head == [
        "#", "word", "label", "score", *METHODS,
        "input →", "forget →", "output →", "input ←", "forget ←", "output ←", "→", "←",
    ]  # fmt: skip
    assert rows == [
        [
            str(number),
            word.word + " (unknown)" * (not word.known),
            word.label,
            signed(word.score),
            *(signed(word.effects[method]) for method in METHODS),
            *(f"{value:.2f}" for value in word.gates.values()),
            *(f"{value:.2f}" for value in word.memory_change.values()),
        ]
        for number, word in enumerate(explanation.words, 1)
    ]
    assert sum(not word.known for word in explanation.words) == 1


@pytest.mark.parametrize("method", METHODS)
def test_levels_of_colour(explanation, method):
    read = Reader(page.reading_page(explanation, method=method))
    for chosen in METHODS:
        effects = explanation.effects(chosen)
        expected = [round(4 * effect / abs(effects).max()) for effect in effects]
        assert [int(word[0][f"data-{chosen}"]) for word in read.words] == expected
        assert max(map(abs, expected)) == 4
    running = [int(word[0]["data-running"]) for word in read.words]
    assert running == [round(4 * word.score) for word in explanation.words]
    assert min(running) < 0 < max(running)
    checked = [attributes["id"] for tag, attributes in read.tags if "checked" in attributes]
    assert checked == [f"by-{method}"]


def test_small_effects_are_pale(explanation):
    quiet = [
        dataclasses.replace(word, effects=dict.fromkeys(METHODS, 0.012))
        for word in explanation.words
    ]
    changed = dataclasses.replace(explanation, words=tuple(quiet))
    read = Reader(page.reading_page(changed, method="removed"))
    assert {word[0]["data-removed"] for word in read.words} == {"1"}  # 0.012 of 0.05


def test_every_level_has_a_rule(explanation):
    style = Reader(page.reading_page(explanation, method="removed")).style
    for way in (*METHODS, "running"):
        for level in (-4, -3, -2, -1, 1, 2, 3, 4):
            selector = re.escape(f'#by-{way}:checked ~ .text [data-{way}="{level}"]')
            rule = re.search(selector + r"[^{]*{([^}]*)}", style)[1]
            colour = "0 114 178" if level > 0 else "213 94 0"
            line, mark = ("solid", "+") if level > 0 else ("dotted", "−")
            assert f"background: rgb({colour} / {20 * abs(level)}%)" in rule
            assert f'--mark: "{mark}"' in rule
            assert f"underline {line}" in rule


def test_colours_are_those_of_the_pictures():
    assert plots.BLUE == "#{:02X}{:02X}{:02X}".format(*page.TOWARD)
    assert plots.VERMILION == "#{:02X}{:02X}{:02X}".format(*page.AWAY)


def luminance(colour):
    """Relative luminance of WCAG 2."""
    shares = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", ["LIGHT", "DARK"])
@pytest.mark.parametrize("colour", ["TOWARD", "AWAY"])
def test_words_can_be_read_on_every_colour(theme, colour):
    ink, paper = (
        tuple(int(text[i : i + 2], 16) for i in (1, 3, 5)) for text in getattr(page, theme)
    )
    for level in range(page.LEVELS + 1):
        share = page.STRONGEST * level / page.LEVELS
        ground = [
            share * c + (1 - share) * p for c, p in zip(getattr(page, colour), paper, strict=True)
        ]
        low, high = sorted((luminance(ink), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_everything_is_escaped(hostile):
    text = page.reading_page(hostile, method="removed")
    read = Reader(text)
    assert [name for _, name, _ in read.words] == list(HOSTILE)
    assert [row[1].removesuffix(" (unknown)") for row in read.rows[2:]] == list(HOSTILE)
    assert {row[2] for row in read.rows[2:]} == {hostile.label}
    assert not {tag for tag, _ in read.tags} & {"script", "b", "img", "link", "iframe"}
    assert "alert(1)</script>" not in text
    for attributes, _, card in read.words:
        assert attributes["dir"] == "auto"
        assert f"probability of {hostile.label} 0." in card


def test_labels_without_order(hostile):
    read = Reader(page.reading_page(hostile, method="removed"))
    shares = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert read.rows[1][3] == f"probability of {hostile.label}"
    assert [row[3] for row in read.rows[2:]] == [f"{share:.2f}" for share in shares]
    assert [word[0]["data-running"] for word in read.words] == [
        str(round(4 * share)) for share in shares
    ]


def test_nothing_is_fetched_and_nothing_runs(explanation):
    text = page.reading_page(explanation, method="removed")
    read = Reader(text)
    assert text.startswith("<!doctype html>\n")
    assert not re.search(r"https?:|//|url\(|@import|javascript:", text)
    names = {name for _, attributes in read.tags for name in attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "href")]
    policies = [a["content"] for _, a in read.tags if a.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_identifiers_are_unique_and_known(explanation):
    read = Reader(page.reading_page(explanation, method="removed"))
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in read.tags:
        for name in ("for", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids


def plain(explanation, **changes):
    """The page's text without tags."""
    changed = dataclasses.replace(explanation, **changes)
    text = page.reading_page(changed, method="removed").split("</style>")[1]
    return " ".join(re.sub("<[^>]*>", " ", text).split())


def test_answer_verdict_and_checks(explanation):
    text = plain(explanation, replay_error=3e-8, completeness_error=4e-4)
    shares = ", ".join(f"{label} {p:.1%}" for label, p in explanation.probabilities.items())
    assert f"Negative {shares}, score {signed(explanation.score)} (−1 lowest, +1 highest)" in text
    assert verdict(explanation, "removed") in text
    assert "the replayed answer is 3e-08 from the network’s." in text
    assert "Integrated gradients miss 4e-04 of the difference" in text
    assert "No two methods were found to disagree" in text
    assert "only its head and its tail" not in text
    for name in ("input", "forget", "output"):
        assert f"{name}: {page.GATE_MEANINGS[name]}" in text
    assert page.GATE_MEANINGS["clock"] not in text


def test_warnings(explanation):
    words = [
        dataclasses.replace(word, effects=word.effects | {"unknown": -word.effects["removed"]})
        for word in explanation.words
    ]
    text = plain(explanation, words=tuple(words), left_out=10)
    assert "Careful: the effects by unknown and by removed disagree (correlation -1.00)." in text
    assert "No two methods" not in text
    assert "The text is too long: 10 words in its middle were left out." in text


def test_a_network_without_gates(explanation):
    words = tuple(dataclasses.replace(word, gates={}) for word in explanation.words)
    changed = dataclasses.replace(explanation, words=words)
    read = Reader(page.reading_page(changed, method="removed"))
    assert read.rows[0] == ["", "so far", "effect", "change of memory"]
    assert {len(row) for row in read.rows[1:]} == {9}
    assert "gates" not in plain(changed).replace("The gates were replayed", "")


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("forget", "forget"),
        ("layer_2_backward_forget", "layer 2 forget ←"),
        ("time_input_1", "time input 1"),
        ("forward_clock_4", "clock 4 →"),
    ],
)
def test_titles_of_gates(name, title):
    assert gate_title(name) == title


def test_long_texts(explanation):
    text = page.reading_page(
        dataclasses.replace(explanation, words=explanation.words * 50), method="removed"
    )
    assert len(Reader(text).words) == 50 * len(explanation.words)


def test_the_command_writes_the_page(explanation, tmp_path, capsys):
    path = tmp_path / "reading.html"
    assert command.main(["--html", str(path), "--method", "unknown", explanation.text]) == 0
    assert capsys.readouterr().err == f"wrote {path}\n"
    assert path.read_text(encoding="utf-8") == page.reading_page(explanation, method="unknown")


def test_unknown_method(explanation):
    with pytest.raises(ValueError, match=r"^`method` must be one of .*\. Received: 'running'$"):
        page.reading_page(explanation, method="running")
