"""Degraded mixtures: what the two sides share, that the row makes them again, levels, presets, and what is refused."""

import re

import numpy as np
import pytest
from rows import corpus_rows, estimate_of, stems_of, track
from test_recipe_limit import read  # noqa: F401  # the fixture

from stemwright.datagen.dataset.writers.folder import FolderWriter
from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.pairs.recipes.restoration import PRESETS, SONICMASTER_GROUPS
from stemwright.datagen.pairs.recipes.restore import TYPICAL_LUFS
from stemwright.datagen.pairs.render import render
from stemwright.datagen.run.configuration import ConfigError, check
from stemwright.manifests.records import RESIDUAL
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.lossy_coding import nearest_bit_rate
from stemwright.separation.loudness.meter import integrated_loudness

OTHERS = ("mix", "remix", "removal", "limit", "edit")
EVERY_LAYER = {"stem_kept": [0, 1], "stem_removed": [1, 2], "bus_removed": [1, 2], "final_removed": [1, 2]}


def planned(per_track=4, tracks=1, rows=None, *, sample_rate=44_100, duration_s=1.0, **keys):
    sections = {kind: {"per_track": 0} for kind in OTHERS} | {"restore": {"per_track": per_track, **keys}}
    config = check({"seed": 5, "pairs": {"sample_rate": sample_rate, "duration_s": duration_s, **sections}}, where="test")
    result = plan_pairs(config, *(rows or corpus_rows(tracks)))
    assert not result.rejected, result.rejected[0].reason
    return result.pairs


def uses_of(pair):
    (degraded,) = pair.inputs
    return [use for chain in (*(branch.chain for branch in degraded.branches), degraded.bus) for use in chain]


def removed_from(chain):
    return tuple(use for use in chain if use.role != "removed")


# Two sides


@pytest.mark.parametrize("target", ["stem", "stems", "mixture"])
def test_a_target_has_what_is_kept_and_the_input_what_is_removed_besides(target):
    bus_kept = {"bus_kept": [0, 2]} if target == "mixture" else {}
    names = {stem.id: stem.name for stem in corpus_rows(1)[1]}
    for pair in planned(20, target=target, **EVERY_LAYER, **bus_kept):
        (degraded,) = pair.inputs
        branches = {branch.source_id: branch for branch in degraded.branches}
        assert {names[source] for source in branches} == {"drums", "bass", "other", "vocals"}
        assert {use.role for use in uses_of(pair)} <= {"kept", "removed", None}
        dry = [branch for signal in pair.targets for branch in signal.branches]
        assert [removed_from(branches[branch.source_id].chain) for branch in dry] == [branch.chain for branch in dry]
        if target == "mixture":
            (mixture,) = pair.targets
            assert mixture.bus == removed_from(degraded.bus)
            assert len(dry) == 4
        else:
            assert [names[branch.source_id] for branch in dry] == [signal.name for signal in pair.targets]
            assert len(dry) == (4 if target == "stems" else 1)
            assert not any(signal.bus for signal in pair.targets)
            assert not any(use.role == "kept" for use in degraded.bus)


def test_only_the_target_keeps_effects_where_it_is_one_stem():
    kept = 0
    for pair in planned(20, stem_kept=[1, 2]):
        (target,) = pair.targets[0].branches
        kept += any(use.role == "kept" for use in target.chain)
        for branch in pair.inputs[0].branches:
            assert branch.source_id == target.source_id or not any(use.role == "kept" for use in branch.chain)
    assert kept == 20


def test_the_recording_is_degraded_last_and_in_the_configured_order():
    final = ["noise", "lowpass", "codec"]
    for pair in planned(20, final_effects=final, final_removed=[2, 3], bus_effects=["eq"], bus_removed=[1, 1]):
        effects = [use.effect for use in pair.inputs[0].bus]
        assert effects[0] == "eq"
        assert effects[1:] == [effect for effect in final if effect in effects]


def test_something_is_degraded_in_every_pair():
    for keys in ({"stem_removed": [0, 1], "bus_removed": [0, 0]}, {"stem_effects": [], "stem_removed": [0, 0]}):
        for pair in planned(30, target="mixture", final_removed=[0, 1], **keys):
            assert any(use.role == "removed" for use in uses_of(pair))


