"""Quantities of the stems in their mixture: levels and places, with the intervals that the balance gives them.

Conventions
    The stem of a part is found by its name, in any case, with ``_``, ``-`` or a space between words: "Lead Vox" is the lead vocal. Of two
    stems that could be meant none is taken. Levels are in LU against the mixture. The difference of two stems' levels has the interval of
    independent errors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from stemwright.separation.balance.measure import StemBalance
from stemwright.separation.rules.quantities import Heard, Measured, MixQuantity, unmeasured

PARTS = {  # part -> patterns of names, the most exact ones first
    "vocals": (r"lead (vocals?|vox|voice|singer)|(vocals?|vox|voice) lead", r"vocals?|vox|voice|singer|lead"),
    "bass": (r"bass( (di|amp|guitar|synth))?|synth bass|e bass",),
    "kick": (r"kick( drum)?|bass drum|bd",),
    "snare": (r"snare( drum)?|sd",),
    "reverb": (r"reverbs?( return)?|fx reverb",),
}
WORDS = {"vocals": "vocals", "bass": "bass", "kick": "kick", "snare": "snare", "reverb": "reverb (the return alone)"}
Read = Callable[[StemBalance], Measured]


def plain_name(name: str) -> str:
    """A stem's name in lower case, with single spaces, without a number before it."""
    return re.sub(r"^\d+\s+", "", re.sub(r"[\s_\-.]+", " ", name.lower())).strip()


def stem_of(heard: Heard, part: str) -> StemBalance | str:
    """The stem of a part, or why there is none."""
    for pattern in PARTS[part]:
        found = [name for name in heard.balances if re.fullmatch(pattern, plain_name(name))]
        if len(found) == 1:
            stem = heard.balances[found[0]]
            return stem if stem.present else f"{found[0]} {stem.note}"
        if found:
            return f"{', '.join(found)} may each be the {part}"
    return f"no stem is called {WORDS[part]}"


def _of(part: str, read: Callable[[Heard, StemBalance], Measured]) -> Callable[[Heard], Measured]:
    def measure(heard: Heard) -> Measured:
        stem = stem_of(heard, part)
        return unmeasured(stem) if isinstance(stem, str) else read(heard, stem)

    return measure


def _level(heard: Heard, stem: StemBalance) -> Measured:
    del heard
    return Measured(stem.level_lu, stem.level_low_lu, stem.level_high_lu)


def _against_rest(heard: Heard, stem: StemBalance) -> Measured:
    del heard
    if not math.isfinite(stem.against_rest_lu):
        return unmeasured("nothing else sounds beside it")
    return Measured(stem.against_rest_lu, stem.against_rest_low_lu, stem.against_rest_high_lu)


def _pan(heard: Heard, stem: StemBalance) -> Measured:
    del heard
    return unmeasured("a mono recording has no pan") if stem.pan is None else Measured(stem.pan, stem.pan_low, stem.pan_high)


def apart(one: StemBalance, other: StemBalance) -> Measured:
    """How much louder one stem is than another, in LU; the errors of the two count as independent."""
    value = one.level_lu - other.level_lu
    low = math.hypot(one.level_lu - one.level_low_lu, other.level_high_lu - other.level_lu)
    high = math.hypot(one.level_high_lu - one.level_lu, other.level_lu - other.level_low_lu)
    return Measured(value, value - low, value + high)


def _vocal_lead(heard: Heard, stem: StemBalance) -> Measured:
    """Level of the vocals minus that of the loudest other stem."""
    others = [other for other in heard.stems.values() if other is not stem]
    if not others:
        return unmeasured("nothing else sounds beside it")
    return apart(stem, max(others, key=lambda other: other.level_lu))


def _level_spread(heard: Heard) -> Measured:
    """Level of the loudest stem minus that of the softest."""
    ranked = sorted(heard.stems.values(), key=lambda stem: stem.level_lu)
    if len(ranked) < 2:
        return unmeasured(f"it needs two stems that sound, and there is {'one' if ranked else 'none'}")
    return apart(ranked[-1], ranked[0])


def _largest_pan(heard: Heard) -> Measured:
    """The pan of the stem that is farthest from the centre, 0 to 1."""
    places = [_pan(heard, stem) for stem in heard.stems.values()]
    known = [(abs(place.value), place) for place in places if place.value is not None]
    if not known:
        return unmeasured(places[0].why if places else "no stem sounds")
    value, place = max(known, key=lambda each: each[0])
    ends = sorted(abs(end) for end in (place.low, place.high) if end is not None)
    return Measured(value, min(ends[0], value), min(1.0, max(ends[-1], value)))


VOCAL_LEVEL = MixQuantity("LU", "level of the lead vocal, or of the vocals, against the mixture", _of("vocals", _level))
VOCAL_AGAINST_REST = MixQuantity(
    "LU", "level of the lead vocal, or of the vocals, against all the rest: the vocal-to-accompaniment level", _of("vocals", _against_rest)
)
VOCAL_LEAD = MixQuantity("LU", "level of the vocals minus that of the loudest other stem", _of("vocals", _vocal_lead))
BASS_LEVEL = MixQuantity("LU", "level of the bass against the mixture", _of("bass", _level))
KICK_LEVEL = MixQuantity("LU", "level of the kick drum against the mixture", _of("kick", _level))
SNARE_LEVEL = MixQuantity("LU", "level of the snare drum against the mixture", _of("snare", _level))
LEVEL_SPREAD = MixQuantity("LU", "level of the loudest stem minus that of the softest", _level_spread)
REVERB_LEVEL = MixQuantity("LU", "level of the returns of the reverbs against the mixture", _of("reverb", _level))
VOCAL_PAN = MixQuantity("", "pan of the vocals, left -1, right 1", _of("vocals", _pan))
BASS_PAN = MixQuantity("", "pan of the bass, left -1, right 1", _of("bass", _pan))
KICK_PAN = MixQuantity("", "pan of the kick drum, left -1, right 1", _of("kick", _pan))
SNARE_PAN = MixQuantity("", "pan of the snare drum, left -1, right 1", _of("snare", _pan))
LARGEST_PAN = MixQuantity("", "distance from the centre of the stem that is panned farthest, 0 to 1", _largest_pan)
