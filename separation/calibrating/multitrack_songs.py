"""The songs of a calibration: multitracks, what of them each stem of the separator is, and what the separator makes of their mixtures.

Conventions
    Songs are found as the catalog finds them, in any layout; those without a mixture are the sum of their files. A file is a part of the
    stem that it is named after, else of the one that its instrument belongs to (drums, bass, vocals, other). A song is refused, with the
    reason, where a file is a sum of others (accompaniment) and no stem of the separator, and where its files do not sum to its mixture.
    The rows of a song are kept in the cache by the checksums of its files, whatever their names, and the key of the separator: a
    calibration that was stopped resumes, and of songs that are added later only those are separated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stemwright.manifests.catalog.candidates import Candidate, FoundSongs
from stemwright.manifests.catalog.listing import find
from stemwright.manifests.catalog.part_names import SUM_NAMES, part_of_instrument
from stemwright.manifests.catalog.stem_map import StemRules
from stemwright.manifests.catalog.tracks import file_sums
from stemwright.manifests.disk.durable import make_folder, write_bytes
from stemwright.manifests.names import name_from
from stemwright.manifests.records import Refused, content_id
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.basis import MEASURED
from stemwright.separation.balance.given_levels import in_mixture
from stemwright.separation.balance.kept_calibrations import key_of, place_of_calibrations
from stemwright.separation.balance.own_stems import load_own
from stemwright.separation.calibrating.measured_rows import StemRow, measured_rows
from stemwright.separation.calibrating.ready_stems import ReadyStems

FORMAT = 2  # of the rows that are kept of a song
MIXED = frozenset({*SUM_NAMES, "rest", "unsorted", "others_mixed"})  # files that may hold several instruments
OTHER_STEM = "other"


class Separating(Protocol):
    """What a calibration needs of a separator: ``stemwright.separation.separator.Separator`` has it."""

    stem_names: Sequence[str]

    @property
    def sample_rate(self) -> int | None:
        """The rate of the stems; None: the mixture's."""

    @property
    def origin(self) -> str:
        """Its name."""

    def separate(self, mixture: Audio, sample_rate: int) -> Mapping[str, Audio]:
        """Stems {name: [C, T]} of a mixture [C, T]."""


@dataclass(frozen=True)
class LoadedMultitrack:
    """A song: the mixture [C, T], what of it each stem of the separator is, and their sample rate."""

    mixture: Audio
    stems: dict[str, Audio]
    sample_rate: int


def multitracks_in(place: Path, kind: str | None = None) -> FoundSongs:
    """The multitracks of a folder, a list or a STEM file's folder, with those without a mixture. Raises ValueError as ``find`` does, and
    where there is none."""
    rules = StemRules(sum_missing=True)
    tries = [kind] if kind else ["auto", *(["multitracks", "stems"] if place.is_dir() else [])]
    listings = [find(place, kind=each, rules=rules) for each in tries]
    most = max(listings, key=lambda found: sum(bool(song.references) for song in found.candidates))  # the first of equals
    songs = tuple(song for song in most.candidates if song.references)
    if not songs:
        why = next((f" ({path}: {reason})" for found in listings for path, reason in found.refused), "")
        raise ValueError(
            f"{place} has no multitracks{why}; expected folders with a mixture and its stems (or stems alone), STEM files, a data set that "
            "`stemwright catalog` knows, or a CSV that lists folders"
        )
    return FoundSongs(most.songs, songs, most.refused, most.ignored, most.notes)


def stems_of_files(song: Candidate, stem_names: Sequence[str]) -> dict[str, str]:
    """The separator's stem that each file of a song is a part of. Raises Refused where a file can be of several, or of none."""
    found = {}
    for name, _, _ in song.references:
        part = song.parts.get(name, name)
        usual = part if part in stem_names else part_of_instrument(name.replace("_", " ")) if part not in MIXED else ""
        stem = usual if usual in stem_names else OTHER_STEM if usual and OTHER_STEM in stem_names else ""
        if not stem:
            reason = "may hold several instruments" if part in MIXED else "is a part of none of them"
            raise Refused(f"{name} {reason}; the separator has {', '.join(stem_names)}. Name its files after these, or leave the song out")
        found[name] = stem
    return found


