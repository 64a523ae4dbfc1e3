"""The rows of a dataset's own tables: pairs and examples, with settings on the scale of the written audio.

Conventions
    ``dataset/pairs.parquet`` holds a ``WrittenPair`` for each rendered pair, ``dataset/examples.parquet`` an ``Example``; the tables of the
    same names in the corpus keep what was planned and what rendering found. A pair has one id in both: that of its plan.
    Settings are on the scale of the written audio: a source of the pair times the ``gain_db`` of the example, through the recorded chains,
    is the written signal. No setting is left out; neutral ones are there with their values.
    Paths are relative to the dataset folder, which can be moved and renamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from stemwright.manifests.joined_rows import ById, JoinedRows
from stemwright.manifests.metadata import Metadata
from stemwright.manifests.names import Name, SampleRate
from stemwright.manifests.pair_records import Branch, Example, Pair, SendBus, Signal, SignalFile
from stemwright.manifests.records import Db, EffectUse, Id, Part, Record, Shard, Split, Stem, Track, TrackEstimate, seal
from stemwright.manifests.shards import in_dataset
from stemwright.manifests.table_rows import TableRows


class Provenance(Record):
    """Where a source of a pair is from: which stem of which song, from which model, and what is known about it."""

    id: Id = Field(description="id of the source, which branches refer to")
    stem: Name = Field(description="name of the stem")
    track_id: Id = Field(description="the recording")
    title: str = Field(description="its title")
    artist: str | None = Field(description="its artist; None: not known")
    album: str | None = Field(description="its album; None: not known")
    rights: str = Field(description="licence or owner, as the CSV, the data set or the tags state it")
    metadata: Metadata = Field(default_factory=dict)
    split: Split = Field(description="train, valid or test")
    origin: str = Field(description='who made the stem: "htdemucs_ft@demucs-4.1.0", or "reference" for a multitrack\'s own')
    closure_db: Db | None = Field(description="energy of mixture - sum(stems) over energy of the mixture, dB; None if they sum exactly")
    gain_db: Db = Field(description="joint gain of all stems of the song in dB, relative to their mixture")
    sample_rate: SampleRate = Field(description="of the stem")
    resampled: bool = Field(description="whether that is another rate than the pair's")


class WrittenBranch(Branch):
    """A source through a chain of effects, with all settings, as they are on the written audio."""

    stem: Name | None = Field(description="the name of the source; None: not known")
    start_frame: int = Field(description="where the excerpt begins in the source, at the pair's sample_rate")


class WrittenSignal(Signal):
    """Branches, summed, with what sends make of them, then through a bus chain. Without branches it is silence, one channel of it."""

    branches: tuple[WrittenBranch, ...] = Field(description="branches that are summed")


class WrittenPair(Pair):
    """A pair as rendered and written."""

    inputs: tuple[WrittenSignal, ...] = Field(description="input signals of a model")
    targets: tuple[WrittenSignal, ...] = Field(description="signals that the model is to predict")
    sources: tuple[Provenance, ...] = Field(description="sources of all branches, each once, in order")
    beats_s: tuple[Db, ...] | None = Field(
        description="beats of the pair's track inside the excerpt, in seconds from its start; None: not estimated"
    )


ROW_TYPES: dict[str, type[Record]] = {"pairs": WrittenPair, "examples": Example, "shards": Shard}


@dataclass(frozen=True)
class SourceRows:
    """The facts in a corpus about the sources of its pairs."""

    tracks: Mapping[str, Track] = field(default_factory=dict)
    stems: Mapping[str, Stem] = field(default_factory=dict)
    tempos: Mapping[str, TrackEstimate] = field(default_factory=dict)  # by track

    @staticmethod
    def of(tracks: Sequence[Track], stems: Sequence[Stem], tempos: Sequence[TrackEstimate] = ()) -> SourceRows:
        """The facts of these rows."""
        return SourceRows({row.id: row for row in tracks}, {row.id: row for row in stems}, {row.track_id: row for row in tempos})

    @staticmethod
    def read(corpus: Path) -> SourceRows:
        """The facts of a corpus folder, read when they are used; a missing table gives none."""

        def rows(name: str, record_type: Any) -> JoinedRows[Any]:
            path = corpus / f"{name}.parquet"
            return JoinedRows(TableRows(path, record_type)) if path.exists() else JoinedRows()

        tempos = ById(rows("track_estimates", TrackEstimate), "track_id")
        sources = JoinedRows(*rows("stems", Stem).tables, *rows("parts", Part).tables)
        return SourceRows(ById(rows("tracks", Track)), ById(sources), tempos)

    def of_pairs(self, pairs: Iterable[Pair]) -> SourceRows:
        """What these pairs need of them, in memory: for a worker."""
        pairs = list(pairs)
        sources = {branch.source_id for pair in pairs for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}
        stems = [self.stems[source] for source in sources if source in self.stems]
        tracks = {pair.track_id for pair in pairs} | {stem.track_id for stem in stems}
        known = [self.tracks[track] for track in tracks if track in self.tracks]
        return SourceRows.of(known, stems, [self.tempos[track] for track in tracks if track in self.tempos])

    def provenance(self, pair: Pair) -> tuple[Provenance, ...]:
        """The facts about each source of a pair."""
        ids = dict.fromkeys(branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches)
        known = (self.stems[source_id] for source_id in ids if source_id in self.stems)
        return tuple(self._provenance(stem, pair) for stem in known if stem.track_id in self.tracks)

    def _provenance(self, stem: Stem, pair: Pair) -> Provenance:
        track = self.tracks[stem.track_id]
        return Provenance(
            id=stem.id,
            stem=stem.name,
            track_id=track.id,
            title=track.title,
            artist=track.artist,
            album=track.album,
            rights=track.rights,
            metadata=track.metadata,
            split=track.split,
            origin=stem.origin,
            closure_db=stem.closure_db,
            gain_db=stem.gain_db,
            sample_rate=stem.audio.sample_rate,
            resampled=stem.audio.sample_rate != pair.sample_rate,
        )

    def beats_s(self, pair: Pair) -> tuple[float, ...] | None:
        """The beats of the pair's track inside its excerpt."""
        if (tempo := self.tempos.get(pair.track_id)) is None:
            return None
        return beats_inside(np.array(tempo.beats_s, np.float64), pair.start_frame, pair.num_frames, pair.sample_rate)

    def stem_name(self, source_id: str) -> str | None:
        """The name of the source."""
        stem = self.stems.get(source_id)
        return stem.name if stem else None


