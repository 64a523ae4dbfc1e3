"""The settings of a chain in which an equaliser and a compressor or fader share a level.

A level that all bands of an equaliser share, the threshold of a compressor behind it and the gain after both sound the same when they move
together. Six bands cannot give an exactly flat gain, but eighteen numbers approximate one within hundredths of a dB: a search ends in one
of many local minima that leave -50 to -80 dB, each at another level. Only the true bands leave nothing. The response itself, up to that
level, and all other settings are the same in every minimum, and far more precise once the response needs no bands
(``stemwright.datagen.inverse.known_dry.free_equaliser``). So bands are searched in the frequency domain from many starts, at any
level, the best are refined on the waveform, and the response is measured again from there.

Conventions
    Audio is a torch tensor, float64 [C, T]. Of settings that sound identical to the last bit, bands within their typical ranges are
    preferred: a high shelf at the lowest frequency is an exact gain, too, and nothing in the audio rules out that it was used as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from stemwright.datagen.effects import EFFECTS, apply_chain, compressor
from stemwright.datagen.inverse.effect_roles import has, shares_levels, silent
from stemwright.datagen.inverse.fitted_chain import Use
from stemwright.datagen.inverse.known_dry.chain_search import refined, residual_db
from stemwright.datagen.inverse.known_dry.chain_start import shifted, undone, with_one_gain

if TYPE_CHECKING:
    import torch

    from stemwright.datagen.inverse.confidence import Errors
    from stemwright.datagen.inverse.known_dry.free_equaliser import FreeEqualiserFit

LevelSearch: TypeAlias = "Callable[[torch.Tensor, torch.Tensor, int, Sequence[Use], Errors], tuple[list[Use], Errors]]"

TURNS = 4
TRIED = 2  # candidates that are refined on the waveform in each turn
FOUND_DB = -120.0  # no approximation leaves as little; one of -112 dB was 0.1 dB off
DOUBTFUL = 1e-7  # squared residual of a free response that the compressor beside it may have caused
LEAST_GAIN_DB = 1.0  # of a turn: with less, bands leave what no bands could explain; and of bands that are not typical against others


def shares_level(names: Sequence[str]) -> bool:
    """Whether one equaliser and another gain are in a chain, so that they may share a level that can be determined.

    Beside a room, whose noise is unknown, the residual is too large to distinguish the local minima.
    """
    return len(level_searches(names)) == 1 and any(map(shares_levels, names)) and not any(has(name, "stochastic") for name in names)


def level_searches(names: Sequence[str]) -> list[LevelSearch]:
    """How to find the level that an effect shares with the others of its chain, for each effect that has such a search."""
    effects: list[Any] = [EFFECTS[name] for name in names]
    return [effect.find_level for effect in effects if hasattr(effect, "find_level")]


def with_level(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: Sequence[Use], errors: Errors) -> tuple[list[Use], Errors]:
    """The chain, whose rest is nearly known, with its equaliser at the right minimum; unchanged, with ``errors``, if none is better.

    Returns the standard error of each setting, too.
    """
    from stemwright.datagen.inverse.known_dry.band_search import search, settings_at
    from stemwright.datagen.inverse.known_dry.free_equaliser import FreeResponseBands, fit_free_equaliser, with_bands

    best, best_db = list(uses), residual_db(wet, dry, sample_rate, uses)
    settled = best_db < FOUND_DB
    for same in (best, with_shelves_swapped(best)) if settled else ():
        if _is_typical(same) and residual_db(wet, dry, sample_rate, same) < FOUND_DB:
            return same, errors
    rng = np.random.default_rng(0)
    for turn in range(TURNS):
        before_db, typical = best_db, turn % 2 == 0
        free = fit_free_equaliser(wet, dry, sample_rate, best)
        if turn == 0 and free.cost > DOUBTFUL:
            free = min((free, *other_compressors(wet, dry, sample_rate, free)), key=lambda one: one.cost)
        points, _ = search(FreeResponseBands(free, sample_rate, typical=typical), rng, near=free.uses[free.place][1])  # type: ignore[arg-type]
        for point in points[:TRIED]:
            trial = with_bands(free, settings_at(point, sample_rate), sample_rate, dry.shape[0])
            trial, trial_errors = refined(wet, dry, sample_rate, trial, 8)
            trial_db = residual_db(wet, dry, sample_rate, trial)
            if trial_db < (FOUND_DB if settled else best_db - (0.0 if typical else LEAST_GAIN_DB)):
                best, best_db, errors = trial, trial_db, trial_errors
                if best_db < FOUND_DB:
                    return best, errors
        if settled:
            break
        if turn and before_db - best_db < LEAST_GAIN_DB:
            break
    return best, errors


def _is_typical(uses: Sequence[Use]) -> bool:
    """Whether the equaliser's bands lie within their typical ranges, those without gain aside."""
    from stemwright.datagen.inverse.known_dry.band_search import NAMES, point_of, typical_points
    from stemwright.datagen.inverse.known_dry.free_equaliser import place_of

    low, high = typical_points()
    settings: Any = uses[place_of(uses)][1]
    point, off = point_of(settings), silent(uses[place_of(uses)][0], settings)
    return all(name in off or low[at] - 1e-9 <= point[at] <= high[at] + 1e-9 for at, name in enumerate(NAMES))


