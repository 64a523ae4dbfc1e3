"""The settings of effects as vectors: labels that a network is trained to predict.

Conventions
    A vocabulary is a fixed list of slots. A number has the slot ``effect.setting``, where its value is along the setting's own scale, 0 at
    the low end of its range and 1 at the high end; a level that moved with the joint gain of an example may be beyond. One that may be
    switched off besides has a slot ``effect.setting=off``, 0 or 1. A choice has a slot ``effect.setting=option`` for each option, one of
    them 1.
    Where an effect is used several times in one chain, each use has slots of its own: ``loudness.target_db`` is that of the first,
    ``loudness#2.target_db`` that of the second. So the loudness into a limiter and the loudness after it are two labels.
    A vector has a mask: False where the chain has not this effect, or where a number is switched off. A setting that a row does not name
    has its neutral value and is there.
    ``removed``, ``kept`` and ``added`` are sets: a slot ``removed.effect`` for every effect, 1 where the chain has it in that role, 0 where
    it has not, and there for every chain. They are in a vocabulary only on request.
    The gain with which a branch feeds a send of its signal has a slot ``send.NAME``, along the scale of a fader; its mask is False where
    the branch does not feed it.
    The order of the effects is not in the vector; the pair has it. Slots depend on the version of this package and on how often an effect
    may be used in one chain; part of them is chosen by effect, by setting or by role.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stemwright.datagen.effects import EFFECTS, resolve_chain
from stemwright.datagen.effects.settings import Choice, Plain, Range, fields, range_of

if TYPE_CHECKING:
    from stemwright.datagen.effects import Chain

OFF = "off"
SEND = "send"  # what the gains of sends are called, beside the effects
ROLES = ("removed", "kept", "added")


class Vocabulary:
    """The slots of some effects, settings or roles, of all effects if none is named: chains become vectors, and vectors chains again.

    ``wanted`` are names of effects ("fader"), of settings ("eq.low_shelf_gain_db"), of later uses of both ("fader#2"), of roles
    ("removed"), and of sends ("send" takes all of them, "send.reverb" that one); the plain name of an effect takes all its uses. ``uses``
    says how often an effect may be used in one chain, once if it says nothing; ``sends`` which sends there are. ``names`` are the K slots
    of a vector, each 0 to 1 along the scale of its setting; ``encode`` gives (values float32 [K], mask bool [K]) of a chain, ``decode`` the
    settings of a vector, a prediction as well. Raises ValueError naming the nearest for a name that there is not.

    >>> import stemwright as sw
    >>> vocabulary = sw.Vocabulary(["fader"])
    >>> values, mask = vocabulary.encode([("fader", {"gain_db": -6.0, "pan": 0.5})])
    >>> vocabulary.names, mask.tolist()
    (('fader.gain_db', 'fader.pan'), [True, True])
    >>> {name: round(value, 3) for name, value in vocabulary.decode(values, mask)["fader"].items()}
    {'gain_db': -6.0, 'pan': 0.5}
    """

    def __init__(self, wanted: Sequence[str] = (), uses: Mapping[str, int] | None = None, sends: Sequence[str] = ()) -> None:
        self.uses = {effect: max(1, (uses or {}).get(effect, 1)) for effect in EFFECTS}
        every = {f"{use}.{name}": field for effect, use in self._each_use() for name, field in fields(EFFECTS[effect].Settings).items()}
        every |= {f"{SEND}.{name}": range_of(EFFECTS["fader"].Settings, "gain_db") for name in sends}
        known = {*EFFECTS, *every, *(use for _, use in self._each_use()), *ROLES, *((SEND,) if sends else ())}
        if isinstance(wanted, str):
            raise TypeError(f"expected a list of names, such as [{wanted!r}]; got the text {wanted!r}")
        for name in wanted:
            if name not in known:
                (near,) = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
                raise ValueError(f"there is no effect, setting or role {name!r} to label; did you mean {near!r}?")
        self.settings = {key: field for key, field in every.items() if not wanted or _names_of(key) & {*wanted}}
        self.roles = tuple(role for role in ROLES if role in wanted)
        self._slots = {key: _slots(key, field) for key, field in self.settings.items()}
        names = [slot for slots in self._slots.values() for slot in slots]
        self.names: tuple[str, ...] = (*names, *(f"{role}.{effect}" for role in self.roles for effect in EFFECTS))
        at = {name: number for number, name in enumerate(self.names)}
        self._at = {key: [at[slot] for slot in slots] for key, slots in self._slots.items()}
        self._role_at = {(role, effect): at[f"{role}.{effect}"] for role in self.roles for effect in EFFECTS}

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        parts = [f"{len(self.names)} slots"]
        if self.settings:
            parts.append("of " + ", ".join(dict.fromkeys(key.split(".")[0] for key in self.settings)))
        if self.roles:
            parts.append("roles " + ", ".join(self.roles))
        return f"<Vocabulary: {'; '.join(parts)}>".replace("slots; of", "slots of")

    def _each_use(self) -> list[tuple[str, str]]:
        """(effect, what its n-th use is called), first uses before second ones."""
        most = max(self.uses.values())
        return [(effect, called(effect, number)) for number in range(1, most + 1) for effect, uses in self.uses.items() if number <= uses]

    def encode(self, chain: Chain, sends: Mapping[str, float] | None = None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """(values [K], mask [K]) of a chain, as ``apply_chain`` takes it, and the gains in dB with which its branch feeds sends; roles are
        those of its rows.

        Raises ValueError for settings that the effect does not take, or a use too many.
        """
        values, mask = np.zeros(len(self), np.float32), np.zeros(len(self), np.bool_)
        mask[list(self._role_at.values())] = True
        seen: Counter[str] = Counter()
        for use in chain:
            [(module, settings)] = resolve_chain([use])
            effect, role = module.NAME, use.get("role") if isinstance(use, Mapping) else getattr(use, "role", None)
            seen[effect] += 1
            if seen[effect] > self.uses[effect]:
                raise ValueError(f"a chain uses {effect} {seen[effect]} times; this vocabulary has slots for {self.uses[effect]}")
            for name in fields(type(settings)):
                key = f"{called(effect, seen[effect])}.{name}"
                if key in self.settings:
                    self._put(key, getattr(settings, name), values, mask)
            if (role, effect) in self._role_at:
                values[self._role_at[str(role), effect]] = 1.0
        for name, gain_db in (sends or {}).items():
            if (key := f"{SEND}.{name}") in self.settings:
                self._put(key, gain_db, values, mask)
        return values, mask

    def _put(self, key: str, value: Any, values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> None:
        field, slots = self.settings[key], self._at[key]
        mask[slots] = True
        if isinstance(field, Choice):
            values[slots] = [option == value for option in field.options]
            return
        off = _has_off(field) and value == field.off
        values[slots] = [0.0 if off else field.to_unit(value), *((float(off),) if _has_off(field) else ())]
        mask[slots[0]] = not off

    def decode(self, values: npt.ArrayLike, mask: npt.ArrayLike) -> dict[str, dict[str, Plain]]:
        """Effect -> its settings, of a vector: the inverse of ``encode``, but for the order of the effects. Takes predictions as well.

        A second use is called "effect#2"; a role gives {effect: whether it has it}, "send" {name of the send: gain in dB}.
        """
        values, mask = np.asarray(values, np.float64), np.asarray(mask, np.bool_)
        found: dict[str, dict[str, Plain]] = {}
        for key, field in self.settings.items():
            slots = self._at[key]
            effect, _, name = key.partition(".")
            if not mask[slots].any():
                continue
            settings = found.setdefault(effect, {})
            if isinstance(field, Choice):
                settings[name] = field.options[int(values[slots].argmax())]
            elif _has_off(field) and values[slots[1]] >= 0.5 and field.off is not None:
                settings[name] = field.off
            else:
                settings[name] = _value(field, float(values[slots[0]]))
        for (role, effect), slot in self._role_at.items():
            if mask[slot]:
                found.setdefault(role, {})[effect] = bool(values[slot] >= 0.5)
        return found


def called(effect: str, number: int) -> str:
    """What the n-th use of an effect in a chain is called: the first has the effect's own name."""
    return effect if number == 1 else f"{effect}#{number}"


