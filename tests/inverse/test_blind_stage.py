"""The estimate stage with effects: a corpus of short songs, its profile, and what is relative to it."""

import shutil

import numpy as np
import pytest

from stemwright.datagen.inverse.blind.profile import Profile
from stemwright.datagen.inverse.blind.track_effects import ProfileFile
from stemwright.datagen.run.configuration import EstimateConfig, check
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.stages import run_catalog, run_estimate, run_separate
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.check import check_corpus, errors
from stemwright.manifests.feature_rows import StemFeatures
from stemwright.manifests.records import Estimate, Normalisation

SONGS = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus of reference stems, catalogued, separated and estimated with effects and normalised inputs."""
    from conftest import STEM_NAMES, make_song, write_song_file

    from stemwright.datagen.run import configuration

    folder = tmp_path_factory.mktemp("blind")
    for index in range(SONGS):
        place = folder / "songs" / ("train" if index < SONGS - 1 else "test") / f"Artist {index} - Title {index}"
        song = make_song(index, 1.5)
        for stem in ("mixture", *STEM_NAMES):
            write_song_file(place / f"{stem}.wav", song[stem])
    corpus = Corpus(folder / "corpus")
    text = f"""
        [songs]
        folder = "{folder / "songs"}"
        [estimate]
        effects = true
        [pairs.mix]
        inputs = "normalised"
    """
    corpus.create(configuration.parse(text))
    run_catalog(corpus, Workers())
    run_separate(corpus)
    summary = run_estimate(corpus, Workers())
    return corpus, summary


def test_the_profile_holds_the_training_songs_alone(made):
    corpus, _ = made
    train = {
        track_id
        for track_id, split in zip(*(table.column(corpus.table("tracks"), name) for name in ("id", "split")), strict=True)
        if split == "train"
    }
    rows = table.read(corpus.table("profile"), StemFeatures)
    assert {row.track_id for row in rows} == train
    assert all(row.simulated for row in rows)
    features = table.read(corpus.table("features"), StemFeatures)
    assert len({row.track_id for row in features}) == SONGS
    assert {bool(row.simulated) for row in features if row.track_id not in train} == {False}


def test_estimates_name_the_profile_and_hold_settings_with_confidence(made):
    from stemwright.datagen.effects import EFFECTS

    corpus, _ = made
    profile = Profile.load(corpus.table("profile"))
    rows = table.read(corpus.table("estimates"), Estimate)
    named = [row for row in rows if row.name != "residual"]
    assert {row.profile for row in named} == {profile.id}
    assert {row.profile for row in rows if row.name == "residual"} <= {None}
    uses = [use for row in named for use in row.effects]
    assert uses
    for use in uses:
        settings = EFFECTS[use.effect].Settings(**use.settings)
        assert (0.0 if use.effect == "compressor" else 0.2) < use.confidence <= 1.0
        assert use.low <= use.value <= use.high
        assert bool(use.settings) == (use.effect != "compressor" or use.low > 0.0)
        assert set(use.derived) <= set(settings.plain())
    assert all(row.seal_id() == row.id for row in rows)


def test_a_normalisation_is_given_or_its_reason(made):
    corpus, summary = made
    rows = table.read(corpus.table("normalisations"), Normalisation)
    refused = [row for row in corpus.rejected() if row.stage == "estimate"]
    assert {row.track_id for row in rows} | {row.row_id for row in refused} == set(table.column(corpus.table("tracks"), "id"))
    assert summary.rejected == len(refused)
    assert {row.profile for row in rows} <= {Profile.load(corpus.table("profile")).id}


def test_the_tables_pass_the_check(made):
    corpus, _ = made
    assert not errors(check_corpus(corpus.folder, corpus.songs))


TABLES = ("features", "profile", "estimates", "normalisations")


def bytes_of(corpus):
    return {name: corpus.table(name).read_bytes() for name in TABLES}


def test_a_second_start_finds_all_done(made):
    corpus, _ = made
    before = bytes_of(corpus)
    assert run_estimate(corpus, Workers()).done == 0
    assert bytes_of(corpus) == before


@pytest.mark.slow  # each worker loads torch
def test_two_workers_give_the_same(made):
    corpus, _ = made
    before = bytes_of(corpus)
    for name in TABLES:
        corpus.table(name).unlink()
    run_estimate(corpus, Workers(jobs=2))
    assert bytes_of(corpus) == before


def test_another_profile_changes_the_ids_of_the_estimates(made):
    from stemwright.datagen.run.track_estimation import cache_key

    corpus, _ = made
    from stemwright.manifests.records import Stem

    stems = table.read(corpus.table("stems"), Stem)[:1]
    assert len({cache_key(stems), cache_key(stems, ProfileFile("a", "0" * 16)), cache_key(stems, ProfileFile("a", "1" * 16))}) == 3
    assert cache_key(stems, ProfileFile("a", "0" * 16)) == cache_key(stems, ProfileFile("b", "0" * 16))


def test_a_profile_that_is_none_is_refused_by_name(made, monkeypatch):
    corpus, _ = made
    config = corpus.config.model_copy(update={"estimate": EstimateConfig(effects=True, profile=str(corpus.table("pairs")))})
    monkeypatch.setattr(Corpus, "config", config)
    before = bytes_of(corpus)
    with pytest.raises(CorpusError, match=r"pairs\.parquet cannot be read.*Give the profile\.parquet of a corpus"):
        run_estimate(corpus, Workers())
    assert bytes_of(corpus) == before


def test_a_profile_of_another_corpus_takes_no_features_of_this_one(made, tmp_path, monkeypatch):
    corpus = Corpus(shutil.copytree(made[0].folder, tmp_path / "copy"))
    profile = Profile.load(corpus.table("profile"))
    few = Profile(row for row in profile.rows if row.track_id == profile.rows[0].track_id)
    few.save(tmp_path / "few.parquet")
    pairs = corpus.config.pairs.model_copy(update={"mix": corpus.config.pairs.mix.model_copy(update={"inputs": "separated"})})
    config = corpus.config.model_copy(
        update={"estimate": EstimateConfig(effects=True, profile=str(tmp_path / "few.parquet")), "pairs": pairs}
    )
    monkeypatch.setattr(Corpus, "config", config)
    summary = run_estimate(corpus, Workers())
    assert "fewer than 3 songs" in summary.notes[0]
    rows = table.read(corpus.table("estimates"), Estimate)
    assert all(row.effects == () for row in rows)
    assert {row.profile for row in rows if row.name != "residual"} == {few.id}
    assert np.isfinite([row.loudness_lufs for row in rows if row.name == "bass"]).all()


def test_tables_that_are_not_needed_are_set_aside_and_found_again(made, tmp_path, monkeypatch):
    corpus, _ = made
    shutil.copytree(corpus.folder, tmp_path / "copy")
    copy, asked = Corpus(tmp_path / "copy"), corpus.config
    features = copy.table("features").read_bytes()
    plain = asked.model_copy(update={"estimate": asked.estimate.model_copy(update={"effects": False}), "pairs": check({}, where="").pairs})
    monkeypatch.setattr(Corpus, "config", plain)
    run_estimate(copy, Workers())
    assert not [name for name in ("features", "profile", "normalisations", "track_estimates") if copy.table(name).exists()]
    assert {row.profile for row in table.read(copy.table("estimates"), Estimate)} == {None}
    monkeypatch.setattr(Corpus, "config", asked)
    monkeypatch.setattr(
        "stemwright.datagen.inverse.blind.track_effects.measure_track", lambda *_, **__: pytest.fail("a stem was measured again")
    )
    run_estimate(copy, Workers())
    assert copy.table("features").read_bytes() == features
    assert not (copy.folder / ".unused").exists()


def test_the_report_has_the_estimates_of_each_effect_and_risk_against_coverage(made):
    from stemwright.datagen.report import blind_charts, report_html, rows

    corpus, _ = made
    shown = {each["effect"]: each for each in blind_charts.section(rows.read_rows(corpus))}
    estimates = [row for row in table.read(corpus.table("estimates"), Estimate) if row.name != "residual"]
    assert shown.keys() == {use.effect for row in estimates for use in row.effects}
    for effect, part in shown.items():
        for line in part["rows"]:
            known = [use for row in estimates if row.name == line["name"] for use in row.effects if use.effect == effect]
            assert (line["answered"], line["tried"]) == (len(known), SONGS)
            assert line["nothing"] == sum(not use.settings for use in known)
        assert {"Risk against coverage" in chart for _, chart in part["charts"]} >= {True}
    html = report_html(corpus, num_players=0)
    assert 'href="#blind"' in html
    assert "eq: mean response" in html


def test_stems_of_another_origin_than_those_of_the_profile_are_warned_of(made):
    from stemwright.datagen.edit.estimated_file import unlike_origins

    corpus, _ = made
    assert unlike_origins(corpus.folder, "reference") is None
    said = unlike_origins(corpus.table("profile"), "htdemucs@demucs-4.1.0")
    assert said.startswith("the profile is of stems of the origin reference, and those of this recording are of htdemucs@demucs-4.1.0")
