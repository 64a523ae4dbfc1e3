"""What a song is recognised by: its fingerprint, and sketches of its mixture and stems, taken from its stems, which sum to the mixture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.names import MOST_FRAMES, SampleRate
from stemwright.manifests.records import Id, Record, Stem
from stemwright.manifests.sound import fingerprint, sketch
from stemwright.manifests.sound.decoding import blocks
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resampled

BLOCK_FRAMES = 1 << 16


class FingerprintRow(Record):
    """What a song is recognised by in any encoding, and what a copy is aligned by to the sample."""

    id: Id
    sample_rate: SampleRate
    num_frames: int = Field(gt=0, le=MOST_FRAMES)
    num_channels: int = Field(ge=1, le=2)
    words: str
    anchors: str


class SketchRow(Record):
    """128 sums of a song's mixture (by its track's id), or of a stem: enough to measure by how many dB a copy differs, and no more."""

    id: Id
    energy: float
    values: str


def sound_marks(folder: Path, stems: Sequence[Stem]) -> list[Record]:
    """The fingerprint of a song and the sketches of its mixture and its stems, read from its stems in one pass."""
    first = stems[0].audio
    gain = np.float32(1.0 / db_to_gain(stems[0].gain_db))
    readers = [blocks(located(folder, stem.audio), BLOCK_FRAMES) for stem in stems]
    sketches = {stem.id: sketch.Sketch(stem.audio.num_channels) for stem in stems}
    whole = sketch.Sketch(first.num_channels)
    starts, length = sketch.anchor_starts(first.num_frames, first.sample_rate)
    windows = sketch.Windows(starts, length)

    def mixture() -> Iterator[Audio]:
        for parts in zip(*readers, strict=True):
            for stem, part in zip(stems, parts, strict=True):
                sketches[stem.id].add(part)
            summed = np.asarray(np.sum(parts, axis=0, dtype=np.float32) * gain, np.float32)
            whole.add(summed)
            windows.add(summed)
            yield summed.mean(axis=0, keepdims=True, dtype=np.float32)

    low = mixture() if first.sample_rate == fingerprint.RATE else resampled(mixture(), first.sample_rate, fingerprint.RATE)
    words = fingerprint.words_of(fingerprint.mono_of(low))
    facts = {"sample_rate": first.sample_rate, "num_frames": first.num_frames, "num_channels": first.num_channels}
    anchors = sketch.pack(sketch.project(windows.values))
    marks: list[Record] = [FingerprintRow(id=stems[0].track_id, words=fingerprint.pack(words), anchors=anchors, **facts)]
    made = {stems[0].track_id: whole, **sketches}
    return marks + [SketchRow(id=name, energy=one.energy, values=sketch.pack(one.values)) for name, one in made.items()]
