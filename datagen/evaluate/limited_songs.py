"""Limited mixtures and what they were before the limiter, for the protocol ``limit``: of musdb-XL's gains, or by our own limiter.

    musdb-XL     limited = 16 bit(gain x mixture of MUSDB18-HQ)
    ours         limited = limiter(mixture at the drawn loudness), ceiling 0 dBFS, as the recipe ``limit`` draws it

Conventions
    Audio is float32 [C, T] at the rate of its files. Both sides are brought to -14 LUFS, as published: what a de-limiter receives. Gains
    are those between the two sides at that level. Where a gain is nearly 0 the mixture is silent or cannot be restored;
    ``known_gain`` is 1 there.
    Samples of 16 bit are quantised as libsndfile does, which wrote the published files: down to the next step, not rounded.

References
    Jeon and Lee 2022 and 2023, and their repositories: facts only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.evaluate.evaluated_songs import middle
from stemwright.datagen.inverse.undo.known import LOWEST_GAIN
from stemwright.datagen.pairs.plan import generator
from stemwright.datagen.pairs.recipes.limit import DRIVEN_DB, LOUDEST_LUFS, QUIETEST_LUFS, Config
from stemwright.manifests.catalog.musdb_gains import SEGMENT_S, STEMS, SUMMED, MusdbGain
from stemwright.manifests.decibels import db_to_gain, gain_to_db
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.formats import Audio

LOUDNESS_LUFS = -14.0


@dataclass(frozen=True)
class LimitedSong:
    """A limited mixture and the mixture before the limiter, both [C, T] at -14 LUFS, and the gain between them, [1 or C, T].

    ``limited_lufs`` is the loudness that the limiter gave out.
    """

    limited: Audio
    unlimited: Audio
    gain: Audio
    sample_rate: int
    limited_lufs: float

    @property
    def known_gain(self) -> Audio:
        """The gain to divide by: 1 where it is too small to restore anything."""
        gain: Audio = np.where(np.abs(self.gain) < LOWEST_GAIN, np.float32(1.0), self.gain)
        return gain


def musdb_limited(gain: MusdbGain, songs: dict[str, Path], duration_s: float | None = None) -> LimitedSong:
    """A song or segment of musdb-XL; ``songs`` are the folders of MUSDB18-HQ by name.

    Raises Refused where a file is missing or does not fit.
    """
    mixture, sample_rate = _segment(gain, songs) if gain.parts else _mixture(gain, songs)
    curve = gain.read(*mixture.shape)
    limited = as_16_bit(curve * mixture)
    part = middle(mixture.shape[1], sample_rate, duration_s)
    return _levelled(limited[:, part], mixture[:, part], curve[:, part], sample_rate)


def limited_by_us(mixture: Audio, sample_rate: int, name: str, seed: int, preset: str = "XL") -> LimitedSong:
    """A mixture limited by our limiter, at a loudness and a release drawn as published, keyed by a name. Raises Refused if it is silent."""
    import torch

    from stemwright.separation.loudness.meter import integrated_loudness

    config, rng = Config.model_validate({"preset": preset}), generator(seed, name, "limit", 0)
    loudness, peak = integrated_loudness(mixture, sample_rate), float(np.abs(mixture).max(initial=0.0))
    if not math.isfinite(loudness):
        raise Refused("it is silent, or too short for a loudness")
    drive = config.drive_lufs[0] + config.drive_lufs[1] * float(rng.standard_normal())
    drive = max(drive, config.ceiling_db + DRIVEN_DB - (gain_to_db(peak) - loudness))  # or nothing would be limited anywhere
    driven = mixture * np.float32(db_to_gain(min(max(drive, QUIETEST_LUFS), LOUDEST_LUFS) - loudness))
    low, high = config.release_ms
    release_ms = float(np.exp(rng.uniform(math.log(low), math.log(high))))
    limiter: Any = EFFECTS["limiter"]
    settings = limiter.Settings(ceiling_db=config.ceiling_db, release_ms=release_ms, lookahead_ms=config.lookahead_ms)
    with torch.inference_mode():
        curve = limiter.gain_curve(torch.from_numpy(np.ascontiguousarray(driven)), sample_rate, settings).numpy()
    limited = apply_chain(driven, sample_rate, [("limiter", settings)])
    return _levelled(np.asarray(limited, np.float32), driven, curve, sample_rate)


def as_16_bit(audio: Audio) -> Audio:
    """The samples as a 16-bit file of libsndfile holds them; what is beyond full scale is clipped."""
    steps: Audio = np.clip(np.floor(audio * np.float32(2.0**15)), -(2.0**15), 2.0**15 - 1.0)
    return steps / np.float32(2.0**15)


def _levelled(limited: Audio, unlimited: Audio, gain: Audio, sample_rate: int) -> LimitedSong:
    """Both sides at -14 LUFS, and the gain between them there. Raises Refused for silence."""
    from stemwright.separation.loudness.meter import integrated_loudness

    levels = [integrated_loudness(audio, sample_rate) for audio in (limited, unlimited)]
    if not all(map(math.isfinite, levels)):
        raise Refused("it is silent, or too short for a loudness")
    factors = [np.float32(db_to_gain(LOUDNESS_LUFS - level)) for level in levels]
    return LimitedSong(limited * factors[0], unlimited * factors[1], gain * (factors[0] / factors[1]), sample_rate, levels[0])


def _mixture(gain: MusdbGain, songs: dict[str, Path]) -> tuple[Audio, int]:
    """The mixture that was limited: the file, or the sum of the four stems."""
    folder = _folder(gain.name, songs, gain.split)
    if gain.split == "test" and gain.name != SUMMED:
        return load(folder / "mixture.wav")
    return _sum([load(folder / f"{stem}.wav") for stem in STEMS], folder)


def _segment(gain: MusdbGain, songs: dict[str, Path]) -> tuple[Audio, int]:
    """The sum of four stems of train songs, each from its start, at its gain, its channels swapped or not."""
    parts = []
    for stem, part in gain.parts:
        path = _folder(part.song, songs, gain.split) / f"{stem}.wav"
        _, sample_rate = load(path, num_frames=1)
        audio, _ = load(path, int(part.start_s * sample_rate), round(SEGMENT_S * sample_rate))
        parts.append(((audio[::-1] if part.is_swapped else audio) * np.float32(part.gain), sample_rate))
    return _sum(parts, gain.path.parent)


def _sum(parts: list[tuple[Audio, int]], place: Path) -> tuple[Audio, int]:
    if len({(audio.shape, rate) for audio, rate in parts}) > 1:
        raise Refused(f"the stems in {place} differ in length, channels or sample rate")
    total: Audio = np.sum([audio for audio, _ in parts], axis=0, dtype=np.float32)
    return total, parts[0][1]


def _folder(name: str, songs: dict[str, Path], split: str) -> Path:
    if name not in songs:
        raise Refused(f"its song is missing: expected the folder {split}/{name} of MUSDB18-HQ")
    return songs[name]