# The row makes both sides again


@pytest.mark.parametrize("target", ["stem", "stems", "mixture"])
@pytest.mark.parametrize("encoding", ["wav32f", "flac24"])
def test_the_recorded_chains_on_the_sources_give_the_written_files(target, encoding, read, tmp_path):  # noqa: F811
    for pair in planned(2, target=target, stems=["vocals"] if target == "stem" else [], **EVERY_LAYER):
        example = FolderWriter(encoding).write(tmp_path, pair, render(pair, read))
        files = {file.name: load(tmp_path / file.audio.path)[0] for file in example.signals}
        sources = {id_: read(id_, pair.start_frame, pair.num_frames, pair.sample_rate) for id_ in names_of(pair)}
        for signal in (*pair.inputs, *pair.targets):
            total = sum(apply_chain(sources[branch.source_id], pair.sample_rate, branch.chain) for branch in signal.branches)
            made = apply_chain(total, pair.sample_rate, signal.bus) * 10.0 ** (example.gain_db / 20.0)
            np.testing.assert_allclose(files[signal.name], made, atol=1e-6)


def names_of(pair):
    return {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}


def test_without_degradations_the_stems_sum_to_the_input(read):  # noqa: F811
    (pair, *_) = planned(1, target="stems", **EVERY_LAYER)
    plain = tuple(branch.model_copy(update={"chain": branch.chain[:1]}) for branch in pair.inputs[0].branches)
    dry = [signal.model_copy(update={"branches": (plain[number],)}) for number, signal in enumerate(pair.targets)]
    whole = pair.inputs[0].model_copy(update={"branches": plain, "bus": ()})
    out = render(pair.model_copy(update={"inputs": (whole,), "targets": tuple(dry)}), read)
    np.testing.assert_allclose(sum(out[signal.name] for signal in dry), out["degraded"], atol=1e-6)


