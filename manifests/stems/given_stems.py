"""What the stems that were given with a mixture are to it: in time with it, at its level, whole, of the same recording; and what mends
them.

``examine`` reads a mixture and its stems one to three times, in blocks: stems that sum to the mixture are read once. It measures, and
decides what is certain enough to be mended; ``GivenStems.mended`` then reads the stems so. Every verb that takes stems uses it.

What is mended
    A delay (``stem_alignment``). Swapped channels, where the stems close 6 dB better so. Gains and polarity, by least squares against the
    mixture, where one is more than ``WRONG_GAIN_DB``, and where the stems then sum to the mixture within ``SURE_DB`` or ``BETTER_DB``
    better than before. So stems that a separator or an editor scaled one by one are at the mixture's own scale again. What is mended is
    noted. A mastered mixture does not close: gains stem by stem are only used where they explain much more than one gain for all stems,
    and that one where it is more than ``WRONG_GAIN_DB``, as where the master is louder than the mix.

Conventions
    ``closure_db`` is the energy of mixture - sum(stems) over the energy of the mixture; None if they sum exactly.
    A stem is foreign if too little of it is coherent with the mixture (``FOREIGN_SHARE``); one that is silent is only noted.

References
    Least squares with the variance of a block jackknife: Efron and Stein 1981.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import BLOCK_FRAMES
from stemwright.manifests.stems.stem_alignment import WINDOW_FRAMES, align, moved
from stemwright.manifests.stems.stem_drift import in_words, refusal
from stemwright.manifests.stems.stem_leaks import as_if_without, leaks
from stemwright.manifests.stems.stem_products import Products, Totals
from stemwright.manifests.stems.stem_reading import AS_IT_IS, GivenStems, Mending

Array = NDArray[np.floating]

CLOSES_DB, CLOSES_LOSSY_DB = -60.0, -20.0  # what a sum of stems leaves of its mixture, as files without and with losses are found
EXACT = 2.0**-24  # half a step of 24 bits
FOREIGN_ENERGY = 1e-3  # of the mixture's: a stem with less may be hidden by the others
FOREIGN_SHARE = 0.2  # of the energy of a stem: one that is not in a mixture has less; masters leave 0.4 of one at -30 dB
WRONG_GAIN_DB, SURE_DB, BETTER_DB = 1.0, -25.0, 6.0
SHARED_DB = 8.0  # between the stems that one gain fits: a compressor and an equaliser part them by less
SHARED_LEAVES = 0.8  # of the energy that is left without it: what one gain for all leaves
SURE_GAIN_DB = 0.5  # standard error of a gain that may be undone
LEAST_GAIN_DB = 0.1
MOVED_LEAVES = 0.9  # of the energy that is left at the best gains: what stems that are moved into time leave
UNEVEN_DB = 3.0  # between the gains of the two channels of a stem
MOST_WINDOWS, MOST_EXCERPTS = 12, 96  # windows; and windows times signals, which bounds the memory
UNLIKE_FRAMES = 4096  # by which codecs pad
WIDER, WITHOUT_LEAK = "; levels have an interval as wide", ": the gains of stems are measured without this leak"


@dataclass(frozen=True)
class StemFinding:
    """One stem: its delay in the mixture, its gain there in dB (None: cannot be determined), how it is mended, and what is wrong with
    it.
    """

    lag_frames: float = 0.0
    fit_gain_db: float | None = None
    mending: Mending = AS_IT_IS
    foreign: bool = False
    notes: tuple[str, ...] = ()
    drift_ppm: float = 0.0  # how much faster its clock is than the mixture's; 0: it has the same


@dataclass(frozen=True)
class Findings:
    """All stems of a mixture: each one, closure before and after mending in dB (None: exact), and notes about all of them."""

    stems: Mapping[str, StemFinding]
    closure_db: float | None
    closure_before_db: float | None
    notes: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()  # stems that are sums of others, which are not among ``stems``

    @property
    def foreign(self) -> tuple[str, ...]:
        """The stems that are not of this mixture."""
        return tuple(name for name, stem in self.stems.items() if stem.foreign)

    @property
    def drifting(self) -> tuple[str, ...]:
        """The stems that are of another clock than the mixture."""
        return tuple(name for name, stem in self.stems.items() if stem.drift_ppm)

    def check_clocks(self) -> None:
        """Raises Refused where a stem is of another clock: no delay brings it into time with the mixture."""
        if self.drifting:
            raise Refused(refusal(self.drifting, [self.stems[name].notes[-1] for name in self.drifting]))

    @property
    def mending(self) -> dict[str, Mending]:
        """What mends the stems, for ``GivenStems.mended``."""
        return {name: stem.mending for name, stem in self.stems.items() if stem.mending != AS_IT_IS}

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Everything a person should know, a sentence each."""
        return (*(note for stem in self.stems.values() for note in stem.notes), *self.notes)

    @property
    def notes_on_sound(self) -> tuple[str, ...]:
        """The same for one who changes the sound: without what follows from it for measured levels."""
        return tuple(note.removesuffix(WIDER).removesuffix(WITHOUT_LEAK) for note in self.all_notes)


