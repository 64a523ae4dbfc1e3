"""The table of rules, the quantities that they speak of on audio of known values, and verdicts."""

import itertools
import math
from dataclasses import replace

import librosa
import numpy as np
import pyebur128
import pytest
from scipy.signal import welch

from stemwright import testing
from stemwright.separation.balance.measure import measure_balance
from stemwright.separation.loudness.meter import measure_loudness
from stemwright.separation.rules.published import RULES
from stemwright.separation.rules.quantities import QUANTITIES, Heard, Measured, exactly, measure_quantities, unmeasured
from stemwright.separation.rules.rule import Rule, Source, check_rule
from stemwright.separation.rules.stem_quantities import PARTS, stem_of
from stemwright.separation.rules.verdicts import ELSEWHERE, NO, NOT_MEASURED, UNDECIDED, YES, Song, quantities_of, share_kept, verdict

RATE = 22_050
GOOD = RULES["slope_5_db"]


def noise(seed, duration_s=6.0, *, channels=2, rate=RATE, level=0.1):
    return (level * np.random.default_rng(seed).standard_normal((channels, round(duration_s * rate)))).astype(np.float32)


def mono_noise(seed, **options):
    return np.repeat(noise(seed, channels=1, **options), 2, axis=0)


def heard(stems, *, rate=RATE, mixture=None, calibration="reference"):
    mixture = sum(stems.values()) if mixture is None else mixture
    balances = measure_balance(mixture, stems, rate, calibration=calibration)
    return Heard(mixture, rate, measure_loudness(mixture, rate), balances)


def measured(name, audio, rate=RATE):
    return measure_quantities(heard({"vocals": audio}, rate=rate), [name])[name]


def sloped(db_an_octave, seed=0, rate=44_100, duration_s=20.0):
    """Noise whose power per hertz falls by so much an octave, exactly."""
    count = round(duration_s * rate)
    hz = np.fft.rfftfreq(count, 1 / rate)
    size = np.where(hz > 20, np.maximum(hz, 20) ** (db_an_octave / (20 * math.log10(2))), 0.0)
    phase = np.exp(2j * np.pi * np.random.default_rng(seed).random(hz.size))
    audio = np.fft.irfft(size * phase, count)
    return np.repeat((0.1 * audio / audio.std())[None], 2, axis=0).astype(np.float32)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_keeps_the_contract(name):
    check_rule(name, RULES[name])
    assert name == RULES[name].name
    assert len(name) <= 20  # of a table of 80 columns


def test_the_table_has_rules_of_every_kind():
    certainties = {rule.certainty for rule in RULES.values()}
    assert certainties == {"measured", "surveyed", "opinion", "refuted"}
    assert len({rule.quantity for rule in RULES.values()}) > 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "loudnes"}, "its quantity 'loudnes' is not known; the quantities are vocal_level, "),
        ({"against": "decade"}, "its quantity 'decade' is not known"),
        ({"low": 3.0, "high": -3.0}, "its range is 3.0 to -3.0; expected the lower end first"),
        ({"low": None, "high": None}, "expected a finite number at one end"),
        ({"low": math.nan}, "expected a finite number at one end"),
        ({"statement": "It is loud"}, "expected a sentence with a full stop"),
        ({"certainty": "certain"}, "expected one of measured, surveyed, opinion, refuted"),
        ({"range_from": " "}, "range_from is empty"),
        ({"quantity": ""}, "or a sentence in not_measured"),
        ({"years": (1990, 1980)}, "expected the earlier first"),
        ({"name": "Slope"}, "expected 'slope_5_db'"),
        ({"source": replace(GOOD.source, authors="")}, "its source has no authors"),
        ({"source": replace(GOOD.source, read="skimmed")}, "read as 'skimmed'; expected one of paper, abstract"),
        ({"source": replace(GOOD.source, quoted_by="")}, "expected both or neither"),
    ],
)
def test_a_rule_that_breaks_the_contract_is_refused_with_the_reason(change, message):
    with pytest.raises(ValueError, match=r".") as caught:
        check_rule(GOOD.name, replace(GOOD, **change))
    assert message in str(caught.value)


def test_what_is_no_rule_is_refused():
    with pytest.raises(TypeError, match="got dict"):
        check_rule("x", {})


