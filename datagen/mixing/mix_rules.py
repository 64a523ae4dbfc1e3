"""The rules that the mixer follows: what each says, where it is published, and how sure that is.

Conventions
    What ``stemwright.separation.rules`` has, which are rules that recordings are measured by, is taken from there by name. The others are
    about what a mixer does and no recording shows. ``certainty`` is as there, or "defined": by a standard, by how instruments are built.

References
    Moffat, Sandler 2019, Automatic mixing level balancing enhanced through source interference identification, AES 146th Convention.
    Perez Gonzalez, Reiss 2010, A real-time semiautonomous audio panning system for music mixing, EURASIP J. Adv. Signal Process. 436895.
    Vanka, Steinmetz, Rolland, Reiss, Fazekas 2024, Diff-MST: its published file of gains, pans and equalisers by instrument.
"""

from __future__ import annotations

from dataclasses import dataclass

from stemwright.separation.rules.published import OWN
from stemwright.separation.rules.rule import Rule


@dataclass(frozen=True)
class MixRule:
    """One rule: what it says, its source, how sure the source is, and its name in the table of published rules, if it is there."""

    says: str
    source: str
    certainty: str
    published: str = ""


def _published(name: str) -> MixRule:
    rule: Rule = getattr(OWN, name)
    first, *others = rule.source.authors.split(", ")
    return MixRule(rule.statement.rstrip("."), f"{first}{' et al.' if others else ''} {rule.source.year}", rule.certainty, name)


DIFF_MST = "Vanka et al. 2024 (Diff-MST)"
RULES = {
    "vocal": _published("vocal_3_lu"),
    "bass": _published("bass_9_lu"),
    "kick": _published("kick_13_lu"),
    "snare": _published("snare_17_lu"),
    "instrument": MixRule("The levels of other instruments are in the order of their published gains", DIFF_MST, "opinion"),
    "group": MixRule("A stem of several instruments has the energy of its members", "energies of unrelated signals add", "defined"),
    "one source": MixRule("Microphones and doubles of one source share the level of one", "Moffat, Sandler 2019", "measured"),
    "backing track": MixRule(
        "What is played over a backing track is its lead: as loud as the rest together", "Pestana et al. 2014", "surveyed"
    ),
    "energy": _published("energy_loudness"),
    "vocal centre": _published("vocal_centre"),
    "bass centre": _published("bass_centre"),
    "kick centre": _published("kick_centre"),
    "snare centre": _published("snare_centre"),
    "group centre": MixRule("A mono stem of several instruments stays in the centre", "its members have no place of their own", "defined"),
    "lows": _published("low_narrow"),
    "place": MixRule(
        "How far out an instrument is; the side is chosen so that both weigh alike", f"{DIFF_MST}; Perez Gonzalez, Reiss 2010", "opinion"
    ),
    "wider": _published("higher_wider"),
    "balanced": _published("sides_balanced"),
    "pair": MixRule("The two files of one stereo source go to their own sides", "hard panning restores the recording", "defined"),
    "stereo": MixRule("A stereo stem keeps its image", "it was placed when it was recorded", "defined"),
    "range": MixRule("Below an instrument's lowest note there is only noise", "ranges of instruments", "defined"),
    "cuts": MixRule("Cuts by instrument, in the middle of their published range", DIFF_MST, "opinion"),
    "loudness": MixRule("A mix that is not mastered is at -16 LUFS", DIFF_MST, "opinion"),
    "peak": _published("peak_1_dbtp"),
}
ALWAYS = ("energy", "loudness", "peak")  # what is followed in every mix
