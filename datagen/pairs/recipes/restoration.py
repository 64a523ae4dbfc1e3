"""Presets of the recipe ``restore``: published tasks of restoration with their ranges, probabilities and order.

    msr                music source restoration: one dry stem from a mixture that is a degraded sum of degraded sources
    sonicmaster        the mixture without its degradations, and a sentence that asks for the repair of each
    sonicmaster-GROUP  one degradation, of one of its groups: equalization, dynamics, reverb, amplitude, stereo

Conventions
    Gains are true ones: what was done to the sound. The peaks of both publications, and the shelves of the first, apply twice the gain that
    they record, by 10^(gain / 20) in place of 10^(gain / 40); ours have twice the range instead.
    Resampling to a lower rate is a low-pass at half of it, as steep as ours is. The quality of variable MP3 is a bit rate: the qualities
    1 to 9 take about 225 to 65 kbit/s, some 20 apart, and the nearest constant rate is taken.
    Thresholds, ceilings and the level of a coder are relative to the peak of the stem, or mixture, over the track, where the publications
    bring the peak of each excerpt to full scale. JUCE's times are given as ours (``remfx.JUCE_TIME``).
    Frequencies, times and ratios are drawn uniformly. Where gains are whole numbers in the publication, ours are continuous.
    A room has the decay time that Eyring's equation gives for the published sizes and absorptions, drawn (on a logarithmic scale) between
    the shortest and the longest. Its absorption is alike at all frequencies; its pre-delay and level are this project's. That an
    "absorptive wall" absorbs everything is an assumption.
    ``mud`` is a peak with the centre and bandwidth of the published band-pass. A quiet ``volume`` is two faders in a row.

    Not made: the peaks brought to full scale before each degradation and the loudness restored after it; measured responses of rooms and
    telephones (``real``, ``mic``); the reduced transients of ``punch``; the band-stop of ``vocal``, which the published script computes and
    never applies; of the parametric equaliser its band-pass and band-stop, more than one band at a time, and the resonance of its
    low-pass and high-pass; the challenge's test conditions, some of which are recordings. What is made keeps its published weight
    against the others of its group.

References
    Music source restoration: the training degradations of MSRKit (data/augment.py, eq_utils.py); Zang et al. 2025 (RawStems), arXiv
    2505.21827; the challenge, arXiv 2601.04343. SonicMaster: Melechovsky, Mehrish and Herremans 2025, arXiv 2508.03448, and its published
    scripts (dataset_scripts). Facts only.
    Eyring 1930: T = 0.161 V / (-S ln(1 - a)), V the volume in cubic metres, S the surface in square metres, a its mean absorption.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from stemwright.datagen.pairs.recipes.remfx import JUCE_TIME
from stemwright.datagen.pairs.recipes.restoration_sentences import NAMED

Size = tuple[float, float, float]  # m
MSR_HZ = (25.0, 40.0, 63.0, 100.0, 160.0, 250.0, 400.0, 630.0, 1000.0, 1600.0, 2500.0, 4000.0, 6300.0, 10_000.0, 16_000.0, 20_000.0)
MSR_GAIN_DB = (-12.0, 12.0)
MSR_Q = (0.5, 3.0, "linear")
ANY_SEED = (0.0, 2.0**31 - 1.0)
XBAND_HZ = (40.0, 16_000.0)
XBAND_NUMBERS = (8, 9, 10, 11, 12)
XBAND_GAIN_DB = (-12.0, 12.0)
VOLUME_PEAKS = (0.001, 0.003, 0.01, 0.05)
CLIPPED_BY = (2.0, 3.0, 5.0)
SMALL: tuple[Size, Size] = ((3.0, 3.0, 2.5), (7.0, 9.0, 4.0))
BIG: tuple[Size, Size] = ((7.0, 8.0, 4.0), (15.0, 18.0, 14.0))
MIXED: tuple[Size, Size] = ((4.0, 4.0, 2.5), (8.0, 7.0, 3.5))
ABSORPTION = (0.05, 0.30)


def eyring_rt60_s(size_m: Size, absorption: float, absorbing_m2: float = 0.0) -> float:
    """The decay time of a cuboid, in s, whose surface has an absorption but for an area that absorbs all.

    >>> from stemwright.datagen.pairs.recipes.restoration import eyring_rt60_s
    >>> round(eyring_rt60_s((3.0, 3.0, 2.5), 0.3), 2)
    0.21
    """
    length, width, height = size_m
    surface = 2.0 * (length * width + length * height + width * height)
    mean = (absorption * (surface - absorbing_m2) + absorbing_m2) / surface
    return 0.161 * length * width * height / (-surface * math.log(1.0 - mean))


def _rt60_s(sizes: tuple[Size, Size]) -> tuple[float, float]:
    return round(eyring_rt60_s(sizes[0], ABSORPTION[1]), 2), round(eyring_rt60_s(sizes[1], ABSORPTION[0]), 2)


def _mixed_rt60_s() -> tuple[float, float]:
    """From the smallest room with two absorbing walls of the longer side to the largest with one of the shorter side."""
    (length, _, height), (_, wide, high) = MIXED
    shortest = eyring_rt60_s(MIXED[0], ABSORPTION[1], 2.0 * length * height)
    return round(shortest, 2), round(eyring_rt60_s(MIXED[1], ABSORPTION[0], wide * high), 2)


def _one(effect: str, ranges: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"chain": ({"effect": effect, "ranges": ranges},), **keys}


def _band(band: str, gain_db: tuple[float, float], hz: Any, q: Any) -> dict[str, Any]:
    return {f"{band}_gain_db": gain_db, f"{band}_hz": hz, f"{band}_q": q}


def _peaks(frequencies_hz: tuple[float, ...], gain_db: tuple[float, float], q: float) -> dict[str, Any]:
    return {
        key: value for number, hz in enumerate(frequencies_hz, 1) for key, value in _band(f"peak{number}", gain_db, round(hz, 2), q).items()
    }


def _graphic() -> tuple[dict[str, Any], ...]:
    """Sixteen bands as four equalisers: a low shelf, fourteen peaks, a high shelf."""
    rows = [_peaks(MSR_HZ[first : first + 4], MSR_GAIN_DB, 0.7) for first in (1, 5, 9)]
    rows[0] |= _band("low_shelf", MSR_GAIN_DB, MSR_HZ[0], 0.7)
    last = _peaks(MSR_HZ[13:15], MSR_GAIN_DB, 0.7) | _band("high_shelf", MSR_GAIN_DB, MSR_HZ[15], 0.7)
    return tuple({"effect": "eq", "ranges": ranges} for ranges in (*rows, last))


def _msr() -> dict[str, dict[str, Any]]:
    half, part = {"group": "eq", "weight": 5.0}, {"group": "eq", "weight": 1.0}
    to_peak = {"relative_to": "peak"}
    compressor = {
        "threshold_db": (-20.0, 0.0),
        "ratio": (1.5, 10.0, "linear"),
        "detector_attack_ms": (JUCE_TIME * 1.0, JUCE_TIME * 10.0, "linear"),
        "detector_release_ms": (JUCE_TIME * 50.0, JUCE_TIME * 200.0, "linear"),
        "attack_ms": 0.0,
        "release_ms": 0.0,
        "linked": False,
    }
    limiter = {"ceiling_db": (-10.0, 0.0), "release_ms": (50.0, 200.0, "linear"), "lookahead_ms": 0.0}
    reverb = {"room_size": (0.1, 1.0), "damping": (0.1, 1.0), "wet": (0.1, 0.5), "dry": 0.8, "width": (0.1, 1.0)}
    resampled = {"cutoff_hz": (4000.0, 16_000.0, "linear"), "order": 8.0}
    return {
        "eq-graphic": {"chain": _graphic(), **half},
        "eq-lowpass": _one("lowpass", {"cutoff_hz": (200.0, 8000.0, "linear")}, **part),
        "eq-highpass": _one("highpass", {"cutoff_hz": (20.0, 2000.0, "linear")}, **part),
        "eq-peak": _one("eq", _band("peak1", MSR_GAIN_DB, (100.0, 8000.0, "linear"), MSR_Q), **part),
        "eq-low-shelf": _one("eq", _band("low_shelf", MSR_GAIN_DB, (50.0, 1000.0, "linear"), MSR_Q), **part),
        "eq-high-shelf": _one("eq", _band("high_shelf", MSR_GAIN_DB, (1000.0, 10_000.0, "linear"), MSR_Q), **part),
        "resampled": _one("lowpass", resampled),
        "compressed": _one("compressor", compressor, **to_peak),
        "distorted": _one("distortion", {"drive_db": (0.0, 5.0), "output_db": "0 - drive_db"}, **to_peak),
        "reverberated": _one("reverb", reverb),
        "limited": _one("limiter", limiter, **to_peak),
        "resampled-mixture": _one("lowpass", resampled),
        "mp3": _one("codec", {"codec": "mp3", "bit_rate_kbps": (65.0, 225.0, "linear"), "level_db": 0.0}, **to_peak),
    }


def _xband(number: int) -> tuple[dict[str, Any], ...]:
    """Peaks at geometric distances, as three equalisers; each as wide as half of the distance of the highest to the one below it."""
    ratio = (XBAND_HZ[1] / XBAND_HZ[0]) ** (1.0 / (number - 1))
    found = tuple(XBAND_HZ[0] * ratio**index for index in range(number))
    q = round(0.5 / (1.0 - 1.0 / ratio), 3)
    cuts = [0, *(math.ceil(number * part / 3) for part in (1, 2, 3))]
    return tuple({"effect": "eq", "ranges": _peaks(found[first:last], XBAND_GAIN_DB, q)} for first, last in itertools.pairwise(cuts))


def _volume(peak: float) -> tuple[dict[str, Any], ...]:
    """A peak against full scale, as one fader or as two where one does not reach it."""
    gain_db = 20.0 * math.log10(peak)
    faders = 2 if gain_db < -48.0 else 1
    return ({"effect": "fader", "ranges": {"gain_db": round(gain_db / faders, 2)}},) * faders


def _sonicmaster() -> dict[str, dict[str, Any]]:
    comp = {
        "threshold_db": (-45.0, -38.0, "integer"),
        "ratio": (6.0, 45.0, "linear"),
        "detector": "rms",
        "detector_attack_ms": 2.9,  # 128 samples at 44.1 kHz
        "detector_release_ms": 2.9,
        "attack_ms": (3.0, 150.0, "linear"),
        "release_ms": (80.0, 250.0, "linear"),
        "makeup_db": (16.0, 25.0),
    }
    found = {"comp": _one("compressor", comp, group="dynamics", weight=2.5, relative_to="peak")}
    for number in XBAND_NUMBERS:
        found[f"xband-{number}"] = {"chain": _xband(number), "group": "equalization", "weight": 7.0 / len(XBAND_NUMBERS)}
    shelves = {
        "bright": ("high_shelf", (-15.0, -6.0), 6000.0, 3.0),
        "dark": ("high_shelf", (6.0, 15.0), 6000.0, 3.0),
        "airy": ("high_shelf", (-20.0, -10.0), 10_000.0, 2.0),
        "boom": ("low_shelf", (-20.0, -10.0), 120.0, 2.0),
        "warm": ("low_shelf", (-20.0, -6.0), 400.0, 3.0),
    }
    for name, (band, gain_db, hz, weight) in shelves.items():
        found[name] = _one("eq", _band(band, gain_db, hz, 0.707), group="equalization", weight=weight)
    found["clarity"] = _one("lowpass", {"cutoff_hz": 4000.0, "order": (3.0, 5.0)}, group="equalization", weight=3.0)
    mud = _band("peak1", (6.0, 15.0), 316.23, 1.054)  # from 200 to 500 Hz: the geometric mean, and that over the bandwidth
    found["mud"] = _one("eq", mud, group="equalization", weight=3.0)
    for name, rt60_s, weight in (("small", _rt60_s(SMALL), 0.15), ("big", _rt60_s(BIG), 0.15), ("mix", _mixed_rt60_s(), 0.3)):
        room = {"rt60_s": rt60_s, "pre_delay_ms": (0.0, 40.0), "damping": 0.0, "wet_db": (-18.0, 0.0), "seed": ANY_SEED}
        found[f"reverb-{name}"] = _one("room", room, group="reverb", weight=weight)
    found["stereo"] = _one("width", {"width": 0.0})
    for times in CLIPPED_BY:
        ceiling = {"ceiling_db": round(-20.0 * math.log10(times), 2)}
        found[f"clip-{times:g}"] = _one("clip", ceiling, group="amplitude", weight=1.0, relative_to="peak")
    for peak in VOLUME_PEAKS:
        found[f"volume-{peak:g}"] = {"chain": _volume(peak), "group": "amplitude", "weight": 0.25}
    for name, degradation in found.items():
        degradation["sentences"] = NAMED[name if name in NAMED else name.rsplit("-", 1)[0]]
    return found


SONICMASTER_GROUPS = {"dynamics": 0.125, "equalization": 0.4, "reverb": 0.225, "stereo": 0.125, "amplitude": 0.125}  # in their order


def _presets() -> dict[str, dict[str, Any]]:
    msr, sonicmaster = _msr(), _sonicmaster()
    on_mixture = ("limited", "resampled-mixture", "mp3")
    each_by_half = {number: tuple(float(math.comb(number, drawn)) for drawn in range(number + 1)) for number in (2, 5)}
    common = {"target": "mixture", "stem_removed": (0, 0), "final_removed": (0, 0), "order": "listed", "sentences": True}
    common |= {"degradations": sonicmaster, "group_weights": SONICMASTER_GROUPS}
    found: dict[str, dict[str, Any]] = {
        "msr": {
            "target": "stem",
            "stem_effects": tuple(name for name in msr if name not in on_mixture),
            "stem_removed": (0, 5),
            "stem_removed_weights": each_by_half[5],
            "bus_effects": on_mixture[:2],
            "bus_removed": (0, 2),
            "bus_removed_weights": each_by_half[2],
            "final_effects": on_mixture[2:],
            "final_removed": (0, 1),
            "order": "listed",
            "min_change_db": -120.0,  # a degradation counts whether it is heard or not
            "degradations": msr,
        },
        "sonicmaster": {**common, "bus_effects": tuple(sonicmaster), "bus_removed": (1, 3), "bus_removed_weights": (4.0, 2.0, 1.0)},
    }
    for group in SONICMASTER_GROUPS:
        members = tuple(name for name in sonicmaster if sonicmaster[name].get("group", name) == group)
        found[f"sonicmaster-{group}"] = {**common, "bus_effects": members, "bus_removed": (1, 1)}
    return found


PRESETS = _presets()
