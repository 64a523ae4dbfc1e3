"""Each kind of damage, done to a small corpus on disk, is found and named; the undamaged corpus has no problem."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import STEM_NAMES, make_song, write_song_file

from stemwright.datagen.dataset.writers.as_written import written_pair
from stemwright.manifests import table
from stemwright.manifests.catalog.tracks import SplitShares, find, inspect
from stemwright.manifests.check import CLOSURE_LIMIT_DBFS, CheckProblem, check_corpus, check_dataset, errors, sums
from stemwright.manifests.check.proofs import Proofs
from stemwright.manifests.dataset_rows import SourceRows, WrittenPair, of_dataset
from stemwright.manifests.decibels import db_to_gain, gain_to_db
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.pair_records import Branch, Example, Pair, Signal, SignalFile
from stemwright.manifests.records import RESIDUAL, AudioFile, EffectUse, Estimate, Rejected, Stem, Track, TrackEstimate, content_id, seal
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.sound import decoding, formats, resampling, writing

TASK = content_id("task")
FRAMES = 22_050
GAIN_DB = -1.5


def written(corpus: Path, path: str, samples: np.ndarray, sample_rate: int, encoding: str = "flac24") -> AudioFile:
    sha256 = writing.save(corpus / path, samples, sample_rate, encoding=encoding)
    shape = {"num_channels": samples.shape[0], "num_frames": samples.shape[1], "num_bytes": (corpus / path).stat().st_size}
    return AudioFile(path=path, sample_rate=sample_rate, sha256=sha256, **shape)


def stems_of(corpus: Path, songs: Path, track: Track, *, sample_rate: int, gain_db: float) -> list[Stem]:
    """The stems of one track at another rate and with a joint gain, and the residual that rounding leaves."""
    gain = db_to_gain(gain_db)
    files = {stem.name: songs / stem.audio.path for stem in track.references}
    samples = {
        name: resampling.resample(decoding.load(path)[0], track.audio.sample_rate, sample_rate) * gain for name, path in files.items()
    }
    mixture = resampling.resample(decoding.load(songs / track.audio.path)[0], track.audio.sample_rate, sample_rate)
    rounded = sum(np.rint(stem * 2.0**23) / 2.0**23 for stem in samples.values())
    samples[RESIDUAL] = (mixture * gain - rounded).astype(np.float32)
    facts = {"cache_key": TASK, "track_id": track.id, "origin": "reference", "gain_db": gain_db, "closure_db": None}
    return [
        seal(Stem, name=name, audio=written(corpus, f"stems/reference/{track.id}/{name}.flac", stem, sample_rate), **facts)
        for name, stem in samples.items()
    ]


def estimate_of(stem: Stem) -> Estimate:
    levels = {"loudness_lufs": None, "level_lu": None, "level_low_lu": None, "level_high_lu": None, "pan": None, "width": None}
    return seal(Estimate, cache_key=TASK, stem_id=stem.id, track_id=stem.track_id, name=stem.name, active=(True,), **levels)


def pair_of(track: Track, stems: list[Stem], number: int) -> Pair:
    chain = (EffectUse(effect="fader", settings={"pan": 0.1, "gain_db": -1 / 3}),)
    inputs = tuple(Signal(name=stem.name, branches=(Branch(source_id=stem.id, chain=chain),)) for stem in stems[:2])
    columns = {"start_frame": 0, "num_frames": FRAMES, "sample_rate": stems[0].audio.sample_rate, "seed": 0}
    mix = Signal(name="mix", branches=tuple(Branch(source_id=stem.id) for stem in stems))
    return seal(Pair, kind="mix", number=number, track_id=track.id, split=track.split, inputs=inputs, targets=(mix,), **columns)


def example_of(corpus: Path, pair: Pair, encoding: str) -> Example:
    files = []
    for role, signals in (("input", pair.inputs), ("target", pair.targets)):
        for signal in signals:
            samples = sum(decoding.load(corpus / SOURCES[branch.source_id], 0, FRAMES)[0] for branch in signal.branches)
            path = f"dataset/{pair.split}/mix/{pair.id}/{role}_{signal.name}{formats.SUFFIXES[encoding]}"
            file = written(corpus, path, samples, pair.sample_rate, encoding)
            files.append(SignalFile(role=role, name=signal.name, audio=file, loudness_lufs=None, peak_dbfs=-3.0))
    return seal(Example, cache_key=TASK, pair_id=pair.id, gain_db=0.0, signals=tuple(files))


def write_dataset_tables(corpus: Path) -> None:
    """The dataset's own tables, as its writer makes them of the corpus's."""
    examples, facts = {row.pair_id: row for row in rows_of(corpus, "examples")}, SourceRows.read(corpus)
    rendered = [pair for pair in rows_of(corpus, "pairs") if pair.id in examples]
    pairs = [written_pair(pair, examples[pair.id].gain_db, facts) for pair in rendered]
    table.write(corpus / "dataset" / "pairs.parquet", pairs, WrittenPair)
    table.write(corpus / "dataset" / "examples.parquet", [of_dataset(row) for row in examples.values()], Example)


SOURCES: dict[str, str] = {}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A corpus of two tracks, one of them resampled and with a joint gain, one example each; and its songs."""
    folder = tmp_path_factory.mktemp("check")
    songs, corpus = folder / "songs", folder / "corpus"
    for index in range(2):
        for stem, samples in make_song(index, 1.0, sample_rate=44_100).items():
            write_song_file(songs / f"Artist {index} - Title" / f"{stem}.wav", samples)
    shares = SplitShares(train=1, valid=0, test=0)
    rows: dict[str, list] = {name: [] for name in ROW_TYPES}
    corpus.mkdir()
    for index, candidate in enumerate(find(songs).candidates):
        track = inspect(songs, candidate, shares)
        stems = stems_of(corpus, songs, track, sample_rate=(44_100, 48_000)[index], gain_db=(0.0, GAIN_DB)[index])
        SOURCES.update({stem.id: stem.audio.path for stem in stems})
        pair = pair_of(track, stems, index)
        rows["tracks"].append(track)
        rows["stems"] += stems
        rows["estimates"] += [estimate_of(stem) for stem in stems if stem.name != RESIDUAL]
        rows["track_estimates"].append(seal(TrackEstimate, cache_key=TASK, track_id=track.id, tempo_bpm=None, key=None, key_confidence=0.0))
        rows["pairs"].append(pair)
        rows["examples"].append(example_of(corpus, pair, ("flac24", "wav32f")[index]))
    rows["rejected"].append(seal(Rejected, stage="catalog", row_id="x.mp3", subject="x.mp3", reason="empty file (0 bytes)"))
    for name, record_type in ROW_TYPES.items():
        table.write(corpus / f"{name}.parquet", rows[name], record_type)
    write_dataset_tables(corpus)
    (corpus / "dataset" / "README.md").write_text("# A dataset")
    return corpus, songs