@pytest.mark.parametrize("sample_rate", [8_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_mono_and_stereo_at_any_rate_render_finite_and_as_long_as_planned(sample_rate, channels):
    row = track(0)
    stems = [stem.model_copy(update={"audio": stem.audio.model_copy(update={"num_channels": channels})}) for stem in stems_of(row)]
    rows = [row], stems, [estimate_of(stem) for stem in stems]

    def noise(source_id, start_frame, num_frames, rate):
        del start_frame, rate
        return np.random.default_rng(int(source_id, 16)).normal(0.0, 0.1, (channels, num_frames)).astype(np.float32)

    seen = set()
    for pair in planned(5, rows=rows, sample_rate=sample_rate, duration_s=0.25, final_removed=[3, 4]):
        seen |= {use.effect for use in pair.inputs[0].bus}
        for audio in render(pair, noise).values():
            assert audio.shape == (channels, pair.num_frames)
            assert np.isfinite(audio).all()
        for use in uses_of(pair):
            if use.effect == "codec":
                kbps = use.settings["bit_rate_kbps"]
                assert nearest_bit_rate(use.settings["codec"], kbps, sample_rate) == kbps
    assert "codec" in seen
    assert ("width" in seen) <= (channels == 2)


# What can be heard


def test_a_silent_stem_gets_no_effect_and_is_no_reason_to_draw_again(read):  # noqa: F811
    row = track(0)
    stems = stems_of(row)
    silent = (False,) * 20
    estimates = [estimate_of(stem, **({"loudness_lufs": None, "active": silent} if stem.name == "bass" else {})) for stem in stems]
    (bass,) = [stem.id for stem in stems if stem.name == "bass"]

    def quiet(source_id, *where):
        return read(source_id, *where) * (source_id != bass)

    fine = 0
    for pair in planned(
        4, rows=([row], stems, estimates), stem_removed=[1, 1], stem_effects=["reverb"], bus_removed=[0, 0], final_removed=[0, 0]
    ):
        chains = {branch.source_id: branch.chain for branch in pair.inputs[0].branches}
        assert [use.effect for use in chains[bass]] == ["fader"]
        assert bass not in names_of(pair.model_copy(update={"inputs": ()}))
        fine += render(pair, quiet).inaudible is None
    assert fine == 4


def test_a_removed_effect_that_does_nothing_is_found(read):  # noqa: F811
    keys = {"bus_effects": ["noise"], "bus_removed": [1, 1], "stem_removed": [0, 0], "final_removed": [0, 0]}
    (pair, *_) = planned(1, target="mixture", ranges={"noise": {"snr_db": [80.0, 90.0]}}, **keys)
    assert render(pair, read).inaudible.startswith("the removed noise changes it by -8")
    (pair, *_) = planned(1, target="mixture", ranges={"noise": {"snr_db": [20.0, 30.0]}}, **keys)
    assert render(pair, read).inaudible is None


# Levels


def test_the_mixture_is_brought_to_its_loudness_and_a_stem_keeps_its_level_in_it():
    for loudness_lufs in (-20.0, -30.0):  # the estimates of the rows have each stem 10 LU below a mixture of -15 LUFS
        for pair in planned(3, loudness_lufs=loudness_lufs, target="stems"):
            branches = [branch for signal in (*pair.inputs, *pair.targets) for branch in signal.branches]
            assert {branch.chain[0].settings["gain_db"] for branch in branches} == {loudness_lufs + 15.0}


def test_a_threshold_follows_the_level_of_its_stem_and_a_range_that_is_given_does_not():
    row = track(0)
    stems = stems_of(row)
    soft = [estimate_of(stem, loudness_lufs=-45.0 if stem.name == "bass" else -25.0) for stem in stems]
    soft = [each.model_copy(update={"level_lu": (each.loudness_lufs or 0.0) + 25.0}) for each in soft]  # a mixture of -25 LUFS
    keys = {"stem_effects": ["compressor"], "stem_removed": [1, 1], "bus_removed": [0, 0], "final_removed": [0, 0]}
    low, high = EFFECTS["compressor"].TYPICAL["threshold_db"]
    (bass,) = [stem.id for stem in stems if stem.name == "bass"]
    for ranges, below_db in (({}, 20.0), ({"compressor": {"threshold_db": [low, high]}}, 0.0)):
        found = {True: [], False: []}
        for pair in planned(40, rows=([row], stems, soft), ranges=ranges, **keys):
            for branch in pair.inputs[0].branches:
                found[branch.source_id == bass] += [use.settings["threshold_db"] for use in branch.chain if use.role]
        assert low <= min(found[False]) < max(found[False]) <= high
        assert low - below_db <= min(found[True]) < max(found[True]) <= high - below_db


def test_a_ceiling_is_where_the_peak_of_the_track_reaches_it():
    keys = {"final_effects": ["clip"], "final_removed": [1, 1], "bus_removed": [0, 0], "stem_removed": [0, 0], "target": "mixture"}
    ceilings = [use.settings["ceiling_db"] for pair in planned(40, **keys) for use in pair.inputs[0].bus]
    assert min(ceilings) >= -18.0
    assert max(ceilings) <= -12.0  # 14 dB above the mixture's -20 LUFS is the peak of the track; 6 dB below it is reached in places


def test_a_distortion_leaves_a_stem_about_as_loud_as_it_was(read):  # noqa: F811
    keys = {"stem_effects": ["distortion"], "stem_removed": [1, 1], "bus_removed": [0, 0], "final_removed": [0, 0]}
    for pair in planned(6, target="stems", **keys):
        sounds = {id_: read(id_, pair.start_frame, pair.num_frames, 44_100) for id_ in names_of(pair)}
        scale = {id_: 10.0 ** ((TYPICAL_LUFS - 10.0 - integrated_loudness(audio, 44_100)) / 20.0) for id_, audio in sounds.items()}
        for branch in pair.inputs[0].branches:
            audio = np.float32(scale[branch.source_id]) * sounds[branch.source_id]
            change = integrated_loudness(apply_chain(audio, 44_100, branch.chain[1:]), 44_100) - (TYPICAL_LUFS - 10.0)
            assert abs(change) < 4.0


# Presets


def test_msr_has_one_dry_stem_and_codes_the_mixture_alone():
    for pair in planned(10, preset="msr"):
        (target,) = pair.targets
        assert [use.effect for use in target.branches[0].chain] == ["fader"]
        assert all(use.effect != "codec" for branch in pair.inputs[0].branches for use in branch.chain)


@pytest.mark.parametrize("group", SONICMASTER_GROUPS)
def test_a_group_of_sonicmaster_is_degraded_alone_and_its_sentence_is_the_text(group):
    members = PRESETS[f"sonicmaster-{group}"]["bus_effects"]
    degradations = PRESETS["sonicmaster"]["degradations"]
    sentences = {sentence for name in members for sentence in degradations[name]["sentences"]}
    for pair in planned(30, preset=f"sonicmaster-{group}"):
        assert {use.effect for use in pair.inputs[0].bus} <= {stage["effect"] for name in members for stage in degradations[name]["chain"]}
        assert pair.text in sentences
        assert pair.targets[0].name == "mixture"
        assert pair.targets[0].bus == ()


@pytest.mark.parametrize("preset", ["msr", "sonicmaster"])
def test_a_preset_renders_and_its_row_makes_both_sides_again(preset, read):  # noqa: F811
    for pair in planned(2, preset=preset):
        out = render(pair, read)
        sources = {id_: read(id_, pair.start_frame, pair.num_frames, pair.sample_rate) for id_ in names_of(pair)}
        for signal in (*pair.inputs, *pair.targets):
            total = sum(apply_chain(sources[branch.source_id], pair.sample_rate, branch.chain) for branch in signal.branches)
            np.testing.assert_allclose(out[signal.name], apply_chain(total, pair.sample_rate, signal.bus), atol=1e-6)


def test_the_gain_of_an_equaliser_is_the_true_one(read):  # noqa: F811
    (pair, *_) = planned(
        1, preset="sonicmaster-equalization", bus_effects=["eq"], ranges={"eq": {"peak2_gain_db": 6.0, "peak2_hz": 1000.0}}
    )
    (use,) = pair.inputs[0].bus
    flat = {**use.settings, **{name: 0.0 for name in use.settings if name.endswith("gain_db") and name != "peak2_gain_db"}}
    sine = np.sin(2 * np.pi * 1000.0 * np.arange(44_100) / 44_100)[None]
    out = apply_chain(sine, 44_100, [("eq", flat)])
    assert 20 * np.log10(np.abs(out[:, 20_000:]).max()) == pytest.approx(6.0, abs=0.01)


# Named degradations

DULL = {"chain": [{"effect": "eq", "ranges": {"high_shelf_gain_db": [-15.0, -6.0], "high_shelf_hz": 6000.0}}]}
HISS = {"chain": [{"effect": "lowpass", "ranges": {"cutoff_hz": 4000.0}}, {"effect": "noise", "ranges": {"snr_db": [10.0, 20.0]}}]}
BUS_ONLY = {"stem_removed": [0, 0], "final_removed": [0, 0], "target": "mixture"}


def test_a_degradation_is_what_its_ranges_say_and_nothing_else():
    degradations = {"dull": DULL, "hiss": {**HISS, "sentences": ["Remove the hiss."]}}
    keys = {"bus_effects": ["dull", "hiss"], "bus_removed": [2, 2], "order": "listed", "sentences": True, **BUS_ONLY}
    seeds = set()
    for pair in planned(20, degradations=degradations, **keys):
        shelf, lowpass, noise = pair.inputs[0].bus
        assert -15.0 <= shelf.settings["high_shelf_gain_db"] <= -6.0
        assert (
            shelf.settings == EFFECTS["eq"].Settings(high_shelf_hz=6000.0, high_shelf_gain_db=shelf.settings["high_shelf_gain_db"]).plain()
        )
        assert lowpass.settings == {"cutoff_hz": 4000.0, "order": 2.0}
        assert 10.0 <= noise.settings["snr_db"] <= 20.0
        assert {use.role for use in (shelf, lowpass, noise)} == {"removed"}
        assert pair.text == "Remove the hiss."
        seeds.add(noise.settings["seed"])
    assert len(seeds) == 20


def test_of_a_group_one_is_drawn_and_a_weight_says_how_often():
    degradations = {"dull": {**DULL, "group": "tone", "weight": 3.0}, "hiss": {**HISS, "group": "tone"}}
    keys = {"bus_effects": ["dull", "hiss", "clip"], "bus_removed": [1, 1], "group_weights": {"tone": 4.0}, **BUS_ONLY}
    first = [pair.inputs[0].bus[0].effect for pair in planned(1000, degradations=degradations, **keys)]
    assert abs(first.count("clip") - 200) < 3 * 12.7  # a fifth of them, within three standard deviations
    assert abs(first.count("eq") - 600) < 3 * 15.5
    for pair in planned(30, degradations=degradations, **{**keys, "bus_removed": [2, 2]}):
        assert sum(use.effect in ("eq", "lowpass") for use in pair.inputs[0].bus) == 1


def test_a_level_can_be_that_of_the_peak():
    chain = [{"effect": "clip", "ranges": {"ceiling_db": -6.0}}]
    for relative_to, ceiling_db in (("peak", -12.0), ("full_scale", -6.0)):  # the mixture of the rows has its peak at -6 dBFS
        keys = {"degradations": {"cut": {"chain": chain, "relative_to": relative_to}}, "bus_effects": ["cut"], "bus_removed": [1, 1]}
        (pair, *_) = planned(1, **keys, **BUS_ONLY)
        assert pair.inputs[0].bus[0].settings == {"ceiling_db": ceiling_db}


# What is refused


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"preset": "msrr"}, "there is none with the name 'msrr'; the presets are msr, sonicmaster"),
        ({"bus_kept": [0, 1]}, 'can be kept only where target = "mixture"'),
        ({"stem_removed": [2, 1]}, "fewest <= most"),
        ({"stem_removed": [4, 4]}, "4 effects cannot be drawn from 3"),
        ({"stem_effects": ["eq", "eq"]}, "each effect once"),
        ({"stem_removed": [0, 0], "bus_removed": [0, 0], "final_removed": [0, 0]}, "nothing is degraded"),
        ({"final_effects": ["codek"]}, "did you mean 'codec'"),
        ({"ranges": {"chorus": {"mix": 0.2}}}, "'chorus' is not among the effects drawn"),
        ({"bus_effects": ["dull"], "degradations": {"dull": DULL, "hiss": HISS}}, "[pairs.restore.degradations.hiss] is not used"),
        ({"bus_effects": ["eq"], "degradations": {"eq": DULL}}, "'eq' is the name of an effect"),
        ({"bus_effects": ["x"], "degradations": {"x": {"chain": [{"effect": "eq", "ranges": {}}]}}}, "does nothing"),
        ({"bus_effects": ["x"], "degradations": {"x": {"chain": [{"effect": "eq", "ranges": {"q": 1}}]}}}, "no setting 'q'"),
        ({"bus_effects": ["x"], "degradations": {"x": {"chain": [{"effect": "egg", "ranges": {"q": 1}}]}}}, "did you mean"),
        ({"bus_effects": ["x"], "degradations": {"x": {**DULL, "weight": 0.0}}}, "expected a number above 0"),
        ({"group_weights": {"tone": 2.0}}, "there is no group 'tone'"),
        ({"bus_removed_weights": [1.0]}, "a weight for each number from 0 to 2; got 1"),
        ({"ranges": {"codec": {"bit_rate_kbps": [1.0, 64.0]}}}, "pairs.restore.ranges.codec"),
    ],
)
def test_a_wrong_key_is_named(keys, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        planned(**keys)


def test_released_mixtures_have_the_residual_and_it_is_not_degraded():
    (residual,) = [stem.id for stem in corpus_rows(1)[1] if stem.name == RESIDUAL]
    for pair in planned(4, mixture="released", **EVERY_LAYER):
        (branch,) = [branch for branch in pair.inputs[0].branches if branch.source_id == residual]
        assert [use.effect for use in branch.chain] == ["fader"]
    assert set(PRESETS) == {"msr", "sonicmaster", *(f"sonicmaster-{group}" for group in SONICMASTER_GROUPS)}
