"""Intervals of pan, width and playing time of separated stems."""

import numpy as np
import pytest

from stemwright.separation.balance.basis import DEMONSTRATION, ESTIMATED, MEASURED, basis_of, sentence
from stemwright.separation.balance.image_intervals import (
    BUNDLED_IMAGE,
    EXACT_IMAGE,
    OTHER_IMAGE,
    SEPARATED_IMAGE,
    Seen,
    active_interval,
    pan_interval,
    width_interval,
)
from stemwright.separation.balance.image_words import between_in_words
from stemwright.separation.balance.level_estimators import BUNDLED, OTHER, REFERENCE, SEPARATED, calibration_for
from stemwright.separation.balance.measure import measure_balance

RATE = 22_050
EVERY = {"separated": SEPARATED_IMAGE, "bundled": BUNDLED_IMAGE, "other": OTHER_IMAGE}


def placed(rng, pan):
    """Noise [2, T] that comes and goes, at a place by the constant-power law."""
    angle = (pan + 1) * np.pi / 4
    mono = rng.normal(0, 0.1, 6 * RATE) * (1 + np.sin(np.arange(6 * RATE) / RATE * rng.uniform(3, 9)))
    return (np.array([[np.cos(angle)], [np.sin(angle)]]) * mono).astype(np.float32)


@pytest.mark.parametrize("calibration", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("pan", [-1.0, -0.4, 0.0, 0.95])
def test_an_interval_holds_its_value_stays_in_range_and_grows_with_the_gap(calibration, pan):
    widths = []
    for gap_lu in (0.0, 0.1, 1.0, 5.0):
        seen = Seen(gap_lu, 0.8 * pan, 0.3)
        intervals = pan_interval(pan, seen, calibration), width_interval(0.2, seen, calibration), active_interval(0.9, seen, calibration)
        for value, (low, high), lowest in zip((pan, 0.2, 0.9), intervals, (-1.0, 0.0, 0.0), strict=True):
            assert lowest <= low <= value <= high <= 1.0
        widths.append([high - low for low, high in intervals])
    assert (np.diff(widths, axis=0) >= -1e-12).all()
    assert widths[0][1:] == [0.0, 0.0]  # without a gap there is no error


def test_the_multitracks_own_stems_have_intervals_without_width():
    rng = np.random.default_rng(1)
    stems = {"vocals": placed(rng, 0.1), "drums": placed(rng, -0.6)}
    for stem in measure_balance(sum(stems.values()), stems, RATE, calibration="reference").values():
        assert (stem.pan_low, stem.width_low, stem.active_low) == (stem.pan, stem.width, stem.active_fraction)
        assert (stem.pan_high, stem.width_high, stem.active_high) == (stem.pan, stem.width, stem.active_fraction)
    assert pan_interval(0.3, Seen(5.0, -0.9, 1.0), EXACT_IMAGE) == (0.3, 0.3)


@pytest.mark.parametrize("leak", [0.3, 0.6])
def test_the_interval_of_a_stem_that_leaks_reaches_the_place_of_the_real_one(leak):
    """What is left of the others in a stem draws it to them; what it shares with the mixture in each channel tells it, nearly."""
    rng = np.random.default_rng(2)
    names, pans = ("drums", "bass", "other", "vocals"), (-0.7, 0.0, 0.6, 0.5)
    stems = {name: placed(rng, pan) for name, pan in zip(names, pans, strict=True)}
    mixture = sum(stems.values())
    said = measure_balance(
        mixture, {name: (1 - leak) * stem + leak / 4 * mixture for name, stem in stems.items()}, RATE, calibration="bundled"
    )
    for name, pan in zip(names, pans, strict=True):
        assert said[name].pan_low <= pan <= said[name].pan_high
        assert said[name].pan_low <= said[name].pan <= said[name].pan_high
    assert abs(said["drums"].pan - -0.7) > 0.02  # the stem itself is drawn to the others
    assert said["drums"].pan_high < 0.6  # and the interval still says something


def test_a_model_has_the_calibration_and_the_name_of_what_its_figures_are():
    for origin, calibration, basis in (
        ("reference", REFERENCE, MEASURED),
        ("bundled@1.0", BUNDLED, DEMONSTRATION),
        ("htdemucs_ft@demucs-4.1.0", SEPARATED, ESTIMATED),
        ("my.package:model@3", OTHER, ESTIMATED),
    ):
        assert calibration_for(origin) is calibration
        assert (basis_of(origin), calibration.basis) == (basis, basis)
    assert "demonstration model bundled" in sentence(DEMONSTRATION, "bundled@1.0")
    assert sentence(ESTIMATED, "htdemucs@demucs-4.1.0") == "estimate, separated by htdemucs"
    assert "do not sum" in sentence(ESTIMATED)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(-0.2, 0.5, "0.2 L\u20130.5 R"), (0.1, 0.32, "0.1\u20130.3 R"), (-0.32, -0.1, "0.3\u20130.1 L"), (-0.3, -0.01, "0.3\u20130.0 L"),
     (-0.01, 0.4, "0.0\u20130.4 R")],
)  # fmt: skip
def test_an_interval_of_pan_reads_as_places(low, high, text):
    assert between_in_words(low, high) == text
