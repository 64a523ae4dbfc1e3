"""One recording, or one of its stems, undone: clipping restored, chains inverted, gain curves divided out.

Conventions
    Array is float [C, T] at its own rate. Inverses are computed in float64, and the result is rounded to float32.
    A recording that the settings cannot have made is refused: one that peaks above the ceiling of its own limiter or clipper; and, with a
    dry reference, one that the chain does not explain (``EXPLAINED_DB``). Before, a reference is aligned with the recording and brought to
    its polarity (``stemwright.datagen.inverse.undo.dry_placement``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.effects import EFFECTS, apply_chain, invert_chain, resolve_chain
from stemwright.datagen.inverse.undo.requests import CLIP, LEAST_CONFIDENCE, Array, Knowledge, Undone, UndoneEffect
from stemwright.manifests.decibels import db_to_gain, gain_to_db
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Refused

if TYPE_CHECKING:
    from stemwright.datagen.inverse.undo.dry_placement import PlacedDry
    from stemwright.separation.clip_detection.ceilings import Clipping

EXPLAINED_DB = -10.0  # residual of wet against the fitted chain of the dry reference, above which they are of different recordings
FITTED_S = 30.0  # of the dry reference that settings are fitted on
HIGHEST_DBFS = 24.0  # peak of what was undone; with settings of another recording it is mostly higher
SAME = 0.01  # of a ceiling: a clipper cuts both channels and halves at one
OVER_DB = 0.1  # above a ceiling that rounding and a lossy copy explain
OnShare = Callable[[float], None]


def undo(
    audio: Array,
    sample_rate: int,
    effects: Sequence[str] = (),
    known: Knowledge | None = None,
    *,
    least_confidence: float = LEAST_CONFIDENCE,
    on_share: OnShare | None = None,
) -> Undone:
    """Undoes effects of a recording: those of ``known``, or the clipping that is found in it.

    ``audio`` is float [C, T] at ``sample_rate`` in Hz. ``effects`` are names in the order in which they were applied; with none all of a
    known chain or gain curve are undone, and without one clipping. Returns ``Undone``: the audio in its shape, the steps, and what was left
    as it is with the reason. Raises Refused where the settings cannot be of this recording, ValueError for an effect without an inverse.
    """
    known = known or Knowledge()
    if not audio.size:
        raise Refused("the recording has no samples")
    if known.gain is not None:
        return Undone(
            _divided(audio, known.gain), (UndoneEffect(effects[-1] if effects else "gain", "gain curve", _gain_range(known.gain)),)
        )
    if known.chain or known.is_settled or known.source == "row":
        return _compared(_inverted(audio, sample_rate, known, on_share), known.dry, sample_rate)
    chosen, current, steps, left = list(effects) or [CLIP], audio, list[UndoneEffect](), dict[str, str]()
    placed: PlacedDry | None = None
    while chosen:
        if chosen[-1] == CLIP:
            chosen.pop()
            current = _declipped(current, sample_rate, least_confidence, steps, left, on_share)
            continue
        group = _last_group(chosen)
        del chosen[-len(group) :]
        if known.dry is not None:
            placed = placed or _placed(known.dry, audio, sample_rate, group)
            current = _fitted(current, placed, sample_rate, group, steps, on_share)
        elif known.profile is not None:
            current = _estimated(current, sample_rate, group, known.profile, least_confidence, steps, left)
    undone = Undone(current, tuple(steps), left)
    if known.dry is None or not steps:
        return undone
    return _with_error(undone, placed or _placed(known.dry, audio, sample_rate, chosen), sample_rate)


def error_db(audio: Array, dry: Array) -> float:
    """Energy of the difference from a signal of the same shape [C, T] over the energy of that, in dB."""
    energy = float(np.square(dry, dtype=np.float64).sum())
    difference = float(np.square(audio.astype(np.float64) - dry).sum())
    return 10.0 * math.log10(max(difference, 1e-30) / energy) if energy else math.nan


def _placed(dry: Array, audio: Array, sample_rate: int, effects: Iterable[str]) -> PlacedDry:
    """The dry reference aligned with the recording. Raises Refused where it sounds nowhere in it."""
    from stemwright.datagen.inverse.undo.dry_placement import placed_dry

    return placed_dry(dry, audio, sample_rate, is_late=any("late" in EFFECTS[name].TRAITS for name in effects))


def _with_error(undone: Undone, placed: PlacedDry, sample_rate: int) -> Undone:
    """What was undone with its error against the dry reference, and what was done to that."""
    notes = placed.notes(sample_rate)
    if placed.lacks_start(undone.audio) and any(step.source == "dry" and "dynamic" in EFFECTS[step.effect].TRAITS for step in undone.steps):
        notes += (
            f"the dry reference lacks the first {placed.start / sample_rate:.2f} s: settings are less exact where it begins in the music",
        )
    return replace(undone, error_db=error_db(placed.of(undone.audio), placed.audio), notes=notes)


def _last_group(names: Sequence[str]) -> list[str]:
    """The effects after the last clipper."""
    clips = [place for place, name in enumerate(names) if name == CLIP]
    return list(names[clips[-1] + 1 if clips else 0 :])


def _declipped(
    audio: Array, sample_rate: int, least: float, steps: list[UndoneEffect], left: dict[str, str], on_share: OnShare | None
) -> Array:
    """The audio with its clipped samples restored, where clipping was found with enough confidence."""
    from stemwright.datagen.inverse.clipping.detect import detect_clipping

    found = detect_clipping(audio, sample_rate)
    pairs = [(level, chance) for each in found for side in _sides(each) for level, chance in side]
    sure = [abs(level) for level, chance in pairs if chance >= least]
    lows, highs = ([_sure(_sides(each)[place], least, sure) for each in found] for place in (0, 1))
    used = [chance for sides in (lows, highs) for ceiling, chance in sides if ceiling]
    if not used:
        left[CLIP] = _not_clipped(found, least)
        return audio
    ceilings = [low for low, _ in lows], [high for high, _ in highs]
    shares = [each.share if low or high else 0.0 for each, low, high in zip(found, *ceilings, strict=True)]
    steps.append(_clip_step(*ceilings, shares, min(chance for chance in used if chance >= least)))
    return _restored(audio, sample_rate, *ceilings, on_share)


def _not_clipped(found: Sequence[Clipping], least: float) -> str:
    """Why nothing is restored."""
    best = max((each.confidence for each in found if each.share > 0.0), default=0.0)
    undecided = max((each.undecided for each in found), default=0.0)
    if best:
        return f"clipping may be there with a confidence of {_below(best, least)}; {least:g} is needed"
    if undecided:
        level = f"{gain_to_db(undecided):.2f}"
        return (
            f"its tops are flat at {level} dBFS, but they begin steep and end round: it was limited without look-ahead or clipped. "
            f'If you know that it was clipped: --settings with [{{"effect": "clip", "settings": {{"ceiling_db": {level}}}}}]'
        )
    return "no clipping was found"


def _below(confidence: float, least: float) -> str:
    """A confidence with the digits that show it to be below the least one."""
    return next(text for digits in range(2, 18) if float(text := f"{confidence:.{digits}f}") < least)


def _sides(found: Clipping) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The ceilings of the lower and the upper half, the outermost first, each with its confidence."""
    both = (found.ceilings_low, found.confidences_low), (found.ceilings_high, found.confidences_high)
    low, high = (list(zip(*side, strict=True)) for side in both)
    return low, high


