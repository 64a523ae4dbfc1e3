"""Differences between groups of songs and trends, against closed forms, scipy and numpy, and against what random data cover."""

import math

import numpy as np
import pytest
from rows import corpus_rows
from scipy import stats

from stemwright.manifests import table
from stemwright.manifests.records import Estimate, Refused, Track
from stemwright.separation.balance import song_values
from stemwright.separation.balance.groups import Z80, Values, between_variance, compare_groups, difference, fit_trend, group_names, mean_of

YEARS = np.array([1950.0, 1955, 1960, 1961, 1972, 1980, 1990])


def values_with(own, spread=1.0, count=40, seed=0, at=0.0):
    """Songs around ``at`` whose values have errors of the standard deviation ``own``, and intervals that say so."""
    rng = np.random.default_rng(seed)
    own = np.broadcast_to(np.asarray(own, float), (count,))
    value = at + rng.normal(0, spread, count) + rng.normal(0, 1, count) * own
    return Values.of(value, value - Z80 * own, value + Z80 * own)


def test_exact_values_have_students_interval():
    values = np.random.default_rng(1).normal(3.0, 2.0, 9)
    found = mean_of(Values.of(values))
    assert (found.mean, found.spread) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.8, 8, values.mean(), stats.sem(values)))


def test_the_difference_of_exact_groups_is_welchs():
    one, other = np.random.default_rng(2).normal(0, 1, 7), np.random.default_rng(3).normal(1, 3, 12)
    found = difference(mean_of(Values.of(one)), mean_of(Values.of(other)))
    peer = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.8)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))


def test_variance_between_songs_is_dersimonian_and_lairds_where_all_intervals_are_equal():
    values = values_with(0.7, spread=1.5)
    weights = 1 / values.own
    mean = np.average(values.value, weights=weights)
    squares, count = weights @ (values.value - mean) ** 2, values.value.size
    by_moments = (squares - (count - 1)) / (weights.sum() - (weights**2).sum() / weights.sum())
    assert between_variance(values.value, values.own, np.ones((count, 1))) == pytest.approx(by_moments, rel=1e-6)
    assert by_moments == pytest.approx(values.value.var(ddof=1) - 0.7**2, rel=1e-9)


def test_songs_that_agree_by_chance_have_an_interval_as_wide_as_their_own_allow():
    found = mean_of(Values.of([1.0, 1.0, 1.0, 1.0], [0.0] * 4, [2.0] * 4))
    assert found.spread == 0.0
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.9, 3) * (1 / Z80) / math.sqrt(4))


def test_a_song_that_is_known_exactly_does_not_outweigh_others_that_differ():
    found = mean_of(Values.of([10.0, 0.0, 1.0, -1.0], [10.0, -0.5, 0.5, -1.5], [10.0, 0.5, 1.5, -0.5]))
    assert found.mean == pytest.approx(2.5, abs=0.2)


@pytest.mark.parametrize("own", [0.0, 1.0, (0.1, 2.0)], ids=["exact", "equal", "unequal"])
@pytest.mark.parametrize("count", [3, 8, 60])
def test_intervals_of_means_and_differences_cover_as_they_state(own, count):
    rng = np.random.default_rng(5)
    of_mean, of_difference, repeats = 0, 0, 250
    for seed in range(repeats):
        each = rng.uniform(*own, count) if isinstance(own, tuple) else own
        one, other = mean_of(values_with(each, count=count, seed=seed)), mean_of(values_with(0.5, count=count + 2, seed=10_000 + seed))
        of_mean += one.low <= 0.0 <= one.high
        found = difference(one, other)
        of_difference += found.low <= 0.0 <= found.high
    most = 0.87 if count > 3 else 0.94  # of three songs it is not narrower than their own intervals allow
    assert 0.73 <= of_mean / repeats <= most
    assert 0.73 <= of_difference / repeats <= most


