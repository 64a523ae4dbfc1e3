"""Fitting a whole console: what mixed the stems is found again."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pedalboard
import pytest
import torch

from stemwright.datagen.cli.fitting import lines
from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.inverse.console import fit, fit_console, joint_search
from stemwright.datagen.inverse.console.alternatives import Pruned
from stemwright.datagen.inverse.console.fitted_console import shifted
from stemwright.datagen.inverse.console.joint_search import BUS, STEP, ConsoleProblem, ConsoleSettings, heard, search, unknowns_of
from stemwright.datagen.inverse.console.preparation import excerpts
from stemwright.datagen.inverse.console.rooms import fitted

SAMPLE_RATE = 44_100
FRAMES = 2 * SAMPLE_RATE

Stems = dict[str, torch.Tensor]


def use(name: str, **settings: Any) -> tuple[str, Any]:
    return name, EFFECTS[name].Settings(**settings)


@pytest.fixture(scope="module")
def stems(synthetic_song: dict[str, np.ndarray]) -> Stems:
    return {name: torch.from_numpy(synthetic_song[name][:, :FRAMES].copy()).double() for name in ("drums", "vocals")}


def mixed(stems: Stems, chains: dict[str, list[tuple[str, Any]]], bus: list[tuple[str, Any]] | None = None) -> torch.Tensor:
    total = torch.stack([apply_chain(stems[name], SAMPLE_RATE, chain) for name, chain in chains.items()]).sum(0)
    return apply_chain(total, SAMPLE_RATE, bus or [])


FADERS = {"drums": [use("fader", gain_db=-4.0, pan=0.3)], "vocals": [use("fader", gain_db=2.0, pan=-0.5)]}


def test_equalisers_and_faders_of_two_stems_are_found_together(stems: Stems) -> None:
    bands = {"drums": {"peak2_gain_db": 6.0, "peak2_hz": 900.0}, "vocals": {"high_shelf_gain_db": -8.0, "high_shelf_hz": 5000.0}}
    mixture = mixed(stems, {name: [use("eq", **bands[name]), *chain] for name, chain in FADERS.items()})
    heard: list[tuple[int, int]] = []
    found = fit_console(mixture, stems, SAMPLE_RATE, ["eq", "fader"], on_progress=lambda done, total, _: heard.append((done, total)))
    assert found.loss < 0.1 * found.gain_and_pan_loss
    assert found.error_db < found.gain_and_pan_error_db - 30.0
    for name, chain in FADERS.items():
        wanted = apply_chain(stems[name], SAMPLE_RATE, [use("eq", **bands[name]), *chain]).square().mean()
        level = apply_chain(stems[name], SAMPLE_RATE, found.chains[name]).square().mean()
        assert float(10.0 * (level / wanted).log10()) == pytest.approx(0.0, abs=0.1)
    torch.testing.assert_close(found.mix(stems, SAMPLE_RATE), mixture, atol=3e-3, rtol=0)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert heard[-1][0] == heard[-1][1], "the count ends at its total, whatever was not needed"
    rows = {(row["stem"], row["setting"]): row for row in found.rows()}
    assert rows["drums", "gain_db"]["unit"] == "dB"
    assert 0.0 <= rows["drums", "pan"]["confidence"] <= 1.0


@pytest.mark.parametrize(
    "used",
    [
        use("distortion", drive_db=15.0, asymmetry=0.2),  # output_db is typically one number, not a range; so are
        use("loudness", target_db=-22.0),  # gate_db
        use("chorus", rate_hz=0.6, depth=0.3, centre_ms=7.0, feedback=0.2, mix=0.3),  # and depth_ms
    ],
    ids=lambda used: used[0],
)
def test_a_console_may_hold_an_effect_whose_typical_setting_is_a_number(used: tuple[str, Any], stems: Stems) -> None:
    dry = {name: audio[:, : SAMPLE_RATE // 2] for name, audio in stems.items()}
    mixture = mixed(dry, {"drums": [used, use("fader", gain_db=-3.0)], "vocals": [use("fader", gain_db=2.0)]})
    found = fit_console(mixture, dry, SAMPLE_RATE, {"drums": [used[0], "fader"], "vocals": ["fader"]})
    assert found.error_db < found.gain_and_pan_error_db + 0.5
    chain = dict(found.chains["drums"])
    if used[0] == "distortion":  # the others move in time, or are a gain that the fader takes over
        assert chain["distortion"].drive_db == pytest.approx(15.0, abs=0.1)
        assert chain["distortion"].asymmetry == pytest.approx(0.2, abs=0.01)
        assert chain["distortion"].output_db + chain["fader"].gain_db == pytest.approx(-3.0, abs=0.1)
    if used[0] == "loudness":
        torch.testing.assert_close(found.mix(dry, SAMPLE_RATE), mixture, atol=1e-4, rtol=0)


def test_effect_that_is_not_there_is_pruned_and_late_stem_is_aligned(stems: Stems) -> None:
    late = {**stems, "vocals": shifted(stems["vocals"], -441)}
    found = fit_console(mixed(stems, FADERS), late, SAMPLE_RATE, {"drums": ["width", "fader"], "vocals": ["fader"]})
    assert found.lags == {"vocals": 441}
    assert found.chains["drums"].pruned == ("width",)
    for name, chain in FADERS.items():
        fader: Any = dict(found.chains[name])["fader"]
        assert (fader.gain_db, fader.pan) == pytest.approx((chain[0][1].gain_db, chain[0][1].pan), abs=0.02)


def test_silent_stem_and_stem_that_is_not_in_the_mixture_are_left_out(stems: Stems) -> None:
    rng = np.random.default_rng(1)
    more = {**stems, "piano": torch.zeros_like(stems["drums"]), "guitar": torch.from_numpy(0.1 * rng.standard_normal((2, FRAMES)))}
    found = fit_console(mixed(stems, FADERS), more, SAMPLE_RATE, ["fader"])
    assert found.left_out == {"piano": "silent", "guitar": "not in the mixture"}
    assert set(found.chains) == {"drums", "vocals"}


def test_bus_compressor_is_found_behind_the_faders(stems: Stems) -> None:
    bus = [use("compressor", threshold_db=-24.0, ratio=3.0, attack_ms=8.0, release_ms=90.0)]
    found = fit_console(mixed(stems, FADERS, bus), stems, SAMPLE_RATE, ["fader"], bus=["compressor"])
    compressor: Any = found.bus[0][1]
    assert found.error_db < -50.0
    assert compressor.threshold_db == pytest.approx(-24.0, abs=0.5)
    assert compressor.ratio == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(
    "processor", [pedalboard.Compressor(-24.0, 3.0, 5.0, 90.0), pedalboard.Limiter(-20.0, 100.0)], ids=["compressor", "limiter"]
)
def test_faders_are_undetermined_where_the_console_lacks_what_is_on_the_bus(processor: Any, stems: Stems) -> None:
    plain = mixed(stems, FADERS)
    bussed = torch.from_numpy(pedalboard.Pedalboard([processor])(plain.float().numpy(), SAMPLE_RATE)).double()
    found = fit_console(bussed, stems, SAMPLE_RATE, ["fader"])
    assert found.bus_compressor_helps_db > 0.3
    assert any("mix bus: a compressor or limiter is likely" in line for line in lines(found, SAMPLE_RATE))
    for name, chain in FADERS.items():
        assert abs(dict[str, Any](found.chains[name])["fader"].gain_db - chain[0][1].gain_db) > 0.5
        assert "fader.gain_db" in found.chains[name].undetermined


def test_faders_are_determined_where_nothing_is_on_the_bus(stems: Stems) -> None:
    plain = mixed(stems, FADERS)
    noisy = plain + 0.002 * plain.std() * torch.from_numpy(np.random.default_rng(0).standard_normal(plain.shape))
    without = fit_console(noisy, stems, SAMPLE_RATE, ["fader"])
    assert without.bus_compressor_helps_db == 0.0
    assert all(chain.confidence["fader.gain_db"] > 0.97 for chain in without.chains.values())


def test_rooms_are_found_though_their_noise_is_not(stems: Stems) -> None:
    rooms = {"drums": use("room", rt60_s=0.6, pre_delay_ms=10.0, wet_db=-8.0, seed=7.0)}
    console = ConsoleSettings({name: (use("room"), *chain) for name, chain in FADERS.items() if name in rooms})
    true = ConsoleSettings({name: (rooms[name], *FADERS[name]) for name in rooms})
    dry = {name: stems[name] for name in rooms}
    problem = ConsoleProblem(ConsoleProblem(dry["drums"], dry, SAMPLE_RATE).mix(true), dry, SAMPLE_RATE)
    room: Any = fitted(problem, console).chains["drums"][0][1]
    assert room.rt60_s == pytest.approx(0.6, rel=0.25)
    assert room.wet_db == pytest.approx(-8.0, abs=2.0)


def test_columns_are_what_the_mix_changes_by(stems: Stems) -> None:
    """Of equalisers, compressors and faders by derivatives, of what has none by differences, through whatever follows."""
    short = {name: audio[:, : SAMPLE_RATE // 2] for name, audio in stems.items()}
    chains = {
        "drums": (
            use("eq", low_shelf_gain_db=3.0, peak2_gain_db=-5.0, high_shelf_gain_db=2.0),
            use("distortion", drive_db=6.0),
            *FADERS["drums"],
        ),
        "vocals": (use("compressor", threshold_db=-30.0, ratio=3.0, detector="rms", linked=False), *FADERS["vocals"]),
    }
    console = ConsoleSettings(chains, (use("compressor", threshold_db=-24.0, ratio=3.0),))
    for bus in (console.bus, ()):
        console = ConsoleSettings(chains, bus)
        problem = ConsoleProblem(mixed(short, FADERS), short, SAMPLE_RATE, spans=((1000, 9000), (11_000, 20_000)))
        unknowns = unknowns_of(console, 2)
        assert {unknown.place for unknown in unknowns} == {"drums", "vocals", *([BUS] if bus else [])}
        table, unit = problem.columns(console, unknowns), console.unit(unknowns)
        before = problem.white_mix(console)
        for row in range(len(unknowns)):
            step = STEP if unit[row] < 0.5 else -STEP
            moved = problem.white_mix(console.with_values([unknowns[row]], np.array([unit[row] + step])))
            wanted = ((moved - before) / step).ravel()
            assert np.linalg.norm(table[row] - wanted) <= 2e-3 * np.linalg.norm(wanted) + 1e-6, unknowns[row]


def test_settings_of_many_stems_are_searched_in_groups(stems: Stems, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {name: audio[:, :SAMPLE_RATE] for name, audio in stems.items()}
    chains = {name: (use("eq", peak2_gain_db=gain), *FADERS[name]) for name, gain in (("drums", 5.0), ("vocals", -4.0))}
    problem = ConsoleProblem(mixed(short, {name: list(chain) for name, chain in chains.items()}), short, SAMPLE_RATE)
    start = ConsoleSettings({name: (use("eq", peak2_gain_db=1.0), use("fader")) for name in short})
    unknowns = heard(start, unknowns_of(start, 2))
    monkeypatch.setattr(joint_search, "TOGETHER", 1)
    found = search(problem, start, unknowns, errors=True)
    assert found.residual_db < -60.0
    assert set(found.error) == set(found.difference) == set(unknowns)
    assert all(0.0 <= error < 0.01 for error in found.error.values())


@pytest.mark.slow
def test_a_console_of_many_stems_is_found() -> None:
    rng = np.random.default_rng(3)
    frames, names = round(1.5 * SAMPLE_RATE), [f"stem {number}" for number in range(16)]
    dry = {name: torch.from_numpy(0.05 * rng.standard_normal((2, frames))) for name in names}
    chains = {
        name: [
            use("eq", peak2_gain_db=float(rng.choice([-6.0, 6.0])), peak2_hz=float(rng.uniform(500.0, 3000.0))),
            use("fader", gain_db=float(rng.uniform(-9.0, 3.0)), pan=float(rng.uniform(-0.6, 0.6))),
        ]
        for name in names
    }
    mixture = torch.stack([apply_chain(dry[name], SAMPLE_RATE, chains[name]) for name in names]).sum(0)
    found = fit_console(mixture, dry, SAMPLE_RATE, ["eq", "fader"])
    assert found.error_db < -50.0
    for name in names:
        fader: Any = dict(found.chains[name])["fader"]
        assert fader.gain_db == pytest.approx(chains[name][1][1].gain_db, abs=0.3)


def test_the_first_excerpt_is_where_every_stem_plays_and_others_are_where_levels_differ() -> None:
    rng = np.random.default_rng(0)
    rate = 8000
    stems = {name: torch.zeros(1, 30 * rate) for name in ("early", "late")}
    stems["early"][:, : 16 * rate] = torch.from_numpy(rng.standard_normal((1, 16 * rate)))
    stems["late"][:, 11 * rate :] = torch.from_numpy(rng.standard_normal((1, 19 * rate)))
    stems["late"][:, 24 * rate :] *= 0.1
    mixture = stems["early"] + stems["late"]
    ((start, stop),) = excerpts(mixture, stems, rate, 1)
    assert 9 * rate <= start < stop <= 18 * rate
    spans = excerpts(mixture, stems, rate)
    assert sum(last - first for first, last in spans) == pytest.approx(5 * rate, abs=3)
    assert any(11 * rate <= first < last <= 16 * rate for first, last in spans), "where both play"
    assert all(before <= first for (_, before), (first, _) in itertools.pairwise(spans)), "one after another"
    levels = [float(stems["late"][:, first:last].square().mean()) for first, last in spans]
    assert max(levels) > 10.0 * min(levels), "at different levels"


def test_excerpts_of_a_long_mixture_are_fitted_together(stems: Stems) -> None:
    """A compressor that only the loud second part reaches, behind a quiet beginning that is as long."""
    quiet = torch.zeros(2, 4 * SAMPLE_RATE) + 1e-4 * torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4 * SAMPLE_RATE)))
    dry = {name: torch.cat([0.05 * audio, quiet, audio, quiet], -1) for name, audio in stems.items()}
    used = use("compressor", threshold_db=-24.0, ratio=4.0, attack_ms=5.0, release_ms=80.0)
    mixture = mixed(dry, {"drums": [used, *FADERS["drums"]], "vocals": FADERS["vocals"]})
    found = fit_console(mixture, dry, SAMPLE_RATE, {"drums": ["compressor", "fader"], "vocals": ["fader"]})
    assert len(found.spans) == 3
    compressor: Any = dict(found.chains["drums"])["compressor"]
    assert (compressor.threshold_db, compressor.ratio) == pytest.approx((-24.0, 4.0), abs=0.2)


def test_a_console_is_not_worse_than_gains_and_pans_and_says_if_it_is_no_more(stems: Stems, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {name: audio[:, : SAMPLE_RATE // 2] for name, audio in stems.items()}
    worse = {name: (use("eq", peak2_gain_db=9.0), *chain) for name, chain in FADERS.items()}
    nothing: dict[str, list[str]] = {place: [] for place in (*worse, BUS)}
    monkeypatch.setattr(fit, "_simplest", lambda *_: Pruned(ConsoleSettings(worse), nothing, {}, nothing))
    monkeypatch.setattr(fit, "WHOLE", 0)
    found = fit_console(mixed(short, FADERS), short, SAMPLE_RATE, ["eq", "fader"])
    assert found.is_gains_alone
    assert (found.error_db, found.loss) == (found.gain_and_pan_error_db, found.gain_and_pan_loss)
    assert [effect for chain in found.chains.values() for effect, _ in chain] == ["fader", "fader"]
    assert any("no closer than gains and pans alone" in line for line in lines(found, SAMPLE_RATE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, s: (m[:, 1:], s), r"stem 'drums' has the shape \[2, 88200\], the mixture \[2, 88199\]"),
        (lambda m, s: (0.0 * m, s), "expected an audible mixture, got silence"),
        (lambda m, s: (m * float("nan"), s), "'mixture' contains NaN"),
        (lambda m, _: (m, {}), "at least one dry stem"),
        (lambda m, s: (m, {name: 0.0 * stem for name, stem in s.items()}), "drums: silent, vocals: silent"),
    ],
)
def test_what_cannot_be_fitted_is_refused(stems: Stems, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_console(*change(mixed(stems, FADERS), stems), SAMPLE_RATE, ["fader"])
    with pytest.raises(ValueError, match="did you mean 'fader'"):
        fit_console(mixed(stems, FADERS), stems, SAMPLE_RATE, ["fadr"])
