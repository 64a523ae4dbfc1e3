"""Settings of a whole console from a mixture and its dry stems: the reverse engineering of a mix.

Every stem goes through a chain of its own, the sum through that of the mix bus. Stems are aligned, then gain and pan alone are fitted; that
fit stays beside the result for comparison. The response of each stem in the mixture starts its equaliser, a grid its compressor; then all
settings are searched together (``stemwright.datagen.inverse.console.joint_search``). Between searches each equaliser is restarted from the
response that the residual calls for: this escapes local minima in which the bands divide the work wrongly. Rooms are fitted to the residual
(``stemwright.datagen.inverse.console.rooms``). Finally an effect is pruned if the mix is as close without it, and all effects
are if gain and pan alone have the smaller spectral loss.

Conventions
    Audio is [C, T], numpy or torch, float; stems and mixture have one shape. A stem may be late or early by up to a second.
    The best excerpt of a long mixture is fitted; the settings hold for all of it. Make-up stays 0 where a fader shares it.
    Confidence of a setting: the probability that it is within its tolerance (``stemwright.datagen.inverse.confidence``), with a model error
    in addition to the standard error, since the residual of a console is rarely noise; of an effect: the share of the residual's energy
    that removing it would add.

References
    Barchiesi and Reiss 2010; Colonel and Reiss 2021: gradient descent through a console. Lee et al. 2024: pruning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects import EFFECTS, apply_chain, fader
from stemwright.datagen.effects.dsp.spectral_loss import multi_resolution_loss
from stemwright.datagen.effects.settings import EffectSettings, Range
from stemwright.datagen.inverse.confidence import DETERMINED, confidences, setting_names
from stemwright.datagen.inverse.console import initial_settings, rooms
from stemwright.datagen.inverse.console.joint_search import BUS, ConsoleProblem, ConsoleSearchResult, ConsoleSettings, search, unknowns_of
from stemwright.datagen.inverse.fitted_chain import FittedChain, Use
from stemwright.datagen.inverse.known_dry.response import Response

EXCERPT_S, SHORT_S, WARM_UP_S = 5.0, 2.5, 0.5
TURNS = 3
NEAR_DB = -60.0  # whitened residual below which no other local minimum is searched
HELPS_DB = 0.2  # an effect whose removal costs less is pruned
FLOOR = 1e-6  # of the mixture's energy, whitened: residuals below it are equal when pruning
CLOSED_DB = -48.0  # the lowest gain of a fader; a stem fitted at or below it is not in the mixture
DEFAULT = ("eq", "compressor", "fader")

Progress = Callable[[int, int, str], Any]


@dataclass(frozen=True)
class Console:
    """A chain for each stem and one for the mix bus, whose mix is closest to the mixture, with confidences.

    ``error_db`` is the residual's energy relative to the mixture's, ``loss`` the multi-resolution spectral loss; both are also given for
    the best gains and pans alone. ``lags`` are the delays of the stems in the mixture, in frames; ``left_out`` says why a stem has no
    chain. The chains hold the confidences of their settings and effects; ``rows`` lists them.
    """

    chains: dict[str, FittedChain]
    error_db: float
    gain_and_pan_error_db: float
    loss: float = math.nan
    gain_and_pan_loss: float = math.nan
    bus: FittedChain = field(default_factory=lambda: FittedChain((), 0.0))
    faders: dict[str, EffectSettings] = field(default_factory=dict)
    lags: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    span: tuple[int, int] = (0, 0)

    def mix(self, stems: Mapping[str, Any], sample_rate: int) -> torch.Tensor:
        """Renders the console's mix of the stems, float64 [C, T]."""
        return _mixed(stems, sample_rate, {name: list(chain) for name, chain in self.chains.items()}, self.lags, list(self.bus))

    def gain_and_pan_mix(self, stems: Mapping[str, Any], sample_rate: int) -> torch.Tensor:
        """Renders the mix of the stems with the best gains and pans alone, float64 [C, T]."""
        return _mixed(stems, sample_rate, {name: [("fader", settings)] for name, settings in self.faders.items()}, self.lags, [])

    def rows(self) -> list[dict[str, Any]]:
        """One row for each setting: stem ("" for the mix bus), effect, setting, value, unit, confidence, determined."""
        rows = []
        for place, chain in (*self.chains.items(), (BUS, self.bus)):
            for name, (index, each) in setting_names(chain).items():
                effect, settings = chain[index]
                confidence = chain.confidence.get(name)
                rows.append(
                    {
                        "stem": place,
                        "effect": effect,
                        "effect_confidence": chain.effect_confidence[index] if chain.effect_confidence else None,
                        "setting": each.name,
                        "value": settings.plain()[each.name],
                        "unit": each.unit if isinstance(each, Range) else "",
                        "confidence": confidence,
                        "determined": confidence is None or confidence >= DETERMINED,
                    }
                )
        return rows


