"""The contract of every recipe, whichever there are, and what is true of single ones."""

import json
from collections import Counter

import numpy as np
import pytest
from rows import corpus_rows, estimate_of, knowledge_of, normalisation_of, stems_of, tempo_of, track

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.pairs.plan import RecipeRows, plan_pairs
from stemwright.datagen.pairs.recipes import RECIPES, any_needs
from stemwright.datagen.pairs.recipes.mix import DRUM_STEMS
from stemwright.datagen.pairs.render import render
from stemwright.datagen.run.configuration import ConfigError, check, parse, to_toml
from stemwright.manifests import table
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import RESIDUAL

RATE = 44_100
VARIANTS = {  # kind -> sections besides the default one that the contract holds for
    "mix": [
        {"preset": "console"},
        {"inputs": "normalised", "align": "beats"},
        {"inputs": "levelled", "target": "sum", "stems": ["vocals", "drums"]},
    ],
    "remix": [{"mode": "console"}, {"mode": "console", "sends": ["reverb"], "rides": True}, {"mode": "both", "num_songs": 2}],
    "removal": [{"preset": "wide"}],
}
SECTIONS = [(kind, section) for kind in RECIPES for section in ({}, *VARIANTS.get(kind, []))]
every_recipe = pytest.mark.parametrize(("kind", "section"), SECTIONS, ids=[f"{kind} {json.dumps(section)}" for kind, section in SECTIONS])


def only(kind, section=None, *, seed=3, per_track=4, **pairs):
    """A configuration that asks for pairs of one kind alone."""
    sections = {other: {"per_track": 0} for other in RECIPES} | {kind: {"per_track": per_track, **(section or {})}}
    return check({"seed": seed, "pairs": {"duration_s": 4.0, **pairs, **sections}}, where="test")


def planned(config, tracks, stems, estimates, optional_rows=None):
    return plan_pairs(
        config, tracks, stems, estimates, optional_rows=knowledge_of(tracks, stems) if optional_rows is None else optional_rows
    )


def corpus(count=6):
    """Rows of a corpus of which every third track is for validation."""
    tracks = [track(number, split="valid" if number % 3 == 2 else "train") for number in range(count)]
    stems = [stem for row in tracks for stem in stems_of(row)]
    return tracks, stems, [estimate_of(stem, loudness_lufs=-30.0 + 2 * (number % 5)) for number, stem in enumerate(stems)]


def signals_of(pair):
    return (*pair.inputs, *pair.targets)


def branches_of(pair):
    return [branch for signal in signals_of(pair) for branch in signal.branches]


@every_recipe
def test_every_track_gives_the_configured_number_of_pairs(kind, section):
    result = planned(only(kind, section), *corpus())
    assert not result.rejected
    assert len(result.pairs) + result.repeated == 6 * 4
    assert {pair.kind for pair in result.pairs} == {kind}


@every_recipe
def test_one_seed_gives_the_same_rows_and_another_seed_others(kind, section):
    rows = corpus()
    first, again, other = (planned(only(kind, section, seed=seed), *rows).pairs for seed in (3, 3, 4))
    assert first == again
    assert {pair.id for pair in first}.isdisjoint(pair.id for pair in other)


@every_recipe
def test_a_pair_does_not_depend_on_how_many_there_are_nor_on_the_order_of_tracks(kind, section):
    tracks, stems, estimates = corpus()
    optional_rows = knowledge_of(tracks, stems)
    few = planned(only(kind, section, per_track=2), tracks, stems, estimates, optional_rows).pairs
    many = planned(only(kind, section, per_track=5), tracks[::-1], stems[::-1], estimates, optional_rows).pairs
    if section.get("stems") is None:  # the order of a track's stems is the order of its signals
        many = planned(only(kind, section, per_track=5), tracks[::-1], stems, estimates, optional_rows).pairs
    assert {pair.id for pair in few} <= {pair.id for pair in many}
    assert {pair.number for pair in many} == set(range(5))


