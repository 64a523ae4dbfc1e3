"""The protocol balance: errors of levels whose truth is known, by estimator and group, and their relation to the SDR."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from commands import stemwright
from scipy.stats import spearmanr

from stemwright.datagen.evaluate import evaluation
from stemwright.datagen.evaluate.given_models import GivenModel, given_models
from stemwright.datagen.evaluate.level_errors import level_rows, rmse
from stemwright.datagen.evaluate.matched_stems import StemPair
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
from stemwright.datagen.evaluate.protocols import balance
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.kept_calibrations import keep, kept_calibration, place_of_calibrations
from stemwright.separation.balance.level_estimators import SEPARATED, Correction, calibration_for
from stemwright.separation.choosing import other_separator

RATE = 44_100
GAINS_DB = {"drums": 0.0, "bass": 1.5, "other": -2.0, "vocals": -6.0}


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Multitracks, and beside them stems of theirs: exact ones, and with a gain for each name."""
    from conftest import make_song

    root = tmp_path_factory.mktemp("balance")
    for seed in range(3):
        for name, audio in make_song(seed, 2.0).items():
            gain = np.float32(10 ** (GAINS_DB.get(name, 0.0) / 20))
            for place, factor in (("data", 1), ("exact", 1), ("moved", gain)):
                folder = root / place / f"Song {seed}"
                folder.mkdir(parents=True, exist_ok=True)
                if place == "data" or name != "mixture":
                    save(folder / f"{name}.wav", audio * factor, RATE)
    return root


@pytest.fixture(scope="module")
def found(songs, tmp_path_factory):
    models = tuple(GivenModel(str(songs / name)) for name in ("exact", "moved"))
    return evaluation.evaluate(PROTOCOLS["balance"], EvaluationRequest(songs / "data", models), tmp_path_factory.mktemp("kept"))


def figure(found, group, name, who):
    return next(each for each in found.figures if (each.group, each.name, each.who) == (group, name, who))


def test_exact_stems_have_no_error_by_any_estimator_that_reads_them_as_they_are(found):
    exact = [row for row in found.rows if row["model"].endswith("exact")]
    assert len(exact) == 12
    assert max(abs(row["naive"] - row["truth"]) for row in exact) < 0.01
    assert figure(found, "all", balance.RMSE, "exact, naive").value < 0.01


@pytest.mark.parametrize("stem", GAINS_DB)
def test_naive_is_wrong_by_the_gain_of_a_stem(found, stem):
    errors = [row["naive"] - row["truth"] for row in found.rows if row["model"].endswith("moved") and row["stem"] == stem]
    np.testing.assert_allclose(errors, [GAINS_DB[stem]] * 3, atol=0.01)
    assert figure(found, stem, balance.RMSE, "moved, naive").value == pytest.approx(abs(GAINS_DB[stem]), abs=0.01)


@pytest.mark.parametrize("stem", GAINS_DB)
def test_cross_is_wrong_by_half_of_the_gain_but_for_one_factor_of_a_song(found, stem):
    cross = {(row["song"], row["model"][-5:], row["stem"]): row["cross"] for row in found.rows}
    for song in {row["song"] for row in found.rows}:
        moved, drums = (cross[song, "moved", name] - cross[song, "exact", name] for name in (stem, "drums"))
        assert moved - drums == pytest.approx(GAINS_DB[stem] / 2, abs=0.05)


def test_figures_pool_the_stems_of_all_songs_with_an_interval_over_songs(found):
    rows = [row for row in found.rows if row["model"].endswith("moved")]
    errors = [row["point"] - row["truth"] for row in rows]
    shown = figure(found, "all", balance.RMSE, "moved, generic ranges, not calibrated")
    assert shown.value == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert (shown.low, shown.high, shown.count) == (None, None, 3)  # three songs carry no interval
    assert figure(found, "all", balance.BIAS, "moved, naive").value == pytest.approx(np.mean(list(GAINS_DB.values())), abs=0.01)
    held = 100 * np.mean([row["low"] <= row["truth"] <= row["high"] for row in rows])
    assert figure(found, "all", balance.COVERAGE, "moved, generic ranges, not calibrated").value == pytest.approx(held)


def test_relation_to_the_sdr_is_spearmans_over_all_separators(found):
    wrong = [abs(row["naive"] - row["truth"]) for row in found.rows]
    expected = spearmanr(wrong, [row["sdr_db"] for row in found.rows]).statistic
    assert figure(found, "error and SDR", balance.RELATION, "all separators, naive").value == pytest.approx(expected)
    assert expected < -0.5