def fit_console(
    mixture: Any,
    stems: Mapping[str, Any],
    sample_rate: int,
    console: Sequence[str] | Mapping[str, Sequence[str]] = DEFAULT,
    *,
    bus: Sequence[str] = (),
    on_progress: Progress | None = None,
    model_errors: Mapping[str, float] | None = None,
) -> Console:
    """The console whose mix of the stems is closest to the mixture.

    ``mixture`` is float [C, T], ``stems`` maps names to dry stems of its shape, numpy or torch. ``console`` names the effects in their
    order: one list for all stems, or one for each; ``bus`` those of the mix bus. Each chain needs a fader, which is appended if
    it is missing. ``on_progress`` is called with (done, total, what). ``model_errors`` are further standard deviations of settings, such as
    {"compressor.ratio": 0.5}, that confidences take into account. Returns the ``Console``: ``chains`` by stem, ``bus``, ``error_db``,
    ``rows()`` with each setting and its confidence, and ``mix(stems, sample_rate)``.
    Raises ValueError for shapes that differ, a silent mixture, only silent stems, NaN, and unknown effects.

    >>> import numpy, stemwright as sw
    >>> vocals, drums = numpy.random.default_rng(0).normal(0, 0.1, (2, 2, 44_100))
    >>> mixture = sw.apply_chain(vocals, 44_100, [("fader", {"gain_db": -6.0})]) + drums
    >>> console = sw.fit_console(mixture, {"vocals": vocals, "drums": drums}, 44_100, ["fader"])
    >>> {name: round(chain[0][1].gain_db, 1) + 0.0 for name, chain in console.chains.items()}
    {'vocals': -6.0, 'drums': 0.0}
    """
    target, dry = _checked(mixture, stems)
    names = {name: _with_fader(console[name] if isinstance(console, Mapping) else console) for name in dry}
    for effect in {effect for chain in (*names.values(), bus) for effect in chain}:
        EFFECTS[effect]
    report = _Report(on_progress, 4 + 2 * TURNS + bool(bus))
    report("alignment")
    problem, facts = _prepared(target, dry, sample_rate)
    report("gain and pan")
    problem, plain = _without_absent_stems(problem, facts.left_out)
    found = _searched(problem, plain, {name: names[name] for name in plain.chains}, bus, report)
    report("pruning")
    settings, pruned, helps_db = _pruned(_short(problem), found.console)
    found = search(problem, settings, unknowns_of(settings, len(target)), iterations=3)
    settings = rooms.fitted(problem, found.console)
    if _loss(problem, settings) > _loss(problem, plain):  # the waveform is closer but the sound is not: only the faders are kept
        settings, helps_db = plain, {}
        pruned = {place: [name for name in names.get(place, bus) if name != "fader"] for place in pruned}
        found = search(problem, plain, unknowns_of(plain, len(target)), iterations=0)
    report("done")
    return _result(problem, settings, plain, found, replace(facts, helps_db=helps_db, pruned=pruned, model_errors=model_errors or {}))


def _prepared(target: torch.Tensor, dry: Mapping[str, torch.Tensor], sample_rate: int) -> tuple[ConsoleProblem, _Facts]:
    """The excerpt to be fitted, with stems aligned and silent ones left out, and the facts about them."""
    left_out = {name: "silent" for name, audio in dry.items() if not float(audio.abs().max()) > 1e-5}
    dry = {name: audio for name, audio in dry.items() if name not in left_out}
    if not dry:
        raise _nothing(left_out)
    lags = {name: lag for name, audio in dry.items() if (lag := initial_settings.lag(target, audio, sample_rate))}
    dry = {name: shifted(audio, lags.get(name, 0)) for name, audio in dry.items()}
    first, last = excerpt(target, dry, sample_rate)
    warm_up = min(first, round(WARM_UP_S * sample_rate))
    span = slice(first - warm_up, last)
    problem = ConsoleProblem(target[:, span], {name: audio[:, span] for name, audio in dry.items()}, sample_rate, warm_up)
    return problem, _Facts(lags, left_out, (first, last))


