"""How the words of edits are put together: for each operation, the orders in which kinds of ``words.py`` and slots may follow.

Conventions
    A pattern is a row of kinds; "?" after one: it may be left out. A kind that comes in two directions is written once, as "V±", and
    stands for "V+" all along the row and for "V-" all along it; its direction is that of the edit, reversed where the rule says so.
    Slots: S stems; Q an amount of a volume (dB, per cent, a half, or a degree such as "a bit"); A dB without a sign, G dB with one; D a
    degree; ST a strength; PC per cent; HZ a frequency. All others are kinds.
    A name that ends in "also" is of a clause that names no stem, since it is about those of the clause before ("brighter and louder").
    One that begins with "ask" has two readings, which the message names; it is never an edit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

TABLE: dict[str, str] = {
    "volume": """
        D? V± VOL? S VOLN? Q?
        V± Q VOL? S
        D? T VOL? S VOLN? P± Q?
        T VOL? S VOLN? Q P±
        T P± Q VOL? S
        V± ONLY S Q?
        T ONLY S P± Q?
        ONLY S P± Q
        MAKE? S VOLN? SHOULD? Q? L± Q?
        Q? L± S Q?
        S VOLN? SHOULD? P± Q?
        S VOLN? SHOULD? Q P±
        Q? M± S VOLN? Q?
        V± Q TO S
        T? VOLN P± Q? TO S Q?
        M± VOLN TO S
        D? M± VOL S
        APPLY? A N± TO S
        GIVE S Q? N±
        S NEED D? M± VOLN
        S NEED Q? N±
    """,
    "volume also": "Q? L± Q?",
    "volume up": """
        GIVE S Q M+?
        S NEED Q M+
        GIVE S Q? M+ VOLN?
        MAKE? S SHOULD? X2
        DOUBLE VOL? S VOLN?
        APPLY A TO S
    """,
    "volume down": """
        MAKE? S SHOULD? X/2
        HALVE VOL? S VOLN?
        TAKE A FROM S
        C A FROM S
        C VOL? S VOLN? Q
        D C VOL? S VOLN?
        C VOL? S VOLN? P- Q?
        PB VOL? S VOLN? Q? BACK Q?
        V- S P- Q?
        S VOLN? ARE? D? TOO LD+
        S VOLN? ARE? A TOO LD+
        D? TM- S
        S VOLN? NE-
    """,
    "volume louder": """
        S VOLN? ARE? D? TOO LD-
        S VOLN? ARE? A TOO LD-
        D? TM+ S
        S VOLN? NE+
    """,
    "volume signed": """
        VOL? S VOLN? G
        G TO? S
        APPLY G TO S
    """,
    "volume as before": "S A",
    "ask cut": "C S",
    "ask to": """
        V± VOL? S VOLN? TO A
        V± VOL? S VOLN? TO G
        V± VOL? S VOLN? TO PC
        T VOL? S VOLN? P± TO A
        T VOL? S VOLN? P± TO G
        C VOL? S VOLN? TO A
        C VOL? S VOLN? TO G
        SET VOL? S VOLN? TO A
        SET VOL? S VOLN? TO G
        SET VOL? S VOLN? TO PC
        S VOLN? TO A
        S VOLN? TO G
        S VOLN? TO PC
    """,
    "ask only": """
        ONLY V± S Q?
        ONLY T S P± Q?
        ONLY MU S
    """,
    "mute": """
        MU S
        MU ONLY S
        S SHOULD? MUTED
        S NEED MUTED
        MU S OUT
        MU S FULL
        FULL MU S
        C S FULL
        FULL C S
        T S FULL P-
        T S P- FULL
        V- S FULL
        C S OUT
        OUTV S OUT
        OUTV S OFF
        SW? S OFF
        OFFV S
        ALL? WO S
        S OUT
    """,
    "sans": """
        SANS
        SANS VERSION
        MAKE SANS VERSION?
        MAKE IT SANS
    """,
    "karaoke": """
        KAR VERSION?
        KAR ONLY
        ONLY KAR VERSION?
        MAKE KAR VERSION?
        MAKE IT KAR VERSION?
    """,
    "a cappella": """
        ACAP VERSION?
        ACAP ONLY
        ONLY ACAP VERSION?
        MAKE ACAP VERSION?
        MAKE IT ACAP VERSION?
    """,
    "isolate": """
        ISO S
        ISO ONLY S
        ONLY S
        KEEP ONLY S
        ONLY KEEP S
        ONLY LET S
        LET S ALONE
        LET S ONLY
        S ONLY VERSION?
        S ALONE
        LET S SEP MU REST
        ISO S SEP MU REST
    """,
    "bare": "S",
    "pan": """
        PAN S FULL? TO? SIDE
        PAN FULL S TO? SIDE
        FULL PAN S TO? SIDE
        FULL PAN SIDE S
        PAN S SHARE TO? SIDE
        PAN S TO? SIDE SHARE
        PAN S TO SHARE SIDE
        PAN SHARE S SIDE
        PAN SIDE S
        MOVE S SHARE? TO? SIDE SHARE?
        MOVE S FULL TO? SIDE
        S FULL? TO? SIDE
        S SHARE TO? SIDE
        S SIDE SHARE
        S SHOULD SHARE? TO? SIDE
    """,
    "pan also": """
        PAN FULL? TO? SIDE
        PAN SHARE TO? SIDE
        PAN TO? SIDE SHARE
    """,
    "centre also": "PAN TO? MID",
    "centre": """
        CENTREV S
        PAN S BACK? TO? MID
        MOVE S BACK? TO MID
        S BACK? TO? MID
        S SHOULD TO? MID
    """,
    "filter": """
        F S
        D F S
        F S D
        F S TO HZ
        F S HZ
        APPLY ST? F ST? TO S
        APPLY F TO HZ TO S
        APPLY HZ F TO S
        APPLY F HZ TO S
        APPLY F TO S TO HZ
        HZ F TO S
        ST? F TO S
        RUN S TO ST? F
    """,
    "roll off highs": "ROLL HIGHS FROM S",
    "roll off lows": "ROLL LOWS FROM S",
    "dereverb": """
        MU REV FROM S
        MU S REV
        D? M- S REV
        V- S REV
        WO S REV
        TAKE REV FROM S
        D? M- REV FROM S
        D? M- REV TO S
        GIVE S D? M- REV
        V- REV FROM S
        V- REV TO S
        C REV FROM S
        WO REV TO S
        S WO REV
        D? TM- REV TO S
        D? TM- S REV
        SW REV OFF TO S
        S NEED D? M- REV
        MAKE? S SHOULD? DRY
        DRY S
    """,
    "reverb": """
        APPLY ST? REV TO S
        D? M+ S REV
        V+ S REV D?
        APPLY D? M+ REV TO S
        D? M+ REV TO S
        V+ REV TO S D?
        MAKE S D? WET
        D? WET S
        GIVE S ST? REV
        GIVE S D? M+ REV
        S SHOULD D? WET
        S SHOULD? D? M+ REV
        S NEED D? M+ REV
        TM+ REV TO S
        TM+ S REV
    """,
    "eq": """
        MAKE? S SHOULD? D? TC
        MAKE? S SHOULD? TC D
        MAKE S TB
        MAKE? S SHOULD? D? M± TB
        D? TC S
        D? M± TB S
        TV S D?
        D TV S
        APPLY TN TO S
        APPLY D? M+ TN TO S
        D? M± TN TO S
        D? V± TN TO S D?
        GIVE S D? M± TN
        GIVE S TN
        S NEED D? M± TN
    """,
    "eq also": """
        D? TC
        D? M± TB
    """,
    "eq less": """
        S ARE? D? TOO TB
        MU TN FROM S
        TAKE TN FROM S
        C TN FROM S
        C TN TO S
        DE S
    """,
    "width": """
        MAKE? S SHOULD? D? WC±
        MAKE? S SHOULD? WC± D
        D? WC± S
        PAN S D? WC±
        WV± S D?
        D WV± S
        WV± S OUT D?
        D? M± WN TO S
        V± WN TO S D?
    """,
    "width also": "D? WC±",
    "mono": """
        MAKE? S SHOULD? MONO
        S TO MONO
        MONO S
    """,
    "compressor also": "D? PUNCH",
    "compressor": """
        CV S D?
        D CV S
        APPLY ST? CN TO S
        APPLY D? M+ CN TO S
        D? M+ CN TO S
        MAKE? S SHOULD? D? PUNCH
        D? PUNCH S
        GIVE S D? M+? PUNCHN
        APPLY D? M+? PUNCHN TO S
        D? M+ PUNCHN TO S
        S NEED D? M+ PUNCHN
        S NEED D? M+ CN
    """,
}


@dataclass(frozen=True)
class Pattern:
    """What a pattern says: its name in ``TABLE``, and the direction of the kinds in it, 0 if it has none."""

    name: str
    sign: float
    kinds: tuple[str, ...]


def rules() -> Iterator[Pattern]:
    """Every pattern with its optional parts left out or not, in each direction."""
    for name, rows in TABLE.items():
        for row in (line.split() for line in rows.strip().splitlines()):
            for sign, mark in ((1.0, "+"), (-1.0, "-")) if any("±" in kind for kind in row) else ((0.0, ""),):
                for kinds in _without_options([kind.replace("±", mark) for kind in row]):
                    yield Pattern(name, sign, kinds)


def _without_options(kinds: list[str]) -> Iterator[tuple[str, ...]]:
    if not kinds:
        yield ()
        return
    first, rest = kinds[0], kinds[1:]
    for end in _without_options(rest):
        yield (first.removesuffix("?"), *end)
        if first.endswith("?"):
            yield end


class Node:
    """A place in the tree of patterns: what may follow, and the rules that end here."""

    def __init__(self) -> None:
        self.following: dict[str, Node] = {}
        self.rules: list[Pattern] = []


@cache
def tree() -> Node:
    """All patterns as one tree, so that a clause is read once, from left to right, against all of them."""
    root = Node()
    for rule in rules():
        node = root
        for kind in rule.kinds:
            node = node.following.setdefault(kind, Node())
        if rule not in node.rules:
            node.rules.append(rule)
    return root