@every_recipe
def test_all_sources_of_a_pair_are_of_its_split_and_it_has_one_of_its_own_track(kind, section):
    tracks, stems, estimates = corpus()
    split_of = {stem.id: next(row.split for row in tracks if row.id == stem.track_id) for stem in stems}
    track_of = {stem.id: stem.track_id for stem in stems}
    for pair in planned(only(kind, section), tracks, stems, estimates).pairs:
        sources = {branch.source_id for branch in branches_of(pair)}
        assert {split_of[source] for source in sources} == {pair.split}
        assert pair.track_id in {track_of[source] for source in sources}


@every_recipe
def test_excerpts_lie_inside_every_source_and_settings_inside_every_range(kind, section):
    tracks, stems, estimates = corpus()
    frames = {stem.id: stem.audio.num_frames for stem in stems}
    for pair in planned(only(kind, section), tracks, stems, estimates).pairs:
        assert pair.id == pair.seal_id()
        assert pair.num_frames == 4 * RATE
        for branch in branches_of(pair):
            start = pair.start_frame + branch.offset_frames
            assert 0 <= start <= frames[branch.source_id] - pair.num_frames
        chains = [branch.chain for branch in branches_of(pair)] + [signal.bus for signal in signals_of(pair)]
        for use in (use for chain in chains for use in chain):
            EFFECTS[use.effect].Settings(**use.settings)  # raises outside a range


@every_recipe
def test_signals_have_names_of_their_own_and_no_input_is_an_absent_stem(kind, section):
    tracks, stems, estimates = corpus()
    for pair in planned(only(kind, section), tracks, stems, estimates).pairs:
        names = [signal.name for signal in signals_of(pair)]
        assert len(set(names)) == len(names)
        assert pair.inputs
        assert pair.targets
        assert all(signal.branches for signal in signals_of(pair))


@every_recipe
def test_a_pair_has_no_more_signals_than_its_recipe_states_and_the_largest_has_as_many(kind, section):
    config, rows = only(kind, section), corpus()
    pairs = planned(config, *rows).pairs
    num_stems = max(Counter(stem.track_id for stem in rows[1] if stem.name != RESIDUAL).values())
    assert max(len(signals_of(pair)) for pair in pairs) == getattr(config.pairs, kind).num_signals(num_stems)


@every_recipe
def test_rows_survive_json_and_parquet(kind, section, tmp_path):
    pairs = planned(only(kind, section), *corpus(3)).pairs
    assert [Pair.model_validate_json(pair.model_dump_json()) for pair in pairs] == pairs
    table.write(tmp_path / "pairs.parquet", pairs, Pair)
    assert table.read(tmp_path / "pairs.parquet", Pair) == pairs
    assert table.is_as_written(tmp_path / "pairs.parquet", Pair)


@every_recipe
def test_a_section_with_its_defaults_filled_in_is_the_same_section(kind, section):
    config = only(kind, section)
    assert parse(to_toml(config)) == config


@every_recipe
def test_a_pair_renders_twice_alike_at_the_planned_length(kind, section, synthetic_song):
    tracks, stems, estimates = corpus(3)
    config = check({"pairs": {**only(kind, section, per_track=1).pairs.model_dump(mode="json"), "duration_s": 1.0}}, where="test")
    names = {stem.id: stem.name for stem in stems}

    def read(source_id, start_frame, num_frames, sample_rate):
        audio = synthetic_song["mixture" if names[source_id] == RESIDUAL else names[source_id]]
        return np.ascontiguousarray(np.take(audio, np.arange(start_frame, start_frame + num_frames) % audio.shape[1], axis=1))

    (pair, *_) = planned(config, tracks, stems, estimates).pairs
    first, second = render(pair, read), render(pair, read)
    assert list(first) == [signal.name for signal in signals_of(pair)]
    for name, audio in first.items():
        assert audio.shape[1] == pair.num_frames
        np.testing.assert_array_equal(audio, second[name])


