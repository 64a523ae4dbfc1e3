"""The language of edits: sentences such as "increase the volume of vocals by 3 dB", what each means, and back again.

    label      Edit(operation, stems, amount)          what is meant
    sentence   one of several wordings of a label      ``say``, ``sentences``
    parse      every sentence -> its label             raises EditError naming the nearest sentence for any other text
    chains     a label and a stem -> what to do        rows only; no audio

Conventions
    One grammar both writes and parses: ``parse`` is made from the same wordings as ``say``. Some wordings are held out: they occur only in
    the valid and test splits, which so test whether a model generalises to new wordings.
    Stems are named in order: "drums", "drums and bass", "drums, bass and other"; an article before each is understood.
    Case, spaces and a full stop at the end make no difference.
    The amount of a volume is in dB, signed; as words, "slightly" is 3 dB, none is a factor of two, "a lot" 12 dB. The amount of a pan is a
    side, "completely" or not; that of a filter light, medium or heavy, and no word means medium. Other edits have no amount.

References
    AMSS-Net (Choi et al. 2021): operations, their first wordings and their values. ``other`` as a target, amounts in dB, further wordings
    and what is held out are ours. Its reverberation is that of SoX: reverberance 100 is a feedback of 0.98, damping 50 a coefficient of
    0.35, wet +3 dB an input gain of 0.0212.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from stemwright.datagen.effects.ranges import FADER_DB
from stemwright.manifests.records import EffectUse
from stemwright.manifests.stem_names import SIX_STEMS
from stemwright.manifests.usage import UsageError

Operation = Literal["mute", "isolate", "volume", "pan", "lowpass", "highpass", "dereverb"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
Amount = float | str | None
Chain = tuple[EffectUse, ...]

STEMS = ("vocals", *(name for name in SIX_STEMS if name != "vocals"))  # the one that edits are mostly about is the first suggestion
TWICE_DB = 20.0 * math.log10(2.0)
VOLUME_WORDS = {"slightly": 3.0, "": TWICE_DB, "a lot": 12.0}
VOLUME_AMOUNTS = tuple(f" {word}".rstrip() for word in VOLUME_WORDS)
VOLUME_DB = tuple(step / 2 for step in range(1, 25))  # what is drawn; any number up to what a fader can do is understood
MOST_DB = {1.0: FADER_DB[1], -1.0: -FADER_DB[0]}  # raised, lowered
STRENGTHS = ("light", "medium", "heavy")
SIDES = ("left", "right", "completely left", "completely right")
# Hz, light to heavy
CUTOFFS_HZ = {"lowpass": (1378.0, 689.0, 344.0), "highpass": (1378.0, 2756.0, 5512.0)}
BASS_CUTOFFS_HZ = {"lowpass": (172.0, 86.0, 43.0), "highpass": (86.0, 172.0, 344.0)}
FILTER_ORDER = 2.0
PAN_SHARES = {"": (0.8, 0.2), "completely": (1.0, 0.0)}  # of the mean of both channels: on the side itself, on the other
PRE_DELAY_MS = 32.0
# SoX's values in those of the effect ``reverb``, which has a coefficient of 0.4 at damping 1 and an input gain of 0.09 at wet 1.
REVERB = {"room_size": 1.0, "damping": 0.35 / 0.4, "wet": 0.015 * 10 ** (3 / 20) / 0.09, "dry": 0.0, "width": 1.0}


class EditError(UsageError):
    """A text that is no edit, or an edit that cannot be made; the message says what could."""


@dataclass(frozen=True)
class Edit:
    """What an edit means: the operation, the stems in the order in which they are named, and the amount if the operation has one."""

    operation: Operation
    stems: tuple[str, ...]
    amount: Amount = None

    @property
    def gain_db(self) -> float | None:
        """The signed dB of a volume; None for the other operations."""
        return self.amount if self.operation == "volume" and isinstance(self.amount, float) else None


@dataclass(frozen=True)
class Wording:
    """One way to say an operation. ``{S}`` is replaced by the stems, ``{A}`` by the amount; ``sign`` is the direction of a volume."""

    operation: Operation
    text: str
    held_out: bool = False
    sign: float = 1.0


WORDINGS = (
    *(Wording("mute", f"{verb} {{S}}") for verb in ("mute", "remove", "get rid of", "eliminate")),
    *(Wording("mute", text, held_out=True) for text in ("silence {S}", "take {S} out of the mix")),
    *(Wording("isolate", f"{verb} {{S}}") for verb in ("separate", "isolate", "extract")),
    *(Wording("isolate", text, held_out=True) for text in ("keep only {S}", "let me hear {S} alone")),
    *(Wording("volume", f"{verb} the volume of {{S}}{{A}}") for verb in ("increase", "turn up")),
    *(Wording("volume", text, sign=-1.0) for text in ("decrease the volume of {S}{A}", "turn down the volume of {S}{A}")),
    *(Wording("volume", text) for text in ("raise {S}{A}", "make {S} louder{A}")),
    *(Wording("volume", text, sign=-1.0) for text in ("lower {S}{A}", "make {S} quieter{A}")),
    *(Wording("volume", text, held_out=True) for text in ("boost {S}{A}", "bring {S} up{A}")),
    *(Wording("volume", text, held_out=True, sign=-1.0) for text in ("attenuate {S}{A}", "bring {S} down{A}")),
    Wording("pan", "pan {S} {A} side"),
    Wording("pan", "move {S} {A} side", held_out=True),
    *(Wording(kind, f"apply {{A}}{kind} to {{S}}") for kind in ("lowpass", "highpass")),
    *(Wording(kind, f"put {{A}}{kind} filter on {{S}}", held_out=True) for kind in ("lowpass", "highpass")),
    Wording("dereverb", "remove reverb from {S}"),
    *(Wording("dereverb", text, held_out=True) for text in ("take the reverb off {S}", "make {S} dry")),
)

# What words ask for, also words that no sentence has: a suggestion may not ask for something else. A text with words that speak against
# an edit, or that exempt something from it, has no nearest sentence.
SENSES = {
    "gone": "mute remove rid eliminate silence out kill delete drop erase off",
    "alone": "separate isolate extract only alone solo keep",
    "louder": "increase up raise louder boost loud amplify more hotter stronger",
    "quieter": "decrease down lower quieter attenuate quiet reduce less softer soft weaker cut",
    "left": "left",
    "right": "right",
    "lowpass": "lowpass low",
    "highpass": "highpass high",
    "reverb": "reverb dry dereverb reverberation wet",
    "against": "not don dont never without but except everything all nothing unmute undo no",
}
_SENSE_OF: dict[str, tuple[str, ...]] = {
    word: tuple(sense for sense, listed in SENSES.items() if word in listed.split())
    for listed in SENSES.values()
    for word in listed.split()
}
SPELT = 0.82  # how alike a word has to be to one that it is taken for: "increse", and not "unmute" for "mute"
STEM_SPELT = 0.8  # the same for stems, where no prefix reverses the meaning: "drumz"
_FILLING = (
    "please the a an of in to my this that it them and by db decibel decibels bit little mix song track some pass "
    "can could you i we me want would like for just now be is should so very really completely with at on whole part sound"
)


def parse(text: str, *, stems: Sequence[str] = STEMS, possible: Sequence[Operation] = OPERATIONS) -> Edit:
    """The label of a sentence. Raises EditError for any other text, naming the nearest sentence that asks for the same.

    ``stems`` are the names that are understood, each with an optional "the"; ``possible`` are the operations that may be named.
    """
    plain = _plain(text)
    for wording, pattern in _patterns(tuple(stems)):
        if (found := pattern.fullmatch(plain)) is not None:
            named = tuple(re.sub(r"^the ", "", name) for name in re.split(r", and |, | and ", found["stems"]))
            return Edit(wording.operation, _once(named), _amount(wording, found.groupdict().get("amount"), text))
    raise EditError(_not_understood(text, stems, possible))


def parse_all(texts: Sequence[str], *, stems: Sequence[str] = STEMS, possible: Sequence[Operation] = OPERATIONS) -> list[Edit]:
    """The labels of several sentences, some of them joined by ";". Raises EditError if there is none."""
    parts = [part for text in texts for part in text.split(";") if part.strip()]
    if not parts:
        raise EditError(f"expected an edit, such as {sentence(WORDINGS[0], Edit('mute', (stems[0],)))!r}")
    return [parse(part.strip(), stems=stems, possible=possible) for part in parts]


def nearest(text: str, *, stems: Sequence[str] = STEMS, possible: Sequence[Operation] = OPERATIONS) -> str | None:
    """The accepted sentence that is most like a text, with the stems and the number that the text names.

    It asks for what the text seems to ask for, in its direction and of its stems; None where the text does not say, or asks for something
    else: a suggestion is typed without a second look.
    """
    plain = re.sub(r"[^\W\d]+", lambda word: _apart(word[0], stems), _plain(text))
    words = re.findall(r"[^\W\d]+", plain)
    unknown = [word for word in words if word not in _grammar_words() and word not in _SENSE_OF]
    close = {word: _stem_like(word, stems) for word in unknown}
    named = tuple(dict.fromkeys(stem for word in words if (stem := close.get(word)) is not None))
    strange = {word for word, stem in close.items() if stem is None and _likest(word, (*_grammar_words(), *_SENSE_OF))[0] < SPELT}
    if strange:
        return None  # a stem that there is not, or a request that no edit fulfils
    number = re.search(r"\d+(?:\.\d+)?", plain)
    decibels = [" by " + number[0] + " db"] if number and float(number[0]) <= MOST_DB[1.0] else []
    candidates, meant = {}, _meaning(plain)
    for wording in (each for each in WORDINGS if each.operation in possible):
        for amount in (wording.operation == "volume" and decibels) or _amount_texts(wording):
            if _meaning(wording.text.replace("{S}", "").replace("{A}", amount)) == meant:
                candidates[_filled(wording, named or (stems[0],), amount).lower()] = _filled(wording, named or (stems[0],), amount)
    found = difflib.get_close_matches(plain, candidates, n=1, cutoff=0.0) if meant else []
    return candidates[found[0]].replace(" db", " dB") if found else None


def _likest(word: str, known: Iterable[str]) -> tuple[float, str]:
    """How alike the most similar of some words is, 0 to 1, and that word."""
    return max((difflib.SequenceMatcher(None, each, word).ratio(), each) for each in known)


def _apart(word: str, stems: Sequence[str]) -> str:
    """Two known words that are written as one, apart; any other word as it is."""
    known = {*_grammar_words(), *_SENSE_OF, *stems}
    both = [(word[:at], word[at:]) for at in range(1, len(word)) if word not in known and {word[:at], word[at:]} <= known]
    return " ".join(both[0]) if both else word


def _stem_like(word: str, stems: Sequence[str]) -> str | None:
    """The stem that a word seems to name: none if it is more like a word of the grammar."""
    alike, stem = _likest(word, stems)
    return stem if alike >= STEM_SPELT and alike >= _likest(word, (*_grammar_words(), *_SENSE_OF))[0] else None


def _not_understood(text: str, stems: Sequence[str], possible: Sequence[Operation]) -> str:
    if (near := nearest(text, stems=stems, possible=possible)) is not None:
        return f"{text!r} is not understood as an edit; the nearest is {near!r}"
    first = [next(each for each in WORDINGS if each.operation == operation) for operation in possible]
    examples = ", ".join(repr(_filled(each, stems[:1], _amount_texts(each)[-1])) for each in first)
    return f"{text!r} is not understood as an edit; expected sentences such as {examples}, with the stems {', '.join(stems)}"


def _meaning(plain: str) -> frozenset[str]:
    """What the words of a text ask for: names of ``SENSES``."""
    minus = {"minus"} if re.search(r"-\s*\d", plain) else set()
    return frozenset(minus.union(*(_senses(word) for word in re.findall(r"[^\W\d]+", plain))))


@cache
def _senses(word: str) -> frozenset[str]:
    """What one word asks for, spelt nearly right; empty for a word without a direction."""
    if word in _grammar_words() or word in _SENSE_OF:
        return frozenset(_SENSE_OF.get(word, ()))
    near = difflib.get_close_matches(word, _SENSE_OF, n=1, cutoff=SPELT)
    return frozenset(_SENSE_OF[near[0]] if near else ())


@cache
def _grammar_words() -> frozenset[str]:
    """Words of sentences that name no stem."""
    amounts = " ".join(amount for wording in WORDINGS for amount in _amount_texts(wording))
    return frozenset({*_FILLING.split(), *" ".join(wording.text for wording in WORDINGS).split(), *amounts.split()} - {"{S}", "{A}"})


def say(edit: Edit, wording: Wording, *, in_words: bool = True) -> str:
    """The sentence for a label. An amount that has a word is written as that word, unless ``in_words`` is False.

    Raises ValueError if the wording is for another operation or direction.
    """
    if wording.operation != edit.operation or (isinstance(edit.amount, float) and edit.amount * wording.sign < 0.0):
        raise ValueError(f"{wording.text!r} cannot say {edit}")
    return sentence(wording, edit, in_words=in_words)


def sentence(wording: Wording, edit: Edit, *, in_words: bool = True) -> str:
    """A wording with the stems and the amount of a label."""
    return _filled(wording, edit.stems, _amount_text(edit, in_words))


def wordings(operation: Operation, *, amount: Amount = None, held_out: bool | None = None) -> list[Wording]:
    """The wordings of an operation: all, or those that are held out, or the others; of a volume, those of the amount's direction."""
    sign = math.copysign(1.0, amount) if isinstance(amount, float) else 1.0
    return [
        each for each in WORDINGS if each.operation == operation and each.sign == sign and (held_out is None or each.held_out == held_out)
    ]


