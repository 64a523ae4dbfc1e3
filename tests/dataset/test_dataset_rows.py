"""What a dataset's own rows say is true of its audio: sources times the gain of the example, through the recorded chains, are what was
written; and the dataset folder alone contains everything.
"""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from conftest import make_song

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.dataset.writers.as_written import written_pair
from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.settings import fields
from stemwright.datagen.pairs.render import Sources, render
from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import shards, table
from stemwright.manifests.check import check_corpus, check_dataset
from stemwright.manifests.dataset_rows import SourceRows, WrittenPair
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Stem, Track

LEAST_SDR_DB = 90.0
ROUNDING = 2.0**-24  # of 24 bits, root mean square at most: what is written cannot be nearer
HOT = 3.0  # the peak of a song is 1.5 to 2.2 times full scale: float WAV of a master at +3 to +7 dBFS
KINDS = {
    "mix": {"per_track": 2, "inputs": "levelled", "level_over": "excerpt", "loudness_lufs": -6.0, "target": "sum"},
    "removal": {
        "per_track": 6,
        "preset": "wide",
        "loudness_lufs": -6.0,
        "kept_first": True,
        "ranges": {"room": {"rt60_s": [0.2, 0.6]}, "reverb": {"room_size": [0.3, 0.6]}},
    },
    "remix": {"per_track": 1, "mode": "console", "loudness_lufs": -6.0},
    "limit": {"per_track": 1, "loudness_lufs": -3.0},
    "edit": {"per_track": 2},
}
FORMATS = [
    *((name, encoding) for name in ("folder", "webdataset", "huggingface") for encoding in ("flac24", "wav32f")),
    ("musdb", "wav32f"),
]


