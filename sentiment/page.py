"""One HTML page that shows how a network read a text: coloured words, their numbers, the checks.

The page needs no script, no network and no other file.
"""

from collections.abc import Iterator
from html import escape
from string import Template

from sentiment.explanation import (
    ARROWS,
    DISAGREEMENT,
    LEAST_EFFECT,
    METHODS,
    Explanation,
    WordReading,
    capitalised,
    check_method,
    checks,
    disagreements,
    gate_title,
    target_name,
    verdict,
)

# As in the pictures (`plots.BLUE`, `plots.VERMILION`), red, green and blue.
TOWARD, AWAY = (0, 114, 178), (213, 94, 0)
# Text and paper, light and dark: readable on the strongest colour, a contrast of at least 4.5.
LIGHT, DARK = ("#111111", "#ffffff"), ("#f4f4f4", "#14171a")
LEVELS = 4  # of colour
STRONGEST = 0.8  # share of the colour in the highest level; the rest is paper
RUNNING = "running"  # stands beside the methods in the choice of what to colour by

METHOD_MEANINGS = {
    "removed": "the answer minus the answer to the text without the word",
    "unknown": "the answer minus the answer with an unknown word in its place",
    "gradients": "integrated gradients along the way from unknown words to the text’s",
}
# Part of a gate's name → what it says.
GATE_MEANINGS = {
    "input": "how much is written to the memory",
    "forget": "how much of the memory is kept",
    "output": "how much of the memory is shown",
    "update": "how much of the memory is kept",
    "reset": "how much of the past is seen",
    "depth_2": "how much comes from the memory of the layer below",
    "time_": "along the text",
    "depth_input": "up the layers",
    "clock": "1 where the units with this period tick, else 0",
    "attention": "share of the word in what the answer is made from",
}

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="answer">$answer</p>
<p>$verdict</p>
<fieldset>
<legend>Colour the words by</legend>
$choices
<p class="text">
$words
</p>
</fieldset>
<p class="key">$key</p>
<h2>All numbers</h2>
<div class="wide" role="region" aria-label="All numbers" tabindex="0">
<table>
<thead>
$head
</thead>
<tbody>
$rows
</tbody>
</table>
</div>
<h2>What the columns mean</h2>
<dl>
$meanings
</dl>
<h2>Checks</h2>
<ul>
$checks
</ul>
</main>
</body>
</html>
""")

STYLE = Template("""
:root { --ink: $ink; --paper: $paper; --line: #8a8a8a; --card: #f0f2f4; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: $dark_ink; --paper: $dark_paper; --card: #252a30; }
}
html { scroll-padding-bottom: 14rem; }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: auto; padding: 1rem 1rem 14rem; }
h1 { margin: 0; }
h2 { margin: 2rem 0 .5rem; font-size: 1.2rem; }
.answer { margin-top: 0; font-size: 1.1rem; }
fieldset { margin: 1rem 0; padding: .5rem 1rem; border: 1px solid var(--line);
  border-radius: .3rem; min-width: 0; }
label { margin-right: 1rem; white-space: nowrap; }
.text { margin: 1rem 0; font-size: 1.25rem; line-height: 2.2; overflow-wrap: anywhere; }
.word { padding: .1em .2em; border-radius: .2em; text-underline-offset: .25em; cursor: default; }
.word::after { content: var(--mark, ""); font-size: .7em; vertical-align: super; }
.word:hover, .word:focus { outline: 2px solid var(--ink); }
.oov { border: 1px dotted var(--ink); font-style: italic; }
.card { display: none; position: fixed; z-index: 1; inset: auto 0 0; margin: auto;
  max-width: 45rem; padding: .6rem 1rem; border: 1px solid var(--line); background: var(--card);
  font: 1rem/1.5 system-ui, sans-serif; white-space: pre-line; pointer-events: none; }