def amounts(operation: Operation) -> tuple[Amount, ...]:
    """The amounts of an operation that are drawn."""
    if operation == "volume":
        phrase = sorted({*VOLUME_WORDS.values(), *VOLUME_DB})
        return (*phrase, *(-amount for amount in phrase))
    if operation == "pan":
        return SIDES
    return STRENGTHS if operation in CUTOFFS_HZ else (None,)


def chains(edit: Edit, stem: str) -> tuple[Chain, ...]:
    """What becomes of a stem: the sum of these chains over it. None of them: it is muted; one empty chain: it stays as it is.

    For ``dereverb`` it is what the reverberation to be removed did: the side before the edit.
    """
    named = stem in edit.stems
    if edit.operation == "isolate":
        return ((),) if named else ()
    if not named:
        return ((),)
    if edit.operation == "mute":
        return ()
    if edit.operation == "dereverb":
        return ((), (_use("delay", delay_ms=PRE_DELAY_MS, feedback=0.0, mix=1.0), _use("reverb", **REVERB)))
    return (_chain(edit, stem),)


def _chain(edit: Edit, stem: str) -> Chain:
    if edit.operation == "volume":
        return (_use("fader", gain_db=round(float(edit.amount or 0.0), 4)),)
    if edit.operation == "pan":
        word, _, side = str(edit.amount).rpartition(" ")
        left, right = PAN_SHARES[word] if side == "left" else PAN_SHARES[word][::-1]
        # The constant-power pan gives the factors √2 cos a and √2 sin a; both channels hold their mean before.
        gain_db = 20.0 * math.log10(math.hypot(left, right) / math.sqrt(2.0))
        pan = 4.0 / math.pi * math.atan2(right, left) - 1.0
        return (_use("width", width=0.0), _use("fader", gain_db=gain_db, pan=pan))
    return (_use(edit.operation, cutoff_hz=cutoff_hz(edit, stem), order=FILTER_ORDER),)


