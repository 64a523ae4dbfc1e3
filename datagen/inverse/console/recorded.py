"""A fitted console as a row: the signal that renders its mix again, in a pair of a corpus or by ``stemwright.datagen.pairs.render``.

Conventions
    A stem that is late in the mix by so many frames is read that much earlier; its branch says so.
    A shared room is a send that returns the difference. Its settings are recorded, not the response that was found, which no row holds:
    what is rendered is ``SharedRoom.settings_alone``, as loud and as long, with a noise of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from stemwright.datagen.effects import room
from stemwright.datagen.effects.ranges import FADER_DB
from stemwright.datagen.effects.settings import EffectSettings
from stemwright.datagen.inverse.console.reverberation import Feed
from stemwright.datagen.inverse.console.shared_room import SharedRoom
from stemwright.datagen.inverse.fitted_chain import Use
from stemwright.manifests.pair_records import Branch, SendBus, Signal
from stemwright.manifests.records import EffectUse

NAME = "room"  # of the send


def recorded(
    chains: Mapping[str, Sequence[Use]],
    bus: Sequence[Use],
    sources: Mapping[str, str],
    *,
    lags: Mapping[str, int],
    send: SharedRoom | None,
    name: str = "mix",
) -> Signal:
    """The signal of chains by stem, the chain of their bus, and a shared room; ``sources`` are the ids of the stems' rows.

    Gains into the room below the range of a send, which is that of a fader, are left out. Raises ValueError for a stem without an id.
    """
    if missing := [stem for stem in chains if stem not in sources]:
        raise ValueError(f"expected the id of a source for each stem; there is none for {', '.join(missing)}")
    branches = tuple(Branch(source_id=sources[stem], chain=uses(chain), offset_frames=-lags.get(stem, 0)) for stem, chain in chains.items())
    shared = _send(send, list(chains)) if send is not None else None
    return Signal(name=name, branches=branches, bus=uses(bus), sends=(shared,) if shared else ())


def uses(chain: Sequence[Use]) -> tuple[EffectUse, ...]:
    """A chain as a row has it: settings that are infinite, which are those of an effect that is off, are left out."""
    return tuple(EffectUse(effect=effect, settings=_finite(settings)) for effect, settings in chain)


def _finite(settings: EffectSettings) -> dict[str, float | str | bool]:
    return {name: value for name, value in settings.plain().items() if not isinstance(value, float) or math.isfinite(value)}


def _send(shared: SharedRoom, stems: Sequence[str]) -> SendBus | None:
    gains_db = tuple(_in_range(shared.gains_db.get(stem, -math.inf)) for stem in stems)
    if all(gain_db is None for gain_db in gains_db):
        return None
    feed = "mean" if shared.feed is Feed.MEAN else None
    return SendBus(name=NAME, gains_db=gains_db, chain=uses([(room.NAME, shared.settings)]), feed=feed, returns="difference")


def _in_range(gain_db: float) -> float | None:
    return gain_db if gain_db >= FADER_DB[0] else None
