import json

import numpy as np
import pyloudnorm
import pytest
import soundfile
from conftest import make_song
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.edit.presets.preset import Preset
from stemwright.datagen.mixing.instrument_roles import BY_NAME, ROLES, role_of_name, side_of_name
from stemwright.datagen.mixing.mix_rules import RULES
from stemwright.datagen.mixing.profile_levels import NameLevels, mix_by_profile
from stemwright.datagen.mixing.stem_plans import mix_by_rules, sums_of_others
from stemwright.datagen.mixing.stem_sound import role_of_sound, share_of_strokes, sound_of
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.usage import UsageError
from stemwright.separation.loudness.meter import integrated_loudness, true_peak

RATE, SECONDS = 44_100, 4


def tone(hz, seed=0, seconds=SECONDS):
    time = np.arange(seconds * RATE) / RATE
    wave = sum(np.sin(2 * np.pi * hz * k * time + k + seed) / k for k in range(1, 6))
    return (0.1 * wave * (0.7 + 0.3 * np.sin(2 * np.pi * (0.5 + 0.1 * seed) * time)))[None].astype(np.float32)


def strokes(hz, every, noise, seed=0, seconds=SECONDS):
    rng, audio = np.random.default_rng(seed), np.zeros(seconds * RATE)
    time = np.arange(RATE // 4) / RATE
    for start in range(0, len(audio) - len(time), round(every * RATE)):
        hit = (1 - noise) * np.sin(2 * np.pi * hz * time) + noise * np.diff(rng.normal(size=len(time) + 1))
        audio[start : start + len(time)] += np.exp(-time / 0.04) * hit
    return (0.5 * audio / np.abs(audio).max())[None].astype(np.float32)


@pytest.fixture(scope="module")
def band():
    """Eight mono stems as [2, T], of which some have things in common."""
    kick = strokes(60, 0.5, 0.05)
    stems = {"Kick In": kick, "Kick Out": 0.3 * kick, "Snare": strokes(190, 1.0, 0.6), "bass": tone(55), "LeadVox": tone(250, 1)}
    stems |= {"Egtr 1": tone(196, 2), "Egtr 2": tone(330, 3), "Hat": strokes(9000, 0.25, 1.0, 1), "Synth": tone(880, 4)}
    return {name: np.repeat(audio, 2, axis=0) for name, audio in stems.items()}


@pytest.fixture(scope="module")
def folder(band, tmp_path_factory):
    place = tmp_path_factory.mktemp("dry")
    for number, (name, audio) in enumerate(band.items()):
        soundfile.write(place / f"{name}.wav", (audio if number % 2 else audio[:1]).T, RATE, subtype="FLOAT")
    return place


def run(*arguments):
    return CliRunner().invoke(app, ["mix", *map(str, arguments)])


def parts_in_mix(settings, stems):
    """What each stem is in the mix, through the preset."""
    made = Preset({name: stem.chain for name, stem in settings.stems.items()}, settings.bus, RATE)
    return {name: made.mix({name: stems[name]}, RATE)[0] for name in settings.stems}


def peers_loudness(audio):
    return pyloudnorm.Meter(RATE, filter_class="DeMan").integrated_loudness(audio.T)


def same(one, other, tolerance=1e-3):
    """Whether two mixes have the same settings: chains within a tolerance."""
    assert set(one.stems) == set(other.stems)
    for name, stem in one.stems.items():
        for (effect, first), (there, second) in zip(stem.chain, other.stems[name].chain, strict=True):
            assert effect == there
            assert first.plain() == pytest.approx(second.plain(), abs=tolerance)


@pytest.mark.parametrize("meter", [lambda audio: integrated_loudness(np.float32(audio), RATE), peers_loudness], ids=["ours", "pyloudnorm"])
def test_the_levels_in_the_mix_are_the_targets_by_two_meters(band, meter):
    settings = mix_by_rules(band, RATE)
    parts = parts_in_mix(settings, band)
    mix = sum(parts.values())
    level = {name: meter(part) - meter(mix) for name, part in parts.items()}
    assert level["LeadVox"] == pytest.approx(-3.0, abs=0.1)
    for name, stem in settings.stems.items():
        assert level[name] == pytest.approx(stem.level_lu, abs=0.1)
    assert level["bass"] - level["Snare"] == pytest.approx(-9.5 + 16.8, abs=0.1)  # the measured means
    assert level["Egtr 1"] - level["bass"] == pytest.approx(-0.5, abs=0.1)
    assert meter(mix) == pytest.approx(-16.0, abs=0.1) or true_peak(np.float32(mix), RATE) == pytest.approx(-1.0, abs=0.05)
    assert true_peak(np.float32(mix), RATE) < -0.95


def test_leads_that_have_much_in_common_with_the_rest_are_at_their_level(band):
    doubled = band | {"Egtr 1": 0.6 * band["LeadVox"] + 0.2 * band["Egtr 1"]}
    parts = parts_in_mix(mix_by_rules(doubled, RATE, equalise=False), doubled)
    mix = sum(parts.values())
    assert peers_loudness(parts["LeadVox"]) - peers_loudness(mix) == pytest.approx(-3.0, abs=0.1)


def test_what_plays_seldom_is_no_louder_than_the_lead(band):
    shaker = np.zeros_like(band["Hat"])
    shaker[:, :RATE] = band["Hat"][:, :RATE]
    stems = {"vocals": band["LeadVox"], "shaker": shaker}
    settings = mix_by_rules(stems, RATE)
    parts = parts_in_mix(settings, stems)
    assert peers_loudness(parts["shaker"]) - peers_loudness(parts["vocals"]) == pytest.approx(0.0, abs=0.1)
    level = peers_loudness(parts["vocals"]) - peers_loudness(sum(parts.values()))
    assert level > -2.5
    (note,) = settings.notes
    assert f"vocals is at {level:.1f} LU, not at -3: shaker would have to be louder than the lead, and no single instrument may be" in note


def test_where_the_lead_is_at_its_level_nothing_is_noted(band):
    assert mix_by_rules(band, RATE).notes == ()


def test_two_kick_microphones_share_the_level_of_one(band):
    settings = mix_by_rules(band, RATE)
    one = mix_by_rules({name: audio for name, audio in band.items() if name != "Kick Out"}, RATE)
    ratio = settings.stems["Kick In"].plan.level_lu - one.stems["Kick In"].plan.level_lu
    assert ratio == pytest.approx(-10 * np.log10(2))


def test_the_order_of_stems_changes_nothing(band):
    turned = dict(reversed(band.items()))
    one, other = mix_by_rules(band, RATE), mix_by_rules(turned, RATE)
    assert {name: stem.chain for name, stem in one.stems.items()} == {name: stem.chain for name, stem in other.stems.items()}


def test_a_silent_stem_changes_nothing(band):
    settings = mix_by_rules(band | {"Guitar 3": np.zeros_like(band["bass"])}, RATE)
    same(settings, mix_by_rules(band, RATE), 0.0)
    assert settings.left_out == {"Guitar 3": "silent"}


def test_the_gain_of_a_stem_that_is_given_changes_nothing_in_the_mix(band):
    plain = mix_by_rules(band, RATE)
    gains = {name: 10 ** (((-1) ** number * 3 * number) / 20) for number, name in enumerate(band)}
    louder = {name: np.float32(gains[name]) * audio for name, audio in band.items()}
    settings = mix_by_rules(louder, RATE)
    mixes = [sum(parts_in_mix(made, stems).values()) for made, stems in ((plain, band), (settings, louder))]
    assert np.abs(mixes[0] - mixes[1]).max() < 1e-4
    assert {name: stem.plan.pan for name, stem in plain.stems.items()} == {name: stem.plan.pan for name, stem in settings.stems.items()}


def test_a_fader_at_its_limit_is_noted(band):
    settings = mix_by_rules({name: np.float32(0.05) * audio for name, audio in band.items()}, RATE)
    highest = max(settings.stems, key=lambda name: settings.stems[name].gain_db)
    assert settings.stems[highest].gain_db == pytest.approx(24.0)
    (note,) = (note for note in settings.notes if "limit" in note)
    assert note.startswith(f"{highest}: fader at the limit of +24 dB; all stems get +")
    assert not any("limit" in note for note in mix_by_rules(band, RATE).notes)


def test_bass_kick_snare_and_lead_are_in_the_centre_and_the_others_in_balance(band):
    stems = mix_by_rules(band, RATE).stems
    pans = {name: stem.plan.pan for name, stem in stems.items()}
    assert [pans[name] for name in ("Kick In", "Kick Out", "Snare", "bass", "LeadVox")] == [0.0] * 5
    assert pans["Egtr 1"] * pans["Egtr 2"] < 0
    assert abs(pans["Hat"]) > abs(pans["Egtr 1"]) > 0


def test_files_of_one_stereo_source_go_to_their_sides_and_a_stereo_stem_stays(band):
    wide = np.stack([band["Synth"][0], np.roll(band["Synth"][0], 3000)])
    stems = band | {"OH_L": band["Hat"], "OH_R": band["Hat"] * np.float32(0.5), "Pad": wide}
    settings = mix_by_rules(stems, RATE).stems
    assert (settings["OH_L"].plan.pan, settings["OH_R"].plan.pan, settings["Pad"].plan.pan) == (-1.0, 1.0, 0.0)
    assert any(reason.rule == "stereo" for reason in settings["Pad"].plan.reasons)


def test_a_highpass_that_would_take_the_instrument_is_left_out(band):
    settings = mix_by_rules(band | {"Egtr 1": band["bass"]}, RATE).stems["Egtr 1"]
    assert [effect for effect, _ in settings.chain if effect == "highpass"] == []
    assert any("below 65 Hz" in reason.value for reason in settings.plan.reasons)


def test_every_reason_names_a_rule_and_every_rule_a_source(band):
    for stem in mix_by_rules(band, RATE).stems.values():
        assert {reason.rule for reason in stem.plan.reasons} <= set(RULES)
    assert all(rule.says and rule.source and rule.certainty in ("measured", "surveyed", "opinion", "defined") for rule in RULES.values())
    assert {role.level_rule for role in ROLES} | {role.pan_rule for role in ROLES} <= set(RULES)


def test_the_levels_of_four_stems_make_the_mix():
    energies = [10 ** (BY_NAME[name].level_lu / 10) for name in ("lead vocals", "drums", "bass", "other")]
    assert 10 * np.log10(sum(energies)) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("vocals", "lead vocals"),
        ("03_LeadVox.dbl", "lead vocals"),
        ("BackingVox 2", "backing vocals"),
        ("BGVs", "backing vocals"),
        ("Kick In", "kick"),
        ("Bass Drum", "kick"),
        ("SnareTop", "snare"),
        ("Hi-Hat", "hi-hat"),
        ("OH_L", "overheads"),
        ("FloorTom", "toms"),
        ("Drum Room", "room"),
        ("drums", "drums"),
        ("Bass DI", "bass"),
        ("Sub Bass", "bass"),
        ("Bass Clarinet", "low winds"),
        ("ElecGtr1", "guitar"),
        ("Lead Guitar", "guitar"),
        ("Synth Lead", "synth"),
        ("Grand Piano", "keys"),
        ("Cello", "strings"),
        ("Alto Sax", "winds"),
        ("Gesang", "lead vocals"),
        ("other", "other"),
        ("backing", "accompaniment"),
        ("Audio 07", None),
        ("ch03", None),
        ("untitled", None),
    ],
)
def test_the_name_of_a_stem_says_its_role(name, role):
    found = role_of_name(name)
    assert (found and found.name) == role


