"""The pairs of RemFX as rendered, held against pedalboard, whose effects the published data is made with (GPL-3: a peer for tests only)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rows import estimate_of, stems_of, track

from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.pairs.recipes.remfx import JUCE_TIME, RANGES
from stemwright.datagen.pairs.render import render
from stemwright.datagen.run.configuration import check
from stemwright.manifests.sound import decoding, resampling

pedalboard = pytest.importorskip("pedalboard")

RATE = 48_000
SETTINGS: dict[str, Any] = {  # of ours -> pedalboard's effect
    "distortion": lambda s: pedalboard.Distortion(s["drive_db"]),
    "compressor": lambda s: pedalboard.Compressor(
        s["threshold_db"], s["ratio"], s["detector_attack_ms"] / JUCE_TIME, s["detector_release_ms"] / JUCE_TIME
    ),
    "reverb": lambda s: pedalboard.Reverb(s["room_size"], s["damping"], s["wet"], s["dry"] / 2.0, s["width"]),
    "chorus": lambda s: pedalboard.Chorus(s["rate_hz"], s["depth_ms"] / 10.0, s["centre_ms"], -s["feedback"], s["mix"]),
    "delay": lambda s: pedalboard.Delay(s["delay_ms"] / 1000.0, s["feedback"], s["mix"]),
}


@pytest.fixture(scope="module")
def falcon():
    """The real excerpt that stempeg ships, at RATE: its mixture and four stems, [2, T] each."""
    stempeg = pytest.importorskip("stempeg")
    path = stempeg.example_stem_path()
    found = {}
    for stream, name in enumerate(("mixture", "drums", "bass", "other", "vocals")):
        sound, rate = decoding.load(path, stream=stream)
        found[name] = resampling.resample(sound, rate, RATE)
    return found


def pairs_with(effect):
    row = track(0)
    stems = stems_of(row)
    sections = {"mix": {"per_track": 0}, "removal": {"per_track": 6, "preset": "remfx-1-0", "effects": [effect]}}
    config = check({"seed": 3, "pairs": {"duration_s": 3.0, **sections}}, where="test")
    assert config.pairs.sample_rate == RATE
    result = plan_pairs(config, [row], stems, [estimate_of(stem) for stem in stems])
    assert not result.rejected
    return result.pairs, {stem.id: stem.name for stem in stems}


def apart_db(one, other):
    """Energy of the difference against ``other`` after the best one gain, in dB."""
    one, other = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    gain = (one @ other) / (one @ one)
    return 10.0 * np.log10(((gain * one - other) ** 2).sum() / (other @ other))


@pytest.mark.parametrize("effect", RANGES)
def test_a_rendered_pair_of_every_effect_is_what_pedalboard_makes_of_its_dry_side(effect, falcon):
    pairs, names = pairs_with(effect)

    def read(source_id, start_frame, num_frames, sample_rate):
        assert sample_rate == RATE
        sound = falcon[names[source_id]]
        return np.ascontiguousarray(np.take(sound, np.arange(start_frame, start_frame + num_frames) % sound.shape[1], axis=1))

    for pair in pairs:
        out = render(pair, read)
        (settings,) = [use.settings for use in pair.inputs[0].branches[0].chain if use.role == "removed"]
        made = SETTINGS[effect](settings)(out["dry"], RATE)
        assert apart_db(made, out["wet"]) < -90.0