@dataclass
class _Pass:
    """What one reading at the stems' own places gives: energies, seconds of which are [K, N] with the mixture first."""

    mixture_energy: float = 0.0
    residual_energy: float = 0.0
    residual_peak: float = 0.0
    num_frames: int = 0
    seconds: list[Array] = field(default_factory=list)
    lengths: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)

    @property
    def closure_db(self) -> float | None:
        return closure(self.residual_energy, self.mixture_energy) if self.residual_peak >= EXACT else None


def closure(residual_energy: float, mixture_energy: float) -> float:
    """The one over the other in dB, rounded as rows have it."""
    return round(10.0 * math.log10(max(residual_energy, 1e-30) / max(mixture_energy, 1e-30)), 4)


def examine(given: GivenStems, *, undo_gains: bool = True) -> Findings:
    """Measures the stems of a mixture, and finds what mends them. Raises Refused where a file cannot be read or lasts quite another time.

    ``undo_gains`` false leaves gains as they are, for dry stems, whose faders are to be found: that these do not sum to the mixture, and
    are at other levels and places in it, is not noted.
    """
    first = _first_pass(given)
    formats = _format_notes(given, first)
    before = first.closure_db
    if before is None or before <= CLOSES_DB or not first.mixture_energy or not any(energies[1:].any() for energies in first.seconds):
        return Findings({name: StemFinding(0.0, 0.0, notes=formats[name]) for name in given.stems}, before, before)
    names, totals = list(given.stems), _products(given)
    if (derived := totals.sums_of_others()) and len(derived) < len(names):
        return _without(given, {names[number]: tuple(names[part] for part in parts) for number, parts in derived.items()}, undo_gains)
    excerpts, starts = _excerpts(given, first)
    alignment = align(excerpts, starts, given.sample_rate)
    energies = np.sum(first.seconds, axis=0)
    heard = [number for number in range(len(names)) if energies[number + 1] > 0]
    if drifting := {names[number]: alignment.drifts[number] for number in heard if alignment.drifts[number]}:
        return _drifting(given, drifting, formats, before, first.num_frames)
    loud = [number for number in heard if energies[number + 1] > FOREIGN_ENERGY * energies[0]]
    foreign = {number for number in loud if alignment.coherent is not None and alignment.coherent[number] < FOREIGN_SHARE}
    lags = [0.0 if number in foreign or number not in heard else alignment.lags[number] for number in range(len(names))]
    if any(lags):
        moved_totals = _products(given.mended({name: Mending(lag) for name, lag in zip(names, lags, strict=True)}))
        if moved_totals.left_at_best() < MOVED_LEAVES * totals.left_at_best():
            totals = moved_totals
        else:  # another time explains no more: tones are alike at many times
            lags = [0.0] * len(names)
    foreign -= {number for number in foreign if totals.is_contained(number)}
    judged = _Judged(given, names, lags, heard, foreign, totals, moved(excerpts, lags)[:, 1:])
    found = judged.stems(undo_gains)
    stems = {name: replace(stem, notes=(*formats[name], *stem.notes)) for name, stem in found.items()}
    after = totals.closure_db([stem.mending for stem in stems.values()])
    late = next(lags[number] for number in heard if number not in foreign) if judged.all_late else 0.0
    notes = [f"all stems are {_lateness(late, given.sample_rate)}: moved into time"] if late else []
    if judged.one_gain_db:
        notes.append(f"all stems are at {-judged.one_gain_db:+.2f} dB against the mixture: undone by one gain (is it mastered?)")
    return Findings(stems, after, before, (*notes, *(_closure_notes(after, given.lossy) if undo_gains else ())))


