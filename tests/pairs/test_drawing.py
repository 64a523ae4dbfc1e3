"""What is drawn for a pair: where excerpts start, settings that matter, ranges that end at infinity, levels of a mix."""

import json
import math

import numpy as np
import pytest
from conftest import make_song, write_song_file
from rows import corpus_rows, estimate_of, stems_of, track
from scipy.stats import kstest

from stemwright.datagen.dataset.labels import Vocabulary
from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.pairs.plan import generator, material_of, plan_pairs
from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import ConfigError, check, parse, to_toml
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.pair_records import Pair

OTHER_KINDS = {"mix": {"per_track": 0}, "removal": {"per_track": 0}}


def planned(kind, rows, *, duration_s=2.0, **section):
    pairs = {"duration_s": duration_s, **OTHER_KINDS, kind: {"per_track": 60, **section}}
    result = plan_pairs(check({"seed": 7, "pairs": pairs}, where="test"), *rows)
    assert not result.rejected
    return result.pairs


def rows_with(*, channels=2, width=0.3, pan=0.2, loudness_lufs=-25.0, crest_db=15.0, **own):
    """One track whose stems are as given; ``own`` names the loudness of single stems."""
    row = track(0)
    stems = [stem.model_copy(update={"audio": stem.audio.model_copy(update={"num_channels": channels})}) for stem in stems_of(row)]
    estimates = []
    for stem in stems:
        loudness = own.get(stem.name, loudness_lufs)
        update = {"width": width, "pan": pan, "peak_dbfs": None if loudness is None else loudness + crest_db}
        estimates.append(estimate_of(stem, loudness_lufs=loudness).model_copy(update=update))
    return [row], stems, estimates


def uses_of(pairs):
    return [use for pair in pairs for signal in (*pair.inputs, *pair.targets) for branch in signal.branches for use in branch.chain]


def values_of(pairs, effect, setting):
    return {use.settings[setting] for use in uses_of(pairs) if use.effect == effect and use.role}


@pytest.mark.parametrize("duration_s", [20.75, 20.01, 21.0])
def test_excerpts_start_at_every_frame_with_equal_chance_also_in_the_last_incomplete_second(duration_s):
    row = track(0, duration_s=duration_s)
    stems = stems_of(row)
    estimates = {stem.id: estimate_of(stem, active=(True,) * math.ceil(duration_s)) for stem in stems}
    pairs = check({"pairs": {"duration_s": 18.25}}, where="test").pairs
    material = material_of(row, stems, estimates, pairs)
    last = material.track_frames - material.num_frames
    starts = np.array([material.excerpt("drums", generator(0, row.id, "mix", number)) for number in range(4000)])
    assert starts.min() >= 0
    assert starts.max() <= last
    assert kstest(starts / (last + 1), "uniform").pvalue > 1e-3


def test_what_cannot_matter_is_left_neutral():
    effects = {"effects": ["compressor", "limiter", "reverb", "fader"], "removed": [2, 4], "kept": [0, 0]}
    mono = planned("removal", rows_with(channels=1), **effects)
    assert values_of(mono, "compressor", "linked") == values_of(mono, "limiter", "linked") == {True}
    assert values_of(mono, "reverb", "width") == {1.0}
    assert values_of(mono, "fader", "pan") == {0.0}
    equal = planned("removal", rows_with(width=0.0, pan=0.0), **effects)
    assert values_of(equal, "compressor", "linked") == values_of(equal, "limiter", "linked") == {True}
    stereo = planned("removal", rows_with(), **effects)
    assert values_of(stereo, "compressor", "linked") == values_of(stereo, "limiter", "linked") == {True, False}
    assert min(len(values_of(each, "fader", "pan")) for each in (equal, stereo)) > 10
    assert min(len(values_of(each, "reverb", "width")) for each in (equal, stereo)) > 10


