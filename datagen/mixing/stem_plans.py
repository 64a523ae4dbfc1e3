"""From stems to plans by the published rules: the role of each stem, its high-pass and cuts, its place, and its level; with reasons.

Conventions
    stems are {name: float32 [2, T]} of one shape, mono ones with two channels alike. Nothing depends on their order or on their gains:
    names are sorted, and what is measured is a ratio. A stem that is silent, or softer than SOFTEST_LUFS, is left out; so is one that is
    a mixture of the others.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from stemwright.datagen.mixing.instrument_roles import LEAD_LU, Role, role_of_name, side_of_name, spelt, without_side
from stemwright.datagen.mixing.settling import (
    MIX_LUFS,
    MixSettings,
    Reason,
    SettledStem,
    StemPlan,
    Use,
    loudness_at_any_level,
    notes_on_faders,
    settle,
    uses,
)
from stemwright.datagen.mixing.stem_sound import StemSound, role_of_sound, sound_of
from stemwright.manifests.catalog.part_names import FULL_MIXES, part_of_instrument
from stemwright.manifests.names import name_from
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import BLOCK_FRAMES, Audio
from stemwright.manifests.stems.stem_products import Products

ABOVE_LEAD_LU = 3.0  # of a stem of several instruments; no single one is louder than the lead (the published rule "vocal_loudest")
SOFTEST_LUFS = -60.0  # of a stem that is mixed: less is dither, or what a separator left
NOTED_LU = 0.1  # from the level of the leads on, a difference is said
HIGHPASS_BELOW, HIGHPASS_ORDER = 2.0 ** (-1.0 / 3.0), 2  # a third of an octave below the lowest note
MOST_BELOW = 0.05  # of a stem's energy below its high-pass: where there is more it is no noise
NARROW_HZ, WIDE_HZ, WIDEST_PAN = 200.0, 4000.0, 0.7  # how far out what has no name goes, by its centre in frequency


@dataclass(frozen=True)
class KnownStem:
    """A stem that takes part: its audio, sound and role, and how the role was found."""

    name: str
    sound: StemSound
    role: Role
    role_from: str
    loudness_lufs: float


def mix_by_rules(stems: Mapping[str, Audio], sample_rate: int, *, loudness_lufs: float = MIX_LUFS, equalise: bool = True) -> MixSettings:
    """Faders, pans, high-passes and cuts of dry stems by the published rules of ``mix_rules``.

    ``stems`` are float32 [2, T] of one shape; ``loudness_lufs`` is that of the mix, which is less where its true peak would exceed
    -1 dBTP; ``equalise`` false leaves high-passes and cuts out. Raises Refused where all stems are silent, ValueError for another shape.
    """
    parts, left_out = parts_of(stems, sample_rate)
    plans = plans_by_rules(parts, equalise=equalise)
    settled, bus, measured_lufs, peak_dbtp = settle(stems, sample_rate, plans, loudness_lufs=loudness_lufs)
    return MixSettings(settled, bus, measured_lufs, peak_dbtp, left_out, (*_notes_on_leads(settled), *notes_on_faders(settled, bus)))


def _notes_on_leads(settled: Mapping[str, SettledStem]) -> tuple[str, ...]:
    """A note where the leads are not at their level against the mix, and why."""
    leads = {name: stem for name, stem in settled.items() if stem.plan.lead}
    others = {name: stem for name, stem in settled.items() if not stem.plan.lead}
    if not leads or not others:
        return ()
    level_lu, wanted_lu = (
        10.0 * math.log10(sum(10.0 ** (level / 10.0) for level in levels))
        for levels in ([stem.level_lu for stem in leads.values()], [stem.plan.level_lu for stem in leads.values()])
    )
    if abs(level_lu - wanted_lu) < NOTED_LU:
        return ()
    subject = f"{' and '.join(leads)} {'is' if len(leads) == 1 else 'are together'} at {level_lu:.1f} LU, not at {wanted_lu:g}: "
    shift_lu = level_lu - wanted_lu
    held = [name for name, stem in others.items() if stem.level_lu - shift_lu > stem.plan.highest_lu - NOTED_LU]
    if shift_lu > 0.0 and held:
        one = settled[held[0]].plan.highest_lu == LEAD_LU
        above, whose = ("louder", "single instrument") if one else (f"more than {ABOVE_LEAD_LU:g} LU louder", "stem of several instruments")
        return (f"{subject}{held[0]} would have to be {above} than the lead, and no {whose} may be",)
    return (f"{subject}no gain of what plays beside it does that",)


def parts_of(stems: Mapping[str, Audio], sample_rate: int) -> tuple[list[KnownStem], dict[str, str]]:
    """The stems that are mixed, by name, and why others are not. Raises Refused if none is."""
    if len(shapes := {stems[name].shape for name in stems}) != 1 or next(iter(shapes))[:-1] != (2,):
        raise ValueError(f"expected stems [2, T] of one shape, got {', '.join(map(str, sorted(shapes))) or 'none'}")
    left_out = dict[str, str]()
    loud = dict[str, float]()
    for name in sorted(stems):
        if spelt(name).replace(" ", "_") in FULL_MIXES and len(stems) > 1:
            left_out[name] = "by its name a mixture, not a stem"
        elif (loudness := loudness_at_any_level(stems[name], sample_rate)) < SOFTEST_LUFS:
            left_out[name] = "silent" if loudness == -math.inf else f"{loudness:.0f} LUFS: practically silent"
        else:
            loud[name] = loudness
    left_out |= sums_of_others({name: stems[name] for name in loud}, sample_rate)
    if not (names := [name for name in loud if name not in left_out]):
        raise Refused(f"all stems are silent ({', '.join(sorted(stems))}): there is nothing to mix")
    return [_part(name, stems[name], sample_rate, loud[name]) for name in names], left_out


def _part(name: str, audio: Audio, sample_rate: int, loudness_lufs: float) -> KnownStem:
    sound, role = sound_of(audio, sample_rate), role_of_name(name)
    if role:
        return KnownStem(name, sound, role, "name", loudness_lufs)
    role, heard = role_of_sound(audio, sound, sample_rate)
    return KnownStem(name, sound, role, f"sound: {heard}", loudness_lufs)


def name_among(names: Iterable[str], part: KnownStem) -> str | None:
    """The one of several names that a stem is like: its own, that of its role, or that of the part of a song that its role belongs to."""
    own = {name.lower(): name for name in names}
    candidates = (name_from(part.name), part.role.name.replace(" ", "_"), part_of_instrument(part.role.name))
    return next((own[name] for name in candidates if name in own), None)


def sums_of_others(stems: Mapping[str, Audio], sample_rate: int) -> dict[str, str]:
    """The stems that are sums of others among them, as they are, with what they are: a mixture, an accompaniment."""
    names = sorted(stems)
    if len(names) < 3:
        return {}
    channels, frames = stems[names[0]].shape
    products = Products(len(names), channels, sample_rate)
    for start in range(0, frames, BLOCK_FRAMES):
        block = np.stack([stems[name][:, start : start + BLOCK_FRAMES] for name in names])
        products.add(np.zeros_like(block[0]), block)
    found = products.totals().sums_of_others()
    return {names[number]: f"the sum of {', '.join(names[part] for part in parts)}" for number, parts in found.items()}


def plans_by_rules(parts: list[KnownStem], *, equalise: bool) -> dict[str, StemPlan]:
    """The plan of each stem."""
    parts = _with_leads(parts)
    pans = _pans(parts)
    plans = dict[str, StemPlan]()
    for part in parts:
        level_lu, why = _level(part, parts)
        chain, filters = _chain(part) if equalise else ((), ())
        pan, place = pans[part.name]
        reasons = (why, *filters, place)
        highest_lu = LEAD_LU + (ABOVE_LEAD_LU if part.role.group else 0.0)
        plans[part.name] = StemPlan(part.role.name, part.role_from, level_lu, chain, pan, part.role.lead, reasons, highest_lu)
    return plans


def _with_leads(parts: list[KnownStem]) -> list[KnownStem]:
    """The only stem beside a backing track is its lead."""
    beside = [part for part in parts if part.role.name != "accompaniment"]
    if len(beside) != 1 or len(parts) == 1 or beside[0].role.group or beside[0].role.lead:
        return parts
    role = replace(beside[0].role, level_lu=LEAD_LU, lead=True, pan=0.0, level_rule="backing track", pan_rule="vocal centre")
    return [replace(beside[0], role=role) if part is beside[0] else part for part in parts]


def _level(part: KnownStem, parts: list[KnownStem]) -> tuple[float, Reason]:
    """The level of a stem, and its reason."""
    same = [other for other in parts if other.role.name == part.role.name]
    if not part.role.shared:  # the two files of one stereo source share its level
        pair = without_side(part.name)
        same = [other for other in same if side_of_name(other.name) and without_side(other.name) == pair]
        same = same if len(same) == 2 and part in same else [part]
    level_lu = part.role.level_lu - 10.0 * math.log10(len(same))
    if len(same) > 1:
        together = "together " if part.role.lead else "in a full band, "
        return level_lu, Reason("level", f"{part.role.level_lu:.1f} LU {together}of {len(same)} files", "one source")
    return level_lu, Reason("level", f"{level_lu:.1f} LU" + ("" if part.role.lead else " in a full band"), part.role.level_rule)


def _chain(part: KnownStem) -> tuple[tuple[Use, ...], tuple[Reason, ...]]:
    """High-pass and cuts of a stem, and their reasons."""
    role, chain, reasons = part.role, [], []
    highest_hz = float(part.sound.hz[-1])
    cutoff_hz = round(role.lowest_hz * HIGHPASS_BELOW)
    if cutoff_hz and (below := part.sound.share_below(cutoff_hz)) > MOST_BELOW:
        reasons.append(Reason("high-pass", f"none: {below:.0%} of the energy is below {cutoff_hz} Hz", "range"))
    elif cutoff_hz and cutoff_hz < highest_hz:
        chain.append(("highpass", {"cutoff_hz": float(cutoff_hz), "order": float(HIGHPASS_ORDER)}))
        reasons.append(Reason("high-pass", f"{cutoff_hz} Hz", "range"))
    for band, gain_db, hz in role.cuts:
        if hz < highest_hz:
            chain.append(("eq", {f"{band}_gain_db": gain_db, f"{band}_hz": hz, f"{band}_q": 0.71 if "shelf" in band else 1.0}))
            reasons.append(Reason("eq", f"{gain_db:+g} dB {'below' if 'shelf' in band else 'at'} {hz:g} Hz", "cuts"))
    return uses(*chain), tuple(reasons)


def _pans(parts: list[KnownStem]) -> dict[str, tuple[float, Reason]]:
    """The place of each stem, with its reason: named sides, centres, and the rest in balance left and right."""
    found = dict[str, tuple[float, Reason]]()
    free = list[tuple[KnownStem, float]]()
    pairs = Counter(without_side(part.name) for part in parts if side_of_name(part.name))
    for part in parts:
        side = side_of_name(part.name)
        if not part.sound.is_mono:
            found[part.name] = (0.0, Reason("pan", "as it is", "stereo"))
        elif side and pairs[without_side(part.name)] == 2:
            found[part.name] = (-1.0 if side == "left" else 1.0, Reason("pan", f"hard {side}", "pair"))
        elif part.role.pan_rule != "place":
            found[part.name] = (0.0, Reason("pan", "centre", part.role.pan_rule))
        elif part.sound.centre_hz < NARROW_HZ:
            found[part.name] = (0.0, Reason("pan", f"centre: most of it is near {part.sound.centre_hz:.0f} Hz", "lows"))
        else:
            free.append((part, part.role.pan if part.role.pan else _pan_of_sound(part.sound.centre_hz)))
    return found | _spread(free)


def _pan_of_sound(centre_hz: float) -> float:
    """How far out what has no published place goes: the higher, the farther."""
    along = math.log(centre_hz / NARROW_HZ) / math.log(WIDE_HZ / NARROW_HZ)
    return round(WIDEST_PAN * min(max(along, 0.0), 1.0), 2)


def _spread(free: list[tuple[KnownStem, float]]) -> dict[str, tuple[float, Reason]]:
    """Stems on alternate sides, so that both weigh alike: the widest and loudest first, each on the lighter side. One alone stays."""
    if len(free) == 1:
        return {free[0][0].name: (0.0, Reason("pan", "centre: nothing to balance it", "balanced"))}
    weights = {part.name: 10.0 ** (part.role.level_lu / 10.0) * pan for part, pan in free}
    balance, found = 0.0, dict[str, tuple[float, Reason]]()
    for part, pan in sorted(free, key=lambda each: (-weights[each[0].name], -each[0].sound.centre_hz, _natural(each[0].name))):
        sign = -1.0 if balance >= 0.0 else 1.0
        balance += sign * weights[part.name]
        side = "left" if sign < 0 else "right"
        found[part.name] = (sign * pan, Reason("pan", f"{pan:.0%} {side}", "place" if part.role.pan else "wider"))
    return found


def _natural(name: str) -> tuple[object, ...]:
    """A key that sorts "tom 2" before "tom 10"."""
    return tuple(part.zfill(8) if part.isdigit() else part for part in re.split(r"(\d+)", name.lower()))
