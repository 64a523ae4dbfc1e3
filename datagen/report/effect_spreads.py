"""Which effects a corpus's pairs use, on which side, and how their settings are spread: batch by batch over the columns of their chains.

Conventions
    A use is counted as ``chain_text.uses`` counts it: once for each pair, however many signals repeat it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from stemwright.datagen.report.chain_text import BUS, ROLES, SEND, has_trait
from stemwright.datagen.report.spooled import Spool
from stemwright.manifests.arrow_arrays import joined_texts
from stemwright.manifests.id_numbers import flags_in_arrow, plain
from stemwright.manifests.joined_rows import SelectedRows
from stemwright.manifests.pair_columns import SIDES, Flags, Numbers, branches_of, sends_of, signals_of
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Scalar

if TYPE_CHECKING:
    import pyarrow


INFINITE = ("inf", "-inf")  # as rows write it


@dataclass
class SettingValues:
    """One setting in all uses of an effect: its numbers where the effect is in the input only, and elsewhere, and how often it is a text
    or a flag: (text, whether in the input only).
    """

    removed: npt.NDArray[np.float64]
    others: npt.NDArray[np.float64]
    texts: Counter[tuple[str, bool]]

    @property
    def only(self) -> Scalar | None:
        """The value that it has in every use; None if it differs."""
        numbers = [each for each in (self.removed, self.others) if len(each)]
        lows, highs = [each.min() for each in numbers], [each.max() for each in numbers]
        distinct: set[Scalar] = {text for text, _ in self.texts} | ({float(min(lows)), float(max(highs))} if numbers else set())
        return distinct.pop() if len(distinct) == 1 else None

    def choices(self) -> Counter[tuple[str, bool]]:
        """How often each value is used (text, whether in the input only), numbers among them."""
        found = self.texts.copy()
        for values, is_removed in ((self.removed, True), (self.others, False)):
            found.update((str(value), is_removed) for value in values.tolist())
        return found


@dataclass
class EffectCounts:
    """How many uses of one effect are in which role."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)


class Uses(NamedTuple):
    """The distinct uses of effects in a batch of pairs, [U] each: the row of the pair, the effect and its settings as indices into the
    lists of texts, and counts [3, U]: in the input only, on both sides, in the target only.
    """

    rows: Numbers
    effects: Numbers
    settings: Numbers
    counts: Numbers
    effect_names: list[str]
    settings_texts: list[str]


