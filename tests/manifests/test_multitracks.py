"""Multitracks with stems of any names, from their folders to what a loader gives: drums, beats, and stems of two songs together."""

import numpy as np
import pytest
from conftest import write_song_file
from test_tempo import MAJOR, cadence, clicks

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.stages import run_catalog, run_estimate, run_plan, run_render, run_separate
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.catalog.listing import find
from stemwright.manifests.catalog.multitracks import stem_name
from stemwright.manifests.check import check_corpus
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Estimate, Track, TrackEstimate

RATE = 44_100
ROOM = 0.02  # what the mixture of a song has besides its stems


def song(folder, tempo_bpm, tonic, *, extra=()):
    """A folder with a mixture and the stems kick, snare and overheads, at a tempo and, in the overheads, a key."""
    kick, _ = clicks(tempo_bpm, duration_s=8.0, sample_rate=RATE)
    snare = 0.3 * np.roll(kick, RATE // 20, axis=1)
    overheads = np.concatenate([cadence(tonic, MAJOR, sample_rate=RATE), 0.8 * cadence(tonic, MAJOR, sample_rate=RATE)])
    parts = {"Kick": 0.1 * kick, "Snare Top": 0.1 * snare, "Overheads": overheads, **dict.fromkeys(extra, 0.1 * overheads)}
    for name, part in parts.items():
        write_song_file(folder / f"{name}.wav", np.asarray(part, np.float32))
    mixture = sum(np.broadcast_to(part, overheads.shape) for part in parts.values())
    write_song_file(folder / "mix.wav", ((1 + ROOM) * mixture).astype(np.float32))


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multitracks")
    song(folder / "One - First", 100.0, 0)
    song(folder / "Two - Second", 108.0, 2)
    return folder


@pytest.fixture(scope="module")
def corpus(songs, tmp_path_factory):
    """Both songs up to their stems; every test plans and renders what it likes."""
    made = Corpus(tmp_path_factory.mktemp("corpus"))
    made.create(configured(songs))
    run_catalog(made, Workers())
    run_separate(made)
    return made


def configured(songs, **pairs):
    kinds = {"mix": {"per_track": 0}, "removal": {"per_track": 0}}
    chosen = {"folder": str(songs), "kind": "multitracks", "shares": {"train": 1.0, "valid": 0.0, "test": 0.0}}
    return check({"songs": chosen, "pairs": {"duration_s": 2.0, **kinds, **pairs}}, where="test")


def test_stems_are_named_after_their_files(corpus):
    for track in corpus.rows("tracks", Track):
        assert [stem.name for stem in track.references] == ["kick", "overheads", "snare_top"]
    assert stem_name("03 Hi-Hat (L).wav") == "03_hi_hat_l"


def test_a_folder_without_a_mixture_or_with_one_name_twice_is_refused_with_the_reason(tmp_path):
    audio = np.zeros((1, 100), np.float32)
    for name in ("a/kick.wav", "b/mix.wav", "c/mix.wav", "c/Hi-Hat.wav", "c/hi_hat.wav", "d/mixture.wav", "d/residual.wav"):
        write_song_file(tmp_path / name, audio)
    found = find(tmp_path, kind="multitracks")
    assert not found.candidates
    reasons = dict(found.refused)
    assert reasons["a"].endswith("got 1 file, none of them named mixture or mix")
    assert reasons["b"].endswith("got only mix.wav")
    assert "stems would be named hi_hat, hi_hat; expected different names" in reasons["c"]
    assert "not empty and not 'residual'" in reasons["d"]


def test_a_line_of_a_csv_may_name_the_folder_of_a_multitrack(songs):
    (songs / "list.csv").write_text("path,artist,rights\nOne - First,The One,CC-BY-4.0\n")
    (candidate,) = find(songs / "list.csv").candidates
    (songs / "list.csv").unlink()
    assert [name for name, _, _ in candidate.references] == ["kick", "overheads", "snare_top"]
    assert (candidate.path, candidate.artist, candidate.rights) == ("One - First/mix.wav", "The One", "CC-BY-4.0")


def test_tempo_is_estimated_only_where_a_recipe_needs_it_and_once(corpus, songs):
    corpus.create(configured(songs, mix={"preset": "drums"}))
    first = run_estimate(corpus, Workers())
    assert not corpus.table("track_estimates").exists()
    corpus.create(configured(songs, mix={"preset": "drums", "align": "beats"}))
    second, third = run_estimate(corpus, Workers()), run_estimate(corpus, Workers())
    assert [(run.done, run.skipped, run.rejected) for run in (first, second, third)] == [(2, 0, 0), (2, 0, 0), (0, 2, 0)]
    rows = corpus.rows("track_estimates", TrackEstimate)
    titles = {track.id: track.title for track in corpus.rows("tracks", Track)}
    assert {titles[row.track_id]: row.key for row in rows} == {"First": "C major", "Second": "D major"}
    tempos = {titles[row.track_id]: row.tempo_bpm for row in rows}
    assert tempos == {"First": pytest.approx(100, rel=0.01), "Second": pytest.approx(108, rel=0.01)}
    assert all(row.peak_dbfs is not None for row in corpus.rows("estimates", Estimate))
    before = corpus.table("track_estimates").read_bytes()
    corpus.table("track_estimates").unlink()
    run_estimate(corpus, Workers())
    assert corpus.table("track_estimates").read_bytes() == before


def test_planning_without_the_table_gives_an_error_with_the_command_that_makes_it(corpus, songs):
    corpus.create(configured(songs, remix={"per_track": 1}))
    corpus.table("track_estimates").unlink(missing_ok=True)
    with pytest.raises(CorpusError, match=r"track_estimates.parquet is missing, which the recipes.* need; make it with: stem"):
        run_plan(corpus)


def test_drums_reach_the_loader_as_eight_inputs_of_which_the_missing_are_silent_and_masked(corpus, songs):
    corpus.create(configured(songs, mix={"preset": "drums", "target": "released", "per_track": 2}))
    for stage in (run_estimate, run_plan, run_render):
        summary = stage(corpus) if stage is run_plan else stage(corpus, Workers())
        assert not summary.rejected
    assert not [problem.what for problem in check_corpus(corpus.folder, songs) if problem.level == "error"]
    dataset = PairDataset(corpus.dataset, kind="mix", split="all")
    assert len(dataset) == 4
    inputs, targets, mask = dataset[0]
    names = [signal.name for signal in dataset.pair(0).inputs]
    present = {"kick", "snare", "overhead_l", "overhead_r"}
    assert [name for name, there in zip(names, mask, strict=True) if there] == [name for name in names if name in present]
    assert not inputs[~mask].any()
    assert bool((inputs[mask].abs().amax((-2, -1)) > 0.01).all())
    assert targets.shape == (1, 2, 2 * RATE)


def test_songs_that_match_are_joined_with_their_first_beats_together(corpus, songs):
    corpus.create(configured(songs, remix={"per_track": 2}))
    run_estimate(corpus, Workers())
    assert not run_plan(corpus).rejected
    assert not run_render(corpus, Workers()).rejected
    assert not [problem.what for problem in check_corpus(corpus.folder, songs) if problem.level == "error"]
    beats = {row.track_id: np.array(row.beats_s) for row in corpus.rows("track_estimates", TrackEstimate)}
    track_of = dict(zip(table.column(corpus.table("stems"), "id"), table.column(corpus.table("stems"), "track_id"), strict=True))
    for pair in corpus.rows("pairs", Pair):
        taken = {track_of[signal.branches[0].source_id] for signal in pair.inputs}
        assert len(taken) == 2
        for signal in pair.inputs:
            start_s = (pair.start_frame + signal.branches[0].offset_frames) / RATE
            assert np.abs(beats[track_of[signal.branches[0].source_id]] - start_s).min() < 1 / RATE
    dataset = PairDataset(corpus.dataset, kind="remix", split="all")
    inputs, targets, _ = dataset[0]
    np.testing.assert_allclose(inputs.sum(0), targets[0], atol=1e-5)
