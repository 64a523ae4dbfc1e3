import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rows import corpus_rows, knowledge_of
from test_build import assert_same_corpus
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.pairs.audibility import ALIKE, distance_below
from stemwright.datagen.pairs.plan import generator, material_of, materials_of, plan_pairs
from stemwright.datagen.pairs.recipes import RECIPES
from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import rendering
from stemwright.datagen.run.stages.redrawing import ATTEMPTS, Redraws
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.check import check_corpus
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Estimate, Normalisation, Rejected, Stem, Track, TrackEstimate, seal

ONE, TWO = Workers(1), Workers(2)


def configured(songs: Path, highest_db: float = 0.02, redraw_below: float = 1e-3):
    """Pairs whose wet and dry differ by a fader alone, which is inaudible where it moves by less than some 0.007 dB."""
    ranges = {"fader": {"gain_db": [0.0, highest_db], "pan": 0.0}}
    removal = {"per_track": 5, "effects": ["fader"], "removed": [1, 1], "kept": [0, 0], "ranges": ranges, "redraw_below": redraw_below}
    removal["min_change_db"] = -120.0
    return check(
        {"seed": 3, "songs": {"folder": str(songs)}, "pairs": {"duration_s": 0.5, "mix": {"per_track": 1}, "removal": removal}},
        where="test",
    )


def prepared(folder: Path, config) -> Corpus:
    corpus = Corpus(folder)
    corpus.create(config)
    stages.run_catalog(corpus, ONE)
    stages.run_separate(corpus)
    stages.run_estimate(corpus, ONE)
    stages.run_plan(corpus)
    return corpus


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    from conftest import make_song, write_song_file

    folder = tmp_path_factory.mktemp("songs")
    for index in range(2):
        for stem, audio in make_song(index, 2.0).items():
            write_song_file(folder / "train" / f"Artist {index} - Title {index}" / f"{stem}.wav", audio)
    (folder / "test").mkdir()
    return folder


@pytest.fixture(scope="module")
def ready(songs, tmp_path_factory):
    """A corpus up to its plan, whose pairs will be alike almost every other time."""
    return prepared(tmp_path_factory.mktemp("ready") / "corpus", configured(songs))


@pytest.fixture
def planned_corpus(ready, tmp_path):
    return Corpus(shutil.copytree(ready.folder, tmp_path / "corpus"))


@pytest.fixture(scope="module")
def corpus(ready, tmp_path_factory):
    """The same, rendered."""
    made = Corpus(shutil.copytree(ready.folder, tmp_path_factory.mktemp("rendered") / "corpus"))
    made.summary = stages.run_render(made, ONE)
    return made


def refused(corpus: Corpus) -> dict:
    return {row.row_id: row for row in corpus.rejected() if row.stage == "render"}


def redrawn(corpus: Corpus) -> list[Pair]:
    return table.read(corpus.table("redraws"), Pair)


def test_the_distance_is_that_of_auraloss_up_to_the_limit(synthetic_song):
    from auraloss.freq import MultiResolutionSTFTLoss

    dry = synthetic_song["vocals"][:, :30_000].copy()
    for scale in (1.0, 1.0001, 1.01, 0.5):
        wet = dry * np.float32(scale)
        expected = float(MultiResolutionSTFTLoss()(torch.from_numpy(wet)[None], torch.from_numpy(dry)[None]))
        assert distance_below(wet, dry, 10.0) == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert (distance_below(wet, dry, 1e-3) is None) == (expected >= 1e-3)


