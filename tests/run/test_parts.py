"""Drums further apart: a further model's parts of the stem ``drums``, from the configuration to pairs that are checked."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_song
from living_corpus import FilterSeparator, build, contents, differences, stub_separator, write_song
from rich.console import Console
from tiny_model import write_tiny_model

import stemwright as sw
from stemwright.datagen.cli.tables import track_balance_table
from stemwright.datagen.run import configuration
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.forecast import forecast
from stemwright.datagen.run.orphans import find_orphans
from stemwright.datagen.run.shares import working
from stemwright.datagen.run.stages import run_catalog, run_separate
from stemwright.datagen.run.stages.readiness import check_separator
from stemwright.datagen.run.stages.separator_order import SeparationOrder
from stemwright.datagen.run.tasks import Share, Workers
from stemwright.manifests import table
from stemwright.manifests.check import check_corpus, errors
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import RESIDUAL, Estimate, Part, Rejected, Stem
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.basis import model_of
from stemwright.separation.balance.track_balance import table_rows
from stemwright.separation.function_separator import FunctionSeparator
from stemwright.separation.part_separator import PartSeparator, part_names

KIT = ("kick", "snare", "toms", "cymbals")
VALUES = {"pairs": {"sample_rate": 8_000, "duration_s": 0.5, "mix": {"per_track": 2, "preset": "drums"}, "removal": {"per_track": 1}}}


def values(place: Path, **separation) -> dict:
    asked = {"model": "one", "limits": {"closure_db": 60.0, "bleed": 1.0}, "drums": {"model": "kit"}, **separation}
    return {**VALUES, "songs": {"folder": str(place / "songs")}, "separation": asked}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus of a stereo and a mono song whose drums are taken apart."""
    place = tmp_path_factory.mktemp("parts")
    for seed in range(2):
        write_song(place / "songs" / f"{seed}.flac", seed, {"artist": f"Artist {seed}"})
    with stub_separator():
        build(place / "corpus", values(place))
    return place


def rows_of(corpus: Path) -> tuple[list[Stem], list[Part]]:
    return table.read(corpus / "stems.parquet", Stem), table.read(corpus / "parts.parquet", Part)


def left_dbfs(corpus: Path, stem: Stem, parts: list[Part]) -> float:
    """The largest sample that the parts leave of their stem, on the mixture's scale."""
    total = sum(load(corpus / part.audio.path)[0].astype(np.float64) / 10 ** (part.gain_db / 20) for part in parts)
    left = load(corpus / stem.audio.path)[0] / 10 ** (stem.gain_db / 20) - total
    return 20 * math.log10(max(float(np.abs(left).max()), 1e-12))


def test_parts_and_their_residual_sum_to_the_stem(made):
    stems, parts = rows_of(made / "corpus")
    drums = [stem for stem in stems if stem.name == "drums"]
    assert len(drums) == 2
    for stem in drums:
        own = [part for part in parts if part.stem_id == stem.id]
        assert [part.name for part in own] == [*KIT, RESIDUAL]
        assert {part.part_of for part in own} == {"drums"}
        assert left_dbfs(made / "corpus", stem, own) < -130


def test_stems_of_a_track_are_what_they_are_without_parts(made, tmp_path):
    with stub_separator():
        build(tmp_path / "corpus", values(made, drums={}))
    assert (tmp_path / "corpus" / "stems.parquet").read_bytes() == (made / "corpus" / "stems.parquet").read_bytes()
    assert not (tmp_path / "corpus" / "parts.parquet").exists()


def test_level_of_parts_is_on_the_scale_of_the_mixture(made):
    corpus = made / "corpus"
    of_stem = {row.track_id: row for row in table.read(corpus / "estimates.parquet", Estimate) if row.name == "drums"}
    gains = dict(zip(KIT, FilterSeparator.MODELS["kit"], strict=True))
    found = [row for row in table.read(corpus / "part_estimates.parquet", Estimate) if row.name != RESIDUAL]
    assert len(found) == 2 * len(KIT)
    for row in found:
        assert row.loudness_lufs - of_stem[row.track_id].loudness_lufs == pytest.approx(20 * math.log10(gains[row.name]), abs=0.1)


