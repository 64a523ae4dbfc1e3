"""A reverb that stems of a console share: each is sent to it after its fader with a gain of its own, and it returns to the mix bus.

The reverb and the chains are found in turns: what the chains leave of the mixture determines the response
(``stemwright.datagen.inverse.console.reverberation``), the mixture without the reverberation the chains. The response is kept beside the
settings of the room: settings alone cannot render the same waveform, since their noise is another one.

Conventions
    A gain is the energy of the reverberation of a stem against its direct sound as it is in the mix: 0 dB is as much of both. The wet level
    of the room is 0 dB; only its reverberation returns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stemwright.datagen.effects import room
from stemwright.datagen.effects.settings import Range, fields
from stemwright.datagen.inverse.confidence import confidence_of
from stemwright.datagen.inverse.console.reverberation import Feed, Reverberation, convolved, gains_in, most_likely_room, reverberation

if TYPE_CHECKING:
    from stemwright.datagen.inverse.solver import Vector

SENDS = ("room",)  # what can be shared
CALLED = {"reverb": "room"}  # as the sends of the recipe ``remix`` call it
LONGEST_S = 16.0  # of the mixture, in which the response is found
SILENT_DB = -100.0
PART_ITERATIONS = 40
PARTS = 3  # of those seconds, in which settings are found by themselves
SEND_TOLERANCE_DB = 1.5
SEARCHED = ("rt60_s", "pre_delay_ms", "damping")


@dataclass(frozen=True)
class SharedRoom:
    """The gains into a room by stem, in dB, its settings, and the response that was found, float64 [C, L] at ``sample_rate``.

    Without a response the room's own noise is used, at other rates that of ``sample_rate`` resampled: it sounds alike, but is another
    waveform. ``confidence`` has a number for each setting that was searched, as "room.rt60_s", and for the gain of each stem by
    its name.
    """

    gains_db: dict[str, float]
    settings: room.Settings
    response: torch.Tensor | None = None
    sample_rate: int = 44_100
    feed: Feed = Feed.EACH
    confidence: dict[str, float] = field(default_factory=dict)

    def returned(self, wet: Mapping[str, Any], sample_rate: int) -> torch.Tensor:
        """What the room adds to the mix of stems as they are in it [C, T], float64 [C, T]; of stems that it has no gain for, nothing.

        Raises ValueError for stems of fewer channels than its response has.
        """
        parts = [10.0 ** (self.gains_db[name] / 20.0) * torch.as_tensor(audio) for name, audio in wet.items() if name in self.gains_db]
        if not parts:
            return torch.zeros_like(torch.as_tensor(next(iter(wet.values()))))
        fed = torch.stack(parts).sum(0)
        fed = fed if self.feed is Feed.EACH else fed.mean(0, keepdim=True).expand_as(fed)
        response = self.response_at(sample_rate, len(fed))
        if response is None:
            return room.apply(fed, sample_rate, self.settings) - fed
        if len(response) not in (1, len(fed)):
            raise ValueError(f"the response of the shared room has {len(response)} channels: expected as many of the stems, got {len(fed)}")
        return convolved(fed, response.expand(len(fed), -1))

    def response_at(self, sample_rate: int, channels: int = 2) -> torch.Tensor | None:
        """The response at a sample rate, of the same gain at every frequency that both have; None for the room's own noise at its rate."""
        if sample_rate == self.sample_rate:
            return self.response
        from stemwright.manifests.sound.resampling import resample

        # Noise drawn at another rate is another one: of tonal sound, it would be up to some dB louder or softer.
        response = room.impulse_response(self.settings, self.sample_rate, channels) if self.response is None else self.response
        audio = resample(response.float().numpy(), self.sample_rate, sample_rate)
        return torch.from_numpy(np.asarray(audio, float)) * (self.sample_rate / sample_rate)

    @property
    def is_found(self) -> bool:
        """Whether any stem is sent to it: where all gains are at their lowest, the mixture has no such room."""
        return any(gain_db > SILENT_DB for gain_db in self.gains_db.values())

    def settings_alone(self) -> SharedRoom:
        """The same without the response."""
        return replace(self, response=None)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each gain and each setting of the room, like those of a console."""
        gains = [("send", name, "gain_db", value, "dB", self.confidence.get(name)) for name, value in self.gains_db.items()]
        settings: list[Any] = [each for each in fields(room.Settings).values() if each.name in SEARCHED]
        values = [
            (room.NAME, "", each.name, getattr(self.settings, each.name), each.unit, self.confidence.get(f"room.{each.name}"))
            for each in settings
        ]
        names = ("effect", "stem", "setting", "value", "unit", "confidence")
        return [dict(zip(names, row, strict=True)) for row in (*gains, *values)]


def shared_room(
    mixture: torch.Tensor, wet: Mapping[str, torch.Tensor], sample_rate: int, taps: Vector, *, confidences: bool = True
) -> SharedRoom:
    """The room that explains what the direct sounds of stems [C, T] leave of a mixture [C, T]."""
    part = _loudest(wet, sample_rate)
    left = (mixture - torch.stack(list(wet.values())).sum(0))[:, part]
    heard = [audio[:, part] for audio in wet.values()]
    found = reverberation(left, heard, sample_rate, taps)
    gains_db = {name: max(20.0 * math.log10(gain + 1e-12), SILENT_DB) for name, gain in zip(wet, found.gains.tolist(), strict=True)}
    confidence = _confidences(found, left, heard, list(wet), sample_rate, taps) if confidences else {}
    return SharedRoom(gains_db, found.settings, torch.from_numpy(found.response), sample_rate, found.feed, confidence)


def _loudest(wet: Mapping[str, torch.Tensor], sample_rate: int) -> slice:
    """Where most of the direct sound is."""
    frames, total = round(LONGEST_S * sample_rate), next(iter(wet.values())).shape[-1]
    if total <= frames:
        return slice(0, total)
    power = torch.stack(list(wet.values())).sum(0).square().sum(0)
    energy = torch.cat([power.new_zeros(1), power.cumsum(0)])
    first = int((energy[frames:] - energy[:-frames]).argmax())
    return slice(first, first + frames)


def _confidences(
    found: Reverberation, left: torch.Tensor, wet: Sequence[torch.Tensor], names: Sequence[str], sample_rate: int, taps: Vector
) -> dict[str, float]:
    """From how the settings and the gains of parts of the music differ."""
    edges = np.linspace(0, left.shape[-1], PARTS + 1).astype(int)
    parts = [found.feed.of(audio) for audio in wet]
    rooms, gains = [], []
    for part in map(slice, edges[:-1], edges[1:]):
        heard = [audio[:, part] for audio in parts]
        rooms.append(most_likely_room(left[:, part], heard, found.gains, sample_rate, near=found.settings, iterations=PART_ITERATIONS))
        gains.append(gains_in(found, left, wet, taps, part))
    known = {}
    declared: dict[str, Any] = dict(fields(room.Settings))
    for name in SEARCHED:
        spread = np.std([declared[name].to_unit(getattr(each, name)) for each in rooms], ddof=1)
        known[f"room.{name}"] = confidence_of(declared[name], 0.0, 0.0, float(spread))
    tolerance = Range("gain_db", -60.0, 12.0, "dB", "linear", 0.0, tolerance=SEND_TOLERANCE_DB)
    for name, values in zip(names, np.array(gains).T, strict=True):
        spread_db = np.std(20.0 * np.log10(np.maximum(values, 1e-3 * max(values.max(), 1e-9))), ddof=1)
        known[name] = confidence_of(tolerance, 0.0, 0.0, float(spread_db / 72.0)) if values.max() > 0.0 else 0.0
    return known if found.gains.max() > 0.0 else dict.fromkeys(known, 0.0)  # settings of no room: alike in all parts, and nobody's
