"""The rows that describe a dataset (``stemwright.manifests.dataset_rows``): plans and examples of a corpus, true of the audio as it
was written.

Conventions
    A level that depends on the audio's own (a threshold, a ceiling, a drive) is moved by the example's joint gain, as each effect states
    of its settings (``stemwright.datagen.effects.scaling``); settings that a plan leaves out have their neutral values.
    The labels of a packed example are its pair's row with the gain, the changes and what is known of each file, as one JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from stemwright.datagen.effects import scaling as level
from stemwright.manifests.dataset_rows import SourceRows, WrittenBranch, WrittenPair, WrittenSignal
from stemwright.manifests.pair_records import Branch, Example, Pair, Signal
from stemwright.manifests.records import EffectUse, canonical_json


def written_pair(pair: Pair, gain_db: float, facts: SourceRows) -> WrittenPair:
    """The dataset's row of a pair that was written with a joint gain."""
    columns: dict[str, Any] = {name: getattr(pair, name) for name in Pair.model_fields}
    for side in ("inputs", "targets"):
        columns[side] = tuple(_signal(signal, pair, gain_db, facts) for signal in columns[side])
    columns |= {"sources": facts.provenance(pair), "beats_s": facts.beats_s(pair)}
    return WrittenPair.model_construct(**columns)  # its parts were checked when they were made


def _signal(signal: Signal, pair: Pair, gain_db: float, facts: SourceRows) -> WrittenSignal:
    branches = tuple(_branch(branch, pair, gain_db, facts) for branch in signal.branches)
    sends = tuple(send.model_copy(update={"chain": _chain(send.chain, gain_db)}) for send in signal.sends)
    bus = _chain(signal.bus, gain_db)
    return WrittenSignal.model_construct(name=signal.name, branches=branches, bus=bus, view=signal.view, sends=sends)


def _branch(branch: Branch, pair: Pair, gain_db: float, facts: SourceRows) -> WrittenBranch:
    return WrittenBranch.model_construct(
        source_id=branch.source_id,
        chain=_chain(branch.chain, gain_db),
        offset_frames=branch.offset_frames,
        channels=branch.channels,
        stem=facts.stem_name(branch.source_id),
        start_frame=pair.start_frame + branch.offset_frames,
    )


def _chain(chain: Iterable[EffectUse], gain_db: float) -> tuple[EffectUse, ...]:
    return tuple(use.model_copy(update={"settings": json.loads(_settings(use.effect, json.dumps(use.settings), gain_db))}) for use in chain)


@lru_cache(maxsize=65_536)  # inputs and targets share most of their chains
def _settings(effect: str, settings: str, gain_db: float) -> str:
    return json.dumps(level.written(EffectUse(effect=effect, settings=json.loads(settings)), gain_db).settings)


def labels(pair: WrittenPair, example: Example) -> dict[str, Any]:
    """All that is known about an example, as plain values: its pair's row, the joint gain, and what was measured."""
    measured = ("loudness_lufs", "peak_dbfs", "levelled_db")
    files = {
        f"{file.role}_{file.name}": {**{name: getattr(file, name) for name in measured}, "sha256": file.audio.sha256}
        for file in example.signals
    }
    changes = [change.model_dump(mode="json") for change in example.changes]
    return {**pair.model_dump(mode="json"), "gain_db": example.gain_db, "changes": changes, "files": files}


def labels_text(pair: Pair, example: Example, facts: SourceRows) -> str:
    """The labels as one JSON text: equal labels give equal text."""
    return canonical_json(labels(written_pair(pair, example.gain_db, facts), example))
