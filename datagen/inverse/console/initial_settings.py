"""Where the search of a console begins: alignment, faders, the response of each stem in the mixture, and its compression.

    y_c(f) = Σ_s H_sc(f) x_sc(f)            the best time-invariant console, by least squares on cross-spectra in each band
    |H_s|  -> the bands of an equaliser and a level that the fader keeps
    y      = Σ_s f_sc g_s(t) (eq_s x_s)_c   gains of a grid of compressors, each stem against the mixture without the others

Conventions
    Audio is float64 [C, T]. A response is one for all channels of a stem, whose pan is divided out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import freqz

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects import fader as fader_effect
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.effects.ranges import within_fader
from stemwright.datagen.effects.settings import EffectSettings, Range, range_of
from stemwright.datagen.inverse.console.joint_search import BUS, ConsoleProblem, ConsoleSettings, search, unknowns_of
from stemwright.datagen.inverse.effect_roles import (
    bounds,
    gains,
    has_threshold,
    is_equaliser,
    is_fader,
    moved_by,
    searchable,
    typical_value,
    usual,
    with_gain,
)
from stemwright.datagen.inverse.fitted_chain import Use
from stemwright.datagen.inverse.known_dry.response import Response
from stemwright.datagen.inverse.solver import Vector

WINDOW = 16_384
BANDS = 200
LATEST_S, LEAST_LAG = 1.0, 8
QUIET = 1e-3  # of a stem's power within a third of an octave: below, the stem is taken as empty
BLUR_DB = 0.5  # the least error assumed of a response
UNKNOWN_DB = 1e6  # error of a response where nothing is known: finite, so that its square is
ROUNDS = 2  # of the search for bands


def responses(problem: ConsoleProblem, sources_of: Mapping[str, torch.Tensor]) -> dict[str, Response]:
    """The response in the mixture of each of several sources [C, T] (stems, dry or as a console renders them), found all at once."""
    size = min(WINDOW, problem.mixture.shape[-1])
    window = torch.hann_window(size, dtype=torch.float64)

    def spectra(audio: torch.Tensor) -> np.ndarray:
        white = torch.from_numpy(problem.white(audio))
        # No window crosses an edge, where the cut would leak into every frequency.
        return np.asarray(torch.stft(white, size, size // 4, window=window, center=False, return_complex=True).numpy())  # [C, F, K]

    target, sources = spectra(problem.mixture), np.stack([spectra(audio) for audio in sources_of.values()])
    edges = np.unique(np.round(np.geomspace(20.0, 0.49 * problem.sample_rate, BANDS) * size / problem.sample_rate).astype(int))
    starts = list(itertools.pairwise(edges))
    hz = np.array([(start + stop - 1) / 2.0 * problem.sample_rate / size for start, stop in starts])
    floors = _floors(problem, sources, starts, hz)
    gains, errors = [], []
    for (start, stop), floor in zip(starts, floors, strict=True):
        found = [
            _band(target[c, start:stop].ravel(), sources[:, c, start:stop].reshape(len(sources), -1), floor) for c in range(len(target))
        ]
        gains.append([gain for gain, _ in found])
        errors.append([error for _, error in found])
    table, error = np.array(gains), np.array(errors)  # [B, C, S]
    result = {}
    for index, name in enumerate(sources_of):
        gain, sigma = table[:, :, index], error[:, :, index]
        pan = _pan_factors(gain, sigma)
        weight = (pan / sigma) ** 2
        level = (np.abs(gain) * pan / sigma**2).sum(1) / np.maximum(weight.sum(1), 1e-300)
        error_db = np.minimum(8.7 / np.sqrt(np.maximum(weight.sum(1), 1e-300)) / np.maximum(level, 1e-9), UNKNOWN_DB)
        result[name] = Response(hz, level.astype(complex), 1.0 / np.hypot(error_db, BLUR_DB) * BLUR_DB, error_db)
    return result


def _floors(problem: ConsoleProblem, sources: np.ndarray, bands: Sequence[tuple[int, int]], hz: Vector) -> Vector:
    """The whitened power [B, S] below which a stem is empty in a band."""
    whitening = np.abs(freqz(problem.taps, worN=hz, fs=problem.sample_rate)[1]) ** 2
    power = np.stack([(np.abs(sources[:, :, start:stop]) ** 2).mean((1, 2, 3)) for start, stop in bands]) / whitening[:, None]
    near = np.abs(np.log2(hz[:, None] / hz[None])) < 1.0 / 3.0
    return np.asarray(QUIET * np.where(near[..., None], power[None], 0.0).max(1) * whitening[:, None])


def _band(target: np.ndarray, sources: np.ndarray, floors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gains [S] of the sources [S, N] in the target [N], and their standard errors."""
    gram = sources.conj() @ sources.T
    power = np.diag(gram).real
    ridge = gram + np.diag(1e-6 * power + 1e-9 * power.max() + 1e-300)
    inverse = np.linalg.inv(ridge)
    gain = inverse @ (sources.conj() @ target)
    left = float((np.abs(target - gain @ sources) ** 2).sum()) / max(len(target) / 3.0, 1.0)  # windows overlap: fewer are independent
    variance = np.diag(inverse).real * (left + 1e-12 * float((np.abs(target) ** 2).sum()))
    # Where a stem is empty, distortion from the compressors of the others would be attributed to it.
    quiet = power / sources.shape[1] < floors
    return np.where(quiet, 1e-6, gain), np.where(quiet, 1.0, np.sqrt(np.maximum(variance, 1e-300)))