@pytest.mark.parametrize(("name", "side"), [("OH_L", "left"), ("OHR", "right"), ("Gtr Left 2", "left"), ("L-R", None), ("Lead", None)])
def test_the_name_of_a_stem_says_its_side(name, side):
    assert side_of_name(name) == side


@pytest.mark.parametrize(
    ("audio", "role"),
    [(tone(55), "bass"), (tone(440), "instrument"), (strokes(9000, 0.25, 1.0), "hi-hat"), (strokes(190, 0.5, 0.2), "drums")],
    ids=["bass", "tone", "hat", "drum"],
)
def test_a_stem_without_a_telling_name_is_taken_by_its_sound(audio, role):
    assert role_of_sound(audio, sound_of(audio, RATE), RATE)[0].name == role
    assert share_of_strokes(100 * audio, RATE) == pytest.approx(share_of_strokes(audio, RATE), abs=1e-4)


def test_a_sum_of_other_stems_is_left_out(band):
    stems = {name: audio for name, audio in band.items() if name != "Kick Out"}
    summed = sum(stems.values())
    assert set(sums_of_others(stems | {"Stereo Out": summed}, RATE)) == {"Stereo Out"}
    settings = mix_by_rules(stems | {"Stereo Out": summed}, RATE)
    assert "the sum of" in settings.left_out["Stereo Out"]
    same(settings, mix_by_rules(stems, RATE), 0.0)