@pytest.mark.parametrize("kind", RECIPES)
def test_a_track_whose_stems_are_all_silent_is_refused_by_every_recipe(kind):
    row, stems = track(0), stems_of(track(0))
    silent = [estimate_of(stem, loudness_lufs=None, active=(False,) * 20) for stem in stems]
    result = planned(only(kind), [row], stems, silent)
    assert not result.pairs
    assert len(result.rejected) == 1
    assert "active" in result.rejected[0].reason


# What no track can give


@pytest.mark.parametrize("kind", [kind for kind in RECIPES if "stems" in RECIPES[kind].Config.model_fields])
def test_a_stem_that_no_track_has_is_reported_once_with_the_available_stems(kind):
    tracks, stems, estimates = corpus_rows(3)
    result = planned(only(kind, {"stems": ["guitar"]}), tracks, stems, estimates)
    assert not result.pairs
    assert {row.reason for row in result.rejected} == {f"{kind}: no stem 'guitar'; the track has drums, bass, other, vocals"}
    (note,) = [note for note in result.notes if note.startswith(kind)]
    assert note == f"{kind}: no track can give a pair; no stem 'guitar'; the track has drums, bass, other, vocals"


def test_an_excerpt_longer_than_every_track_is_reported_with_the_longest_track():
    tracks, stems, estimates = corpus_rows(2)
    result = planned(only("mix", duration_s=60.0), tracks, stems, estimates)
    assert not result.pairs
    assert "no track is as long as an excerpt of 60 s; the longest lasts 20.00 s. Lower pairs.duration_s" in result.notes


def test_splits_without_a_track_are_named():
    tracks, stems, estimates = corpus_rows(2)
    notes = planned(only("mix"), tracks, stems, estimates).notes
    assert notes == ["no track is in the split valid or test, so no pairs there (see songs.shares)"]


# mix


def mixes(section, *, names=("drums", "bass", "other", "vocals", RESIDUAL), optional_rows=None, gain_db=0.0, **options):
    """Pairs and refusals of one track with stems of the given names."""
    row = track(0)
    stems = stems_of(row, names=names, gain_db=gain_db)
    optional_rows = knowledge_of([row], stems) if optional_rows is None else optional_rows
    result = plan_pairs(only("mix", section, **options), [row], stems, [estimate_of(stem) for stem in stems], optional_rows=optional_rows)
    return result.pairs, [refused.reason for refused in result.rejected], {stem.name: stem.id for stem in stems}


def test_effect_normalised_inputs_go_through_the_chain_of_their_row():
    pairs, _, _ = mixes({"inputs": "normalised"})
    for signal in pairs[0].inputs:
        assert [(use.effect, use.settings) for use in signal.branches[0].chain] == [("fader", {"gain_db": -3.0})]


def test_a_stem_without_a_normalisation_is_refused_with_what_to_do():
    stems = stems_of(track(0))
    optional_rows = RecipeRows(normalisations=[normalisation_of(stem) for stem in stems if stem.name != "vocals"])
    pairs, reasons, _ = mixes({"inputs": "normalised"}, optional_rows=optional_rows)
    assert not pairs
    assert reasons == ["mix: the stem 'vocals' has no normalisation; run stemwright estimate with this configuration, or take other inputs"]


def test_levels_over_the_track_are_in_the_row_and_over_the_excerpt_left_to_rendering():
    by_peak = {"inputs": "levelled", "level": "peak", "peak_dbfs": -12.0}
    (first, *_), _, _ = mixes(by_peak, gain_db=-2.0)
    assert first.inputs[0].branches[0].chain[0].settings == {"gain_db": 0.0}  # from -10 - 2 to -12
    (first, *_), _, _ = mixes({**by_peak, "level_over": "excerpt"})
    (use,) = first.inputs[0].branches[0].chain
    assert (use.effect, use.settings) == ("loudness", {"measure": "peak", "target_db": -12.0})


