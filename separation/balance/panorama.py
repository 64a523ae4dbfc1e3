"""The place of a stem between the loudspeakers, and how wide it is: overall and per octave band; and its level in each band.

Pan follows the constant-power law, left cos(t) and right sin(t) with t = (pan + 1) pi / 4, read from the two channels' energies. Width is
what a single panned point source cannot explain: with the channels' energies and cross-energy as a 2 x 2 matrix, twice the share of its
smaller eigenvalue. A mono signal has width 0 at any pan, two unrelated channels of equal energy have width 1.

Conventions
    audio is float32 [2, T]. Pan -1 is left, 0 centre, 1 right. Width is 0 to 1; correlation -1 to 1 distinguishes a wide image from an
    inverted channel. A mono signal or an empty band has no image: None, never a number. The level in a band is the energy of the stem there
    over that of the mixture, in dB: not K-weighted, since a weight would be the same for both, nor gated; -inf in an empty band.

References
    IEC 61260-1 (octave bands, base ten). The constant-power law as used by the fader effect.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

OCTAVE_CENTRES_HZ = tuple(1000.0 * 10 ** (0.3 * n) for n in range(-4, 5))  # 63 Hz to 16 kHz
FRAME_S = 0.085
MAX_FRAMES = 600  # spectra per channel; a long signal is sampled evenly, so that the cost does not grow with length
EMPTY_BAND_DB = -60.0  # a band this far below the whole signal has no meaningful image


class Image(NamedTuple):
    """Pan, width and inter-channel correlation of one signal or band."""

    pan: float
    width: float
    correlation: float


class BandImage(NamedTuple):
    """Image of one octave band; ``image`` is None where the band is empty, or the signal not stereo. ``level_lu`` is the level of the stem
    against the mixture in the band.
    """

    centre_hz: float
    image: Image | None
    level_lu: float = -math.inf


def image_of(left_energy: float, right_energy: float, cross_energy: float) -> Image | None:
    """Image from the energies of left and right and the energy of their product; None when there is no energy."""
    total = left_energy + right_energy
    if total <= 0:
        return None
    pan = math.atan2(math.sqrt(right_energy), math.sqrt(left_energy)) * 4 / math.pi - 1
    spread = math.hypot(left_energy - right_energy, 2 * cross_energy) / total  # (larger - smaller eigenvalue) / their sum
    mean = math.sqrt(left_energy * right_energy)
    correlation = max(-1.0, min(1.0, cross_energy / mean)) if mean > 1e-12 * total else 1.0
    return Image(pan, max(0.0, 1 - spread), correlation)


def _frames(num_frames: int, size: int) -> NDArray[np.int64]:
    """First frames of the spectra: half overlapping in a short signal, spread evenly in a long one."""
    count = max(1, min(MAX_FRAMES, 2 * (num_frames - size) // size + 1))
    return np.linspace(0, max(0, num_frames - size), count).astype(np.int64)


def band_images(audio: Array, sample_rate: int, mixture: Array | None = None) -> tuple[BandImage, ...]:
    """Every octave band from 63 Hz to 16 kHz below half the sample rate: the image of ``audio`` [C, T], and its level against a mixture of
    its shape whose ``band_energies`` are given.
    """
    found = band_energies(audio, sample_rate)
    floor = found[:, :2].sum() * 10 ** (EMPTY_BAND_DB / 10)
    bands = []
    for number, (centre_hz, energies) in enumerate(zip(OCTAVE_CENTRES_HZ, found[:-1], strict=False)):
        energy = float(energies[:2].sum())
        image = image_of(*map(float, energies)) if energy > floor and audio.shape[0] == 2 else None
        there = float(mixture[number, :2].sum()) if mixture is not None else 0.0
        bands.append(BandImage(centre_hz, image, 10.0 * math.log10(energy / there) if energy > floor and there > 0 else -math.inf))
    return tuple(bands)


def band_energies(audio: Array, sample_rate: int) -> Array:
    """Energies of audio [C, T] in each octave band and, last, outside all of them, [bands + 1, 3]: of the first channel, of the others, and
    of the product of the first two.
    """
    from scipy.fft import next_fast_len, rfft

    size = next_fast_len(round(FRAME_S * sample_rate), real=True)
    if audio.shape[1] < size:
        audio = np.pad(audio, ((0, 0), (0, size - audio.shape[1])))
    window = np.hanning(size).astype(np.float32)
    left, right, cross = np.zeros((3, size // 2 + 1))
    for starts in np.array_split(_frames(audio.shape[1], size), 16):
        if starts.size:
            spectra = rfft(audio[:, starts[:, None] + np.arange(size)] * window)  # [C, frames, bins]
            real, imag = spectra.real, spectra.imag
            power = np.einsum("cfb,cfb->cb", real, real) + np.einsum("cfb,cfb->cb", imag, imag)
            left, right = left + power[0], right + power[1:].sum(0)
            if len(audio) == 2:
                cross = cross + np.einsum("fb,fb->b", real[0], real[1]) + np.einsum("fb,fb->b", imag[0], imag[1])
    frequencies = np.arange(size // 2 + 1) * sample_rate / size
    centres = [centre_hz for centre_hz in OCTAVE_CENTRES_HZ if centre_hz * 10**0.15 <= sample_rate / 2]
    within = [(frequencies >= centre_hz * 10**-0.15) & (frequencies < centre_hz * 10**0.15) for centre_hz in centres]
    outside = ~np.any(within, axis=0)
    return np.array([[spectrum[band].sum() for spectrum in (left, right, cross)] for band in [*within, outside]])


def in_words(pan: float | None) -> str:
    """A pan in readable form: "0.30 L", "centre" within a twentieth of it, "-" where there is none."""
    if pan is None:
        return "-"
    return "centre" if abs(pan) < 0.05 else f"{abs(pan):.2f} {'L' if pan < 0 else 'R'}"