def with_shelves_swapped(uses: Sequence[Use]) -> list[Use]:
    """A chain that sounds the same: a low shelf is a gain and the opposite high shelf at its frequency, and the other way round."""
    from stemwright.datagen.inverse.known_dry.free_equaliser import place_of

    place = place_of(uses)
    settings: Any = uses[place][1]
    changes = {
        f"{one}_{what}": getattr(settings, f"{other}_{what}") * (-1.0 if what == "gain_db" else 1.0)
        for one, other in (("low_shelf", "high_shelf"), ("high_shelf", "low_shelf"))
        for what in ("gain_db", "hz", "q")
    }
    lost_db = settings.low_shelf_gain_db + settings.high_shelf_gain_db
    return shifted([*uses[:place], (uses[place][0], settings.model_copy(update=changes)), *uses[place + 1 :]], place, lost_db)


def other_compressors(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, free: FreeEqualiserFit) -> Iterator[FreeEqualiserFit]:
    """The chain with its compressor refitted next to the free response, for each kind of detector.

    A detector of the wrong kind can do almost as well: its input must be known better than bands at a wrong minimum allow.
    """
    from stemwright.datagen.inverse.known_dry.fit_compressor import DETECTORS, Effort, fit_compression
    from stemwright.datagen.inverse.known_dry.free_equaliser import filtered, fit_free_equaliser

    at = [index for index, (_, settings) in enumerate(free.uses) if isinstance(settings, compressor.Settings)]
    if len(at) != 1:
        return
    inputs = [dry]
    for place, use in enumerate(free.uses):
        source = inputs[-1]
        inputs.append(filtered(free, source, sample_rate) if place == free.place else apply_chain(source, sample_rate, [use]))
    given = wet
    for place in range(len(free.uses) - 1, at[0], -1):
        if place == free.place:
            given = filtered(free, given, sample_rate, undo=True)
        else:
            given = undone(given, sample_rate, [free.uses[place]], [inputs[place]], 0)
    for detector in DETECTORS:
        try:
            found = fit_compression(given, inputs[at[0]], sample_rate, Effort(3, 12, detectors=(detector,)))
        except ValueError:  # its gain never moves
            return
        uses: list[Use] = [*free.uses[: at[0]], (free.uses[at[0]][0], found.settings), *free.uses[at[0] + 1 :]]
        yield fit_free_equaliser(wet, dry, sample_rate, with_one_gain(uses))