def test_excerpts_on_beats_start_on_beats():
    optional_rows = RecipeRows(track_estimates=[tempo_of(track(0), tempo_bpm=97.0, first_s=0.4)])
    pairs, _, _ = mixes({"align": "beats"}, optional_rows=optional_rows, per_track=20)
    beats = {round(time_s * RATE) for time_s in optional_rows.track_estimates[0].beats_s}
    assert len({pair.start_frame for pair in pairs}) > 10
    assert {pair.start_frame for pair in pairs} <= beats


def test_on_beats_a_stem_still_sounds_and_a_track_without_such_a_beat_is_refused():
    row = track(0)
    stems = stems_of(row)
    active = (False,) * 10 + (True,) * 6 + (False,) * 4
    estimates = [estimate_of(stem, active=active) for stem in stems]
    optional_rows = RecipeRows(track_estimates=[tempo_of(row)])
    for pair in plan_pairs(only("mix", {"align": "beats"}, per_track=20), [row], stems, estimates, optional_rows=optional_rows).pairs:
        start_s = int(pair.start_frame / RATE)
        assert sum(active[start_s : start_s + 4]) >= 2
    early = tempo_of(row).model_copy(update={"beats_s": (0.0, 0.5, 1.0, 1.5)})
    result = plan_pairs(only("mix", {"align": "beats"}), [row], stems, estimates, optional_rows=RecipeRows(track_estimates=[early]))
    assert result.rejected[0].reason == "mix: the stem 'drums' is active at no beat from which an excerpt of 4 s fits"


def test_a_track_without_a_beat_and_one_that_was_not_estimated_are_refused_as_such():
    none = RecipeRows(track_estimates=[tempo_of(track(0), tempo_bpm=None)])
    _, reasons, _ = mixes({"align": "beats"}, optional_rows=none)
    assert reasons == ["mix: no beat was found in it; align = 'beats' needs beats"]
    _, reasons, _ = mixes({"align": "beats"}, optional_rows=RecipeRows())
    assert reasons == ["mix: its tempo and beats were not estimated; run stemwright estimate with this configuration"]


def test_tables_on_demand_are_wanted_only_by_recipes_that_give_pairs():
    assert any_needs(only("mix", {"align": "beats"}).pairs, "tempo")
    assert not any_needs(only("mix", {"align": "beats"}, per_track=0).pairs, "tempo")
    assert not any_needs(only("mix").pairs, "normalisations")
    assert any_needs(only("mix", {"inputs": "normalised"}).pairs, "normalisations")


def test_console_has_the_published_shape_unless_another_is_given():
    config = check({"pairs": {"mix": {"preset": "console"}}}, where="test")
    assert (config.pairs.sample_rate, config.pairs.num_frames) == (44_100, 262_144)
    config = check({"pairs": {"sample_rate": 48_000, "mix": {"preset": "console"}}}, where="test")
    assert (config.pairs.sample_rate, config.pairs.num_frames) == (48_000, 262_144)
    config = check({"pairs": {"duration_s": 2.0, "mix": {"preset": "console", "num_inputs": 8}}}, where="test")
    assert (config.pairs.num_frames, config.pairs.mix.num_inputs, config.pairs.mix.level) == (88_200, 8, "peak")
    assert parse(to_toml(config)) == config
    assert check({"pairs": {"mix": {"preset": "console", "per_track": 0}}}, where="test").pairs.duration_s == 5.0


def test_console_takes_mono_inputs_with_the_peak_of_the_excerpt():
    (first, *_), _, _ = mixes({"preset": "console"})
    assert {branch.channels for signal in first.inputs for branch in signal.branches} == {"mono"}
    assert {use.settings["target_db"] for signal in first.inputs for use in signal.branches[0].chain} == {-12.0}
    assert first.targets[0].name == "mixture"


def test_more_stems_than_inputs_are_refused_with_what_to_do():
    _, reasons, _ = mixes({"preset": "console", "num_inputs": 3})
    assert reasons == ["mix: has 4 stems, more than num_inputs = 3; name those to take in pairs.mix.stems"]


KIT = ("kick", "snare_top", "overheads", "floor_tom", RESIDUAL)


