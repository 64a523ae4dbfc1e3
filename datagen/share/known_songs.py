"""Finding the songs of an export among one's own: by their bytes, and where these differ, by their sound.

Conventions
    A file with the checksum of the row is the song, whatever it is called. Of any other file only its sound decides: its fingerprint
    within 25 % of bits, and, once aligned with the song to the sample, a distortion of at least LEAST_DB dB.
    Multitracks are found by their bytes only: their stems have no fingerprint of their own.
    An offset is the place in the copy of the song's first sample, in samples at the rate of the fingerprint.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from stemwright.datagen.run.corpus import CorpusError
from stemwright.datagen.share.reading import Recipes
from stemwright.datagen.share.sound_marks import BLOCK_FRAMES, FingerprintRow, SketchRow
from stemwright.manifests.catalog.tracks import find, songs_root
from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import AudioFile, Refused, Track
from stemwright.manifests.sound import fingerprint, sketch
from stemwright.manifests.sound.containers import tags
from stemwright.manifests.sound.decoding import blocks, probe
from stemwright.manifests.sound.formats import Audio

REACH_S = 0.03  # how far a fingerprint's offset may be off
LEAST_DB = 3.0  # below it, what sounds alike is another version
SAME_DB = 110.0  # above it, nothing but the rounding of 24 bits
GAIN_DB = 0.2  # a smaller difference of level is within the error of the sketch, and not undone


@dataclass(frozen=True)
class Copy:
    """Another encoding of a song: its file, where and how loud the song is in it, and by how many dB it then differs."""

    path: Path
    offset_frames: int
    gain: float
    distortion_db: float
    sample_rate: int

    @property
    def description(self) -> str:
        """A sentence for the user on how the song was recognised."""
        gain = f", {-gain_to_db(self.gain):+.1f} dB in level" if self.gain != 1.0 else ""
        return (
            f"{self.path.name} is another encoding: aligned by {self.offset_frames} samples at {self.sample_rate} Hz{gain}; "
            f"its bytes differ, {'its samples do not' if self.distortion_db >= SAME_DB else 'by ' + decibels(self.distortion_db)}"
        )


@dataclass(frozen=True)
class LocatedSong:
    """What was found for one song: the files of its row, or a copy in another encoding, or the reason why there is neither."""

    track: Track
    files: dict[str, Path] = field(default_factory=dict)
    copy: Copy | None = None
    reason: str = ""


def decibels(distortion_db: float) -> str:
    """A difference in dB, as text."""
    return f"{distortion_db:.1f} dB SDR" if distortion_db < SAME_DB else f"over {SAME_DB:.0f} dB SDR"


class SongIndex:
    """Somebody's songs: every sound file below a folder (or in a CSV), by checksum, and by sound where that is asked."""

    def __init__(self, songs: Path, on_progress: OnProgress | None = None) -> None:
        if not songs.exists():
            raise CorpusError(f"{songs} does not exist; expected the folder with your copies of the songs")
        listed = find(songs, kind="csv" if songs_root(songs) != songs else "folder")
        found = sorted({path for one in listed.candidates for path in (one.path, *(stem for _, stem, _ in one.references))})
        if not found:
            raise CorpusError(f"no sound files in {songs}. Is its drive mounted?")
        self.root = listed.songs
        self.paths = [self.root / path for path in found]
        self.by_sha256: dict[str, Path] = {}
        for count, (path, sha256) in enumerate(zip(self.paths, self._hashed(), strict=True), 1):
            if sha256:
                self.by_sha256.setdefault(sha256, path)
            if on_progress:
                on_progress(count, len(self.paths), path.name)
        self._words: dict[Path, fingerprint.Words] = {}

    def _hashed(self) -> Iterator[str | None]:
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            yield from pool.map(_sha256, self.paths)

    @cached_property
    def lengths_s(self) -> dict[Path, float]:
        """How long each file lasts, of those that can be read."""
        found = {}
        for path in self.paths:
            try:
                info = probe(path)
            except (Refused, OSError):
                continue
            found[path] = info.num_frames / info.sample_rate
        return found

    def words(self, path: Path) -> fingerprint.Words:
        """The dense words of a file; none if it cannot be decoded."""
        if path not in self._words:
            try:
                self._words[path] = fingerprint.dense_words(path)
            except (Refused, OSError):
                self._words[path] = np.zeros(0, np.uint32)
        return self._words[path]


def _sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None


def find_sources(recipes: Recipes, songs: Path, on_progress: OnProgress | None = None) -> list[LocatedSong]:
    """What there is for each song of an export, in its order. Raises CorpusError if the folder is missing or holds no sound."""
    index, tracks = SongIndex(songs, on_progress), recipes.rows("tracks", Track)
    marks = {row.id: row for row in recipes.rows("fingerprints", FingerprintRow)}
    sketches = {row.id: row for row in recipes.rows("sketches", SketchRow)}
    taken = {index.by_sha256.get(file.sha256) for track in tracks for file in _files(track)}
    free = [path for path in index.paths if path not in taken]
    return [_source(track, index, free, marks.get(track.id), sketches.get(track.id)) for track in tracks]


