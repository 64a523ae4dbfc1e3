"""Tempo, beats and key of a recording.

Beats are those of Ellis's dynamic programming on the onset strength, as in librosa: a tempo is chosen first, near 120 BPM where the
music allows several, and the beats follow the onsets at about that tempo. The reported tempo is that of the beats themselves, from a
line fitted to their times, which is far finer than the grid on which the tempo was searched.

The key is the one of 24 whose profile of pitch classes the recording's mean chroma resembles most.

Conventions
    audio is float32 [C, T], full scale 1.0; channels are averaged. Times are seconds from the start of the audio.
    Octaves of the tempo: 60, 120 and 240 beats per minute may all be right for the same music. The level nearest 120 BPM is
    taken, so a steady pulse of 50 may be given as 100, and one of 200 as 100.
    Silence, noise, and audio too short for four beats have no tempo; audio without pitches has no key: None. Whether a detected beat is
    the one a listener would tap is unknown: beats have no confidence.

References
    D. P. W. Ellis, Beat tracking by dynamic programming, Journal of New Music Research 36 (2007); McFee et al., librosa (2015).
    C. L. Krumhansl, Cognitive foundations of musical pitch (1990), table 2.1: the probe-tone profiles of Krumhansl and Kessler (1982),
    and section 4: correlating them with how long each pitch class sounds.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from stemwright.manifests.disk.folders import cache_folder, can_write, private_folder
from stemwright.manifests.disk.locks import LockedError, NoLocksError, locked
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample

ANALYSIS_RATE = 22_050  # Hz; sufficient for beats and chroma
HOP_FRAMES = 256  # 11.6 ms
LATENESS_S = 0.017  # of librosa's onset strength against the onset itself, measured on clicks, see tests/separation/test_tempo.py
MIN_BEATS = 4
MIN_CLARITY = 0.1  # of the pulse, see ``_clarity``; noise stays below 0.07; a few irregular clicks may not
SILENCE = 1e-5  # -100 dBFS

TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
PROFILES = {  # Krumhansl 1990, table 2.1: how well each pitch class fits a key, from its tonic upwards
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
MIN_CONTRAST = 0.1  # of the mean chroma, see ``find_key``
MIN_RESEMBLANCE = 0.5  # correlation with the best key's profile
MIN_CONFIDENCE = 0.01  # one sustained note fits its minor and its major key equally well


@dataclass(frozen=True)
class Beats:
    """The tempo in beats per minute and the times of the beats in seconds; None and none where no beat was found."""

    tempo_bpm: float | None = None
    times_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Key:
    """A key such as "A minor" or "C# major", and by how much its correlation exceeds that of the next best; None and 0 where it is
    ambiguous.
    """

    name: str | None = None
    confidence: float = 0.0


def find_beats(audio: Audio, sample_rate: int) -> Beats:
    """Tempo and beats of audio [C, T]."""
    mono = mono_for_analysis(audio, sample_rate)
    if mono.size < HOP_FRAMES * 8 or float(np.abs(mono).max()) < SILENCE:
        return Beats()
    librosa = librosa_module()
    strength = librosa.onset.onset_strength(y=mono, sr=ANALYSIS_RATE, hop_length=HOP_FRAMES)
    if not float(strength.max(initial=0.0)) > 0.0:
        return Beats()
    _, frames = librosa.beat.beat_track(onset_envelope=strength, sr=ANALYSIS_RATE, hop_length=HOP_FRAMES)
    if len(frames) < MIN_BEATS or _clarity(strength, frames) < MIN_CLARITY:
        return Beats()
    times_s = np.maximum(frames * (HOP_FRAMES / ANALYSIS_RATE) - LATENESS_S, 0.0)
    return Beats(60.0 / _period(times_s), tuple(float(time_s) for time_s in times_s))


def find_key(audio: Audio, sample_rate: int) -> Key:
    """Key of audio [C, T]."""
    mono = mono_for_analysis(audio, sample_rate)
    if mono.size < ANALYSIS_RATE // 2 or float(np.abs(mono).max()) < SILENCE:
        return Key()
    librosa = librosa_module()
    chroma = librosa.feature.chroma_stft(y=mono, sr=ANALYSIS_RATE, n_fft=4096, hop_length=2048, norm=None)
    return key_of_chroma(chroma.mean(axis=1))


def key_of_chroma(chroma: Any) -> Key:
    """The key whose profile a chroma [12], from C upwards, resembles most. None where the pitch classes are too even or fit none."""
    chroma = np.asarray(chroma, dtype=np.float64)
    mean = float(chroma.mean())
    if not mean > 0.0 or float(chroma.std()) / mean < MIN_CONTRAST:
        return Key()
    found = {
        f"{tonic} {mode}": float(np.corrcoef(np.roll(profile, number), chroma)[0, 1])
        for mode, profile in PROFILES.items()
        for number, tonic in enumerate(TONICS)
    }
    best, second, *_ = sorted(found, key=found.__getitem__, reverse=True)
    if found[best] < MIN_RESEMBLANCE or found[best] - found[second] < MIN_CONFIDENCE:
        return Key()
    return Key(best, min(1.0, found[best] - found[second]))


def pitch_set(key: str) -> int:
    """The major tonic, 0 for C to 11 for B, whose scale a key uses: that of a minor key is its relative major's, three semitones up.

    Raises ValueError for an invalid key.
    """
    tonic, _, mode = key.partition(" ")
    if tonic not in TONICS or mode not in PROFILES:
        raise ValueError(f"{key!r} is not a key; expected a tonic ({', '.join(TONICS)}) and major or minor")
    return (TONICS.index(tonic) + (3 if mode == "minor" else 0)) % 12


@cache
def librosa_module() -> ModuleType:
    """librosa, imported by one process at a time.

    Its import compiles kernels and keeps each in two files. Processes that do so at once on a new installation corrupt them, and from
    then on every call of such a kernel crashes, until the files are removed (numba's issue 10128, librosa's 1998).
    """
    with _alone():
        for name in ("beat", "feature", "onset", "segment"):
            importlib.import_module(f"librosa.{name}")
        return importlib.import_module("librosa")


@contextmanager
def _alone() -> Iterator[None]:
    """Locks the place where librosa's kernels are cached: another process waits. Without locks, kernels are not shared."""
    from stemwright.separation import kernels

    spec = find_spec("librosa")
    package = Path(spec.origin).parent if spec and spec.origin else None
    for folder in sorted({source.parent for source in package.rglob("*.py")}) if package else ():
        kernels.prepare(folder)
    beside = package if package and can_write(package / "__pycache__") else cache_folder()  # if not beside them, in a cache of the user's
    with ExitStack() as held:
        if not _lock(held, kernels.kept_in() or beside):
            private = private_folder()
            if private and _lock(held, private):
                kernels.keep_in(private / "numba")
            else:
                kernels.keep_nothing()
        yield


