"""The compressor: its static curve and time constants from stepped tones, its inverse, its gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, compressor
from stemwright.datagen.effects.compressor import Settings
from stemwright.datagen.effects.signal import NotIdentifiableError

SAMPLE_RATE = 48_000
PRESETS = {  # Gorlow and Reiss 2013: threshold, ratio, gain attack, gain release; detector 5 ms
    "A": (-32.0, 3.0, 13.0, 435.0),
    "B": (-19.9, 1.8, 11.0, 49.0),
    "C": (-24.4, 3.2, 5.8, 112.0),
    "D": (-26.3, 7.3, 9.0, 705.0),
    "E": (-38.0, 4.9, 13.1, 257.0),
}


def preset(name: str, **others: Any) -> Settings:
    threshold_db, ratio, attack_ms, release_ms = PRESETS[name]
    return Settings(threshold_db=threshold_db, ratio=ratio, attack_ms=attack_ms, release_ms=release_ms, **others)


def steps(levels_db: list[float], duration_s: float = 0.5) -> torch.Tensor:
    """A square tone of 1 kHz whose level steps: |x| is the level at every sample, for a peak and for an RMS detector alike."""
    frames = round(duration_s * SAMPLE_RATE)
    sign = torch.where(torch.arange(frames * len(levels_db)) % 48 < 24, 1.0, -1.0).double()
    level = torch.tensor(levels_db, dtype=torch.float64).repeat_interleave(frames)
    return (sign * 10.0 ** (level / 20.0))[None]


@pytest.mark.parametrize("detector", ["peak", "rms"])
def test_static_curve_gives_threshold_ratio_and_makeup_back(detector: Any) -> None:
    settings = Settings(threshold_db=-27.5, ratio=3.5, detector=detector, makeup_db=4.0, attack_ms=5.0, release_ms=20.0)
    levels = [float(level) for level in range(-50, -2, 4)]
    tone = steps(levels)
    gain_db = 20.0 * torch.log10((compressor.apply(tone, SAMPLE_RATE, settings) / tone)[0].reshape(len(levels), -1)[:, -1]).numpy()
    below = [gain for level, gain in zip(levels, gain_db, strict=True) if level < -35.0]
    assert below == pytest.approx([4.0] * len(below), abs=1e-6)
    above = np.array([(level, gain) for level, gain in zip(levels, gain_db, strict=True) if level > -20.0])
    slope, offset = np.polyfit(above[:, 0], above[:, 1], 1)
    assert 1.0 / (1.0 + slope) == pytest.approx(3.5, rel=1e-6)
    assert (4.0 - offset) / slope == pytest.approx(-27.5, abs=1e-6)


@pytest.mark.parametrize("name", ["attack_ms", "release_ms"])
@pytest.mark.parametrize("time_ms", [2.0, 80.0])
def test_gain_covers_nine_tenths_of_a_step_in_its_time(name: str, time_ms: float) -> None:
    settings = Settings(threshold_db=-30.0, ratio=4.0, detector_attack_ms=0.0, detector_release_ms=0.0, **{name: time_ms})
    tone = steps([-40.0, -10.0] if name == "attack_ms" else [-10.0, -40.0], 1.0)
    gain = (compressor.apply(tone, SAMPLE_RATE, settings) / tone)[0]
    before, after = gain[SAMPLE_RATE - 1], gain[-1]
    covered = (gain[SAMPLE_RATE:] - before) / (after - before)
    measured_ms = 1000.0 / SAMPLE_RATE * (1 + int((covered >= 1.0 - math.exp(-2.2)).nonzero()[0, 0]))
    assert measured_ms == pytest.approx(time_ms, abs=1000.0 / SAMPLE_RATE)


@pytest.mark.parametrize("detector", ["peak", "rms"])
@pytest.mark.parametrize("name", ["detector_attack_ms", "detector_release_ms"])
def test_detector_covers_nine_tenths_of_a_step_in_its_time(name: str, detector: Any) -> None:
    power = 2 if detector == "rms" else 1
    # An infinite ratio with no gain ballistics has the gain threshold / v: the detector can be read from the output.
    settings = Settings(threshold_db=-60.0, ratio=math.inf, detector=detector, attack_ms=0.0, release_ms=0.0, **{name: 30.0})
    tone = steps([-40.0, -10.0] if name == "detector_attack_ms" else [-10.0, -40.0], 1.0)
    v = (10.0 ** (-60.0 / 20.0) / (compressor.apply(tone, SAMPLE_RATE, settings) / tone)[0]) ** power
    covered = (v[SAMPLE_RATE:] - v[SAMPLE_RATE - 1]) / (v[-1] - v[SAMPLE_RATE - 1])
    measured_ms = 1000.0 / SAMPLE_RATE * (1 + int((covered >= 1.0 - math.exp(-2.2)).nonzero()[0, 0]))
    assert measured_ms == pytest.approx(30.0, abs=1000.0 / SAMPLE_RATE)


def test_linked_channels_share_the_gain_of_the_louder_one() -> None:
    quiet, loud = 0.05 * steps([-10.0]), steps([-10.0])
    stereo = torch.cat([quiet, loud])
    linked, unlinked = (compressor.apply(stereo, SAMPLE_RATE, preset("C", linked=linked)) / stereo for linked in (True, False))
    torch.testing.assert_close(linked[0], linked[1])
    torch.testing.assert_close(linked[1], unlinked[1])
    assert float(unlinked[0].min()) == pytest.approx(1.0)  # -36 dBFS is below its threshold of -24.4


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("detector", ["peak", "rms"])
@pytest.mark.parametrize("linked", [True, False])
def test_inverse_leaves_less_than_minus_250_db(name: str, detector: Any, linked: bool, song: torch.Tensor) -> None:
    settings = preset(name, detector=detector, linked=linked, makeup_db=6.0)
    dry = 2.0 * song.double()
    wet = compressor.apply(dry, 44_100, settings)
    assert float((wet / 10.0**0.3 - dry).abs().max()) > 0.05
    error = (compressor.invert(wet, 44_100, settings) - dry).square().mean().sqrt()
    assert 20.0 * math.log10(float(error) + 1e-30) < -250.0


def test_inverse_undoes_extremes(song: torch.Tensor) -> None:
    dry = song[:, :60_000].double()
    for settings in (
        Settings(threshold_db=-40.0, ratio=math.inf, attack_ms=5.0),
        Settings(threshold_db=-60.0, ratio=20.0, attack_ms=0.0, release_ms=0.0, detector_attack_ms=0.0, detector_release_ms=0.0),
        Settings(threshold_db=-30.0, ratio=2.0, attack_ms=500.0, release_ms=0.01),
    ):
        restored = compressor.invert(compressor.apply(dry, SAMPLE_RATE, settings), SAMPLE_RATE, settings)
        torch.testing.assert_close(restored, dry, atol=1e-11, rtol=0)


def test_inverse_of_an_infinite_ratio_at_once_is_refused() -> None:
    settings = Settings(threshold_db=-30.0, ratio=math.inf, attack_ms=0.0, detector_attack_ms=0.0)
    with pytest.raises(ValueError, match="maps many inputs to one output"):
        compressor.invert(torch.zeros(1, 10), SAMPLE_RATE, settings)


@pytest.mark.parametrize(("step_db", "limit_db"), [(2.0**-23, -125.0), (2.0**-15, -80.0)])
def test_inverse_of_quantised_audio_loses_little(step_db: float, limit_db: float, song: torch.Tensor) -> None:
    settings, dry = preset("C"), song.double()
    stored = torch.round(compressor.apply(dry, 44_100, settings) / step_db) * step_db
    error = (compressor.invert(stored, 44_100, settings) - dry).square().mean().sqrt()
    assert 20.0 * math.log10(float(error)) < limit_db


def test_excerpt_is_undone_after_its_warm_up(song: torch.Tensor) -> None:
    settings, dry = preset("C"), song.double()
    start = 30_000
    longest_ms = max(settings.detector_attack_ms, settings.detector_release_ms, settings.attack_ms, settings.release_ms)
    warm = math.ceil(5.0 * longest_ms / 1000.0 * 44_100)
    restored = compressor.invert(compressor.apply(dry, 44_100, settings)[:, start:], 44_100, settings)[:, warm:]
    error = (restored - dry[:, start + warm :]).square().mean().sqrt() / dry.square().mean().sqrt()
    assert float(error) < 1e-4


@pytest.mark.parametrize("stem", ["drums", "vocals"])
def test_fit_finds_every_setting_and_undoes_the_compression(synthetic_song: dict[str, np.ndarray], stem: str) -> None:
    dry = torch.from_numpy(synthetic_song[stem].copy())[:, :100_000].double()
    truth = Settings(
        threshold_db=-26.0,
        ratio=3.2,
        detector="rms",
        detector_attack_ms=3.0,
        detector_release_ms=9.0,
        attack_ms=6.0,
        release_ms=120.0,
        makeup_db=5.0,
    )
    wet = compressor.apply(dry, 44_100, truth)
    found = EFFECTS["compressor"].fit(wet, dry, 44_100)
    assert found.detector == "rms"
    assert found.threshold_db == pytest.approx(-26.0, abs=0.01)
    assert found.ratio == pytest.approx(3.2, rel=1e-3)
    for name in ("detector_attack_ms", "detector_release_ms", "attack_ms", "release_ms"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=5e-3), name
    error = compressor.invert(wet, 44_100, found) - dry
    assert 10.0 * math.log10(float(dry.square().sum() / error.square().sum())) > 100.0


def test_compressor_that_never_reached_its_threshold_has_no_ratio(song: torch.Tensor) -> None:
    wet = compressor.apply(song, 44_100, Settings(threshold_db=0.0, ratio=4.0, makeup_db=3.0))
    with pytest.raises(NotIdentifiableError, match="its ratio is undetermined"):
        EFFECTS["compressor"].fit(wet, song, 44_100)


def test_a_ratio_of_one_is_a_gain_of_makeup(song: torch.Tensor) -> None:
    wet = compressor.apply(song, SAMPLE_RATE, Settings(threshold_db=-60.0, makeup_db=-6.0))
    torch.testing.assert_close(wet, song * 10.0 ** (-6.0 / 20.0))


@pytest.mark.parametrize("detector", ["peak", "rms"])
@pytest.mark.parametrize("linked", [True, False])
def test_gradients_are_exact(detector: Any, linked: bool) -> None:
    def number(value: Any) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    audio = (0.3 * torch.randn(2, 2, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).requires_grad_()
    names = ("threshold_db", "ratio", "detector_attack_ms", "detector_release_ms", "attack_ms", "release_ms", "makeup_db")
    values = [number(value) for value in ([-20.0, -16.0], [3.0, 5.0], 2.0, 8.0, 5.0, 20.0, 2.0)]

    def run(x: torch.Tensor, *numbers: torch.Tensor) -> torch.Tensor:
        return compressor.apply(x, 1000, Settings(detector=detector, linked=linked, **dict(zip(names, numbers, strict=True))))

    assert torch.autograd.gradcheck(run, (audio, *values))
