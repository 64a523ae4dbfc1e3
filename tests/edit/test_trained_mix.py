import json

import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch
from conftest import make_song
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import stemwright as sw
from stemwright.datagen.cli.app import app
from stemwright.datagen.edit.presets.preset import Preset
from stemwright.datagen.mixing.mixer_network import MixerNetwork, untrained
from stemwright.datagen.mixing.mixer_weights import MixerFacts, TrainedMixer, read_mixer, save_mixer
from stemwright.datagen.mixing.trained_levels import mix_by_trained
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.usage import UsageError

RATE = 44_100
NAMES = ("drums", "bass", "other", "vocals")
FACTS = MixerFacts(NAMES, RATE, 5.0, "nothing: random weights")


@pytest.fixture(scope="module")
def network():
    """One whose gains and pans depend on what it hears."""
    torch.manual_seed(1)
    made = untrained(torch.tensor([-3.0, -6.0, -9.0, 2.0]), RATE)
    torch.nn.init.normal_(made.head[-1].weight, std=0.5)
    torch.nn.init.normal_(made.line[-1].weight, std=0.02)
    return made.eval()


@pytest.fixture(scope="module")
def mixer(network):
    return TrainedMixer(network, FACTS, "mixer.safetensors")


@pytest.fixture(scope="module")
def song():
    return {name: np.float32(audio) for name, audio in make_song(0, 5.0).items() if name in NAMES}


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mixer.safetensors"
    save_mixer(path, network, FACTS)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["mix", *map(str, arguments)])


def peers_loudness(audio):
    return pyloudnorm.Meter(RATE, filter_class="DeMan").integrated_loudness(audio.T)


def mixed(settings, stems):
    made = Preset({name: stem.chain for name, stem in settings.stems.items()}, settings.bus, RATE)
    return made.mix({name: stems[name] for name in settings.stems}, RATE)[0]


def test_the_preset_has_the_gains_and_pans_that_the_network_says(network, mixer, song):
    levelled = np.stack([song[name] * np.float32(10 ** ((-23.0 - peers_loudness(song[name])) / 20)) for name in NAMES])
    with torch.inference_mode():
        gains, pans = (said[0].numpy() for said in network(torch.from_numpy(levelled)[None]))
    settings = mix_by_trained(song, RATE, mixer)
    expected = [gain - 23.0 - peers_loudness(song[name]) for name, gain in zip(NAMES, gains, strict=True)]
    found = [settings.stems[name].gain_db for name in NAMES]
    assert np.ptp(gains) > 3.0
    assert np.ptp(pans) > 0.1
    assert np.subtract(found, np.mean(found)) == pytest.approx(np.subtract(expected, np.mean(expected)), abs=0.05)
    assert [settings.stems[name].plan.pan for name in NAMES] == pytest.approx(np.clip(pans, -0.95, 0.95), abs=0.005)
    assert all(reason.rule == "trained mixer mixer.safetensors" for stem in settings.stems.values() for reason in stem.plan.reasons)


def test_neither_the_order_of_stems_nor_their_gains_change_the_mix(mixer, song):
    plain = mix_by_trained(song, RATE, mixer)
    turned = mix_by_trained(dict(reversed(song.items())), RATE, mixer)
    assert {name: stem.chain for name, stem in plain.stems.items()} == {name: stem.chain for name, stem in turned.stems.items()}
    louder = {name: np.float32(10 ** (gain_db / 20)) * song[name] for name, gain_db in zip(NAMES, (-9, 3, -2, -14), strict=True)}
    assert np.abs(mixed(plain, song) - mixed(mix_by_trained(louder, RATE, mixer), louder)).max() < 1e-3


def test_a_stem_is_heard_where_it_sounds(mixer, song):
    """Silence before and after a song, in which nothing is heard, changes no gain."""
    padded = {name: np.pad(audio, ((0, 0), (5 * RATE, 10 * RATE))) for name, audio in song.items()}
    one, other = (mix_by_trained(stems, RATE, mixer) for stems in (song, padded))
    for name in NAMES:
        gains_db = [made.stems[name].gain_db - made.stems["bass"].gain_db for made in (one, other)]
        assert gains_db[1] == pytest.approx(gains_db[0], abs=0.4)  # the meter has blocks across the ends of the song
        assert "from 1 excerpt" in other.stems[name].plan.reasons[0].value
        assert other.stems[name].plan.pan == pytest.approx(one.stems[name].plan.pan, abs=1e-3)


def test_stems_of_other_names_go_by_their_role_and_share_its_level(song):
    mean = untrained(torch.tensor([-3.0, -6.0, -9.0, 2.0]), RATE).eval()  # the mean of each name, whatever it hears
    stems = {"Kick In": song["drums"], "Snare": song["drums"][:, ::-1].copy(), "LeadVox": song["vocals"], "Bass DI": song["bass"]}
    settings = mix_by_trained(stems, RATE, TrainedMixer(mean, FACTS, "mean"))
    level = {name: stem.level_lu for name, stem in settings.stems.items()}
    assert level["LeadVox"] - level["Bass DI"] == pytest.approx(8.0, abs=0.05)
    assert level["Kick In"] - level["Bass DI"] == pytest.approx(3.0 - 10 * np.log10(2), abs=0.05)
    assert "shared by 2" in settings.stems["Snare"].plan.reasons[0].value