def test_drum_pairs_are_made_of_parts_and_others_of_stems(made):
    stems, parts = rows_of(made / "corpus")
    part_of, stem_ids = {part.id: part for part in parts}, {stem.id for stem in stems}
    for pair in table.read(made / "corpus" / "pairs.parquet", Pair):
        sources = {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}
        if pair.kind != "mix":
            assert sources <= stem_ids
            continue
        used = {signal.name: {part_of[branch.source_id].name for branch in signal.branches} for signal in pair.inputs}
        cymbals = {"overhead_l": {"cymbals"}, "overhead_r": {"cymbals"}}
        assert used == {"kick": {"kick"}, "snare": {"snare"}, "tom1": {"toms"}, "hihat": set(), "tom2": set(), "tom3": set(), **cymbals}
        assert {part_of[branch.source_id].name for branch in pair.targets[0].branches} == set(KIT)


def test_released_target_of_drums_is_the_whole_stem(made, tmp_path):
    asked = values(made)
    asked["pairs"] = {**asked["pairs"], "mix": {"per_track": 1, "preset": "drums", "target": "released"}}
    with stub_separator():
        build(tmp_path / "corpus", asked)
    _, parts = rows_of(tmp_path / "corpus")
    (pair, *_) = [pair for pair in table.read(tmp_path / "corpus" / "pairs.parquet", Pair) if pair.kind == "mix"]
    ids = {branch.source_id for branch in pair.targets[0].branches}
    assert ids == {part.id for part in parts if part.track_id == pair.track_id}


def test_check_finds_parts_that_do_not_sum_and_files_that_are_missing(made, tmp_path):
    import shutil

    shutil.copytree(made, tmp_path / "made")
    corpus, songs = tmp_path / "made" / "corpus", tmp_path / "made" / "songs"
    assert errors(check_corpus(corpus, songs)) == []
    _, parts = rows_of(corpus)
    (corpus / parts[0].audio.path).unlink()
    assert any(parts[0].audio.path in problem.file for problem in errors(check_corpus(corpus, songs)))
    shutil.copy(made / "corpus" / parts[0].audio.path, corpus / parts[0].audio.path)
    wrong = [part.model_copy(update={"gain_db": part.gain_db - 1.0}) for part in parts]
    table.write(corpus / "parts.parquet", [part.model_copy(update={"id": part.seal_id()}) for part in wrong], Part)
    assert any("differ from the stem drums" in problem.what for problem in check_corpus(corpus, songs))


def test_second_build_does_nothing_and_another_model_comes_and_goes(made, tmp_path):
    import shutil

    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    before = contents(tmp_path / "corpus")
    with stub_separator() as stub:
        build(tmp_path / "corpus", values(tmp_path))
        assert stub.count == 0
        build(tmp_path / "corpus", values(tmp_path, drums={"model": "kick and snare"}))
        assert stub.count == 2  # the drums of two songs; their stems stay
        build(tmp_path / "corpus", values(tmp_path, drums={}))
        assert not (tmp_path / "corpus" / "parts.parquet").exists()
        assert stub.count == 2
        build(tmp_path / "corpus", values(tmp_path))
        assert stub.count == 2  # both are kept side by side
    after = contents(tmp_path / "corpus")
    assert differences(before, after) == []
    corpus = Corpus(tmp_path / "corpus")
    assert find_orphans(corpus) == []
    kept = {orphan.path.parent.parent.name.partition("-")[0] for orphan in find_orphans(corpus, kept=True) if orphan.kind == "kept"}
    assert "kick_and_snare" in kept
    assert not any(name.startswith("kit") for name in kept)


def test_parts_of_drums_of_two_first_models_are_side_by_side(made, tmp_path):
    import shutil

    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    with stub_separator() as stub:
        build(tmp_path / "corpus", values(tmp_path, model="two"))
        assert stub.count == 4  # two songs, and their drums
        build(tmp_path / "corpus", values(tmp_path))
        assert stub.count == 4
    assert len(list((tmp_path / "corpus" / "stems").glob("kit-*"))) == 2