def _without(given: GivenStems, derived: Mapping[str, tuple[str, ...]], undo_gains: bool) -> Findings:
    """The findings without stems that are sums of others."""
    rest = replace(given, stems={name: source for name, source in given.stems.items() if name not in derived})
    found = examine(rest, undo_gains=undo_gains)
    notes = [f"stem {name} is the sum of {', '.join(parts)}: left out" for name, parts in derived.items()]
    return replace(found, derived=tuple(derived), notes=(*notes, *found.notes))


def _drifting(
    given: GivenStems, drifting: Mapping[str, float], formats: Mapping[str, tuple[str, ...]], before: float | None, num_frames: int
) -> Findings:
    """The findings where some stems are of another clock: nothing else is known of stems that are in time nowhere."""
    words = {name: (in_words(name, drift, num_frames / given.sample_rate),) for name, drift in drifting.items()}
    stems = {name: StemFinding(notes=formats[name] + words.get(name, ()), drift_ppm=drifting.get(name, 0.0)) for name in given.stems}
    return Findings(stems, before, before, _closure_notes(before, given.lossy))


def _first_pass(given: GivenStems) -> _Pass:
    found = _Pass()
    readers = given.readers()
    for mixture in given.mixture_blocks():
        stems = np.stack([reader.take(mixture.shape[1]) for reader in readers])
        residual = mixture - stems.sum(axis=0, dtype=np.float64)
        found.residual_energy += float(np.sum(residual**2))
        found.residual_peak = max(found.residual_peak, float(np.abs(residual).max(initial=0.0)))
        energies = np.array([float(np.sum(np.square(part, dtype=np.float64))) for part in (mixture, *stems)])
        found.mixture_energy += float(energies[0])
        found.seconds.append(energies)  # one for each block
        found.num_frames += mixture.shape[1]
    for name, reader in zip(given.stems, readers, strict=True):
        reader.finish()
        found.lengths[name], found.channels[name] = reader.num_frames, reader.source_channels
    return found