class EffectSpreads:
    """All uses of effects in pairs: counted by kind, and every setting's values. The values are in a spool."""

    def __init__(self, pairs: SelectedRows[Pair], spool: Spool) -> None:
        self._spool = spool
        self._counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._texts: dict[tuple[str, str], Counter[tuple[str, bool]]] = defaultdict(Counter)
        self._settings: dict[str, dict[str, None]] = defaultdict(dict)
        for batch in pairs.columns("kind", *SIDES):
            uses = uses_of(batch)
            self._count(batch.column("kind").to_pylist(), uses)
            self._add_settings(uses)

    def _count(self, kinds: list[str], uses: Uses) -> None:
        names = sorted(set(kinds))
        code = {name: number for number, name in enumerate(names)}
        kind_of = np.array([code[kind] for kind in kinds], np.int64)
        groups = kind_of[uses.rows] * len(uses.effect_names) + uses.effects
        for role, counts in zip(ROLES, uses.counts, strict=True):
            totals = np.bincount(groups, counts, minlength=len(names) * len(uses.effect_names))
            for group in np.flatnonzero(totals).tolist():
                kind, effect = divmod(group, len(uses.effect_names))
                self._counts[names[kind], uses.effect_names[effect]][role] += int(totals[group])

    def _add_settings(self, uses: Uses) -> None:
        removed, kept, added = uses.counts
        both = uses.effects * len(uses.settings_texts) + uses.settings  # equal settings are parsed once
        groups, places = np.unique(both, return_inverse=True)
        weights = [np.bincount(places, each, minlength=len(groups)).astype(np.int64) for each in (removed, kept + added)]
        effects, settings = np.divmod(groups, max(1, len(uses.settings_texts)))
        for effect in np.unique(effects).tolist():
            places = np.flatnonzero(effects == effect)
            texts = [uses.settings_texts[number] for number in settings[places].tolist()]
            self._add_uses(uses.effect_names[effect], texts, weights[0][places], weights[1][places])

    def _add_uses(self, effect: str, texts: Sequence[str], num_removed: Numbers, num_others: Numbers) -> None:
        """Adds uses of one effect with distinct settings, each so many times."""
        values = from_json(f"[{','.join(texts)}]")
        for name in dict.fromkeys(name for names in dict.fromkeys(map(tuple, values)) for name in names):
            self._settings[effect].setdefault(name)
            having = np.array([name in each for each in values], np.bool_)
            found = [each[name] for each in values if name in each] if not having.all() else [each[name] for each in values]
            for is_removed, times in ((True, num_removed[having]), (False, num_others[having])):
                self._add(effect, name, is_removed, found, times)

    def _add(self, effect: str, setting: str, is_removed: bool, values: Sequence[Scalar], times: Numbers) -> None:
        """Adds the values of one setting, each so many times."""
        if set(map(type, values)) == {float}:
            self._add_numbers((effect, setting, is_removed), np.array(values), times)
            return
        is_text = np.array([isinstance(value, bool | str) and value not in INFINITE for value in values], np.bool_)
        for number in np.flatnonzero(is_text & (times > 0)).tolist():
            self._texts[effect, setting][str(values[number]).lower(), is_removed] += int(times[number])
        numbers = np.array([0.0 if text else float(value) for value, text in zip(values, is_text.tolist(), strict=True)])
        self._add_numbers((effect, setting, is_removed), numbers[~is_text], times[~is_text])

    def _add_numbers(self, name: tuple[str, str, bool], values: npt.NDArray[np.float64], times: Numbers) -> None:
        if len(repeated := np.repeat(values, times)):
            self._spool.add(name, repeated)

    def of_kind(self, kind: str) -> list[EffectCounts]:
        """The effects of a kind of pairs, the most used first."""
        return _by_use(EffectCounts(effect, counts) for (found, effect), counts in self._counts.items() if found == kind)

    def together(self) -> list[EffectCounts]:
        """The effects of all pairs, the most used first."""
        found: dict[str, EffectCounts] = {}
        for (_, effect), counts in self._counts.items():
            found.setdefault(effect, EffectCounts(effect)).counts.update(counts)
        return _by_use(found.values())

    def settings(self, effect: str) -> list[str]:
        """The settings of an effect that its uses have."""
        return list(self._settings[effect])

    def values(self, effect: str, setting: str) -> SettingValues:
        """The values of one setting."""
        removed, others = (self._spool.values((effect, setting, is_removed)) for is_removed in (True, False))
        return SettingValues(removed, others, self._texts[effect, setting])


def _by_use(found: Iterable[EffectCounts]) -> list[EffectCounts]:
    # Levels last: they set the same loudness in every pair, and are rarely the purpose of a corpus.
    return sorted(found, key=lambda each: (has_trait("level", each.name), -each.counts["removed"] - each.counts["added"], each.name))


class _Chains(NamedTuple):
    """Uses in chains [N], as they are in the signals: of which pair, of which signal of its side, of which source, and the uses."""

    rows: Numbers
    signals: Numbers
    sources: Any
    uses: Any

    def where(self, kept: Flags) -> _Chains:
        """The uses for which ``kept`` [N] is True."""
        mask = flags_in_arrow(kept)
        return _Chains(self.rows[kept], self.signals[kept], self.sources.filter(mask), self.uses.filter(mask))


