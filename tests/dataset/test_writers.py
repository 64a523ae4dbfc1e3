"""One contract for all formats, on a small corpus through the render stage; then what each format promises beside it."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import make_song, write_song_file
from test_render import pair, signal

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.dataset.writers import WRITERS, card
from stemwright.datagen.dataset.writers.folder import FolderWriter
from stemwright.datagen.dataset.writers.musdb import MusdbWriter
from stemwright.datagen.dataset.writers.shard_plan import RenderedFiles
from stemwright.datagen.pairs.render import Sources, render
from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import ConfigError, check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import shards, table
from stemwright.manifests.check import check_corpus, check_dataset, errors
from stemwright.manifests.dataset_rows import WrittenPair
from stemwright.manifests.pair_records import Example, Pair, Signal
from stemwright.manifests.records import EffectUse, Refused, Shard, Stem, Track
from stemwright.manifests.sound.decoding import load

ONE = "0" * 16
SHARDED = ("webdataset", "huggingface")
SEPARATE = ("folder", "musdb")
EXAMPLES_IN_A_SHARD = 4
STEMS = ("drums", "bass", "other", "vocals")


def configuration(songs: Path, format_name: str, **dataset: object) -> dict[str, object]:
    pairs = {"duration_s": 0.25, "mix": {"per_track": 3, "target": "sum"}}
    pairs["removal"] = {"per_track": 0 if format_name == "musdb" else 2, "effects": ["eq", "compressor"], "removed": [1, 1], "kept": [0, 0]}
    pairs["limit"] = {"per_track": 0 if format_name == "musdb" else 1}
    section = {"format": format_name, **({"shard_examples": EXAMPLES_IN_A_SHARD} if format_name in SHARDED else {}), **dataset}
    return {"seed": 3, "songs": {"folder": str(songs)}, "pairs": pairs, "dataset": section}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ "musdb": a corpus with stems and pairs that the MUSDB layout can hold; "all": one with pairs of more kinds. Nothing is rendered."""
    place = tmp_path_factory.mktemp("writers")
    for number in range(3):
        folder = place / "songs" / ("train" if number < 2 else "test") / f"Artist {number} - Title {number}"
        for stem, audio in make_song(number, 1.5).items():
            write_song_file(folder / f"{stem}.wav", audio)
    corpora = {}
    for name, format_name in (("all", "folder"), ("musdb", "musdb")):
        corpus = Corpus(place / name)
        corpus.create(check(configuration(place / "songs", format_name), where="test"))
        stages.run_catalog(corpus, Workers(1))
        stages.run_separate(corpus)
        stages.run_estimate(corpus, Workers(1))
        stages.run_plan(corpus)
        corpora[name] = corpus.folder
    return corpora