def _excerpts(given: GivenStems, first: _Pass) -> tuple[Array, Array]:
    """The excerpts [W, N, C, L] that hold most of every stem: for each in turn the block where it is loudest, without one twice; and the
    frames [W] where they begin.
    """
    energies = np.stack(first.seconds)  # [K, N]
    count = max(1, min(MOST_WINDOWS, MOST_EXCERPTS // energies.shape[1], energies.shape[0]))
    chosen: list[int] = []
    for turn in range(energies.shape[0] * energies.shape[1]):
        column = energies[:, turn % energies.shape[1]].copy()
        column[chosen] = -1.0
        if (best := int(np.argmax(column))) not in chosen and column[best] > 0:
            chosen.append(best)
        if len(chosen) == count:
            break
    wanted = set(chosen)
    parts: list[Array] = []
    starts: list[int] = []
    for number, (mixture, stems) in enumerate(given.blocks()):
        if number in wanted:
            whole = np.concatenate([mixture[None], stems])
            for start in range(0, whole.shape[-1], WINDOW_FRAMES):
                part = whole[..., start : start + WINDOW_FRAMES]
                if part.shape[-1] > WINDOW_FRAMES // 2 or not parts:
                    starts.append(number * BLOCK_FRAMES + start)
                    parts.append(np.pad(part, ((0, 0), (0, 0), (0, WINDOW_FRAMES - part.shape[-1]))))
    return np.stack(parts[: 2 * count]), np.array(starts[: 2 * count])


def _products(given: GivenStems) -> Totals:
    products = Products(len(given.stems), given.num_channels, given.sample_rate)
    for mixture, stems in given.blocks():
        products.add(mixture, stems)
    return products.totals()


@dataclass
class _Judged:
    """The measurements of all stems, and what follows from them."""

    given: GivenStems
    names: list[str]
    lags: list[float]
    heard: list[int]
    foreign: set[int]
    totals: Totals
    excerpts: Array  # [W, S, C, L], in time
    one_gain_db: float = 0.0  # of all stems, where it is undone
    leaks: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def stems(self, undo_gains: bool) -> dict[str, StemFinding]:
        """What was found of each stem."""
        placed = [Mending(lag) for lag in self.lags]
        placed = self.totals.with_channels_swapped(placed, self.heard)
        gains, errors_db = self._gains(placed)
        known = [self._is_known(number, gains[number], errors_db[number]) for number in range(len(self.names))]
        mending = self._scaled(placed, gains, known) if undo_gains else placed
        levels = {each.gain_db for each in mending}
        self.one_gain_db = levels.pop() if len(mending) > 1 and len(levels) == 1 else 0.0
        uneven = self.totals.channel_gains(mending)
        return {
            name: StemFinding(
                lag_frames=self.lags[n],
                fit_gain_db=round(_db(gains[n]), 3) if known[n] else None,
                mending=mending[n],
                foreign=n in self.foreign,
                notes=tuple(self._notes(n, mending[n], *((gains[n] if known[n] else None, uneven[n]) if undo_gains else (None, None)))),
            )
            for n, name in enumerate(self.names)
        }

    def _gains(self, placed: list[Mending]) -> tuple[Array, Array]:
        """The gains of the stems in the mixture, without what leaks make of those that leave least of it, and their errors in dB."""
        gains, errors_db = self.totals.gains(placed)
        turned = [self.excerpts[:, n, ::-1] if each.swapped else self.excerpts[:, n] for n, each in enumerate(placed)]
        self.leaks = leaks(np.stack(turned, axis=1) * gains[:, None, None].astype(np.float32))
        return as_if_without(gains, self.leaks), errors_db

    def _scaled(self, placed: list[Mending], gains: Array, known: list[bool]) -> list[Mending]:
        """The stems with the gains that are undone: of each, or one for all, or none."""
        one = self._shared_gain(placed, gains, known)
        together = [_with_gain(each, one) for each in placed] if abs(_db(one)) > WRONG_GAIN_DB else placed
        fitted = [_with_gain(each, gains[n]) if known[n] else together[n] for n, each in enumerate(placed)]
        return fitted if self._are_wrong(gains, known) and self._is_better(together, fitted) else together

    def _shared_gain(self, placed: list[Mending], gains: Array, known: list[bool]) -> float:
        """The one gain of all stems, if all that are known have one in that sense, and it leaves much less than none; else 1."""
        numbers = [number for number in self.heard if known[number]] or self.heard
        if self.foreign or len(self.heard) < 2 or min(gains[numbers]) <= 0:
            return 1.0
        levels, one = [_db(gain) for gain in gains[numbers]], self.totals.one_gain(placed)
        shared = (min(levels) > WRONG_GAIN_DB / 2 or max(levels) < -WRONG_GAIN_DB / 2) and max(levels) - min(levels) < SHARED_DB
        better = self.totals.left(placed, np.full(len(placed), one)) < SHARED_LEAVES * self.totals.left(placed)
        return one if shared and better else 1.0

    @property
    def all_late(self) -> bool:
        """Whether several stems sound at one other time than in the mixture, and no stem at its own."""
        lags = {self.lags[number] for number in self.heard if number not in self.foreign}
        return len(self.heard) > 1 and len(lags) == 1 and 0.0 not in lags

    def _is_known(self, number: int, gain: float, error_db: float) -> bool:
        return number in self.heard and number not in self.foreign and abs(gain) > 1e-4 and error_db < SURE_GAIN_DB

    def _are_wrong(self, gains: Array, known: list[bool]) -> bool:
        return any(abs(_db(gain)) > WRONG_GAIN_DB or gain < 0 for gain, sure in zip(gains, known, strict=True) if sure)

    def _is_better(self, placed: list[Mending], fitted: list[Mending]) -> bool:
        now, then = self.totals.closure_db(placed), self.totals.closure_db(fitted)
        return then is None or (now is not None and (then < SURE_DB or then < now - BETTER_DB) and then < now)

    def _notes(self, number: int, mending: Mending, gain: float | None, uneven: tuple[float, float] | None) -> list[str]:
        name, notes = self.names[number], []
        if number in self.foreign:
            return [f"stem {name} is not found in the mixture: it is of another recording or another take, or it is noise"]
        if number not in self.heard:
            return [f"stem {name} is silent, and the other stems do not sum to the mixture"]
        if mending.lag_frames and not self.all_late:
            notes.append(f"stem {name} is {_lateness(mending.lag_frames, self.given.sample_rate)}: moved into time")
        if mending.swapped:
            notes.append(f"stem {name} has left and right swapped: swapped back")
        if (mending.gain_db or mending.inverted) and not self.one_gain_db:
            what = (["inverted"] if mending.inverted else []) + ([f"at {-mending.gain_db:+.2f} dB"] if mending.gain_db else [])
            notes.append(f"stem {name} is {' and '.join(what)} against the mixture: undone (was it rescaled?)")
        elif gain is not None and not self.one_gain_db and (abs(_db(gain)) > WRONG_GAIN_DB or gain < 0):
            sense = ", inverted" if gain < 0 else ""
            notes.append(f"stem {name} fits the mixture best with {_db(gain):+.2f} dB{sense}; left as it is, since the fit is rough")
        if self.leaks[number].any():
            held = (f"{self.names[other]} ({_db(leak):.0f} dB)" for other, leak in enumerate(self.leaks[number]) if leak)
            notes.append(f"stem {name} also holds {', '.join(held)}{WITHOUT_LEAK}")
        if (other := self.totals.container_of(number)) is not None:
            notes.append(f"stem {name} is contained in stem {self.names[other]}, too")
        elif (side := self.totals.silent_channel(number)) is not None and not mending.gain_db:
            notes.append(f"the {side} channel of stem {name} is silent, and the other stems do not sum to the mixture there")
        elif uneven is not None:
            left, right = (f"{_db(each):+.1f} dB" if abs(each) > 0.05 else "nothing" for each in uneven)
            notes.append(f"the mixture has {left} of the left channel of stem {name}, and {right} of the right")
        return notes


def _with_gain(mending: Mending, gain: float) -> Mending:
    level = round(_db(gain), 3)
    return replace(mending, gain_db=level if abs(level) >= LEAST_GAIN_DB else 0.0, inverted=bool(gain < 0))


def _lateness(lag: float, sample_rate: int) -> str:
    frames = "1 frame" if abs(lag) == 1 else f"{abs(lag):g} frames"
    return f"{frames} ({1000 * abs(lag) / sample_rate:.1f} ms) too {'early' if lag > 0 else 'late'}"


def _db(gain: float) -> float:
    return 20.0 * math.log10(max(abs(float(gain)), 1e-9))


def _closure_notes(closure_db: float | None, lossy: bool) -> tuple[str, ...]:
    if closure_db is None or closure_db <= (CLOSES_LOSSY_DB if lossy else CLOSES_DB):
        return ()
    return (
        f"the stems do not sum to the mixture: {closure_db:.1f} dB of its energy is in none of them. It is mastered, or holds what no stem "
        f"has{WIDER}",
    )


def _format_notes(given: GivenStems, first: _Pass) -> dict[str, tuple[str, ...]]:
    """What was done to bring the stems to the mixture's rate, channels and length."""
    notes: dict[str, tuple[str, ...]] = {}
    for name, length in first.lengths.items():
        found = []
        if (rate := given.rates.get(name, given.sample_rate)) != given.sample_rate:
            found.append(f"stem {name} has {rate} Hz: resampled to {given.sample_rate} Hz")
        if first.channels[name] != given.num_channels:
            found.append(
                f"stem {name} is mono: put in the middle"
                if given.num_channels > 1
                else f"stem {name} is stereo, the mixture mono: its mean"
            )
        apart = length - first.num_frames
        if abs(apart) > (UNLIKE_FRAMES if given.lossy else 1 if found else 0):
            rest = "its end is cut" if apart > 0 else "followed by silence"
            found.append(f"stem {name} is {abs(apart)} frames {'longer' if apart > 0 else 'shorter'} than the mixture: {rest}")
        notes[name] = tuple(found)
    return notes