def test_drums_are_eight_named_mono_inputs_and_what_is_missing_has_no_source():
    (first, *_), _, ids = mixes({"preset": "drums"}, names=KIT)
    assert [signal.name for signal in first.inputs] == list(DRUM_STEMS)
    sources = {signal.name: [(branch.source_id, branch.channels) for branch in signal.branches] for signal in first.inputs}
    assert sources == {
        "hihat": [],
        "kick": [(ids["kick"], "mono")],
        "overhead_l": [(ids["overheads"], "left")],
        "overhead_r": [(ids["overheads"], "right")],
        "snare": [(ids["snare_top"], "mono")],
        "tom1": [],
        "tom2": [],
        "tom3": [(ids["floor_tom"], "mono")],
    }


def test_dry_drums_are_the_sum_of_the_microphones_and_wet_ones_the_released_mixture():
    (dry, *_), _, ids = mixes({"preset": "drums"}, names=KIT)
    assert {branch.source_id for branch in dry.targets[0].branches} == {ids[name] for name in KIT if name != RESIDUAL}
    assert dry.targets[0].bus[0].settings == {"gain_db": 1.0}  # the peak of the mixture, -1 dBFS, to full scale
    (wet, *_), _, _ = mixes({"preset": "drums", "target": "released"}, names=KIT)
    assert {branch.source_id for branch in wet.targets[0].branches} == set(ids.values())
    _, reasons, _ = mixes({"preset": "drums", "target": "released"}, names=(*KIT, "vocals"))
    assert reasons == ["mix: its released mixture holds more than drums (vocals), so it is not a wet drum mix; set target = 'sum'"]


def test_a_track_that_has_only_a_stem_of_all_drums_is_refused_with_what_is_needed():
    _, reasons, _ = mixes({"preset": "drums"})
    assert reasons[0].startswith("mix: the preset 'drums' needs the microphones of a drum kit, two or more of hihat, kick, overhead_l")
    assert "the track has drums, bass, other, vocals. Multitracks" in reasons[0]
    with pytest.raises(ConfigError, match=r"the preset 'drums' has the inputs hihat, kick.*got 'cowbell'"):
        only("mix", {"preset": "drums", "stems": ["cowbell"]})


def test_a_missing_drum_renders_as_silence_and_the_others_as_mono(synthetic_song):
    (first, *_), _, _ = mixes({"preset": "drums"}, names=KIT, duration_s=1.0)
    source = np.ascontiguousarray(synthetic_song["other"][:, :RATE])
    out = render(first, lambda *_: source)
    assert not out["hihat"].any()
    assert {out[name].shape for name in DRUM_STEMS} == {(1, RATE)}
    assert out["mix"].shape == (2, RATE)
    gain = 10 ** (10 / 20)  # the stems' peak is at -10 dBFS in their rows
    for name, mono in (("overhead_l", source[0]), ("overhead_r", source[1]), ("kick", source.mean(axis=0))):
        np.testing.assert_allclose(out[name][0], gain * mono, atol=1e-6)


def test_the_gain_that_brought_an_excerpt_to_its_level_is_known_once_it_is_rendered(synthetic_song):
    (first, *_), _, ids = mixes({"preset": "console"}, duration_s=1.0)
    names = {source: name for name, source in ids.items()}

    def read(source_id, start_frame, num_frames, sample_rate):
        return np.ascontiguousarray(synthetic_song["mixture" if names[source_id] == RESIDUAL else names[source_id]][:, :num_frames])

    out = render(first, read)
    for signal in first.inputs:
        mono = read(signal.branches[0].source_id, 0, first.num_frames, RATE).mean(axis=0)
        (gain_db,) = out.levelled_db[signal.name]
        assert gain_db == pytest.approx(-12.0 - 20 * np.log10(np.abs(mono).max()), abs=1e-3)
        np.testing.assert_allclose(out[signal.name][0], mono * 10 ** (gain_db / 20), atol=1e-5)
    assert out.levelled_db["mixture"] == ()


