"""Multitracks whose files are grouped into stems, and whose mixture is their sum, through the stages and the command line."""

import json

import numpy as np
import published_layouts as published
import pytest
from living_corpus import stub_separator
from typer.testing import CliRunner

import stemwright as sw
from stemwright.datagen.cli.app import app
from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.pairs.recipes.mix import DRUM_STEMS
from stemwright.datagen.run.configuration import ConfigError, check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_catalog, run_estimate, run_plan, run_render, run_separate
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests.check import check_corpus
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Stem, Track
from stemwright.manifests.sound.decoding import load

SPLITS = {"train": 1.0, "valid": 0.0, "test": 0.0}
STEMS = {"drums": ["kick*", "snare*", "overheads"], "vocals": ["*vox*"]}
MAPPED = """
[songs]
kind = "cambridge"
mixture = "sum"

[songs.stems]
drums = ["kick*", "snare*", "overheads"]
vocals = ["*vox*"]
"""


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    _, parts = published.cambridge(folder)
    return folder, parts


def corpus_of(place, songs, separator="auto"):
    chosen = {"folder": str(songs), "kind": "cambridge", "mixture": "sum", "stems": STEMS, "shares": SPLITS}
    corpus = Corpus(place)
    corpus.create(check({"songs": chosen, "separation": {"separator": separator, "model": "one"}}, where="test"))
    run_catalog(corpus, Workers())
    return corpus


def test_groups_become_stems_that_sum_to_the_sum(raw, tmp_path):
    songs, parts = raw
    corpus = corpus_of(tmp_path, songs)
    (track,) = corpus.rows("tracks", Track)
    assert "no pattern of [songs.stems] matches bass_di: summed into other" in " ".join(track.notes)
    assert not run_separate(corpus).rejected
    stems = {stem.name: load(tmp_path / stem.audio.path)[0] / 10 ** (stem.gain_db / 20) for stem in corpus.rows("stems", Stem)}
    assert list(stems) == ["drums", "other", "vocals", "residual"]
    whole = {name: np.zeros((2, published.FRAMES)) for name in stems}
    for name, part in parts.items():
        stem = "vocals" if "Vox" in name else "other" if "Bass" in name else "drums"
        whole[stem][:, : part.shape[1]] += part
    for name, audio in stems.items():
        np.testing.assert_allclose(audio, whole[name], atol=1e-6)
    assert not [problem.what for problem in check_corpus(tmp_path, songs) if problem.level == "error"]
    before = corpus.table("stems").read_bytes()
    assert run_separate(corpus).skipped == 1
    assert corpus.table("stems").read_bytes() == before


def test_a_sum_is_separated_as_a_file_is(raw, tmp_path):
    songs, _ = raw
    corpus = corpus_of(tmp_path, songs, "demucs")
    with stub_separator():
        assert not run_separate(corpus).rejected
    assert not [problem.what for problem in check_corpus(tmp_path, songs) if problem.level == "error"]


def test_another_mapping_makes_other_stems_of_the_same_track(raw, tmp_path):
    songs, _ = raw
    corpus = corpus_of(tmp_path, songs)
    run_separate(corpus)
    (before,) = corpus.ids("tracks")
    config = corpus.config.model_dump(mode="json")
    config["songs"]["stems"]["bass"] = ["bass*"]
    corpus.create(check(config, where="test"))
    run_catalog(corpus, Workers())
    run_separate(corpus)
    assert list(corpus.ids("tracks")) == [before]
    assert [stem.name for stem in corpus.rows("stems", Stem)] == ["drums", "bass", "vocals", "residual"]


def test_a_changed_file_of_a_sum_is_noticed(tmp_path):
    songs = tmp_path / "songs"
    folder, _ = published.cambridge(songs)
    corpus = corpus_of(tmp_path / "corpus", songs)
    published.write(folder / "01_KickIn.wav", published.sound(50, channels=1))
    assert [row.reason for row in corpus.rejected()] == []
    run_separate(corpus)
    assert "01_KickIn.wav changed since it was cataloged" in corpus.rejected()[0].reason


def test_a_dry_run_shows_the_stem_of_each_file_and_writes_nothing(raw, tmp_path):
    songs, parts = raw
    (tmp_path / "map.toml").write_text(MAPPED)
    done = invoke("catalog", songs, tmp_path / "corpus", "--dry-run", "--config", tmp_path / "map.toml")
    assert done.exit_code == 0, done.output
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    for file, stem in (("01_KickIn.wav", "drums"), ("06_BassDI.wav", "other (no pattern)"), ("07_LeadVox.wav", "vocals")):
        assert any(file in line and stem in line for line in done.stdout.splitlines())
    assert "no pattern of [songs.stems] matches bass_di: summed into other (songs.unmatched = 'other')" in done.stderr
    as_json = json.loads(invoke("catalog", songs, tmp_path / "corpus", "--dry-run", "-c", tmp_path / "map.toml", "--json").stdout)
    assert [(row["name"], row["matched"]) for row in as_json["stems"]][5] == ("bass_di", False)
    assert as_json["songs"] == {"multitracks": 1, "summed": 1, "others": 0}
    assert not (tmp_path / "corpus").exists()
    assert len(as_json["stems"]) == len(parts)


def test_a_dry_run_of_build_shows_the_same_stems(raw, tmp_path):
    (tmp_path / "map.toml").write_text(MAPPED)
    arguments = (raw[0], tmp_path / "corpus", "--dry-run", "--config", tmp_path / "map.toml", "--json")
    of_catalog, of_build = (json.loads(invoke(verb, *arguments).stdout) for verb in ("catalog", "build"))
    assert of_build["stems"] == of_catalog["stems"]
    assert of_build["unmatched"] == of_catalog["unmatched"] == {"bass_di": 1}
    said = invoke("build", *arguments[:-1])
    assert any("06_BassDI.wav" in line and "other (no pattern)" in line for line in said.stdout.splitlines())
    assert not (tmp_path / "corpus").exists()


