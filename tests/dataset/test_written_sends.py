"""Consoles with sends and rides in every format: what the rows say is true of the files, wherever they are read, exported or made again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import make_song, write_song_file
from typer.testing import CliRunner

import stemwright as sw
from stemwright.datagen.cli.app import app
from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.inverse.console import Console
from stemwright.datagen.inverse.console.reverberation import Feed
from stemwright.datagen.inverse.console.shared_room import SharedRoom
from stemwright.datagen.inverse.fitted_chain import FittedChain
from stemwright.datagen.pairs.render import Sources
from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.check import check_corpus, errors
from stemwright.manifests.dataset_rows import WrittenSignal
from stemwright.manifests.pair_records import Branch, Pair, Signal
from stemwright.manifests.records import Stem, Track

FORMATS = ("folder", "webdataset", "huggingface")
CONSOLE = {"per_track": 2, "mode": "console", "sends": ["reverb", "delay"], "rides": True, "mix_peak_dbfs": [-3.0, -1.0]}
CONSOLE["ranges"] = {"envelope": {"step_s": 0.2}, "compressor": {"threshold_db": -30.0}}


def configuration(songs: Path, dataset_format: str) -> dict[str, object]:
    others = {kind: {"per_track": 0} for kind in ("mix", "removal", "limit", "edit", "restore")}
    pairs = {"duration_s": 0.5, "remix": {**CONSOLE, "min_change_db": -80.0}, **others}
    return {"seed": 4, "songs": {"folder": str(songs), "kind": "multitracks"}, "pairs": pairs, "dataset": {"format": dataset_format}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sends")
    for number in range(2):
        for stem, audio in make_song(number, 1.5).items():
            write_song_file(place / "songs" / f"Artist {number} - Title" / f"{stem}.wav", audio)
    return place


@pytest.fixture(scope="module")
def corpora(place: Path) -> dict[str, Corpus]:
    """A finished corpus of each format."""
    found = {}
    for name in FORMATS:
        corpus = Corpus(place / name)
        if found:
            shutil.copytree(found["folder"].folder, corpus.folder)
            shutil.rmtree(corpus.dataset)
        corpus.create(check(configuration(place / "songs", name), where="test"))
        stages.run_catalog(corpus, Workers(1))
        stages.run_separate(corpus)
        stages.run_estimate(corpus, Workers(1))
        stages.run_plan(corpus)
        stages.run_render(corpus, Workers(1))
        found[name] = corpus
    return found


def made_of(signal: WrittenSignal, branches: list[np.ndarray], rate: int) -> np.ndarray:
    """What a row says that a signal is, of the outputs of its branches."""
    returns = []
    for send in signal.sends:
        fed = np.sum([10 ** (gain_db / 20) * part for gain_db, part in zip(send.gains_db, branches, strict=True) if gain_db is not None], 0)
        fed = np.broadcast_to(fed.mean(0, keepdims=True), fed.shape).copy() if send.feed else fed
        returns.append(apply_chain(fed, rate, send.chain) - (fed if send.returns else 0.0))
    return apply_chain(np.sum([*branches, *returns], axis=0), rate, signal.bus)


@pytest.mark.parametrize("name", FORMATS)
def test_the_written_inputs_through_the_chains_of_the_row_are_the_written_target(name: str, corpora: dict[str, Corpus]) -> None:
    corpus = corpora[name]
    assert errors(check_corpus(corpus.folder)) == []
    data = PairDataset(corpus.dataset, kind="remix", split="all")
    read = Sources(corpus.folder, {stem.id: stem.audio for stem in corpus.rows("stems", Stem)})
    gains = []
    for number in range(len(data)):
        pair, (inputs, targets, _) = data.pair(number), data[number]
        (mix,) = pair.targets
        assert {send.name for send in mix.sends} == {"reverb", "delay"}
        dry = {signal.branches[0].source_id: audio.numpy() for signal, audio in zip(pair.inputs, inputs, strict=False) if signal.branches}
        # The strip of a target's branch begins with the chain that its input has.
        strips = [apply_chain(dry[branch.source_id].astype(float), pair.sample_rate, branch.chain[1:]) for branch in mix.branches]
        found = made_of(mix, strips, pair.sample_rate)
        assert float(np.abs(found - targets[0].numpy()).max()) < 1e-5
        gain = 10 ** (data.example(number).gain_db / 20)
        sources = [read(branch.source_id, branch.start_frame, pair.num_frames, pair.sample_rate) for branch in mix.branches]
        whole = [
            apply_chain(gain * audio.astype(float), pair.sample_rate, each.chain) for audio, each in zip(sources, mix.branches, strict=True)
        ]
        np.testing.assert_allclose(made_of(mix, whole, pair.sample_rate), targets[0].numpy(), atol=1e-5)
        gains.append(gain)
    assert len(gains) >= 3


@pytest.mark.parametrize("name", FORMATS)
def test_a_fitted_console_with_a_shared_room_is_written_in_every_format(name: str, corpora: dict[str, Corpus], tmp_path: Path) -> None:
    shutil.copytree(corpora[name].folder, tmp_path / name)
    corpus = Corpus(tmp_path / name)
    stems = {stem.name: stem for stem in corpus.rows("stems", Stem) if stem.track_id == corpus.rows("tracks", Track)[0].id}
    dry = {part: sw.load(corpus.folder / stem.audio.path) for part, stem in stems.items()}
    rate, room = dry["drums"][1], EFFECTS["room"].Settings(rt60_s=0.2, wet_db=0.0, seed=3.0)
    chains = {part: FittedChain((("fader", EFFECTS["fader"].Settings(gain_db=-6.0, pan=0.2)),), -60.0) for part in ("drums", "vocals")}
    console = Console(chains, -60.0, -20.0, send=SharedRoom({"drums": -10.0, "vocals": -4.0}, room, sample_rate=rate, feed=Feed.MEAN))
    mix = console.signal({part: stems[part].id for part in chains})
    inputs = tuple(Signal(name=part, branches=(Branch(source_id=stems[part].id),)) for part in chains)
    planned = next(pair for pair in corpus.rows("pairs", Pair) if pair.track_id == stems["drums"].track_id)
    columns = {each: getattr(planned, each) for each in Pair.model_fields} | {"inputs": inputs, "targets": (mix,), "min_change_db": None}
    row = Pair(**columns)
    row = row.model_copy(update={"id": row.seal_id()})
    table.write(corpus.table("pairs"), [row], Pair, made_from=table.made_from(corpus.table("pairs")) or "")
    stages.run_render(corpus, Workers(1))
    assert errors(check_corpus(corpus.folder)) == []
    data = PairDataset(corpus.dataset, kind="remix", split="all")
    (_, (written,), _), pair = data[0], data.pair(0)
    gain = 10 ** (data.example(0).gain_db / 20)
    part = slice(row.start_frame, row.start_frame + row.num_frames)
    expected = console.mix({each: gain * audio[:, part] for each, (audio, _) in dry.items() if each in chains}, rate).numpy()
    strips = [apply_chain(gain * dry[branch.stem][0][:, part].astype(float), rate, branch.chain) for branch in pair.targets[0].branches]
    for made in (written.numpy(), made_of(pair.targets[0], strips, rate)):
        assert np.abs(made - expected).max() < 1e-5


def test_labels_have_the_gains_of_sends_with_their_branches_and_the_sends_in_slots_of_their_own(corpora: dict[str, Corpus]) -> None:
    data = PairDataset(corpora["webdataset"].dataset, kind="remix", split="all", labels=["send", "reverb.room_size", "envelope.gain_01_db"])
    assert data.vocabulary is not None
    assert data.vocabulary.names == ("reverb.room_size", "envelope.gain_01_db", "send.delay", "send.reverb")
    (mix,), labels = data.pair(0).targets, data[0].labels
    assert labels.targets.shape[1:] == (len(mix.branches) + 2 + 1, 4)
    for number, branch in enumerate(mix.branches):
        found = data.vocabulary.decode(labels.targets[0, number], labels.targets_mask[0, number])
        assert found["send"] == pytest.approx({send.name: send.gains_db[number] for send in mix.sends}, abs=1e-4)
        assert found["envelope"]["gain_01_db"] == pytest.approx(branch.chain[-1].settings["gain_01_db"], abs=1e-4)
    room = data.vocabulary.decode(labels.targets[0, -3], labels.targets_mask[0, -3])
    assert room["reverb"]["room_size"] == pytest.approx(mix.sends[0].chain[0].settings["room_size"], abs=1e-5)
    assert not labels.targets_mask[0, -2:].any()
    assert not labels.inputs_mask.any()


def test_the_report_says_what_stems_are_sent_to(corpora: dict[str, Corpus], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(corpora["folder"].folder), str(tmp_path / "report.html")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text()
    assert "the send reverb" in page
    assert "the send delay" in page


def test_a_dataset_with_sends_is_made_again_byte_for_byte(place: Path, corpora: dict[str, Corpus]) -> None:
    for verb in (
        ["export", corpora["webdataset"].folder, place / "recipes", "--no-audio"],
        ["rebuild", place / "recipes", place / "songs", place / "again"],
    ):
        done = CliRunner().invoke(app, [str(part) for part in verb])
        assert done.exit_code == 0, done.output
    before, after = (
        {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        for folder in (corpora["webdataset"].dataset, place / "again" / "dataset")
    )
    assert before == after