def cutoff_hz(edit: Edit, stem: str) -> float:
    """The cutoff of a filter edit on a stem; bass has its own."""
    table = BASS_CUTOFFS_HZ if stem == "bass" else CUTOFFS_HZ
    return table[edit.operation][STRENGTHS.index(str(edit.amount))]


def _use(effect: str, **settings: float) -> EffectUse:
    return EffectUse(effect=effect, settings=settings)


def _amount_texts(wording: Wording) -> tuple[str, ...]:
    """The texts of the amounts of a wording; volumes may also have any number of dB."""
    if wording.operation == "volume":
        return VOLUME_AMOUNTS
    if wording.operation == "pan":
        return tuple(_side_text(side) for side in SIDES)
    return ("", *(f"{strength} " for strength in STRENGTHS)) if wording.operation in CUTOFFS_HZ else ("",)


def _side_text(amount: str) -> str:
    word, _, side = amount.rpartition(" ")
    return f"{word} to the {side}".strip()


def _amount_text(edit: Edit, in_words: bool) -> str:
    if edit.operation == "volume":
        size = abs(float(edit.amount or 0.0))
        word = next((word for word, size_db in VOLUME_WORDS.items() if size_db == size), None)
        if word is not None and (in_words or size == TWICE_DB):
            return f" {word}".rstrip()
        return f" by {size:.10g} dB"
    if edit.operation == "pan":
        return _side_text(str(edit.amount))
    if edit.operation in CUTOFFS_HZ:
        return "" if edit.amount == "medium" and not in_words else f"{edit.amount} "
    return ""