def _names_of(key: str) -> set[str]:
    """All names that select a setting of a use: "loudness", "loudness#2", "loudness.target_db", "loudness#2.target_db"."""
    use, _, name = key.partition(".")
    effect = use.partition("#")[0]
    return {effect, use, f"{effect}.{name}", key}


def _value(field: Range, unit: float) -> Plain:
    """The value at a place along the scale: within the range, or, of a level, within what a joint gain can make of it."""
    if not field.level:
        return float(field.from_unit(min(max(unit, 0.0), 1.0)))
    low, high = field.accepted
    return min(max(float(field.from_unit(unit)), low), high)


def _has_off(field: Range) -> bool:
    """Whether a setting can be switched off by a value outside its range."""
    return field.off is not None and not field.low <= field.off <= field.high


def _slots(key: str, field: Range | Choice) -> list[str]:
    if isinstance(field, Range):
        return [key, f"{key}={OFF}"] if _has_off(field) else [key]
    return [f"{key}={str(option).lower() if isinstance(option, bool) else option}" for option in field.options]


@dataclass(frozen=True)
class Labelled:
    """Of all pairs: how often each effect is used in one chain at most, which effects have each role, and the names of sends."""

    uses: Mapping[str, int]
    roles: Mapping[str, set[str]]
    sends: Sequence[str] = ()


def vocabulary_of(labels: bool | Sequence[str] | Vocabulary, found: Callable[[], Labelled], what: str) -> Vocabulary:
    """The requested vocabulary. Raises ValueError, naming what there is, for labels that none of the pairs carries.

    ``found`` gives what the pairs carry.
    """
    if isinstance(labels, Vocabulary):
        return labels
    there = found()
    uses, roles = there.uses, there.roles
    vocabulary = Vocabulary(() if isinstance(labels, bool) else labels, uses, there.sends)  # raises for names that there are not
    carried = {*uses, *roles, *((SEND,) if there.sends else ())}
    wanted = [] if isinstance(labels, bool) else [name for name in labels if name.partition(".")[0].partition("#")[0] not in carried]
    if wanted or not uses:
        names = ", ".join(sorted(uses)) if uses else "none: its signals are the stems and their sums as they are"
        phrase = "".join(f"; {role}: {', '.join(sorted(effects))}" for role, effects in sorted(roles.items()))
        raise ValueError(f"no {what} has {' or '.join(wanted) or 'an effect'} to label; the effects in the chains are {names}{phrase}")
    return vocabulary