@pytest.fixture
def corpus(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(made[0], tmp_path / "corpus")
    return tmp_path / "corpus"


@pytest.fixture
def songs(made: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(made[1], tmp_path / "songs")
    return tmp_path / "songs"


def rows_of(corpus: Path, name: str) -> list:
    return table.read(corpus / f"{name}.parquet", ROW_TYPES[name])


def replace(corpus: Path, name: str, rows: list) -> None:
    table.write(corpus / f"{name}.parquet", rows, ROW_TYPES[name])
    write_dataset_tables(corpus)


def resealed(row: object, **columns: object) -> object:
    return seal(type(row), **{name: getattr(row, name) for name in type(row).model_fields if name != "id"} | columns)


def a_file(corpus: Path, pattern: str) -> Path:
    return sorted(corpus.glob(pattern))[0]


def test_whole_corpus_has_no_problem(made):
    assert check_corpus(*made) == []


def test_whole_dataset_has_no_problem_wherever_it_is_moved(made, tmp_path):
    shutil.copytree(made[0] / "dataset", tmp_path / "moved")
    assert check_dataset(tmp_path / "moved") == []


def test_progress_counts_every_file_and_track(made):
    seen: list[tuple[str, int, int]] = []
    check_corpus(*made, progress=lambda done, total, what: seen.append((what, done, total)))
    assert seen == [("files", done, 16) for done in range(1, 17)] + [("tracks", 1, 2), ("tracks", 2, 2)]


@pytest.mark.parametrize("pattern", ["stems/*/*/bass.flac", "dataset/*/*/*/input_drums.flac", "dataset/*/*/*/target_mix.wav"])
@pytest.mark.parametrize("at", [0.0, 0.5, 0.999])
def test_one_changed_byte_is_found(corpus, songs, pattern, at):
    path = a_file(corpus, pattern)
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)
    (problem,) = check_corpus(corpus, songs)
    assert problem.file == path.relative_to(corpus).as_posix()
    assert problem.what == "its content changed after it was written (SHA-256 differs)"


@pytest.mark.parametrize("pattern", ["stems/*/*/bass.flac", "dataset/*/*/*/input_drums.flac"])
def test_removed_file_is_found(corpus, songs, pattern):
    path = a_file(corpus, pattern)
    path.unlink()
    (problem,) = check_corpus(corpus, songs)
    assert (problem.file, problem.what) == (path.relative_to(corpus).as_posix(), "is missing")


@pytest.mark.parametrize("name", ["tracks", "stems", "estimates", "pairs", "examples", "rejected"])
def test_edited_row_is_found(corpus, songs, name):
    column = {"tracks": "title", "stems": "name", "estimates": "name", "pairs": "kind", "examples": "gain_db", "rejected": "reason"}[name]
    frame = pq.read_table(corpus / f"{name}.parquet")
    values = frame[column].to_pylist()
    values[0] = 0.5 if column == "gain_db" else "edited"
    index = frame.schema.get_field_index(column)
    pq.write_table(frame.set_column(index, frame.schema.field(index), [values]), corpus / f"{name}.parquet")
    problem = next(problem for problem in check_corpus(corpus, songs) if problem.table == name)
    assert problem.file == f"{name}.parquet"
    assert problem.what.startswith("rows were edited" if name == "tracks" else "the row was edited")


def test_edited_setting_is_found(corpus, songs):
    frame = pq.read_table(corpus / "pairs.parquet")
    rows = frame.to_pylist()
    chain = rows[0]["inputs"][0]["branches"][0]["chain"]
    chain[0]["settings"] = chain[0]["settings"].replace("0.1", "0.2")
    pq.write_table(frame.from_pylist(rows, frame.schema), corpus / "pairs.parquet")
    problems = check_corpus(corpus, songs)
    assert (problems[0].row_id, problems[0].what) == (rows[0]["id"], "the row was edited: its id does not match its content")


def test_removed_row_is_found(corpus, songs):
    frame = pq.read_table(corpus / "estimates.parquet")
    pq.write_table(frame.slice(1), corpus / "estimates.parquet")
    (problem,) = check_corpus(corpus, songs)
    assert (problem.file, problem.what) == ("estimates.parquet", "rows were edited, added or removed since the table was written")


def test_a_repeated_row_is_found(corpus, songs):
    rows = rows_of(corpus, "estimates")
    replace(corpus, "estimates", [*rows, rows[0]])
    (problem,) = check_corpus(corpus, songs)
    assert (problem.row_id, problem.what) == (rows[0].id, "two rows have the same id")


def test_table_that_is_none_is_found(corpus, songs):
    (corpus / "estimates.parquet").write_bytes(b"PAR1 no longer")
    (problem,) = check_corpus(corpus, songs)
    assert "is not a readable Parquet table" in problem.what


def test_path_that_leaves_the_corpus_is_found(corpus, songs):
    frame = pq.read_table(corpus / "stems.parquet")
    rows = frame.to_pylist()
    rows[0]["audio"]["path"] = "../songs/x.flac"
    pq.write_table(frame.from_pylist(rows, frame.schema), corpus / "stems.parquet")
    assert any("'../songs/x.flac' leaves its folder" in problem.what for problem in check_corpus(corpus, songs))


@pytest.mark.parametrize(
    ("name", "column", "what"),
    [
        ("stems", "track_id", "track_id {0} is not in tracks"),
        ("estimates", "stem_id", "stem_id {0} is not in stems"),
        ("estimates", "track_id", "track_id {0} is not in tracks"),
        ("track_estimates", "track_id", "track_id {0} is not in tracks"),
        ("pairs", "track_id", "track_id {0} is not in tracks"),
        ("examples", "pair_id", "pair_id {0} is not in pairs"),
    ],
)
def test_dangling_id_is_found(corpus, songs, name, column, what):
    rows, unknown = rows_of(corpus, name), content_id("unknown")
    rows[-1] = resealed(rows[-1], **{column: unknown})
    replace(corpus, name, rows)
    problems = [problem for problem in check_corpus(corpus, songs) if problem.table == name and problem.row_id == rows[-1].id]
    assert what.format(unknown) in [problem.what for problem in problems]


def test_source_that_is_no_stem_is_found(corpus, songs):
    pairs, unknown = rows_of(corpus, "pairs"), content_id("unknown")
    pairs[0] = resealed(pairs[0], inputs=(Signal(name="drums", branches=(Branch(source_id=unknown),)),))
    replace(corpus, "pairs", pairs)
    assert f"source {unknown} is neither a stem nor a track" in [problem.what for problem in check_corpus(corpus, songs)]


def test_source_of_another_split_than_its_pair_is_found(corpus, songs):
    pairs, stems = rows_of(corpus, "pairs"), rows_of(corpus, "stems")
    tracks = [row.model_copy(update={"split": split}) for row, split in zip(rows_of(corpus, "tracks"), ("train", "valid"), strict=True)]
    pairs[1] = resealed(pairs[1], split="valid")
    strange = next(stem for stem in stems if stem.track_id == tracks[1].id)
    pairs[0] = resealed(pairs[0], inputs=(Signal(name="drums", branches=(Branch(source_id=strange.id),)), *pairs[0].inputs[1:]))
    replace(corpus, "tracks", tracks)
    replace(corpus, "pairs", pairs)
    problems = [problem.what for problem in check_corpus(corpus, songs) if problem.table == "pairs" and "is in" in problem.what]
    assert problems == [f"is in train, its source {strange.id} in valid"]


@pytest.mark.parametrize(("source", "level"), [("folder", "error"), ("musdb18", "warning")])
def test_artist_in_two_splits_is_an_error_unless_so_published(corpus, songs, source, level):
    tracks = [track.model_copy(update={"source": source}) for track in rows_of(corpus, "tracks")]
    tracks[1] = tracks[1].model_copy(update={"artist": f"{tracks[0].artist.upper()} feat. X", "split": "test"})
    replace(corpus, "tracks", tracks)
    pair_problem, artist_problem = (found for found in check_corpus(corpus, songs) if "no fingerprint" not in found.what)
    assert pair_problem == CheckProblem(table="pairs", row_id=rows_of(corpus, "pairs")[1].id, what="is in train, its track in test")
    assert artist_problem.level == level
    assert artist_problem.what.startswith(f"artist {tracks[0].artist!r} is in test and train")


def test_example_of_other_length_than_planned_is_found(corpus, songs):
    pairs = rows_of(corpus, "pairs")
    examples = rows_of(corpus, "examples")
    longer = resealed(pairs[0], num_frames=FRAMES + 1)
    examples[0] = resealed(examples[0], pair_id=longer.id)
    replace(corpus, "pairs", [longer, *pairs[1:]])
    replace(corpus, "examples", examples)
    problems = check_corpus(corpus, songs)
    assert {problem.what for problem in problems} == {f"has {FRAMES} frames at 44100 Hz; its pair plans {FRAMES + 1} at 44100 Hz"}
    assert {problem.file for problem in problems} == {file.audio.path for file in examples[0].signals}


def test_example_of_other_signals_than_planned_is_found(corpus, songs):
    examples = rows_of(corpus, "examples")
    examples[0] = resealed(examples[0], signals=examples[0].signals[1:])
    replace(corpus, "examples", examples)
    problems = check_corpus(corpus, songs)
    assert [problem.what.split(";")[0] for problem in problems] == [
        "has the signals [('input', 'bass'), ('target', 'mix')]",
        "no row names this file and no stage touches it. Move it away if other programs read the dataset folder",
    ]


def test_pair_without_example_is_a_warning_and_no_error(corpus, songs):
    pairs, examples = rows_of(corpus, "pairs"), rows_of(corpus, "examples")
    for file in examples[1].signals:
        (corpus / file.audio.path).unlink()
    replace(corpus, "examples", examples[:1])
    problems = check_corpus(corpus, songs)
    assert [(problem.row_id, problem.what) for problem in problems] == [
        (pairs[1].id, "was neither rendered nor rejected; run the build again")
    ]
    assert errors(problems) == []
    replace(corpus, "rejected", [seal(Rejected, stage="render", row_id=pairs[1].id, subject="mix", reason="too quiet")])
    assert check_corpus(corpus, songs) == []


@pytest.mark.parametrize("name", ["pairs", "examples"])
def test_tables_of_the_dataset_that_differ_are_found(corpus, songs, name):
    path, row_type = corpus / "dataset" / f"{name}.parquet", {"pairs": WrittenPair, "examples": Example}[name]
    table.write(path, table.read(path, row_type)[:1], row_type)
    (problem,) = check_corpus(corpus, songs)
    assert (problem.file, problem.what) == (
        f"dataset/{name}.parquet",
        f"differs from the corpus's {name}.parquet; run render again",
    )
    (corpus / "dataset" / f"{name}.parquet").unlink()
    (problem,) = check_corpus(corpus, songs)
    assert problem.what == "is missing; run render again"


def retitled(pair: WrittenPair) -> WrittenPair:
    return pair.model_copy(update={"sources": tuple(source.model_copy(update={"title": "Other"}) for source in pair.sources)})


def turned_up(pair: WrittenPair) -> WrittenPair:
    (use,) = pair.inputs[0].branches[0].chain
    louder = use.model_copy(update={"settings": {**use.settings, "gain_db": 3.0}})
    branch = pair.inputs[0].branches[0].model_copy(update={"chain": (louder,)})
    return pair.model_copy(update={"inputs": (pair.inputs[0].model_copy(update={"branches": (branch,)}), *pair.inputs[1:])})


@pytest.mark.parametrize("change", [retitled, turned_up, lambda pair: pair.model_copy(update={"beats_s": (0.5,)})])
def test_a_row_of_the_dataset_that_differs_from_the_corpus_is_found(corpus, songs, change):
    path = corpus / "dataset" / "pairs.parquet"
    first, *others = table.read(path, WrittenPair)
    table.write(path, [change(first), *others], WrittenPair)
    (problem,) = check_corpus(corpus, songs)
    assert (problem.table, problem.file) == ("pairs", "dataset/pairs.parquet")
    assert problem.what == "differs from the corpus's pairs.parquet; run render again"


def test_interrupted_stage_and_its_leftovers_are_found(corpus, songs):
    (corpus / "examples.jsonl.part").touch()
    leftover = a_file(corpus, "dataset/*/*/*/input_drums.flac").with_name(".target_mix.flac.77.part")
    leftover.touch()
    writing.save(corpus / "stems" / "x" / ".separating" / "drums.flac", np.zeros((1, 10), np.float32), 44_100)
    (corpus / "dataset" / ".DS_Store").touch()
    (corpus / "dataset" / "._a.flac").touch()
    assert [problem.file for problem in check_corpus(corpus, songs)] == [
        "examples.jsonl.part",
        "stems/x/.separating/drums.flac",
        leftover.relative_to(corpus).as_posix(),
    ]


@pytest.mark.parametrize("path", ["stems/more.flac", "dataset/train/mix/extra/input_drums.wav"])
def test_file_that_no_row_names_is_found(corpus, songs, path):
    writing.save(corpus / path, np.zeros((1, 10), np.float32), 44_100)
    (problem,) = check_corpus(corpus, songs)
    assert (problem.file, problem.what.split(";")[0].split(" and ")[0]) == (path, "no row names this file")


def remade(corpus: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Changes one stem of the first track, and its row with it: everything fits but the sum."""
    stems = rows_of(corpus, "stems")
    index = next(index for index, stem in enumerate(stems) if stem.name == name)
    samples, rate = decoding.load(corpus / stems[index].audio.path)
    stems[index] = resealed(stems[index], audio=written(corpus, stems[index].audio.path, change(samples), rate))
    for file in ("estimates", "pairs", "examples"):
        (corpus / f"{file}.parquet").unlink()
    shutil.rmtree(corpus / "dataset")
    table.write(corpus / "stems.parquet", stems, Stem)


@pytest.mark.parametrize("gain_error_db", [0.01, -3.0])
def test_stem_on_another_scale_breaks_the_sum(corpus, songs, gain_error_db):
    remade(corpus, "drums", lambda samples: samples * np.float32(db_to_gain(gain_error_db)))
    (problem,) = check_corpus(corpus, songs)
    assert problem.table == "stems"
    assert "drums, bass, other, vocals, residual differ from the mixture by -" in problem.what
    assert check_corpus(corpus, songs)[0].row_id == rows_of(corpus, "tracks")[0].id


def test_shifted_stem_breaks_the_sum(corpus, songs):
    remade(corpus, "bass", lambda samples: np.roll(samples, 1, axis=1))
    assert "differ from the mixture" in check_corpus(corpus, songs)[0].what


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded."""
    seen, blocks = [], decoding.blocks
    monkeypatch.setattr(sums.decoding, "blocks", lambda place, *rest, **how: seen.append(place.name) or blocks(place, *rest, **how))
    return seen


def test_a_sum_is_measured_once_for_the_same_bytes_wherever_they_are(corpus, songs, decoded, tmp_path):
    proofs = tmp_path / "cache" / "sums.txt"
    assert check_corpus(corpus, songs, proofs=Proofs(proofs)) == []
    assert {*(f"{name}.flac" for name in (*STEM_NAMES, RESIDUAL)), "mixture.wav"} <= {*decoded}
    decoded.clear()
    moved = corpus.rename(tmp_path / "moved")
    assert check_corpus(moved, songs, proofs=Proofs(proofs)) == []
    assert not {name for name in decoded if name == "mixture.wav" or name.endswith(".flac")}
    assert check_corpus(moved, songs) == []
    assert decoded.count("mixture.wav") == 2


def test_changed_bytes_are_found_whatever_was_proved(corpus, songs, decoded, tmp_path):
    proofs = tmp_path / "sums.txt"
    check_corpus(corpus, songs, proofs=Proofs(proofs))
    path = a_file(corpus, "stems/reference/*/bass.flac")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "changed after it was written" in check_corpus(corpus, songs, proofs=Proofs(proofs))[0].what
    path.write_bytes(whole)
    remade(corpus, "bass", lambda samples: np.roll(samples, 1, axis=1))  # and its row: its checksum is right
    decoded.clear()
    for _ in range(2):  # what is wrong is no proof
        assert "differ from the mixture" in check_corpus(corpus, songs, proofs=Proofs(proofs))[0].what
    assert decoded.count("mixture.wav") == 2  # of the one track twice, and of the other never


@pytest.mark.parametrize("damage", [b"", b"\xff\x00", b"0123", b"0123456789abcdef0\nx\n"])
def test_proofs_that_cannot_be_read_prove_nothing(corpus, songs, decoded, tmp_path, damage):
    proofs = tmp_path / "sums.txt"
    proofs.write_bytes(damage)
    assert check_corpus(corpus, songs, proofs=Proofs(proofs)) == []
    assert decoded.count("mixture.wav") == 2


def test_missing_stem_breaks_the_sum(corpus, songs):
    stems = rows_of(corpus, "stems")
    gone = next(stem for stem in stems if stem.name == STEM_NAMES[0])
    remade(corpus, "bass", lambda samples: samples)
    (corpus / gone.audio.path).unlink()
    table.write(corpus / "stems.parquet", [stem for stem in rows_of(corpus, "stems") if stem.id != gone.id], Stem)
    (problem,) = check_corpus(corpus, songs)
    assert problem.what.startswith("bass, other, vocals, residual differ from the mixture")


def test_stems_of_other_length_are_found(corpus, songs):
    def shortened(stem: Stem) -> Stem:
        samples, rate = decoding.load(corpus / stem.audio.path)
        return resealed(stem, audio=written(corpus, stem.audio.path, samples[:, :-10], rate))

    remade(corpus, "bass", lambda samples: samples)
    stems = [shortened(stem) if stem.gain_db == 0.0 else stem for stem in rows_of(corpus, "stems")]
    table.write(corpus / "stems.parquet", stems, Stem)
    (problem,) = check_corpus(corpus, songs)
    assert problem.what == "its stems and its mixture differ in length: they reach frames 44090 and 44100 at 44100 Hz"


def test_limit_of_the_sum_is_far_above_rounding(made):
    corpus, songs = made
    for track in rows_of(corpus, "tracks"):
        stems = [stem for stem in rows_of(corpus, "stems") if stem.track_id == track.id]
        total = sum(decoding.load(corpus / stem.audio.path)[0].astype(np.float64) for stem in stems)
        wanted = resampling.resample(decoding.load(songs / track.audio.path)[0], 44_100, stems[0].audio.sample_rate)
        error = np.abs(total / db_to_gain(stems[0].gain_db) - wanted).max()
        assert gain_to_db(float(error)) < CLOSURE_LIMIT_DBFS - 30


def test_changed_song_is_found(corpus, songs):
    path = min(songs.iterdir()) / "mixture.wav"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (problem,) = check_corpus(corpus, songs)
    assert (problem.table, problem.file) == ("tracks", path.relative_to(songs).as_posix())
    assert "changed since it was cataloged" in problem.what


@pytest.mark.parametrize("gone", [True, False])
def test_without_the_songs_a_warning_says_that_sums_are_not_measured(made, tmp_path, gone):
    (problem,) = check_corpus(made[0], tmp_path / "gone" if gone else None)
    assert problem.level == "warning"
    assert "sources and sums of stems were not checked (2 tracks)" in problem.what


def test_folder_that_is_no_corpus_is_named(tmp_path):
    (problem,) = check_corpus(tmp_path)
    assert "no tables found; expected a corpus folder" in problem.what
    assert [problem.file for problem in check_dataset(tmp_path)] == ["pairs.parquet", "examples.parquet"]


def test_damage_is_found_in_a_dataset_outside_its_corpus(made, tmp_path):
    shutil.copytree(made[0] / "dataset", tmp_path / "moved")
    path = a_file(tmp_path / "moved", "*/*/*/input_drums.flac")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    a_file(tmp_path / "moved", "*/*/*/target_mix.wav").rename(tmp_path / "moved" / "stray.wav")
    stray = "no row names this file and no stage touches it. Move it away if other programs read the dataset folder"
    whats = [problem.what.split(";")[0] for problem in check_dataset(tmp_path / "moved")]
    assert whats == ["its content changed after it was written (SHA-256 differs)", "is missing", stray]


def test_nan_in_a_float_file_is_found_although_its_row_fits(corpus, songs):
    examples = rows_of(corpus, "examples")
    file = next(file for file in examples[1].signals if file.role == "target")
    path = corpus / file.audio.path
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32("nan").tobytes()
    path.write_bytes(data)
    fitting = file.model_copy(update={"audio": file.audio.model_copy(update={"sha256": file_sha256(path)})})
    examples[1] = resealed(examples[1], signals=tuple(fitting if other == file else other for other in examples[1].signals))
    replace(corpus, "examples", examples)
    (problem,) = check_corpus(corpus, songs)
    assert (problem.file, problem.what) == (file.audio.path, "contains NaN or infinite samples")