def test_a_width_is_not_drawn_where_both_channels_are_equal_though_it_is_for_a_panned_point():
    for rows, there in ((rows_with(width=0.0, pan=0.0), False), (rows_with(width=0.0, pan=0.5), True)):
        assert any(use.effect == "width" for use in uses_of(planned("removal", rows, preset="wide"))) is there


def test_typical_thresholds_lie_where_a_stem_of_so_small_a_crest_reaches_them_and_given_ranges_are_kept():
    effects = {"effects": ["clip"], "removed": [1, 1], "kept": [0, 0]}
    flat = values_of(planned("removal", rows_with(crest_db=3.0), **effects), "clip", "ceiling_db")
    assert max(flat) <= -20.0 + 3.0 - 6.0
    assert len(flat) > 10
    sharp = values_of(planned("removal", rows_with(crest_db=30.0), **effects), "clip", "ceiling_db")
    assert max(sharp) > -5.0
    given = planned("removal", rows_with(crest_db=3.0), **effects, ranges={"clip": {"ceiling_db": [-4.0, -3.0]}})
    assert min(values_of(given, "clip", "ceiling_db")) >= -4.0


@pytest.mark.parametrize("given", ["[2.0, inf]", "inf"])
def test_a_ratio_may_be_infinite_in_the_configuration_in_rows_and_in_labels(given, tmp_path):
    section = '[pairs.removal]\nper_track = 40\neffects = ["compressor"]\nremoved = [1, 1]\nkept = [0, 0]\n'
    config = parse(f"[pairs]\nduration_s = 2.0\n[pairs.mix]\nper_track = 0\n{section}[pairs.removal.ranges.compressor]\nratio = {given}\n")
    assert parse(to_toml(config)) == config
    json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=False))
    pairs = plan_pairs(config, *corpus_rows(1)).pairs
    ratios = np.array([float(use.settings["ratio"]) for use in uses_of(pairs) if use.effect == "compressor" and use.role == "removed"])
    if given == "inf":
        assert set(ratios) == {math.inf}
    else:
        assert kstest(1.0 / ratios, "uniform", args=(0.0, 0.5)).pvalue > 1e-3  # uniform in 1/ratio: as many above 4:1 as below
    for pair in pairs:
        assert "Infinity" not in pair.model_dump_json()
        assert Pair.model_validate_json(pair.model_dump_json()) == pair
    table.write(tmp_path / "pairs.parquet", pairs, Pair)
    assert table.read(tmp_path / "pairs.parquet", Pair) == pairs
    words = Vocabulary(("compressor",))
    chain = [use for use in pairs[0].inputs[0].branches[0].chain if use.effect == "compressor"]
    assert words.decode(*words.encode(chain))["compressor"]["ratio"] == pytest.approx(float(chain[0].settings["ratio"]), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('[1.5, inf, "linear"]', "cannot be drawn on a linear scale"),
        ('[1.5, 6.0, "cubic"]', "ratio"),
        ("[1.5]", "ratio"),
        ("[nan, 2.0]", "must be within 1 to"),
    ],
)
def test_ranges_on_a_scale_that_cannot_hold_them_are_refused(given, said):
    text = f'[pairs.removal]\neffects = ["compressor", "eq"]\n[pairs.removal.ranges.compressor]\nratio = {given}\n'
    with pytest.raises(ConfigError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        ("mix", {"preset": "console"}),
        ("mix", {"inputs": "levelled"}),
        ("mix", {"inputs": "levelled", "level_over": "excerpt"}),
        ("remix", {"mode": "console"}),
    ],
)
def test_a_track_of_dither_is_an_input_without_branches_and_never_lifted(kind, section):
    rows = rows_with(other=-95.0, bass=None)
    for pair in planned(kind, rows, per_track=5, **section):
        silent = {signal.name: signal.branches for signal in pair.inputs}
        assert silent["other"] == silent["bass"] == ()
        assert silent["drums"]
        assert silent["vocals"]
        if kind == "remix":
            assert len(pair.targets[0].branches) == 2


