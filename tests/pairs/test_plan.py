import numpy as np
import pytest
from rows import corpus_rows, estimate_of, stems_of, track

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import Range, fields
from stemwright.datagen.pairs import plan
from stemwright.datagen.pairs.plan import generator, plan_pairs
from stemwright.datagen.pairs.recipes.base import Draft
from stemwright.datagen.run.configuration import check
from stemwright.manifests.pair_records import Branch, Signal
from stemwright.manifests.records import EffectUse


def planned(*arguments):
    result = plan_pairs(*arguments)
    return result.pairs, result.rejected


def config(**pairs):
    return check({"seed": 3, "pairs": {"duration_s": 4.0, **pairs}}, where="test")


def test_the_same_seed_plans_the_same_pairs_and_another_seed_others():
    rows = corpus_rows()
    first, _ = planned(config(), *rows)
    again, _ = planned(config(), *rows)
    other, _ = planned(check({"seed": 4, "pairs": {"duration_s": 4.0}}, where="test"), *rows)
    assert first == again
    assert {pair.id for pair in first}.isdisjoint(pair.id for pair in other)


def test_neither_order_nor_an_added_song_changes_a_pair():
    tracks, stems, estimates = corpus_rows(3)
    few, _ = planned(config(), tracks[:1], stems, estimates)
    many, _ = planned(config(), tracks[::-1], stems, estimates)
    assert {pair.id for pair in few} <= {pair.id for pair in many}


def test_more_pairs_of_a_kind_leave_the_first_ones_as_they_were():
    rows = corpus_rows(1)
    few, _ = planned(config(mix={"per_track": 2}), *rows)
    many, _ = planned(config(mix={"per_track": 5}), *rows)
    assert [pair.id for pair in few if pair.kind == "mix"] == [pair.id for pair in many if pair.kind == "mix"][:2]


def test_generators_of_different_pairs_differ():
    numbers = {generator(*key).integers(2**60) for key in [(0, "a" * 16, "mix", 0), (1, "a" * 16, "mix", 0), (0, "b" * 16, "mix", 0)]}
    numbers |= {generator(*key).integers(2**60) for key in [(0, "a" * 16, "mix", 1), (0, "a" * 16, "removal", 0)]}
    assert len(numbers) == 5


def test_a_track_shorter_than_an_excerpt_is_refused_once_with_its_length():
    pairs, rejected = planned(config(), *corpus_rows(1, duration_s=3.0))
    assert not pairs
    assert [row.reason for row in rejected] == ["shorter than one excerpt (3.00 s of 4 s)"]


def test_an_excerpt_as_long_as_the_track_starts_at_its_start_and_is_planned_once():
    result = plan_pairs(config(), *corpus_rows(1, duration_s=4.0))
    assert not result.rejected
    assert {pair.start_frame for pair in result.pairs} == {0}
    assert [pair.kind for pair in result.pairs].count("mix") == 1
    assert result.repeated == 3


def test_a_draft_is_compared_only_with_earlier_ones_of_its_hash(monkeypatch):
    compared = []
    equal = Draft.__eq__
    monkeypatch.setattr(Draft, "__eq__", lambda one, other: compared.append(one) or equal(one, other))
    result = plan_pairs(config(mix={"per_track": 200}, removal={"per_track": 0}), *corpus_rows(1, duration_s=60.0))
    assert (len(result.pairs), compared) == (200, [])


@pytest.mark.parametrize("settings", [{"gain_db": -0.0, "on": 1.0}, {"on": True, "gain_db": 0.0}])
def test_equal_settings_make_equal_drafts_whatever_their_order_and_sign_of_zero(settings):
    def draft(chain):
        return Draft(7, (Signal(name="drums", branches=(Branch(source_id="0" * 16, chain=chain),)),), ())

    one = draft((EffectUse(effect="fader", settings={"gain_db": 0.0, "on": True}),))
    other = draft((EffectUse(effect="fader", settings=settings),))
    assert one == other
    assert plan._hash(one) == plan._hash(other)
    assert plan._hash(one) != plan._hash(draft((EffectUse(effect="fader", settings={"gain_db": 1.0, "on": True}),)))


def test_excerpts_do_not_pile_up_at_the_end_of_a_track():
    pairs, _ = planned(config(mix={"per_track": 30}), *corpus_rows(1, duration_s=4.3))
    starts = [pair.start_frame for pair in pairs if pair.kind == "mix"]
    assert len(set(starts)) == len(starts) == 30
    assert max(starts) <= 0.3 * 44_100


def test_a_kind_without_configured_pairs_gives_none_and_rejects_none():
    pairs, rejected = planned(config(mix={"per_track": 0}, removal={"per_track": 0}), *corpus_rows(1))
    assert (pairs, rejected) == ([], [])


def test_a_range_that_the_sample_rate_cannot_hold_is_refused_by_name():
    ranges = {"eq": {"peak3_hz": [8_000.0, 12_000.0]}}
    asked = config(sample_rate=16_000, mix={"per_track": 0}, removal={"effects": ["eq"], "removed": [1, 1], "ranges": ranges})
    _, rejected = planned(asked, *corpus_rows(1))
    assert "eq.peak3_hz up to 12000 Hz is too high for 16000 Hz" in rejected[0].reason


