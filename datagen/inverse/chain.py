"""Settings of a whole chain from dry and wet audio.

Each effect of a chain gets initial settings: the effects before it are applied to dry, those after it are removed from wet, and its own
``fit`` does the rest (``stemwright.datagen.inverse.known_dry.chain_start``). Then all settings are refined together on the waveform
(``stemwright.datagen.inverse.known_dry.chain_search``), and both take turns. A level that an equaliser shares with its neighbours is found
last (``stemwright.datagen.inverse.known_dry.shared_level``). For a whole console see ``stemwright.datagen.inverse.console``.

Conventions
    Audio is [C, T], numpy or torch, float. The residual is whitened by the spectrum of wet, so that treble counts like bass.
    A gain that two effects share (make-up and fader) is left to the fader. Whole numbers, delays and other steps keep their initial values.
    Wet that is up to a second late or early is aligned first. An effect that does not help is pruned.

References
    Lee et al. 2024 for pruning; ``stemwright.datagen.inverse.solver`` for the search.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from stemwright.datagen.effects import EFFECTS, fader
from stemwright.datagen.effects.dsp.nyquist import limited
from stemwright.datagen.inverse.confidence import Errors, confidences
from stemwright.datagen.inverse.effect_roles import below_half_rate, gains, has, has_threshold, is_fader
from stemwright.datagen.inverse.fitted_chain import FittedChain, Use
from stemwright.datagen.inverse.known_dry.beside_filters import found_beside_filters
from stemwright.datagen.inverse.known_dry.chain_search import refined, residual_db, searched, unknowns
from stemwright.datagen.inverse.known_dry.chain_start import again, start
from stemwright.datagen.inverse.known_dry.shared_level import level_searches, shares_level
from stemwright.manifests.progress import OnProgress

if TYPE_CHECKING:
    import torch

    from stemwright.datagen.inverse.console import Console

EXCERPT_S = 3.0
ORDER_S = 1.5
MOST_ORDERED = 4
LATEST_S = 1.0
FAR = 4.0  # ratio of a correlation peak beyond that second to the highest within it, from which it is significant
UNRELATED_DB = -1.0  # residual above which wet is unrelated to dry
SETTLED_DB = -80.0
NEAR_DB = -40.0
HOPELESS_DB = -10.0  # residual above which the response is too inaccurate to find a level
LOST_DB = -30.0  # residual above which a compressor may be in a local minimum
SETTLING = 12  # steps of a chain with fewer bands
TURNS = 4
HELPS_DB = 0.2  # an effect whose removal costs less is pruned


@limited()
def fit_chain(
    wet: Any,
    dry: Any,
    sample_rate: int,
    chain: Sequence[str | Use],
    *,
    any_order: bool = False,
    model_errors: Mapping[str, float] | None = None,
    on_progress: OnProgress | None = None,
) -> FittedChain:
    """The settings with which the named effects, in their order, turn dry into wet.

    ``wet`` and ``dry`` are float [C, T], numpy or torch, of one shape. ``chain`` names the effects, first to last. ``any_order`` tries
    every order of up to four effects on a short excerpt and continues with the one of least residual. ``on_progress`` is called with
    (done, total, what) after every search; a search that ends early leaves out steps. Returns a ``FittedChain``: pairs of
    name and settings that ``apply_chain`` takes, with ``error_db`` (the residual's energy relative to that of wet), ``confidence`` of each
    setting (the probability that it is within its tolerance), and what was pruned since it did not help. ``model_errors`` adds to the
    standard errors what is known of errors beside noise: a standard deviation by name ("compressor.ratio"), in parts of the range; without
    them the confidence covers noise, what a wrong model leaves in the residual, and chains that sound alike within it. Raises
    ValueError where the signals differ in shape, hold NaN, are silent or lie more than a second apart, and for an unknown effect;
    ``NotIdentifiableError`` where nothing of wet follows from dry.

    >>> import numpy, stemwright as sw
    >>> dry = numpy.random.default_rng(0).normal(0, 0.1, (2, 22_050))
    >>> wet = sw.apply_chain(dry, 44_100, [("lowpass", {"cutoff_hz": 2000.0}), ("fader", {"gain_db": -3.0})])
    >>> (_, lowpass), (_, fader) = sw.fit_chain(wet, dry, 44_100, ["lowpass", "fader"])
    >>> round(lowpass.cutoff_hz), round(fader.gain_db, 2)
    (2000, -3.0)
    """
    wet, dry = _aligned(_tensor(wet), _tensor(dry), sample_rate)
    names = [use if isinstance(use, str) else use[0] for use in chain]
    for name in names:
        EFFECTS[name]
    limit = round(EXCERPT_S * sample_rate)
    wet, dry = wet[:, :limit], dry[:, :limit]
    if any_order:
        names = _best_order(wet, dry, sample_rate, names)
    report = _Steps(on_progress, 2 * TURNS + 2)
    uses, errors = _searched(wet, dry, sample_rate, names, report=report)
    report("pruning", 2 * TURNS)
    kept, pruned = _pruned(wet, dry, sample_rate, uses)
    kept = _with_fewest_bands(wet, dry, sample_rate, kept)
    report("confidence", 2 * TURNS + 1)
    error_db = residual_db(wet, dry, sample_rate, kept)
    model = model_errors or {}
    if error_db > UNRELATED_DB and not any("late" in EFFECTS[name].TRAITS for name in names):
        raise _unrelated(error_db)
    gone = [uses[place] for place in pruned]
    known = confidences(gone, {(pruned.index(place), name): error for (place, name), error in errors.items() if place in pruned}, model)
    _, found, differences = searched(wet, dry, sample_rate, kept, unknowns(kept, len(dry), heard=True), 0)
    known |= confidences(kept, found, model, _with_doubts(wet, dry, sample_rate, kept, differences))
    names = [name for name, _ in gone]
    unclear = [name for name in names if has(name, "stochastic")]  # with another noise than theirs the waveform is no closer
    return FittedChain(tuple(below_half_rate(kept, sample_rate)), error_db, known, tuple(names), unclear=tuple(unclear))


def _with_doubts(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use], differences: Errors) -> Errors:
    """The differences with those to chains that sound alike (``stemwright.datagen.inverse.console.doubts``).

    Where the chain has no fader, one takes the place of the last gain that it has: what differs in its gain differs there.
    """
    if not any(hasattr(EFFECTS[name], "nearest_bands") or has_threshold(name) for name, _ in uses):
        return differences
    from stemwright.datagen.inverse.console.doubts import plausible_doubts, shelf_doubts
    from stemwright.datagen.inverse.console.joint_search import ConsoleProblem, ConsoleSettings

    gain = next(((index, each) for index, (_, settings) in reversed([*enumerate(uses)]) for each in gains(type(settings))), None)
    chain = [*uses, (fader.NAME, fader.Settings())] if gain and not any(is_fader(name) for name, _ in uses) else uses
    far = {(each.index, each.setting): by for each, by in shelf_doubts(ConsoleSettings({"dry": tuple(uses)})).items()}
    plausible = plausible_doubts(ConsoleProblem(wet, {"dry": dry}, sample_rate), ConsoleSettings({"dry": tuple(chain)}))
    for each, by in plausible.items():
        key, share = (each.index, each.setting), 1.0
        if each.index == len(uses) and gain is not None:  # of the fader in its place
            key, share = gain, (each.setting.high - each.setting.low) / (gain[1].high - gain[1].low)
        if each.index < len(uses) or each.setting.gain:
            far[key] = max(far.get(key, 0.0), share * by)
    found = dict(differences)
    for (index, setting), by in far.items():
        found[index, setting.name] = math.hypot(found.get((index, setting.name), 0.0), by)
    return found


def _with_fewest_bands(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use]) -> list[Use]:
    """The chain with the fewest bands that are as close (``stemwright.datagen.inverse.console.readable``)."""
    if not any(hasattr(EFFECTS[name], "fewer_bands") for name, _ in uses):
        return uses
    from stemwright.datagen.inverse.console.joint_search import ConsoleProblem, ConsoleSettings
    from stemwright.datagen.inverse.console.readable import COSTS_DB, FLOOR, with_fewer_bands

    problem = ConsoleProblem(wet, {"dry": dry}, sample_rate)
    fewer = list(with_fewer_bands(problem, ConsoleSettings({"dry": tuple(uses)})).chains["dry"])
    if fewer == uses:
        return uses
    fewer, _, _ = searched(wet, dry, sample_rate, fewer, unknowns(fewer, len(dry), heard=True), SETTLING)
    now_db, then_db = (residual_db(wet, dry, sample_rate, each) for each in (fewer, uses))
    return fewer if now_db < max(then_db + COSTS_DB, 10.0 * math.log10(FLOOR)) else uses


def fit_console(
    mixture: Any,
    stems: Mapping[str, Any],
    sample_rate: int,
    console: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    bus: Sequence[str] = (),
    send: str = "",
    ride_s: float = 0.0,
) -> Console:
    """A chain for each stem, and one for the sum, whose mix is closest to the mixture: see ``stemwright.datagen.inverse.console``."""
    from stemwright.datagen.inverse import console as consoles  # brings torch

    return consoles.fit_console(mixture, stems, sample_rate, console, bus=bus, send=send, ride_s=ride_s)


def _best_order(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, names: list[str]) -> list[str]:
    """The order of the effects with the least residual after one turn on a short excerpt. Adjacent commuting effects have one order."""
    if len(names) > MOST_ORDERED:
        raise ValueError(f"the order is searched for at most {MOST_ORDERED} effects; got {len(names)}. Give their order")
    orders: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for order in itertools.permutations(names):
        runs = (
            tuple(sorted(run)) if swap else tuple(run)
            for swap, run in itertools.groupby(order, key=lambda name: "commutes" in EFFECTS[name].TRAITS)
        )
        orders.setdefault(tuple(runs), list(order))
    limit = round(ORDER_S * sample_rate)

    def left_db(order: list[str]) -> float:
        uses, _ = _searched(wet[:, :limit], dry[:, :limit], sample_rate, order, turns=1)
        return residual_db(wet[:, :limit], dry[:, :limit], sample_rate, uses)

    return min(orders.values(), key=left_db)


class _Steps:
    """Reports the steps of a fit by their numbers."""

    def __init__(self, on_progress: OnProgress | None = None, total: int = 0) -> None:
        self.on_progress, self.total = on_progress, total

    def __call__(self, what: str, done: int) -> None:
        if self.on_progress is not None:
            self.on_progress(done, self.total, what)


def _searched(
    wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, names: Sequence[str], *, turns: int = TURNS, report: _Steps | None = None
) -> tuple[list[Use], Errors]:
    """Effect by effect and all together, in turns, until the waveform is explained or the residual stops falling.

    Returns the chain, and the standard error of each setting as a part of its range.
    """
    report = report or _Steps()
    report("start", 0)
    shared = shares_level(names)
    best, best_db, errors = _in_turns(wet, dry, sample_rate, start(wet, dry, sample_rate, names), turns, report)
    if best_db > LOST_DB and turns > 1:
        report("compressors beside any filter", 2 * turns - 1)
        other = found_beside_filters(wet, dry, sample_rate, best)
        if residual_db(wet, dry, sample_rate, other) < best_db:
            best, best_db, errors = _in_turns(wet, dry, sample_rate, other, turns, _Steps())
    if shared and turns > 1 and best_db < HOPELESS_DB:
        best, errors = level_searches(names)[0](wet, dry, sample_rate, best, errors)
        best_db = residual_db(wet, dry, sample_rate, best)
    if NEAR_DB > best_db > SETTLED_DB and turns > 1:
        # At the right minimum, level and threshold move together along a narrow valley: it takes many small steps.
        best, errors = refined(wet, dry, sample_rate, best, 25)
    return best, errors


def _in_turns(
    wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, best: list[Use], turns: int, report: _Steps
) -> tuple[list[Use], float, Errors]:
    """The same from a first estimate: the chain, its residual in dB, the standard errors."""
    best_db = residual_db(wet, dry, sample_rate, best)
    errors: Errors = {}
    settled_db = LOST_DB if shares_level([name for name, _ in best]) else SETTLED_DB
    for turn in range(turns):
        report("effect by effect", 2 * turn)
        uses = again(wet, dry, sample_rate, best, starts=1 + turn if best_db > LOST_DB else 0)
        uses = min((uses, best), key=lambda found: residual_db(wet, dry, sample_rate, found))
        report("all settings", 2 * turn + 1)
        uses, unsure = refined(wet, dry, sample_rate, uses, 8)
        error_db = residual_db(wet, dry, sample_rate, uses)
        gained = best_db - error_db
        if error_db < best_db or not errors:
            best, best_db, errors = uses if error_db < best_db else best, min(error_db, best_db), unsure
        if best_db < settled_db or (turn > 0 and gained < 1.0):
            break
    return best, best_db, errors


def _pruned(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use]) -> tuple[list[Use], list[int]]:
    """The chain without the effects whose removal hardly changes the error, and their places in it, the least useful first."""
    places, pruned = list(range(len(uses))), list[int]()

    def left_db(of: list[int]) -> float:
        return residual_db(wet, dry, sample_rate, [uses[place] for place in of])

    while len(places) > 1:
        now = left_db(places)
        without = [left_db(places[:index] + places[index + 1 :]) for index in range(len(places))]
        least = int(np.argmin(without))
        if without[least] > now + HELPS_DB:
            break
        pruned.append(places.pop(least))
    return [uses[place] for place in places], pruned


def _aligned(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both signals without a delay between them. Raises ValueError where they differ in shape, or no delay within a second fits."""
    if wet.shape != dry.shape:
        raise ValueError(f"wet and dry must have one shape [channels, time]; got {list(wet.shape)} and {list(dry.shape)}")
    if not (bool(dry.isfinite().all()) and bool(wet.isfinite().all())):
        raise ValueError("wet or dry contains NaN or infinite samples; repair or reject them before a fit")
    if not float(dry.abs().max()) > 0.0 or not float(wet.abs().max()) > 0.0:
        raise ValueError("a silent signal determines no effect")
    size = next_fast_len(2 * dry.shape[-1], real=True)
    cross = rfft(wet.sum(0).numpy(), size) * np.conj(rfft(dry.sum(0).numpy(), size))
    # Only the phase counts: the delay stands out whatever filter lies between the signals.
    correlation = np.abs(irfft(cross / np.maximum(np.abs(cross), 1e-6 * np.abs(cross).max()), size))
    latest = min(round(LATEST_S * sample_rate), dry.shape[-1] - 1)
    near = np.concatenate([correlation[-latest:], correlation[: latest + 1]])
    lag = int(np.argmax(near)) - latest
    if correlation.max() > FAR * near.max():
        place = int(np.argmax(correlation))
        late_s = (place if place < size // 2 else place - size) / sample_rate
        raise ValueError(f"wet is {late_s:+.2f} s from dry; at most {LATEST_S:g} s can be aligned. Cut them to the same place first")
    if lag == 0 or near.max() < 2.0 * near[latest]:
        return wet, dry
    if lag > 0:
        return wet[:, lag:], dry[:, :-lag]
    return wet[:, :lag], dry[:, -lag:]


def _unrelated(error_db: float) -> ValueError:
    from stemwright.datagen.effects.signal import NotIdentifiableError

    return NotIdentifiableError(
        f"the chain leaves a residual of {error_db:.1f} dB against wet: wet does not follow from dry. Are they the same music, aligned?"
    )


def _tensor(audio: Any) -> torch.Tensor:
    import torch

    return torch.as_tensor(np.array(audio) if isinstance(audio, np.ndarray) else audio).detach().cpu().double()