def test_the_published_figure_stands_first(found):
    assert [(each.group, each.value, each.origin) for each in found.figures[:1]] == [("all", 1.2, "published")]


def test_a_stem_that_is_called_not_present_has_no_error_and_is_counted(found):
    rows = [dict(row) for row in found.rows if row["model"].endswith("moved")]
    rows[0] |= {"point": None, "low": None, "high": None, "present": False}
    shown = next(
        each for each in balance.figures(rows) if each.who == "moved, generic ranges, not calibrated" and each.name == balance.RMSE
    )
    assert shown.note == "1 of 12 stems are there and are called not present: no error of theirs"
    assert shown.value == pytest.approx(rmse([row["point"] - row["truth"] for row in rows[1:]]))
    naive = next(each for each in balance.figures(rows) if each.who == "moved, naive" and each.name == balance.RMSE)
    assert naive.value == pytest.approx(rmse([row["naive"] - row["truth"] for row in rows[1:]]))  # of the same stems
    assert next(each for each in balance.figures(rows) if each.name == balance.COVERAGE).note == "of 11 stems"


def test_a_sum_of_separated_stems_has_no_calibrated_estimate():
    rng = np.random.default_rng(0)
    stems = {name: rng.normal(0, 0.1, (2, RATE)).astype(np.float32) for name in ("drums", "bass", "vocals")}
    mixture = np.sum(list(stems.values()), axis=0)
    pairs = [StemPair("vocals", ("vocals",), ("vocals",)), StemPair("backing", ("drums", "bass"), ("drums", "bass"))]
    vocals, backing = level_rows(mixture, stems, stems, RATE, SEPARATED, pairs)
    assert backing["naive"] - backing["truth"] == pytest.approx(0, abs=0.01)
    assert backing["truth"] - vocals["truth"] == pytest.approx(10 * np.log10(2), abs=0.1)
    assert np.isnan(backing["point"])
    assert np.isfinite(vocals["point"])


def test_a_stem_that_is_not_in_the_mixture_has_no_row():
    rng = np.random.default_rng(0)
    stems = {"drums": rng.normal(0, 0.1, (2, RATE)).astype(np.float32), "vocals": rng.normal(0, 1e-4, (2, RATE)).astype(np.float32)}
    assert [row["stem"] for row in level_rows(stems["drums"] + stems["vocals"], stems, stems, RATE, SEPARATED)] == ["drums"]