def _filled(wording: Wording, stems: Sequence[str], amount: str) -> str:
    *before, last = stems
    listed = f"{', '.join(before)} and {last}" if before else last
    return wording.text.replace("{S}", listed).replace("{A}", amount)


def _plain(text: str) -> str:
    return " ".join(text.lower().replace(",", ", ").split()).removesuffix(".").strip()


@cache
def _patterns(stems: tuple[str, ...]) -> list[tuple[Wording, re.Pattern[str]]]:
    """The wordings as regular expressions over plain text."""
    name = "(?:the )?(?:" + "|".join(re.escape(stem.lower()) for stem in stems) + ")"
    listed = f"(?P<stems>{name}(?:(?:, and |, | and ){name})*)"
    patterns = []
    for wording in WORDINGS:
        phrase = "|".join(re.escape(text) for text in sorted(_amount_texts(wording), key=len, reverse=True))
        if wording.operation == "volume":
            phrase = rf" by \d+(?:\.\d+)? ?(?:db|decibels?)|{phrase}"
        text = re.escape(wording.text).replace(r"\{S\}", listed).replace(r"\{A\}", f"(?P<amount>{phrase})")
        patterns.append((wording, re.compile(text)))
    return patterns


def _once(named: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise EditError(f"the stem {twice!r} is named twice; name each once")
    return named


def _amount(wording: Wording, phrase: str | None, text: str) -> Amount:
    """The amount that a phrase of ``_amount_texts`` means."""
    phrase = (phrase or "").strip()
    if wording.operation == "volume":
        number = re.search(r"\d+(?:\.\d+)?", phrase)
        size = float(number[0]) if number else VOLUME_WORDS[phrase]
        if size > MOST_DB[wording.sign]:
            raise EditError(f"{text!r} is {size:g} dB; expected at most {MOST_DB[1.0]:g} dB up or {MOST_DB[-1.0]:g} dB down")
        return wording.sign * size + 0.0  # lowered by nothing is raised by nothing
    if wording.operation == "pan":
        return phrase.replace("to the ", "")
    return (phrase or "medium") if wording.operation in CUTOFFS_HZ else None
