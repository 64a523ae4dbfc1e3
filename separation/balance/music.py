"""What a recording is as music: its sections, its tempo and its key.

Sections are found by joining neighbouring half seconds that are alike in timbre (MFCC), harmony (chroma) and level, most alike first, until
so many are left as there may be sections at all, and then the least different neighbours, until all that are left differ clearly.

Conventions
    audio is float32 [C, T], full scale 1.0. Times are seconds from the start; sections follow each other without a gap, from 0 to the end.
    A section has at least MIN_S seconds, and no name: which are verses is not said. Music that does not change is one section.

References
    McFee et al., librosa (2015): agglomerative clustering of neighbours (``librosa.segment.agglomerative``). Ward 1963 (cost). Tempo, key:
    ``stemwright.separation.tempo``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemwright.separation import tempo
from stemwright.separation.tempo import ANALYSIS_RATE, find_beats, find_key

Array = NDArray[np.floating]

HOP_FRAMES, FRAMES_PER_STEP = 1024, 11
STEP_S = HOP_FRAMES * FRAMES_PER_STEP / ANALYSIS_RATE  # 0.51 s
MIN_S = 6.0  # shorter sections are joined to the neighbour that they resemble more
MOST_A_MINUTE = 6
MIN_DIFFERENCE = 1.0  # of neighbours: mean squared difference of their means, over what the features vary within sections
LEVEL_FLOOR_DB = -60.0  # against the loudest step
WEIGHTS = (1.0, 1.0, 3.0)  # of timbre, harmony and level


@dataclass(frozen=True)
class Music:
    """Sections from start to end in seconds; the tempo and the key, None where there is none or it is ambiguous."""

    sections: tuple[tuple[float, float], ...] = ()
    tempo_bpm: float | None = None
    key: str | None = None
    key_confidence: float = 0.0


def hear_music(audio: Array, sample_rate: int, *, sections: bool = True) -> Music:
    """Sections, if they are requested, tempo and key of audio [C, T]."""
    mono = tempo.mono_for_analysis(audio, sample_rate)
    beats, key = find_beats(mono[None], ANALYSIS_RATE), find_key(mono[None], ANALYSIS_RATE)
    return Music(find_sections(mono[None], ANALYSIS_RATE) if sections else (), beats.tempo_bpm, key.name, key.confidence)


def find_sections(audio: Array, sample_rate: int) -> tuple[tuple[float, float], ...]:
    """The sections of audio [C, T], as start and end in seconds; none of no audio."""
    duration_s = audio.shape[1] / sample_rate
    if not duration_s:
        return ()
    mono = tempo.mono_for_analysis(audio, sample_rate)
    count = int(len(mono) / ANALYSIS_RATE / STEP_S)
    most = int(min(duration_s / MIN_S, MOST_A_MINUTE * duration_s / 60 + 1, count))
    if most < 2 or float(np.abs(mono).max(initial=0.0)) < tempo.SILENCE:
        return ((0.0, duration_s),)
    features = _features(mono)
    edges = _joined(features, _clusters(features, min(2 * most, features.shape[1] - 1)))
    inner = [float(edge * STEP_S) for edge in edges[1:-1]]
    return tuple(zip([0.0, *inner], [*inner, duration_s], strict=True))


def _features(mono: Array) -> Array:
    """Timbre, harmony and level of each step, [features, steps], each feature with about unit variance over the recording."""
    librosa = tempo.librosa_module()
    how: dict[str, Any] = {"sr": ANALYSIS_RATE, "hop_length": HOP_FRAMES}
    power = np.abs(librosa.stft(mono, n_fft=2048, hop_length=HOP_FRAMES)) ** 2
    mel = librosa.feature.melspectrogram(S=power, sr=ANALYSIS_RATE)
    timbre = librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=14, **how)[1:]
    harmony = librosa.feature.chroma_stft(S=power, n_fft=2048, norm=None, **how)
    steps = power.shape[1] // FRAMES_PER_STEP

    def stepped(values: Array) -> Array:
        return np.asarray(values[:, : steps * FRAMES_PER_STEP].reshape(len(values), steps, FRAMES_PER_STEP).mean(-1), np.float64)

    harmony = stepped(harmony)
    harmony = np.sqrt(harmony / np.maximum(harmony.sum(0), 1e-12))
    level = 10.0 * np.log10(np.maximum(stepped(power.sum(0, keepdims=True)), 1e-12))
    level = np.maximum(level, level.max() + LEVEL_FLOOR_DB)
    parts = [stepped(timbre), harmony, level]
    return np.concatenate([weight**0.5 * _standard(part) for weight, part in zip(WEIGHTS, parts, strict=True)])


def _standard(part: Array) -> Array:
    """Features of one kind [features, steps] without their means, over the root of their mean variance and of their number."""
    centred = part - part.mean(axis=1, keepdims=True)
    return np.asarray(centred / max(float(np.sqrt(np.mean(centred**2) * len(part))), 1e-9))


def _clusters(features: Array, number: int) -> list[int]:
    """Edges of so many clusters of neighbours, in steps, with the end."""
    librosa = tempo.librosa_module()
    return [*map(int, librosa.segment.agglomerative(features, number)), features.shape[1]]


def _joined(features: Array, edges: list[int]) -> list[int]:
    """Edges of what is left after joining short sections to a neighbour, and neighbours that do not differ clearly."""
    sums = np.concatenate([np.zeros((len(features), 1)), np.cumsum(features, axis=1)], axis=1)
    shortest = MIN_S / STEP_S

    def mean(start: int, stop: int) -> Array:
        return np.asarray((sums[:, stop] - sums[:, start]) / (stop - start))

    while len(edges) > 2:
        spans = list(pairwise(edges))
        within = sum(float(np.sum((features[:, a:b] - mean(a, b)[:, None]) ** 2)) for a, b in spans) / features.shape[1]
        apart = [float(np.sum((mean(*one) - mean(*other)) ** 2)) / max(within, 1e-9) for one, other in pairwise(spans)]
        short = [min(one[1] - one[0], other[1] - other[0]) < shortest for one, other in pairwise(spans)]
        order = [(not is_short, value) for is_short, value in zip(short, apart, strict=True)]
        least = min(range(len(order)), key=order.__getitem__)
        if not short[least] and apart[least] >= MIN_DIFFERENCE:
            break
        edges = [*edges[: least + 1], *edges[least + 2 :]]
    return edges
