import numpy as np
import pytest
import torch
from scipy.signal import sosfreqz

from stemwright.datagen.effects import apply_chain
from stemwright.datagen.effects.dsp.biquads import peak, responses_db, shelf
from stemwright.datagen.inverse.blind.features import SPECTRUM_HZ, fine_spectrum, triangles
from stemwright.datagen.inverse.blind.normalise_bands import StemBands, _grouped

RATE = 44_100


@pytest.fixture(scope="module")
def bands() -> StemBands:
    hz = np.array(SPECTRUM_HZ)
    return StemBands(
        np.geomspace(50.0, 9000.0, 10), np.full(10, 2.5), -6.0 * np.log2(hz / 40.0), np.ones(len(hz), bool), np.eye(2), np.eye(2)
    )


def test_responses_of_sections_are_those_of_scipy() -> None:
    sections = torch.cat([peak(np.array([12.0, -7.0]), 60.0, 8.0, RATE), shelf(np.array([-23.0]), 40.0, 0.71, RATE, high=False)])
    hz = np.geomspace(5.0, 22_000.0, 500)
    for section, found in zip(sections.numpy(), responses_db(sections, hz, RATE), strict=True):
        response = sosfreqz([[*section[:3], 1.0, *section[3:]]], hz, fs=RATE)[1]
        np.testing.assert_allclose(found, 20.0 * np.log10(np.abs(response)), atol=1e-5)


def test_groups_of_bins_predict_what_single_bins_do(bands: StemBands) -> None:
    audio = np.random.default_rng(3).normal(0.0, 0.1, (2, RATE)).astype(np.float32)
    gains = np.array([4.0, -9.0, 12.0, 0.0, -3.0, 6.0, -12.0, 9.0, -6.0, 5.0])
    grouped, slopes = bands._predicted(*_grouped(audio, RATE), gains, RATE)
    power, hz = fine_spectrum(audio, RATE)
    single, fine = bands._predicted(triangles(hz, RATE)[0] * power, hz, gains, RATE)
    there = np.isfinite(single)
    assert there.sum() > 45
    np.testing.assert_allclose(grouped[there], single[there], atol=0.01)
    np.testing.assert_allclose(slopes, fine, atol=0.01)


def test_a_chain_has_the_places_and_widths_that_responses_are_computed_with(bands: StemBands) -> None:
    gains = np.arange(1.0, 11.0)
    hz = np.geomspace(30.0, 15_000.0, 300)
    impulse = torch.zeros(1, 4 * RATE, dtype=torch.float64)
    impulse[0, 0] = 1.0
    spectrum = torch.fft.rfft(apply_chain(impulse, RATE, bands.chain(gains))[0].double()).abs().numpy()
    at = np.round(hz * 4).astype(int)
    np.testing.assert_allclose(bands._responses(gains, at / 4.0, RATE).sum(0), 20.0 * np.log10(spectrum[at]), atol=1e-3)