def uses_of(batch: pyarrow.RecordBatch) -> Uses:
    """The uses in a batch with the columns ``inputs`` and ``targets``; equal uses in a pair are counted in one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sides = [list(_chains(batch, side)) for side in SIDES]
    every = [chains for side in sides for chains in side]
    sources, effects, settings = (
        pa.chunked_array(chunks, pa.string()).combine_chunks().dictionary_encode()
        for chunks in (
            [chains.sources for chains in every],
            [pc.struct_field(chains.uses, "effect") for chains in every],
            [pc.struct_field(chains.uses, "settings") for chains in every],
        )
    )
    rows, signals = (np.concatenate([getattr(chains, name) for chains in every]) for name in ("rows", "signals"))
    side = np.repeat([number for number, of_side in enumerate(sides) for _ in of_side], [len(chains.rows) for chains in every])
    key = rows
    for codes in (sources, effects, settings):
        key = key * max(1, len(codes.dictionary)) + plain(codes.indices)
    _, first, places = np.unique(key, return_index=True, return_inverse=True)
    most = np.zeros((2, len(first)), np.int64)
    in_signal = (places * 2 + side) * (int(signals.max(initial=0)) + 1) + signals
    counted, counts = np.unique(in_signal, return_counts=True)
    use, of_side = np.divmod(counted // (int(signals.max(initial=0)) + 1), 2)
    np.maximum.at(most, (of_side, use), counts)
    both = most.min(axis=0)
    codes_of = [plain(each.indices)[first].astype(np.int64) for each in (effects, settings)]
    names = [each.dictionary.to_pylist() for each in (effects, settings)]
    return Uses(rows[first], codes_of[0], codes_of[1], np.stack([most[0] - both, both, most[1] - both]), names[0], names[1])


def _chains(batch: pyarrow.RecordBatch, side: str) -> Iterator[_Chains]:
    """The chains of the branches of one side, of its sends, and of its buses; unlimited signals without the dynamic effects of a bus."""
    import pyarrow.compute as pc

    rows, signals = signals_of(batch, side)
    views = pc.struct_field(signals, "view").dictionary_encode()
    heard, is_unlimited = ~_is(views, "gain"), _is(views, "unlimited")
    found = branches_of(rows, signals)
    chains = pc.struct_field(found.branches, "chain")
    branches = pc.list_parent_indices(chains)
    sources, places = pc.take(pc.struct_field(found.branches, "source_id"), branches), plain(branches)
    of_branches = _Chains(found.rows[places], found.signals[places], sources, pc.list_flatten(chains))
    yield of_branches.where(heard[of_branches.signals])
    if (lists := sends_of(signals)) is not None:
        in_lists, sends = plain(pc.list_parent_indices(lists)).astype(np.int64), pc.list_flatten(lists)
        chains = pc.struct_field(sends, "chain")
        parents = pc.list_parent_indices(chains)
        places = in_lists[plain(parents)]
        sources = pc.take(joined_texts(SEND, pc.struct_field(sends, "name")), parents)
        yield _Chains(rows[places], places, sources, pc.list_flatten(chains)).where(heard[places])
    buses = pc.struct_field(signals, "bus")
    places, uses = plain(pc.list_parent_indices(buses)).astype(np.int64), pc.list_flatten(buses)
    effects = pc.struct_field(uses, "effect").dictionary_encode()
    dynamic = np.array([has_trait("dynamic", name) for name in effects.dictionary.to_pylist()] or [False])
    limits = dynamic[plain(effects.indices)]
    of_buses = _Chains(rows[places], places, _repeated(BUS, len(places)), uses)
    yield of_buses.where(heard[places] & ~(is_unlimited[places] & limits))


def _repeated(text: str, count: int) -> pyarrow.StringArray:
    import pyarrow as pa

    offsets = np.arange(count + 1, dtype=np.int32) * len(text.encode())
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text.encode() * count))


def _is(views: Any, wanted: str) -> Flags:
    names = views.dictionary.to_pylist()
    return np.asarray(plain(views.indices) == (names.index(wanted) if wanted in names else -1))
