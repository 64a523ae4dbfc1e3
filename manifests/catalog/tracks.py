"""The catalog: what each recording is before separation, which split it belongs to, and which are the same.

``find`` lists the recordings of a place without decoding; ``inspect`` decodes each once and makes its row, or refuses it with a reason.

Conventions
    What a track is called: see ``stemwright.manifests.catalog.descriptions``.
    ``inspect`` draws the split of a recording by itself; ``stemwright.manifests.catalog.splits`` then puts those that share an artist
    into one.
    Mono, other rates than 44.1 kHz and peaks above full scale are not errors: the row's ``notes`` say how they are handled.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stemwright.manifests.catalog.artists import Credit, artist_key
from stemwright.manifests.catalog.candidates import Candidate, FoundSongs, matches
from stemwright.manifests.catalog.descriptions import describe, tagged_title
from stemwright.manifests.catalog.listing import find, kinds, songs_root
from stemwright.manifests.catalog.splits import SplitShares, split_of
from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.disk.mirror import as_named
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.names import inside
from stemwright.manifests.records import AudioFile, ReferenceStem, Refused, Track, canonical_json, content_id, track_id
from stemwright.manifests.sound import containers, decoding, formats, kept_fingerprint
from stemwright.manifests.sound.identity import IdentityHash
from stemwright.manifests.sound.kept_fingerprint import FingerprintMaker
from stemwright.manifests.sound.summing import Sound, Sum
from stemwright.manifests.stems.track_stems import examined

__all__ = [
    "EARLIER_RULES",
    "Candidate",
    "FoundSongs",
    "SplitShares",
    "artist_key",
    "cache_key",
    "candidate_sound",
    "credit_of",
    "file_sums",
    "find",
    "inspect",
    "kinds",
    "matches",
    "num_bytes",
    "resolve",
    "songs_root",
    "sound_of",
    "source_changed",
    "split_of",
]

BLOCK_FRAMES = 1 << 15  # 256 KiB in stereo: what is computed of a block finds it in the cache
SILENCE_DBFS = -80.0  # below the noise of any tape or room; 16-bit dither peaks near -90
USUAL_RATE = 44_100
TOO_LONG = "Cut it into songs, or raise songs.longest_s in the configuration"
RULES = 12  # raised when ``inspect`` decides anything differently, so that tracks are read again
EARLIER_RULES = (4, 5, 6, 7, 8, 9, 10, 11)  # tracks that these made keep their splits

MENDED = "mended"  # fact of a fingerprint: how many stems are mended, by the key of the stems

FileSums = dict[str, str]  # path of a file -> its SHA-256, or why it cannot be read
UNREADABLE = "unreadable"


def file_sums(songs: Path, candidate: Candidate) -> FileSums:
    """The SHA-256 of each file of a candidate, by path. For a file that cannot be read, the reason: it gets a task too, which
    ``inspect`` refuses.
    """
    is_sum, sums = candidate.mixture == "sum", {}
    for path in sorted({*([] if is_sum else [candidate.path]), *(path for _, path, _ in candidate.references)}):
        try:
            sums[path] = file_sha256(songs / path)
        except OSError as error:
            sums[path] = f"{UNREADABLE}: {error.strerror}"
    return sums | ({candidate.path: _sum_of_sums(sums)} if is_sum else {})


def _sum_of_sums(sums: FileSums) -> str:
    """The checksum of a mixture that is a sum of files: over theirs, whatever the files are called."""
    unreadable = next((text for text in sums.values() if text.startswith(UNREADABLE)), None)
    return unreadable or hashlib.sha256(canonical_json(sorted(sums.values())).encode()).hexdigest()


def candidate_sound(songs: Path, candidate: Candidate) -> Sound:
    """Where the mixture of a candidate is read: its file, or the files that it is the sum of. Raises Refused as ``resolve`` does."""
    place = resolve(songs, candidate.path)
    return Sum(place, tuple(resolve(songs, path) for _, path, _ in candidate.references)) if candidate.mixture == "sum" else place


def sound_of(songs: Path, track: Track) -> Sound:
    """Where the mixture of a track is read: its file, or the files that it is the sum of. Raises Refused as ``resolve`` does."""
    place = resolve(songs, track.audio.path)
    return Sum(place, tuple(resolve(songs, stem.audio.path) for stem in track.references)) if track.mixture == "sum" else place


def stems_key(candidate: Candidate, sums: FileSums) -> str:
    """The key of the reference stems of a candidate among the facts about its mixture, which may have others in another folder."""
    return content_id({name: [sums[path], stream] for name, path, stream in candidate.references})


def cache_key(
    songs: Path,
    candidate: Candidate,
    splits: SplitShares,
    longest_s: float = formats.LONGEST_S,
    sums: FileSums | None = None,
    *,
    rules: int = RULES,
) -> str:
    """The cache key of inspecting one candidate: over its path, what a CSV says about it, the bytes of its files (tags
    included), the configuration and the rules here. ``sums`` saves reading the files again.
    """
    sums = file_sums(songs, candidate) if sums is None else sums
    requested = {"splits": splits.content(), "longest_s": longest_s}
    return content_id({"candidate": candidate.content(), "files": sums, **requested, "rules": rules})


def credit_of(track: Track) -> Credit:
    """Who a track is by."""
    return Credit(track.artist, track.title, track.artist_ids)


def inspect(
    songs: Path,
    candidate: Candidate,
    shares: SplitShares,
    longest_s: float = formats.LONGEST_S,
    sums: FileSums | None = None,
    fingerprints: Path | None = None,
) -> Track:
    """Decodes a recording and its reference stems once, in blocks, and makes its row, and where a folder for them is given the
    fingerprint of its mixture. Raises Refused with the reason.
    """
    sums = file_sums(songs, candidate) if sums is None else sums
    mixture = _measure(candidate_sound(songs, candidate), candidate.path, candidate.stream, longest_s, sums, fingerprints)
    if mixture.peak_dbfs < SILENCE_DBFS:
        level = "all samples are zero" if mixture.peak_dbfs == float("-inf") else f"peaks at {mixture.peak_dbfs:.1f} dBFS"
        raise Refused(f"silent: {level}; expected above {SILENCE_DBFS:.0f} dBFS")
    notes, references = mixture.notes, []
    for name, path, stream in candidate.references:
        try:
            stem = _measure(resolve(songs, path), path, stream, longest_s, sums)
        except Refused as reason:
            raise Refused(f"reference stem {name}: {reason}") from reason
        if stem.peak_dbfs > 0:
            notes.append(f"reference stem {name} peaks at {stem.peak_dbfs:+.2f} dBFS: all stems get one joint gain")
        facts = {"delay_frames": stem.delay_frames, "part": candidate.parts.get(name), "bleed": candidate.bleed.get(name)}
        references.append(ReferenceStem(name=name, audio=stem.audio, sound=stem.sound, **facts))
    closure_db = None
    if candidate.mixture == "file":  # what is the sum of its stems needs no examination
        references, closure_db, findings = examined(songs, mixture.audio, references)
        notes += findings
    if references and fingerprints is not None:
        place = kept_fingerprint.place_of(fingerprints, mixture.audio.sha256, candidate.stream)
        mended = (kept_fingerprint.read_facts(place) or {}).get(MENDED, {})
        kept_fingerprint.add_facts(place, {MENDED: {**mended, stems_key(candidate, sums): sum(stem.mended for stem in references)}})
    identity = track_id(mixture.sound, tuple(references))
    described, its_notes = describe(songs, candidate)
    notes += [*([candidate.note] if candidate.note else []), *its_notes]
    return Track(
        id=identity,
        cache_key=cache_key(songs, candidate, shares, longest_s, sums),
        audio=mixture.audio,
        mixture=candidate.mixture,
        sound=mixture.sound,
        delay_frames=mixture.delay_frames,
        source=candidate.source,
        split=candidate.split or split_of(described["artist"], identity, shares),
        peak_dbfs=round(mixture.peak_dbfs, 3),
        references=tuple(references),
        closure_db=closure_db,
        notes=tuple(notes),
        **described,
    )


@dataclass(frozen=True)
class _Measured:
    """A decoded stream: its row, its identity by sound, the frames cut at its start, its peak (-inf: all zero), what is unusual."""

    audio: AudioFile
    sound: str
    delay_frames: int | None
    peak_dbfs: float
    notes: list[str]


def _measure(place: Sound, path: str, stream: int, longest_s: float, sums: FileSums, fingerprints: Path | None = None) -> _Measured:
    """Decodes one stream of a file, or a sum of files."""
    with decoding.opened(place, stream=stream, compared=True) as reader:
        info = reader.info
        if info.num_channels > 2:
            raise Refused(f"{info.num_channels} channels; expected mono or stereo. Fold it down to stereo first")
        formats.check_length(info.num_frames, info.sample_rate, longest_s, TOO_LONG)
        num_frames, peak, hasher = 0, 0.0, IdentityHash(place, stream, info)
        hasher.watch(reader)
        maker = FingerprintMaker(info) if fingerprints is not None else None
        for block in reader.blocks(BLOCK_FRAMES):
            block_peak = max(float(block.max(initial=0.0)), -float(block.min(initial=0.0)))
            if not np.isfinite(block_peak):
                first = num_frames + int(np.argmin(np.isfinite(block).all(axis=0)))
                raise Refused(f"contains NaN or infinite samples, the first at {first / info.sample_rate:.3f} s")
            hasher.add(block)
            if maker is not None:
                maker.add(block)
            num_frames, peak = num_frames + block.shape[1], max(peak, block_peak)
            formats.check_length(num_frames, info.sample_rate, longest_s, TOO_LONG)  # a header may state no length, or too short a one
    if num_frames == 0:
        raise Refused("contains no samples")
    formats.check_peak(gain_to_db(peak))
    measured = AudioFile(
        path=path,
        sample_rate=info.sample_rate,
        num_channels=info.num_channels,
        num_frames=num_frames,
        num_bytes=num_bytes(place),
        sha256=file_sha256(place) if sums[path].startswith(UNREADABLE) and isinstance(place, Path) else sums[path],
        stream=stream,
    )
    sound = hasher.identity()
    if maker is not None and fingerprints is not None:
        title = tagged_title(containers.tags(place)) if isinstance(place, Path) else ""
        facts = {"sound": sound, "duration_s": measured.duration_s, "num_bytes": measured.num_bytes}
        facts |= {"lossless": hasher.exact, "title": title}
        kept = kept_fingerprint.place_of(fingerprints, measured.sha256, stream)
        facts |= {MENDED: (kept_fingerprint.read_facts(kept) or {}).get(MENDED, {})}
        kept_fingerprint.write(kept, maker.fingerprint(), facts)
    notes = [*reader.notes, *_notes(info, gain_to_db(peak))]
    return _Measured(measured, sound, hasher.delay_frames, gain_to_db(peak), notes)


def num_bytes(place: Sound) -> int:
    """The size of a file, or of all files of a sum. Raises OSError if one is missing."""
    return sum(path.stat().st_size for path in (place.files if isinstance(place, Sum) else (place,)))


def _notes(info: formats.AudioInfo, peak_dbfs: float) -> list[str]:
    notes = []
    if info.num_channels == 1:
        notes.append("mono: its stems are mono, without pan and width")
    if info.sample_rate != USUAL_RATE:
        band = f", nothing above {info.sample_rate / 2:g} Hz" if info.sample_rate < USUAL_RATE else ""
        notes.append(f"{info.sample_rate} Hz{band}: kept as it is, resampled where a model or an excerpt has another rate")
    if peak_dbfs > 0:
        notes.append(f"peaks at {peak_dbfs:+.2f} dBFS: stems and examples get one joint gain")
    return notes


def resolve(folder: Path, path: str) -> Path:
    """The place of a row's path in its folder. Raises Refused if it leaves the folder."""
    try:
        return folder / inside(path)
    except ValueError as error:
        raise Refused(str(error)) from error


def source_changed(songs: Path, file: AudioFile) -> str | None:
    """Why a source no longer matches its row: missing, unreadable, or changed; None if it does."""
    try:
        sha256 = file_sha256(resolve(songs, file.path))
    except FileNotFoundError:
        return f"{file.path} is no longer in {as_named(songs)}"
    except OSError as error:
        return f"{file.path} cannot be read: {error.strerror}"
    return None if sha256 == file.sha256 else f"{file.path} changed since it was cataloged; run the catalog again"