@pytest.fixture(scope="module")
def rendered(planned: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    """A finished corpus of each format. Not to be changed."""
    place = tmp_path_factory.mktemp("rendered")
    found = {}
    for name in WRITERS:
        found[name] = copied(planned, place, name)
        stages.run_render(found[name], Workers(1))
    return found


def copied(planned: dict[str, Path], place: Path, format_name: str, **dataset: object) -> Corpus:
    """A corpus that is planned and not rendered, for one format."""
    source = planned["musdb" if format_name == "musdb" else "all"]
    corpus = Corpus(shutil.copytree(source, place / format_name))
    songs = Corpus(source).config.songs.folder
    corpus.create(check(configuration(Path(songs), format_name, **dataset), where="test"))
    return corpus


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rows(corpus: Corpus) -> Iterator[tuple[Pair, Example]]:
    drawn_again = corpus.rows("redraws", Pair) if corpus.table("redraws").exists() else []
    by_id = {pair.id: pair for pair in (*corpus.rows("pairs", Pair), *drawn_again)}
    return ((by_id[example.pair_id], example) for example in corpus.rows("examples", Example))


every_format = pytest.mark.parametrize("name", WRITERS)


def own_rows(corpus):
    """The pairs as the dataset's own table has them, by id."""
    return {pair.id: pair for pair in table.read(corpus.dataset / "pairs.parquet", WrittenPair)}


@every_format
def test_written_audio_equals_rendered_audio_and_its_row(name, rendered):
    corpus = rendered[name]
    stems = {stem.id: stem.audio for stem in corpus.rows("stems", Stem)}
    places = shards.Places(corpus.dataset)
    seen = 0
    for planned_pair, example in rows(corpus):
        assert example.id == example.seal_id()
        signals = render(planned_pair, Sources(corpus.folder, stems))
        assert [(file.role, file.name) for file in example.signals] == [
            *(("input", one.name) for one in planned_pair.inputs),
            *(("target", one.name) for one in planned_pair.targets),
        ]
        for file, planned_signal in zip(example.signals, (*planned_pair.inputs, *planned_pair.targets), strict=True):
            place = places.find(shards.in_dataset(file.audio.path))
            assert hashlib.sha256(place.read()).hexdigest() == file.audio.sha256
            back, sample_rate = place.load()
            gain = 10 ** ((0.0 if planned_signal.view == "gain" else example.gain_db) / 20)
            exact = file.audio.path.endswith(".wav")
            np.testing.assert_allclose(back, signals[file.name] * np.float32(gain), atol=0 if exact else 2**-24, rtol=0)
            assert (sample_rate, back.shape) == (file.audio.sample_rate, (file.audio.num_channels, file.audio.num_frames))
            seen += 1
    assert seen >= 9 * 5


@pytest.mark.parametrize(  # a folder, and shards of the kind that takes another table
    "name", ["folder", "huggingface", *(pytest.param(name, marks=pytest.mark.slow) for name in ("webdataset", "musdb"))]
)
def test_two_processes_and_a_kill_change_no_byte(name, planned, rendered, tmp_path, monkeypatch):
    expected = contents(rendered[name].dataset)
    two = copied(planned, tmp_path / "two", name)
    stages.run_render(two, Workers(2))
    assert contents(two.dataset) == expected

    killed = copied(planned, tmp_path / "killed", name)
    with pytest.raises(KeyboardInterrupt):
        stages.run_render(killed, Workers(1), on_progress=stop_after(4))
    assert not list(killed.dataset.rglob("*.parquet"))
    if name in SHARDED:  # and again, while the second shard is being packed
        read, reads = RenderedFiles.read, iter(range(10**6))
        monkeypatch.setattr(RenderedFiles, "read", lambda self, file: stop(read(self, file), next(reads) > 25))
        with pytest.raises(KeyboardInterrupt):
            stages.run_render(killed, Workers(1))
        monkeypatch.undo()
        assert (killed.dataset / shards.JOURNAL).exists()
        assert 0 < len(list(killed.dataset.glob("[a-z]*/*-??????.*"))) < len(list(rendered[name].dataset.glob("*/*-??????.*")))
    summary = stages.run_render(killed, Workers(1))
    assert summary.skipped >= 3
    assert contents(killed.dataset) == expected


MOMENTS = {  # in which a shard of another format goes -> what is about to be removed then, and how
    "a shard is unpacked and struck out": ("unlink", lambda path: path.suffix in (".tar", ".parquet") and in_kind(path)),
    "a shard is gone, the folder that this empties is not": ("rmdir", lambda path: in_kind(path / "shard") and not any(path.iterdir())),
    "only the journal of shards is left": ("unlink", lambda path: path.name == shards.JOURNAL),
}


def in_kind(path: Path) -> bool:
    return path.parent.parent.name == shards.DATASET


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("before", "after"), [("webdataset", "folder"), ("huggingface", "folder"), ("webdataset", "huggingface")])
def test_a_kill_while_shards_of_another_format_go_leaves_nothing_of_them(before, after, moment, rendered, tmp_path, monkeypatch):
    corpus = Corpus(shutil.copytree(rendered[before].folder, tmp_path / "corpus"))
    corpus.create(corpus.config.model_copy(update={"dataset": rendered[after].config.dataset}))
    how, is_next = MOMENTS[moment]
    removal = getattr(Path, how)
    monkeypatch.setattr(Path, how, lambda path, **options: stop(removal, is_next(path))(path, **options))
    with pytest.raises(KeyboardInterrupt):
        stages.run_render(corpus, Workers(1))
    monkeypatch.undo()
    assert (corpus.dataset / shards.JOURNAL).exists()
    assert stages.run_render(corpus, Workers(1)).done == 0
    assert contents(corpus.dataset) == contents(rendered[after].dataset)
    assert folders(corpus.dataset) == folders(rendered[after].dataset)