KIT = {  # input of the preset -> patterns of the names that a studio gave its microphones
    "kick": ["kick*"],
    "snare": ["snare*"],
    "overhead_l": ["oh*l"],
    "overhead_r": ["oh*r"],
    "tom1": ["room*"],  # the preset has no room: one may be given a place
    "other": ["bass*", "gtr"],
}
MICROPHONES = ("01_Kick_in", "02_Kick_out", "03_Snare_top", "04_Snare_btm", "05_OH_L", "06_OH_R", "07_Room_L", "08_Room_R", "09_Gtr")


def test_microphones_that_a_mapping_names_are_the_inputs_of_planned_drum_pairs(tmp_path):
    songs, corpus = tmp_path / "songs", Corpus(tmp_path / "corpus")
    parts = {name: published.sound(number, 2 * published.RATE, channels=1) for number, name in enumerate(MICROPHONES)}
    for name, audio in parts.items():
        published.write(songs / "The Kit" / f"{name}.wav", audio)
    chosen = {"folder": str(songs), "kind": "cambridge", "mixture": "sum", "stems": KIT, "unmatched": "refuse", "shares": SPLITS}
    mix = {"preset": "drums", "per_track": 1}
    corpus.create(check({"songs": chosen, "pairs": {"duration_s": 1.0, "mix": mix, "removal": {"per_track": 0}}}, where="test"))
    run_catalog(corpus, Workers())
    for stage in (run_separate, run_estimate, run_plan, run_render):
        assert not (stage(corpus) if stage in (run_separate, run_plan) else stage(corpus, Workers())).rejected
    (pair,) = corpus.rows("pairs", Pair)
    names = {stem.id: stem.name for stem in corpus.rows("stems", Stem)}
    planned = {signal.name: [names[branch.source_id] for branch in signal.branches] for signal in pair.inputs}
    assert planned == {name: [name] if name in KIT else [] for name in DRUM_STEMS}
    inputs, _, _ = PairDataset(corpus.dataset, kind="mix", split="all")[0]
    start = pair.start_frame
    whole = parts["01_Kick_in"] + parts["02_Kick_out"]
    kick = inputs[list(DRUM_STEMS).index("kick"), 0].numpy()
    np.testing.assert_allclose(kick, (whole / np.abs(whole).max())[0, start : start + kick.size], atol=1e-4)
    assert not [problem.what for problem in check_corpus(corpus.folder, songs) if problem.level == "error"]


def test_dry_microphones_are_mixed_to_the_released_drums_where_the_limit_of_the_residual_allows_it(tmp_path):
    parts = {name: published.sound(number, 2 * published.RATE, channels=1) for number, name in enumerate(("kick", "snare", "hihat"))}
    mixture = np.tanh(4.0 * sum(parts.values())) / 4.0  # what effects made of the microphones
    for name, audio in {**parts, "mixture": mixture}.items():
        published.write(tmp_path / "songs" / "Kit" / f"{name}.wav", audio)

    def built(closure_db):
        pairs = {"duration_s": 1.0, "mix": {"preset": "drums", "target": "released", "per_track": 1}, "removal": {"per_track": 0}}
        settings = {
            "separation": {"limits": {"closure_db": closure_db}},
            "songs": {"kind": "multitracks", "shares": SPLITS},
            "pairs": pairs,
        }
        return sw.build(tmp_path / "songs", tmp_path / str(closure_db), settings)

    built(-60.0)
    (refused,) = sw.read_table(tmp_path / "-60.0" / "rejected.parquet").reason
    assert "need a higher separation.limits.closure_db" in refused
    data = PairDataset(built(0.0).dataset, kind="mix", split="all")
    start, target = data.pair(0).start_frame, data[0].targets[0, 0].numpy()
    released = mixture[0, start : start + target.size] / np.abs(mixture).max()
    np.testing.assert_allclose(target, released, atol=3e-3)  # peaks in tables are rounded to 0.01 dB


def test_options_of_the_command_line_sum_a_multitrack(raw, tmp_path):
    songs, _ = raw
    refused = invoke("catalog", songs, tmp_path / "corpus", "--kind", "cambridge", "--dry-run")
    assert refused.exit_code == 1
    assert "add --mixture sum" in refused.stderr
    assert invoke("catalog", songs, tmp_path / "corpus", "--kind", "cambridge", "--mixture", "sum").exit_code == 0


@pytest.mark.parametrize(
    ("songs", "message"),
    [
        ({"kind": "moises"}, r"\[songs\] kind: expected one of auto, folder.*did you mean 'moisesdb'"),
        ({"mixture": "add"}, r"\[songs\] mixture: expected 'file' or 'sum'; got 'add'"),
        ({"stems": {"residual": ["a"]}}, r"\[songs.stems\] 'residual' is what all stems leave"),
        ({"stems": {"drums": []}}, r"drums: expected a list of patterns"),
        ({"stems": {"Big Drums": ["a"]}}, "Big Drums"),
        ({"stems": {"drums": "kick*"}}, "expected a list"),
        ({"unmatched": "drop"}, r"\[songs\] unmatched: expected 'other', 'own' or 'refuse'; got 'drop'"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_refused_with_what_is_expected(songs, message):
    with pytest.raises(ConfigError, match=message):
        check({"songs": songs}, where="test")
