"""From a text to its edits: every clause is read against the tree of patterns, from left to right; all ways to part a text are kept.

    items      of ``phrases.items``; an unknown word ends it here
    clauses    from each place where a clause may begin, every pattern that fits; clauses are joined by "and", ",", "then", ";"
    readings   of the parts of a text, those with the fewest clauses; two that differ are an error that names both

Conventions
    The work is proportional to the length of a text: a clause is at most as long as the longest pattern with every stem named, and at most
    ``MOST_READINGS`` are kept at each place. ``Reader.steps`` counts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from stemwright.datagen.edit.language.label import OPPOSITES, Edit, EditError
from stemwright.datagen.edit.language.meaning import ALL_OF_IT, Clause, Group, UnclearError, is_complaint, meaning
from stemwright.datagen.edit.language.patterns import Node, Pattern, tree
from stemwright.datagen.edit.language.phrases import Phrase, Value, items

MOST_READINGS = 4
QUANTITIES = ("A", "G", "PC", "D", "HALF")
SHARES = ("PC", "D", "HALFWAY", "N")
ALIASES = {  # what a slot of a pattern takes
    **{"Q": QUANTITIES, "SHARE": SHARES, "SIDE": ("LEFT", "RIGHT"), "F": ("LP", "HP")},
    "SEP": ("SEP", "END"),
}
JOINING = ("SEP", "END")
QUANTIFYING = ("M+", "M-")
CLOSING = ("A", "G", "PC", "P+", "P-", "L+", "L-")  # what a clause has after its stems
Slots = tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Reading:
    """What the first part of a text means: its edits, or what is unclear in it; the stems of the last clause."""

    edits: tuple[Edit, ...] = ()
    unclear: UnclearError | None = None
    group: Group | None = None
    named: tuple[str, ...] = ()
    num_clauses: int = 0
    complaints: tuple[Edit, ...] = ()  # those of the edits that say what is wrong


class Reader:
    """Reads one text. ``steps`` counts the items looked at."""

    def __init__(self, text: str, stems: Sequence[str], found: Sequence[Phrase] | None = None) -> None:
        self.text = text
        self.items = list(items(text, stems) if found is None else found)
        self.num_stems = len(stems)
        self.steps = 0

    def readings(self) -> list[Reading]:
        """The readings of the whole text with the fewest clauses; none if it is no edit."""
        kept: list[list[Reading]] = [[] for _ in range(len(self.items) + 1)]
        kept[self._after_joints(0)] = [Reading()]
        for start in range(len(self.items)):
            for before in kept[start]:
                for end, reading in self._clauses(start, before):
                    self._keep(kept[end], reading)
        whole = [reading for reading in kept[-1] if reading.num_clauses]
        fewest = min((reading.num_clauses for reading in whole), default=0)
        return [reading for reading in whole if reading.num_clauses == fewest]

    def _keep(self, place: list[Reading], reading: Reading) -> None:
        same = any(
            each.edits == reading.edits and each.group == reading.group and (each.unclear is None) == (reading.unclear is None)
            for each in place
        )
        if not same:
            place.append(reading)
            place.sort(key=lambda each: each.num_clauses)
            del place[MOST_READINGS:]

    def _after_joints(self, at: int) -> int:
        while at < len(self.items) and self._is_joint(at):
            at += 1
        return at

    def _is_joint(self, at: int) -> bool:
        return any(kind in JOINING for kind in self.items[at].kinds)

    def _is_parted(self, at: int) -> bool:
        """Whether a clause may end here without a word that joins: "vocals -3 dB drums +2 dB", "vocals up drums down"."""
        here, before = self.items[at].kinds, self.items[at - 1].kinds
        if "STEM" in before:  # "more vocals less drums"
            return any(kind in QUANTIFYING for kind in here)
        return "STEM" in here and any(kind in CLOSING for kind in before)

    def _clauses(self, start: int, before: Reading) -> Iterator[tuple[int, Reading]]:
        begin = start + 1 if self._is_filling(start) else start
        for first in (begin,):
            for end, rules, slots, group in self._walk(first, tree(), (), None, before):
                if end < len(self.items) and not self._is_joint(end) and not self._is_parted(end):
                    continue
                for rule in rules:
                    if (reading := self._reading(rule, slots, group, first, end, before)) is not None:
                        yield self._after_joints(end), reading

    def _is_filling(self, at: int) -> bool:
        """Whether a "just" is but a word before a verb: "just turn up the vocals", not "just the vocals"."""
        following = self.items[at + 1].kinds if at + 1 < len(self.items) else {}
        return "JUST" in self.items[at].kinds and not any(kind in following for kind in ("STEM", "ALL", "ACC", "REST", "IT", "INSTRUMENTS"))

    def _reading(self, rule: Pattern, slots: Slots, group: Group | None, start: int, end: int, before: Reading) -> Reading | None:
        text = self.text if (start, end) == (0, len(self.items)) else " ".join(item.text for item in self.items[start:end])
        last = before.edits[-1] if before.edits else None
        try:
            about = before.group if group is None and rule.name.endswith("also") else group
            edit = meaning(Clause(rule, slots, about or Group(()), text, last))
        except UnclearError as unclear:
            return replace(before, unclear=before.unclear or unclear, num_clauses=before.num_clauses + 1)
        except EditError as error:
            return replace(before, unclear=before.unclear or UnclearError(str(error)), num_clauses=before.num_clauses + 1)
        if edit is None:
            return None
        now = about or Group(edit.stems)
        after = replace(before, group=now, named=(*before.named, *now.stems), num_clauses=before.num_clauses + 1)
        return self._with_complaint(after, edit) if is_complaint(rule) else self._with_edit(after, edit)

    def _with_complaint(self, reading: Reading, complaint: Edit) -> Reading:
        """A reading with what is wrong: an edit, unless what to do about it was said before; then it is a reason."""
        at_odds = _first_at_odds([complaint], reading.edits, self.text)
        if any(_is_remedied(complaint, edit) for edit in reading.edits):
            return replace(reading, unclear=reading.unclear or at_odds)
        complaints = (*reading.complaints, complaint)
        return replace(reading, edits=(*reading.edits, complaint), unclear=reading.unclear or at_odds, complaints=complaints)

    def _with_edit(self, reading: Reading, edit: Edit) -> Reading:
        """A reading with an edit, which takes the place of what was said to be wrong."""
        at_odds = _first_at_odds(reading.complaints, [edit], self.text)
        kept = tuple(each for each in reading.edits if each not in reading.complaints or not _is_remedied(each, edit))
        return replace(reading, edits=(*kept, edit), unclear=reading.unclear or at_odds)

    def _walk(
        self, at: int, node: Node, slots: Slots, group: Group | None, before: Reading
    ) -> Iterator[tuple[int, list[Pattern], Slots, Group | None]]:
        """Every way on through the patterns from here: where it ends, the rules that end there, and what was found on the way."""
        self.steps += 1
        if node.rules:
            yield at, node.rules, slots, group
        if at == len(self.items):
            return
        kinds = self.items[at].kinds
        for kind, following in node.following.items():
            if kind == "S":
                for end, found in self._groups(at, before):
                    yield from self._walk(end, following, slots, found, before)
            elif kind == "REST":
                if "REST" in kinds:
                    yield from self._walk(at + 1, following, slots, group, before)
            else:
                for each in ALIASES.get(kind, (kind,)):
                    if each in kinds:
                        yield from self._walk(at + 1, following, (*slots, (each, kinds[each])), group, before)

    def _groups(self, at: int, before: Reading) -> Iterator[tuple[int, Group]]:
        """The stems that are named here, each way that their list may end."""
        kinds = self.items[at].kinds
        if "STEM" in kinds:
            yield from ((end, Group(stems)) for end, stems in self._lists(at))
        if self.items[at].text == "it" and before.group is None:
            yield at + 1, ALL_OF_IT
        if "IT" in kinds and before.group is not None:
            yield at + 1, replace(before.group, is_named=False)
        if "REST" in kinds and before.named:
            yield at + 1, Group((), tuple(dict.fromkeys(before.named)), is_named=False)
        if "ACC" in kinds:
            yield at + 1, Group((), ("vocals",))
        if "ALL" in kinds or "INSTRUMENTS" in kinds:
            excepted = at + 1 < len(self.items) and "EXC" in self.items[at + 1].kinds
            if self._follows_stem(at):
                yield from ((end, Group(stems)) for end, stems in self._lists(at + 1))
            elif excepted:
                yield from ((end, Group((), stems)) for end, stems in self._lists(at + 2))
            else:
                yield at + 1, Group((), ("vocals",) if "INSTRUMENTS" in kinds else ())

    def _follows_stem(self, at: int) -> bool:
        """Whether "all" is before the name of a stem: "all drums"."""
        return self.items[at].text == "all" and at + 1 < len(self.items) and "STEM" in self.items[at + 1].kinds

    def _lists(self, at: int) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The lists of stems from here, of one, two and so on: "drums", "drums and bass"."""
        named: list[str] = []
        while at < len(self.items) and len(named) <= self.num_stems:
            self.steps += 1
            if "STEM" not in self.items[at].kinds:
                return
            named.append(str(self.items[at].kinds["STEM"]))
            at += 1
            yield at, tuple(named)
            joint = at
            while joint < len(self.items) and "SEP" in self.items[joint].kinds and joint - at < 2:
                joint += 1
            if joint == at:
                return
            at = joint


