"""What is remarkable about the recordings of a corpus and was handled: stems that were mended, copies, clipping, constant offsets.

Conventions
    Nothing here is an error: what is wrong is found by the check, what was refused is in ``rejected.parquet``. A finding says of which song
    and how far; ``details`` has the figures behind the sentence.
    Kinds: "stems" of a multitrack's own stems, with ``lag_frames``, ``fit_gain_db``, ``gain_db``, ``inverted``, ``swapped``; "copy" of a
    recording that was dropped or is tied to another by its sound; "clipping", share of each channel; "offset", mean of each channel; "note"
    of everything else that the catalog noted.
    Clipping and offsets are measured where a track is separated, over the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages.kept_stems import read
from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.deduplication.duplicates import SOUNDS_AS
from stemwright.manifests.records import ReferenceStem, Rejected, Stem, Track

Kind = Literal["stems", "copy", "clipping", "offset", "note"]
CLIPPED_SHARE = 1e-3  # of a channel's samples: more is heard
OFFSET = 0.002  # -54 dBFS: the mean of music without an offset is far below
OF_STEMS = ("stem ", "all stems ", "the stems ", "the left channel of stem ", "the right channel of stem ", "the mixture has ")
NOTHING = {"lag_frames": 0.0, "gain_db": 0.0, "inverted": False, "swapped": False}


@dataclass(frozen=True)
class Finding:
    """One finding: its kind, the song's file and id ("": it was dropped), the stem ("": the whole song), a sentence, and its figures."""

    kind: Kind
    file: str
    what: str
    track_id: str = ""
    stem: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def findings(corpus: Path, tracks: Iterable[Track], stems: Iterable[Stem], rejected: Iterable[Rejected]) -> list[Finding]:
    """What was found in the songs of a corpus, kind by kind in the order of its songs. ``tracks`` are iterated over twice."""
    figures = {stem.track_id: (stem.audio.path, stem.cache_key) for stem in stems}
    found = [finding for track in tracks for finding in (*_of_stems(track), *_of_notes(track))]
    found += [
        Finding("copy", row.subject, f"dropped: {row.reason}", details={"same_as": row.same_as})
        for row in rejected
        if row.stage == "catalog" and row.same_as
    ]
    found += [finding for track in tracks if track.id in figures for finding in _of_sound(corpus, track, *figures[track.id])]
    order = ("stems", "copy", "clipping", "offset", "note")
    return sorted(found, key=lambda finding: order.index(finding.kind))


def findings_of(corpus: Corpus) -> list[Finding]:
    """The findings in a corpus folder; none where it has no table of tracks, or tables that cannot be read."""
    try:
        tracks = corpus.rows("tracks", Track)
        stems = corpus.rows("stems", Stem) if corpus.table("stems").exists() else []
        return findings(corpus.folder, tracks, stems, corpus.rejected())
    except (ValueError, OSError):
        return []  # the check says what is wrong with them


def _of_stems(track: Track) -> Iterator[Finding]:
    """Stems that are mended, or of which there is something to say, and then what is to say of all of a song together."""
    notes = [note for note in track.notes if note.startswith(OF_STEMS)]
    alike = {tuple(getattr(stem, name) for name in NOTHING) for stem in track.references}
    together = len(alike) == 1 < len(track.references)
    for stem in track.references:
        own = [note for note in notes if f"stem {stem.name} " in f"{note} "]
        notes = [note for note in notes if note not in own]
        if own or (not together and any(getattr(stem, name) != usual for name, usual in NOTHING.items())):
            what = "; ".join(own) or "mended with the other stems of its song"
            yield Finding("stems", track.audio.path, what, track.id, stem.name, _figures(track, stem))
    if notes:
        details = _figures(track, track.references[0]) | {"fit_gain_db": None} if together else {"closure_db": track.closure_db}
        yield Finding("stems", track.audio.path, "; ".join(notes), track.id, details=details)


def _figures(track: Track, stem: ReferenceStem) -> dict[str, Any]:
    facts = {name: getattr(stem, name) for name in ("lag_frames", "fit_gain_db", "gain_db", "inverted", "swapped")}
    return {**facts, "lag_ms": round(1000 * stem.lag_frames / track.audio.sample_rate, 3), "closure_db": track.closure_db}


def _of_notes(track: Track) -> Iterator[Finding]:
    for note in track.notes:
        if note.startswith(SOUNDS_AS):
            yield Finding("copy", track.audio.path, note, track.id)
        elif not note.startswith(OF_STEMS):
            yield Finding("note", track.audio.path, note, track.id)


def _of_sound(corpus: Path, track: Track, stem_path: str, cache_key: str) -> Iterator[Finding]:
    kept = read((corpus / stem_path).parent, cache_key)
    if kept is None:
        return
    clipped, offsets = kept.figures.clipped, kept.figures.offsets
    if max(clipped, default=0.0) >= CLIPPED_SHARE:
        what = f"clipped: {_channels(clipped, lambda share: f'{100 * share:.2g} %')} of the samples"
        yield Finding("clipping", track.audio.path, what, track.id, details={"channels": list(clipped)})
    if max(map(abs, offsets), default=0.0) >= OFFSET:
        levels = _channels(offsets, lambda mean: f"{mean:+.4f} ({gain_to_db(abs(mean)):.0f} dBFS)" if abs(mean) >= 5e-5 else "none")
        yield Finding("offset", track.audio.path, f"constant offset: {levels}", track.id, details={"channels": list(offsets)})


def _channels(values: Sequence[float], shown: Any) -> str:
    names = ("left", "right") if len(values) == 2 else ("",) * len(values)
    return ", ".join(f"{name} {shown(value)}".strip() for name, value in zip(names, values, strict=True) if math.isfinite(value))
