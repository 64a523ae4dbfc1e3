"""The songs, and the sums of the stems against them, measured on the written files.

The limit of the sum
    Each file is rounded to 24 bits, at most 2^-24 off. The residual is taken after rounding, so the sum should be off by 2^-24, which is
    -144 dBFS, over the joint gain; five files rounded independently would reach -130. Decoders of mp3 and AAC differ by up to about
    -120 dBFS between processors and versions. The smallest error worth finding, a gain that is wrong by 0.01 dB, is -59 dBFS
    where the mixture is at full scale. CLOSURE_LIMIT_DBFS is between the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from stemwright.manifests.catalog.tracks import sound_of, source_changed
from stemwright.manifests.check.problems import CheckProblem, in_threads
from stemwright.manifests.check.proofs import Proofs, proof_of, proof_of_parts
from stemwright.manifests.decibels import db_to_gain, gain_to_db
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.joined_rows import ById, JoinedRows
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import AudioFile, Part, Refused, Stem, Track
from stemwright.manifests.sound import decoding, formats
from stemwright.manifests.sound.formats import BLOCK_FRAMES

CLOSURE_LIMIT_DBFS = -100.0
OWN_STEMS_DB = -10.0  # of a multitrack's own stems against its mixture: mastered mixtures leave less


class StemsOfTracks:
    """The stems of each track, none of one that has a damaged stem; their rows are read when they are used."""

    def __init__(self, stems: JoinedRows[Stem], damaged: Collection[str]) -> None:
        self._stems, self._of = stems, defaultdict[str, list[int]](list)
        broken, number = set(), 0
        for batch in stems.columns("id", "track_id"):
            for stem_id, track_id in zip(*(batch.column(name).to_pylist() for name in ("id", "track_id")), strict=True):
                self._of[track_id].append(number)
                broken |= {track_id} if stem_id in damaged else set()
                number += 1
        for track_id in broken:
            del self._of[track_id]

    def with_stems(self, stems: JoinedRows[Stem]) -> Iterator[tuple[Stem, list[Part]]]:
        """Each stem that has parts, and these: of rows that are parts."""
        by_id = ById(stems) if self._of else {}
        for numbers in self._of.values():
            of_stems = defaultdict[str, list[Part]](list)
            for row in self._stems.take(numbers):
                if isinstance(row, Part):
                    of_stems[row.stem_id].append(row)
            yield from ((by_id[stem_id], parts) for stem_id, parts in of_stems.items() if stem_id in by_id)

    def of(self, track_id: str) -> list[Stem]:
        """The stems of a track."""
        return list(self._stems.take(self._of.get(track_id, ())))


def check_sources(
    corpus: Path,
    songs: Path | None,
    tracks: Sequence[Track],
    stems: StemsOfTracks,
    proofs: Proofs | None,
    progress: OnProgress | None,
) -> list[CheckProblem]:
    """What is wrong with the songs, and with the sums of the stems against them; where one is proved, its files are not decoded."""
    if not tracks:
        return []
    if songs is None or not Path(songs).is_dir():
        why = "no songs folder was given" if songs is None else f"the songs folder {songs} does not exist; give its new place with --songs"
        count = f"{len(tracks)} track{'' if len(tracks) == 1 else 's'}"
        return [CheckProblem(level="warning", table="tracks", what=f"{why}: sources and sums of stems were not checked ({count})")]

    def work(track: Track) -> list[CheckProblem]:
        files = {file.path: file for file in track.files}
        changed = [
            CheckProblem(table="tracks", row_id=track.id, file=file.path, what=reason)
            for file in files.values()
            if (reason := _changed(Path(songs), file))
        ]
        return changed or list(_sums(corpus, Path(songs), track, stems.of(track.id), proofs))

    found = [problem for found in in_threads("tracks", work, tracks, len(tracks), progress) for problem in found]
    return found + list(_own_stems_apart(tracks))


def _own_stems_apart(tracks: Sequence[Track]) -> Iterator[CheckProblem]:
    """The multitracks whose own stems do not sum to their mixture, as cataloguing measured it."""
    for track in tracks:
        if track.closure_db is not None and track.closure_db > OWN_STEMS_DB:
            what = f"its own stems leave {track.closure_db:.1f} dB of the mixture's energy (a mastered mixture, or stems that do not fit)"
            yield CheckProblem(level="warning", table="tracks", row_id=track.id, file=track.audio.path, what=what)


def _changed(songs: Path, file: AudioFile) -> str | None:
    try:
        return source_changed(songs, file)
    except Refused as reason:
        return str(reason)


def _sums(corpus: Path, songs: Path, track: Track, stems: Sequence[Stem], proofs: Proofs | None) -> Iterator[CheckProblem]:
    by_origin: dict[tuple[str, float], list[Stem]] = defaultdict(list)
    for stem in stems:
        by_origin[(stem.origin, stem.gain_db)].append(stem)
    for group in by_origin.values():
        proof = proof_of(track, group, CLOSURE_LIMIT_DBFS)
        if proofs is not None and proof in proofs:
            continue
        try:
            what = _sum_differs(corpus, songs, track, group)
        except (Refused, OSError) as error:
            what = f"the sum of its stems cannot be measured: {error}"
        if what:
            yield CheckProblem(table="stems", row_id=track.id, file=track.audio.path, what=what)
        elif proofs is not None:
            proofs.add(proof)


def _sum_differs(corpus: Path, songs: Path, track: Track, stems: Sequence[Stem]) -> str | None:
    """How the stems of a track fail to sum to its mixture, or None if they do."""
    if len({(stem.audio.sample_rate, stem.audio.num_frames) for stem in stems}) > 1:
        return "its stems differ in length or sample rate"
    rate, gain = stems[0].audio.sample_rate, db_to_gain(stems[0].gain_db)
    mixture = decoding.blocks(sound_of(songs, track), BLOCK_FRAMES, sample_rate=rate, stream=track.audio.stream)
    return _differs(corpus, stems, gain, mixture, "mixture")


def check_parts(corpus: Path, stems: JoinedRows[Stem], parts: StemsOfTracks, proofs: Proofs | None) -> list[CheckProblem]:
    """What is wrong with the sums of parts against the stems that were taken apart; where one is proved, its files are not decoded."""
    found = []
    for stem, group in parts.with_stems(stems):
        proof = proof_of_parts(stem, group, CLOSURE_LIMIT_DBFS)
        if proofs is not None and proof in proofs:
            continue
        try:
            what = _parts_differ(corpus, stem, group)
        except (Refused, OSError) as error:
            what = f"the sum of its parts cannot be measured: {error}"
        if what:
            found.append(CheckProblem(table="parts", row_id=stem.id, file=stem.audio.path, what=what))
        elif proofs is not None:
            proofs.add(proof)
    return found


def _parts_differ(corpus: Path, stem: Stem, parts: Sequence[Part]) -> str | None:
    """How the parts of a stem fail to sum to it, or None if they do."""
    if len({(row.audio.sample_rate, row.audio.num_frames) for row in (stem, *parts)}) > 1:
        return "its parts and the stem differ in length or sample rate"
    if len({part.gain_db for part in parts}) > 1:
        return "its parts have different gains; expected one of all of them"
    gain = db_to_gain(parts[0].gain_db - stem.gain_db)
    return _differs(corpus, parts, gain, decoding.blocks(located(corpus, stem.audio), BLOCK_FRAMES), f"stem {stem.name}")


def _differs(corpus: Path, stems: Sequence[Stem], gain: float, sum_of: Iterator[formats.Audio], called: str) -> str | None:
    """How stems, whose files have a joint gain, fail to sum to what they should; None if they do. Streams all of them side by side."""
    rate, mixture = stems[0].audio.sample_rate, _Rechunked(sum_of)
    readers = [_Rechunked(decoding.blocks(located(corpus, stem.audio), BLOCK_FRAMES)) for stem in stems]
    at, worst, worst_at = 0, 0.0, 0
    while True:
        parts = [reader.take(BLOCK_FRAMES) for reader in readers]
        wanted = mixture.take(BLOCK_FRAMES)
        if any(part.shape[1] != wanted.shape[1] for part in parts):
            reached = f"{at + parts[0].shape[1]} and {at + wanted.shape[1]}"
            return f"its stems and its {called} differ in length: they reach frames {reached} at {rate} Hz"
        if wanted.shape[1] == 0:
            break
        total = np.sum(parts, axis=0, dtype=np.float64) / gain
        error = np.abs(total - wanted).max(axis=0)
        if not float(error.max()) <= worst:
            worst, worst_at = float(error.max()), at + int(error.argmax())
        at += wanted.shape[1]
    if worst <= db_to_gain(CLOSURE_LIMIT_DBFS):
        return None
    names = ", ".join(stem.name for stem in stems)
    return (
        f"{names} differ from the {called} by {gain_to_db(worst):.1f} dBFS at {worst_at / rate:.2f} s; "
        f"expected at most {CLOSURE_LIMIT_DBFS:.0f} dBFS. Is a stem missing, or rescaled?"
    )


class _Rechunked:
    """A stream of blocks, read in blocks of another length."""

    def __init__(self, blocks: Iterator[formats.Audio]) -> None:
        self._blocks = blocks
        self._held: list[formats.Audio] = []

    def take(self, num_frames: int) -> formats.Audio:
        """The next [C, num_frames]; shorter only at the end, [1, 0] after it."""
        while sum(block.shape[1] for block in self._held) < num_frames and (block := next(self._blocks, None)) is not None:
            self._held.append(block)
        if not self._held:
            return np.zeros((1, 0), np.float32)
        whole = np.concatenate(self._held, axis=1)
        self._held = [whole[:, num_frames:]] if whole.shape[1] > num_frames else []
        return whole[:, :num_frames]