def test_forecast_counts_drums_that_are_left(made, tmp_path):
    with stub_separator():
        whole = configuration.check(values(made), where="the test")
        (step,) = [step for step in forecast(Corpus(made / "corpus"), whole).steps if step.stage == "drums"]
        assert step.count == 0
        other = configuration.check(values(made, drums={"model": "kick and snare"}), where="the test")
        (step,) = [step for step in forecast(Corpus(made / "corpus"), other).steps if step.stage == "drums"]
        assert step.count == 2
        (step,) = [step for step in forecast(Corpus(tmp_path / "new"), whole).steps if step.stage == "drums"]
        assert step.count == 2


def test_model_without_drums_is_refused_before_anything_is_separated(made, tmp_path):
    asked = configuration.check(values(made, model="kick and snare"), where="the test")
    with (
        stub_separator() as stub,
        pytest.raises(UsageError, match="and kick and snare@filter gives kick, snare"),
    ):
        check_separator(Corpus(tmp_path / "corpus"), SeparationOrder(asked))
    with stub_separator() as stub, pytest.raises(UsageError, match="takes the stem 'drums' apart"):
        build(tmp_path / "corpus", values(made, model="kick and snare"))
    assert stub.count == 0


@pytest.mark.parametrize(
    ("given", "names", "message"),
    [
        (("kick", "drums"), {}, "gives a part called 'drums', which is a stem of a whole mixture"),
        (("kick", "vocals"), {}, "called 'vocals'"),
        (("kick", "residual"), {}, "what parts leave of their stem"),
        (("kick", "kick"), {}, "two parts called 'kick'"),
        (("bombo", "redoblante"), {"bombo": "kick", "redoblante": "kick"}, "two parts called 'kick'"),
        (("kick", "../../etc"), {}, "expected lower-case letters"),
        (("kick", "a" * 500), {}, "expected lower-case letters"),
        (("kick", "Snare Drum"), {}, "names = "),
        (("kick", "snare"), {"bombo": "kick"}, "gives kick, snare; got 'bombo'"),
    ],
)
def test_names_that_cannot_be_those_of_parts_are_refused(given, names, message):
    with pytest.raises(UsageError, match=message):
        part_names(given, names, "a@1")


def test_names_of_the_configuration_replace_those_of_the_model():
    assert part_names(("bombo", "toms"), {"bombo": "kick"}, "a@1") == {"bombo": "kick", "toms": "toms"}


def test_report_shows_the_parts_in_the_mixture_and_within_the_drums(made, tmp_path):
    page = sw.report(made / "corpus", tmp_path / "report.html", players=0).read_text()
    assert "Level of each part in the mixture" in page
    within = page.partition("Level of each part within its stem")[2].partition("</svg>")[0]
    assert all(name in within for name in KIT)
    with stub_separator():
        build(tmp_path / "corpus", values(made, drums={}))
    assert "Drums, taken apart" not in sw.report(tmp_path / "corpus", tmp_path / "whole.html", players=0).read_text()


def test_shares_take_drums_apart_and_are_merged_into_the_same_bytes(made, tmp_path):
    place = Corpus(tmp_path / "corpus")
    with stub_separator() as stub:
        place.create(configuration.check(values(made), where="the test"))
        run_catalog(place, Workers())
        for number in (1, 0):
            with working(place.folder, "separate", Share(number, 2), "config") as (share, _):
                done = run_separate(place, workers=Workers(share=share))
            assert (done.done, done.rejected) == (1, 0)
        assert stub.count == 4  # two songs, and their drums
        run_separate(place)
        assert stub.count == 4
    for name in ("stems", "parts"):
        assert place.table(name).read_bytes() == (made / "corpus" / f"{name}.parquet").read_bytes()


