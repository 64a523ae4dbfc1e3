"""A made corpus with known vocal levels over years and genres, from separated stems; benchmarks/rules_corpus.py has 200 songs."""

import numpy as np
import pytest
from conftest import make_song
from oracle import separate
from rules_corpus import FIRST, GENRES, LAST, SAMPLE_RATE, expected_lar, measured, panned

from stemwright.separation.balance.groups import Values, compare_groups, fit_trend
from stemwright.separation.balance.song_values import against_rest

NUM_SONGS, DURATION_S, RATIO_DB = 40, 3.0, 8.0
OFFSETS = {name: GENRES[name] for name in ("country", "rock", "metal")}
NAMES = ("drums", "bass", "other", "vocals")


@pytest.fixture(scope="module")
def songs():
    """For each song its year, genre, and vocals against the rest: the true value, and the estimate with its interval."""
    rows = []
    for number in range(NUM_SONGS):
        rng = np.random.default_rng(number)
        year, genre = FIRST + number * (LAST - FIRST) / NUM_SONGS, list(OFFSETS)[number % 3]
        song = make_song(number, DURATION_S, sample_rate=SAMPLE_RATE)
        stems = {name: panned(song[name] * 10 ** (rng.normal(0, 1.5) / 20), rng.uniform(-0.4, 0.4)).astype(np.float32) for name in NAMES}
        wanted = float(expected_lar(year)) + OFFSETS[genre] + rng.normal(0, 0.7)
        stems["vocals"] *= np.float32(10 ** ((wanted - measured(stems, stems, "reference")["vocals"].against_rest_lu) / 20))
        separated = dict(zip(NAMES, separate(np.stack(list(stems.values())), RATIO_DB, rng), strict=True))
        true, found = measured(stems, stems, "reference")["vocals"], measured(stems, separated, "separated")
        table = against_rest({name: (stem.level_lu, stem.level_low_lu, stem.level_high_lu) for name, stem in found.items()})["vocals"]
        rows.append((year, genre, true.against_rest_lu, *table))
    return {
        name: np.array(column)
        for name, column in zip(("year", "genre", "true", "value", "low", "high"), zip(*rows, strict=True), strict=True)
    }


def test_levels_against_the_rest_are_within_1_lu_and_their_intervals_hold_them(songs):
    errors = songs["value"] - songs["true"]
    assert np.sqrt(np.mean(errors**2)) < 1.0
    assert np.mean((songs["low"] <= songs["true"]) & (songs["true"] <= songs["high"])) >= 0.7


def test_the_trend_over_years_is_recovered(songs):
    found, true = (
        fit_trend(Values.of(*(songs[name] for name in names)), songs["year"], per=10.0) for names in (("value", "low", "high"), ("true",))
    )
    assert found.low <= true.slope <= found.high < 0.0
    assert abs(found.slope - true.slope) < 0.15
    made = expected_lar(found.smooth.at) + np.mean(list(OFFSETS.values()))
    assert np.sqrt(np.mean((found.smooth.value - made) ** 2)) < 0.8


def test_the_order_of_genres_is_recovered(songs):
    values = Values(*(songs[name] - expected_lar(songs["year"]) for name in ("value", "low", "high")))
    groups = {group.name: group for group in compare_groups(values, list(songs["genre"]))}
    assert sorted(groups, key=lambda name: -groups[name].mean) == list(OFFSETS)
    assert groups["metal"].against_others.high < 0.0 < groups["country"].against_others.low