def configuration(songs: Path, format_name: str, encoding: str) -> dict[str, object]:
    if format_name == "musdb":
        pairs = {name: {"per_track": 0} for name in KINDS} | {"mix": {"per_track": 3, "target": "sum"}}
    else:
        pairs = dict(KINDS)
    section = {"format": format_name, "encoding": encoding}
    return {"seed": 11, "songs": {"folder": str(songs)}, "pairs": {"duration_s": 0.7, **pairs}, "dataset": section}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two corpora of three hot songs, planned: one of all kinds of pairs, one that the MUSDB layout contains."""
    place = tmp_path_factory.mktemp("written")
    for number, split in enumerate(("train", "train", "test")):
        folder = place / "songs" / split / f"Artist {number} - Title {number}"
        folder.mkdir(parents=True)
        for stem, audio in make_song(number, 3.0).items():
            soundfile.write(folder / f"{stem}.wav", HOT * audio.T, 44_100, subtype="FLOAT")
    for name in ("folder", "musdb"):
        corpus = Corpus(place / name)
        corpus.create(check(configuration(place / "songs", name, "auto"), where="test"))
        stages.run_catalog(corpus, Workers(1))
        stages.run_separate(corpus)
        stages.run_estimate(corpus, Workers(1))
        stages.run_plan(corpus)
    return {name: place / name for name in ("folder", "musdb")}


@pytest.fixture(scope="module")
def rendered(planned: dict[str, Path], tmp_path_factory: pytest.TempPathFactory):
    """``rendered(format, encoding)``: a finished corpus. Not to be changed."""
    place, made = tmp_path_factory.mktemp("rendered"), {}

    def of(format_name: str, encoding: str) -> Corpus:
        if (format_name, encoding) not in made:
            source = planned[format_name] if format_name in planned else of("folder", encoding).folder  # shards are packed from files
            corpus = Corpus(shutil.copytree(source, place / f"{format_name}-{encoding}"))
            corpus.create(check(configuration(Path(corpus.config.songs.folder), format_name, encoding), where="test"))
            stages.run_render(corpus, Workers(1))
            made[format_name, encoding] = corpus
        return made[format_name, encoding]

    return of


def rows_of(corpus: Corpus) -> list[tuple[WrittenPair, Example]]:
    """The rows that the dataset has of itself."""
    examples = {row.pair_id: row for row in table.read(corpus.dataset / "examples.parquet", Example)}
    return [(pair, examples[pair.id]) for pair in table.read(corpus.dataset / "pairs.parquet", WrittenPair)]


def written_audio(corpus: Corpus, example: Example) -> dict[str, np.ndarray]:
    places = shards.Places(corpus.dataset)
    return {file.name: places.find(file.audio.path).load()[0].astype(np.float64) for file in example.signals}


def assert_same(made: np.ndarray, written: np.ndarray, what: object) -> None:
    error, level = (float(np.sqrt(np.square(each).mean())) for each in (made - written, written))
    assert error <= max(level * db_to_gain(-LEAST_SDR_DB), ROUNDING), (what, 20 * np.log10(level / max(error, 1e-12)))


@pytest.mark.parametrize(("name", "encoding"), FORMATS)
def test_sources_at_the_gain_through_the_recorded_chains_are_what_was_written(name, encoding, rendered):
    corpus = rendered(name, encoding)
    read = Sources(corpus.folder, {stem.id: stem.audio for stem in corpus.rows("stems", Stem)})
    reduced = set()
    for pair, example in rows_of(corpus):
        gain = np.float32(db_to_gain(example.gain_db))
        made = render(pair, lambda *which, gain=gain: read(*which) * gain)
        for signal_name, audio in written_audio(corpus, example).items():
            assert_same(made[signal_name], audio, (pair.kind, signal_name, example.gain_db, pair.inputs[0]))
        reduced |= {pair.kind} if example.gain_db < 0.0 else set()
    if encoding == "flac24":
        assert reduced == set(KINDS) - {"remix"}  # every kind had a peak that needed the joint gain, but a console leaves headroom
    else:
        assert reduced == ({"mix"} if name == "musdb" else set())


@pytest.mark.parametrize("gain_db", [-0.01, -18.37, -60.0])
def test_a_joint_gain_of_any_size_moves_what_depends_on_level_in_every_kind(gain_db, rendered):
    corpus = rendered("folder", "wav32f")
    read = Sources(corpus.folder, {stem.id: stem.audio for stem in corpus.rows("stems", Stem)})
    gain, seen = np.float32(db_to_gain(gain_db)), set()
    for pair in corpus.rows("pairs", Pair):
        planned, made = render(pair, read), render(written_pair(pair, gain_db, SourceRows()), lambda *which: read(*which) * gain)
        for signal in (*pair.inputs, *pair.targets):
            expected = planned[signal.name] * (gain if signal.view != "gain" else np.float32(1))
            error, level = (float(np.linalg.norm(each.astype(np.float64))) for each in (made[signal.name] - expected, expected))
            assert error <= level * db_to_gain(-LEAST_SDR_DB), (pair.kind, signal, 20 * np.log10(level / error))
        seen.add(pair.kind)
    assert seen == set(KINDS)


@pytest.mark.parametrize("encoding", ["flac24", "wav32f"])
def test_the_written_dry_through_the_removed_effects_is_the_written_wet(encoding, rendered):
    corpus, seen, reduced = rendered("webdataset", encoding), set(), 0
    for pair, example in rows_of(corpus):
        if pair.kind != "removal":
            continue
        wet, dry = (signals[0].branches[0].chain for signals in (pair.inputs, pair.targets))
        assert wet[: len(dry)] == dry
        audio = written_audio(corpus, example)
        made = apply_chain(torch.from_numpy(audio["dry"]), pair.sample_rate, wet[len(dry) :]).numpy()
        assert_same(made, audio["wet"], wet)
        seen |= {use.effect for use in wet[len(dry) :] if use.role == "removed"}
        reduced += example.gain_db < 0.0
    assert seen >= {"compressor", "limiter", "clip", "distortion"}
    assert (reduced > 3) == (encoding == "flac24")


def test_levelling_gains_make_the_signals_again(rendered):
    corpus = rendered("folder", "wav32f")
    read = Sources(corpus.folder, {stem.id: stem.audio for stem in corpus.rows("stems", Stem)})
    for pair, example in rows_of(corpus):
        for signal, file in zip((*pair.inputs, *pair.targets), example.signals, strict=True):
            if signal.view != "audio" or signal.bus or len(signal.branches) != 1:
                continue
            branch, gains_db = signal.branches[0], list(file.levelled_db)
            audio = torch.from_numpy(read(branch.source_id, branch.start_frame, pair.num_frames, pair.sample_rate))
            for use in branch.chain:
                audio = audio * db_to_gain(gains_db.pop(0)) if use.effect == "loudness" else apply_chain(audio, pair.sample_rate, (use,))
            assert not gains_db
            assert_same(audio.double().numpy(), written_audio(corpus, example)[file.name], (pair.kind, file.name))


def test_peaks_are_those_of_the_written_samples(rendered):
    for encoding in ("flac24", "wav32f"):
        corpus = rendered("folder", encoding)
        for _, example in rows_of(corpus):
            for file, audio in zip(example.signals, written_audio(corpus, example).values(), strict=True):
                assert file.peak_dbfs == pytest.approx(20 * np.log10(np.abs(audio).max()), abs=5.1e-4)


def test_the_rows_of_a_dataset_name_every_source_effect_and_setting(rendered):
    corpus = rendered("folder", "flac24")
    stems = {stem.id: stem for stem in corpus.rows("stems", Stem)}
    tracks = {track.id: track for track in corpus.rows("tracks", Track)}
    for pair, example in rows_of(corpus):
        branches = [branch for signal in (*pair.inputs, *pair.targets) for branch in signal.branches]
        assert [source.id for source in pair.sources] == list(dict.fromkeys(branch.source_id for branch in branches))
        for source in pair.sources:
            stem, track = stems[source.id], tracks[stems[source.id].track_id]
            facts = ("title", "artist", "album", "rights", "metadata", "split")
            assert [getattr(source, name) for name in facts] == [getattr(track, name) for name in facts]
            assert (source.stem, source.origin, source.closure_db, source.gain_db) == (
                stem.name,
                stem.origin,
                stem.closure_db,
                stem.gain_db,
            )
            assert source.resampled == (stem.audio.sample_rate != pair.sample_rate)
        for branch in branches:
            assert (branch.stem, branch.start_frame) == (stems[branch.source_id].name, pair.start_frame + branch.offset_frames)
        for use in (use for branch in branches for use in branch.chain):
            assert list(use.settings) == sorted(fields(EFFECTS[use.effect].Settings))
        if pair.kind == "removal":
            removed = {use.effect for use in pair.inputs[0].branches[0].chain if use.role == "removed"}
            assert removed
            assert {change.effect for change in example.changes} == removed
        assert all((corpus.dataset / file.audio.path).is_file() for file in example.signals)


def test_packed_labels_say_what_the_tables_say(rendered):
    corpus = rendered("webdataset", "flac24")
    expected = {pair.id: (pair, example) for pair, example in rows_of(corpus)}
    seen = 0
    for path in corpus.dataset.glob("*/*.tar"):
        with tarfile.open(path) as tar:
            for member in (each for each in tar if each.name.endswith(".json")):
                labels = json.loads(tar.extractfile(member).read())
                pair, example = expected[Path(member.name).stem]
                assert WrittenPair.model_validate({name: labels[name] for name in WrittenPair.model_fields}) == pair
                assert labels["gain_db"] == example.gain_db
                assert labels["changes"] == [change.model_dump(mode="json") for change in example.changes]
                for file in example.signals:
                    assert labels["files"][f"{file.role}_{file.name}"] == {
                        "loudness_lufs": file.loudness_lufs,
                        "peak_dbfs": file.peak_dbfs,
                        "levelled_db": list(file.levelled_db),
                        "sha256": file.audio.sha256,
                    }
                seen += 1
    assert seen == len(expected)
    hub = rendered("huggingface", "wav32f")
    own = {pair.id: pair for pair, _ in rows_of(hub)}
    for path in hub.dataset.glob("*/*.parquet"):
        for row in pq.read_table(path, columns=["id", "labels"]).to_pylist():
            labels = json.loads(row["labels"])
            assert WrittenPair.model_validate({name: labels[name] for name in WrittenPair.model_fields}) == own[row["id"]]


@pytest.mark.parametrize(("name", "encoding"), FORMATS)
def test_a_dataset_that_was_moved_is_complete_and_read_as_before(name, encoding, rendered, tmp_path):
    corpus = rendered(name, encoding)
    assert [problem.what for problem in check_corpus(corpus.folder, corpus.songs)] == []
    moved = shutil.copytree(corpus.dataset, tmp_path / "elsewhere")
    assert check_dataset(moved) == []
    before, after = (PairDataset(folder, kind="mix", split="all") for folder in (corpus.dataset, moved))
    assert len(before) == len(after) > 3
    for number in (0, len(before) - 1):
        for one, other in zip(before[number], after[number], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_sources_of_a_loud_song_sum_to_its_mixture_as_musdb_reads_them(rendered):
    if shutil.which("ffmpeg") is None:
        pytest.skip("musdb needs the ffmpeg program")
    import musdb

    corpus = rendered("musdb", "wav32f")
    tracks = [track for split in ("train", "test") for track in musdb.DB(str(corpus.dataset), is_wav=True, subsets=split)]
    assert len(tracks) == len(rows_of(corpus))
    for track in {one.name.rpartition(" [")[0]: one for one in tracks}.values():  # one pair of each song
        total = sum(source.audio for source in track.sources.values())
        assert np.abs(track.audio - total).max() <= 5 * 2.0**-16  # musdb rounds each of the five to 16 bits


@pytest.mark.parametrize("name", ["webdataset", "huggingface"])
def test_labels_in_shards_follow_a_corrected_title(name, rendered, tmp_path):
    finished = rendered(name, "flac24")
    corpus = Corpus(shutil.copytree(finished.folder, tmp_path / "corpus"))
    tracks = corpus.rows("tracks", Track)
    corrected = [tracks[0].model_copy(update={"title": "Corrected", "metadata": {"genre": "rock", "year": "1999"}}), *tracks[1:]]
    table.write(corpus.table("tracks"), corrected, Track, made_from=table.made_from(corpus.table("tracks")) or "")
    sound = {file.audio.sha256 for _, example in rows_of(finished) for file in example.signals}
    summary = stages.run_render(corpus, Workers(1))
    assert summary.done == 0  # nothing was rendered: labels were packed again
    assert check_dataset(corpus.dataset) == []
    assert {file.audio.sha256 for _, example in rows_of(corpus) for file in example.signals} == sound
    own = [pair for pair, _ in rows_of(corpus) if pair.track_id == tracks[0].id]
    assert {source.title for pair in own for source in pair.sources} == {"Corrected"}
    assert all(source.metadata == {"genre": "rock", "year": "1999"} for pair in own for source in pair.sources)
    packed = b"".join(path.read_bytes() for path in corpus.dataset.glob("*/*[0-9].tar"))
    if name == "webdataset":
        assert packed.count(b'"title":"Corrected"') == packed.count(b'"metadata":{"genre":"rock","year":"1999"}') >= len(own)
    else:
        texts = [
            row for path in corpus.dataset.glob("*/*.parquet") for row in pq.read_table(path, columns=["labels"])["labels"].to_pylist()
        ]
        assert sum('"title":"Corrected"' in text for text in texts) == len(own)