def test_excerpts_are_taken_where_the_stem_sounds():
    row = track(0)
    stems = stems_of(row)
    active = (False,) * 10 + (True,) * 6 + (False,) * 4
    pairs, _ = planned(config(removal={"per_track": 40}), [row], stems, [estimate_of(stem, active=active) for stem in stems])
    for pair in pairs:
        start = pair.start_frame / 44_100
        heard = max(0.0, min(start + 4, 16) - max(start, 10))
        assert heard >= 1.0  # half of an excerpt counted in whole seconds, less the fraction of a second that is drawn besides


def test_stem_at_another_rate_bounds_the_excerpt_in_the_rate_of_the_pairs():
    row = track(0, duration_s=5.0)
    stems = stems_of(row, sample_rate=48_000)
    pairs, _ = planned(config(), [row], stems, [estimate_of(stem) for stem in stems])
    assert pairs
    assert all(pair.start_frame + pair.num_frames <= 5 * 44_100 for pair in pairs)


def test_mix_rebuilds_the_released_mixture_from_all_stems_and_the_residual():
    tracks, stems, estimates = corpus_rows(1)
    pairs, _ = planned(config(), tracks, stems, estimates)
    mix = next(pair for pair in pairs if pair.kind == "mix")
    assert [signal.name for signal in mix.inputs] == ["drums", "bass", "other", "vocals"]
    assert [branch.source_id for branch in mix.targets[0].branches] == [stem.id for stem in stems]


def test_levelled_inputs_have_the_gain_that_scales_them_to_one_loudness():
    row = track(0)
    stems = stems_of(row, gain_db=-2.0)
    pairs, _ = planned(
        config(mix={"inputs": "levelled", "loudness_lufs": -23.0}), [row], stems, [estimate_of(stem, loudness_lufs=-30.0) for stem in stems]
    )
    (use,) = next(pair for pair in pairs if pair.kind == "mix").inputs[0].branches[0].chain
    assert (use.effect, use.settings) == ("fader", {"gain_db": 9.0})  # from -30 - 2 to -23


def test_removal_takes_effects_from_the_wet_side_only_and_keeps_their_order():
    tracks, stems, estimates = corpus_rows(6)
    pairs, _ = planned(config(removal={"per_track": 10, "kept": [0, 2], "removed": [1, 2]}), tracks, stems, estimates)
    counts = set()
    for pair in (pair for pair in pairs if pair.kind == "removal"):
        wet, dry = (signal.branches[0] for signal in (pair.inputs[0], pair.targets[0]))
        assert wet.source_id == dry.source_id
        assert wet.chain[0] == dry.chain[0]
        kept = [use for use in wet.chain if use in dry.chain]
        assert kept == list(dry.chain)
        assert 1 <= len(wet.chain) - len(dry.chain) <= 2
        assert len({use.effect for use in wet.chain}) == len(wet.chain)
        counts.add((len(dry.chain) - 1, len(wet.chain) - len(dry.chain)))
    assert counts == {(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)}


def test_ranges_of_the_configuration_bound_what_is_drawn():
    ranges = {"compressor": {"threshold_db": [-30.0, -29.0], "detector": ["rms"], "ratio": 4.0}}
    tracks, stems, estimates = corpus_rows(4)
    pairs, _ = planned(config(removal={"effects": ["compressor"], "removed": [1, 1], "ranges": ranges}), tracks, stems, estimates)
    uses = [pair.inputs[0].branches[0].chain[1] for pair in pairs if pair.kind == "removal"]
    assert all(
        -30.0 <= use.settings["threshold_db"] <= -29.0 and use.settings["detector"] == "rms" and use.settings["ratio"] == 4.0
        for use in uses
    )
    assert len({use.settings["threshold_db"] for use in uses}) == len(uses)


def test_settings_cover_their_ranges():
    tracks, stems, estimates = corpus_rows(30)
    pairs, _ = planned(config(removal={"per_track": 10, "effects": ["eq"], "removed": [1, 1]}), tracks, stems, estimates)
    drawn = [pair.inputs[0].branches[0].chain[1].settings for pair in pairs if pair.kind == "removal"]
    for name, field in fields(EFFECTS["eq"].Settings).items():
        if isinstance(field, Range):
            narrowed = field.narrowed(*EFFECTS["eq"].TYPICAL[name])
            units = np.array([narrowed.to_unit(settings[name]) for settings in drawn])
            assert abs(units.mean() - 0.5) < 0.1
            assert 0 <= units.min() < 0.05
            assert 0.95 < units.max() <= 1


def test_no_frequency_is_drawn_that_the_sample_rate_cannot_hold():
    tracks, stems, estimates = corpus_rows(10)
    effects = ["eq", "lowpass"]
    pairs, rejected = planned(
        config(sample_rate=16_000, removal={"effects": effects, "removed": [2, 2], "kept": [0, 0]}), tracks, stems, estimates
    )
    assert not rejected
    uses = [use for pair in pairs if pair.kind == "removal" for use in pair.inputs[0].branches[0].chain[1:]]
    assert all(value <= 7_200 for use in uses for name, value in use.settings.items() if name.endswith("_hz"))
