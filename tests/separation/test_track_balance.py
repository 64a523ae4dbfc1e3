"""Rows, medians and percentiles of whole tracks."""

import csv
import io
import json
import math
import re

import numpy as np
import pytest
from rich.console import Console

from stemwright.datagen.cli.tables import track_balance_table
from stemwright.manifests.records import Estimate, seal
from stemwright.manifests.sound.writing import save
from stemwright.manifests.table import write
from stemwright.separation.balance.level_estimators import REFERENCE
from stemwright.separation.balance.own_stems import load_stems
from stemwright.separation.balance.track_balance import (
    as_csv,
    as_json,
    corpus_levels,
    measure_track,
    percentile,
    percentile_rows,
    summary_rows,
    table_rows,
)
from stemwright.separation.loudness.meter import integrated_loudness

RATE = 22_050


def stems_at(vocals_db: float, *, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    levels_db = {"drums": -20.0, "vocals": vocals_db, "piano": -math.inf}
    return {name: (10 ** (db / 20) * rng.standard_normal((2, 5 * RATE))).astype(np.float32) for name, db in levels_db.items()}


def track(title: str, vocals_db: float):
    stems = stems_at(vocals_db)
    return measure_track(title, sum(stems.values()), stems, RATE, calibration=REFERENCE)


def test_rows_have_each_stem_and_none_for_undefined_values():
    rows = table_rows([track("one", -20.0), track("two", -26.0)])
    assert [(row["track"], row["stem"]) for row in rows] == [(t, s) for t in ("one", "two") for s in ("drums", "vocals", "piano")]
    assert rows[1]["level_lu"] == pytest.approx(-3.01, abs=0.05)
    assert rows[1]["against_rest_lu"] == pytest.approx(0.0, abs=0.1)
    piano = rows[2]
    assert (piano["level_lu"], piano["pan"], piano["loudness_lufs"]) == (None, None, None)
    assert piano["note"].startswith("not present")


def test_a_narrow_terminal_shows_every_stem_and_why_one_is_not_there():
    console = Console(width=80, file=io.StringIO())
    vocals = stems_at(-20.0)["vocals"]
    stems = {"vocals": vocals, "piano": 0 * vocals, "bass": stems_at(-20.0, seed=1)["vocals"]}
    console.print(track_balance_table(measure_track("one", vocals, stems, RATE, calibration=REFERENCE)))
    lines = console.file.getvalue().splitlines()
    for name, cell in (("vocals", "0.0"), ("piano", "-"), ("bass", "-")):
        assert any(re.match(rf"│ {name} +│ +{cell}", line) for line in lines)
    assert "piano not present: silent" in " ".join(line.strip() for line in lines)
    assert "bass not present: its energy is not found in the mixture" in " ".join(line.strip() for line in lines)


def test_csv_reads_back_as_the_rows():
    rows = table_rows([track("one, with a comma", -20.0)])
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [row["track"] for row in read] == ["one, with a comma"] * 3
    assert float(read[1]["level_lu"]) == rows[1]["level_lu"]
    assert read[2]["level_lu"] == ""


def test_json_is_strict_and_holds_the_course_at_one_point_a_second():
    said = json.loads(json.dumps(as_json(track("one", -20.0)), allow_nan=False))
    assert said["mixture"]["integrated_lufs"] == pytest.approx(integrated_loudness(sum(stems_at(-20.0).values()), RATE), abs=0.006)
    assert said["stems"]["drums"]["trajectory"]["end_s"] == [3.0, 4.0, 5.0]
    assert said["stems"]["piano"]["trajectory"]["level_lu"] == [None, None, None]
    assert [band["centre_hz"] for band in said["stems"]["drums"]["octave_bands"]][:2] == [63, 126]


def test_summary_gives_median_and_spread_of_those_present():
    summary = {row["stem"]: row for row in summary_rows([track(str(db), db) for db in (-32.0, -26.0, -20.0)])}
    levels = sorted(row["level_lu"] for row in table_rows([track(str(db), db) for db in (-32.0, -26.0, -20.0)]) if row["stem"] == "vocals")
    vocals = summary["vocals"]
    assert (vocals["min_lu"], vocals["median_lu"], vocals["max_lu"]) == tuple(levels)
    assert vocals["q25_lu"] == pytest.approx((levels[0] + levels[1]) / 2, abs=0.011)
    assert (summary["piano"]["tracks"], summary["piano"]["present"], summary["piano"]["median_lu"]) == (3, 0, None)


@pytest.mark.parametrize(("level", "expected"), [(-20.0, 0.0), (-10.0, 12.5), (-5.0, 50.0), (0.0, 87.5), (1.0, 100.0), (-math.inf, None)])
def test_percentile_counts_equals_half(level, expected):
    assert percentile(level, np.array([-10.0, -5.0, -5.0, 0.0])) == expected
    assert percentile(level, np.array([])) is None


def estimate(name: str, level_lu: float | None) -> Estimate:
    return seal(
        Estimate, cache_key="0" * 16, stem_id="1" * 16, track_id="2" * 16, name=name, loudness_lufs=level_lu, level_lu=level_lu,
        level_low_lu=level_lu, level_high_lu=level_lu, pan=None, width=None, active=(True,),
    )  # fmt: skip


def test_a_level_is_placed_among_the_stems_of_its_name_in_a_corpus(tmp_path):
    write(
        tmp_path / "estimates.parquet",
        [*(estimate("vocals", level) for level in (-2.0, -4.0, None, -8.0)), estimate("drums", -1.0)],
        Estimate,
    )
    levels = corpus_levels(tmp_path)
    assert levels["vocals"].tolist() == [-8.0, -4.0, -2.0]
    vocals, piano = (percentile_rows([track("one", -20.0)], levels)[i] for i in (1, 2))
    assert (vocals["stem"], vocals["percentile"], vocals["corpus_median_lu"], vocals["corpus_stems"]) == ("vocals", 66.7, -4.0, 3)
    assert (piano["percentile"], piano["corpus_stems"]) == (None, 0)


def test_a_corpus_without_estimates_gives_an_error_that_names_the_command(tmp_path):
    with pytest.raises(ValueError, match="stemwright estimate"):
        corpus_levels(tmp_path)


@pytest.mark.parametrize("sub_folder", [".", "song"])
def test_stems_are_found_beside_a_mixture_or_in_a_folder_of_its_name(tmp_path, sub_folder):
    stems = {name: 0.1 * audio for name, audio in stems_at(-20.0).items() if name != "piano"}
    place = tmp_path / sub_folder
    place.mkdir(exist_ok=True)
    for name, audio in (stems | {"residual": stems["drums"]}).items():
        save(place / f"{name}.wav", audio, RATE, encoding="wav32f")
    save(tmp_path / "song.wav", sum(stems.values()), RATE, encoding="wav32f")
    mixture, read, sample_rate = load_stems(tmp_path, tmp_path / "song.wav")
    assert sample_rate == RATE
    assert list(read) == ["drums", "vocals"]
    np.testing.assert_array_equal(read["vocals"], stems["vocals"])
    np.testing.assert_array_equal(mixture, sum(stems.values()))


def test_folders_without_stems_are_refused(tmp_path):
    audio = 0.1 * stems_at(-20.0)["drums"]
    save(tmp_path / "song.wav", audio, RATE, encoding="wav32f")
    with pytest.raises(ValueError, match=r"stems such as vocals\.wav"):
        load_stems(tmp_path, tmp_path / "song.wav")
    with pytest.raises(ValueError, match="a folder of stems"):
        load_stems(tmp_path / "nowhere", tmp_path / "song.wav")