def test_the_preset_of_a_mix_makes_it_again(folder, tmp_path):
    ended = run(folder, tmp_path / "mix.wav", "--json", "--plot", tmp_path / "mix.png")
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert told["stems"]["LeadVox"]["level_lu"] == pytest.approx(-3.0, abs=0.01)
    assert told["rules"]["vocal"]["source"].startswith("De Man")
    assert (tmp_path / "mix.png").stat().st_size > 10_000
    again = CliRunner().invoke(app, ["apply", *map(str, (tmp_path / "mix.json", folder, tmp_path / "again.wav"))])
    assert again.exit_code == 0, again.output
    mix = load(tmp_path / "mix.wav")[0]
    assert mix.shape == (2, SECONDS * RATE)
    assert np.abs(mix - load(tmp_path / "again.wav")[0]).max() < 1e-5
    assert peers_loudness(mix) == pytest.approx(told["loudness_lufs"], abs=0.05)


def test_stems_of_other_rates_lengths_and_silent_ones_are_mixed_and_made_again(folder, tmp_path):
    dry = tmp_path / "dry"
    dry.mkdir()
    soundfile.write(dry / "vocals.wav", tone(250)[0, ::2], RATE // 2, subtype="FLOAT")
    soundfile.write(dry / "bass.flac", tone(55)[0, : 3 * RATE], RATE)
    soundfile.write(dry / "empty.wav", np.zeros((10 * 48_000, 2)), 48_000)  # neither its rate nor its length is that of the mix
    ended = run(dry, tmp_path / "mix.flac")
    assert ended.exit_code == 0, ended.output
    assert "empty is not in the mix: silent" in ended.output
    mix, rate = load(tmp_path / "mix.flac")
    assert (mix.shape, rate) == ((2, SECONDS * RATE), RATE)
    assert CliRunner().invoke(app, ["apply", *map(str, (tmp_path / "mix.json", dry, tmp_path / "again.flac"))]).exit_code == 0
    assert np.abs(mix - load(tmp_path / "again.flac")[0]).max() < 1e-5


def test_by_a_profile_stems_are_at_the_medians_of_their_names():
    song = {name: np.float32(audio) for name, audio in make_song(0, 4.0).items()}
    stems = {"Drums": song["drums"], "lead_vox": song["vocals"], "Kazoo": song["other"]}
    profile = {"drums": NameLevels(-7.0, 0.3, 5), "vocals": NameLevels(-4.5, 0.0, 5)}
    settings = mix_by_profile(stems, RATE, profile)
    assert set(settings.stems) == {"Drums", "lead_vox"}
    parts = parts_in_mix(settings, stems)
    assert peers_loudness(parts["Drums"]) - peers_loudness(parts["lead_vox"]) == pytest.approx(-2.5, abs=0.1)
    assert settings.stems["Drums"].plan.pan == 0.3
    with pytest.raises(UsageError, match="has no stems like Kazoo"):
        mix_by_profile({"Kazoo": song["other"]}, RATE, profile)


def test_all_silent_is_refused(band):
    with pytest.raises(Refused, match=r"all stems are silent .* nothing to mix"):
        mix_by_rules({name: np.zeros_like(audio) for name, audio in band.items()}, RATE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{empty}", "{out}/mix.wav"), "got no sound file"),
        (("{out}/nowhere", "{out}/mix.wav"), "does not exist"),
        (("{dry}", "{dry}/mix.wav"), "is in the folder of the stems"),
        (("{dry}", "{out}/mix.aif"), "mix.aif"),
        (("{dry}", "{out}/mix.wav", "--by", "ear"), "--by must be rules, profile or trained; got ear"),
        (("{dry}", "{out}/mix.wav", "--by", "profile"), "--by profile needs the corpus"),
        (("{dry}", "{out}/mix.wav", "--by", "profile", "{empty}"), "estimates.parquet"),
        (("{dry}", "{out}/mix.wav", "{empty}"), "--by rules needs no corpus"),
        (("{dry}", "{out}/mix.wav", "{empty}", "--by", "trained", "--weights", "x.safetensors"), "--by trained needs no corpus"),
        (("{dry}", "{out}/mix.wav", "--weights", "x.safetensors"), "--by rules has no weights"),
        (("{dry}", "{out}/mix.wav", "--flat", "--by", "profile", "{empty}"), "--flat is for --by rules"),
        (("{dry}", "{out}/mix.wav", "--by", "trained"), "train_mixer.py --dataset CORPUS/dataset --save FILE"),
        (("{dry}", "{out}/mix.wav", "--by", "trained", "--weights", "{out}/no.safetensors"), "no such file"),
        (("{dry}", "{out}/mix.wav", "--loudness", "5"), "--loudness must be between"),
    ],
)
def test_what_cannot_be_mixed_is_said_and_nothing_is_written(arguments, message, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    ended = run(*(argument.format(empty=tmp_path / "empty", dry=folder, out=tmp_path) for argument in arguments))
    with pytest.raises(UsageError, match=message):
        raise ended.exception
    assert not list(tmp_path.glob("mix*"))


@pytest.mark.parametrize(("values", "message"), [(np.nan, "NaN"), (0.0, "nothing to mix")])
def test_stems_that_are_damaged_or_silent_are_refused(values, message, tmp_path):
    dry = tmp_path / "dry"
    dry.mkdir()
    for name in ("vocals", "bass"):
        soundfile.write(dry / f"{name}.wav", np.full(RATE, values), RATE, subtype="FLOAT")
    with pytest.raises(Refused, match=message):
        raise run(dry, tmp_path / "mix.wav").exception


def test_a_stem_of_six_channels_is_refused(band, tmp_path):
    dry = tmp_path / "dry"
    dry.mkdir()
    soundfile.write(dry / "vocals.wav", np.repeat(band["bass"], 3, axis=0).T, RATE)
    with pytest.raises(Refused, match="has 6 channels; expected 1 or 2"):
        raise run(dry, tmp_path / "mix.wav").exception
    with pytest.raises(ValueError, match=r"expected stems \[2, T\] of one shape"):
        mix_by_rules({"vocals": band["bass"][:1]}, RATE)


def test_two_files_of_one_name_are_refused_and_one_stem_alone_is_mixed(band, tmp_path):
    dry = tmp_path / "dry"
    dry.mkdir()
    soundfile.write(dry / "vocals.wav", band["LeadVox"].T, RATE)
    ended = run(dry, tmp_path / "mix.wav")
    assert ended.exit_code == 0, ended.output
    assert peers_loudness(load(tmp_path / "mix.wav")[0]) == pytest.approx(-16.0, abs=0.05)
    soundfile.write(dry / "Vocals.flac", band["LeadVox"].T, RATE)
    with pytest.raises(UsageError, match=r"Vocals.flac, vocals.wav are stems of one name"):
        raise run(dry, tmp_path / "mix.wav").exception


def test_every_verb_that_takes_stems_refuses_two_of_one_name(band, tmp_path):
    song = tmp_path / "song"
    song.mkdir()
    for name, audio in {"mixture.wav": band["LeadVox"] + band["bass"], "vocals.wav": band["LeadVox"], "bass.wav": band["bass"]}.items():
        soundfile.write(song / name, audio.T, RATE, subtype="FLOAT")
    soundfile.write(song / "vocals.flac", band["LeadVox"].T, RATE)
    (tmp_path / "preset.json").write_text('{"stems": {"vocals": [], "bass": []}}')
    mixture, out = song / "mixture.wav", tmp_path / "out.wav"
    for arguments in (
        ("balance", song),
        ("balance", mixture, "--stems", song),
        ("fit", mixture, "--stems", song),
        ("edit", mixture, "raise vocals by 2 dB", out, "--stems", song),
        ("apply", tmp_path / "preset.json", song, out),
    ):
        ended = CliRunner().invoke(app, [*map(str, arguments)])
        assert "vocals.flac, vocals.wav are stems of one name" in f"{ended.output} {ended.exception}", arguments
        assert ended.exit_code, arguments
    assert not out.exists()


def test_settings_never_replace_a_file_that_was_not_named_and_is_no_preset(folder, tmp_path):
    for text in ('{"name": "web", "version": "1.0.0"}', '{"stems": {}}', "no json"):
        (tmp_path / "package.json").write_text(text)
        done = run(folder, tmp_path / "package.wav")
        assert isinstance(done.exception, UsageError)
        assert "package.json exists and is no preset" in str(done.exception)
        assert (tmp_path / "package.json").read_text() == text
        assert not (tmp_path / "package.wav").exists()
    dry = tmp_path / "dry"
    dry.mkdir()
    soundfile.write(dry / "bass.wav", tone(55).T, RATE, subtype="FLOAT")
    for _ in range(2):  # its own settings are replaced
        assert run(dry, tmp_path / "mix.wav").exit_code == 0
    assert Preset.read(tmp_path / "mix.json").stems


@pytest.mark.parametrize("outputs", [("{c}/stems/vocals.wav",), ("{o}/mix.wav", "--save", "{c}/new.json"), ("{l}/mix.wav",)])
def test_nothing_is_written_into_the_corpus_whose_levels_are_taken(folder, tmp_path, outputs):
    corpus, linked = tmp_path / "corpus", tmp_path / "linked"
    (corpus / "stems").mkdir(parents=True)
    linked.symlink_to(corpus / "stems")
    (corpus / "stems" / "vocals.wav").write_bytes(b"a stem")
    arguments = [each.format(c=corpus, o=tmp_path, l=linked) for each in outputs]
    done = run(folder, *arguments[:1], corpus, "--by", "profile", *arguments[1:])
    assert isinstance(done.exception, UsageError)
    assert "which is only read; name a file outside it" in str(done.exception)
    assert [path.name for path in corpus.rglob("*")] == ["stems", "vocals.wav"]
    assert (corpus / "stems" / "vocals.wav").read_bytes() == b"a stem"
