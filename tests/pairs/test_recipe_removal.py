import re

import numpy as np
import pytest
from rows import corpus_rows, estimate_of, stems_of, track
from scipy.stats import kstest
from test_recipe_limit import read  # noqa: F401  # the fixture

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.pairs.recipes.remfx import RANGES
from stemwright.datagen.pairs.recipes.removal import PRESETS
from stemwright.datagen.pairs.render import render
from stemwright.datagen.run.configuration import ConfigError, check, parse, to_toml
from stemwright.separation.loudness.meter import integrated_loudness


def configured(per_track=4, **keys):
    pairs = {"duration_s": 2.0, "mix": {"per_track": 0}, "removal": {"per_track": per_track, **keys}}
    return check({"seed": 2, "pairs": pairs}, where="test")


def planned(per_track=4, rows=None, **keys):
    result = plan_pairs(configured(per_track, **keys), *(rows or corpus_rows(1)))
    assert not result.rejected
    return result.pairs


def chains(pair):
    return pair.inputs[0].branches[0].chain, pair.targets[0].branches[0].chain


def effects_of(chain):
    return [use.effect for use in chain if use.effect not in ("loudness", "fader") and use.settings != {"width": 0.0}]


@pytest.fixture(scope="module")
def remfx():
    return planned(300, preset="remfx")


@pytest.fixture(scope="module")
def augmented():
    return planned(300, preset="remfx-aug")


def roles_of(pair):
    return [(use.effect, use.role) for use in chains(pair)[0] if use.role]


def test_remfx_keeps_nothing_and_removes_up_to_five_effects_the_most_half_as_often(remfx):
    removed = [len(roles_of(pair)) for pair in remfx]
    assert {role for pair in remfx for _, role in roles_of(pair)} == {"removed"}
    assert set(removed) == {1, 2, 3, 4, 5}
    shares = np.bincount(removed, minlength=6)[1:] / len(removed)
    # A rounded uniform number from 0 to 5, where 0 is drawn again: 2, 2, 2, 2 and 1 of nine.
    np.testing.assert_allclose(shares, np.array([2, 2, 2, 2, 1]) / 9, atol=0.08)
    assert {effects_of(chains(pair)[0])[0] for pair in remfx} == set(RANGES)  # the order is random


def test_augmented_configurations_remove_one_effect_and_keep_up_to_four_others_before_it(augmented):
    kept = []
    for pair in augmented:
        wet, dry = (effects_of(chain) for chain in chains(pair))
        assert len(set(wet)) == len(wet)
        assert [role for _, role in roles_of(pair)] == ["kept"] * len(dry) + ["removed"]
        assert wet[:-1] == dry
        kept.append(len(dry))
    np.testing.assert_allclose(np.bincount(kept, minlength=5) / len(kept), np.array([1, 2, 2, 2, 1]) / 8, atol=0.08)
    assert {effects_of(chains(pair)[0])[-1] for pair in augmented} == set(RANGES)


@pytest.mark.parametrize(
    ("name", "removed", "kept"),
    [
        ("remfx-1-0", (1, 1), (0, 0)),
        ("remfx-3-3", (3, 3), (0, 0)),
        ("remfx-5-5", (5, 5), (0, 0)),
        ("remfx-5-1", (1, 1), (0, 0)),
        ("remfx-chorus", (1, 1), (0, 0)),
        ("remfx-compression-aug", (1, 1), (0, 4)),
    ],
)
def test_the_published_configurations_have_their_counts(name, removed, kept):
    section = configured(preset=name).pairs.removal
    assert (section.removed, section.kept) == (removed, kept)
    for pair in planned(20, preset=name):
        roles = roles_of(pair)
        assert sum(role == "removed" for _, role in roles) == removed[0]
        assert sum(role == "kept" for _, role in roles) <= kept[1]
        if name in ("remfx-chorus", "remfx-compression-aug"):
            assert {effect for effect, role in roles if role == "removed"} == {name.split("-")[1].replace("compression", "compressor")}


def drawn_by(pairs):
    drawn = {}
    for pair in pairs:
        for use in chains(pair)[0]:
            for name, value in use.settings.items():
                drawn.setdefault((use.effect, name), []).append(value)
    return drawn


def test_remfx_draws_its_published_ranges_uniformly_and_nothing_beyond(remfx, augmented):
    drawn = drawn_by([*remfx, *augmented])
    for effect, ranges in RANGES.items():
        for name, wanted in ranges.items():
            values = np.array(drawn[effect, name])
            if isinstance(wanted, tuple):
                low, high = wanted[:2]
                assert low - 0.01 <= values.min(), (effect, name)
                assert values.max() <= high + 0.01, (effect, name)
                unit = np.log(values / low) / np.log(high / low) if name == "delay_ms" else (values - low) / (high - low)
                assert kstest(unit, "uniform").pvalue > 1e-3, (effect, name)
            elif name != "dry":
                assert set(values.tolist()) == {wanted}, (effect, name)