def test_group_of_one_song_has_its_own_interval_and_no_comparison():
    values = Values.of([1.0, 2.0, 5.0], [0.5, 1.5, 4.0], [1.5, 2.5, 7.0])
    rock, pop = compare_groups(values, ["rock", "rock", "pop"])
    assert (pop.songs, pop.low, pop.high, pop.spread, pop.against_others) == (1, 4.0, 7.0, None, None)
    assert rock.against_others is None, "one other song says nothing about others"


def test_songs_without_group_or_value_are_left_out():
    values = Values.of([1.0, 2.0, 3.0, math.nan])
    assert [(group.name, group.songs) for group in compare_groups(values, ["a", None, "a", "b"])] == [("a", 2)]


def test_spellings_are_one_group_under_the_most_frequent():
    assert group_names(["Rock", "rock ", "Rock", None, "Unknown", "JAZZ"]) == ["Rock", "Rock", "Rock", None, None, "JAZZ"]


def test_a_line_through_exact_values_is_scipys():
    values = 5 - 0.1 * (YEARS - 1950) + np.random.default_rng(4).normal(0, 0.5, YEARS.size)
    found, peer = fit_trend(Values.of(values), YEARS), stats.linregress(YEARS, values)
    margin = stats.t.ppf(0.9, YEARS.size - 2) * peer.stderr
    assert (found.slope, found.low, found.high) == pytest.approx((peer.slope, peer.slope - margin, peer.slope + margin))
    assert found.line.value == pytest.approx(peer.intercept + peer.slope * found.line.at)
    assert fit_trend(Values.of(values), YEARS, per=10.0).slope == pytest.approx(10 * peer.slope)


def test_a_weighted_line_is_numpys():
    values = values_with(np.linspace(0.2, 2.0, 30), spread=0.0, count=30)
    years = np.arange(1960.0, 1990.0)
    found = fit_trend(values, years)
    weights = 1 / (values.own + found.spread**2)
    slope, start = np.polyfit(years, values.value, 1, w=np.sqrt(weights))
    assert found.slope == pytest.approx(slope, rel=1e-6)
    assert found.line.value[0] == pytest.approx(start + slope * 1960, rel=1e-6)


def test_the_smooth_line_of_points_on_a_line_is_that_line_and_follows_a_bend():
    years = np.arange(1946.0, 2021.0)
    straight = fit_trend(Values.of(2.0 - 0.03 * years), years)
    assert straight.smooth.value == pytest.approx(straight.line.value, abs=1e-6)
    bend = np.where(years < 1975, 5 - 4 * (years - 1946) / 29, 1.0)  # Gerdes and Siedenburg 2023: 5 dB in 1946, 1 dB from 1975 on
    found = fit_trend(Values.of(bend + np.random.default_rng(6).normal(0, 0.3, years.size)), years)
    late = found.smooth.at > 1990
    assert np.abs(found.smooth.value[late] - 1.0).max() < 0.4 < np.abs(found.line.value[late] - 1.0).max()


@pytest.mark.parametrize("count", [5, 25])
def test_intervals_of_slopes_and_bands_cover_as_they_state(count):
    of_slope, of_band, repeats = 0, 0, 150
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        years = rng.uniform(1950, 2020, count)
        values = values_with(rng.uniform(0.2, 1.5, count), count=count, seed=seed)
        moved = Values(*(each + 0.04 * (years - 1980) for each in (values.value, values.low, values.high)))
        found = fit_trend(moved, years, rng=rng)
        of_slope += found.low <= 0.04 <= found.high
        of_band += found.line.low[20] <= 0.04 * (found.line.at[20] - 1980) <= found.line.high[20]
    assert 0.72 <= of_slope / repeats <= 0.92
    assert 0.72 <= of_band / repeats <= 0.92


def test_outliers_widen_the_bootstrap_band():
    years = np.linspace(1950, 2020, 40)
    plain = np.random.default_rng(8).normal(0, 0.2, 40)
    wild = plain + np.where(np.arange(40) >= 37, 6.0, 0.0)
    assert np.ptp([fit_trend(Values.of(wild), years).low, fit_trend(Values.of(wild), years).high]) > 3 * np.ptp(
        [fit_trend(Values.of(plain), years).low, fit_trend(Values.of(plain), years).high]
    )


