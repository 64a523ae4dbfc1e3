"""Wet and dry sides of one sound as RemFX makes them, for the protocol ``removal``.

Conventions
    Sounds are mono float32 [1, T] at the rate of the preset, 48 kHz. Settings, order and levels are drawn and rendered by the recipe
    ``removal`` with RemFX's presets (``stemwright.datagen.pairs.recipes.remfx``), but for its ``min_change_db``, which the published data
    does not have. The draw is keyed by a name and a seed. A pair that sounds alike on both sides is drawn again, as published.
    A second counts as sounding by RemFX's own rule for an excerpt: a mean absolute sample of at least 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.inverse.undo.requests import Knowledge
from stemwright.datagen.inverse.undo.reversal import undo
from stemwright.datagen.pairs.audibility import check_audible
from stemwright.datagen.pairs.plan import generator
from stemwright.datagen.pairs.recipes import remfx, removal
from stemwright.datagen.pairs.recipes.base import TrackMaterial
from stemwright.datagen.pairs.render import render
from stemwright.manifests.pair_records import Pair, Signal
from stemwright.manifests.records import AudioFile, Estimate, Refused, Stem, Track, content_id, seal
from stemwright.manifests.sound.formats import Audio

RATE, NUM_FRAMES = remfx.SHAPE
MOST_DRAWS = 20
SOUNDS = 1e-4
LEAST_S = 1.0  # a sound shorter than an excerpt is taken whole; one shorter than this is refused
NAME = "sound"


@dataclass(frozen=True)
class WetDry:
    """Both sides of a pair [1, T], the removed effects in their order, and wet undone with its known settings where that is possible."""

    wet: Audio
    dry: Audio
    removed: tuple[str, ...] = ()
    undone: Audio | None = None
    sample_rate: int = RATE


class DrySound:
    """One sound [1, T] at RATE that pairs are made of; ``name`` keys what is drawn. Raises Refused where it is silent or too short."""

    def __init__(self, sound: Audio, name: str, duration_s: float | None = None) -> None:
        longest = NUM_FRAMES if duration_s is None else min(NUM_FRAMES, round(duration_s * RATE))
        self.num_frames = min(longest, sound.shape[1])
        if self.num_frames < LEAST_S * RATE:
            raise Refused(f"it lasts {sound.shape[1] / RATE:.2f} s; an excerpt takes at least {LEAST_S:g} s")
        self.sound, self.name = sound, name
        self._material = _material(sound, name, self.num_frames)
        if not self._material.sounding:
            raise Refused("it sounds nowhere for half of an excerpt")

    def pair(self, preset: str, number: int, seed: int) -> WetDry:
        """The pair of a preset and a number. Raises Refused where none can be drawn."""
        config = removal.Config.model_validate({"preset": preset, "min_change_db": -120.0})
        reason = ""
        for attempt in range(MOST_DRAWS):
            draft = removal.draft(self._material, config, generator(seed, self.name, preset, number, attempt))
            pair = Pair(
                id="0" * 16,
                kind="removal",
                number=number,
                track_id=self._material.track.id,
                split="test",
                sample_rate=RATE,
                num_frames=self.num_frames,
                seed=seed,
                **{name: getattr(draft, name) for name in ("start_frame", "inputs", "targets", "redraw_below", "min_change_db")},
            )
            rendered = render(pair, self._read)
            try:
                check_audible(pair, rendered)
            except Refused as refusal:
                reason = str(refusal)
                continue
            chains = [_levelled(signal, rendered.levelled_db[signal.name]) for signal in (pair.inputs[0], pair.targets[0])]
            removed = tuple(use.effect for use in pair.inputs[0].branches[0].chain if use.role == "removed")
            return WetDry(rendered["wet"], rendered["dry"], removed, _undone(rendered["wet"], *chains))
        raise Refused(f"{MOST_DRAWS} draws of {preset} gave no pair: {reason}")

    def untouched(self, number: int, seed: int) -> WetDry:
        """A pair without effects: the dry side of another, twice."""
        dry = self.pair("remfx-5-1", number, seed).dry
        return WetDry(dry, dry)

    def _read(self, source_id: str, start_frame: int, num_frames: int, sample_rate: int) -> Audio:
        if source_id != self._material.named[NAME].id or sample_rate != RATE:
            raise ValueError(f"expected the source {self._material.named[NAME].id} at {RATE} Hz; got {source_id} at {sample_rate} Hz")
        return self.sound[:, start_frame : start_frame + num_frames]


def mono(audio: Audio) -> Audio:
    """The mean of the channels, [1, T]."""
    mean: Audio = audio.mean(axis=0, keepdims=True, dtype=np.float32)
    return mean


def _levelled(signal: Signal, gains_db: tuple[float, ...]) -> tuple[Any, ...]:
    """The chain of a signal of one branch, each ``loudness`` as the gain in dB that it had."""
    gains = iter(gains_db)
    return tuple(next(gains) if "normalising" in EFFECTS[use.effect].TRAITS else use for use in signal.branches[0].chain)


def _undone(wet: Audio, chain: tuple[Any, ...], remaining: tuple[Any, ...]) -> Audio | None:
    """Wet undone with the settings that made it; None where one of the removed effects has no inverse."""
    if not all(isinstance(use, float) or use.role != "removed" or hasattr(EFFECTS[use.effect], "invert") for use in chain):
        return None
    return np.asarray(undo(wet, RATE, known=Knowledge(chain=chain, remaining=remaining, source="row")).audio, np.float32)


def _material(sound: Audio, name: str, num_frames: int) -> TrackMaterial:
    """The sound as the only stem of a recording, with what drawing an excerpt of it needs to know."""
    sha256 = content_id(name) * 4
    file = AudioFile(path=NAME, sample_rate=RATE, num_channels=1, num_frames=sound.shape[1], num_bytes=4 * sound.shape[1], sha256=sha256)
    key = {"cache_key": content_id(name)}
    track = seal(Track, audio=file, sound=sha256, title=name, source="folder", split="test", peak_dbfs=0.0, **key)
    stem = seal(Stem, track_id=track.id, name=NAME, audio=file, origin="reference", gain_db=0.0, closure_db=None, **key)
    levels: dict[str, Any] = dict.fromkeys(("loudness_lufs", "peak_dbfs", "level_lu", "level_low_lu", "level_high_lu", "pan", "width"))
    estimate = seal(Estimate, stem_id=stem.id, track_id=track.id, name=NAME, active=_active(sound), **levels, **key)
    return TrackMaterial(track, (stem,), {NAME: estimate}, RATE, num_frames)


def _active(sound: Audio) -> tuple[bool, ...]:
    """For each second, the last possibly a part of one, whether it sounds."""
    starts = range(0, sound.shape[1], RATE)
    return tuple(bool(np.abs(sound[:, start : start + RATE]).mean() >= SOUNDS) for start in starts)