def _without_absent_stems(problem: ConsoleProblem, left_out: dict[str, str]) -> tuple[ConsoleProblem, ConsoleSettings]:
    """The problem and the best faders without the stems that are not in the mixture, which are added to ``left_out``."""
    plain = _gain_and_pan(problem)
    for name, chain in plain.chains.items():
        closed: Any = chain[0][1]
        if closed.gain_db == CLOSED_DB:
            left_out[name] = "not in the mixture"
    kept = {name: audio for name, audio in problem.stems.items() if name not in left_out}
    if not kept:
        raise _nothing(left_out)
    return replace(problem, stems=kept), ConsoleSettings({name: plain.chains[name] for name in kept})


def _loss(problem: ConsoleProblem, console: ConsoleSettings) -> float:
    return float(multi_resolution_loss(problem.mix(console)[:, problem.warm_up :], problem.mixture[:, problem.warm_up :]))


def _nothing(left_out: Mapping[str, str]) -> ValueError:
    reasons = ", ".join(f"{name}: {reason}" for name, reason in left_out.items())
    return ValueError(f"expected at least one stem that is in the mixture; got {reasons}")


@dataclass(frozen=True)
class _Facts:
    lags: dict[str, int]
    left_out: dict[str, str]
    span: tuple[int, int]
    helps_db: dict[tuple[str, int], float] = field(default_factory=dict)
    pruned: Mapping[str, Sequence[str]] = field(default_factory=dict)
    model_errors: Mapping[str, float] = field(default_factory=dict)


class _Report:
    """Counts the steps of a fit."""

    def __init__(self, on_progress: Progress | None, total: int) -> None:
        self.on_progress, self.total, self.done = on_progress, total, 0

    def __call__(self, what: str) -> None:
        if self.on_progress is not None:
            self.on_progress(min(self.done, self.total), self.total, what)
        self.done += 1


def _searched(
    problem: ConsoleProblem, plain: ConsoleSettings, names: Mapping[str, Sequence[str]], bus: Sequence[str], report: _Report
) -> ConsoleSearchResult:
    """From the faders to the whole console: initial settings, then searches with restarts between them, on a short excerpt."""
    channels = len(problem.mixture)
    report("starts")
    short = _short(problem)
    console = initial_settings.starting_console(problem, short, plain, names)
    console = search(short, console, unknowns_of(console, channels, only=("dynamic", "level")), iterations=4).console
    if bus:
        report("mix bus")
        console = search(short, console, unknowns_of(console, channels), iterations=4).console
        console = initial_settings.with_bus(short, console, bus)
    best = ConsoleSearchResult(console, 0.0, {}, {})
    for turn in range(TURNS):
        report("search")
        found = search(short, best.console, unknowns_of(best.console, channels), iterations=5)
        found = _flipped(short, found) if turn else found
        report("other local minima")
        if found.residual_db < NEAR_DB:
            best = found
            break
        restarted = _with_restarted_equalisers(short, found.console)
        second = search(short, restarted, unknowns_of(restarted, channels), iterations=5)
        best = min(found, second, key=lambda each: each.residual_db)
    return best


def _with_restarted_equalisers(problem: ConsoleProblem, console: ConsoleSettings) -> ConsoleSettings:
    """The console with its equalisers refitted to the responses that the residual calls for."""
    measured = initial_settings.responses(problem, {name: problem.wet(name, chain) for name, chain in console.chains.items()})
    for name, chain in console.chains.items():
        places = [index for index, (effect, _) in enumerate(chain) if effect == "eq"]
        if len(places) != 1:
            continue
        old: Any = chain[places[0]][1]
        correction = measured[name]
        gain = correction.gain * 10.0 ** (initial_settings.bands_db(old, correction.hz, problem.sample_rate) / 20.0)
        wanted = Response(correction.hz, gain, correction.weight, np.hypot(correction.error_db, 0.05))
        bands, level_db = initial_settings.bands(wanted, problem.sample_rate, near=old)
        console = console.with_chain(
            name, initial_settings.with_level([*chain[: places[0]], ("eq", bands), *chain[places[0] + 1 :]], places[0], level_db)
        )
    return console