def _sure(side: Sequence[tuple[float, float]], least: float, sure: Sequence[float]) -> tuple[float, float]:
    """The outermost likely ceiling of a side, by itself or at the level of a ``sure`` one elsewhere, and its confidence; or zeros."""
    return next((each for each in side if each[1] >= least or any(abs(abs(each[0]) / level - 1.0) <= SAME for level in sure)), (0.0, 0.0))


def _restored(audio: Array, sample_rate: int, lows: Sequence[float], highs: Sequence[float], on_share: OnShare | None) -> Array:
    from stemwright.datagen.inverse.clipping.declipping import declip

    report = _as_progress(on_share)
    return np.asarray(declip(audio, sample_rate, ceiling_low=lows, ceiling_high=highs, on_progress=report))


def _as_progress(on_share: OnShare | None) -> OnProgress:
    def report(done: float, total: int, _: str, __: Any = None, /) -> None:
        if on_share:
            on_share(done / max(1, total))

    return report


def _clip_step(lows: Sequence[float], highs: Sequence[float], shares: Sequence[float], confidence: float) -> UndoneEffect:
    settings = {
        "ceiling_low_dbfs": [gain_to_db(-each) if each else None for each in lows],
        "ceiling_high_dbfs": [gain_to_db(each) if each else None for each in highs],
        "share": list(shares),
    }
    return UndoneEffect(CLIP, "found", settings, confidence)


