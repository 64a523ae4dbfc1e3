"""From plans to settings: the faders whose measured levels in the mix are the planned ones, and the gain of the whole.

Each stem goes through its chain and its pan; its gated loudness then gives the fader that brings it to its planned level, relative to
the others. The leads, at their level against the mix, need the level of all others to be found: mix and lead are measured together, with
what they have in common, and the gain of the others is solved for. The mix is brought to its loudness, or as near as its true peak allows.

Conventions
    stems are {name: float32 [2, T]} of one shape. A fader holds FADER_DB: what a stem needs beyond is on the mix bus.

References
    Recommendation ITU-R BS.1770-5 (2023); EBU R 128 (2023), true peak at most -1 dBTP.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.effects import apply_chain, resolve_chain
from stemwright.datagen.effects.ranges import FADER_DB
from stemwright.datagen.effects.settings import EffectSettings
from stemwright.manifests.decibels import db_to_gain, gain_to_db
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio
from stemwright.separation.loudness.kweighting import hop_edges, hop_products
from stemwright.separation.loudness.meter import (
    BLOCK_STEP_HOPS,
    MOMENTARY_HOPS,
    channel_weights,
    gated_loudness,
    integrated_loudness,
    true_peak,
    window_means,
)

Array = NDArray[np.floating]
Use = tuple[str, EffectSettings]

MIX_LUFS, HIGHEST_PEAK_DBTP = -16.0, -1.0
WIDEST_DB = 60.0  # between the leads and the rest: where a solution is looked for


@dataclass(frozen=True)
class Reason:
    """Why something is set: what, its value as text, and the key of the rule in ``mix_rules.RULES`` (or where it is from)."""

    what: str
    value: str
    rule: str


@dataclass(frozen=True)
class StemPlan:
    """What is decided about a stem before levels are measured: ``chain`` before the fader, ``pan``, and the level relative to the others.

    A lead's ``level_lu`` is against the mix where there are others; beside a lead no other is louder than ``highest_lu``.
    """

    role: str
    role_from: str
    level_lu: float
    chain: tuple[Use, ...] = ()
    pan: float = 0.0
    lead: bool = False
    reasons: tuple[Reason, ...] = ()
    highest_lu: float = math.inf


@dataclass(frozen=True)
class SettledStem:
    """A stem's plan, its whole chain with the fader, and its measured level against the mix in LU."""

    plan: StemPlan
    chain: tuple[Use, ...]
    gain_db: float
    level_lu: float


@dataclass(frozen=True)
class MixSettings:
    """The settings of a mix: stems by name, the chain of the bus, what the mix measures, and what was left out with its reason."""

    stems: Mapping[str, SettledStem]
    bus: tuple[Use, ...]
    loudness_lufs: float
    true_peak_dbtp: float
    left_out: Mapping[str, str]
    notes: tuple[str, ...] = ()


def uses(*chain: tuple[str, Mapping[str, float]]) -> tuple[Use, ...]:
    """A chain with checked settings."""
    return tuple((effect.NAME, settings) for effect, settings in resolve_chain(chain))


def settle(
    stems: Mapping[str, Audio], sample_rate: int, plans: Mapping[str, StemPlan], *, loudness_lufs: float = MIX_LUFS
) -> tuple[dict[str, SettledStem], tuple[Use, ...], float, float]:
    """The faders of planned stems: the settled stems, the chain of the bus, and the loudness in LUFS and true peak in dBTP of the mix."""
    gains, sums = dict[str, float](), dict[bool, np.ndarray]()
    for name in sorted(plans):  # in one order, so that the order of the files changes nothing
        wet = before_fader(stems[name], sample_rate, plans[name])
        gains[name] = plans[name].level_lu - loudness_at_any_level(wet, sample_rate)
        part = sums.setdefault(plans[name].lead, np.zeros(wet.shape, np.float32))
        part += np.float32(db_to_gain(gains[name])) * wet
    target_lu = _together([plan.level_lu for plan in plans.values() if plan.lead])
    most_db = min((plan.highest_lu - plan.level_lu for plan in plans.values() if not plan.lead), default=0.0)
    rest_db = min(_gain_of_rest(sums[True], sums[False], target_lu, sample_rate), most_db) if len(sums) == 2 else 0.0
    mix = sums[True] + np.float32(db_to_gain(rest_db)) * sums[False] if len(sums) == 2 else next(iter(sums.values()))
    measured_lufs, peak_dbtp = integrated_loudness(mix, sample_rate), true_peak(mix, sample_rate)
    whole_db = min(loudness_lufs - measured_lufs, HIGHEST_PEAK_DBTP - peak_dbtp)
    levels = {name: plan.level_lu + (0.0 if plan.lead else rest_db) - measured_lufs for name, plan in plans.items()}
    faders = {name: gain + whole_db + (0.0 if plans[name].lead else rest_db) for name, gain in gains.items()}
    bus_db = max(0.0, max(faders.values()) - FADER_DB[1])
    settled = {name: _settled(name, plans[name], faders[name] - bus_db, levels[name]) for name in stems if name in plans}
    return settled, uses(("fader", {"gain_db": bus_db})) if bus_db else (), measured_lufs + whole_db, peak_dbtp + whole_db