.word:hover .card, .word:focus .card { display: block; }
.word:hover .card { z-index: 2; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .5rem; text-align: right; white-space: nowrap; font-weight: normal; }
thead th { font-weight: bold; border-bottom: 1px solid var(--line); }
[scope="colgroup"], .name { text-align: left; }
tbody tr:hover { background: var(--card); }
tbody .name { position: sticky; left: 0; background: var(--paper); }
.start { border-left: 1px solid var(--line); }
.key, dl, ul { font-size: .95rem; }
dt { font-weight: bold; }
dd { margin: 0 0 .5rem 1.5rem; }
@media (max-width: 40rem) { label::after { content: "\\A"; white-space: pre; } }
@media print {
  main { padding: 0; max-width: none; }
  .card { display: none !important; }
  .word { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .wide { overflow: visible; }
  table { font-size: 6.5pt; }
  th, td { padding: 0 .2rem; white-space: normal; }
}
$levels
""")


def reading_page(explanation: Explanation, *, method: str) -> str:
    """Write the page.

    Args:
        explanation: of a text of any length.
        method: whose effects colour the words at first; the others are a click away.

    Returns:
        A whole HTML document.

    Raises:
        ExplanationError: no method has this name.
    """
    check_method(method)
    return PAGE.substitute(
        title=escape(capitalised(explanation.label)),
        style=_style(),
        answer=escape(_answer(explanation)),
        verdict=escape(verdict(explanation, method)),
        choices="\n".join(_choices(explanation, method)),
        words="\n".join(_words(explanation)),
        key=escape(_key(explanation)),
        head="\n".join(_head(explanation)),
        rows="\n".join(_rows(explanation)),
        meanings="\n".join(
            f"<dt>{escape(name)}</dt>\n<dd>{escape(text)}</dd>"
            for name, text in _meanings(explanation)
        ),
        checks="\n".join(f"<li>{escape(text)}</li>" for text in _checks(explanation)),
    )


def _style() -> str:
    rules = []
    for sign, colour, line, mark in ((1, TOWARD, "solid", "+"), (-1, AWAY, "dotted", "−")):
        for level in range(1, LEVELS + 1):
            chosen = ", ".join(
                f'#by-{way}:checked ~ .text [data-{way}="{sign * level}"]'
                for way in (*METHODS, RUNNING)
            )
            red, green, blue = colour
            rules.append(
                f"{chosen} {{ background: rgb({red} {green} {blue} / "
                f'{STRONGEST * level / LEVELS:.0%}); --mark: "{mark}"; '
                f"text-decoration: underline {line} {1 + level / 2}px; }}"
            )
    return STYLE.substitute(
        ink=LIGHT[0],
        paper=LIGHT[1],
        dark_ink=DARK[0],
        dark_paper=DARK[1],
        levels="\n".join(rules),
    ).strip()


def _answer(explanation: Explanation) -> str:
    parts = [f"{label} {share:.1%}" for label, share in explanation.probabilities.items()]
    if explanation.score is not None:
        parts.append(f"score {_signed(explanation.score)} (−1 lowest, +1 highest)")
    return ", ".join(parts)


def _choices(explanation: Explanation, method: str) -> Iterator[str]:
    for way in (*METHODS, RUNNING):
        checked = " checked" if way == method else ""
        title = f"{_running_name(explanation)} so far" if way == RUNNING else f"effect, {way}"
        yield (
            f'<input type="radio" name="by" id="by-{way}"{checked}>'
            f'<label for="by-{way}"> {escape(title)}</label>'
        )


def _words(explanation: Explanation) -> Iterator[str]:
    scales = {m: max(LEAST_EFFECT, abs(explanation.effects(m)).max()) for m in METHODS}
    words = explanation.words
    for word, before in zip(words, (words[0], *words), strict=False):
        number = word.position
        if number > before.position + 1:
            yield f"<span>… {explanation.left_out:,} words left out …</span>"
        shares = {m: word.effects[m] / scale for m, scale in scales.items()}
        shares[RUNNING] = _running(explanation, word)
        levels = " ".join(f'data-{way}="{round(LEVELS * x)}"' for way, x in shares.items())
        yield (
            f'<span class="word{"" if word.known else " oov"}" dir="auto" tabindex="0" '
            f'aria-describedby="word-{number}" {levels}>{escape(word.word)}'
            f'<span class="card" dir="ltr" role="tooltip" id="word-{number}">'
            f"{escape(_card(explanation, word))}</span></span>"
        )


def _card(explanation: Explanation, word: WordReading) -> str:
    known = "" if word.known else ", not in the vocabulary"
    running = f"{_running_name(explanation)} {_running_number(explanation, word)}"
    groups = {
        "effect": [f"{name} {_signed(value)}" for name, value in word.effects.items()],
        "gates, mean": [f"{gate_title(name)} {value:.2f}" for name, value in word.gates.items()],
        "change of memory": [
            f"{gate_title(name)} {value:.2f}" for name, value in word.memory_change.items()
        ],
    }
    return "\n".join(
        [
            # isolated: it may read from the right
            f"{word.position}. \u2068{word.word}\u2069{known}",
            f"so far: {word.label}, {running}",
            *(f"{name}: {', '.join(values)}" for name, values in groups.items() if values),
        ]
    )


def _key(explanation: Explanation) -> str:
    target = target_name(explanation)
    return (
        f"Blue, + and a solid line: raises {target}. Orange, − and a dotted line: lowers {target}. "
        "The stronger the colour, the larger the number; an effect is compared with the text’s "
        "largest. In a dotted frame: not in the vocabulary. Point at a word, touch it or go to "
        "it with the tab key for its numbers."
    )


def _head(explanation: Explanation) -> Iterator[str]:
    """Two rows: groups of columns, and columns."""
    first = explanation.words[0]
    groups = {
        "so far": ["label", _running_name(explanation)],
        "effect": list(first.effects),
        "gates, mean": [gate_title(name) for name in first.gates],
        "change of memory": [gate_title(name) for name in first.memory_change],
    }
    groups = {name: columns for name, columns in groups.items() if columns}
    spans = "".join(
        f'<th class="start" colspan="{len(columns)}" scope="colgroup">{name}</th>'
        for name, columns in groups.items()
    )
    yield f'<tr><th colspan="2"></th>{spans}</tr>'
    cells = "".join(
        f'<th{_start(place)} scope="col">{escape(column)}</th>'
        for columns in groups.values()
        for place, column in enumerate(columns)
    )
    yield f'<tr><th scope="col">#</th><th class="name" scope="col">word</th>{cells}</tr>'


def _rows(explanation: Explanation) -> Iterator[str]:
    for word in explanation.words:
        groups = [
            [word.label, _running_number(explanation, word)],
            [_signed(value) for value in word.effects.values()],
            [f"{value:.2f}" for value in word.gates.values()],
            [f"{value:.2f}" for value in word.memory_change.values()],
        ]
        cells = "".join(
            f"<td{_start(place)}>{escape(text)}</td>"
            for group in groups
            for place, text in enumerate(group)
        )
        name = f"<bdi>{escape(word.word)}</bdi>{'' if word.known else ' (unknown)'}"
        yield f'<tr><td>{word.position}</td><th class="name" scope="row">{name}</th>{cells}</tr>'


def _start(place: int) -> str:
    return "" if place else ' class="start"'


def _meanings(explanation: Explanation) -> Iterator[tuple[str, str]]:
    first = explanation.words[0]
    yield (
        "so far",
        f"The answer if the text ended at this word: label and {_running_name(explanation)}.",
    )
    methods = "; ".join(f"{name}: {METHOD_MEANINGS[name]}" for name in METHODS)
    yield (
        "effect",
        f"What the word adds to {target_name(explanation)}, by three methods. {methods}.",
    )
    gates = "; ".join(
        f"{part.strip('_').replace('_', ' ')}: {meaning}"
        for part, meaning in GATE_MEANINGS.items()
        if any(part in name for name in first.gates)
    )
    if gates:
        yield "gates, mean", f"Means over the units, 0 closed to 1 open. {gates}."
    ways = ", ".join(f"{ARROWS[way]} while reading {way}" for way in first.memory_change)
    yield (
        "change of memory",
        f"How much the word changed the top layer’s memory: mean absolute change of a unit, "
        f"{ways}.",
    )


def _checks(explanation: Explanation) -> Iterator[str]:
    yield from (sentence.replace("'", "’") for sentence in checks(explanation))
    if not disagreements(explanation):
        yield f"No two methods were found to disagree (correlation below {DISAGREEMENT})."


def _running(explanation: Explanation, word: WordReading) -> float:
    """The score so far, or where labels have no order the probability of the final label."""
    return word.probabilities[explanation.label] if word.score is None else word.score


def _running_number(explanation: Explanation, word: WordReading) -> str:
    value = _running(explanation, word)
    return f"{value:.2f}" if word.score is None else _signed(value)


def _running_name(explanation: Explanation) -> str:
    return "score" if explanation.score is not None else f"probability of {explanation.label}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