def _files(track: Track) -> Sequence[AudioFile]:
    return track.files


def _source(track: Track, index: SongIndex, free: Sequence[Path], mark: FingerprintRow | None, whole: SketchRow | None) -> LocatedSong:
    wanted = _files(track)
    files = {file.path: index.by_sha256[file.sha256] for file in wanted if file.sha256 in index.by_sha256}
    if all(file.path in files for file in wanted):
        return LocatedSong(track, files)
    if track.references:
        missing = sorted({file.path.rpartition("/")[2] for file in wanted if file.path not in files})
        return LocatedSong(
            track, reason=f"no file in {index.root} is its {', '.join(missing)}; a multitrack is recognised by the bytes of its files"
        )
    if mark is None or whole is None:
        return LocatedSong(track, reason=f"no file in {index.root} has its checksum, and the recipes contain no fingerprint of it")
    lasts_s = mark.num_frames / mark.sample_rate
    candidates = [path for path in free if abs(index.lengths_s.get(path, -1e9) - lasts_s) <= fingerprint.SEARCH_S]
    kept = fingerprint.unpack(mark.words)
    matches = sorted(((fingerprint.match(kept, index.words(path)), path) for path in candidates), key=lambda found: found[0].error_rate)
    refused = ""
    for found, path in matches:
        if not found.same:
            break
        copy = measure_copy(path, mark, whole, found.offset_s)
        if copy.distortion_db >= LEAST_DB:
            return LocatedSong(track, copy=copy)
        refused = (
            refused or f"{path.name} sounds like it but is a different version: {copy.distortion_db:.1f} dB SDR, expected {LEAST_DB:.0f}"
        )
    return LocatedSong(track, reason=refused or _not_found_reason(track, index, matches))


def _not_found_reason(track: Track, index: SongIndex, matches: Sequence[tuple[fingerprint.Match, Path]]) -> str:
    """Why a song was not found, with the file that claims to be it, or else the nearest one."""
    description = f"no file in {index.root} has its checksum"
    for found, path in matches:
        if tags(path).get("title", "").casefold() == track.title.casefold() or path.stem.casefold() == track.title.casefold():
            return (
                f"{description}; {path.name} has its name but is a different recording ({found.error_rate:.0%} of its fingerprint differs)"
            )
    if not matches:
        return f"{description}, and none has about its length"
    found, path = matches[0]
    return f"{description} or sounds like it (the nearest, {path.name}, differs in {found.error_rate:.0%} of its fingerprint)"


def measure_copy(path: Path, mark: FingerprintRow, whole: SketchRow, offset_s: float) -> Copy:
    """Lays a copy on its song to the sample, and measures its level and how far it differs."""
    starts, length = sketch.anchor_starts(mark.num_frames, mark.sample_rate)
    anchors = sketch.Anchors(starts, length, sketch.unpack(mark.anchors, len(starts), sketch.PROJECTIONS))
    reach, about = round(REACH_S * mark.sample_rate), round(offset_s * mark.sample_rate)
    windows = sketch.Windows([start + about - reach for start in starts], length + 2 * reach)
    for block in blocks(path, BLOCK_FRAMES, sample_rate=mark.sample_rate):
        windows.add(block)
    offset = about + sketch.align(anchors, windows.values, reach).offset_frames
    heard = sketch.sketch_of(aligned(path, mark, offset), mark.num_channels).values
    original = sketch.unpack(whole.values)
    gain = sketch.gain_between(original, heard)
    if gain <= 0 or abs(gain_to_db(gain)) < GAIN_DB:
        gain = 1.0
    return Copy(path, offset, gain, sketch.distortion_db(original, whole.energy, heard * np.float32(gain)), mark.sample_rate)


def aligned(path: Path, mark: FingerprintRow, offset_frames: int, gain: float = 1.0) -> Iterator[Audio]:
    """A copy as the song: its rate, channels and length, moved into place; silence where the copy has nothing."""
    left = mark.num_frames
    for block in _moved(blocks(path, BLOCK_FRAMES, sample_rate=mark.sample_rate), offset_frames):
        if left <= 0:
            return
        part = _with_channels(block[:, :left], mark.num_channels) * np.float32(gain)
        left -= part.shape[1]
        yield np.ascontiguousarray(part, np.float32)
    if left > 0:
        yield np.zeros((mark.num_channels, left), np.float32)


def _moved(source: Iterable[Audio], offset_frames: int) -> Iterator[Audio]:
    to_drop = offset_frames
    for block in source:
        if to_drop < 0:
            yield np.zeros((block.shape[0], -to_drop), np.float32)
            to_drop = 0
        kept = block[:, to_drop:]
        to_drop = max(0, to_drop - block.shape[1])
        if kept.shape[1]:
            yield kept


def _with_channels(block: Audio, num_channels: int) -> Audio:
    if block.shape[0] == num_channels:
        return block
    return np.repeat(block, 2, axis=0) if num_channels == 2 else block.mean(axis=0, keepdims=True)
