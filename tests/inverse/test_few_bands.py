"""An equaliser is found with as few bands as it has."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pedalboard
import pytest
import torch

import stemwright as sw
from stemwright.datagen.effects import EFFECTS, apply_chain, eq
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.inverse.console import fit_console
from stemwright.datagen.inverse.console.alternatives import hides, with_restarted_dynamics
from stemwright.datagen.inverse.console.doubts import level_doubts, shelf_doubts
from stemwright.datagen.inverse.console.joint_search import ConsoleProblem, ConsoleSearchResult, ConsoleSettings
from stemwright.datagen.inverse.console.readable import with_fewer_bands
from stemwright.datagen.inverse.known_dry.few_bands import fewer_bands, nearest_bands
from stemwright.datagen.inverse.known_dry.response import BY_CHANCE, measure_response

RATE = 44_100
HZ = np.geomspace(25.0, 20_000.0, 120)
PEAKS = eq.Settings(peak1_gain_db=4.0, peak1_hz=60.0, peak2_gain_db=4.0, peak2_hz=150.0, peak3_gain_db=2.0, peak3_hz=400.0)
WEIGHT = np.full(len(HZ), 1.0 / len(HZ))


def bands(settings: Any) -> dict[str, tuple[float, float, float]]:
    """Gain, frequency and q of the bands with a gain."""
    values = {band: tuple(getattr(settings, f"{band}_{name}") for name in ("gain_db", "hz", "q")) for band in eq.BANDS}
    return {band: (gain, hz, q) for band, (gain, hz, q) in values.items() if gain != 0.0}


def simplest(settings: eq.Settings, *, level_free: bool = True, below: float = 1e-6) -> Any:
    found = fewer_bands(settings, HZ, WEIGHT, RATE, level_free=level_free)
    return next(best for best, *_ in found if best.left < below)


def noise(seed: int, seconds: float = 1.5) -> torch.Tensor:
    return torch.from_numpy(0.1 * np.random.default_rng(seed).standard_normal((2, round(seconds * RATE))))


def response_db(settings: eq.Settings) -> np.ndarray:
    return np.asarray(20.0 * np.log10(np.abs(response(eq.sections(settings, RATE), HZ, RATE))))


def through_lowpass(audio: torch.Tensor) -> torch.Tensor:
    return apply_chain(audio, RATE, [("lowpass", {"cutoff_hz": 300.0, "order": 2})])


def test_bands_at_one_place_are_one() -> None:
    found = simplest(eq.Settings(peak1_gain_db=2.0, peak1_hz=900.0, peak2_gain_db=2.5, peak2_hz=900.0, peak4_gain_db=0.001))
    ((gain_db, hz, q),) = bands(found.settings).values()
    assert (gain_db, hz, q) == pytest.approx((4.5, 900.0, 1.0), rel=0.02)


def test_a_shelf_that_raises_everything_is_a_level() -> None:
    found = simplest(eq.Settings(high_shelf_gain_db=1.5, high_shelf_hz=20.0, peak2_gain_db=-6.0), below=1e-4)
    ((gain_db, hz, _),) = bands(found.settings).values()
    assert (gain_db, hz) == pytest.approx((-6.0, 1000.0), rel=0.02)
    assert found.level_db == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize(("hz", "kind"), [(200.0, "low_shelf"), (5000.0, "high_shelf")])
@pytest.mark.parametrize("used", ["low_shelf", "high_shelf"])
def test_low_and_high_shelves_that_sound_alike_differ_by_their_frequency(used: str, hz: float, kind: str) -> None:
    found = simplest(eq.Settings(**{f"{used}_gain_db": 6.0, f"{used}_hz": hz, "peak2_gain_db": 0.001}))
    gain_db = 6.0 if used == kind else -6.0
    assert list(bands(found.settings)) == [kind]
    assert bands(found.settings)[kind] == pytest.approx((gain_db, hz, 0.71), rel=0.02)
    assert found.level_db == pytest.approx(0.0 if used == kind else 6.0, abs=0.05)
    alone = simplest(eq.Settings(**{f"{used}_gain_db": 6.0, f"{used}_hz": hz, "peak2_gain_db": 0.001}), level_free=False)
    assert alone.level_db == 0.0
    assert sum(gain for gain, _, _ in bands(alone.settings).values()) == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize("beside", [0.0, 0.02], ids=["clean", "noise"])
def test_a_peak_is_fitted_as_one_band(beside: float) -> None:
    dry = noise(1)
    wet = apply_chain(dry, RATE, [("eq", {"peak3_gain_db": -5.0, "peak3_hz": 1500.0, "peak3_q": 2.0})]) + beside * noise(2)
    ((gain_db, hz, q),) = bands(sw.fit("eq", wet, dry, RATE)).values()
    assert gain_db == pytest.approx(-5.0, abs=0.3)
    assert hz == pytest.approx(1500.0, rel=0.05)
    assert q == pytest.approx(2.0, rel=0.15)


def test_bands_of_a_chain_are_as_few_and_its_fader_stays() -> None:
    dry = noise(3, 0.5)
    peak = {"peak2_gain_db": 6.0, "peak2_hz": 700.0}
    truth = [("eq", peak), ("fader", {"gain_db": -4.0, "pan": 0.2})]
    found = sw.fit_chain(apply_chain(dry, RATE, truth), dry, RATE, ["eq", "fader"])
    (_, equaliser), (_, fader) = found
    ((gain_db, hz, _),) = bands(equaliser).values()
    assert (gain_db, hz) == pytest.approx((6.0, 700.0), rel=1e-3)
    assert fader.gain_db == pytest.approx(-4.0, abs=1e-3)
    audible = {name for name in found.confidence if name.startswith("eq.")}
    assert len(audible) == 3, "a band without gain has no confidence"


def test_equalisers_of_a_console_are_simplified_together() -> None:
    dry = {"one": noise(5), "two": noise(6)}
    true = {"one": {"peak1_gain_db": 4.0, "peak1_hz": 500.0}, "two": {"high_shelf_gain_db": -6.0, "high_shelf_hz": 4000.0}}
    more = {
        "one": {"peak1_gain_db": 2.0, "peak1_hz": 500.0, "peak2_gain_db": 2.0, "peak2_hz": 500.0},
        "two": {**true["two"], "peak4_gain_db": 0.01},
    }

    def console(chosen: dict[str, dict[str, float]]) -> ConsoleSettings:
        return ConsoleSettings({name: (("eq", eq.Settings(**chosen[name])), ("fader", EFFECTS["fader"].Settings())) for name in dry})

    mixture = ConsoleProblem(dry["one"], dry, RATE).mix(console(true))
    problem = ConsoleProblem(mixture, dry, RATE)
    found = with_fewer_bands(problem, console(more))
    assert [list(bands(found.chains[name][0][1])) for name in dry] == [["peak1"], ["high_shelf"]]
    assert problem.cost(found) < 1e-9


def test_a_shelf_written_as_peaks_is_a_shelf_beside_the_bands_that_are_there() -> None:
    shelf, peak = eq.Settings(low_shelf_gain_db=6.0, low_shelf_hz=300.0), {"peak4_gain_db": -5.0, "peak4_hz": 4000.0, "peak4_q": 2.0}
    peaks = nearest_bands(PEAKS, response_db(shelf), HZ, np.diag(np.sqrt(WEIGHT)), RATE, same=True)
    found = simplest(peaks.model_copy(update=peak), level_free=False, below=3e-3)
    assert len(bands(peaks)) == 3
    assert bands(found.settings) == {
        "low_shelf": pytest.approx((6.0, 300.0, 0.71), rel=0.05),
        "peak1": pytest.approx((-5.0, 4000.0, 2.0), rel=0.05),
    }


def test_of_many_bands_those_that_do_nothing_go_and_the_others_stay() -> None:
    used = {"low_shelf_gain_db": 8.0, "low_shelf_hz": 90.0, "peak1_gain_db": 5.0, "peak1_hz": 130.0, "peak1_q": 3.0}
    used |= {"peak2_gain_db": -6.0, "peak2_hz": 900.0, "peak3_gain_db": 3.5, "peak3_hz": 4900.0, "peak3_q": 2.9}
    used |= {"high_shelf_gain_db": -5.0, "high_shelf_hz": 5400.0}
    found = simplest(eq.Settings(**used, peak4_gain_db=0.04, peak4_hz=47.0), below=1e-5)
    assert bands(found.settings) == {name: pytest.approx(values, rel=0.03) for name, values in bands(eq.Settings(**used)).items()}


@pytest.mark.parametrize(("gain_db", "kept"), [(4.0, 2), (0.2, 1)])
def test_a_band_stays_where_little_else_is_wrong_however_large_the_residual_is_elsewhere(gain_db: float, kept: int) -> None:
    dry = {"low": through_lowpass(noise(10)), "high": 0.1 * noise(11)}
    true = {"peak1_gain_db": gain_db, "peak1_hz": 200.0, "peak1_q": 2.0, "peak2_gain_db": 8.0, "peak2_hz": 90.0}
    console = ConsoleSettings(
        {name: (("eq", eq.Settings(**(true if name == "low" else {}))), ("fader", EFFECTS["fader"].Settings())) for name in dry}
    )
    mixture = ConsoleProblem(dry["low"], dry, RATE).mix(console) + 0.1 * noise(12)  # as loud as the other stem, and no stem of the console
    found = with_fewer_bands(ConsoleProblem(mixture, dry, RATE), console)
    assert len(bands(found.chains["low"][0][1])) == kept


def test_the_level_of_an_equaliser_is_doubted_as_far_as_the_residual_allows() -> None:
    dry = {"one": noise(13)}
    settings = eq.Settings(low_shelf_gain_db=5.0, low_shelf_hz=900.0, peak1_gain_db=3.0, peak1_hz=3000.0)
    console = ConsoleSettings({"one": (("eq", settings), ("fader", EFFECTS["fader"].Settings()))})
    mixture = ConsoleProblem(dry["one"], dry, RATE).mix(console)
    doubts = []
    for other in (0.4, 0.2, 0.1, 0.05, 0.025):  # amplitude of what no stem explains
        found = level_doubts(ConsoleProblem(mixture + other * noise(14), dry, RATE), console)
        by_name = {each.setting.name: by * (each.setting.high - each.setting.low) for each, by in found.items()}
        doubts.append(by_name["gain_db"])
        assert by_name["low_shelf_gain_db"] == pytest.approx(by_name["gain_db"], rel=0.5), "the shelf gives what the fader takes"
    for loud, soft in itertools.pairwise(doubts):
        assert 0.4 * loud < soft < 1.05 * loud, "half the residual, half the doubt: neither all of it nor none"


@pytest.mark.parametrize(("hz", "level_db"), [(300.0, 0.0), (900.0, 4.0), (5000.0, 4.0)])
def test_a_low_shelf_at_high_frequencies_may_be_a_high_shelf_beside_another_gain(hz: float, level_db: float) -> None:
    chain = (("eq", eq.Settings(low_shelf_gain_db=-4.0, low_shelf_hz=hz)), ("fader", EFFECTS["fader"].Settings()))
    found = shelf_doubts(ConsoleSettings({"one": chain}))
    assert not shelf_doubts(ConsoleSettings({"one": chain[:1]})), "no fader, no other gain"
    assert {each.setting.name: by * (each.setting.high - each.setting.low) for each, by in found.items()} == (
        {"gain_db": pytest.approx(level_db), "low_shelf_gain_db": pytest.approx(level_db)} if level_db else {}
    )


@pytest.mark.parametrize(("attack_ms", "release_ms"), [(3.0, 60.0), (20.0, 200.0)])
def test_the_threshold_of_a_compressor_that_smooths_the_level_is_found(attack_ms: float, release_ms: float) -> None:
    swells = torch.linspace(0.0, 9.0, round(1.5 * RATE)).frac().square()
    dry = {"one": swells * noise(18)[:1]}
    board = pedalboard.Pedalboard([pedalboard.Compressor(-32.0, 4.0, attack_ms, release_ms)])
    wet = torch.from_numpy(board(dry["one"].float().numpy(), RATE)).double()
    problem = ConsoleProblem(wet, dry, RATE)
    start = ConsoleSettings({"one": (("compressor", EFFECTS["compressor"].Settings()), ("fader", EFFECTS["fader"].Settings()))})
    found = with_restarted_dynamics(problem, ConsoleSearchResult(start, 0.0, {}, {}))
    compressor: Any = found.console.chains["one"][0][1]
    assert found.residual_db < -40.0
    assert (compressor.threshold_db, 1.0 / compressor.ratio) == (pytest.approx(-32.0, abs=0.5), pytest.approx(0.25, abs=0.03))


def test_an_effect_that_a_residual_hides_is_not_said_to_be_absent() -> None:
    dry = {"loud": noise(7), "soft": 0.03 * noise(8)}
    console = ConsoleSettings({name: (("fader", EFFECTS["fader"].Settings()),) for name in dry})
    problem = ConsoleProblem(sum(dry.values()), dry, RATE)
    assert [hides(problem, console, place, cost) for place, cost in itertools.product(dry, (1e-6, 0.02))] == [False, False, False, True]
    other = noise(9, 1.0)
    mixture = dry["loud"][:, :RATE] + dry["soft"][:, :RATE] + 0.3 * other
    found = fit_console(
        mixture, {name: audio[:, :RATE] for name, audio in dry.items()}, RATE, {"loud": ["fader"], "soft": ["width", "fader"]}
    )
    assert found.chains["soft"].pruned == found.chains["soft"].unclear == ("width",)


def test_the_response_of_what_is_not_in_the_dry_signal_is_unknown() -> None:
    dry = torch.from_numpy(np.cumsum(noise(10).numpy(), axis=1))
    measured = measure_response(noise(11), noise(12), RATE)
    assert np.median(measured.error_db) == 60.0
    assert np.mean(measured.error_db < 60.0) < 30.0 * BY_CHANCE  # windows overlap: fewer are independent
    assert measure_response(0.5 * dry, dry, RATE).error_db.max() < 1e-3


def test_one_peak_is_found_wherever_it_is_and_whatever_the_weights_are() -> None:
    """Where some starts end beside it, two bands seem to be needed."""
    rng = np.random.default_rng(0)
    for number in range(11):
        weight = np.exp(0.15 * rng.normal(0.0, 2.0, len(HZ)).cumsum())
        gain_db, hz, q = (
            float(value) for value in (rng.choice([-1, 1]) * rng.uniform(3.0, 12.0), *np.exp(rng.uniform([4.6, -0.7], [9.0, 1.4])))
        )
        if number not in (0, 10):  # the last one was missed by 48 starts
            continue
        settings = eq.Settings(peak2_gain_db=gain_db, peak2_hz=hz, peak2_q=q, peak4_gain_db=0.001)
        _, one, *_ = fewer_bands(settings, HZ, weight / weight.sum(), RATE, level_free=True)
        ((found_db, found_hz, found_q),) = bands(one[0].settings).values()
        assert (found_db, found_hz, found_q) == pytest.approx((gain_db, hz, q), rel=0.05)


def test_bands_at_another_level_are_found_where_they_sound_alike() -> None:
    """A shelf above all that is heard raises everything; a peak does not."""
    deep = HZ < 120.0
    root = np.diag(deep / np.sqrt(deep.sum()))
    root -= np.outer(np.diag(root) ** 2, np.diag(root)) / float((np.diag(root) ** 2).sum())  # a gain costs nothing
    level = 0.1 * deep[:, None] / deep.sum()
    shelf, peak = eq.Settings(low_shelf_gain_db=0.5, low_shelf_hz=500.0), eq.Settings(peak1_gain_db=6.0, peak1_hz=60.0)
    for settings, alike in ((shelf, True), (peak, False)):
        here_db = 20.0 * np.log10(np.abs(response(eq.sections(settings, RATE), HZ, RATE)))
        other = nearest_bands(settings, here_db + 6.0, HZ, np.concatenate([root, level], 1), RATE, same=True)
        off_db = 20.0 * np.log10(np.abs(response(eq.sections(other, RATE), HZ, RATE))) - here_db
        assert (off_db[deep].mean() > 3.0 and float(((off_db @ root) ** 2).sum()) < 0.01) == alike
