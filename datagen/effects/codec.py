"""A lossy codec: the audio coded as MP3, AAC, Opus or Vorbis and decoded again.

    y = decode(encode(k x)) / k,    k = 10^(level_db / 20)

Conventions
    The encoder's delay is compensated to the sample, and the output has the length of the input: what coding an excerpt adds before or
    after it is cut. An infinite bit rate codes nothing. Of a bit rate that the codec does not have at the sample rate, the nearest one is
    taken; ``achievable`` says which, and rows that are drawn have it. Rates that a codec does not know are resampled there and back
    (``stemwright.manifests.sound.lossy_coding``). Vorbis is coded by quality: its bit rate is the nominal one of that quality for two
    channels at 44.1 kHz, and a stream of one channel takes less.
    What a codec drops depends on the level of the sound, as hearing does: ``level_db`` is a gain into the coder that is undone after it.
    A codec is many-to-one and has no ``invert``. It has no gradient either: that of the output is passed to the input unchanged, as is
    usual for quantisers. Where its input differs by as little as a rounding, its output may differ by as much as its own noise.
    The same input gives the same output with the same versions of PyAV and soundfile, which are recorded with every table of examples.

References
    Bengio, Leonard, Courville 2013 for passing a gradient through a quantiser unchanged (straight-through estimator).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.settings import EffectSettings, choice, setting
from stemwright.datagen.effects.signal import check_form, checked, is_off
from stemwright.datagen.effects.traits import Trait

NAME = "codec"
TRAITS: frozenset[Trait] = frozenset({"level-dependent", "coded"})

TYPICAL = {"bit_rate_kbps": (32.0, 192.0), "level_db": 0.0}


class Settings(EffectSettings):
    """Codec, bit rate, and the level at which the audio is coded."""

    codec: str = choice("mp3", ("mp3", "aac", "opus", "vorbis"), description="how the audio is coded")
    bit_rate_kbps: float = setting(
        math.inf,
        low=8.0,
        high=320.0,
        unit="kbit/s",
        scale="log",
        off=math.inf,
        stepped=True,
        tolerance=0.1,
        description="bit rate of the stream; of more than two channels, of each",
    )
    level_db: float = setting(
        0.0, low=-60.0, high=60.0, unit="dB", level="inverse", tolerance=3.0, description="gain before the coder, undone after it"
    )


def achievable(values: Mapping[str, Any], sample_rate: int) -> dict[str, Any]:
    """The settings with the bit rate that the codec has at a sample rate and that is nearest: what ``apply`` takes."""
    from stemwright.manifests.sound.lossy_coding import nearest_bit_rate

    kbps = float(values["bit_rate_kbps"])
    return {**values, "bit_rate_kbps": nearest_bit_rate(values["codec"], kbps, sample_rate)} if math.isfinite(kbps) else dict(values)


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio as it is after coding and decoding; its gradient is that of the input."""
    check_form(audio, sample_rate)
    if is_off(settings.bit_rate_kbps, math.inf):
        return checked(audio, sample_rate)
    leading = audio.shape[:-2]
    values = [
        torch.as_tensor(value, dtype=torch.float64).detach().cpu().expand(leading).reshape(-1).tolist()
        for value in (settings.bit_rate_kbps, settings.level_db)
    ]
    items = checked(audio, sample_rate).detach().double().cpu().reshape(-1, *audio.shape[-2:]).numpy()
    out = [_item(item, sample_rate, settings.codec, *own) for item, *own in zip(items, *values, strict=True)]
    wet = torch.from_numpy(np.stack(out)).reshape(audio.shape).to(audio)
    return audio + (wet - audio).detach() if audio.requires_grad else wet


def _item(audio: np.ndarray, sample_rate: int, codec: str, bit_rate_kbps: float, level_db: float) -> np.ndarray:
    """One item [C, T] in float64. Silence stays silence, whatever a decoder makes of it."""
    from stemwright.manifests.sound.lossy_coding import coded

    if math.isinf(bit_rate_kbps) or not audio.any():
        return audio
    gain = 10.0 ** (level_db / 20.0)
    return np.asarray(coded((gain * audio).astype(np.float32), sample_rate, codec, bit_rate_kbps), np.float64) / gain
