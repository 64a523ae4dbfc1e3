"""Plans from a trained mixer: it hears excerpts of all stems, each at one loudness, and says the gain and pan of each.

Conventions
    The stems are heard at the rate and in excerpts of the length that the mixer was trained on, one after another, or MOST_EXCERPTS spread
    over a long song. A stem's gain in dB is the mean of what the mixer says of the excerpts in which it sounds, and so is its pan; with the
    gain, the stem is at the gain plus -23 LUFS, relative to the others. A stem sounds in an excerpt if it is at most SOFTER_LU below its
    loudest one; every stem is heard at least where its peak is.
    A stem is one of the mixer's names: by its own; else by the part of a song that its role belongs to (lead_vox.wav: vocals). Several
    stems of one such name share its level. What the mixer has no name for is left out, and said. There is no equaliser.
    Neither the order of the stems nor the gains that they have change anything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.mixing.mixer_weights import TrainedMixer
from stemwright.datagen.mixing.settling import (
    MIX_LUFS,
    MixSettings,
    Reason,
    StemPlan,
    before_fader,
    loudness_at_any_level,
    settle,
)
from stemwright.datagen.mixing.stem_plans import KnownStem, name_among, parts_of
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.usage import UsageError

MOST_EXCERPTS, SOFTER_LU = 24, 20.0
FARTHEST = 0.95  # a pan beyond is held here, so that neither side is silent


class Decision(NamedTuple):
    """What the mixer says about a stem: gain in dB, pan, and the number of excerpts that it is the mean of."""

    gain_db: float
    pan: float
    num_excerpts: int


def mix_by_trained(stems: Mapping[str, Audio], sample_rate: int, mixer: TrainedMixer, *, loudness_lufs: float = MIX_LUFS) -> MixSettings:
    """Faders and pans of dry stems by a trained mixer.

    ``stems`` are float32 [2, T] of one shape. Raises UsageError where the mixer has no name for any of them, Refused where all are silent.
    """
    parts, left_out = parts_of(stems, sample_rate)
    names = {part.name: name_among(mixer.facts.names, part) for part in parts}
    known = {name: like for name, like in names.items() if like is not None}
    trained = ", ".join(mixer.facts.names)
    left_out |= {name: f"{mixer.named} was trained on no stem like it; it has {trained}" for name in names if name not in known}
    if not known:
        raise UsageError(
            f"{mixer.named} was trained on no stems like {', '.join(names)}; it has {trained}. Use --by rules, or other weights"
        )
    decisions = decided({name: stems[name] for name in known}, sample_rate, mixer, known)
    shared = Counter(known.values())
    plans = {
        part.name: _plan(part, stems[part.name], sample_rate, (mixer.named, decisions[part.name], shared[known[part.name]]))
        for part in parts
        if part.name in known
    }
    settled, bus, measured_lufs, peak_dbtp = settle(stems, sample_rate, plans, loudness_lufs=loudness_lufs)
    return MixSettings(settled, bus, measured_lufs, peak_dbtp, left_out)


def _plan(part: KnownStem, audio: Audio, sample_rate: int, said: tuple[str, Decision, int]) -> StemPlan:
    named, decision, shared = said
    gain_db = decision.gain_db - 10.0 * math.log10(shared)
    placed = StemPlan(part.role.name, part.role_from, gain_db, pan=min(max(decision.pan, -FARTHEST), FARTHEST))
    # The fader follows the pan: what the pan does to the loudness of a stereo stem is part of its level, and not made up for.
    moved_lu = loudness_at_any_level(before_fader(audio, sample_rate, placed), sample_rate) - part.loudness_lufs
    by = f"trained mixer {named}"
    heard = f"{gain_db:+.1f} dB from {decision.num_excerpts} excerpt{'s' if decision.num_excerpts != 1 else ''}"
    level = Reason("gain at one loudness", heard + (f", shared by {shared}" if shared > 1 else ""), by)
    reasons = (level, Reason("pan", f"{placed.pan + 0.0:+.2f}", by))
    return StemPlan(placed.role, placed.role_from, gain_db + moved_lu, (), placed.pan, reasons=reasons)


def decided(stems: Mapping[str, Audio], sample_rate: int, mixer: TrainedMixer, kinds: Mapping[str, str]) -> dict[str, Decision]:
    """What the mixer says about stems [2, T] of one shape, none of them silent; ``kinds`` are the names that they have for it."""
    import torch

    rate, names = mixer.facts.sample_rate, sorted(stems)
    heard = {name: resample(stems[name], sample_rate, rate) for name in names}
    places = torch.tensor([mixer.facts.names.index(kinds[name]) for name in names])
    excerpts = _excerpts(list(heard.values()), max(round(mixer.facts.duration_s * rate), _least_frames()))
    loudness = np.array([[loudness_at_any_level(each, rate) for each in excerpt] for excerpt in excerpts])  # [E, N]
    sounds = np.isfinite(loudness) & (loudness >= loudness.max(0) - SOFTER_LU)
    gains, pans = np.zeros(sounds.shape), np.zeros(sounds.shape)
    with torch.inference_mode():
        for number, excerpt in enumerate(excerpts):
            if sounds[number].any():
                tracks = torch.from_numpy(_levelled(excerpt, loudness[number], sounds[number]))[None]
                gains[number], pans[number] = (said[0].numpy() for said in mixer.network(tracks, places))
    counts = sounds.sum(0)
    means = [(np.where(sounds, said, 0.0).sum(0) / np.maximum(counts, 1)).tolist() for said in (gains, pans)]
    return {name: Decision(*said) for name, *said in zip(names, *means, counts.tolist(), strict=True)}


def _least_frames() -> int:
    from stemwright.datagen.mixing.mixer_network import LEAST_FRAMES

    return LEAST_FRAMES


def _excerpts(stems: list[Audio], num_frames: int) -> list[NDArray[np.float32]]:
    """Excerpts [N, 2, T] of all stems, padded with zeros where the song is shorter."""
    whole = np.stack(stems)
    whole = np.pad(whole, ((0, 0), (0, 0), (0, max(0, num_frames - whole.shape[2]))))
    last = whole.shape[2] - num_frames
    starts = set(np.linspace(0, last, min(MOST_EXCERPTS, -(-whole.shape[2] // num_frames))).astype(int).tolist())
    for peak in np.abs(whole).max(1).argmax(1).tolist():
        if not any(start <= peak < start + num_frames for start in starts):
            starts.add(min(max(peak - num_frames // 2, 0), last))
    return [whole[:, :, start : start + num_frames] for start in sorted(starts)]


def _levelled(excerpt: NDArray[np.float32], loudness: Iterable[float], sounds: Iterable[bool]) -> NDArray[np.float32]:
    """The tracks as the network was trained to hear them; zeros for those that do not sound."""
    from stemwright.datagen.mixing.mixer_network import LISTENING_LUFS

    gains = [db_to_gain(LISTENING_LUFS - each) if there else 0.0 for each, there in zip(loudness, sounds, strict=True)]
    return np.asarray(np.array(gains)[:, None, None] * excerpt, np.float32)
