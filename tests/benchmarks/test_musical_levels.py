"""Levels of synthetic mixes: they follow the sound of the parts, and what is drawn is drawn around the rule."""

import musical_levels
import numpy as np
import pytest
from musical_levels import ROLES, hear, mixed, rule_level
from musical_levels import musical_levels as settings_of
from scipy import signal

from stemwright.separation.loudness.meter import integrated_loudness

RATE = 44_100
SECONDS = 2


def noise(seed: int, low_hz: float, high_hz: float, *, every_s: float = 0.0) -> np.ndarray:
    """Noise of a band [2, T], held or in bursts of 0.15 s."""
    audio = np.random.default_rng(seed).standard_normal((2, SECONDS * RATE))
    audio = signal.sosfilt(signal.butter(4, (low_hz, high_hz), "bandpass", fs=RATE, output="sos"), audio)
    if every_s:
        audio *= (np.arange(audio.shape[1]) / RATE % every_s) < 0.15
    return 0.1 * audio


@pytest.fixture(scope="module")
def parts():
    return {
        "drums": noise(1, 60, 8000, every_s=0.5),
        "bass": noise(2, 50, 200),
        "other": noise(3, 300, 3000),
        "vocals": noise(4, 300, 5000, every_s=0.25),
    }


def rule_of(parts: dict[str, np.ndarray], name: str) -> float:
    return settings_of(parts, RATE, 0, scatter=0.0)[name].level_lu


def test_how_loud_parts_are_and_their_order_change_nothing(parts):
    other = {name: 10 ** (-number / 2) * parts[name] for number, name in enumerate(reversed(parts))}
    first, second = settings_of(parts, RATE, 3), settings_of(other, RATE, 3)
    for name, setting in first.items():
        assert (second[name].level_lu, second[name].pan) == pytest.approx((setting.level_lu, setting.pan), abs=1e-4)
    assert list(first) == list(parts)


def test_part_that_another_covers_is_raised(parts):
    alone = parts | {"keys": noise(5, 6000, 12_000)}
    covered = parts | {"keys": noise(5, 300, 3000)}
    assert rule_of(covered, "other") > rule_of(alone, "other") + 1.0


def test_bright_part_is_lower_than_a_dull_one(parts):
    assert rule_of(parts | {"other": noise(3, 6000, 12_000)}, "other") < rule_of(parts | {"other": noise(3, 300, 600)}, "other") - 3.0


def test_part_that_plays_all_the_time_is_set_back(parts):
    heard = hear(parts, RATE)
    assert heard["other"].density == 1.0
    assert heard["drums"].density < 0.6
    few = hear(parts | {"other": noise(3, 300, 3000, every_s=1.0)}, RATE)["other"]
    assert few.density < 0.5
    assert rule_level(ROLES["other"], few) > rule_level(ROLES["other"], heard["other"])


def test_settings_are_drawn_around_the_rule(parts):
    rule = settings_of(parts, RATE, 0, scatter=0.0)
    drawn = np.array(
        [[setting.level_lu - rule[name].level_lu for name, setting in settings_of(parts, RATE, seed).items()] for seed in range(60)]
    )
    assert np.abs(drawn.mean(axis=0)).max() < 0.4
    spread = np.hypot(musical_levels.SCATTER_LU, [musical_levels.TASTE_LU * ROLES[name].leads for name in rule])
    np.testing.assert_allclose(drawn.std(axis=0), spread, rtol=0.35)


def test_mix_has_the_levels_that_were_set(parts):
    settings = settings_of(parts, RATE, 5)
    out = mixed(parts, settings, RATE)
    loudness = {name: integrated_loudness(audio.astype(np.float32), RATE) for name, audio in out.items()}
    for name in parts:
        difference = settings[name].level_lu - settings["drums"].level_lu
        assert loudness[name] - loudness["drums"] == pytest.approx(difference, abs=0.01)


def test_leads_bass_and_drums_stay_in_the_centre_and_others_fill_both_sides(parts):
    more = parts | {"keys": noise(6, 500, 2000), "strings": noise(7, 1000, 6000), "guitar": noise(8, 200, 1500)}
    settings = settings_of(more, RATE, 1)
    assert [settings[name].pan for name in ("drums", "bass", "vocals")] == [0.0, 0.0, 0.0]
    pans = [settings[name].pan for name in ("other", "keys", "strings", "guitar")]
    assert min(pans) < -0.05 < 0.05 < max(pans)
    left, right = (np.sum(sum(mixed(more, settings, RATE).values())[side] ** 2) for side in range(2))
    assert abs(10 * np.log10(left / right)) < 1.5


def test_silent_part_has_no_setting_and_stays_silent(parts):
    silent = parts | {"other": np.zeros((2, SECONDS * RATE))}
    settings = settings_of(silent, RATE, 0)
    assert set(settings) == {"drums", "bass", "vocals"}
    assert not mixed(silent, settings, RATE)["other"].any()


def test_rule_explains_what_the_mean_of_each_name_does_not():
    rows = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        lows = {"drums": 60, "bass": 50, "other": 200, "vocals": 300}
        made = {
            name: noise(int(rng.integers(1 << 30)), low * rng.uniform(1, 2), low * rng.uniform(3, 30), every_s=rng.choice([0, 0.3, 0.6]))
            for name, low in lows.items()
        }
        rows.append(musical_levels.measured(made, RATE, seed))
    found = musical_levels.explained(rows, ("rule",))
    assert found["rule"] > 0.85
    assert found["mean of each name"] < 0.7