# remix


def songs_of(pair, stems):
    track_of = {stem.id: stem.track_id for stem in stems}
    return {signal.name: track_of[signal.branches[0].source_id] for signal in pair.inputs}


def test_a_remix_joins_songs_that_match_one_another_in_tempo_and_key():
    tracks, stems, estimates = corpus_rows(12)
    keys = ("C major", "A minor", "D# major", "F# major", "E minor")
    optional_rows = RecipeRows(
        track_estimates=[tempo_of(row, tempo_bpm=80.0 + 5.0 * number, key=keys[number % 5]) for number, row in enumerate(tracks)]
    )
    pitch = {"C major": 0, "A minor": 0, "D# major": 3, "F# major": 6, "E minor": 7}
    known = {row.track_id: row for row in optional_rows.track_estimates}
    result = plan_pairs(only("remix", per_track=6), tracks, stems, estimates, optional_rows=optional_rows)
    assert result.pairs
    for pair in result.pairs:
        songs = [known[song] for song in set(songs_of(pair, stems).values())]
        assert 2 <= len(songs) <= 4
        tempos = [song.tempo_bpm for song in songs]
        assert max(tempos) / min(tempos) <= 1.15 + 1e-9
        for one in songs:
            for other in songs:
                apart = abs(pitch[one.key] - pitch[other.key])
                assert min(apart, 12 - apart) <= 3


def test_the_first_beats_of_all_songs_fall_on_the_start_of_the_excerpt():
    tracks, stems, estimates = corpus()
    optional_rows = knowledge_of(tracks, stems)
    beats = {row.track_id: {round(time_s * RATE) for time_s in row.beats_s} for row in optional_rows.track_estimates}
    for pair in planned(only("remix"), tracks, stems, estimates, optional_rows).pairs:
        songs = songs_of(pair, stems)
        for signal in pair.inputs:
            assert pair.start_frame + signal.branches[0].offset_frames in beats[songs[signal.name]]


def test_all_stems_of_a_remix_share_one_gain_and_the_target_is_their_sum():
    for pair in planned(only("remix"), *corpus()).pairs:
        branches = [branch for signal in pair.inputs for branch in signal.branches]
        assert list(pair.targets[0].branches) == branches
        assert all(branch.chain == branches[0].chain for branch in branches)


def test_the_joint_gain_scales_the_sum_of_powers_to_the_loudness():
    tracks, stems, _ = corpus()
    pairs = planned(
        only("remix", {"loudness_lufs": -20.0}), tracks, stems, [estimate_of(stem, loudness_lufs=-29.0) for stem in stems]
    ).pairs
    assert pairs[0].inputs[0].branches[0].chain[0].settings["gain_db"] == pytest.approx(9.0 - 10 * np.log10(4), abs=1e-3)


def test_most_songs_in_a_remix_are_bounded():
    tracks, stems, estimates = corpus(9)
    for pair in planned(only("remix", {"num_songs": 2}, per_track=10), tracks, stems, estimates).pairs:
        assert len(set(songs_of(pair, stems).values())) == 2


def test_an_added_song_changes_only_the_remixes_that_draw_it():
    tracks, stems, estimates = corpus_rows(30)
    optional_rows = RecipeRows(track_estimates=[tempo_of(row) for row in tracks])
    config = check({"pairs": {"duration_s": 4.0, "remix": {"per_track": 4}}}, where="test")
    before = plan_pairs(config, tracks[:29], stems, estimates, optional_rows=optional_rows).pairs
    after = plan_pairs(config, tracks, stems, estimates, optional_rows=optional_rows).pairs
    added = {stem.id for stem in stems if stem.track_id == tracks[29].id}
    kept, lost = {pair.id for pair in before} & {pair.id for pair in after}, [pair for pair in before if pair not in after]
    assert {pair.kind for pair in lost} == {"remix"}
    assert len(lost) < 0.25 * 29 * 4
    changed = [pair for pair in after if pair.id not in kept and pair.track_id != tracks[29].id]
    assert len(changed) == len(lost)
    assert all(added & {branch.source_id for branch in branches_of(pair)} for pair in changed)


