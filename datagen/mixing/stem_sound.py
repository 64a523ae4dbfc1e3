"""What is heard of a stem: where its energy is in frequency, how much of it is strokes, and whether its channels are alike.

Conventions
    audio is float32 [C, T]. All figures are ratios or frequencies: a gain changes none. The spectrum is the mean power of Hann windows of
    MEAN_FRAMES spread over the stem. The share of strokes is that of the energy which a median filter over frequency keeps against one over
    time, in the LONGEST_S seconds with most energy. Silence is refused: it has no spectrum.

References
    Fitzgerald 2010, Harmonic/percussive separation using median filtering, DAFx-10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.mixing.instrument_roles import BY_NAME, UNKNOWN, Role

Array = NDArray[np.floating]

SIZE, MEAN_FRAMES, LONGEST_S = 8192, 400, 8.0
ALIKE_DB = -50.0  # energy of the difference of two channels below that of their sum: they are one
LOW_HZ = 150.0
# By sound: strokes from this share on; their centre below KICK_HZ is a bass drum, above CYMBAL_HZ are cymbals, else a kit.
STROKES, KICK_HZ, CYMBAL_HZ, BASS_SHARE = 0.6, 150.0, 3000.0, 0.6


@dataclass(frozen=True)
class StemSound:
    """Power spectrum [F] and its frequencies in Hz [F], and whether the channels are alike."""

    power: Array
    hz: Array
    is_mono: bool

    @property
    def centre_hz(self) -> float:
        """The mean of the logarithm of frequency, weighted by power, as a frequency."""
        heard = self.hz >= 20.0
        return float(np.exp((self.power[heard] @ np.log(self.hz[heard])) / max(float(self.power[heard].sum()), 1e-300)))

    def share_below(self, hz: float) -> float:
        """The share of the energy below a frequency."""
        return float(self.power[self.hz < hz].sum() / self.power.sum())


def sound_of(audio: Array, sample_rate: int) -> StemSound:
    """Measures a stem [C, T]. Raises ValueError for silence."""
    if not np.abs(audio).max(initial=0.0) > 0.0:
        raise ValueError("expected a stem that sounds, got silence")
    size = min(SIZE, 1 << max(8, audio.shape[1].bit_length() - 1))
    padded = np.pad(audio, ((0, 0), (0, max(0, size - audio.shape[1]))))
    starts = np.linspace(0, padded.shape[1] - size, min(MEAN_FRAMES, 1 + 2 * (padded.shape[1] - size) // size)).astype(int)
    window, power = np.hanning(size).astype(np.float32), np.zeros(size // 2 + 1)
    for start in starts:
        power += np.square(np.abs(np.fft.rfft(padded[:, start : start + size] * window))).sum(0)
    return StemSound(power + 1e-300, np.arange(size // 2 + 1) * sample_rate / size, _is_mono(audio))


def _is_mono(audio: Array) -> bool:
    if audio.shape[0] == 1:
        return True
    side, middle = (float(np.sum(np.square(audio[0] + sign * audio[1], dtype=np.float64))) for sign in (-1.0, 1.0))
    return side <= 10.0 ** (ALIKE_DB / 10.0) * middle


def share_of_strokes(audio: Array, sample_rate: int) -> float:
    """The share of a stem's energy, 0 to 1, that is in strokes rather than in held tones."""
    from scipy.ndimage import median_filter

    size, hop = 2048, 1024
    mono = _loudest(audio.mean(0), round(LONGEST_S * sample_rate))
    mono = np.pad(mono, (0, max(0, 4 * size - len(mono))))
    windows = np.lib.stride_tricks.sliding_window_view(mono, size)[::hop] * np.hanning(size).astype(np.float32)
    magnitude = np.abs(np.fft.rfft(windows)).T.astype(np.float32)  # [F, N]
    held, struck = median_filter(magnitude, (1, 17)), median_filter(magnitude, (17, 1))
    energy, whole = np.square(magnitude), np.square(held) + np.square(struck)
    share = np.divide(np.square(struck), whole, out=np.full_like(whole, 0.5), where=whole > 0)
    return float((energy * share).sum(dtype=np.float64) / max(float(energy.sum(dtype=np.float64)), 1e-300))


def _loudest(mono: Array, num_frames: int) -> Array:
    """The part of a signal [T] with most energy."""
    if len(mono) <= num_frames:
        return mono
    total = np.concatenate([[0.0], np.cumsum(np.square(mono, dtype=np.float64))])
    energies = total[num_frames:] - total[:-num_frames]
    start = int(np.argmax(energies >= (1.0 - 1e-9) * energies.max()))
    return mono[start : start + num_frames]


def role_of_sound(audio: Array, sound: StemSound, sample_rate: int) -> tuple[Role, str]:
    """The role that the sound of a stem suggests, and why. It does not distinguish voices from instruments."""
    strokes, centre_hz = share_of_strokes(audio, sample_rate), sound.centre_hz
    heard = f"{strokes:.0%} strokes, centre at {centre_hz:.0f} Hz"
    if strokes >= STROKES:
        role = "kick" if centre_hz < KICK_HZ else "hi-hat" if centre_hz > CYMBAL_HZ else "drums"
        return BY_NAME[role], heard
    if sound.share_below(LOW_HZ) >= BASS_SHARE:
        return BY_NAME["bass"], f"{heard}, {sound.share_below(LOW_HZ):.0%} below {LOW_HZ:.0f} Hz"
    return UNKNOWN, heard