def test_what_the_mixer_was_not_trained_on_is_left_out_and_said(song):
    facts = MixerFacts(("guitar", "vocals"), RATE, 5.0, "two stems")
    mixer = TrainedMixer(untrained(torch.zeros(2), RATE).eval(), facts, "two.safetensors")
    settings = mix_by_trained(song, RATE, mixer)
    assert set(settings.stems) == {"vocals"}
    assert settings.left_out["drums"] == "two.safetensors was trained on no stem like it; it has guitar, vocals"
    with pytest.raises(UsageError, match="was trained on no stems like drums"):
        mix_by_trained({"drums": song["drums"]}, RATE, mixer)


def test_short_stems_at_another_rate_are_mixed(mixer, song):
    short = {name: audio[:, : RATE // 2] for name, audio in song.items()}
    assert all(np.isfinite(stem.gain_db) for stem in mix_by_trained(short, 48_000, mixer).stems.values())


def test_saved_weights_are_read_back_as_they_were(weights, network):
    read = read_mixer(weights)
    assert (read.facts, read.named) == (FACTS, "mixer.safetensors")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in read.network.state_dict().items())


def test_the_command_mixes_by_the_weights_and_says_so(weights, song, tmp_path):
    dry = tmp_path / "dry"
    dry.mkdir()
    for name, audio in song.items():
        soundfile.write(dry / f"{name}.wav", audio.T, RATE, subtype="FLOAT")
    ended = run(dry, tmp_path / "mix.wav", "--by", "trained", "--weights", weights, "--json", "--plot", tmp_path / "mix.png")
    assert ended.exit_code == 0, ended.output
    said = json.loads(ended.stdout)
    assert said["weights"]["names"] == list(NAMES)
    assert {reason["rule"] for stem in said["stems"].values() for reason in stem["reasons"]} == {"trained mixer mixer.safetensors"}
    assert (tmp_path / "mix.png").stat().st_size > 10_000
    again = CliRunner().invoke(app, ["apply", *map(str, (tmp_path / "mix.json", dry, tmp_path / "again.wav"))])
    assert again.exit_code == 0, again.output
    mix = load(tmp_path / "mix.wav")[0]
    assert np.abs(mix - load(tmp_path / "again.wav")[0]).max() < 1e-5
    assert peers_loudness(mix) == pytest.approx(said["loudness_lufs"], abs=0.05)
    shown = run(dry, tmp_path / "mix2.wav", "--by", "trained", "--weights", weights)
    assert "random weights" in " ".join(shown.output.split())


def changed(weights, path, tensors=None, **metadata):
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as opened:
        save_file(tensors or load_file(weights), path, {**opened.metadata(), **metadata})


def test_a_file_that_is_no_mixer_is_refused_with_what_to_do(weights, tmp_path):
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(b"hello")
    with pytest.raises(UsageError, match=r"is not a safetensors file.*train_mixer.py --dataset"):
        read_mixer(path)
    path.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UsageError, match="is damaged"):
        read_mixer(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(UsageError, match="weights of another network"):
        read_mixer(path)
    tensors = load_file(weights)
    for tensor, message in ((torch.zeros(3), r"mean_db is \(3,\), expected \(4,\)"), (torch.full((4,), torch.nan), "no finite numbers")):
        changed(weights, path, {**tensors, "mean_db": tensor})
        with pytest.raises(UsageError, match=message):
            read_mixer(path)
    for metadata, message in (
        ({"version": "9"}, "is a mixer of version 9, expected 2"),
        ({"names": "["}, "does not say what mixer it is"),
        ({"names": '["../a"]'}, "is not a valid name"),
        ({"sample_rate": "1"}, "expected a sample rate of"),
        ({"duration_s": "nan"}, "expected excerpts of at most"),
    ):
        changed(weights, path, **metadata)
        with pytest.raises(UsageError, match=message):
            read_mixer(path)
    with pytest.raises(UsageError, match=r"ends in \.safetensors"):
        save_mixer(tmp_path / "mixer.pt", MixerNetwork(torch.zeros(4), torch.zeros(48, 1025)), FACTS)


def test_the_benchmark_trains_weights_from_a_dataset_that_the_command_takes(song, tmp_path, capsys):
    import train_mixer

    for name, audio in (song | {"mixture": sum(song.values())}).items():
        sw.save(tmp_path / "songs" / "one" / f"{name}.wav", np.float32(0.5) * audio, RATE)
    pairs = {"duration_s": 1.0, "mix": {"per_track": 2, "stems": list(NAMES), "inputs": "levelled", "target": "sum"}}
    config = {
        "songs": {"kind": "multitracks", "shares": {"train": 1.0, "valid": 0.0, "test": 0.0}},
        "pairs": {**pairs, "removal": {"per_track": 0}},
    }
    dataset = sw.build(tmp_path / "songs", tmp_path / "corpus", config).dataset
    weights = tmp_path / "mine.safetensors"
    train_mixer.main(["--dataset", str(dataset), "--steps", "3", "--save", str(weights)])
    assert "no test songs" in capsys.readouterr().out
    trained = read_mixer(weights)
    assert set(trained.facts.names) == set(NAMES)
    assert trained.facts.duration_s == 1.0
    assert trained.facts.trained_on == "2 mix pairs of 1 song"
    levels = {name: stem.level_lu for name, stem in mix_by_trained(song, RATE, trained).stems.items()}
    truth = {name: peers_loudness(audio) for name, audio in song.items()}
    values = [np.array([found[name] for name in NAMES]) for found in (levels, truth)]
    errors = [float(np.sqrt(np.mean((value - value.mean() - (values[1] - values[1].mean())) ** 2))) for value in (values[0], 0 * values[0])]
    assert errors[0] < 0.5 * errors[1]  # the levels of this song, which is all that it has seen, against equal loudness