def beats_inside(beats_s: npt.NDArray[np.float64], start_frame: int, num_frames: int, sample_rate: int) -> tuple[float, ...]:
    """The beats of a track inside an excerpt, in seconds from its start."""
    start_s, end_s = start_frame / sample_rate, (start_frame + num_frames) / sample_rate
    return tuple(round(beat_s - start_s, 6) for beat_s in beats_s[(start_s <= beats_s) & (beats_s < end_s)].tolist())


def of_dataset(example: Example) -> Example:
    """An example's row as the dataset has it: its paths begin inside the dataset folder."""
    signals = tuple(_moved(file) for file in example.signals)
    return seal(
        Example, **{name: getattr(example, name) for name in Example.model_fields if name not in ("id", "signals")}, signals=signals
    )


def _moved(file: SignalFile) -> SignalFile:
    return file.model_copy(update={"audio": file.audio.model_copy(update={"path": in_dataset(file.audio.path)})})


def differences(planned: Pair, gain_db: float, written: WrittenPair, facts: SourceRows) -> Iterator[str]:
    """The columns in which the dataset's row of a pair differs from the corpus's; "signals" for sources, effects or settings.

    Settings that depend on level are compared where the example has no gain.
    """
    for name in Pair.model_fields:
        if name not in ("inputs", "targets") and getattr(planned, name) != getattr(written, name):
            yield name
    if written.sources != facts.provenance(planned):
        yield "sources"
    if written.beats_s != facts.beats_s(planned):
        yield "beats_s"
    signals = list(zip((*planned.inputs, *planned.targets), (*written.inputs, *written.targets), strict=False))
    same_shape = (len(planned.inputs), len(planned.targets)) == (len(written.inputs), len(written.targets))
    if not same_shape or any(not _same_signal(one, other, gain_db) for one, other in signals):
        yield "signals"


def _same_signal(planned: Signal, written: WrittenSignal, gain_db: float) -> bool:
    if (planned.name, planned.view, len(planned.branches)) != (written.name, written.view, len(written.branches)):
        return False
    if [_without_chain(send) for send in planned.sends] != [_without_chain(send) for send in written.sends]:
        return False
    chains = [(planned.bus, written.bus), *((one.chain, other.chain) for one, other in zip(planned.sends, written.sends, strict=True))]
    for one, other in zip(planned.branches, written.branches, strict=True):
        if (one.source_id, one.offset_frames, one.channels) != (other.source_id, other.offset_frames, other.channels):
            return False
        chains.append((one.chain, other.chain))
    return all(_same_chain(one, other, gain_db) for one, other in chains)


def _without_chain(send: SendBus) -> SendBus:
    return send.model_copy(update={"chain": ()})


def _same_chain(planned: Sequence[EffectUse], written: Sequence[EffectUse], gain_db: float) -> bool:
    if [(use.effect, use.role) for use in planned] != [(use.effect, use.role) for use in written]:
        return False
    uses = list(zip(planned, written, strict=True))
    if gain_db:
        return all(use.settings.keys() <= other.settings.keys() for use, other in uses)
    return all(use.settings.items() <= other.settings.items() for use, other in uses)