def folders(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir())


def stop_after(count):
    def progress(done, total, subject, audio=None):
        if done == count:
            raise KeyboardInterrupt

    return progress


def stop(value, now):
    if now:
        raise KeyboardInterrupt
    return value


@every_format
def test_a_second_start_renders_nothing_and_touches_nothing(name, rendered):
    before = {path: path.stat().st_mtime_ns for path in rendered[name].folder.rglob("*") if path.is_file()}
    summary = stages.run_render(rendered[name], Workers(1))
    assert (summary.done, summary.skipped) == (0, len(rendered[name].rows("examples", Example)))
    assert {path: path.stat().st_mtime_ns for path in rendered[name].folder.rglob("*") if path.is_file()} == before


@every_format
def test_check_finds_nothing_wrong_in_a_whole_dataset_wherever_it_is(name, rendered, tmp_path):
    assert errors(check_corpus(rendered[name].folder)) == []
    moved = shutil.copytree(rendered[name].dataset, tmp_path / "elsewhere")
    assert check_dataset(moved) == []


@every_format
@pytest.mark.parametrize("damage", ["missing", "changed", "cut off"])
def test_check_names_what_is_damaged_and_the_next_start_mends_it(name, damage, rendered, tmp_path):
    corpus = Corpus(shutil.copytree(rendered[name].folder, tmp_path / "corpus"))
    before = contents(corpus.dataset)
    sound = sorted(path for path in corpus.dataset.rglob("*") if path.is_file() and path.parent != corpus.dataset)
    victim = sound[0]
    if damage == "missing":
        victim.unlink()
    elif damage == "changed":
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    else:
        victim.write_bytes(victim.read_bytes()[: victim.stat().st_size * 2 // 3])
    problems = errors(check_dataset(corpus.dataset))
    assert problems
    assert all(victim.name in problem.file or victim.name in problem.what for problem in problems)
    assert errors(check_corpus(corpus.folder))
    if name in SHARDED and damage != "changed":
        (problem,) = problems
        assert {"missing": "is missing; ", "cut off": "is cut off: it has "}[damage] in problem.what
        assert "sound files are lost with it" in problem.what
        with pytest.raises(ValueError, match=f"{victim.name} is {damage}.*run `stemwright render` again"):
            PairDataset(corpus.dataset, kind=victim.parent.name, split=victim.name.partition("-")[0])
    if damage != "missing" and not (name in SHARDED and damage == "cut off"):
        victim.unlink()  # as the message says; a shard of the wrong length is made again even so
    stages.run_render(corpus, Workers(1))
    assert contents(corpus.dataset) == before


@every_format
def test_a_changed_plan_takes_the_examples_it_keeps_from_where_they_are(name, rendered, tmp_path):
    corpus = Corpus(shutil.copytree(rendered[name].folder, tmp_path / "corpus"))
    config = corpus.config
    pairs = config.pairs.model_copy(update={"mix": config.pairs.mix.model_copy(update={"per_track": 2})})
    corpus.create(config.model_copy(update={"pairs": pairs}))
    stages.run_plan(corpus)
    summary = stages.run_render(corpus, Workers(1))
    assert summary.done == 0
    assert summary.notes[0] == "15 files of examples that are no longer planned were removed"  # three songs, five signals each
    assert errors(check_corpus(corpus.folder)) == []
    stages.run_plan(corpus)
    before = contents(corpus.dataset)
    fresh = Corpus(shutil.copytree(corpus.folder, tmp_path / "fresh"))
    shutil.rmtree(fresh.dataset)
    stages.run_render(fresh, Workers(1))
    assert contents(fresh.dataset) == before


def test_another_format_packs_again_and_renders_nothing(rendered, tmp_path):
    corpus = Corpus(shutil.copytree(rendered["folder"].folder, tmp_path / "corpus"))
    for name in ("webdataset", "huggingface", "folder"):
        section = rendered[name].config.dataset
        corpus.create(corpus.config.model_copy(update={"dataset": section}))
        assert stages.run_render(corpus, Workers(1)).done == 0
        assert contents(corpus.dataset) == contents(rendered[name].dataset)


@every_format
def test_pair_dataset_reads_every_format_alike(name, rendered):
    for split in ("train", "test"):
        one = PairDataset(rendered[name].dataset, kind="mix", split=split)
        other = PairDataset(rendered["folder"].dataset, kind="mix", split=split)
        assert [one.pair(number).id for number in range(len(one))] == [other.pair(number).id for number in range(len(other))]
        for (inputs, targets, mask), (same, alike, _) in zip(one, other, strict=True):
            np.testing.assert_allclose(inputs, same, atol=2**-23)
            np.testing.assert_allclose(targets, alike, atol=2**-23)
            assert mask.all()


# -- webdataset


def test_webdataset_gives_every_example_once_with_its_labels(rendered):
    import webdataset

    corpus, seen = rendered["webdataset"], []
    wanted = {pair.id: (pair, example) for pair, example in rows(corpus)}
    places, own = shards.Places(corpus.dataset), own_rows(corpus)
    urls = sorted(str(path) for path in corpus.dataset.glob("*/*.tar"))
    assert len(urls) > 4
    for one in webdataset.WebDataset(urls, shardshuffle=False):
        labels = json.loads(one["json"])
        pair, example = wanted[one["__key__"]]
        assert Path(one["__url__"]).name.startswith(f"{pair.split}-")
        assert WrittenPair.model_validate({name: labels[name] for name in WrittenPair.model_fields}) == own[pair.id]
        assert labels["gain_db"] == example.gain_db
        files = {f"{file.role}_{file.name}.{file.audio.path[-4:].lstrip('.')}": file for file in example.signals}
        assert {name for name in one if not name.startswith("__")} == {"json", *files}
        assert all(one[name] == places.find(shards.in_dataset(file.audio.path)).read() for name, file in files.items())
        assert labels["files"]["input_" + pair.inputs[0].name]["peak_dbfs"] == example.signals[0].peak_dbfs
        seen.append(pair.id)
    assert sorted(seen) == sorted(wanted)


def test_webdataset_decodes_what_pair_dataset_reads(rendered):
    import soundfile
    import webdataset

    data = PairDataset(rendered["webdataset"].dataset, kind="mix", split="test")
    by_id = {data.pair(number).id: number for number in range(len(data))}
    urls = sorted(str(path) for path in (rendered["webdataset"].dataset / "mix").glob("test-*.tar"))
    decode = webdataset.handle_extension("flac", lambda data: soundfile.read(io.BytesIO(data), dtype="float32")[0].T)
    for one in webdataset.WebDataset(urls, shardshuffle=False).decode(decode):
        inputs, targets, _ = data[by_id[one["__key__"]]]
        np.testing.assert_array_equal(np.stack([one[f"input_{name}.flac"] for name in STEMS]), inputs)
        np.testing.assert_array_equal(one["target_mix.flac"], targets[0])


def test_tars_have_fixed_heads_sorted_members_and_the_configured_size(rendered, planned, tmp_path):
    for path in rendered["webdataset"].dataset.glob("*/*.tar"):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        assert {(member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) for member in members} == {
            (0, 0, 0, "", "", 0o644)
        }
        assert len({member.name.partition(".")[0] for member in members}) <= EXAMPLES_IN_A_SHARD
    small = copied(planned, tmp_path, "webdataset", shard_examples=None, shard_mb=0.4)
    stages.run_render(small, Workers(1))
    sizes = [sum(member.num_bytes for member in shard.members) for shard in table.read(small.dataset / "shards.parquet", Shard)]
    assert len(sizes) > 4
    assert max(sizes) <= 400_000


# -- huggingface


@pytest.fixture
def hub_offline(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return datasets


def test_hugging_face_loads_every_kind_and_split_and_decodes_its_audio(rendered, hub_offline, tmp_path):
    corpus = rendered["huggingface"]
    wanted = {pair.id: (pair, example) for pair, example in rows(corpus)}
    places, own, seen = shards.Places(corpus.dataset), own_rows(corpus), []
    for kind in ("limit", "mix", "removal"):
        loaded = hub_offline.load_dataset(str(corpus.dataset), kind, cache_dir=str(tmp_path / "cache"))
        assert set(loaded) == {pair.split for pair, _ in wanted.values() if pair.kind == kind}
        for split, data in loaded.items():
            assert all(
                isinstance(data.features[name], hub_offline.Audio) for name in data.features if name.startswith(("input_", "target_"))
            )
            for one in data:
                pair, example = wanted[one["id"]]
                assert (pair.kind, pair.split) == (kind, split)
                labels = json.loads(one["labels"])
                assert WrittenPair.model_validate({name: labels[name] for name in WrittenPair.model_fields}) == own[pair.id]
                for file in example.signals:
                    samples = one[f"{file.role}_{file.name}"].get_all_samples()
                    expected, sample_rate = places.find(shards.in_dataset(file.audio.path)).load()
                    assert samples.sample_rate == sample_rate
                    np.testing.assert_array_equal(samples.data.numpy(), expected)
                seen.append(pair.id)
    assert sorted(seen) == sorted(wanted)


def test_kinds_whose_examples_have_other_signals_share_one_table_with_empty_cells(tmp_path, synthetic_song, hub_offline):
    pairs = [pair([signal("drums", ONE)], [signal("mixture", ONE)]), pair([signal("bass", ONE)], [signal("mixture", ONE)], start_frame=7)]
    writer = WRITERS["huggingface"]()
    examples = [
        writer.write(tmp_path, one, {name: synthetic_song[name][:, :20_000] for name in ("drums", "bass", "mixture")}) for one in pairs
    ]
    writer.finish(tmp_path, pairs, examples)
    data = hub_offline.load_dataset(str(tmp_path / "dataset"), "mix", split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted((one["input_drums"] is None, one["input_bass"] is None) for one in data) == [(False, True), (True, False)]


def test_a_group_of_rows_is_bounded(tmp_path, synthetic_song, monkeypatch):
    monkeypatch.setattr("stemwright.datagen.dataset.writers.huggingface.GROUP_BYTES", 200_000)
    pairs = [pair([signal("drums", ONE)], [signal("mixture", ONE)], start_frame=number) for number in range(6)]
    writer = WRITERS["huggingface"]()
    examples = [writer.write(tmp_path, one, {name: synthetic_song[name][:, :20_000] for name in ("drums", "mixture")}) for one in pairs]
    writer.finish(tmp_path, pairs, examples)
    file = pq.ParquetFile(tmp_path / "dataset" / "mix" / "train-000000.parquet")
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    assert len(groups) > 1
    assert sum(group.num_rows for group in groups) == 6
    assert all(group.total_byte_size < 210_000 + 20_000 for group in groups)


# -- musdb


def test_musdb_opens_the_tree_and_its_mixtures_are_the_sums_of_their_stems(rendered):
    if not shutil.which("ffmpeg"):
        pytest.skip("musdb needs the ffmpeg program")
    import musdb

    corpus = rendered["musdb"]
    wanted = {pair.id: (pair, example) for pair, example in rows(corpus)}
    tracks = {track.id: track for track in corpus.rows("tracks", Track)}
    assert len(musdb.DB(str(corpus.dataset), is_wav=True)) == len(wanted)
    seen = []
    for split in ("train", "test"):
        for number, one in enumerate(musdb.DB(str(corpus.dataset), is_wav=True, subsets=split)):
            pair, example = wanted[one.name.rpartition("[")[2].rstrip("]")]
            assert one.name.startswith(f"{tracks[pair.track_id].artist} - {tracks[pair.track_id].title} [")
            assert pair.split == split
            assert set(one.sources) == set(STEMS)
            seen.append(pair.id)
            if number:  # musdb starts two programs for every sound that is read: one track of each split is read
                continue
            # musdb reads WAV through ffmpeg as 16 bit; the test below holds the files themselves to 24.
            mixture, sources = one.audio, {name: one.sources[name].audio for name in STEMS}
            np.testing.assert_allclose(mixture, sum(sources.values()), atol=5 * 2**-16)
            np.testing.assert_allclose(one.targets["linear_mixture"].audio, mixture, atol=5 * 2**-16)
            for file in example.signals:
                read = mixture if file.role == "target" else sources[file.name]
                np.testing.assert_allclose(read.T, load(corpus.folder / file.audio.path)[0], atol=2**-15)
    assert sorted(seen) == sorted(wanted)


def test_the_mixture_of_a_musdb_tree_is_the_sum_to_the_last_bit_of_a_float(rendered):
    for _, example in rows(rendered["musdb"]):
        audio = {file.name: load(rendered["musdb"].folder / file.audio.path)[0] for file in example.signals}
        np.testing.assert_allclose(audio["mix"], sum(audio[name] for name in STEMS), atol=2**-24)


def test_validation_has_its_own_folder_that_musdb_opens_on_request(tmp_path, synthetic_song):
    if not shutil.which("ffmpeg"):
        pytest.skip("musdb needs the ffmpeg program")
    import musdb

    planned_pair = pair([signal(name, ONE) for name in STEMS], [signal("mixture", ONE)]).model_copy(update={"split": "valid"})
    writer = MusdbWriter(titles={ONE: "Artist - Title"})
    writer.finish(tmp_path, [planned_pair], [writer.write(tmp_path, planned_pair, {k: v[:, :20_000] for k, v in synthetic_song.items()})])
    assert len(musdb.DB(str(tmp_path / "dataset"), is_wav=True)) == 0
    (track,) = musdb.DB(str(tmp_path / "dataset"), is_wav=True, subsets="valid")
    assert track.name == f"Artist - Title [{planned_pair.id}]"


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ({"mix": {"target": "sum"}}, "no 'removal' pairs: set pairs.removal.per_track = 0"),
        ({"removal": {"per_track": 0}}, "set pairs.mix.target = 'sum'; got 'released'"),
        ({"removal": {"per_track": 0}, "mix": {"target": "sum", "stems": ["drums"]}}, "holds drums, bass, other, vocals; got"),
        ({"removal": {"per_track": 0}, "mix": {"target": "sum", "channels": "mono"}}, "set pairs.mix.channels = 'all'"),
        ({"removal": {"per_track": 0}, "mix": {"target": "sum", "inputs": "levelled"}}, "set pairs.mix.inputs = 'separated'"),
        (
            {"removal": {"per_track": 0}, "mix": {"per_track": 0}, "restore": {"per_track": 1}},
            "set pairs.restore.target = 'stems'; got 'stem'",
        ),
    ],
)
def test_pairs_that_the_musdb_layout_cannot_hold_are_refused_by_the_configuration(pairs, said):
    with pytest.raises(ConfigError, match=f"^test: \\[dataset\\] format: 'musdb'.*{said}"):
        check({"pairs": pairs, "dataset": {"format": "musdb"}}, where="test")


def test_degraded_mixtures_and_their_dry_stems_are_a_musdb_tree(tmp_path, synthetic_song):
    sections = {kind: {"per_track": 0} for kind in ("mix", "removal")}
    check({"pairs": {**sections, "restore": {"per_track": 1, "target": "stems"}}, "dataset": {"format": "musdb"}}, where="test")
    degraded = signal("degraded", ONE, bus=(EffectUse(effect="clip", settings={"ceiling_db": -20.0}, role="removed"),))
    planned_pair = pair([degraded], [signal(name, ONE) for name in STEMS]).model_copy(update={"kind": "restore"})
    audio = {name: 3.0 * each[:, :20_000] for name, each in synthetic_song.items()}
    audio["degraded"] = audio.pop("mixture").clip(-0.1, 0.1)
    example = MusdbWriter(titles={ONE: "Artist - Title"}).write(tmp_path, planned_pair, audio)
    folder = tmp_path / "dataset" / planned_pair.split / f"Artist - Title [{planned_pair.id}]"
    assert {path.name for path in folder.iterdir()} == {"mixture.wav", *(f"{name}.wav" for name in STEMS)}
    gain = 10.0 ** (example.gain_db / 20.0)
    for name, expected in (("mixture", "degraded"), *((name, name) for name in STEMS)):
        np.testing.assert_allclose(load(folder / f"{name}.wav")[0], gain * audio[expected], atol=1e-6)
    with pytest.raises(Refused, match="this 'restore' pair has drums"):
        MusdbWriter().write(tmp_path, planned_pair.model_copy(update={"targets": planned_pair.targets[:1]}), audio)


def test_the_musdb_layout_is_float(tmp_path):
    with pytest.raises(ConfigError, match=r"set dataset\.encoding = 'auto' or 'wav32f'"):
        check({"dataset": {"format": "musdb", "encoding": "flac24"}}, where="test")


def test_other_stems_or_another_sum_are_refused_pair_by_pair(tmp_path, synthetic_song):
    audio = {name: each[:, :20_000] for name, each in synthetic_song.items()}
    with pytest.raises(Refused, match="contains drums, bass, other, vocals and their mix; this 'mix' pair has drums"):
        MusdbWriter().write(tmp_path, pair([signal("drums", ONE)], [signal("mixture", ONE)]), audio)
    whole = pair([signal(name, ONE) for name in STEMS], [signal("mixture", ONE)])
    with pytest.raises(Refused, match=r"differ from the mixture by -\d+\.\d dBFS"):
        MusdbWriter().write(tmp_path, whole, {**audio, "mixture": audio["mixture"] * np.float32(0.9)})
    assert not list(tmp_path.iterdir())


# -- encodings


def planned_pair(**options) -> Pair:
    return pair([signal("drums", ONE), signal("bass", ONE)], [signal("mixture", ONE)], **options)


def signals(synthetic_song, factor=1.0):
    return {name: synthetic_song[name][:, :20_000] * np.float32(factor) for name in ("drums", "bass", "mixture")}


def test_a_peak_above_full_scale_takes_one_gain_for_all_signals(tmp_path, synthetic_song):
    audio = signals(synthetic_song, factor=4.0)
    assert max(np.abs(one).max() for one in audio.values()) > 1.0
    example = FolderWriter("flac24").write(tmp_path, planned_pair(), audio)
    assert example.gain_db < 0
    for file in example.signals:
        back, _ = load(tmp_path / file.audio.path)
        np.testing.assert_allclose(back, audio[file.name] * 10 ** (example.gain_db / 20), atol=2**-23)
    assert max(file.peak_dbfs for file in example.signals) <= 0.0
    assert min(-file.peak_dbfs for file in example.signals if file.name == "mixture") < 0.011  # no more than it needs


def test_float_wav_needs_no_gain(tmp_path, synthetic_song):
    audio = signals(synthetic_song, factor=4.0)
    example = FolderWriter("wav32f").write(tmp_path, planned_pair(), audio)
    assert example.gain_db == 0.0
    for file in example.signals:
        np.testing.assert_array_equal(load(tmp_path / file.audio.path)[0], audio[file.name])


@pytest.mark.parametrize("name", ["folder", *SHARDED])
def test_a_gain_curve_is_always_float_and_takes_no_gain(name, tmp_path, synthetic_song):
    curve = Signal(name="gain", branches=signal("gain", ONE).branches, view="gain")
    one = pair([signal("drums", ONE)], [signal("mixture", ONE), curve])
    audio = {**signals(synthetic_song, factor=4.0), "gain": np.linspace(0.001, 1.5, 20_000, dtype=np.float32)[np.newaxis]}
    writer = WRITERS[name]("flac24")
    example = writer.write(tmp_path, one, audio)
    writer.finish(tmp_path, [one], [example])
    assert example.gain_db < 0
    *_, file = example.signals
    assert file.audio.path.endswith("target_gain.wav")
    assert file.loudness_lufs is None
    np.testing.assert_array_equal(shards.Places(tmp_path / "dataset").find(shards.in_dataset(file.audio.path)).load()[0], audio["gain"])


def test_silence_has_neither_loudness_nor_peak(tmp_path, synthetic_song):
    example = FolderWriter().write(
        tmp_path, planned_pair(), {name: np.zeros((2, 20_000), np.float32) for name in ("drums", "bass", "mixture")}
    )
    assert all(file.loudness_lufs is None and file.peak_dbfs is None for file in example.signals)


def test_a_file_that_changed_since_it_was_rendered_is_not_packed(tmp_path, synthetic_song):
    writer = WRITERS["webdataset"]()
    example = writer.write(tmp_path, planned_pair(), signals(synthetic_song))
    path = tmp_path / example.signals[0].audio.path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="has changed since it was rendered; delete"):
        writer.finish(tmp_path, [planned_pair()], [example])
    assert not list((tmp_path / "dataset").glob("*.parquet"))
    assert not list((tmp_path / "dataset").rglob("*.tar"))


# -- the card


@every_format
def test_the_card_counts_what_is_there(name, rendered):
    import yaml

    corpus = rendered[name]
    text = (corpus.dataset / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    head = yaml.safe_load(head)
    found = list(rows(corpus))
    (rights,) = {track.rights for track in corpus.rows("tracks", Track)}
    assert head["license"] == "other"
    assert f"| {card._cell(rights)} | 3 |" in body
    assert head["size_categories"] == ["n<1K"]
    assert {"music", "mix"} <= set(head["tags"])
    for split in ("train", "test"):
        of_split = [example for pair, example in found if (pair.kind, pair.split) == ("mix", split)]
        hours = len(of_split) * 0.25 / 3600
        songs = {"train": 2, "test": 1}[split]
        assert f"| mix | {split} | {len(of_split)} | {songs} | {5 * len(of_split)} | {hours:.2f} |" in body
    assert ("configs" in head) == bool(WRITERS[name].shard_suffix)
    assert "| reference | " in body
    if name != "musdb":
        values = [use.settings["ratio"] for pair, _ in found for use in pair.inputs[0].branches[0].chain if use.effect == "compressor"]
        assert f"| removal | compressor.ratio | {len(values)} | {min(values):.4g} |" in body
    whole = (corpus.folder / "README.md").read_text()
    assert whole.split("## Contents")[1] == text.split("## Contents")[1]
    assert "configs:" not in whole


@pytest.mark.parametrize("name", ["folder", "webdataset", "huggingface", "musdb"])
def test_the_loading_code_of_the_card_runs(name, rendered, monkeypatch, tmp_path):
    if name == "musdb" and not shutil.which("ffmpeg"):
        pytest.skip("musdb needs the ffmpeg program")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if name == "huggingface":
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(rendered[name].folder)
    code = (rendered[name].dataset / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert code.count("\n") >= 4
    exec(compile(code, "card", "exec"), {})


@pytest.mark.parametrize(
    ("rights", "licence"),
    [
        (["CC BY 4.0"], "cc-by-4.0"),
        (["CC0", "Public Domain"], "cc0-1.0"),
        (["CC BY-NC-SA 3.0"], "cc-by-nc-sa-3.0"),
        (["https://creativecommons.org/licenses/by-sa/4.0/ by Somebody", "Creative Commons Attribution-ShareAlike 4.0"], "cc-by-sa-4.0"),
        (["CC BY"], "other"),  # which version is not said
        (["CC BY 4.0", "CC0"], "other"),
        (["(c) 1998 Some Label"], "other"),
        (["unknown", ""], "unknown"),
    ],
)
def test_the_licence_of_the_card_is_that_of_the_songs_or_other(rights, licence):
    from collections import Counter

    assert card._licence(Counter(rights))["license"] == licence


def test_datasets_reads_the_whole_card_without_a_complaint(rendered, caplog):
    import datasets

    with caplog.at_level("WARNING"):
        infos = datasets.info.DatasetInfosDict.from_directory(str(rendered["huggingface"].dataset))
    splits = infos["mix"].splits
    assert {name: split.num_examples for name, split in splits.items()} == {
        name: len(PairDataset(rendered["huggingface"].dataset, kind="mix", split=name)) for name in splits
    }
    assert all(split.num_bytes > 0 for split in splits.values())
    assert "malformed" not in caplog.text


def test_the_text_of_a_tag_cannot_break_the_card():
    assert card._cell("a | b\n<script>") == "a \\| b &lt;script>"