def test_a_song_without_a_match_is_refused_with_the_limits_and_the_number_of_songs_compared():
    tracks, stems, estimates = corpus_rows(3)
    optional_rows = RecipeRows(
        track_estimates=[tempo_of(row, tempo_bpm=tempo) for row, tempo in zip(tracks, (90.0, 92.0, 170.0), strict=True)]
    )
    result = plan_pairs(only("remix"), tracks, stems, estimates, optional_rows=optional_rows)
    assert {pair.track_id for pair in result.pairs} == {tracks[0].id, tracks[1].id}
    assert [row.reason for row in result.rejected] == [
        "remix: no other song of the split 'train' has a tempo within 15% of 170 per minute and a key within 3 semitones of C major "
        "(2 compared); mode = 'console' needs none"
    ]


def test_a_song_alone_in_its_split_is_refused_and_one_without_a_key_too():
    tracks, stems, estimates = corpus(3)
    reasons = [row.reason for row in planned(only("remix"), tracks, stems, estimates).rejected]
    assert len(reasons) == 1
    assert "no other song of the split 'valid'" in reasons[0]
    assert "(0 compared)" in reasons[0]
    optional_rows = RecipeRows(track_estimates=[tempo_of(row, key=None) for row in tracks])
    assert {row.reason for row in planned(only("remix"), tracks, stems, estimates, optional_rows).rejected} == {
        "remix: its key is unclear; stems of other songs are matched by tempo and key"
    }


def test_a_random_console_writes_down_every_setting_and_keeps_its_inputs_dry():
    for pair in planned(only("remix", {"mode": "console"}), *corpus()).pairs:
        (mix,) = pair.targets
        for signal, branch in zip(pair.inputs, mix.branches, strict=True):
            (dry,) = signal.branches
            assert dry.source_id == branch.source_id
            assert [use.effect for use in dry.chain] == ["fader"]
            assert branch.chain[:1] == dry.chain
            assert [use.effect for use in branch.chain[1:]] == ["eq", "compressor", "fader"]
        for use in (*mix.bus[:-1], *(use for branch in mix.branches for use in branch.chain[1:])):
            assert set(use.settings) == set(EFFECTS[use.effect].Settings.model_fields)
        assert [use.effect for use in mix.bus] == ["eq", "compressor", "loudness"]


def test_ranges_bound_a_console_and_unknown_effects_are_refused():
    section = {"mode": "console", "ranges": {"fader": {"gain_db": [-3.0, 3.0], "pan": 0.0}, "eq": {"peak1_gain_db": 0.0}}}
    for pair in planned(only("remix", section), *corpus(3)).pairs:
        for branch in pair.targets[0].branches:
            assert abs(branch.chain[-1].settings["gain_db"]) <= 3.0
            assert branch.chain[-1].settings["pan"] == 0.0
            assert branch.chain[1].settings["peak1_gain_db"] == 0.0
    with pytest.raises(ConfigError, match="effects of a console: eq, compressor, fader; got ranges for 'reverb'"):
        only("remix", {"ranges": {"reverb": {"wet": 0.1}}})


def test_a_mono_track_has_no_pan_in_a_random_console():
    row = track(0)
    stems = [stem.model_copy(update={"audio": stem.audio.model_copy(update={"num_channels": 1})}) for stem in stems_of(row)]
    pairs = planned(only("remix", {"mode": "console"}), [row], stems, [estimate_of(stem) for stem in stems]).pairs
    assert {branch.chain[-1].settings["pan"] for pair in pairs for branch in pair.targets[0].branches} == {0.0}


def test_both_modes_give_some_of_either():
    pairs = planned(only("remix", {"mode": "both"}, per_track=20), *corpus()).pairs
    consoles = sum(bool(pair.targets[0].bus) for pair in pairs)
    assert 0.3 < consoles / len(pairs) < 0.7