def read(text: str, stems: Sequence[str]) -> tuple[Edit, ...]:
    """The edits in a text, none if its words are known but it is no edit.

    Raises UnknownWordError, and UnclearError where the text has two readings or asks for what cannot be.
    """
    reader = Reader(text, stems)
    found = reader.readings()
    if not found and (moved := _with_exception_first(reader.items)) is not None:
        found = Reader(text, stems, moved).readings()
    if not found:
        return ()
    for reading in found:
        if reading.unclear is not None:
            raise reading.unclear
    if len({reading.edits for reading in found}) > 1:
        shown = (", then ".join(_shown(edit) for edit in reading.edits) for reading in found[:2])
        raise UnclearError(f"{text!r} has two readings: {' or '.join(shown)}; write them as sentences of their own, joined by ';'")
    if ";" not in text:  # which states an order of its own
        _check_left(found[0].edits, text)
    return found[0].edits


def _with_exception_first(listed: Sequence[Phrase]) -> list[Phrase] | None:
    """The phrases of "turn all down but the vocals" in the order of "turn all but the vocals down"; None for other texts."""
    everything = [at for at, each in enumerate(listed) if "ALL" in each.kinds or "INSTRUMENTS" in each.kinds]
    exceptions = [at for at, each in enumerate(listed) if "EXC" in each.kinds]
    if len(everything) != 1 or len(exceptions) != 1 or exceptions[0] <= everything[0] + 1:
        return None
    at, moved, end = everything[0] + 1, exceptions[0], len(listed)
    while not set(listed[end - 1].kinds).isdisjoint(JOINING) and end > moved + 1:
        end -= 1
    excepted = listed[moved + 1 : end]
    between = listed[at:moved]
    if any(set(each.kinds) & {"STEM", *JOINING} for each in between) or not all(set(each.kinds) & {"STEM", "SEP"} for each in excepted):
        return None
    return [*listed[:at], *listed[moved:end], *between, *listed[end:]]