def test_a_console_has_a_balance_whose_powers_sum_to_one_stem_and_a_mix_at_a_peak_of_its_range():
    for names in (["drums", "bass"], ["drums", "bass", "other", "vocals"]):
        balances = []
        for pair in planned("remix", rows_with(), mode="console", stems=names):
            gains = [branch.chain[-1].settings["gain_db"] for branch in pair.targets[0].branches]
            assert 10.0 * math.log10(sum(10.0 ** (gain / 10.0) for gain in gains)) == pytest.approx(0.0, abs=1e-2)
            level = pair.targets[0].bus[-1]
            assert level.effect == "loudness"
            assert level.settings["measure"] == "peak"
            assert -9.0 <= level.settings["target_db"] <= -1.0
            balances.append(gains[0] - gains[1])
        assert max(balances) - min(balances) > 15.0  # the balance is drawn as widely as before
    given = planned("remix", rows_with(), mode="console", ranges={"fader": {"gain_db": [3.0, 4.0]}})
    assert min(branch.chain[-1].settings["gain_db"] for pair in given for branch in pair.targets[0].branches) >= 3.0


def test_an_edit_names_stems_that_sound_in_its_excerpt():
    row = track(0)
    stems = stems_of(row)
    halves = {"drums": (True,) * 10 + (False,) * 10, "vocals": (False,) * 10 + (True,) * 10}
    estimates = [estimate_of(stem, active=halves.get(stem.name)) for stem in stems]
    pairs = planned("edit", ([row], stems, estimates))
    for pair in pairs:
        first_s, last_s = pair.start_frame / pair.sample_rate, (pair.start_frame + pair.num_frames) / pair.sample_rate
        words = pair.text.replace(",", " ").split()
        assert "drums" not in words or first_s < 10.0
        assert "vocals" not in words or last_s > 10.0
    assert any("drums" in pair.text for pair in pairs)
    assert any("vocals" in pair.text for pair in pairs)


def test_an_excerpt_of_dither_is_not_lifted_and_masked_though_its_track_sounds_elsewhere(tmp_path):
    for number in range(2):
        song = {name: audio.copy() for name, audio in make_song(number, 4.0).items()}
        dither = np.random.default_rng(number).integers(-1, 2, song["other"].shape).astype(np.float32) / 2.0**15
        song["mixture"] -= song["other"]
        song["other"] = np.where(np.arange(song["other"].shape[1]) < 44_100, song["other"], dither)
        song["mixture"] += song["other"]
        for stem, audio in song.items():
            write_song_file(tmp_path / "songs" / "train" / f"Artist {number} - Title" / f"{stem}.wav", audio)
    (tmp_path / "songs" / "test").mkdir()
    corpus = Corpus(tmp_path / "corpus")
    pairs = {"duration_s": 0.6, "mix": {"per_track": 12, "preset": "console"}, "removal": {"per_track": 0}}
    corpus.create(check({"seed": 2, "songs": {"folder": str(tmp_path / "songs")}, "pairs": pairs}, where="test"))
    stages.run_catalog(corpus, Workers(1))
    stages.run_separate(corpus)
    stages.run_estimate(corpus, Workers(1))
    stages.run_plan(corpus)
    stages.run_render(corpus, Workers(1))
    data, seen = PairDataset(corpus.dataset, kind="mix", split="train"), set()
    for number in range(len(data)):
        names = [signal.name for signal in data.pair(number).inputs]
        at, files = names.index("other"), {file.name: file for file in data.example(number).signals}
        dithered = data.pair(number).start_frame >= 44_100
        seen.add(dithered)
        if dithered:
            assert files["other"].levelled_db == (0.0,)
            assert files["other"].peak_dbfs < -80.0
        assert bool(data[number].mask[at]) is not dithered
        assert bool(data[number].mask[names.index("drums")])
    assert seen == {True, False}