def test_parts_that_do_not_fit_are_refused_and_their_song_stays(made, tmp_path):
    asked = values(made)
    asked["separation"] |= {"limits": {"closure_db": 3.0, "bleed": 1.0}, "drums": {"model": "too loud"}}
    with stub_separator() as stub:
        build(tmp_path / "corpus", asked)
        reasons = [row.reason for row in table.read(tmp_path / "corpus" / "rejected.parquet", Rejected) if row.stage == "separate"]
        assert len(reasons) == 2
        assert all("the parts leave a residual of" in reason for reason in reasons)
        count = stub.count
        build(tmp_path / "corpus", asked)
        assert stub.count == count  # what was refused is not taken apart again to be refused again
    assert len({stem.track_id for stem in rows_of(tmp_path / "corpus")[0]}) == 2
    assert rows_of(tmp_path / "corpus")[1] == []


def test_tracks_without_drums_have_a_note_and_no_parts(tmp_path):
    parts = make_song(3, 1.3, sample_rate=8_000, num_channels=2)
    for song, names in (("with", ("drums", "bass", "other", "vocals")), ("without", ("kick", "bass", "other", "vocals"))):
        (tmp_path / "songs" / song).mkdir(parents=True)
        for name, audio in zip(names, (parts[each] for each in ("drums", "bass", "other", "vocals")), strict=True):
            soundfile.write(tmp_path / "songs" / song / f"{name}.wav", audio.T * (1 if song == "with" else 0.7), 8_000, subtype="PCM_24")
        mixture = parts["mixture"].T * (1 if song == "with" else 0.7)
        soundfile.write(tmp_path / "songs" / song / "mixture.wav", mixture, 8_000, subtype="PCM_24")
    asked = {"songs": {"kind": "multitracks"}, "separation": {"model": "one", "drums": {"model": "kit"}}, **VALUES}
    with stub_separator() as stub:
        done = sw.build(tmp_path / "songs", tmp_path / "corpus", asked)
        assert stub.count == 1
    assert "1 track has no stem 'drums' to take apart" in done.stages[1].notes
    assert errors(done.problems) == []
    assert len({part.track_id for part in rows_of(tmp_path / "corpus")[1]}) == 1


def test_silent_drums_have_silent_parts(tmp_path):
    vocals = np.random.default_rng(0).normal(0, 0.1, (2, 12_000))
    for name, audio in {"drums": vocals * 0, "vocals": vocals, "mixture": vocals}.items():
        sw.save(tmp_path / "songs" / "a" / f"{name}.wav", audio, 8_000)
    asked = {"songs": {"kind": "multitracks"}, "separation": {"model": "one", "drums": {"model": "kit"}}, **VALUES}
    with stub_separator():
        done = sw.build(tmp_path / "songs", tmp_path / "corpus", asked)
    assert (done.stages[1].done, done.stages[1].rejected, errors(done.problems)) == (1, 0, [])
    estimates = table.read(tmp_path / "corpus" / "part_estimates.parquet", Estimate)
    assert {row.loudness_lufs for row in estimates} == {None}