def _inverted(audio: Array, sample_rate: int, known: Knowledge, on_share: OnShare | None) -> Undone:
    """The audio through the inverse of a known chain, then through what remains on the dry side."""
    both = 0
    while both < min(len(known.chain), len(known.remaining)) and _same(known.chain[both], known.remaining[both]):
        both += 1
    wet, dry, steps = known.chain[both:], known.remaining[both:], list[UndoneEffect]()
    _check_possible(audio, wet)
    current: Array = audio.astype(np.float64)
    for use in reversed(wet):
        if isinstance(use, float):
            current = current / db_to_gain(use)
            continue
        [(effect, settings)] = resolve_chain([use])
        if settings.is_neutral():
            continue
        if effect.NAME == CLIP:
            ceiling = db_to_gain(float(settings.plain()["ceiling_db"]))
            current = _restored(current, sample_rate, [-ceiling] * len(current), [ceiling] * len(current), on_share).astype(np.float64)
        else:
            current = invert_chain(current, sample_rate, [use])
        steps.append(UndoneEffect(effect.NAME, known.source, settings.plain()))
    for use in dry:
        current = current * db_to_gain(use) if isinstance(use, float) else apply_chain(current, sample_rate, [use])
    return Undone(_plausible(current), tuple(steps))


def _plausible(audio: Array) -> Array:
    """The audio as float32. Raises Refused where it peaks above HIGHEST_DBFS: then the settings are hardly those of this recording."""
    peak = float(np.abs(audio).max(initial=0.0))
    if not peak <= db_to_gain(HIGHEST_DBFS):
        reached = f"peak at {gain_to_db(peak):+.0f} dBFS" if math.isfinite(peak) else "have infinite samples"
        raise Refused(
            f"undone with the settings, it would {reached}; at most {HIGHEST_DBFS:+g} dBFS is accepted. "
            "Are they the settings of this recording?"
        )
    return np.asarray(audio, np.float32)


def _compared(undone: Undone, dry: Array | None, sample_rate: int) -> Undone:
    """What was undone with its error against a dry reference, if there is one. Raises Refused where it is not the reference's sound."""
    if dry is None or not undone.steps:
        return undone
    compared = _with_error(undone, _placed(dry, undone.audio, sample_rate, ()), sample_rate)
    if not (compared.error_db or 0.0) <= EXPLAINED_DB:
        raise Refused(
            f"undone with the settings, it differs from the dry reference by {compared.error_db:.1f} dB; at most {EXPLAINED_DB:g} dB is "
            f"taken. Are they the settings of this recording?{_in_parentheses(compared.notes)}"
        )
    return compared


def _in_parentheses(notes: Sequence[str]) -> str:
    """What was done to the reference before it was compared, for the end of a refusal, whose reason it is not."""
    return f" ({'; '.join(notes)})" if notes else ""


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        return bool(one == other)
    return bool(one.effect == other.effect and one.settings == other.settings)


def _check_possible(audio: Array, chain: Iterable[Any]) -> None:
    """Raises Refused for a recording that peaks above the ceiling of the last effect it is said to have gone through."""
    uses = [use for use in chain if not isinstance(use, float)]
    if not uses:
        return
    [(effect, settings)] = resolve_chain([uses[-1]])
    ceiling_db = getattr(settings, "ceiling_db", None)
    peak_db = gain_to_db(float(np.abs(audio).max(initial=0.0)))
    if ceiling_db is not None and peak_db > float(ceiling_db) + OVER_DB and not settings.is_neutral():
        raise Refused(
            f"the recording peaks at {peak_db:+.2f} dBFS, and the {effect.NAME} of the settings lets nothing above {ceiling_db:+.2f}: "
            "they are the settings of another recording"
        )


