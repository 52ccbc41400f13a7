"""What a model makes of negation, contrast, typos and the like: behaviour tests.

Each capability has cases that were written for it.  They are there to measure with: nothing may be
trained on them.  There are three kinds:

    MFT  minimum functionality: one text, whose label any reader would agree on
    INV  invariance: a text and changed versions that mean the same
    DIR  direction: a text and changed versions that say more, or less, of the same

Source: Ribeiro et al., "Beyond accuracy: behavioral testing of NLP models with CheckList" (2020),
the kinds of test and the idea of templates.  Templates, words and sentences are this package's own.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sentiment.metrics import POLARITIES, polarities

if TYPE_CHECKING:
    from sentiment.predictor import Predictor

# Of scores from −1 to 1; for two labels, 0.1 and 0.05 of probability.  Words that mean the same
# need not weigh exactly the same, hence a tenth of the range.  A move in the wrong direction has no
# such excuse; half as much lets a score near ±1, which can hardly grow, vary a little.
INV_TOLERANCE = 0.2
DIR_TOLERANCE = 0.1
EXAMPLES = 3  # failed cases that a result shows

ALLOWED = {  # MFT: what is expected → the polarities that meet it
    "negative": {-1},
    "neutral": {0},
    "positive": {1},
    "not negative": {0, 1},
    "not positive": {-1, 0},
}
AGAINST = {  # INV and DIR: what is expected → how far moves of the score go against it
    "same": np.abs,
    "not lower": np.negative,
    "not higher": np.positive,
}


@dataclass(frozen=True)
class Case:
    """One test.

    Attributes:
        texts: the text; of INV and DIR, the text as it was and then its changed versions.
        expected: a key of `ALLOWED` or `AGAINST`.
    """

    texts: tuple[str, ...]
    expected: str


@dataclass(frozen=True)
class Capability:
    """Something that a model should be able to do, as frames that cases are made from.

    In a frame `{a|b|c}` is a list of words, `{name}` an entry of `WORDS`; a frame gives as many
    cases as its longest list has entries.  `[film→movie]` and `[→very ]` are changes: the first is
    what the original has, each of the others makes a changed version.

    Attributes:
        kind: `"MFT"`, `"INV"` or `"DIR"`.
        frames: what is expected → frames.
        changes: functions that make a changed version of a whole text.
    """

    kind: str
    frames: Mapping[str, tuple[str, ...]]
    changes: tuple[Callable[[str], str], ...] = ()

    def cases(self) -> list[Case]:
        """All cases, the same in every run."""
        frames = [(frame, expected) for expected, them in self.frames.items() for frame in them]
        return [
            Case((*texts, *(change(texts[0]) for change in self.changes)), expected)
            for number, (frame, expected) in enumerate(frames)
            for texts in expand(frame, number)
        ]


@dataclass(frozen=True)
class Failure:
    """A case that failed.

    Attributes:
        texts: the text; of INV and DIR, the original and the version that strays furthest.
        expected: what was expected.
        polarities: of the answers: negative, neutral or positive.
        scores: of the answers, from −1 to 1.
    """

    texts: tuple[str, ...]
    expected: str
    polarities: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class CapabilityResult:
    """How a model did in one capability.

    Attributes:
        kind: `"MFT"`, `"INV"` or `"DIR"`.
        cases: number of cases.
        failures: number of cases that failed.
        failure_rate: failures / cases.
        examples: some of the failed cases, from all over the capability.
    """

    kind: str
    cases: int
    failures: int
    failure_rate: float
    examples: tuple[Failure, ...]


@dataclass(frozen=True)
class BehaviourReport:
    """What `measure_behaviour` found.

    Attributes:
        reading: how the model's answers were read as negative, neutral or positive.
        capabilities: name → result, in the order of `CAPABILITIES`.
        mean_failure_rate: mean of the capabilities' failure rates.
    """

    reading: str
    capabilities: dict[str, CapabilityResult]
    mean_failure_rate: float


def expand(frame: str, number: int = 0) -> list[tuple[str, ...]]:
    """The texts of a frame's cases.

    All lists are walked at once, the short ones again from their start.  Those after the first
    start at different words in different frames, so that not the same words always meet.

    >>> expand("It is [→very ]{good|bad}.")
    [('It is good.', 'It is very good.'), ('It is bad.', 'It is very bad.')]

    Args:
        frame: see `Capability`.
        number: of the frame in its capability.

    Returns:
        For each case the original and its changed versions.

    Raises:
        KeyError: `WORDS` has no entry of a name that the frame gives.
    """
    lists = [
        (slot if "|" in slot else WORDS[slot]).split("|") for slot in re.findall(r"{(.*?)}", frame)
    ]
    filled = []
    for i in range(max(map(len, lists), default=1)):
        words = iter([them[(i + k * number) % len(them)] for k, them in enumerate(lists)])
        filled.append(re.sub(r"{.*?}", lambda _, words=words: next(words), frame))
    return [_versions(text) for text in filled]


def _versions(text: str) -> tuple[str, ...]:
    """Original and changed versions; a change with fewer versions than another keeps its last."""
    changes = [found.split("→") for found in re.findall(r"\[(.*?)\]", text)]
    made = []
    for i in range(max(map(len, changes), default=1)):
        pieces = iter([them[min(i, len(them) - 1)] for them in changes])
        made.append(re.sub(r"\[.*?\]", lambda _, pieces=pieces: next(pieces), text))
    return tuple(made)


def measure_behaviour(predictor: "Predictor") -> BehaviourReport:
    """Count the cases of each capability that a model fails.

    An MFT case fails where the answer's polarity is none that is allowed.  An INV case fails where
    a changed version has a score more than `INV_TOLERANCE` away or another polarity, however near
    the scores, since a person sees another label.  A DIR case fails where the score of a changed
    version moves more than `DIR_TOLERANCE` in the direction that is not expected.

    Args:
        predictor: the model.

    Raises:
        ValueError: the model's labels have no order.
    """
    values = predictor.manifest.label_values
    if values is None:
        raise ValueError(
            "Behaviour tests need a model whose labels have an order, such as negative and "
            f"positive, or 1 to 5. Received one with: {', '.join(predictor.labels)}."
        )
    tests = {name: capability.cases() for name, capability in CAPABILITIES.items()}
    texts = [text for cases in tests.values() for case in cases for text in case.texts]
    answers = predictor.answers(texts)
    by_label = dict(zip(predictor.labels, values, strict=True))
    found = polarities(by_label, answers.labels, answers.scores)
    results, start = {}, 0
    for name, cases in tests.items():
        failures = []
        for case in cases:
            part = slice(start, start := start + len(case.texts))
            failures.append(_failure(case, found[part], answers.scores[part]))
        failed = [failure for failure in failures if failure is not None]
        results[name] = CapabilityResult(
            CAPABILITIES[name].kind,
            len(cases),
            len(failed),
            len(failed) / len(cases),
            tuple(failed[:: max(1, len(failed) // EXAMPLES)][:EXAMPLES]),
        )
    mean = sum(result.failure_rate for result in results.values()) / len(results)
    return BehaviourReport(_reading(by_label), results, mean)


def _reading(values: Mapping[str, float]) -> str:
    """How `polarities` reads the answers of a model with these labels, for people."""
    if set(values.values()) == {-1.0, 0.0, 1.0}:
        return "by their labels"
    if len(values) == 2:
        best = max(values, key=values.__getitem__)
        return f"as neutral where the probability of {best} is from 1/3 to 2/3"
    return "as neutral where their scores are from −1/3 to 1/3"


def _failure(case: Case, found: np.ndarray, scores: np.ndarray) -> Failure | None:
    if case.expected in ALLOWED:
        shown = [0]
        failed = found[0] not in ALLOWED[case.expected]
    else:
        against = AGAINST[case.expected](scores[1:] - scores[0])
        if case.expected == "same":
            wrong = (against > INV_TOLERANCE) | (found[1:] != found[0])
        else:
            wrong = against > DIR_TOLERANCE
        shown = [0, 1 + int(np.where(wrong, against, -np.inf).argmax())]
        failed = wrong.any()
    if not failed:
        return None
    return Failure(
        tuple(case.texts[i] for i in shown),
        case.expected,
        tuple(POLARITIES[int(found[i])] for i in shown),
        tuple(float(scores[i]) for i in shown),
    )


WORDS = {
    # ------------------------------------------------------------------- what reviews are about
    "thing": "film|book|hotel|restaurant|app|camera|series",
    "regular": "app|series|restaurant|hotel|game|café|magazine|bar|show|website",
    "story": "film|novel|play|series|musical|thriller|comedy|show|story|sequel",
    "part": "acting|food|ending|breakfast|soundtrack|garden|service|dialogue|dessert|view",
    "many": "films|books|hotels|restaurants|apps|games|albums|cameras",
    "any": "film|book|hotel|restaurant|app|game|album|camera",
    "goods": "book|game|album|camera|kettle|rucksack|lamp|watch",
    "hotel part": "breakfast|service|food|view|garden|pool|bar|sauna",
    "relative": "sister|brother|wife|husband|mother|father|neighbour|colleague|cousin|daughter",
    # ------------------------------------------------------------------------- strong words
    "good": "good|great|excellent|wonderful|fantastic|brilliant|superb|amazing|lovely|terrific",
    "a good": "a good|a great|an excellent|a wonderful|a fantastic|a brilliant|a superb"
    "|an amazing|a lovely|a terrific",
    "bad": "bad|terrible|awful|horrible|dreadful|poor|disappointing|appalling|atrocious|abysmal",
    "a bad": "a bad|a terrible|an awful|a horrible|a dreadful|a poor|a disappointing|an appalling"
    "|an atrocious|an abysmal",
    "loved": "loved|adored|really enjoyed",
    "hated": "hated|detested|loathed",
    # ------------------------------------------------- words that *very* and *slightly* go with
    "nice": "good|nice|pleasant|enjoyable|impressive|satisfying|pleasing|appealing|likeable"
    "|worthwhile",
    "a nice": "a good|a nice|a pleasant|an enjoyable|a satisfying|a decent|a likeable"
    "|a worthwhile|a well-made|a respectable",
    "weak": "bad|poor|disappointing|unpleasant|annoying|frustrating|irritating|unimpressive"
    "|unsatisfying|unappealing",
    # ------------------------------------------------------------------------- mild words
    "fairly good": "decent|pretty good|quite nice|fairly enjoyable|reasonably good|likeable enough"
    "|good enough for me|rather pleasant|quite good|fairly pleasant",
    "a fairly good": "a decent|a pleasant|a likeable|a perfectly decent|a respectable"
    "|a reasonably good|a fairly good|a pretty good|an enjoyable enough|a nice enough",
    "middling": "neither good nor bad|okay|average|middling|neither great nor terrible"
    "|average in every way|about average|okay, no more and no less|neither wonderful nor awful"
    "|neither better nor worse than most",
    "rather weak": "a bit dull|slightly disappointing|rather weak|mediocre|a little boring"
    "|somewhat tiresome|a bit of a letdown|rather forgettable|a little too long"
    "|not quite what I had hoped for",
    # ------------------------------------------------------------------------- whole reviews
    "praise": "Beautiful camerawork and a moving ending.|Friendly staff and a delicious breakfast."
    "|Funny, warm and clever from the first page to the last.|Easy to use, fast and reliable."
    "|The soup was delicious and the bread was fresh.|A gripping story, superbly told."
    "|Comfortable beds, spotless bathroom, helpful people at the desk."
    "|Sharp pictures and a wonderful screen.|Charming songs and a marvellous cast."
    "|Our favourite place in town: cosy, cheerful and tasty.",
    "blame": "Wooden acting and a stupid ending.|Rude staff and a disgusting breakfast."
    "|Dull, cold and confusing from the first page to the last.|Hard to use, slow and unreliable."
    "|The soup was tasteless and the bread was stale.|A boring story, badly told."
    "|Uncomfortable beds, filthy bathroom, unfriendly people at the desk."
    "|Blurred pictures and a dreadful screen.|Annoying songs and an awful cast."
    "|The nastiest place in town: dirty, gloomy and tasteless.",
    # ------------------------------------------------------------------------- facts
    "film fact": "runs for two hours|was shot in Norway|came out in March|is set in the 1960s"
    "|has two directors|begins on a train|is the third in the series|was shown in two cinemas here"
    "|is based on a novel|has Spanish subtitles",
    "hotel fact": "has sixty rooms|is next to the station|was built in 1988|has five floors"
    "|belongs to a chain|serves breakfast from seven to ten|has a car park behind it"
    "|is on Station Road|takes cards and cash|has single and double rooms",
    "restaurant fact": "opens at six|seats forty people|is on the second floor|has a set lunch menu"
    "|takes bookings by telephone|has a bar near the door|serves fish on Fridays"
    "|has eight tables outside|opened last autumn|is run by two brothers",
    "book fact": "has three hundred pages|was published in May|is set in Lisbon"
    "|is told by two people|comes in hardback and paperback|was translated from Polish"
    "|has twelve chapters|is the author's second|begins in 1911|is about a family of bakers",
    "app fact": "runs on phones and tablets|has a menu on the left|was updated in June"
    "|comes in four languages|asks for an e-mail address|shows the date at the top"
    "|stores files in a folder|needs forty megabytes|has a light and a dark theme"
    "|sends one message a week",
    "camera fact": "weighs 400 grams|comes with a strap|has two slots for cards"
    "|was made in 2019|uses one battery|is sold in black and in silver|has a three-inch screen"
    "|charges through a cable|came in a brown box|has a button on the left side",
    "no film fact": "was not shot in Norway|is not set in the present|is not based on a novel"
    "|was not made for television|isn't in English|didn't come out last year"
    "|is not the first in the series|doesn't take place in winter|has no narrator|isn't in colour",
    "no hotel fact": "does not belong to a chain|isn't on Station Road|was not built in the 1980s"
    "|is not on the island|is not named after a saint|isn't one of the three on the square"
    "|has no thirteenth floor|did not open this year|isn't in the north of the town"
    "|is not run by the owner's son",
    "no book fact": "is not set in Lisbon|was not published in May|isn't told by one person"
    "|is not the author's first|doesn't have a prologue|isn't about the war|has no pictures"
    "|does not begin in 1911|was not written in English|isn't divided into chapters",
    "no app fact": "was not updated in June|isn't made by a large company|doesn't use a map"
    "|is not connected to the website|is not written for children|is not a game"
    "|didn't exist before 2020|isn't the one my sister uses|doesn't show the time at the top"
    "|is not named after its maker",
    "no restaurant fact": "does not open before six|isn't on the second floor"
    "|isn't next to the cinema|is not part of the hotel|doesn't serve fish on Mondays"
    "|wasn't there two years ago|is not run by a family|did not open last autumn"
    "|isn't on the square|does not have a bar near the door",
    "deed": "watched the film on Tuesday|read the book on a train|ordered the soup and a salad"
    "|stayed for two nights|installed the app in May|bought the camera in a shop in Leeds"
    "|saw the play with my cousin|borrowed the novel from the library|took the room on the left"
    "|paid by card",
    # ------------------------------------------------------------------------- contrast
    "fault": "the queue was long|the room was small|the first chapter is slow|the cover is ugly"
    "|the seats were hard|the menu is short|the trailer looked silly|the plot is thin"
    "|the manual is confusing|the street was noisy",
    "merit": "the music was nice|the room was clean|the first chapter is good|the cover is pretty"
    "|the seats were comfortable|the menu looked tempting|the trailer looked funny"
    "|the idea is clever|the manual is helpful|the street was quiet",
    "faults": "its small faults|a slow start|the high price|a few weak moments|some rough edges"
    "|a clumsy beginning|its odd colours|one or two mistakes|its silly name|the long wait",
    "merits": "its good reputation|a promising start|the low price|a few nice moments"
    "|some clever ideas|a pleasant beginning|its clever name|one or two good moments"
    "|its pretty colours|all the praise",
    # ------------------------------------------------------------------------- answers
    "again": "watch it again|buy it again|stay there again|eat there again|read it again"
    "|order it again|go there again|recommend it to a friend|give it to a friend"
    "|pay for it again",
    "worth": "the price|your time|the long drive|a second look|the wait|the money|an evening"
    "|the trouble|a weekend|the ticket",
    "no": "No|Not at all|Certainly not|Not in the least|No, I didn't",
    "yes": "Yes|Very much|Certainly|Yes, a lot|Yes, I did",
    "wrote": "the papers wrote|I had heard|the posters promise|my friends told me"
    "|the adverts claim|was said on the radio|I had read about it",
    "after": "two evenings|three visits|a whole week|a month|four long hours|a second try"
    "|nearly a year",
    "good for nothing": "good|nice|likeable|enjoyable|clever|interesting|worthwhile|pleasant"
    "|impressive|appealing",
    # ------------------------------------------------------------------------- comparison
    "than others": "any other I know|all the others I tried|everything else I know"
    "|anything else here|its rivals|anyone had told me|all the rest|what the others offer"
    "|most|its competitors",
    "seen better": "seen a better film|read a better book|stayed in a better hotel"
    "|eaten a better meal|used a better app|owned a better camera|heard a better album"
    "|had a better waiter|played a better game|slept in a better bed",
    "seen worse": "seen a worse film|read a worse book|stayed in a worse hotel"
    "|eaten a worse meal|used a worse app|owned a worse camera|heard a worse album"
    "|had a worse waiter|played a worse game|slept in a worse bed",
    "school play": "seen better school plays|had better meals on trains|slept better in a tent"
    "|read better stories on cereal boxes|heard better singing in the shower"
    "|seen better apps on old phones|taken better pictures with a toy"
    "|drunk better coffee from a machine|met friendlier parking wardens"
    "|seen better acting in adverts",
    "chore": "wash the car|queue at the post office|clean the oven|iron shirts|weed the garden"
    "|watch paint dry|fill in tax forms|sit at a bus stop|scrub the floor|sort old socks",
    # ------------------------------------------------------------------------- unreal
    "repair": "the sound had worked|someone had read the script|the cook had tasted it"
    "|the rooms had been cleaned|it had worked|the author had had an editor"
    "|the staff had cared|they had finished it|it had been half as long|anyone had tested it",
    "other": "a bit more effort|a little more care|better ideas|more thought|another year of work"
    "|a clearer idea behind it|a little more patience|less haste|fewer mistakes|a bit more love",
    # ------------------------------------------------------------------------- deeds as verdicts
    "walked out": "walked out after twenty minutes|sent the food back twice"
    "|checked out a day early and found another hotel|sent it back the same week"
    "|deleted it after five minutes|gave up on page thirty|asked for our money back"
    "|switched it off before the end|fell asleep twice before the end"
    "|threw it in the bin",
    "came back": "have booked again for next summer|stayed until the credits ended and clapped"
    "|asked the cook for the recipe|read it in one night|bought a second one for my parents"
    "|have seen it four times already|gave copies of it to all our friends"
    "|use it every day and tell everyone about it|went back the next evening for more"
    "|left a large tip",
    "sick": "was sick all night after the mussels|found mould in the shower"
    "|had to sleep in the car|lost all my photos|looked at my watch every five minutes"
    "|found a hair in the soup|waited two hours for cold chips|had bed bugs on the second night"
    "|skipped most of the chapters|was charged twice and never got an answer",
    "hooked": "laughed until I cried|missed my stop because I was reading it"
    "|did not want to leave|cleaned my plate and asked for more|could have watched it all night"
    "|slept better than I do at home|have told all my friends to go"
    "|hummed the songs all the way home|bought the sequel the same day|read it twice in a week",
    "warning": "Save your money.|Stay away.|Do not waste your time.|Don't bother.|Avoid it."
    "|Keep your receipt, you will need it.|Pick any other.|Stay at home instead."
    "|Spend your money elsewhere.|Never again.",
    "advice": "Go and see for yourself, you will thank me.|Book early, it is full for a reason."
    "|Buy two, your friends will want one.|Do not miss it.|Treat yourself.|Get it today."
    "|You have to try it.|Take your friends along.|Bring a big appetite, it's worth it."
    "|Clear your evening, you won't want to stop.",
    # ------------------------------------------------------------------------- ratings, sayings
    "top mark": "five stars out of five|ten out of ten|9/10|10/10|nine out of ten|5/5"
    "|all five stars|full marks|the highest mark|an A plus",
    "low mark": "one star out of five|one out of ten|1/10|2/10|two out of ten|0/5"
    "|zero stars|no marks at all|the lowest mark|an F",
    "good saying": "a breath of fresh air|worth every penny|a feast for the eyes|a dream come true"
    "|right up my street|a labour of love and it shows|a hidden gem|second to none"
    "|in a class of its own|everything I could have asked for",
    "bad saying": "a complete waste of time|money down the drain|a slap in the face"
    "|a total train wreck|a bad joke|a pain in the neck|an insult to the customer"
    "|as dull as dishwater|scraping the bottom of the barrel|good for nothing",
    "good mood": "on the edge of my seat|over the moon|in stitches|hooked from the start"
    "|lost for words, in the best way|smiling from ear to ear|glued to it"
    "|blown away|all ears from the first minute|in seventh heaven",
    "bad mood": "bored to tears|sick to my stomach|fed up|at the end of my patience"
    "|tearing my hair out|ready to scream|bored stiff|bored out of my mind"
    "|sick and tired of it|itching to leave",
    # ------------------------------------------------------------------------- changes
    "misspelt good": "[great→graet]|[excellent→excelent]|[wonderful→wonderfull]"
    "|[fantastic→fantastc]|[brilliant→briliant]|[superb→supurb]|[amazing→amazng]|[lovely→lovley]"
    "|[terrific→terriffic]|[delightful→delightfull]",
    "misspelt bad": "[terrible→terible]|[awful→awfull]|[horrible→horible]|[dreadful→dreadfull]"
    "|[disappointing→dissapointing]|[appalling→apalling]|[atrocious→atrocius]"
    "|[abysmal→abismal]|[pathetic→pathetc]|[boring→borring]",
    "same good": "[excellent→superb→outstanding]|[great→terrific→fantastic]"
    "|[wonderful→marvellous→fabulous]|[amazing→astonishingly good→incredible]"
    "|[delightful→charming→lovely]|[brilliant→superb→excellent]|[perfect→flawless→faultless]"
    "|[magnificent→splendid→glorious]",
    "same bad": "[awful→terrible→dreadful]|[horrible→horrid→hideous]"
    "|[disappointing→a disappointment→a letdown]|[appalling→atrocious→abysmal]"
    "|[pathetic→pitiful→lamentable]|[very bad→really bad→very poor]|[a disaster→a catastrophe]"
    "|[dreadful→ghastly→frightful]",
    "filler": "I am writing this on a Tuesday.|My brother came along.|This is my first review here."
    "|I live ten minutes from the station.|The receipt is dated 4 May.|I am forty-two years old."
    "|I heard of it from a colleague.|There were three of us.",
    "more filler": "I write these on my phone. My cousin is a teacher. We had a Thursday off."
    "|It was in the second week of June. I took the bus. My sister took her bicycle."
    "|I work in an office. My desk is by the window. On Mondays I start at nine."
    "|My street has twelve houses. Ours is by the bridge. It was a Saturday.",
    "mixed base": "The first half was slow.|The room was small and the street was quiet."
    "|The plot is simple.|I would call it okay.|The colours are bright.|We waited for a while."
    "|Some scenes worked and some did not.|The menu is short.|It is about average."
    "|The cover shows a boat.",
    "add good": "I loved it.|It was excellent.|I recommend it to everyone."
    "|It is a joy from start to finish.|I had a wonderful time.|It made me very happy."
    "|It was a delight.|It is a masterpiece.|I enjoyed every minute.|Simply brilliant.",
    "add bad": "I hated it.|It was terrible.|I would not recommend it to anyone."
    "|It is a mess from start to finish.|I had a horrible time.|It made me very angry."
    "|It was a disaster.|It is a disgrace.|I regret every minute.|Simply dreadful.",
}  # fmt: skip

# Clear verdicts that say the same after a change: four good, four bad.
VERDICTS = (
    "This is one of the best {many} I know.",
    "I was delighted with this {any}.",
    "The whole family loved the {any}, and so did I.",
    "It is a wonderful {any} and I am very happy with it.",
    "This is one of the worst {many} I know.",
    "I was deeply disappointed by this {any}.",
    "The {any} was a complete waste of money.",
    "It is a terrible {any} and I regret paying for it.",
)

CAPABILITIES = {
    "positive words": Capability(
        "MFT",
        {
            "positive": (
                "The {thing} was {good}.",
                "This is {a good} {thing}.",
                "What {a good} {thing}!",
                "I {loved} the {part}.",
                "Everything about this {thing} is {good}.",
                "{praise}",
            )
        },
    ),
    "negative words": Capability(
        "MFT",
        {
            "negative": (
                "The {thing} was {bad}.",
                "This is {a bad} {thing}.",
                "What {a bad} {thing}!",
                "I {hated} the {part}.",
                "Everything about this {thing} is {bad}.",
                "{blame}",
            )
        },
    ),
    "neutral facts": Capability(
        "MFT",
        {
            "neutral": (
                "The film {film fact}.",
                "The hotel {hotel fact}.",
                "The restaurant {restaurant fact}.",
                "The book {book fact}.",
                "The app {app fact}.",
                "The camera {camera fact}.",
                "I {deed}.",
            )
        },
    ),
    "mild words": Capability(
        "MFT",
        {
            "not negative": (
                "The {thing} was {fairly good}.",
                "On the whole it is {a fairly good} {thing}.",
            ),
            "neutral": (
                "The {thing} was {middling}.",
                "All in all I would call this {thing} {middling}.",
            ),
            "not positive": (
                "The {story} was {rather weak}.",
                "To be honest, I found the {story} {rather weak}.",
            ),
        },
    ),
    "negated positive": Capability(
        "MFT",
        {
            "negative": (
                "This is not {a nice} {thing}.",
                "The {thing} was not {nice} at all.",
                "I did not like the {part}.",
                "There is nothing {good for nothing} about this {thing}.",
                "It isn't worth {worth}.",
            ),
            "not positive": (
                "The {thing} wasn't {good}.",
                "I wouldn't call it {a good} {thing}.",
                "Nobody in our group thought the {part} was {good}.",
            ),
        },
    ),
    "negated negative": Capability(
        "MFT",
        {
            "not negative": (
                "The {thing} was not {bad} at all.",
                "This is by no means {a bad} {thing}.",
                "There was nothing wrong with the {part}.",
                "I have no complaints about the {part}.",
                "Nothing about this {regular} {annoyed|bothered|disappointed} me.",
                "The {story} was never {boring|dull|tedious|slow}.",
                "I can't find anything {bad} about the {part}.",
            )
        },
    ),
    "negated neutral": Capability(
        "MFT",
        {
            "neutral": (
                "The film {no film fact}.",
                "The hotel {no hotel fact}.",
                "The book {no book fact}.",
                "The app {no app fact}.",
                "The restaurant {no restaurant fact}.",
            )
        },
    ),
    "negation at the end": Capability(
        "MFT",
        {
            "not positive": (
                "I thought the {thing} would be {good}, but it wasn't.",
                "I expected {a good} {thing}, but this was not one.",
                "They told me that the {thing} was {good}. It isn't.",
                "My {relative} calls it {a good} {story}, which it is not.",
            ),
            "not negative": (
                "I thought the {thing} would be {bad}, but it wasn't.",
                "I expected {a bad} {thing}, but this was not one.",
                "They told me that the {thing} was {bad}. It isn't.",
                "My {relative} calls it {a bad} {story}, which it is not.",
            ),
        },
    ),
    "negation from afar": Capability(
        "MFT",
        {
            "not positive": (
                "I don't think, given all that {wrote}, that the {thing} is {good}.",
                "I can't say, after {after}, that this {thing} is {good}.",
                "It is not, in spite of all that {wrote}, {a good} {thing}.",
                "Not one of the six friends who came with me would call this {thing} {good}.",
            ),
            "not negative": (
                "I don't think, whatever my {relative} may say, that the {thing} is {bad}.",
                "It is not, whatever my {relative} wrote about it, {a bad} {thing}.",
                "I can't say, after {after}, that this {thing} is {bad}.",
            ),
        },
    ),
    "used to, but now": Capability(
        "MFT",
        {
            "negative": (
                "I used to {love|like|enjoy|adore} this {regular}, but now I can't stand it.",
                "The {regular} used to be {good}. Now it is {bad}.",
                "Years ago this was {a good} {regular}; today it is {bad}.",
                "At first I {loved} the {regular}, but by now I am tired of it and annoyed.",
            ),
            "positive": (
                "I used to {hate|dislike|detest|loathe} this {regular}, but now I love it.",
                "The {regular} used to be {bad}. Now it is {good}.",
                "Years ago this was {a bad} {regular}; today it is {good}.",
                "At first I {hated} the {regular}, but by now I am a fan and enjoy it a lot.",
            ),
        },
    ),
    "contrast": Capability(
        "MFT",
        {
            "positive": (
                "Although {fault}, overall I thought it was {good}.",
                "Overall it was {good}, even though {fault}.",
                "Yes, {fault}, but I {loved} it all the same.",
                "Despite {faults}, I {loved} this {thing}.",
            ),
            "negative": (
                "Although {merit}, overall I thought it was {bad}.",
                "Overall it was {bad}, even though {merit}.",
                "Yes, {merit}, but I {hated} it all the same.",
                "Despite {merits}, I {hated} this {thing}.",
            ),
        },
    ),
    "questions answered": Capability(
        "MFT",
        {
            "negative": (
                "Did I {like|enjoy} the {part}? {no}.",
                "Would I {again}? Never.",
                "Is it worth {worth}? No, it is not.",
            ),
            "not positive": ("Was the {thing} {good}? No.",),
            "positive": (
                "Did I {like|enjoy} the {part}? {yes}.",
                "Would I {again}? Yes, gladly.",
                "Is this {thing} {good}? Yes, it is.",
            ),
            "not negative": ("Was the {thing} {bad}? Not in the least.",),
        },
    ),
    "author against others": Capability(
        "MFT",
        {
            "negative": (
                "My {relative} adored the {story}, but I was bored and annoyed.",
                "The critics call this {thing} {good}. I found it {bad}.",
                "Other people may love this {regular}; I can't stand it.",
            ),
            "not positive": ("Everyone loved the {regular}. I didn't.",),
            "positive": (
                "My {relative} was bored by the {story}, but I loved every minute.",
                "The critics call this {thing} {bad}. I found it {good}.",
                "Other people may hate this {regular}; I love it.",
            ),
            "not negative": ("Everyone hated the {regular}. I didn't.",),
        },
    ),
    "comparisons": Capability(
        "MFT",
        {
            "positive": (
                "This {thing} is far better than {than others}.",
                "I have never {seen better}.",
                "No other {regular} comes close to this one.",
            ),
            "negative": (
                "This {thing} is far worse than {than others}.",
                "I have never {seen worse}.",
                "I have {school play}.",
                "I would rather {chore} than go through this again.",
                "Any other {regular} would have been better.",
            ),
        },
    ),
    "wishes": Capability(
        "MFT",
        {
            "not positive": (
                "I wish the {thing} had been {good}.",
                "It would have been {good} if {repair}.",
                "With {other} this might have been {a good} {thing}.",
                "If only the {part} were {good}!",
                "I had hoped for {a good} {thing}, and I am still hoping.",
                "This should have been {a good} {thing}.",
            )
        },
    ),
    "deeds as verdicts": Capability(
        "MFT",
        {
            "negative": ("We {walked out}.", "I {sick}.", "{warning}"),
            "positive": ("We {came back}.", "I {hooked}.", "{advice}"),
        },
    ),
    "ratings": Capability(
        "MFT",
        {
            "positive": (
                "I give this {thing} {top mark}.",
                "{Score|Rating|My score|My rating}: {10/10|9/10|5/5|5 out of 5|9.5 out of 10}.",
                "The {regular} gets {top mark} from me.",
                "If I could, I would give it more than {five stars|ten points|5 out of 5|10/10}.",
            ),
            "negative": (
                "I give this {thing} {low mark}.",
                "{Score|Rating|My score|My rating}: {1/10|2/10|0/5|1 out of 5|1.5 out of 10}.",
                "The {regular} gets {low mark} from me.",
                "If I could, I would give it less than {one star|one point|1 out of 5|1/10}.",
            ),
        },
    ),
    "sayings": Capability(
        "MFT",
        {
            "positive": (
                "This {thing} is {good saying}.",
                "I was {good mood}.",
                "The {regular}? For me it is {good saying}.",
            ),
            "negative": (
                "This {thing} is {bad saying}.",
                "I was {bad mood}.",
                "The {regular}? For me it is {bad saying}.",
            ),
        },
    ),
    "typos": Capability(
        "INV",
        {
            "same": (
                "The {thing} was {misspelt good}.",
                "I [thought→thougth] that the {thing} was {good}.",
                "We [really→realy] [enjoyed→enjoyd] the {part}.",
                "The {thing} was {misspelt bad}.",
                "I [would→wuold] not [recommend→reccomend] this {regular} to [anyone→anyoen].",
                "In my [opinion→opinon], the {part} was {bad}.",
            )
        },
    ),
    "contractions": Capability(
        "INV",
        {
            "same": (
                "The {thing} [wasn't→was not] {good}.",
                "I [didn't→did not] like the {part}.",
                "[It's→It is] {a good} {thing}.",
                "[I'd→I would] {again} any day.",
                "I [couldn't→could not] find anything {good} about the {part}.",
                "[You'll→You will] love this {regular}. [We've→We have] been fans for years.",
                "[They've→They have] made {a bad} {story}, and [that's→that is] a shame.",
            )
        },
    ),
    "names": Capability(
        "INV",
        {
            "same": (
                "My friend [Anna→Fatima→Kenji→Olu] {loved} the {thing}, and so did I.",
                "[James→Ayşe→Chidi→Mei] and I thought the {thing} was {bad}.",
                "I went with [Lena→Mohammed→Priya→Diego], and we both {hated} the {part}.",
                "[Peter→Kwame→Yuki→Carmen] gave us tickets, and it was {a good} evening.",
                "Our waiter, [Tom→Ahmed→Wei→Juan], was {friendly and quick|kind|a delight|lovely}.",
                "[Emma→Ngozi→Sanjay→Ivan] told me to try it, and I found it {bad}.",
                "Thank you, [Sarah→Leila→Hiroshi→Pedro], for such {a good} dinner!",
            )
        },
    ),
    "places": Capability(
        "INV",
        {
            "same": (
                "We saw the film in [Leeds→Lagos→Osaka→Lima], and it was {good}.",
                "The {story} is set in [Berlin→Nairobi→Seoul→Quito]. I found it {bad}.",
                "We flew in from [Canada→Ghana→India→Chile] and had {a good} week.",
                "The cook is from [France→Turkey→Mexico→Vietnam], and the food is {good}.",
                "I ordered this {goods} from [Spain→Egypt→Japan→Peru], and I regret it.",
                "The {hotel part} at the hotel in [Oslo→Cairo→Mumbai→Bogotá] was {bad}.",
            )
        },
    ),
    "numbers": Capability(
        "INV",
        {
            "same": (
                "We had room [12→47→308], and it was {bad}.",
                "We sat at table [3→8→21], and the food was {good}.",
                "I saw it on [3→14→27] May and thought it was {good}.",
                "I am [28→41→63] years old, and for me this {thing} is {bad}.",
                "There were [four→five→six] of us, and we all {loved} the {part}.",
                "We came with [two→three→four] children, and all of us {hated} the {part}.",
            )
        },
    ),
    "links and handles": Capability(
        "INV",
        {
            "same": tuple(
                f"{verdict}[→ https://reviews.example/4711→ @lena_writes→ #review]"
                for verdict in VERDICTS
            )
        },
    ),
    "punctuation": Capability(
        "INV",
        {
            "same": (
                *(verdict.removesuffix(".") + "[.→→!→!!!→ .]" for verdict in VERDICTS[::2]),
                "[Friends, →Friends: →Friends ]this {any} is a joy[.→→!]",
                "[Honestly, →Honestly ]I {hated} this {any}[.→→!]",
                "I {loved} the {part}[;→,→.→ –] it was perfect.",
            )
        },
    ),
    "upper and lower case": Capability("INV", {"same": VERDICTS}, (str.upper, str.lower)),
    "synonyms": Capability(
        "INV",
        {
            "same": (
                "The {thing} was {same good}.",
                "The {thing} was {same bad}.",
                "This [film→movie] was {good}.",
                "We [purchased→bought] the {goods} in May, and it [began→started] to fail at once.",
                "My [kids→children] [loved→adored] the {any}.",
                "I [hated→detested→loathed] the {part}.",
                "The [staff→employees] were [friendly→kind] and the {hotel part} was {good}.",
            )
        },
    ),
    "neutral filler": Capability(
        "INV",
        {
            "same": (
                *("[→{filler} →{more filler} ]" + verdict for verdict in VERDICTS[::2]),
                *(verdict + "[→ {filler}→ {more filler}]" for verdict in VERDICTS[1::2]),
            )
        },
    ),
    "intensifiers": Capability(
        "DIR",
        {
            "not lower": (
                "The {thing} was [→very →really →extremely ]{nice}.",
                "I [→really →thoroughly →very much ]enjoyed the {part}.",
                "I found this {thing} [→truly →incredibly ]{nice}.",
            ),
            "not higher": (
                "The {thing} was [→very →really →extremely ]{weak}.",
                "I [→really →thoroughly →very much ]disliked the {part}.",
                "I found this {thing} [→terribly →incredibly ]{weak}.",
            ),
        },
    ),
    "reducers": Capability(
        "DIR",
        {
            "not higher": (
                "The {thing} was [→fairly →somewhat →moderately ]{nice}.",
                "I [→somewhat →mostly →kind of ]enjoyed the {part}.",
                "I found this {thing} [→only slightly →only moderately ]{nice}.",
            ),
            "not lower": (
                "The {thing} was [→slightly →somewhat →a little ]{weak}.",
                "I [→slightly →somewhat →kind of ]disliked the {part}.",
                "I found this {thing} [→a bit →only slightly ]{weak}.",
            ),
        },
    ),
    "a positive sentence added": Capability(
        "DIR",
        {
            "not lower": (
                "{mixed base}[→ {add good}]",
                "The film {film fact}.[→ {add good}]",
                "The hotel {hotel fact}.[→ {add good}]",
                "I did not like the {part}.[→ {add good}]",
                "[→{add good} ]The {thing} was {nice}.",
                "[→{add good} ]I {deed}.",
            )
        },
    ),
    "a negative sentence added": Capability(
        "DIR",
        {
            "not higher": (
                "{mixed base}[→ {add bad}]",
                "The book {book fact}.[→ {add bad}]",
                "The hotel {hotel fact}.[→ {add bad}]",
                "I liked the {part}.[→ {add bad}]",
                "[→{add bad} ]The {thing} was {weak}.",
                "[→{add bad} ]I {deed}.",
            )
        },
    ),
}