def load_multitrack(songs: Path, song: Candidate, stem_names: Sequence[str]) -> LoadedMultitrack:
    """Reads a song. Raises Refused where its files cannot be read, do not sum to the mixture, or are of no stem of the separator."""
    parts = stems_of_files(song, stem_names)
    files = {name: (songs / path, stream) for name, path, stream in song.references}
    if song.mixture == "sum":
        loaded = {name: load_song(path, stream=stream) for name, (path, stream) in files.items()}
        sample_rate = max(rate for _, rate in loaded.values())
        audio = {name: resample(sound, rate, sample_rate) for name, (sound, rate) in loaded.items()}
        shape = (max(len(each) for each in audio.values()), max(each.shape[1] for each in audio.values()))
        stems = {name: _in_shape(each, shape) for name, each in audio.items()}
        mixture = np.stack(list(stems.values())).sum(axis=0, dtype=np.float64).astype(np.float32)
    else:
        own = load_own(songs / song.path, files)
        mixture, sample_rate = own.mixture, own.sample_rate
        stems, calibration = in_mixture(mixture, own.stems, sample_rate)
        if calibration.basis != MEASURED:
            closure = own.findings.closure_db
            left = "" if closure is None else f": they leave {closure:.1f} dB of it"
            raise Refused(f"its files do not sum to its mixture{left}; expected stems that do, whose levels are known")
    together: dict[str, Audio] = {}
    for name, each in stems.items():
        together[parts[name]] = together[parts[name]] + each if parts[name] in together else each
    return LoadedMultitrack(mixture, together, sample_rate)


def _in_shape(audio: Audio, shape: tuple[int, int]) -> Audio:
    wide = np.repeat(audio, shape[0], axis=0) if len(audio) < shape[0] else audio
    return np.pad(wide, ((0, 0), (0, shape[1] - audio.shape[1])))


def song_rows(
    songs: Path, song: Candidate, separator: Separating | ReadyStems, on_share: Callable[[float], None] | None = None
) -> list[StemRow]:
    """Separates the mixture of a song, and measures what is true and what the stems say. Raises Refused, as ``load_multitrack``."""
    own = load_multitrack(songs, song, separator.stem_names)
    rate = separator.sample_rate or own.sample_rate
    heard: dict[str, Any] = {"on_share": on_share} if on_share else {}
    if isinstance(separator, ReadyStems):
        separated: Mapping[str, Audio] = separator.of_song(songs / song.path, own.mixture, own.sample_rate)
    else:
        separated = separator.separate(own.mixture, own.sample_rate, **heard)
    mixture = resample(own.mixture, own.sample_rate, rate)
    truth = {name: resample(audio, own.sample_rate, rate) for name, audio in own.stems.items()}
    frames = min(mixture.shape[1], *(each.shape[1] for each in (*separated.values(), *truth.values())))
    wrong = [name for name, audio in separated.items() if not np.isfinite(audio).all()]
    if wrong:
        raise Refused(f"the separator {separator.origin} gives NaN or infinite samples as {', '.join(wrong)} of this song")
    given = {name: audio[:, :frames] for name, audio in separated.items()}
    try:
        return measured_rows(
            title_of_song(song), mixture[:, :frames], {name: each[:, :frames] for name, each in truth.items()}, given, rate
        )
    except ValueError as error:
        raise Refused(str(error)) from error


def title_of_song(song: Candidate) -> str:
    """What a song is called: its folder or file, below the songs folder."""
    place = Path(song.path)
    named = place.parent if name_from(place.stem) in ("mixture", "mix") and place.parent.name else place
    return named.as_posix()


def song_facts(songs: Path, song: Candidate, separator: Separating | ReadyStems) -> dict[str, Any]:
    """What the rows of a song depend on: its audio, and which file is which stem; not the names of the files.

    ``mixture`` is the checksum of the mixture. Raises Refused, as ``stems_of_files``.
    """
    parts, sums = stems_of_files(song, separator.stem_names), file_sums(songs, song)
    files = sorted([parts[name], sums[path], stream] for name, path, stream in song.references)
    facts: dict[str, Any] = {"mixture": sums[song.path], "sum": song.mixture == "sum", "parts": files, "format": FORMAT}
    return facts | ({"ready": separator.sums(songs / song.path)} if isinstance(separator, ReadyStems) else {})


def kept_rows_folder(separator: Separating | ReadyStems) -> Path:
    """Where the rows of the songs of a separator are kept. Raises UsageError for a separator whose identity cannot be written."""
    try:
        return place_of_calibrations() / "songs" / key_of(separator)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the separator {separator.origin}: its identity cannot be written ({error}); expected texts, whole and finite numbers"
        ) from error


def kept_song_rows(
    songs: Path,
    song: Candidate,
    separator: Separating | ReadyStems,
    facts: Mapping[str, Any],
    on_share: Callable[[float], None] | None = None,
) -> tuple[list[StemRow], bool]:
    """The rows of a song, and whether they were kept from an earlier run, by its ``song_facts``. Raises Refused, as ``song_rows``."""
    path = kept_rows_folder(separator) / f"{content_id(dict(facts))}.json"
    try:
        return [replace(StemRow.of(row), song=title_of_song(song)) for row in json.loads(path.read_bytes())], True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    rows = song_rows(songs, song, separator, on_share)
    make_folder(path.parent)
    write_bytes(path, json.dumps([row.as_json() for row in rows]).encode())
    return rows, False