def loud(audio: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """Two parts, one of them far above full scale."""
    del sample_rate
    return {"kick": audio * 8, "snare": audio * -7}


loud.stem_names = ("kick", "snare")  # type: ignore[attr-defined]


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_parts_of_a_model_of_another_rate_sum_to_the_stem_at_its_own(tmp_path, rate, num_channels):
    model = write_tiny_model(tmp_path / "models", "tinykit", seed=3, stems=("bombo", "redoblante", "toms", "platillos"))
    drums = np.random.default_rng(1).normal(0, 0.1, (num_channels, rate)).astype(np.float32)
    sw.save(tmp_path / "drums.flac", drums, rate)
    names = {"bombo": "kick", "redoblante": "snare", "platillos": "cymbals"}
    separator = PartSeparator(sw.DemucsSeparator("tinykit", model, device="cpu", precision="fp32", engine="torch"), names)
    files = separator.separate_file(tmp_path / "drums.flac", tmp_path / "parts")
    assert sorted(files) == ["cymbals", "kick", "residual", "snare", "toms"]
    found = {name: sw.load(path) for name, path in files.items()}
    assert {(audio.shape, each) for audio, each in found.values()} == {(drums.shape, rate)}
    stem, _ = sw.load(tmp_path / "drums.flac")
    total = sum(audio.astype(np.float64) for audio, _ in found.values()) / 10 ** (files.gain_db / 20)
    assert 20 * math.log10(np.abs(total - stem).max() + 1e-12) < -130
    arrays = separator.separate(stem, rate)
    assert {name: audio.shape for name, audio in arrays.items()} == dict.fromkeys(("kick", "snare", "toms", "cymbals"), drums.shape)
    for name, audio in arrays.items():
        np.testing.assert_allclose(found[name][0] / 10 ** (files.gain_db / 20), audio, atol=2e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drums.flac", "models", "parts"]


def test_balance_shows_parts_beneath_their_stem_and_the_same_levels_of_stems(tmp_path):
    parts = make_song(0, 1.3, sample_rate=44_100, num_channels=2)
    sw.save(tmp_path / "song.wav", parts["mixture"], 44_100)

    def first(audio, sample_rate):
        del sample_rate
        return {"drums": audio * np.float32(0.5), "other": audio * np.float32(0.25)}

    def kit(audio, sample_rate):
        del sample_rate
        return {"kick": audio * np.float32(0.5), "snare": audio * np.float32(0.25)}

    first.stem_names, kit.stem_names = ("drums", "other"), ("kick", "snare")
    balance = sw.balance(tmp_path / "song.wav", model=first, drums_model=kit)
    found = balance.stems
    rows = {row["stem"]: row for row in table_rows([balance])}
    assert (rows["drums"]["model"], rows["drums/kick"]["model"]) == (
        model_of(balance.origin),
        f"{model_of(balance.origin)} + {model_of(balance.parts_origin)}",
    )
    assert model_of(balance.parts_origin).endswith("kit")
    console = Console(file=io.StringIO(), width=80)
    console.print(track_balance_table(balance))
    shown = console.file.getvalue()
    assert "their 80 % ranges are not calibrated" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert list(found) == ["drums", "drums/kick", "drums/snare", "other"]
    alone = sw.balance(tmp_path / "song.wav", model=first).stems
    assert {name: found[name].level_lu for name in alone} == {name: stem.level_lu for name, stem in alone.items()}
    assert found["drums/kick"].loudness_lufs - found["drums"].loudness_lufs == pytest.approx(-6.02, abs=0.01)
    with pytest.raises(UsageError, match="a part called 'drums'"):
        sw.balance(tmp_path / "song.wav", model=first, drums_model=first)


def test_parts_above_full_scale_get_one_gain_that_is_undone(tmp_path):
    drums = np.random.default_rng(1).normal(0, 0.2, (2, 8_000)).astype(np.float32)
    sw.save(tmp_path / "drums.wav", drums, 8_000)
    for names in ({}, {"kick": "bd"}):
        files = PartSeparator(FunctionSeparator(loud, "loud", "1"), names).separate_file(
            tmp_path / "drums.wav", tmp_path / f"parts{len(names)}"
        )
        assert files.gain_db < -10
        total = sum(sw.load(path)[0].astype(np.float64) for path in files.values()) / 10 ** (files.gain_db / 20)
        assert 20 * math.log10(np.abs(total - sw.load(tmp_path / "drums.wav")[0]).max() + 1e-12) < -120


def test_file_that_is_no_sound_fails_alone(tmp_path):
    from stemwright.separation.jobs import Job

    (tmp_path / "no.wav").write_bytes(b"no sound")
    sw.save(tmp_path / "yes.wav", np.random.default_rng(0).normal(0, 0.1, (1, 4_000)), 8_000)
    separator = PartSeparator(FunctionSeparator(loud, "loud", "1"))
    jobs = [Job(tmp_path / name, tmp_path / name[:-4]) for name in ("no.wav", "yes.wav")]
    outcomes = {Path(job.path).name: outcome for job, outcome in separator.separate_files(jobs)}
    assert isinstance(outcomes["no.wav"], ValueError)
    assert sorted(outcomes["yes.wav"]) == ["kick", "residual", "snare"]
