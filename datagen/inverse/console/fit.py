"""Settings of a whole console from a mixture and its dry stems: the reverse engineering of a mix.

Every stem goes through a chain of its own, the sum through that of the mix bus. Stems are aligned, then gain and pan alone are fitted; that
fit stays beside the result for comparison. The response of each stem in the mixture starts its equaliser, a grid its compressor; then all
settings are searched together (``stemwright.datagen.inverse.console.joint_search``). Between searches each equaliser is restarted from the
response that the residual calls for: this escapes local minima in which the bands divide the work wrongly. Finally an effect is
pruned if the mix is as close without it (``stemwright.datagen.inverse.console.alternatives``), rooms are fitted to the residual
(``stemwright.datagen.inverse.console.rooms``), and all effects are pruned if gain and pan alone have the smaller spectral loss or residual.

Conventions
    Audio is [C, T], numpy or torch, float; stems and mixture have one shape. A stem may be late or early by up to a second.
    The best excerpts of a long mixture are fitted together, or one where echoes need what precedes them; the settings hold for all of
    it. Make-up stays 0 where a fader shares it.
    Confidence of a setting: the probability that it is within its tolerance (``stemwright.datagen.inverse.confidence``), from the residual
    and from how the settings of single excerpts differ. Of faders, how they differ between the simplest console and the one before it was
    simplified counts, too: what equalisers and compressors share with them. So does, of faders and thresholds, that an equaliser with the
    same kinds of bands may sound alike at another level. The share of an effect is that of the residual's
    energy that removing it would add.

References
    Barchiesi and Reiss 2010; Colonel and Reiss 2021: gradient descent through a console. Lee et al. 2024: pruning.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stemwright.datagen.effects import EFFECTS, fader
from stemwright.datagen.effects.dsp.nyquist import limited
from stemwright.datagen.effects.dsp.spectral_loss import multi_resolution_loss
from stemwright.datagen.inverse.confidence import confidences
from stemwright.datagen.inverse.console import initial_settings
from stemwright.datagen.inverse.console.alternatives import (
    Pruned,
    pruned,
    with_measured_equalisers,
    with_other_choices,
    with_restarted_dynamics,
    with_restarted_equalisers,
)
from stemwright.datagen.inverse.console.bus_ambiguity import BusAmbiguity, bus_ambiguity
from stemwright.datagen.inverse.console.doubts import doubts
from stemwright.datagen.inverse.console.fitted_console import Console
from stemwright.datagen.inverse.console.joint_search import (
    BUS,
    ConsoleProblem,
    ConsoleSearchResult,
    ConsoleSettings,
    heard,
    search,
    unknowns_of,
)
from stemwright.datagen.inverse.console.preparation import Preparation, checked, prepared, without_absent_stems
from stemwright.datagen.inverse.console.readable import with_fewer_bands
from stemwright.datagen.inverse.console.rides import check_ride
from stemwright.datagen.inverse.console.send_search import aligned, check_send, search_with_room
from stemwright.datagen.inverse.console.whole_song import FittedSong
from stemwright.datagen.inverse.effect_roles import below_half_rate, has, is_fader
from stemwright.datagen.inverse.fitted_chain import FittedChain

SHORT_S = 2.5
TURNS = 3
WHOLE = 10  # Jacobians of the last search, on all excerpts
CLEARLY = 0.5  # of the residual of another console: then that one does not count
OTHERS = 0.25  # of the difference of faders to another console that is as close, against that between excerpts
RESTARTED_DB = 3.0  # by which one restart lowers the residual, so that another kind is not tried
LEAST_DB = 0.3  # by which a turn has to lower the residual, so that there is another one
WORSE, WORSE_DB = 1.0001, 0.001  # loss and residual against those of gains and pans alone: more than rounding
NEAR_DB = -60.0  # whitened residual below which no other local minimum is searched
DEFAULT = ("eq", "compressor", "fader")

Progress = Callable[[int, int, str], Any]


@limited()
def fit_console(
    mixture: Any,
    stems: Mapping[str, Any],
    sample_rate: int,
    console: Sequence[str] | Mapping[str, Sequence[str]] = DEFAULT,
    *,
    bus: Sequence[str] = (),
    on_progress: Progress | None = None,
    model_errors: Mapping[str, float] | None = None,
    send: str = "",
    ride_s: float = 0.0,
) -> Console:
    """The console whose mix of the stems is closest to the mixture.

    ``mixture`` is float [C, T], ``stems`` maps names to dry stems of its shape, numpy or torch. ``console`` names the effects in their
    order: one list for all stems, or one for each; ``bus`` those of the mix bus. Each chain needs a fader, which is appended if
    it is missing. ``on_progress`` is called with (done, total, what). ``model_errors`` are further standard deviations of settings, such as
    {"compressor.ratio": 0.05} in parts of the range, that confidences take into account beside what the audio tells. ``send`` is "room"
    for one room that every stem is sent to with a gain of its own (``stemwright.datagen.inverse.console.shared_room``). ``ride_s`` is the
    step in s of gain rides, which are found over the whole mixture and follow the faders as the effect ``envelope``; 0: none. With either
    the bus has no effects. Returns the ``Console``: ``chains`` by stem, ``bus``, ``error_db``, ``rows()`` with each setting and its
    confidence, and ``mix(stems, sample_rate)``. A pruned effect that is among ``unclear`` of its chain may have been used all the same.
    Raises ValueError for shapes that differ, a silent mixture, only silent stems, NaN, unknown effects, and a ``send`` or ``ride_s`` that
    is none of these, does not reach to the end of the mixture, or is combined with effects of the bus; and for a ``send`` with a room in
    a chain.

    >>> import numpy, stemwright as sw
    >>> vocals, drums = numpy.random.default_rng(0).normal(0, 0.1, (2, 2, 44_100))
    >>> mixture = sw.apply_chain(vocals, 44_100, [("fader", {"gain_db": -6.0})]) + drums
    >>> console = sw.fit_console(mixture, {"vocals": vocals, "drums": drums}, 44_100, ["fader"])
    >>> {name: round(chain[0][1].gain_db, 1) + 0.0 for name, chain in console.chains.items()}
    {'vocals': -6.0, 'drums': 0.0}
    """
    target, dry = checked(mixture, stems)
    names = {name: _with_fader(console[name] if isinstance(console, Mapping) else console) for name in dry}
    every = {effect for chain in (*names.values(), bus) for effect in chain}
    whole = bool(send or ride_s) or any(EFFECTS[effect].TRAITS & {"late", "stochastic"} for effect in every)
    check_send(send, bus, names)
    check_ride(ride_s, target.shape[-1] / sample_rate, bus)
    report = _Report(on_progress, 4 + 2 * TURNS + bool(bus) + bool(send))
    report("alignment")
    problem, preparation = prepared(target, dry, sample_rate, whole=whole)
    report("gain and pan")
    problem, plain = without_absent_stems(problem, preparation.left_out)
    found = _searched(problem, plain, {name: names[name] for name in plain.chains}, bus, report)
    if send:
        report("shared room")
        late = aligned({name: dry[name] for name in plain.chains}, preparation.lags)
        problem, found = search_with_room(target, late, problem, found, _again)
    report("pruning", left=1)
    searched = found.console
    best = _simplest(_short(problem), searched)
    found = search(problem, best.console, heard(best.console, unknowns_of(best.console, len(target))), iterations=WHOLE, errors=True)
    best = best._replace(console=_with_powers(problem, found.console))
    tested = not (send or ride_s)  # a ride of all stems, or a room, could be taken for a compressor on the bus
    found, helps_db = _with_doubts(found, best, problem, searched, tested)
    chains = _chains(best, found, model_errors or {}, sample_rate)
    result = replace(_result(problem, (best.console, plain), chains, preparation), bus_compressor_helps_db=helps_db)
    heard_stems = {name: dry[name] for name in result.chains}
    result = FittedSong(target, heard_stems, sample_rate, problem.taps, send, ride_s).completed(result)
    if _is_worse(result):
        gone = {place: [name for name in names.get(place, bus) if not is_fader(name)] for place in best.names}
        best = Pruned(plain, gone, {}, gone)
        found = search(problem, plain, unknowns_of(plain, len(target)), iterations=0, errors=True)
        found, helps_db = _with_doubts(found, best, problem, plain, tested)
        result = _result(problem, (plain, plain), _chains(best, found, model_errors or {}, sample_rate), preparation)
        result = replace(result, bus_compressor_helps_db=helps_db)
    report("done", left=0)
    return result


def _is_worse(console: Console) -> bool:
    """Whether gains and pans alone sound closer, or leave less of the waveform than effects do.

    The waveform says nothing where a room has another noise, nor of other gains and pans: theirs are found from a whitened residual.
    """
    effects = {effect for chain in (*console.chains.values(), console.bus) for effect, _ in chain if not is_fader(effect)}
    by_waveform = (effects or console.send is not None) and not any(has(effect, "stochastic") for effect in effects)
    more_db = console.error_db - console.gain_and_pan_error_db if by_waveform else 0.0
    return console.loss > WORSE * console.gain_and_pan_loss or more_db > WORSE_DB


def _simplest(problem: ConsoleProblem, console: ConsoleSettings) -> Pruned:
    """The console without effects that hardly help, and with the fewest bands."""
    first = pruned(problem, console)
    second = pruned(problem, with_fewer_bands(problem, first.console))
    names = {place: [*first.names[place], *second.names[place]] for place in first.names}
    return second._replace(names=names, unclear={place: [*first.unclear[place], *second.unclear[place]] for place in names})


def _with_doubts(
    found: ConsoleSearchResult, best: Pruned, problem: ConsoleProblem, searched: ConsoleSettings, tested: bool
) -> tuple[ConsoleSearchResult, float]:
    """The differences with those to consoles that sound alike: the equalisers at other levels, and the console before it was simplified.

    The latter counts for faders, unless it was clearly worse. Also by how many dB a compressor on the bus would lower the residual, if
    that is to be ``tested``.
    """
    short = _short(problem)
    bus = bus_ambiguity(short, best.console) if tested else BusAmbiguity({})
    differences = dict(found.difference)
    for others in (doubts(short, best.console), bus.differences):
        for each, other in others.items():
            if each in differences:
                differences[each] = math.hypot(differences[each], other)
    if problem.cost(found.console) >= CLEARLY * problem.cost(searched):
        for each in differences:
            effect, settings = best.console.chain(each.place)[each.index]
            if is_fader(effect):
                other_settings = next(settings for name, settings in searched.chain(each.place) if name == effect)
                values = (each.setting.to_unit(getattr(one, each.setting.name)) for one in (settings, other_settings))
                differences[each] = math.hypot(differences[each], OTHERS * operator.sub(*values))
    return found._replace(difference=differences), bus.helps_db


def _with_fader(chain: Sequence[str]) -> tuple[str, ...]:
    return tuple(chain) if any(map(is_fader, chain)) else (*chain, fader.NAME)


def _with_powers(problem: ConsoleProblem, console: ConsoleSettings) -> ConsoleSettings:
    """The console with the effects fitted of which only the power can be estimated."""
    effects: list[Any] = [EFFECTS[effect] for chain in console.chains.values() for effect, _ in chain]
    for fit_power in dict.fromkeys(effect.fit_power for effect in effects if hasattr(effect, "fit_power")):
        console = fit_power(problem, console)
    return console


def _loss(problem: ConsoleProblem, console: ConsoleSettings) -> float:
    return float(multi_resolution_loss(problem.compared(problem.mix(console)), problem.compared(problem.mixture)))


class _Report:
    """Counts the steps of a fit: those that were not needed are passed over where it is known how many are ``left``."""

    def __init__(self, on_progress: Progress | None, total: int) -> None:
        self.on_progress, self.total, self.done = on_progress, total, 0

    def __call__(self, what: str, *, left: int | None = None) -> None:
        self.done = self.done if left is None else self.total - left
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
    return _turns(short, console, TURNS, report)


def _again(problem: ConsoleProblem, console: ConsoleSettings) -> ConsoleSearchResult:
    """A turn from the settings of a console."""
    return _turns(_short(problem), console, 1, _Report(None, 0))


def _turns(short: ConsoleProblem, console: ConsoleSettings, turns: int, report: _Report) -> ConsoleSearchResult:
    """Searches of all settings, with equalisers restarted and other choices tried between them."""
    channels = len(short.mixture)
    best = ConsoleSearchResult(console, 0.0, {}, {})
    for turn in range(turns):
        before_db = best.residual_db
        report("search")
        found = search(short, best.console, unknowns_of(best.console, channels), iterations=5)
        found = with_other_choices(short, found) if turn else found
        report("other local minima")
        if found.residual_db < NEAR_DB:
            best = found
            break
        best = with_restarted_dynamics(short, found)
        for restart in (with_restarted_equalisers, with_measured_equalisers):
            if best.residual_db > found.residual_db - RESTARTED_DB:
                again = search(short, restart(short, best.console), unknowns_of(best.console, channels), iterations=5)
                best = min(best, again, key=lambda each: each.residual_db)
        if best.residual_db > before_db - LEAST_DB:
            break
    return best


def _short(problem: ConsoleProblem) -> ConsoleProblem:
    """The first seconds of a problem, on which most of the search runs."""
    return problem.cut(round(SHORT_S * problem.sample_rate))


def _chains(best: Pruned, found: ConsoleSearchResult, model_errors: Mapping[str, float], sample_rate: int) -> dict[str, FittedChain]:
    """The chains by place with the confidences of their settings, the share of each effect, and what was pruned."""
    chains = {}
    for place in (*best.console.chains, BUS):
        chain = best.console.chain(place)
        errors, differences = (
            {(each.index, each.setting.name): value for each, value in values.items() if each.place == place}
            for values in (found.error, found.difference)
        )
        helps_db = [best.helps_db.get((place, index)) for index in range(len(chain))]
        shares = tuple(None if db is None else 1.0 - 10.0 ** (-max(db, 0.0) / 10.0) for db in helps_db)
        gone, unclear = (tuple(names.get(place, ())) for names in (best.names, best.unclear))
        chains[place] = FittedChain(
            tuple(below_half_rate(chain, sample_rate)),
            math.nan,
            confidences(chain, errors, model_errors, differences),
            gone,
            shares,
            unclear,
        )
    return chains


def _result(
    problem: ConsoleProblem,
    consoles: tuple[ConsoleSettings, ConsoleSettings],
    chains: Mapping[str, FittedChain],
    preparation: Preparation,
) -> Console:
    """The console with its errors and losses, beside those of gains and pans alone."""
    console, plain = consoles
    target = problem.compared(problem.mixture)
    mixes = [problem.compared(problem.mix(each)) for each in (console, plain)]
    errors_db = [10.0 * math.log10(float((mix - target).square().sum()) / float(target.square().sum()) + 1e-40) for mix in mixes]
    fitted = {place: replace(chain, error_db=errors_db[0]) for place, chain in chains.items()}
    return Console(
        chains={name: fitted[name] for name in console.chains},
        error_db=errors_db[0],
        gain_and_pan_error_db=errors_db[1],
        loss=_loss(problem, console),
        gain_and_pan_loss=_loss(problem, plain),
        bus=fitted[BUS],
        faders={name: chain[0][1] for name, chain in plain.chains.items()},
        lags=preparation.lags,
        left_out=preparation.left_out,
        spans=preparation.spans,
    )
