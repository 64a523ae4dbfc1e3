"""The song that a verb writes: its format, and what happens where a file cannot hold its peak. For edit, undo, apply and mix.

Conventions
    Audio is float [C, T], full scale 1.0. A float WAV holds every peak, so nothing is done to the level of one. Elsewhere a peak above
    full scale is brought down by one gain for the song, which is reported; with ``keep_level = "limit"`` only the peaks are, by the
    limiter of ``stemwright.datagen.effects`` with its ceiling at full scale, in a lossy format 1 dB below (all channels together, a
    look-ahead of 1.5 ms, a release of 100 ms), and how much, how long and where is reported; with ``"refuse"`` nothing is written.
    ``Limited``: time counts as limited where the gain is below ``AUDIBLE_DB``; stretches less than ``GAP_S`` apart are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stemwright.manifests.decibels import db_to_gain, gain_to_db, joint_gain_db
from stemwright.manifests.disk.outputs import check_output
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.containers import tags
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.song_writing import SONG_SUFFIXES, SongFormat, check_channels, song_format, write_song
from stemwright.manifests.usage import UsageError

KeepLevel = Literal["lower", "limit", "refuse"]
KEEPING = ("limit", "refuse")
AUDIBLE_DB = -0.1
GAP_S = 1.0
LOSSY_CEILING_DB = -1.0  # of the limiter before a lossy codec, whose decoded peaks exceed those that were encoded (AES TD1004)
SHOWN = 3  # stretches that a sentence names


@dataclass(frozen=True)
class Limited:
    """What a limiter did to a song: its lowest gain and where, the share of time, and the stretches in seconds."""

    lowest_db: float
    lowest_s: float
    share: float
    stretches: tuple[tuple[float, float], ...]

    def plain(self) -> dict[str, Any]:
        """All of it as plain values for JSON."""
        return {"lowest_db": self.lowest_db, "lowest_s": self.lowest_s, "share": self.share, "stretches": [*map(list, self.stretches)]}

    def text(self) -> str:
        """A sentence of it."""
        longest = sorted(self.stretches, key=lambda each: each[0] - each[1])[:SHOWN]
        places = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in sorted(longest))
        more = f" and {len(self.stretches) - SHOWN} more places" if len(self.stretches) > SHOWN else ""
        where = f" ({100.0 * self.share:.1f} % of the time: {places}{more})" if places else ""
        return f"limited by at most {-self.lowest_db:.2f} dB, at {self.lowest_s:.2f} s{where}; the rest kept its level"


@dataclass(frozen=True)
class Levelled:
    """A song that a file can hold: audio [C, T], the gain that is in it, what a limiter did, and notes."""

    audio: Audio
    gain_db: float = 0.0
    limited: Limited | None = None
    notes: tuple[str, ...] = ()

    @property
    def peak_dbfs(self) -> float | None:
        """The highest sample; None for silence."""
        peak = float(np.abs(self.audio).max(initial=0.0))
        return round(gain_to_db(peak), 3) if peak else None

    def plain(self) -> dict[str, Any]:
        """The level, as plain values for JSON."""
        return {"gain_db": self.gain_db, "limited": self.limited.plain() if self.limited else None, "peak_dbfs": self.peak_dbfs}

    def lines(self, what: str) -> list[str]:
        """Sentences on the level; ``what`` is what would have peaked, such as "the edited song"."""
        said = [f"limiter: {self.limited.text()}"] if self.limited else []
        if self.gain_db:
            said.append(
                f"lowered by {-self.gain_db:.2f} dB: {what} would have peaked above full scale; "
                "write .wav (float) to keep its level, or add --keep-level limit"
            )
        if self.peak_dbfs is not None and self.peak_dbfs > 0.0:
            said.append(f"peaks at {self.peak_dbfs:+.2f} dBFS: float WAV holds it, but a player clips it; turn it down before playing")
        return said


@dataclass(frozen=True)
class SongOutput:
    """A song to write: the file, its format, and what to do with peaks that it cannot hold."""

    path: Path
    format: SongFormat
    keep_level: KeepLevel = "lower"

    def levelled(self, audio: Audio, sample_rate: int, what: str = "the song", beside: Iterable[Audio] = ()) -> Levelled:
        """Brings [C, T] below the ceiling of the file. ``beside`` are signals that get the same gain, and are written to such files, too.

        Raises Refused where the level is to be kept and cannot be, UsageError for more channels than the format has.
        """
        check_channels(self.format, audio.shape[0])
        peak, ceiling = float(np.abs(audio).max(initial=0.0)), self.format.ceiling
        others = max((float(np.abs(each).max(initial=0.0)) for each in beside), default=0.0)
        if max(peak, others) <= ceiling:
            return Levelled(np.asarray(audio, np.float32))
        if self.keep_level == "lower":
            gain_db = joint_gain_db(max(peak, others), ceiling)
            return Levelled(np.asarray(audio * db_to_gain(gain_db), np.float32), gain_db)
        if self.keep_level == "refuse" or others > ceiling:
            at_s = int(np.abs(audio).max(axis=0).argmax()) / sample_rate
            who = f"{what} peaks at {gain_to_db(peak):+.2f} dBFS, at {at_s:.2f} s" if peak > ceiling else "a stem peaks above full scale"
            raise Refused(f"{who}: {self.format.name} cannot hold it at its level. Write .wav (float){self._other_ways(others)}")
        return _limited(audio, sample_rate, db_to_gain(LOSSY_CEILING_DB) if self.format.codec else ceiling)

    def _other_ways(self, others: float) -> str:
        if others > self.format.ceiling:
            return ", or leave out --save-stems or --keep-level"
        return ", or use --keep-level limit, or leave it out to lower all by one gain"

    def write(self, level: Levelled, sample_rate: int, like: Path | None = None) -> Levelled:
        """Writes the file, with the tags of the recording ``like``; returns the level with notes on what the format changed."""
        notes = write_song(self.path, level.audio, sample_rate, self.format, tags(like) if like else None)
        return replace(level, notes=level.notes + notes)

    def beside(self, path: Path) -> SongOutput:
        """Another file that is written in the same way."""
        return replace(self, path=path)


@dataclass(frozen=True)
class OutputOptions:
    """The options of a verb that writes a song: bits of a sample, bit rate in kbit/s, and limit or refuse (None: one gain for all)."""

    bits: int | None = None
    bit_rate_kbps: float | None = None
    keep_level: str | None = None

    def to(self, path: Path, inputs: Sequence[Path] = ()) -> SongOutput:
        """The output at a path. Raises UsageError for one that cannot be written, that is one of the inputs, or that has no such bits."""
        check_output(path, SONG_SUFFIXES, inputs)
        if self.keep_level is not None and self.keep_level not in KEEPING:
            raise UsageError(f"expected to keep the level by {' or '.join(KEEPING)}; got {self.keep_level!r}")
        keep: KeepLevel = "limit" if self.keep_level == "limit" else "refuse" if self.keep_level == "refuse" else "lower"
        return SongOutput(path, song_format(path, self.bits, self.bit_rate_kbps), keep)

    def plain(self) -> dict[str, Any]:
        """The options that were given, as plain values."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _limited(audio: Audio, sample_rate: int, ceiling: float) -> Levelled:
    """[C, T] through the limiter."""
    import torch

    from stemwright.datagen.effects import limiter

    settings = limiter.Settings(ceiling_db=gain_to_db(ceiling))
    with torch.inference_mode():
        gain = limiter.gain_curve(torch.from_numpy(np.array(audio, np.float64)), sample_rate, settings).numpy()[0]
    made = np.clip(audio * gain, -ceiling, ceiling)  # rounding: by less than a step of float32
    lowest = int(gain.argmin())
    low = gain < db_to_gain(AUDIBLE_DB)
    found = Limited(
        round(gain_to_db(float(gain[lowest])), 3),
        round(lowest / sample_rate, 3),
        round(float(low.mean()), 6),
        _stretches(low, sample_rate),
    )
    return Levelled(np.asarray(made, np.float32), limited=found)


def _stretches(low: np.ndarray, sample_rate: int) -> tuple[tuple[float, float], ...]:
    """The times (start, end) in s at which a mask [T] is true."""
    places = np.flatnonzero(low)
    if not len(places):
        return ()
    cuts = np.flatnonzero(np.diff(places) > GAP_S * sample_rate)
    starts, ends = places[np.r_[0, cuts + 1]], places[np.r_[cuts, len(places) - 1]] + 1
    return tuple((round(a / sample_rate, 2), round(b / sample_rate, 2)) for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