def test_every_quantity_says_what_it_is():
    for quantity in QUANTITIES.values():
        assert quantity.description
        assert not quantity.description.endswith(".")


@pytest.mark.parametrize("slope", [0.0, -3.0, -5.0, -7.5])
def test_the_slope_of_noise_that_was_made_with_it(slope):
    audio = sloped(slope)
    assert measured("spectral_slope", audio, 44_100).value == pytest.approx(slope, abs=0.15)
    assert measured("whole_slope", audio, 44_100).value == pytest.approx(slope, abs=0.15)


def test_the_slope_agrees_with_the_spectrum_of_scipy():
    audio = sloped(-4.0, seed=5) + 0.3 * noise(1, 20.0, rate=44_100)
    hz, power = welch(audio, 44_100, nperseg=8192)
    power = power.sum(axis=0)
    edges = np.geomspace(100, 4000, 17)
    bands = [(hz >= low) & (hz < high) for low, high in itertools.pairwise(edges)]
    expected = np.polyfit([np.log2(hz[b]).mean() for b in bands], [10 * np.log10(power[b].mean()) for b in bands], 1)[0]
    assert measured("spectral_slope", audio, 44_100).value == pytest.approx(expected, abs=0.05)


def test_shares_of_tones_below_and_above():
    time_s = np.arange(6 * 44_100) / 44_100
    for share in (0.5, 0.1, 0.01):
        low, high = (math.sqrt(part) * np.sin(2 * np.pi * hz * time_s) for part, hz in ((share, 60.0), (1 - share, 8000.0)))
        audio = np.repeat((0.2 * (low + high))[None], 2, axis=0).astype(np.float32)
        assert measured("low_level", audio, 44_100).value == pytest.approx(10 * math.log10(share), abs=0.05)
        assert measured("treble_level", audio, 44_100).value == pytest.approx(10 * math.log10(1 - share), abs=0.05)