def _lock(held: ExitStack, folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(folder / "stemwright-compiling.lock", wait=True))
    except (NoLocksError, LockedError, OSError):
        return False
    return True


def mono_for_analysis(audio: Audio, sample_rate: int) -> Audio:
    """[T] at the rate of the analysis."""
    mono = np.asarray(audio, np.float32).mean(axis=0, keepdims=True)
    return np.ascontiguousarray((resample(mono, sample_rate, ANALYSIS_RATE) if sample_rate != ANALYSIS_RATE else mono)[0])


def _period(times_s: Any) -> float:
    """Seconds between beats: the median over pairs of beats that are half of all beats apart, which a stray beat does not move."""
    apart = len(times_s) // 2
    return float(np.median((times_s[apart:] - times_s[:-apart]) / apart))


def _clarity(strength: Any, frames: Any) -> float:
    """How periodic the onsets are: the highest autocorrelation of their strength at one to four beats, 1 for a strict repetition."""
    centred = strength - strength.mean()
    energy = float(centred @ centred)
    if not energy > 0.0:
        return 0.0
    beat = _period(frames.astype(np.float64))
    lags = {lag for beats in range(1, 5) for lag in range(round(beats * beat) - 2, round(beats * beat) + 3) if 0 < lag < len(centred)}
    return max((float(centred[lag:] @ centred[:-lag]) / energy for lag in lags), default=0.0)