def test_a_part_of_the_frames_never_counts_for_more_than_the_whole(synthetic_song):
    from auraloss.freq import MultiResolutionSTFTLoss

    from stemwright.datagen.pairs.audibility import share_of_middle

    loss = MultiResolutionSTFTLoss().stft_losses[1]
    rng = np.random.default_rng(0)
    for length in (2_048, 5_000, 60_000):
        dry = synthetic_song["vocals"][:, :length].copy()
        quiet = dry.copy()
        quiet[:, : length // 3] = 0.0
        for wet in (dry * np.float32(0.99), quiet, (dry + 1e-4 * rng.standard_normal(dry.shape)).astype(np.float32)):
            one, other = torch.from_numpy(wet), torch.from_numpy(dry)
            logs = [loss.stft(signal)[0].log() for signal in (one, other)]
            assert 0.0 <= share_of_middle(loss, one, other) <= float((logs[0] - logs[1]).abs().mean())
        assert (share_of_middle(loss, one, other) > 0.0) == (length > 5_000)


def test_excerpts_shorter_than_a_window_have_a_distance(synthetic_song):
    dry = synthetic_song["drums"][:, :600].copy()
    assert distance_below(dry, dry, 1e-3) == 0.0
    assert distance_below(dry * np.float32(0.5), dry, 1e-3) is None


def test_a_mono_dry_is_compared_with_both_channels_of_a_wet(synthetic_song):
    dry = synthetic_song["drums"][:1, :30_000].copy()
    assert distance_below(np.repeat(dry, 2, axis=0), dry, 1.0) == 0.0


def test_every_pair_that_is_alike_is_refused_and_replaced_by_one_that_is_not(corpus):
    planned = {pair.id: pair for pair in corpus.rows("pairs", Pair)}
    again = {pair.id: pair for pair in redrawn(corpus)}
    rows = refused(corpus)
    assert 3 <= len(again) <= 30
    assert len(rows) == len(again)
    for row in rows.values():
        assert row.reason.startswith(ALIKE)
        assert "expected at least 0.001" in row.reason
        assert row.replaced_by in row.reason
        replacement, replaced = again[row.replaced_by], {**planned, **again}[row.row_id]
        assert replacement.redraw_of == replaced.id
        for column in ("kind", "number", "track_id", "split", "num_frames", "redraw_below"):
            assert getattr(replacement, column) == getattr(replaced, column)
    examples = {example.pair_id for example in corpus.rows("examples", Example)}
    assert examples == {*planned, *again} - {*rows}
    assert len(examples) == len(planned)  # nothing is missing in the end
    assert corpus.summary.rejected == 0
    assert any("drawn again" in note for note in corpus.summary.notes)


def test_replacements_are_drawn_by_the_recipe_with_the_attempt_in_the_key(corpus):
    planned = {pair.id for pair in corpus.rows("pairs", Pair)}
    tracks = {track.id: track for track in corpus.rows("tracks", Track)}
    stems = corpus.rows("stems", Stem)
    estimates = {row.stem_id: row for row in corpus.rows("estimates", Estimate)}
    for pair in redrawn(corpus):
        if pair.redraw_of in planned:
            own = [stem for stem in stems if stem.track_id == pair.track_id]
            material = material_of(tracks[pair.track_id], own, estimates, corpus.config.pairs)
            drawn = RECIPES["removal"].draft(material, corpus.config.pairs.removal, generator(3, pair.track_id, "removal", pair.number, 1))
            assert (pair.start_frame, pair.inputs, pair.targets) == (drawn.start_frame, drawn.inputs, drawn.targets)


def test_replaced_pairs_are_reported_and_do_not_fail_the_command(corpus):
    done = CliRunner().invoke(app, ["render", str(corpus.folder)])
    assert done.exit_code == 0, done.output
    assert f"{len(redrawn(corpus))} pairs whose wet and dry sounded alike were drawn again" in done.stdout
    assert done.stdout.rstrip().endswith("0 rejected")
    said = json.loads(CliRunner().invoke(app, ["render", str(corpus.folder), "--json"]).stdout)
    assert {row["replaced_by"] for row in said["rejected"]} == {pair.id for pair in redrawn(corpus)}


def test_nothing_is_drawn_by_another_configuration_than_the_pairs_were(songs, planned_corpus):
    longer = configured(songs).model_dump(mode="json")
    longer["pairs"]["duration_s"] = 0.6
    planned_corpus.create(check(longer, where="test"))
    stages.run_render(planned_corpus, ONE)
    assert redrawn_or_none(planned_corpus) == []
    assert all(
        "the configuration has changed since the pairs were planned; run plan again" in row.reason
        for row in refused(planned_corpus).values()
    )

    planned_corpus.create(configured(songs))  # the configuration that the pairs were planned with is back
    assert stages.run_render(planned_corpus, ONE).rejected == 0
    assert redrawn(planned_corpus)


@pytest.mark.parametrize(
    "section", [{"remix": {"per_track": 2}}, {"mix": {"per_track": 2, "align": "beats"}}, {"mix": {"per_track": 2, "inputs": "normalised"}}]
)
def test_a_replacement_is_drawn_from_all_that_its_pair_was_drawn_from(section, tmp_path):
    rows = corpus_rows(6)
    known = knowledge_of(*rows[:2])
    corpus = Corpus(tmp_path / "corpus")
    corpus.create(
        check({"seed": 3, "pairs": {"duration_s": 4.0, "mix": {"per_track": 0}, "removal": {"per_track": 0}, **section}}, where="test")
    )
    for name, each, kind in (
        ("tracks", rows[0], Track),
        ("stems", rows[1], Stem),
        ("estimates", rows[2], Estimate),
        ("normalisations", known.normalisations, Normalisation),
        ("track_estimates", known.track_estimates, TrackEstimate),
    ):
        table.write(corpus.table(name), each, kind)
    pairs = plan_pairs(corpus.config, *rows, optional_rows=known).pairs
    (kind,) = section
    assert {pair.kind for pair in pairs} == {kind}

    refused_rows = [seal(Rejected, stage="render", row_id=pair.id, subject=pair.id, reason=ALIKE) for pair in pairs]
    redraws = Redraws(corpus, corpus.config)
    drawn = redraws.next_round(pairs, refused_rows)
    assert [row.reason for row in redraws.rejected if row.replaced_by is None] == []
    materials, _ = materials_of(corpus.config.pairs, *rows, optional_rows=known)
    by_track = {material.track.id: material for material in materials}
    for pair, again in zip(pairs, drawn, strict=True):
        rng = generator(3, pair.track_id, kind, pair.number, 1)
        wanted = RECIPES[kind].draft(by_track[pair.track_id], getattr(corpus.config.pairs, kind), rng)
        assert (again.start_frame, again.inputs, again.targets) == (wanted.start_frame, wanted.inputs, wanted.targets)


def redrawn_or_none(corpus):
    return redrawn(corpus) if corpus.table("redraws").exists() else []


def test_the_order_in_which_workers_are_done_does_not_show(planned_corpus):
    config, pairs = planned_corpus.config, [pair for pair in planned_corpus.rows("pairs", Pair) if pair.kind == "removal"][:4]
    rows = [seal(Rejected, stage="render", row_id=pair.id, subject=pair.id, reason=ALIKE) for pair in pairs]
    one, other = (Redraws(planned_corpus, config) for _ in range(2))
    assert one.next_round(pairs, rows) == other.next_round(pairs, rows[::-1])
    assert one.rejected == other.rejected


def test_what_was_rendered_is_audible_as_measured_on_the_files(corpus):
    data = PairDataset(corpus.dataset, kind="removal", split="all")
    for item in data:
        assert distance_below(item.inputs[0].numpy(), item.targets[0].numpy(), 0.99e-3) is None


def test_check_and_readers_see_pairs_and_their_replacements(corpus):
    assert check_corpus(corpus.folder, corpus.songs) == []
    data = PairDataset(corpus.dataset, kind="removal", split="all")
    again = {pair.id for pair in redrawn(corpus)}
    assert any(data.pair(number).id in again for number in range(len(data)))


def test_a_second_start_renders_nothing_and_changes_no_file(corpus):
    def state():
        return {path: path.stat().st_mtime_ns for path in corpus.folder.rglob("*") if path.is_file()}

    before = state()
    summary = stages.run_render(corpus, ONE)
    assert (summary.done, summary.skipped, summary.rejected) == (0, len(corpus.ids("examples")), 0)
    assert state() == before


def test_two_processes_and_a_resumed_run_give_the_same_bytes(corpus, planned_corpus, monkeypatch):
    other = planned_corpus
    wanted = iter(range(10))

    def interrupted(*arguments):
        if next(wanted) == 6:
            raise KeyboardInterrupt
        return genuine(*arguments)

    genuine = rendering._signals
    monkeypatch.setattr(rendering, "_signals", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stages.run_render(other, ONE)
    monkeypatch.undo()
    assert other.journal("examples").exists()
    stages.run_render(other, TWO)
    assert_same_corpus(corpus.folder, other.folder)
    for name in ("redraws", "rejected", "examples"):
        assert corpus.table(name).read_bytes() == other.table(name).read_bytes()


def test_pairs_that_are_always_alike_are_given_up_after_five_attempts_and_are_not_tried_again(songs, planned_corpus):
    corpus = planned_corpus
    corpus.create(configured(songs, highest_db=0.0005))
    stages.run_plan(corpus)
    config = corpus.config
    summary = stages.run_render(corpus, ONE)
    assert len(redrawn(corpus)) == 10 * ATTEMPTS
    assert summary.rejected == 10
    assert sum(row.replaced_by is None for row in refused(corpus).values()) == 10
    assert sum(row.reason.endswith("given up after 5 attempts") for row in refused(corpus).values()) == 10
    assert set(table.column(corpus.dataset / "pairs.parquet", "kind")) == {"mix"}
    assert check_corpus(corpus.folder, corpus.songs) == []
    again = stages.run_render(corpus, ONE)
    assert (again.done, again.skipped, again.rejected) == (0, 2, 10)

    # The threshold is part of the plan: without one the same draws are rendered, and the table of replacements goes.
    values = config.model_dump(mode="json")
    values["pairs"]["removal"]["redraw_below"] = 0.0
    corpus.create(check(values, where="test"))
    stages.run_plan(corpus)
    assert stages.run_render(corpus, ONE).rejected == 0
    assert not corpus.table("redraws").exists()
    assert len(PairDataset(corpus.dataset, kind="removal", split="all")) == 10
    assert check_corpus(corpus.folder, corpus.songs) == []


def test_replacements_are_written_down_before_they_are_rendered(planned_corpus, monkeypatch):
    corpus = planned_corpus
    genuine, unwritten = rendering._signals, []

    def watched(folder, pair, files):
        if pair.redraw_of and pair.id not in table.column(corpus.table("redraws"), "id"):
            unwritten.append(pair.id)
        return genuine(folder, pair, files)

    monkeypatch.setattr(rendering, "_signals", watched)
    stages.run_render(corpus, ONE)
    assert redrawn(corpus)
    assert not unwritten


def test_examples_whose_table_of_replacements_is_missing_are_not_finished(planned_corpus):
    corpus = planned_corpus
    stages.run_render(corpus, ONE)
    before = corpus.table("redraws").read_bytes()
    corpus.table("redraws").unlink()
    assert any("pair_id" in problem.what for problem in check_corpus(corpus.folder, corpus.songs))
    stages.run_render(corpus, ONE)
    assert corpus.table("redraws").read_bytes() == before