def test_the_users_calibration_to_a_separator_is_used_and_changes_the_key(songs, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_CACHE", str(tmp_path))
    request = EvaluationRequest(songs / "data", (GivenModel("stub_separator:parts"),), num_songs=1)
    plain = evaluation.evaluate(PROTOCOLS["balance"], request, tmp_path)
    separator = other_separator("stub_separator:parts")
    moved = replace(calibration_for(separator.origin), correction=Correction(offset_lu=1.0))
    keep(kept_calibration(separator.origin, separator.identity, ["One", "Two"], moved, []), place_of_calibrations())
    found = evaluation.evaluate(PROTOCOLS["balance"], request, tmp_path)
    assert found.finished_before == 0
    assert {row["calibration_songs"] for row in found.rows} == {2}
    before, after = ({row["stem"]: row["point"] for row in each.rows} for each in (plain, found))
    assert after != before
    assert any(each.who == "stub_separator:parts, generic ranges, not calibrated" for each in plain.figures)
    note = figure(found, "all", balance.RMSE, "stub_separator:parts, your calibration").note
    assert "calibrated on 2 songs" in note
    assert "none of these songs is among them" in note
    without = evaluation.evaluate(PROTOCOLS["balance"], replace(request, options={"calibration": "none"}), tmp_path)
    assert [row["point"] for row in without.rows] == [row["point"] for row in plain.rows]
    with pytest.raises(UsageError, match="expected none, the id of a calibration"):
        evaluation.evaluate(PROTOCOLS["balance"], replace(request, options={"calibration": "yours"}), tmp_path)


def test_the_picture_has_a_panel_for_each_separator_and_estimator(found, tmp_path):
    balance.draw(found.rows, tmp_path / "errors.svg")
    text = (tmp_path / "errors.svg").read_text()
    for title in ("exact, naive", "moved, cross", "moved, generic ranges, not calibrated", "SDR of the stem, dB"):
        assert title in text


def test_data_without_multitracks_is_refused_with_what_was_looked_for(tmp_path):
    save(tmp_path / "song.wav", np.random.default_rng(0).normal(0, 0.1, (2, RATE)), RATE)
    with pytest.raises(UsageError, match=r"has no multitrack .* looked for folders with a file called mixture"):
        balance.cases(EvaluationRequest(tmp_path))


def test_songs_that_a_calibration_was_made_on_are_counted():
    about = {"stem": "bass", "group": "bass", "truth": -6.0, "naive": -7.0, "cross": -6.5, "point": -6.1, "low": -7.0, "high": -5.0}
    about |= {"model": "m", "present": True, "sdr_db": 5.0, "calibration_songs": 4}
    rows = [{**about, "song": name, "calibrated": name in "ab"} for name in "abc"]
    shown = next(each for each in balance.figures(rows) if each.who == "m, your calibration")
    assert shown.note == "calibrated on 4 songs (stemwright calibrate); 2 of these 3 songs are among them, by their titles: not held out"


def test_a_separator_without_a_group_has_no_figure_of_it(found):
    """Separators may have been run over songs of other stems."""
    group = found.rows[0]["group"]
    others = [{**row, "model": "second"} for row in found.rows if row["group"] != group]
    who = {each.who for each in balance.figures([*found.rows, *others]) if each.group == group}
    assert who
    assert not any(name.startswith("second") for name in who)


def test_separators_of_one_name_have_lines_of_their_own(songs, tmp_path):
    shutil.copytree(songs / "exact", tmp_path / "other" / "moved")
    models = given_models([str(songs / "moved"), str(tmp_path / "other" / "moved"), f"{songs}/exact/../moved"])
    assert len(models) == 2
    found = evaluation.evaluate(PROTOCOLS["balance"], EvaluationRequest(songs / "data", models, num_songs=1), tmp_path / "kept")
    naive = {each.who: each.value for each in found.figures if (each.group, each.name) == ("all", balance.RMSE) and "naive" in each.who}
    assert len(naive) == 3
    assert naive["other/moved, naive"] < 0.01
    assert naive[f"{songs.name}/moved, naive"] > 1.0


def test_a_song_whose_stems_a_separator_lacks_is_rejected_alone(songs, tmp_path):
    shutil.copytree(songs / "data" / "Song 0", tmp_path / "data" / "A")
    shutil.copytree(songs / "data" / "Song 1", tmp_path / "data" / "B")
    shutil.copytree(songs / "exact", tmp_path / "exact")
    (tmp_path / "exact" / "Song 1").rename(tmp_path / "exact" / "B")
    (tmp_path / "exact" / "A").mkdir()
    shutil.copy(tmp_path / "exact" / "B" / "bass.wav", tmp_path / "exact" / "A" / "bass.wav")
    request = EvaluationRequest(tmp_path / "data", (GivenModel(str(tmp_path / "exact")),))
    found = evaluation.evaluate(PROTOCOLS["balance"], request, tmp_path / "kept")
    assert {row["song"] for row in found.rows} == {"B"}
    assert found.rejected[0][1].startswith(f"the model {tmp_path / 'exact'} has the stems bass; the song has")


@pytest.mark.parametrize(
    ("length", "gain", "reason"), [(1, 1.0, "it lasts 2.27e-05 s"), (8000, 1.0, "0.4 s at least"), (44_100, 0.0, "it is silent")]
)
def test_what_has_no_loudness_is_rejected(songs, tmp_path, length, gain, reason):
    for path in (songs / "data" / "Song 0").glob("*.wav"):
        (tmp_path / "data" / "A").mkdir(parents=True, exist_ok=True)
        save(tmp_path / "data" / "A" / path.name, load(path)[0][:, :length] * np.float32(gain), RATE)
    for name in ("balance", "edit", "fit", "limit"):
        found = evaluation.evaluate(PROTOCOLS[name], EvaluationRequest(tmp_path / "data"), tmp_path / "kept")
        assert len(found.rejected) == found.cases
        assert all(reason in each for _, each in found.rejected)


def test_the_command_resumes_and_limits_the_songs(songs, tmp_path):
    arguments = ("evaluate", "balance", songs / "data", "--model", songs / "moved", "--out", tmp_path / "kept")
    assert "1 case done, 0 rejected" in stemwright(*arguments, "--songs", "1").stdout
    done = stemwright(*arguments, "--plot", tmp_path / "errors.png", "--rows", tmp_path / "rows.csv")
    assert "3 cases done (1 of them before), 0 rejected" in done.stdout
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 13
    assert (tmp_path / "errors.png").stat().st_size > 10_000


def test_the_command_runs_on_the_excerpt(tmp_path):
    shown = json.loads(stemwright("evaluate", "balance", "--json", "--out", tmp_path).stdout)
    assert {each["group"] for each in shown["figures"]} == {"all", "other", "backing"}
    assert shown["not_run"].startswith("needs multitracks")