def _divided(audio: Array, gain: Array) -> Array:
    return _plausible(audio.astype(np.float64) / gain)


def _gain_range(gain: Array) -> dict[str, float]:
    return {"lowest_gain_db": gain_to_db(float(gain.min())), "highest_gain_db": gain_to_db(float(gain.max()))}


def _fitted(
    audio: Array, placed: PlacedDry, sample_rate: int, names: Sequence[str], steps: list[UndoneEffect], on_share: OnShare | None
) -> Array:
    """The audio through the inverse of the chain that makes it from the dry reference."""
    from stemwright.datagen.inverse import fit
    from stemwright.datagen.inverse.chain import fit_chain
    from stemwright.datagen.inverse.undo.dry_placement import check_clock

    part = placed.sounding(round(FITTED_S * sample_rate))
    wet, ref = placed.of(audio)[:, part].astype(np.float64), placed.audio[:, part].astype(np.float64)
    try:
        if len(names) == 1:
            chain: list[Any] = [(names[0], fit(names[0], wet, ref, sample_rate, on_progress=_as_progress(on_share)))]
            confidence = None
        else:
            fitted = fit_chain(wet, ref, sample_rate, list(names), on_progress=_as_progress(on_share))
            chain, confidence = list(fitted), min(fitted.confidence.values(), default=None)
    except ValueError as error:
        raise Refused(f"no settings of {', '.join(names)} turn the dry reference into it: {error}") from error
    made = apply_chain(ref, sample_rate, chain)
    residual_db, gain_db = error_db(made, wet), _best_gain_db(made, wet)
    if residual_db > EXPLAINED_DB:
        what = (
            f"{', '.join(names)} of the dry reference leaves a residual of {residual_db:.1f} dB against it; at most {EXPLAINED_DB:g} dB is "
            "taken"
        )
        with_gain_db = error_db(db_to_gain(gain_db) * made, wet)
        if with_gain_db <= EXPLAINED_DB:
            raise Refused(
                f"{what}. The reference is at another level: with a gain of {gain_db:+.2f} dB, {with_gain_db:.1f} dB would be left. "
                f"Name the gain, too: --effect {','.join(names)},fader"
            )
        check_clock(placed, audio, sample_rate)
        raise Refused(f"{what}. It is the same recording, but these are not all of its effects{_in_parentheses(placed.notes(sample_rate))}")
    steps += [UndoneEffect(name, "dry", settings.plain(), confidence) for name, settings in reversed(chain)]
    return np.asarray(invert_chain(audio.astype(np.float64), sample_rate, chain), np.float32)


def _best_gain_db(made: Array, wet: Array) -> float:
    """The gain in dB that brings one signal closest to another."""
    energy = float(np.square(made).sum())
    gain = float((made * wet).sum()) / energy if energy else 0.0
    return gain_to_db(gain) if gain > 0.0 else 0.0


def _estimated(
    audio: Array, sample_rate: int, names: Sequence[str], profile: Any, least: float, steps: list[UndoneEffect], left: dict[str, str]
) -> Array:
    """The audio through the inverse of those estimated effects whose confidence is high enough."""
    import torch

    from stemwright.datagen.inverse import estimate

    current = audio
    for name in reversed(names):
        answer = estimate(name, torch.from_numpy(np.ascontiguousarray(current)), sample_rate, profile)
        if answer.settings is None or answer.quantity is None:
            left[name] = answer.reason
            continue
        if answer.confidence < least:
            left[name] = f"{answer.quantity.text()} has a confidence of {_below(answer.confidence, least)}; {least:g} is needed"
            continue
        try:
            current = np.asarray(invert_chain(current.astype(np.float64), sample_rate, [(name, answer.settings)]), np.float32)
        except ValueError as error:
            left[name] = str(error)
            continue
        steps.append(UndoneEffect(name, "profile", answer.settings.plain(), answer.confidence, answer.plain()))
    return current