def _is_remedied(complaint: Edit, edit: Edit) -> bool:
    """Whether an edit is what is to be done about a complaint: of the same stems, and of the same kind or to leave them out."""
    same = (complaint.stems, complaint.all_but) == (edit.stems, edit.all_but)
    return same and edit.operation in (complaint.operation, "mute")


def _first_at_odds(complaints: Sequence[Edit], edits: Sequence[Edit], text: str) -> UnclearError | None:
    return next(filter(None, (_at_odds(complaint, edit, text) for complaint in complaints for edit in edits)), None)


def _at_odds(complaint: Edit, edit: Edit, text: str) -> UnclearError | None:
    """The error where an edit goes against a complaint, or is about only some of its stems."""
    if OPPOSITES.get(complaint.operation) == edit.operation:
        return _both_ways(complaint, edit, text) if set(complaint.stems) & set(edit.stems) else None
    if complaint.operation != edit.operation or not set(complaint.stems) & {*edit.stems, *(edit.all_but or ())}:
        return None
    if not _is_remedied(complaint, edit):
        return UnclearError(f"{text!r} is about other stems in one part than in the other; write what to do with each stem")
    if complaint.gain_db is not None and edit.gain_db is not None:
        against = complaint.gain_db * edit.gain_db < 0.0
    else:
        words, asked = str(complaint.amount).split(), str(edit.amount).split()
        against = words[-1:] == asked[-1:] and ("less" in words) != ("less" in asked)
    return _both_ways(complaint, edit, text) if against else None


def _both_ways(complaint: Edit, edit: Edit, text: str) -> UnclearError:
    return UnclearError(f"{text!r} goes both ways ({_shown(complaint)}, and {_shown(edit)}); write only what is to be done")


def _check_left(edits: Sequence[Edit], text: str) -> None:
    """Raises UnclearError where an edit is about a stem that one before it has left out."""
    for at, edit in enumerate(edits):
        for before in edits[:at]:
            gone = [
                name
                for name in edit.stems
                if before.operation in ("mute", "isolate") and before.is_about(name) == (before.operation == "mute")
            ]
            if gone and edit.operation != "mute" and edit.all_but is None:
                raise UnclearError(f"{text!r} leaves {gone[0]!r} out, and then changes it; write the one that is meant")
            if edit.operation == "mute" and before.operation == "isolate" and set(before.stems) <= set(edit.stems):
                raise UnclearError(f"{text!r} leaves nothing: it isolates {', '.join(before.stems)} and then mutes it")


def _shown(edit: Edit) -> str:
    return " ".join(part for part in (edit.operation, edit.stems_text, edit.amount_text) if part)