def _pan_factors(gain: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """The gains of a stem in the channels: [C], mean square 1, from its gains and errors [B, C] in all bands."""
    weight = 1.0 / (sigma**2).sum(1)
    power = (np.abs(gain) ** 2 * weight[:, None] / np.maximum((np.abs(gain) ** 2).sum(1), 1e-300)[:, None]).sum(0)
    return np.sqrt(power / max(float(power.mean()), 1e-300))


def equalised(equaliser: str, measured: Response, sample_rate: int, *, near: Any = None) -> tuple[EffectSettings, float]:
    """The settings of an equaliser closest in shape to a response, and the remaining level in dB for a fader."""
    effect: Any = EFFECTS[equaliser]
    settings = effect.fit_response(measured, sample_rate, near=near, rounds=ROUNDS, level_free=True)
    level_db = 20.0 * np.log10(np.abs(measured.gain) + 1e-9) - response_db(equaliser, settings, measured.hz, sample_rate)
    return settings, float(np.average(level_db, weights=1.0 / (measured.error_db**2 + BLUR_DB**2)))


def response_db(equaliser: str, settings: EffectSettings, hz: Vector, sample_rate: int) -> Vector:
    """The response of an equaliser in dB at frequencies in Hz."""
    effect: Any = EFFECTS[equaliser]
    return np.asarray(20.0 * np.log10(np.abs(response(effect.sections(settings, sample_rate), hz, sample_rate)) + 1e-9))


def _grid(values: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


GRIDS = {  # effect with a threshold -> settings that are tried with several thresholds; of another effect ``_quarters``
    "compressor": [
        {**point, "detector_release_ms": point["detector_attack_ms"]}
        for point in _grid({"ratio": (1.6, 4.0), "detector_attack_ms": (1.5, 12.0), "attack_ms": (3.0, 25.0), "release_ms": (30.0, 150.0)})
    ],
}
ON_BUS = {"compressor": {"ratio": 1.5}}  # effect with a threshold -> settings on the mix bus; of another effect typical ones
MOST_GRIDDED = 3  # settings of an effect without a grid of its own


def _quarters(effect: str) -> list[dict[str, Any]]:
    """Settings at the quarters of what is typical, of the first few that a search can follow; the others in the middle."""
    settings = usual(effect)
    free = [
        each
        for each in searchable(settings, 2)
        if isinstance(EFFECTS[effect].TYPICAL.get(each.name), tuple) and not each.bound and not each.gain
    ]
    points = {each.name: [typical_value(effect, each, part) for part in (0.25, 0.75)] for each in free[:MOST_GRIDDED]}
    return [{**settings.plain(), **point} for point in _grid(points)]


# Compressors that smooth the level and not the gain, as those of most programs do: a search from the grid above ends in a local minimum
# in which the gain is smoothed for them. A detector of each kind is a start of its own.
LEVEL_SMOOTHED = {
    "compressor": [
        [
            {"detector": detector, "linked": linked, **point, "ratio": 3.0, "attack_ms": 0.1, "release_ms": 0.1}
            for point in _grid({"detector_attack_ms": (1.5, 6.0), "detector_release_ms": (25.0, 80.0)})
        ]
        for detector, linked in itertools.product(("peak", "rms"), (True, False))
    ],
}


def other_kinds(problem: ConsoleProblem, effect: str, name: str) -> list[list[dict[str, Any]]]:
    """Grids of further kinds of an effect with a threshold: in each the choices are made. Equal channels need no link."""
    stem = problem.stems[name]
    alike = len(stem) == 1 or bool(torch.equal(stem[0], stem[-1]))
    return [grid for grid in LEVEL_SMOOTHED.get(effect, []) if not alike or grid[0]["linked"]]


def compression(
    problem: ConsoleProblem, console: ConsoleSettings, name: str, index: int, grid: Sequence[Mapping[str, Any]] = ()
) -> tuple[Use, ...]:
    """The chain of a stem with settings of a grid that, with a fader, are closest to the mixture without the other stems.

    The effect at ``index`` has a threshold, as a compressor does. Without a ``grid`` it is that of ``GRIDS``.
    """
    chain = list(console.chains[name])
    others = [problem.wet(other, uses) for other, uses in console.chains.items() if other != name]
    rest = problem.goal - (problem.white(torch.stack(others).sum(0)) if others else 0.0)
    source = apply_chain(problem.stems[name], problem.sample_rate, chain[:index])
    effect = chain[index][0]
    kind = EFFECTS[effect].Settings
    fields_db = bounds(kind, "threshold")
    level_db = 20.0 * np.log10(np.abs(source.numpy()).max(0) + 1e-9)
    levels_db = np.quantile(level_db[level_db > level_db.max() - 60.0], (0.1, 0.4, 0.7, 0.9))
    thresholds = np.unique(np.clip(levels_db, fields_db[0].low + 1.0, fields_db[0].high - 1.0))
    best: tuple[float, Any] | None = None
    for threshold_db, point in itertools.product(thresholds, grid or GRIDS.get(effect) or _quarters(effect)):
        use = (effect, kind(**{**point, **{field.name: float(threshold_db) for field in fields_db}}))
        wet = problem.white(apply_chain(source, problem.sample_rate, [use]))
        factor = (wet * rest).sum(-1) / np.maximum((wet**2).sum(-1), 1e-300)
        miss = float(((factor[:, None] * wet - rest) ** 2).sum())
        if best is None or miss < best[0]:
            best = (miss, (use, np.maximum(factor, 1e-4)))
    assert best is not None
    use, factor = best[1]
    chain[index] = use
    return tuple(with_faders(chain, fader(factor)))


def fader(factor: np.ndarray) -> Use:
    """The fader whose factors for the channels are these, [C]."""
    gain_db = within_fader(10.0 * math.log10(float((factor**2).mean())))
    pan = 4.0 / math.pi * math.atan2(factor[1], factor[0]) - 1.0 if len(factor) == 2 else 0.0
    return fader_effect.NAME, fader_effect.Settings(gain_db=gain_db, pan=range_of(fader_effect.Settings, "pan").limited(pan))


def starting_console(
    problem: ConsoleProblem, short: ConsoleProblem, faders: ConsoleSettings, names: Mapping[str, Sequence[str]]
) -> ConsoleSettings:
    """A start for every stem's chain of named effects, the stems' gains and pans known; compressors are tried on the short problem."""
    measured = responses(problem, problem.stems)
    start = ConsoleSettings({})
    for name, chain in names.items():
        uses: list[Use] = []
        level_db: float | None = None
        for effect in chain:
            settings = EFFECTS[effect].Settings()
            if is_equaliser(effect) and level_db is None:
                settings, level_db = equalised(effect, measured[name], problem.sample_rate)
            uses.append((effect, settings))
        uses = with_faders(uses, faders.chains[name][0])
        start = start.with_chain(name, uses if level_db is None else _with_gain(uses, level_db))
    start = search(short, start, unknowns_of(start, len(problem.mixture), only=("level",)), iterations=3).console
    for name, chain in names.items():
        for index, effect in enumerate(chain):
            if has_threshold(effect):
                start = start.with_chain(name, compression(short, start, name, index))
            elif not (is_equaliser(effect) or is_fader(effect) or hasattr(EFFECTS[effect], "fit_power")):
                start = start.with_chain(name, _other(problem, start, name, index))
    return start


def with_faders(uses: Sequence[Use], level: Use) -> list[Use]:
    """The chain with its faders at the level of this fader; one of another kind takes over its gain alone."""
    found = list(uses)
    for place, (effect, settings) in enumerate(uses):
        if is_fader(effect):
            found[place] = level if isinstance(level[1], type(settings)) else (effect, with_gain(settings, level[1].final_gain_db()))
    return found


def _with_gain(uses: Sequence[Use], gain_db: float) -> list[Use]:
    """The chain with its fader at a gain."""
    return [(effect, with_gain(settings, gain_db) if is_fader(effect) else settings) for effect, settings in uses]


def with_level(uses: Sequence[Use], index: int, level_db: float) -> tuple[Use, ...]:
    """The chain sounding the same though its effect at ``index`` gives ``level_db`` less: thresholds behind it fall, the fader rises."""
    moved = []
    for place, (effect, settings) in enumerate(uses):
        if place > index:
            settings = moved_by(settings, bounds(type(settings), "threshold"), -level_db)
        moved.append((effect, moved_by(settings, gains(type(settings)), level_db) if is_fader(effect) else settings))
    return tuple(moved)


def with_bus(problem: ConsoleProblem, console: ConsoleSettings, names: Sequence[str]) -> ConsoleSettings:
    """The console with a mix bus: gentle starts, and the ceiling of a limiter or clipper where the mixture's peak is."""
    peak_db = 20.0 * math.log10(float(problem.mixture.abs().max()))
    total = problem.mix(console)
    level_db = float(np.quantile(20.0 * np.log10(np.abs(total.numpy()).max(0) + 1e-9), 0.6))
    uses: list[Use] = []
    for effect in names:
        settings = EFFECTS[effect].Settings()
        if has_threshold(effect):
            settings = settings.model_copy(update=ON_BUS[effect]) if effect in ON_BUS else usual(effect)
            settings = _at(settings, bounds(type(settings), "threshold"), level_db, room_db=1.0)
        elif ceilings := bounds(type(settings), "ceiling"):
            settings = _at(settings, ceilings, peak_db)
        elif not is_equaliser(effect):
            settings = usual(effect)
        uses.append((effect, settings))
    return console.with_chain(BUS, uses)


def _at(settings: EffectSettings, levels: Sequence[Range], level_db: float, *, room_db: float = 0.0) -> EffectSettings:
    """The settings with thresholds or ceilings at a level, so far from the ends of their ranges."""
    return settings.model_copy(update={each.name: min(max(level_db, each.low + room_db), each.high - room_db) for each in levels})


def _other(problem: ConsoleProblem, console: ConsoleSettings, name: str, index: int) -> tuple[Use, ...]:
    """The chain with initial settings for one more effect: its own fit to the mixture without the other stems, else mid-range."""
    chain = list(console.chains[name])
    effect: Any = EFFECTS[chain[index][0]]
    others = [problem.wet(other, uses) for other, uses in console.chains.items() if other != name]
    rest = problem.mixture - (torch.stack(others).sum(0) if others else 0.0)
    try:
        settings = effect.fit(rest, problem.wet(name, chain), problem.sample_rate)
    except (ValueError, AttributeError):
        settings = usual(chain[index][0])
    chain[index] = (chain[index][0], settings)
    return tuple(chain)


def lag(mixture: torch.Tensor, stem: torch.Tensor, sample_rate: int) -> int:
    """Frames by which a stem is late in the mixture, within a second; 0 where none stands out, or it is less than a filter may make."""
    size = next_fast_len(2 * stem.shape[-1], real=True)
    cross = rfft(mixture.sum(0).numpy(), size) * np.conj(rfft(stem.sum(0).numpy(), size))
    correlation = np.abs(irfft(cross / np.maximum(np.abs(cross), 1e-4 * np.abs(cross).max()), size))
    latest = min(round(LATEST_S * sample_rate), stem.shape[-1] - 1)
    near = np.concatenate([correlation[-latest:], correlation[: latest + 1]])
    found = int(np.argmax(near)) - latest
    nearby = near[max(latest - LEAST_LAG, 0) : latest + LEAST_LAG + 1].max()
    return 0 if abs(found) <= LEAST_LAG or near.max() < max(2.0 * nearby, 8.0 * float(np.median(near))) else found