def test_clicks_are_percussive_and_a_chord_is_not():
    clicks = np.zeros((2, 6 * RATE), np.float32)
    clicks[:, :: RATE // 3] = 0.9
    time_s = np.arange(6 * RATE) / RATE
    chord = np.repeat(sum(0.1 * np.sin(2 * np.pi * hz * time_s) for hz in (220, 277, 330))[None], 2, axis=0).astype(np.float32)
    assert measured("percussive_level", clicks).value > -0.5
    assert measured("percussive_level", chord).value < -15.0
    assert measured("percussive_level", chord).value < measured("percussive_level", chord + clicks).value


def test_the_percussive_level_agrees_with_the_effect_of_librosa():
    audio = mono_noise(3) * np.exp(-8 * (np.arange(6 * RATE) / RATE % 0.5)).astype(np.float32)
    percussive = librosa.effects.percussive(audio[0], n_fft=1024)
    expected = 10 * math.log10(np.sum(percussive**2) / np.sum(audio[0] ** 2))
    assert measured("percussive_level", audio).value == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize("side_db", [-20.0, -10.0, -3.0, 6.0])
def test_the_sides_below_120_hz(side_db):
    mid, side = sloped(-6.0, 1)[0], sloped(-6.0, 2)[0]
    side = side * 10 ** (side_db / 20)
    assert measured("low_side", np.stack([mid + side, mid - side]), 44_100).value == pytest.approx(side_db, abs=0.7)


def test_what_is_equal_left_and_right_has_no_sides():
    assert measured("low_side", sloped(-5.0), 44_100).value == -60.0


def test_width_that_grows_with_frequency_and_that_does_not():
    time_s = np.arange(6 * 44_100) / 44_100
    tones = [np.sin(2 * np.pi * hz * time_s) for hz in (63, 125, 250, 500, 1000, 2000, 4000, 8000)]
    others = [np.sin(2 * np.pi * (1.04 * hz) * time_s) for hz in (63, 125, 250, 500, 1000, 2000, 4000, 8000)]
    for rise in (0.1, 0.0, -0.1):
        left = right = 0
        for number, (one, other) in enumerate(zip(tones, others, strict=True)):
            width = 0.45 + rise * (number - 3.5)  # of two unrelated parts mid and side: twice the share of the smaller
            mid, side = math.sqrt(1 - width / 2) * one, math.sqrt(width / 2) * other
            left, right = left + mid + side, right + mid - side
        audio = 0.02 * np.stack([left, right]).astype(np.float32)
        assert measured("width_rise", audio, 44_100).value == pytest.approx(rise, abs=0.02)


def test_left_over_right_and_their_correlation():
    one, other = noise(1), noise(2)
    audio = np.stack([one[0], 0.5 * one[0]])
    assert measured("left_right", audio).value == pytest.approx(-6.02, abs=0.01)
    assert measured("correlation", audio).value == pytest.approx(1.0, abs=1e-6)
    assert measured("correlation", np.stack([one[0], -one[0]])).value == pytest.approx(-1.0, abs=1e-6)
    assert measured("correlation", np.stack([one[0], other[0]])).value == pytest.approx(0.0, abs=0.01)


def test_crest_factors_of_a_sine_and_a_square():
    time_s = np.arange(6 * RATE) / RATE
    sine = np.repeat(np.sin(2 * np.pi * 100 * time_s)[None], 2, axis=0).astype(np.float32)
    assert measured("crest", 0.3 * sine).value == pytest.approx(3.01, abs=0.01)
    assert measured("crest", (0.3 * np.sign(sine + 1e-6)).astype(np.float32)).value == pytest.approx(0.0, abs=0.01)


def test_clicks_in_the_treble_raise_the_crest_of_high_octaves():
    steady = sloped(0.0, 7, rate=RATE)
    clicks = np.zeros_like(steady)
    clicks[:, RATE // 2 :: RATE] = 3.0
    clicks[:, RATE // 2 + 1 :: RATE] = -3.0
    assert abs(measured("crest_rise", steady).value) < 0.6
    assert measured("crest_rise", steady + clicks).value > 1.0


def test_loudness_and_range_agree_with_libebur128():
    steps = np.repeat([0.05, 0.15, 0.3, 0.1], 20 * RATE)
    audio = (noise(4, 80.0) * steps / 0.1).astype(np.float32)
    found = measure_quantities(heard({"vocals": audio}), ["loudness", "loudness_range", "true_peak", "peak_to_loudness"])
    state = pyebur128.R128State(2, RATE, pyebur128.MeasurementMode.MODE_I | pyebur128.MeasurementMode.MODE_LRA)
    state.add_frames(audio.T.ravel().astype(np.float64), audio.shape[1])
    assert found["loudness"].value == pytest.approx(pyebur128.get_loudness_global(state), abs=0.1)
    assert found["loudness_range"].value == pytest.approx(pyebur128.get_loudness_range(state), abs=0.2)
    assert found["peak_to_loudness"].value == pytest.approx(found["true_peak"].value - found["loudness"].value)


def test_a_short_song_has_no_loudness_range():
    found = measured("loudness_range", noise(1))
    assert found.value is None
    assert found.why == "the recording has 6 s; a loudness range is of 60 s or more"


def test_levels_of_the_parts_that_names_mean():
    stems = {"01_Lead Vox": mono_noise(1), "Bass-DI": 0.5 * mono_noise(2), "kick": 0.25 * mono_noise(3), "BackingVox": 0.1 * mono_noise(4)}
    found = measure_quantities(heard(stems))
    whole = 10 * math.log10(1 + 0.25 + 0.0625 + 0.01)
    assert found["vocal_level"].value == pytest.approx(-whole, abs=0.1)
    assert found["vocal_against_rest"].value == pytest.approx(-10 * math.log10(0.3225), abs=0.15)
    assert found["vocal_lead"].value == pytest.approx(6.02, abs=0.1)
    assert found["bass_level"].value == pytest.approx(-6.02 - whole, abs=0.1)
    assert found["kick_level"].value == pytest.approx(-12.04 - whole, abs=0.1)
    assert found["level_spread"].value == pytest.approx(20.0, abs=0.1)
    assert found["snare_level"] == unmeasured("no stem is called snare")


def test_of_two_stems_that_may_be_the_part_none_is_taken():
    told = heard({"kick in": noise(1), "kick": noise(2), "kick_drum": noise(3)})
    assert stem_of(told, "kick") == "kick, kick_drum may each be the kick"
    assert measure_quantities(told, ["kick_level"])["kick_level"].why.endswith("may each be the kick")


@pytest.mark.parametrize("name", ["bass drum", "bassoon", "backing vocals", "kickstart"])
def test_names_of_other_parts_are_not_taken(name):
    told = heard({name: noise(1)})
    assert all(isinstance(stem_of(told, part), str) for part in PARTS if (part, name) != ("kick", "bass drum"))


def test_pans_with_the_interval_of_the_kind_of_stem():
    angle = (0.5 + 1) * np.pi / 4
    one = noise(1, channels=1)
    stems = {"vocals": np.concatenate([np.cos(angle) * one, np.sin(angle) * one]), "bass": mono_noise(2)}
    found = measure_quantities(heard(stems))
    assert found["vocal_pan"].value == pytest.approx(0.5, abs=1e-3)
    assert found["bass_pan"] == Measured(*(pytest.approx(0.0, abs=1e-3),) * 3)
    assert found["largest_pan"].value == pytest.approx(0.5, abs=1e-3)
    separated = heard(stems, calibration="separated")
    found = measure_quantities(separated)
    ends = separated.balances["vocals"].pan_low, separated.balances["vocals"].pan_high
    assert ends[0] < 0.5 < ends[1]
    assert (found["vocal_pan"].low, found["vocal_pan"].high) == ends
    assert (found["largest_pan"].low, found["largest_pan"].high) == ends


def test_a_mono_song_has_no_place_and_no_sides():
    found = measure_quantities(heard({"vocals": noise(1, channels=1), "bass": noise(2, channels=1)}))
    places = ("vocal_pan", "bass_pan", "largest_pan", "low_side", "width_rise", "left_right", "correlation")
    assert [found[name].value for name in places] == [None] * 7
    assert all("mono" in found[name].why for name in places)
    assert found["vocal_level"].value == pytest.approx(-3.0, abs=0.2)


def test_a_low_sample_rate_says_what_it_lacks():
    found = measure_quantities(heard({"vocals": noise(1, rate=8000)}, rate=8000))
    assert found["spectral_slope"].why == "it needs frequencies up to 4000 Hz, and the sample rate is 8000 Hz"


def test_a_silent_stem_says_so_in_the_rules_about_it():
    found = measure_quantities(heard({"vocals": 0 * noise(1), "bass": noise(2)}))
    assert found["vocal_level"] == unmeasured("vocals not present: silent")
    assert found["level_spread"].why == "it needs two stems that sound, and there is one"


@pytest.mark.parametrize(
    ("interval", "kept"), [((-5, -5.5, -4.5), YES), ((-5, -6.5, -4.5), UNDECIDED), ((-8, -9, -7), NO), ((-3.9, -4.1, -3.7), UNDECIDED)]
)
def test_an_interval_that_crosses_the_limit_decides_nothing(interval, kept):
    assert verdict(GOOD, Song("one", {"spectral_slope": Measured(*interval)})).kept == kept


def test_conditions_of_year_and_genre():
    at = {"vocal_against_rest": exactly(3.0)}
    pop, old = RULES["vocal_pop"], RULES["vocal_to_1960"]
    assert verdict(pop, Song("a", at)).why == "the genre is not known"
    assert verdict(pop, Song("a", at, genre="Synth-Pop")).kept == YES
    assert verdict(RULES["vocal_rap"], Song("a", at, genre="Hip-Hop/Rap")).kept == YES
    assert verdict(pop, Song("a", at, genre="Popular")).kept == ELSEWHERE
    assert verdict(old, Song("a", at)).why == "the year is not known"
    assert verdict(old, Song("a", at, year=1960)).kept == YES
    assert verdict(old, Song("a", at, year=1961)) == (old, unmeasured(verdict(old, Song("a", at, year=1961)).why), ELSEWHERE,
        "it applies up to 1960; this song is of 1961")  # fmt: skip


def songs_at(values, name="spectral_slope", half=0.0, **facts):
    return [Song(str(n), {name: Measured(value, value - half, value + half)}, **facts) for n, value in enumerate(values)]


def test_the_share_of_songs_that_keep_a_rule():
    found = share_kept(GOOD, songs_at([-5.0] * 30 + [-9.0] * 10))
    assert (found.songs, found.share.value, found.kept) == (40, 0.75, YES)
    assert found.middle.value == -5.0
    assert 0.62 < found.share.low < 0.7
    assert 0.8 < found.share.high < 0.87
    assert share_kept(GOOD, songs_at([-9.0] * 5)).share.low == 0.0


def test_a_few_songs_that_all_agree_leave_doubt():
    share = share_kept(GOOD, songs_at([-5.0] * 3)).share
    assert (share.value, share.high) == (1.0, 1.0)
    assert 0.5 < share.low < 0.9


def test_the_interval_of_a_share_carries_each_songs_own():
    values = [-4.3] * 20
    certain, doubtful = share_kept(GOOD, songs_at(values)).share, share_kept(GOOD, songs_at(values, half=1.0)).share
    assert certain.low > 0.85
    assert doubtful.low < 0.7


def test_intervals_of_shares_cover_the_share_in_four_cases_of_five():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        share = rng.uniform(0.1, 0.9)
        found = share_kept(GOOD, songs_at(np.where(rng.random(40) < share, -5.0, 0.0))).share
        inside += found.low <= share <= found.high
    assert 0.72 <= inside / 200 <= 0.9


def test_a_trend_over_the_years_is_found_and_judged():
    rule, rng = RULES["vocal_fell_to_1975"], np.random.default_rng(1)
    years = rng.integers(1946, 1976, 60)
    songs = [
        Song(str(n), {rule.quantity: Measured(5 - 4 * (year - 1946) / 29 + error, None, None)}, year=int(year))
        for n, (year, error) in enumerate(zip(years, rng.normal(0, 1.0, 60), strict=True))
    ]
    songs = [replace(song, measured={rule.quantity: exactly(song.measured[rule.quantity].value)}) for song in songs]
    found = share_kept(rule, [*songs, *songs_at([9.0] * 20, rule.quantity, year=2000)])
    assert found.songs == 60
    assert found.middle.value == pytest.approx(-1.38, abs=0.35)
    assert found.middle.low < -1.38 < found.middle.high
    assert found.kept == YES
    flat = [replace(song, measured={rule.quantity: exactly(5.0)}) for song in songs]
    assert share_kept(rule, flat).kept == NO
    assert "at least 5 songs" in share_kept(rule, songs[:4]).why


def test_a_trend_over_another_quantity():
    rule = RULES["percussion_treble"]
    rising = [Song(str(n), {"percussive_level": exactly(-20.0 + n), "treble_level": exactly(-15 + 0.5 * n)}) for n in range(12)]
    found = share_kept(rule, rising)
    assert found.middle.value == pytest.approx(0.5)
    assert found.kept == YES
    assert rule.unit == "dB/dB"


def test_rules_of_nothing_and_of_no_song_say_why():
    assert share_kept(RULES["energy_loudness"], songs_at([1.0])).why.startswith("It is about what listeners prefer")
    assert share_kept(RULES["vocal_pop"], songs_at([1.0], "vocal_against_rest")).why == "the genre is not known"
    assert share_kept(RULES["vocal_pop"], songs_at([1.0], "vocal_against_rest", genre="jazz")).why == "it applies to pop"
    assert verdict(RULES["bass_rises"], songs_at([1.0])[0]).kept == NOT_MEASURED


def test_a_rule_of_another_package_is_held_to_the_contract():
    source = Source("A", 2020, "B", "C", "paper")
    check_rule("mine", Rule("mine", "It is so.", "crest", 1.0, None, "the source", "opinion", source))


def test_the_published_contract_measures_the_quantity_too():
    testing.check_rule("vocal_equals_rest")
    testing.check_rule("low_narrow")
    with pytest.raises(AssertionError, match="the quantities are vocal_level"):
        testing.check_rule(replace(GOOD, quantity="loudnes"))


def test_what_only_trends_need_is_not_measured_of_few_songs():
    rules = [RULES["percussion_treble"], GOOD]
    assert quantities_of(rules, 4) == ["spectral_slope"]
    assert quantities_of(rules, 5) == ["percussive_level", "spectral_slope", "treble_level"]
    assert share_kept(rules[0], songs_at([-5.0] * 4)).why == "a trend needs at least 5 songs that differ in percussive_level; there are 4"