def _flipped(problem: ConsoleProblem, found: ConsoleSearchResult) -> ConsoleSearchResult:
    """The other detector and the other channel link for each compressor, where the residual is smaller."""
    console, best_db = found.console, found.residual_db
    for place in (*console.chains, BUS):
        for index, (effect, settings) in enumerate(console.chain(place)):
            if effect != "compressor":
                continue
            kinds: list[dict[str, Any]] = [{"detector": "rms" if settings.detector == "peak" else "peak"}]  # type: ignore[attr-defined]
            kinds += [{"linked": not settings.linked}] if len(problem.mixture) == 2 else []  # type: ignore[attr-defined]
            for kind in kinds:
                chain = list(console.chain(place))
                chain[index] = (effect, chain[index][1].model_copy(update=kind))
                trial = console.with_chain(place, chain)
                unknowns = [each for each in unknowns_of(trial, len(problem.mixture), only=("dynamic", "level")) if each.place == place]
                result = search(problem, trial, unknowns, iterations=3)
                if result.residual_db < best_db - 0.05:
                    console, best_db = result.console, result.residual_db
    return found._replace(console=console, residual_db=best_db)


def _short(problem: ConsoleProblem) -> ConsoleProblem:
    """The first seconds of a problem, on which most of the search runs."""
    return problem.cut(min(round(SHORT_S * problem.sample_rate), problem.mixture.shape[-1] - problem.warm_up))


def _pruned(
    problem: ConsoleProblem, console: ConsoleSettings
) -> tuple[ConsoleSettings, dict[str, list[str]], dict[tuple[str, int], float]]:
    """The console without the effects that hardly help, the names of those by place, and by how many dB each remaining effect helps."""
    pruned: dict[str, list[str]] = {place: [] for place in (*console.chains, BUS)}
    while True:
        cost = problem.cost(console)
        trials = [(_helps_db(problem, trial, cost), place, index, trial) for place, index, trial in _without_one(problem, console)]
        if not trials or min(trials, key=lambda trial: trial[0])[0] > HELPS_DB:
            return console, pruned, {(place, index): helps_db for helps_db, place, index, _ in trials}
        _, place, index, trial = min(trials, key=lambda trial: trial[0])
        pruned[place].append(console.chain(place)[index][0])
        console = trial


def _without_one(problem: ConsoleProblem, console: ConsoleSettings) -> list[tuple[str, int, ConsoleSettings]]:
    """Every console with one effect removed (never a fader or room) and the fader of that stem refitted."""
    consoles = []
    for place in (*console.chains, BUS):
        for index, (effect, _) in enumerate(console.chain(place)):
            if effect in ("fader", "room"):
                continue
            chain = console.chain(place)
            less = console.with_chain(place, (*chain[:index], *chain[index + 1 :]))
            unknowns = [each for each in unknowns_of(less, len(problem.mixture), only=("level",)) if place in (BUS, each.place)]
            consoles.append((place, index, search(problem, less, unknowns, iterations=1).console))
    return consoles


def _helps_db(problem: ConsoleProblem, without: ConsoleSettings, cost: float) -> float:
    return 10.0 * math.log10((problem.cost(without) + FLOOR) / (cost + FLOOR))


def _result(
    problem: ConsoleProblem, console: ConsoleSettings, plain: ConsoleSettings, found: ConsoleSearchResult, facts: _Facts
) -> Console:
    """The console with its losses and confidences."""
    target = problem.mixture[:, problem.warm_up :]
    mixes = [problem.mix(each)[:, problem.warm_up :] for each in (console, plain)]
    errors_db = [10.0 * math.log10(float((mix - target).square().sum()) / float(target.square().sum()) + 1e-40) for mix in mixes]
    losses = [_loss(problem, each) for each in (console, plain)]

    def fitted(place: str) -> FittedChain:
        chain = console.chain(place)
        errors = {
            (each.index, each.setting.name): math.hypot(error, found.model_error[each])
            for each, error in found.error.items()
            if each.place == place
        }
        helps_db = [facts.helps_db.get((place, index)) for index in range(len(chain))]
        effect_confidence = tuple(None if db is None else 1.0 - 10.0 ** (-max(db, 0.0) / 10.0) for db in helps_db)
        setting_confidence = confidences(chain, errors, facts.model_errors)
        return FittedChain(tuple(chain), errors_db[0], setting_confidence, tuple(facts.pruned.get(place, ())), effect_confidence)

    return Console(
        chains={name: fitted(name) for name in console.chains},
        error_db=errors_db[0],
        gain_and_pan_error_db=errors_db[1],
        loss=losses[0],
        gain_and_pan_loss=losses[1],
        bus=fitted(BUS),
        faders={name: chain[0][1] for name, chain in plain.chains.items()},
        lags=facts.lags,
        left_out=facts.left_out,
        span=facts.span,
    )


