"""From a pattern that was found in a text to the edit that it means.

Conventions
    A builder gets a ``Clause``: the rule, the values of its slots, the stems that it names, and what the clauses before it said. It gives
    an edit, or None where the words do not go together, or raises ``UnclearError`` where they have two readings or ask for what cannot be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from stemwright.datagen.edit.language.label import (
    CENTRE,
    MONO,
    MOST_DB,
    PAN_SHARES_OF_WORDS,
    STRENGTHS,
    TWICE_DB,
    VOLUME_WORDS,
    Amount,
    Edit,
    EditError,
    Operation,
    edit_of_all_but,
    eq_amount,
    within_most,
)
from stemwright.datagen.edit.language.patterns import Pattern
from stemwright.datagen.edit.language.phrases import Value

LEAST_HZ, MOST_HZ = 20.0, 20_000.0
COMPLAINING = frozenset(("TOO", "TM+", "TM-", "NE+", "NE-"))


class UnclearError(EditError):
    """A clause that is read, but does not say what to do: two readings, or an amount that cannot be."""


@dataclass(frozen=True)
class Group:
    """The stems that a clause names: some, or all but some."""

    stems: tuple[str, ...]
    all_but: tuple[str, ...] | None = None
    is_named: bool = True  # not by "the rest" or "it"


ALL_OF_IT = Group((), (), is_named=False)  # "make it louder", where no stem was named before


@dataclass(frozen=True)
class Clause:
    """One clause as read: slots by their kinds in order, the stems, the text, and the edit before it."""

    rule: Pattern
    slots: tuple[tuple[str, Value], ...]
    group: Group
    text: str
    before: Edit | None

    def first(self, *kinds: str) -> Value:
        """The value of the first slot of these kinds, None if there is none."""
        return next((value for kind, value in self.slots if kind in kinds), None)

    def has(self, *kinds: str) -> bool:
        """Whether a slot is of one of these kinds."""
        return any(kind in kinds for kind, _ in self.slots)


def is_complaint(rule: Pattern) -> bool:
    """Whether a pattern says what is wrong ("the drums are too loud") and not what to do."""
    return not COMPLAINING.isdisjoint(rule.kinds)


def meaning(clause: Clause) -> Edit | None:
    """The edit that a clause means; None if its words do not go together. Raises UnclearError."""
    return BUILDERS[clause.rule.name](clause)


def _edit(clause: Clause, operation: Operation, amount: Amount = None) -> Edit:
    group = clause.group
    if group == ALL_OF_IT and operation != "volume":
        raise UnclearError(f"{clause.text!r} does not say of which stem; name it, or all stems as everything")
    for name in group.stems:
        if group.stems.count(name) > 1:
            raise UnclearError(f"the stem {name!r} is named twice; name each once")
    if group.all_but is None:
        return Edit(operation, group.stems, amount)
    if operation in ("mute", "isolate"):
        if not group.all_but:
            raise UnclearError(f"{clause.text!r} is about all stems: nothing would be {'left' if operation == 'mute' else 'changed'}")
        return Edit("isolate" if operation == "mute" else "mute", group.all_but)
    return edit_of_all_but(operation, group.all_but, amount)


def two_readings(text: str, *readings: str) -> UnclearError:
    """The error for a text that may mean one thing or another."""
    return UnclearError(f"{text!r} has two readings; write {' or '.join(map(repr, readings))}")


def _listed(group: Group) -> str:
    if group.all_but is None:
        return _joined(group.stems)
    return f"everything but {_joined(group.all_but)}" if group.all_but else "everything"


def _joined(stems: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(stems[:-1]), stems[-1]) if part)


def _louder(clause: Clause) -> Edit | None:
    return _volume(clause, clause.rule.sign)


def _volume(clause: Clause, sign: float) -> Edit | None:
    amounts = [(kind, value) for kind, value in clause.slots if kind in ("A", "G", "PC", "D", "HALF")]
    numbers = [each for each in amounts if each[0] != "D"]
    if len(numbers) > 1 or len(amounts) - len(numbers) > 1:
        return None
    kind, value = (numbers or amounts or [("D", "")])[0]
    if kind == "G":
        return _signed(clause, sign, float(value or 0.0))
    return _edit(clause, "volume", within_most(_size_db(clause, kind, value, sign), sign, clause.text))


def _size_db(clause: Clause, kind: str, value: Value, sign: float) -> float:
    if kind == "D":
        return VOLUME_WORDS[str(value)]
    if kind == "A":
        return float(value or 0.0)
    factor = 1.0 + sign * (0.5 if kind == "HALF" else float(value or 0.0) / 100.0)
    if factor <= 0.0:
        raise UnclearError(f"{clause.text!r} leaves nothing; to have none of it, write {'mute ' + _listed(clause.group)!r}")
    return abs(round(20.0 * math.log10(factor), 4)) if factor != 0.5 else TWICE_DB


def _signed(clause: Clause, sign: float, gain_db: float) -> Edit:
    """An amount that has a sign of its own: "raise by -3 dB" lowers; where both could cancel, both readings are named."""
    verb = any(kind == "V+" for kind, _ in clause.slots)
    if sign < 0.0 or (gain_db < 0.0 and not verb):
        size, names = f"{abs(gain_db):g}", _listed(clause.group)
        raise two_readings(clause.text, f"raise {names} by {size} dB", f"lower {names} by {size} dB")
    return _signed_volume(clause, gain_db)


def _signed_volume(clause: Clause, gain_db: float) -> Edit:
    return _edit(clause, "volume", within_most(abs(gain_db), math.copysign(1.0, gain_db), clause.text))


def _by_sign(clause: Clause) -> Edit:
    return _signed_volume(clause, float(clause.first("G") or 0.0))


def _raised(clause: Clause) -> Edit | None:
    return _volume(_without_words_of_degree(clause), 1.0)


def _lowered(clause: Clause) -> Edit | None:
    return _volume(_without_words_of_degree(clause), -1.0)


def _without_words_of_degree(clause: Clause) -> Clause:
    return replace(clause, slots=tuple(each for each in clause.slots if each[0] not in ("X2", "X/2")))


def _as_before(clause: Clause) -> Edit | None:
    """ "boost the bass by 2 dB and the drums by 3 dB": the direction is that of the edit before."""
    if clause.before is None or clause.before.gain_db is None:
        size, names = f"{float(clause.first('A') or 0.0):g}", _listed(clause.group)
        raise two_readings(clause.text, f"raise {names} by {size} dB", f"lower {names} by {size} dB")
    return _volume(clause, math.copysign(1.0, clause.before.gain_db))


def _ask_cut(clause: Clause) -> Edit:
    raise two_readings(clause.text, f"mute {_listed(clause.group)}", f"lower {_listed(clause.group)}")


def _ask_to(clause: Clause) -> Edit:
    names, size, sign = _listed(clause.group), _size(clause), _direction(clause)
    changes = [f"{verb} {names} by {size}" for verb, way in (("raise", 1.0), ("lower", -1.0)) if sign in (0.0, way)]
    raise UnclearError(
        f"{clause.text!r} has two readings: a level to arrive at, which an edit cannot set, or a change; "
        f"for a change write {' or '.join(map(repr, changes))}"
    )


def _size(clause: Clause) -> str:
    """The amount as typed, without a sign; 3 dB where it could not be the amount of a change in each direction."""
    if clause.has("PC"):
        share = float(clause.first("PC") or 0.0)
        return f"{share:.10g} %" if 0.0 < share < 90.0 else "3 dB"
    size_db = abs(float(clause.first("A", "G") or 0.0))
    return f"{size_db:.10g} dB" if 0.0 < size_db <= min(MOST_DB.values()) else "3 dB"


def _direction(clause: Clause) -> float:
    """The direction that the words have, 1 or -1; 0 if they have none or two."""
    gain_db = float(clause.first("G") or 0.0)
    kinds = set(clause.rule.kinds)
    up = bool(kinds & {"V+", "P+"}) or gain_db > 0.0
    down = bool(kinds & {"V-", "P-", "C"}) or gain_db < 0.0
    return float(up) - float(down)


def _ask_only(clause: Clause) -> Edit:
    names, sign = _listed(clause.group), _direction(clause)
    size = f" by {_size(clause)}" if clause.has("A", "PC") else ""
    other = f"{'raise' if sign > 0.0 else 'lower'} {names}{size}" if sign else f"mute {names}"
    raise two_readings(clause.text, f"isolate {names}", other)


def _mute(clause: Clause) -> Edit:
    return _edit(clause, "mute")


def _isolate(clause: Clause) -> Edit:
    return _edit(clause, "isolate")


def _bare(clause: Clause) -> Edit | None:
    """ "everything but the drums", "the backing track": what is heard."""
    return _isolate(clause) if clause.group.all_but and clause.group.is_named else None


def _pan(clause: Clause) -> Edit | None:
    side = next((kind.lower() for kind, _ in clause.slots if kind in ("LEFT", "RIGHT")), None)
    shares = [(kind, value) for kind, value in clause.slots if kind in ("PC", "D", "HALFWAY", "FULL", "N")]
    if side is None or len(shares) > 1:
        return None
    if not shares:
        return _edit(clause, "pan", side)
    kind, value = shares[0]
    if kind == "FULL":
        return _edit(clause, "pan", f"completely {side}")
    if kind == "D" and value not in PAN_SHARES_OF_WORDS:
        return None
    share = float(value or 0.0) if kind in ("PC", "N") else PAN_SHARES_OF_WORDS[str(value) if kind == "D" else "half"]
    if share == 0.0:
        raise UnclearError(f"{clause.text!r} goes to no side; to have it in the middle, write {f'pan {_listed(clause.group)} centre'!r}")
    if share > 100.0:
        raise UnclearError(f"{clause.text!r} is {share:g} %; a pan goes from 0 to 100 % of the way to a side")
    return _edit(clause, "pan", pan_share(share, side))


def pan_share(share: float, side: str) -> str:
    """The amount of a pan that goes a part of the way, in per cent, to a side."""
    return {0.0: CENTRE, 100.0: f"completely {side}"}.get(share, f"{share:.10g} % {side}")


def _centre(clause: Clause) -> Edit:
    return _edit(clause, "pan", CENTRE)


def _strength(clause: Clause) -> str:
    """light, medium or heavy: of a strength, else of a degree."""
    if (named := clause.first("ST")) is not None:
        return str(named)
    return {"slightly": "light", "a lot": "heavy"}.get(str(clause.first("D")), "medium")


def _filter(clause: Clause) -> Edit:
    operation: Operation = "lowpass" if clause.has("LP") else "highpass"
    if (cutoff := clause.first("HZ")) is None:
        return _edit(clause, operation, _strength(clause))
    if not LEAST_HZ <= float(cutoff) <= MOST_HZ:
        raise UnclearError(f"{clause.text!r} is {float(cutoff):g} Hz; expected a cutoff from {LEAST_HZ:g} to {MOST_HZ:g} Hz")
    return _edit(clause, operation, float(cutoff))


def _degree(clause: Clause) -> str:
    return {"slightly": "slightly", "a lot": "much"}.get(str(clause.first("D")), "")


def _eq(clause: Clause) -> Edit:
    return _edit(clause, "eq", eq_amount(str(clause.first("TB", "TC", "TV", "TN")), degree=_degree(clause), less=clause.rule.sign < 0.0))


def _eq_less(clause: Clause) -> Edit:
    word = "muddy" if clause.has("DE") else str(clause.first("TB", "TN"))
    return _edit(clause, "eq", eq_amount(word, degree=_degree(clause), less=True))


def _width(clause: Clause) -> Edit:
    return _edit(clause, "width", f"{_degree(clause)} {'wider' if clause.rule.sign > 0.0 else 'narrower'}".strip())


def _also(build: Callable[[Clause], Edit | None]) -> Callable[[Clause], Edit | None]:
    """A clause that goes on about the stems of the one before, and asks for something else."""

    def build_also(clause: Clause) -> Edit | None:
        edit = build(clause) if clause.before is not None and (clause.group.stems or clause.group.all_but is not None) else None
        return edit if edit is not None and clause.before is not None and edit.operation != clause.before.operation else None

    return build_also


def _always(operation: Operation, amount: Amount = None) -> Callable[[Clause], Edit]:
    def build(clause: Clause) -> Edit:
        return _edit(clause, operation, amount)

    return build


def _sans(clause: Clause) -> Edit:
    """ "drumless": without the stem that the word has."""
    return Edit("mute", (str(clause.first("SANS")),))


def _of_vocals(operation: Operation) -> Callable[[Clause], Edit]:
    def build(_: Clause) -> Edit:
        return Edit(operation, ("vocals",))

    return build


def _with_strength(operation: Operation) -> Callable[[Clause], Edit]:
    def build(clause: Clause) -> Edit:
        return _edit(clause, operation, _strength(clause))

    return build


BUILDERS: Mapping[str, Callable[[Clause], Edit | None]] = {
    "volume": _louder,
    "volume also": _also(_louder),
    "eq also": _also(_eq),
    "width also": _also(_width),
    "compressor also": _also(_with_strength("compressor")),
    "volume up": _raised,
    "volume louder": _raised,
    "volume down": _lowered,
    "volume signed": _by_sign,
    "volume as before": _as_before,
    "ask cut": _ask_cut,
    "ask to": _ask_to,
    "ask only": _ask_only,
    "mute": _mute,
    "sans": _sans,
    "karaoke": _of_vocals("mute"),
    "a cappella": _of_vocals("isolate"),
    "isolate": _isolate,
    "bare": _bare,
    "pan": _pan,
    "pan also": _also(_pan),
    "centre also": _also(_centre),
    "centre": _centre,
    "filter": _filter,
    "roll off highs": _always("lowpass", STRENGTHS[1]),
    "roll off lows": _always("highpass", STRENGTHS[1]),
    "dereverb": _always("dereverb"),
    "reverb": _with_strength("reverb"),
    "eq": _eq,
    "eq less": _eq_less,
    "width": _width,
    "mono": _always("width", MONO),
    "compressor": _with_strength("compressor"),
}
