"""What an edit does to a stem: chains of effects. Rows only; no audio.

Conventions
    A degree scales a sound or a width: "slightly" half of it, "much" one and a half times. "Less" of a sound is its equaliser with its
    gains negated. An equaliser that would need a band above half the sample rate raises the error of the effect.
    The amount of a pan in per cent is that of the fader, of constant power, after the stem is made mono; the sides are shares of the mean.

References
    Volume, pan to a side, filters and dereverberation: AMSS-Net (Choi et al. 2021). Its reverberation is that of SoX: reverberance 100 is a
    feedback of 0.98, damping 50 a coefficient of 0.35, wet +3 dB an input gain of 0.0212.
    ``SOUNDS``: the equalisations that listeners gave to words, collected by SocialEQ (Cartwright and Pardo 2013, "Social-EQ: crowdsourcing
    an equalization descriptor map") as published with Audealize (Seetharaman and Pardo 2016), 40 bands each, scaled to 3 dB RMS; the
    bands here are fitted to them by least squares and rounded to 0.5 dB. They differ from the curves by 0.4 dB RMS (median), at most 0.7.
    ``REVERBS``: De Man et al. 2017: the loudness of reverberation that mix engineers choose, about -14 LU; half and twice as much energy
    and more are ours. ``COMPRESSORS``: within the ranges of RemFX 2023; the slow attack that lets transients through, which "punch" is,
    and the three strengths are ours, without make-up gain. Widths are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from stemwright.datagen.edit.language.label import CENTRE, MONO, STRENGTHS, Edit
from stemwright.manifests.records import EffectUse

Chain = tuple[EffectUse, ...]

# Hz, light to heavy
CUTOFFS_HZ = {"lowpass": (1378.0, 689.0, 344.0), "highpass": (1378.0, 2756.0, 5512.0)}
BASS_CUTOFFS_HZ = {"lowpass": (172.0, 86.0, 43.0), "highpass": (86.0, 172.0, 344.0)}
FILTER_ORDER = 2.0
PAN_SHARES = {"": (0.8, 0.2), "completely": (1.0, 0.0)}  # of the mean of both channels: on the side itself, on the other
PRE_DELAY_MS = 32.0
# SoX's values in those of the effect ``reverb``, which has a coefficient of 0.4 at damping 1 and an input gain of 0.09 at wet 1.
REVERB = {"room_size": 1.0, "damping": 0.35 / 0.4, "wet": 0.015 * 10 ** (3 / 20) / 0.09, "dry": 0.0, "width": 1.0}

SOUND_BANDS_HZ = {"low_shelf": 300.0, "peak1": 700.0, "peak2": 1600.0, "peak3": 3500.0, "peak4": 6500.0, "high_shelf": 9000.0}
SOUNDS: dict[str, tuple[float, ...]] = {  # dB in these bands; after each, how many listeners' curves it is the mean of
    "bright": (-4.0, 0.0, 1.5, 1.5, 1.5, -1.0),  # 35
    "dark": (4.5, 0.5, -3.0, -2.0, 0.0, 1.0),  # 14
    "warm": (3.0, 0.0, -1.5, 0.0, -0.5, -0.5),  # 122
    "cold": (-2.5, 0.0, 1.0, 0.5, 0.0, 0.0),  # 59
    "clear": (-3.0, 0.5, 1.5, 2.0, -1.0, -1.5),  # 20
    "crisp": (-4.0, -1.0, 0.0, 1.5, 2.5, 0.5),  # 16
    "harsh": (-1.0, 1.0, -0.5, 2.0, 0.0, -2.0),  # 31
    "mellow": (2.5, -1.0, -2.0, -2.0, 1.5, 1.5),  # 15
    "muddy": (5.0, 0.5, 1.0, -0.5, -5.0, -1.0),  # 3
    "smooth": (2.5, 0.0, -1.0, -1.5, 0.5, 0.5),  # 23
    "tinny": (-6.0, 1.0, 1.0, 0.0, 2.0, 1.5),  # 16
    "airy": (-4.5, -1.5, -0.5, 3.5, 1.5, 0.5),  # 6
    "deep": (5.5, -0.5, -2.5, 0.0, -1.5, 0.0),  # 12
    "heavy": (4.5, 0.0, -0.5, -1.0, -2.0, -1.0),  # 26
    "full": (5.5, -0.5, -0.5, 0.5, -3.5, -2.0),  # 4
}
DEGREES = {"": 1.0, "slightly": 0.5, "much": 1.5}
WIDTHS = {"wider": 0.5, "narrower": -0.5}  # what is added to the factor 1 of the difference of the channels
REVERBS_DB = dict(zip(STRENGTHS, (-20.0, -14.0, -8.0), strict=True))  # energy of the reverberation against the stem's
REVERB_ROOM = {"rt60_s": 1.2, "pre_delay_ms": 20.0, "damping": 0.5}
COMPRESSORS = dict(zip(STRENGTHS, ((-24.0, 2.0), (-30.0, 4.0), (-36.0, 6.0)), strict=True))  # threshold in dBFS, ratio
COMPRESSOR_TIMES = {"detector_attack_ms": 5.0, "detector_release_ms": 5.0, "attack_ms": 30.0, "release_ms": 120.0}


def chains(edit: Edit, stem: str) -> tuple[Chain, ...]:
    """What becomes of a stem: the sum of these chains over it. None of them: it is muted; one empty chain: it stays as it is.

    For ``dereverb`` it is what the reverberation to be removed did: the side before the edit.
    """
    named = edit.is_about(stem)
    if edit.operation == "isolate":
        return ((),) if named else ()
    if not named:
        return ((),)
    if edit.operation == "mute":
        return ()
    if edit.operation == "dereverb":
        return ((), (_use("delay", delay_ms=PRE_DELAY_MS, feedback=0.0, mix=1.0), _use("reverb", **REVERB)))
    return (CHAINS[edit.operation](edit, stem),)


def _volume(edit: Edit, _: str) -> Chain:
    return (_use("fader", gain_db=round(float(edit.amount or 0.0), 4)),)


def _filter(edit: Edit, stem: str) -> Chain:
    return (_use(edit.operation, cutoff_hz=cutoff_hz(edit, stem), order=FILTER_ORDER),)


def _reverberation(edit: Edit, _: str) -> Chain:
    return (_use("room", wet_db=REVERBS_DB[str(edit.amount)], **REVERB_ROOM),)


def _compression(edit: Edit, _: str) -> Chain:
    threshold_db, ratio = COMPRESSORS[str(edit.amount)]
    return (_use("compressor", threshold_db=threshold_db, ratio=ratio, **COMPRESSOR_TIMES),)


def cutoff_hz(edit: Edit, stem: str) -> float:
    """The cutoff of a filter edit on a stem; bass has its own."""
    if isinstance(edit.amount, float):
        return edit.amount
    table = BASS_CUTOFFS_HZ if stem == "bass" else CUTOFFS_HZ
    return table[edit.operation][STRENGTHS.index(str(edit.amount))]


def _pan(edit: Edit, _: str) -> Chain:
    amount = str(edit.amount)
    word, _, side = amount.rpartition(" ")
    if amount == CENTRE:
        return (_use("width", width=0.0),)
    if word.endswith("%"):
        share = float(word.removesuffix("%")) / 100.0
        return (_use("width", width=0.0), _use("fader", gain_db=0.0, pan=share if side == "right" else -share))
    left, right = PAN_SHARES[word] if side == "left" else PAN_SHARES[word][::-1]
    # The constant-power pan gives the factors √2 cos a and √2 sin a; both channels hold their mean before.
    gain_db = 20.0 * math.log10(math.hypot(left, right) / math.sqrt(2.0))
    pan = 4.0 / math.pi * math.atan2(right, left) - 1.0
    return (_use("width", width=0.0), _use("fader", gain_db=gain_db, pan=pan))


def _sound(edit: Edit, _: str) -> Chain:
    *before, word = str(edit.amount).split()
    degree = before[0] if before and before[0] in DEGREES else ""
    scale = DEGREES[degree] * (-1.0 if "less" in before else 1.0)
    bands = zip(SOUND_BANDS_HZ.items(), SOUNDS[word], strict=True)
    settings = {f"{band}_hz": hz for (band, hz), gain_db in bands if gain_db}
    gains = {f"{band}_gain_db": scale * gain_db for band, gain_db in zip(SOUND_BANDS_HZ, SOUNDS[word], strict=True) if gain_db}
    return (_use("eq", **settings, **gains),)


def _stereo_width(edit: Edit, _: str) -> Chain:
    degree, _, word = str(edit.amount).rpartition(" ")
    return (_use("width", width=0.0 if edit.amount == MONO else 1.0 + WIDTHS[word] * DEGREES[degree]),)


def _use(effect: str, **settings: float) -> EffectUse:
    return EffectUse(effect=effect, settings=settings)


CHAINS: Mapping[str, Callable[[Edit, str], Chain]] = {
    "volume": _volume,
    "pan": _pan,
    "lowpass": _filter,
    "highpass": _filter,
    "eq": _sound,
    "width": _stereo_width,
    "compressor": _compression,
    "reverb": _reverberation,
}