def test_dry_is_what_wet_leaves(remfx):
    reverbs = [use.settings for pair in remfx for use in chains(pair)[0] if use.effect == "reverb"]
    assert len(reverbs) > 50
    assert all(settings["dry"] == 2.0 - 2.0 * settings["wet"] for settings in reverbs)


def test_delays_and_chorus_rates_are_values_that_single_precision_and_whole_samples_hold(remfx):
    drawn, rate = drawn_by(remfx), remfx[0].sample_rate
    samples = np.array(drawn["delay", "delay_ms"]) * rate / 1000.0
    np.testing.assert_allclose(samples % 1.0, 0.25, atol=1e-6)  # cut and rounded alike
    steps = 2.0 * np.pi * np.array(drawn["chorus", "rate_hz"]) / rate * 2.0**21
    np.testing.assert_allclose(steps, steps.round(), atol=1e-6)


def test_remfx_is_mono_and_brought_to_its_loudness_before_and_after_every_effect(remfx, read):  # noqa: F811
    assert {pair.inputs[0].branches[0].channels for pair in remfx} == {"mono"}
    for pair in remfx[:3]:
        for chain in chains(pair):
            assert [use.effect for use in chain][::2] == ["loudness"] * (1 + len(effects_of(chain)))
        for name, audio in render(pair, read).items():
            assert audio.shape[0] == 1
            assert integrated_loudness(audio, pair.sample_rate) == pytest.approx(-20.0, abs=0.02), name


def test_excerpts_of_remfx_have_their_published_length_and_rate_unless_others_are_given():
    sections = {"mix": {"per_track": 0}, "removal": {"preset": "remfx"}}
    published = check({"pairs": sections}, where="test").pairs
    assert (published.sample_rate, published.num_frames) == (48_000, 262_144)
    given = check({"pairs": {**sections, "sample_rate": 44_100, "duration_s": 2.0}}, where="test").pairs
    assert (given.sample_rate, given.num_frames) == (44_100, 88_200)


def test_wide_reaches_every_effect_that_it_names_and_none_that_is_a_level():
    seen = {effect for pair in planned(100, preset="wide") for effect in effects_of(chains(pair)[0])}
    assert seen == set(PRESETS["wide"]["effects"])
    assert not any("level" in EFFECTS[effect].TRAITS for effect in seen)


def test_an_effect_of_the_difference_of_channels_is_not_drawn_for_a_mono_stem():
    row = track(0)
    stems = [stem.model_copy(update={"audio": stem.audio.model_copy(update={"num_channels": 1})}) for stem in stems_of(row)]
    rows = [row], stems, [estimate_of(stem) for stem in stems]
    seen = {effect for pair in planned(100, rows, preset="wide") for effect in effects_of(chains(pair)[0])}
    assert seen == set(PRESETS["wide"]["effects"]) - {"width"}
    result = plan_pairs(configured(effects=["width"], removed=[1, 1], kept=[0, 0]), *rows)
    assert re.search("is mono; of width too few", result.rejected[0].reason)


def test_keys_that_are_given_win_over_a_preset_setting_by_setting():
    section = configured(preset="remfx", removed=[1, 1], ranges={"reverb": {"wet": [0.5, 0.6]}}).pairs.removal
    assert section.removed == (1, 1)
    assert section.kept == PRESETS["remfx"]["kept"]
    assert section.ranges["reverb"] == {**RANGES["reverb"], "wet": (0.5, 0.6)}
    fewer = configured(preset="remfx", effects=["reverb", "eq"], removed=[1, 1]).pairs.removal
    assert fewer.effects == ("reverb", "eq")
    assert list(fewer.ranges) == ["reverb"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_written_out_in_full_reads_back_the_same(preset):
    config = configured(preset=preset)
    assert parse(to_toml(config)) == config


def test_an_excerpt_of_the_published_length_is_262144_frames():
    assert check({"pairs": {"sample_rate": 48_000, "duration_s": 5.46133}}, where="test").pairs.num_frames == 262_144


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"preset": "remix"}, "preset"),
        (
            {"effects": ["reverb"], "removed": [1, 1], "kept": [0, 0], "ranges": {"reverb": {"dry": "1 - moist"}}},
            "1 - moist.*needs two settings",
        ),
        (
            {"effects": ["reverb"], "removed": [1, 1], "kept": [0, 0], "ranges": {"reverb": {"dry": "3 - 0.5 wet"}}},
            "3 - 0.5 wet' is 2.9 where wet is 0.2; expected 0 to 2",
        ),
        ({"effects": ["reverb"], "ranges": {"delay": {"mix": [0.1, 0.2]}}}, "ranges: 'delay' is not among the effects drawn"),
        ({"redraw_below": -1.0}, "redraw_below"),
    ],
)
def test_a_wrong_key_is_named(keys, said):
    with pytest.raises(ConfigError, match=said):
        configured(**keys)


def test_every_pair_has_the_distance_below_which_it_is_drawn_again():
    assert {pair.redraw_below for pair in planned()} == {1e-3}
    assert {pair.redraw_below for pair in planned(redraw_below=0.0)} == {0.0}
    np.testing.assert_equal({pair.redraw_of for pair in planned()}, {None})