def notes_on_faders(stems: Mapping[str, SettledStem], bus: tuple[Use, ...]) -> tuple[str, ...]:
    """A note where a stem needs more than a fader gives, so that it is at its limit and the rest is on the mix bus."""
    held = [name for name, stem in stems.items() if stem.gain_db >= FADER_DB[1] - 1e-3]
    if not held or not bus:
        return ()
    (_, settings), *_ = bus
    whose = f"{' and '.join(held)}: fader{'' if len(held) == 1 else 's'} at the limit of {FADER_DB[1]:+g} dB"
    return (f"{whose}; all stems get {settings.plain()['gain_db']:+.1f} dB more on the mix bus. Was the stem recorded very softly?",)


def _settled(name: str, plan: StemPlan, gain_db: float, level_lu: float) -> SettledStem:
    if not FADER_DB[0] <= gain_db <= FADER_DB[1]:
        raise Refused(
            f"{name} would need a fader at {gain_db:.1f} dB; one goes from {FADER_DB[0]:g} to {FADER_DB[1]:g} dB. Is it another take?"
        )
    return SettledStem(plan, (*plan.chain, *uses(("fader", {"gain_db": gain_db, "pan": plan.pan}))), gain_db, level_lu)


def before_fader(audio: Audio, sample_rate: int, plan: StemPlan) -> Audio:
    """A stem through its chain and its pan, float32."""
    placed = uses(("fader", {"pan": plan.pan})) if plan.pan else ()
    return np.asarray(apply_chain(audio, sample_rate, (*plan.chain, *placed)), np.float32)


def _together(levels_lu: list[float]) -> float:
    """The level of unrelated signals together."""
    return 10.0 * math.log10(sum(10.0 ** (level / 10.0) for level in levels_lu)) if levels_lu else -math.inf


def _gain_of_rest(leads: Audio, rest: Audio, target_lu: float, sample_rate: int) -> float:
    """The gain in dB of the rest [C, T] with which the leads [C, T] are at a level in LU against the mix of both.

    It is the nearest one where no gain reaches the level: leads that play alone for most of the time.
    """
    from scipy.optimize import brentq

    channels = range(len(leads))
    pairs = [(c, c) for c in channels] + [(c + len(leads), c + len(leads)) for c in channels] + [(c, c + len(leads)) for c in channels]
    sums = hop_products([*leads, *rest], pairs, sample_rate).reshape(3, len(leads), -1)
    own, other, shared = np.einsum("c,pck->pk", channel_weights(len(leads)), sums)
    edges = hop_edges(leads.shape[1], sample_rate)

    def loudness(hops: Array) -> float:
        return gated_loudness(window_means(hops, edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS)[0])

    alone = loudness(own)

    def excess(gain_db: float) -> float:
        factor = db_to_gain(gain_db)
        return alone - loudness(np.maximum(own + 2.0 * factor * shared + factor**2 * other, 0.0)) - target_lu

    low, high = -WIDEST_DB, WIDEST_DB
    if excess(low) <= 0.0 or excess(high) >= 0.0:
        grid = np.linspace(low, high, 241)
        return float(grid[np.argmin([abs(excess(gain)) for gain in grid])])
    return float(brentq(excess, low, high, xtol=1e-4))


def loudness_at_any_level(audio: Audio, sample_rate: int) -> float:
    """Integrated loudness in LUFS as if the peak were at full scale, brought back: the absolute gate then falls on the same blocks whatever
    the gain of the audio. -inf for silence.
    """
    peak = float(np.abs(audio).max(initial=0.0))
    return integrated_loudness(audio / np.float32(peak), sample_rate) + gain_to_db(peak) if peak > 0.0 else -math.inf