@pytest.mark.parametrize(
    ("years", "message"),
    [((1990.0, 1991.0), "at least 3 songs with a number; got 2"), ((1990.0,) * 4, "all 4 have 1990")],
    ids=["few", "same"],
)
def test_there_is_no_trend_of_two_songs_or_of_one_year(years, message):
    with pytest.raises(Refused, match=message):
        fit_trend(Values.of(np.arange(float(len(years)))), years)


def write_corpus(folder, columns):
    """Tables of a corpus with so many songs, of which each has these columns."""
    tracks, _, estimates = corpus_rows(len(columns))
    fields = [{name: its[name] for name in ("year", "genre") if name in its} for its in columns]
    tracks = [
        row.model_copy(update={**own, "metadata": {name: str(text) for name, text in its.items()}})
        for row, own, its in zip(tracks, fields, columns, strict=True)
    ]
    folder.mkdir(exist_ok=True)
    table.write(folder / "tracks.parquet", tracks, Track)
    levels = {"drums": -6.0, "bass": -8.0, "other": -7.0, "vocals": -4.0, "residual": -30.0}
    estimates = [
        row.model_copy(update={"level_lu": levels[row.name], "level_low_lu": levels[row.name] - 1, "level_high_lu": levels[row.name] + 1})
        for row in estimates
    ]
    table.write(folder / "estimates.parquet", estimates, Estimate)
    return song_values.songs_of_corpus(folder)


def test_the_level_against_the_rest_is_that_against_the_energy_of_all_others(tmp_path):
    (song,) = write_corpus(tmp_path / "corpus", [{"year": 1998}])
    rest = 10 * math.log10(sum(10 ** (level / 10) for level in (-6.0, -8.0, -7.0, -30.0)))
    value, low, high = song.stems["vocals"]["against_rest_lu"]
    assert value == pytest.approx(-4.0 - rest)
    assert 1.0 < value - low < 2.0
    assert high - value == pytest.approx(value - low)
    assert song_values.stem_names([song]) == ["drums", "bass", "other", "vocals"]


def test_columns_are_of_tags_and_lists_and_the_main_genre_is_the_group(tmp_path):
    songs = write_corpus(
        tmp_path / "corpus",
        [{"year": 1998, "genre": "Rock; Blues", "bpm": "120,5"}, {"genre": "rock", "bpm": "90"}, {"year": 2001, "studio": "Abbey"}],
    )
    assert song_values.texts_of(songs, "genre") == ["Rock", "Rock", None]
    assert song_values.texts_of(songs, "studio") == [None, None, "Abbey"]
    assert np.array_equal(song_values.numbers_of(songs, "year"), [1998, np.nan, 2001], equal_nan=True)
    assert np.array_equal(song_values.numbers_of(songs, "bpm"), [120.5, 90, np.nan], equal_nan=True)
    assert [song_values.has_numbers(songs, name) for name in ("year", "bpm", "genre", "studio")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("year", r"none of 2 songs has a year; expected a column 'year' in the CSV .* or tags .*DATE.* `stemwright catalog`"),
        ("genre", "has a genre; expected a column 'genre'"),
        ("studo", "none of 2 songs has a column 'studo'; expected one of .*; did you mean 'studio'"),
    ],
)
def test_a_missing_column_is_an_error_that_says_how_to_add_it(tmp_path, column, message):
    songs = write_corpus(tmp_path / "corpus", [{"studio": "A"}, {"studio": "B"}])
    with pytest.raises(Refused, match=message):
        song_values.texts_of(songs, column)


def test_a_folder_without_estimates_is_refused(tmp_path):
    with pytest.raises(Refused, match="has no estimates; expected a corpus, after: stemwright estimate"):
        song_values.songs_of_corpus(tmp_path)
