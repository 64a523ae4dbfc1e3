import re

import numpy as np
import pytest
from rows import corpus_rows, estimate_of, stems_of, track
from test_recipe_limit import read  # noqa: F401  # the fixture

from datagen.config import ConfigError, check, parse, to_toml
from datagen.effects import EFFECTS
from datagen.plan import plan_pairs
from datagen.recipes.removal import PRESETS, REMFX_RANGES
from datagen.render import render
from separation.loudness import integrated_loudness


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


def test_remfx_keeps_up_to_four_and_removes_one_to_five_of_its_five_effects(remfx):
    kept, removed, orders = set(), set(), set()
    for pair in remfx:
        wet, dry = (effects_of(chain) for chain in chains(pair))
        assert len(set(wet)) == len(wet)
        assert [effect for effect in wet if effect in dry] == dry
        kept.add(len(dry))
        removed.add(len(wet) - len(dry))
        orders.add(tuple(wet))
    assert kept == {0, 1, 2, 3, 4}
    assert removed == {1, 2, 3, 4, 5}
    assert {effect for order in orders for effect in order} == set(REMFX_RANGES)
    assert {"reverb", "delay"} <= {order[0] for order in orders}  # the order is random
    assert {"reverb", "delay"} <= {order[-1] for order in orders}


def test_remfx_draws_its_whole_published_ranges_and_nothing_beyond(remfx):
    drawn = {}
    for pair in remfx:
        for use in chains(pair)[0]:
            for name, value in use.settings.items():
                drawn.setdefault((use.effect, name), []).append(value)
    for effect, ranges in REMFX_RANGES.items():
        for name, wanted in ranges.items():
            values = drawn[effect, name]
            if isinstance(wanted, tuple):
                low, high = wanted
                assert low <= min(values) < low + 0.15 * (high - low), (effect, name)
                assert high - 0.15 * (high - low) < max(values) <= high, (effect, name)
            elif effect != "reverb":
                assert set(values) == {wanted}, (effect, name)


def test_dry_is_what_wet_leaves(remfx):
    reverbs = [use.settings for pair in remfx for use in chains(pair)[0] if use.effect == "reverb"]
    assert len(reverbs) > 50
    assert all(settings["dry"] == 2.0 - 2.0 * settings["wet"] for settings in reverbs)


def test_remfx_brings_the_excerpt_to_its_loudness_before_and_after_every_effect(remfx, read):  # noqa: F811
    for pair in remfx[:3]:
        for chain in chains(pair):
            assert [use.effect for use in chain][:2] == ["width", "loudness"]
            assert [use.effect for use in chain][3::2] == ["loudness"] * len(effects_of(chain))
        for name, audio in render(pair, read).items():
            assert integrated_loudness(audio, pair.sample_rate) == pytest.approx(-20.0, abs=0.02), name


def test_wide_reaches_every_effect_that_changes_more_than_a_level():
    seen = {effect for pair in planned(100, preset="wide") for effect in effects_of(chains(pair)[0])}
    assert seen == set(EFFECTS) - {"fader", "loudness"}


def test_an_effect_of_the_difference_of_channels_is_not_drawn_for_a_mono_stem():
    row = track(0)
    stems = [stem.model_copy(update={"audio": stem.audio.model_copy(update={"num_channels": 1})}) for stem in stems_of(row)]
    rows = [row], stems, [estimate_of(stem) for stem in stems]
    seen = {effect for pair in planned(100, rows, preset="wide") for effect in effects_of(chains(pair)[0])}
    assert seen == set(EFFECTS) - {"fader", "loudness", "width"}
    assert "width" not in {use.effect for pair in planned(5, rows, preset="remfx") for use in chains(pair)[0]}
    result = plan_pairs(configured(effects=["width"], removed=[1, 1], kept=[0, 0]), *rows)
    assert re.search("is mono; of width too few", result.rejected[0].reason)


def test_keys_that_are_given_win_over_a_preset_setting_by_setting():
    section = configured(preset="remfx", removed=[1, 1], ranges={"reverb": {"wet": [0.5, 0.6]}}).pairs.removal
    assert section.removed == (1, 1)
    assert section.kept == PRESETS["remfx"]["kept"]
    assert section.ranges["reverb"] == {**REMFX_RANGES["reverb"], "wet": (0.5, 0.6)}
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
        ({"effects": ["reverb"], "ranges": {"delay": {"mix": [0.1, 0.2]}}}, "ranges are given for 'delay', which is not among"),
        ({"redraw_below": -1.0}, "redraw_below"),
    ],
)
def test_a_wrong_key_is_named(keys, said):
    with pytest.raises(ConfigError, match=said):
        configured(**keys)


def test_every_pair_says_below_which_distance_it_is_drawn_again():
    assert {pair.redraw_below for pair in planned()} == {1e-3}
    assert {pair.redraw_below for pair in planned(redraw_below=0.0)} == {0.0}
    np.testing.assert_equal({pair.redraw_of for pair in planned()}, {None})