def excerpt(mixture: torch.Tensor, stems: Mapping[str, torch.Tensor], sample_rate: int) -> tuple[int, int]:
    """First and last frame of the most informative excerpt: the quietest stem is loudest there, and levels vary."""
    length = round(EXCERPT_S * sample_rate)
    total = mixture.shape[-1]
    if total <= 1.25 * length:
        return 0, total
    hop = sample_rate // 2
    power = np.stack([_means(audio.square().mean(0).numpy(), hop) for audio in stems.values()])
    share = np.log10(power / np.maximum(power.max(1, keepdims=True), 1e-30) + 1e-4)
    width = max(round(length / hop), 1)
    inside = np.stack([np.convolve(row, np.ones(width) / width, "valid") for row in share])
    moving = np.stack([[row[k : k + width].std() for k in range(len(row) - width + 1)] for row in share])
    best = int(np.argmax(inside.min(0) + inside.mean(0) + 0.5 * moving.mean(0)))
    start = min(best * hop, total - length)
    return start, start + length


def _means(values: np.ndarray, hop: int) -> np.ndarray:
    count = len(values) // hop
    return np.asarray(values[: count * hop].reshape(count, hop).mean(1))


def shifted(audio: torch.Tensor, lag: int) -> torch.Tensor:
    """The audio [C, T] later by ``lag`` frames, earlier if it is negative, padded with silence."""
    if lag == 0:
        return audio
    moved = torch.zeros_like(audio)
    if lag > 0:
        moved[:, lag:] = audio[:, :-lag]
    else:
        moved[:, :lag] = audio[:, -lag:]
    return moved


def _gain_and_pan(problem: ConsoleProblem) -> ConsoleSettings:
    """The best fader for each stem, by non-negative least squares."""
    from stemwright.separation.balance.console_levels import fit_console_levels

    seconds = problem.mixture.shape[-1] / problem.sample_rate
    stems = {name: audio.numpy() for name, audio in problem.stems.items()}
    levels = fit_console_levels(problem.mixture.numpy(), stems, problem.sample_rate, window_s=2.0 * seconds)
    chains: dict[str, tuple[Use, ...]] = {}
    for name in stems:
        gain_db = float(np.nan_to_num(levels.gain_db[name][0], nan=CLOSED_DB, neginf=CLOSED_DB))
        pan = 0.0 if levels.pan is None else float(np.nan_to_num(levels.pan[name][0]))
        settings = fader.Settings(gain_db=min(max(gain_db, CLOSED_DB), 24.0), pan=min(max(pan, -1.0), 1.0))
        chains[name] = (("fader", settings),)
    return ConsoleSettings(chains)


def _with_fader(chain: Sequence[str]) -> tuple[str, ...]:
    return tuple(chain) if "fader" in chain else (*chain, "fader")


def _checked(mixture: Any, stems: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    target, dry = _tensor(mixture), {name: _tensor(audio) for name, audio in stems.items()}
    if target.ndim != 2 or len(target) not in (1, 2):
        raise ValueError(f"expected a mixture [1 or 2, T], got {list(target.shape)}")
    if not dry:
        raise ValueError("expected at least one dry stem, got none")
    for name, audio in {"mixture": target, **dry}.items():
        if not bool(torch.isfinite(audio).all()):
            raise ValueError(f"{name!r} contains NaN or infinite samples; repair it first")
        if audio.shape != target.shape:
            raise ValueError(f"stem {name!r} has the shape {list(audio.shape)}, the mixture {list(target.shape)}; expected equal shapes")
    if not float(target.abs().max()) > 1e-5:
        raise ValueError("expected an audible mixture, got silence; no console can be fitted to it")
    return target, dry


def _mixed(
    stems: Mapping[str, Any], sample_rate: int, chains: Mapping[str, Sequence[Use]], lags: Mapping[str, int], bus: Sequence[Use]
) -> torch.Tensor:
    parts = [apply_chain(shifted(_tensor(stems[name]), lags.get(name, 0)), sample_rate, chain) for name, chain in chains.items()]
    return apply_chain(torch.stack(parts).sum(0), sample_rate, bus)


def _tensor(audio: Any) -> torch.Tensor:
    return torch.as_tensor(np.array(audio) if isinstance(audio, np.ndarray) else audio).detach().cpu().double()
