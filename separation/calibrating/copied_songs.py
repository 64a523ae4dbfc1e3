"""Songs of a calibration that are one recording: in files of other names, other encodings, or cut.

A song that counts twice is fitted to twice, and where one copy is left out, the other judges it: the error that is shown is too small.

Conventions
    Which are copies, and which of them is kept, is decided as in a catalog (``stemwright.manifests.deduplication.duplicates``), by
    fingerprints of the mixtures; these are kept in the cache by the checksum of the mixture. Another mix of the same stems is no copy.
    A song that cannot be read is a copy of none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from stemwright.manifests.catalog.candidates import Candidate
from stemwright.manifests.catalog.tracks import candidate_sound, file_sums, num_bytes
from stemwright.manifests.deduplication.duplicates import Recording, find_duplicates
from stemwright.manifests.records import Refused
from stemwright.manifests.sound import decoding, kept_fingerprint
from stemwright.manifests.sound.formats import BLOCK_FRAMES
from stemwright.manifests.sound.identity import IdentityHash
from stemwright.separation.balance.kept_calibrations import place_of_calibrations

FOLDER = kept_fingerprint.FINGERPRINTS


def copied_songs(songs: Path, candidates: Sequence[Candidate], on_song: Callable[[int], None] = lambda _: None) -> dict[str, str]:
    """Of each song that is a copy of another the reason, by its path. ``on_song`` is called with the number of each before it is read."""
    found: list[Recording] = []
    places: dict[str, Path] = {}
    for number, song in enumerate(candidates):
        on_song(number)
        try:
            recording, places[song.path] = _recording(songs, song)
        except (Refused, OSError):
            continue
        found.append(recording)
    dropped = find_duplicates(found, lambda recording: kept_fingerprint.read(places[recording.path])).dropped
    return {path: f"{reason}; it counts once" for path, (_, reason) in dropped.items()}


def _recording(songs: Path, song: Candidate) -> tuple[Recording, Path]:
    """What is known of a song's mixture, and where its fingerprint is. Raises Refused or OSError where it cannot be read."""
    sound, checksum = candidate_sound(songs, song), file_sums(songs, song)[song.path]
    place = kept_fingerprint.place_of(place_of_calibrations() / FOLDER, checksum, song.stream)
    facts = kept_fingerprint.read_facts(place)
    if facts is None:
        with decoding.opened(sound, stream=song.stream) as reader:
            info, num_frames = reader.info, 0
            maker = kept_fingerprint.FingerprintMaker(info)
            for block in reader.blocks(BLOCK_FRAMES):
                maker.add(block)
                num_frames += block.shape[1]
        facts = {"duration_s": num_frames / info.sample_rate, "lossless": IdentityHash(sound, song.stream, info).exact}
        kept_fingerprint.write(place, maker.fingerprint(), facts)
    return Recording(song.path, f"{checksum} {song.stream}", facts["duration_s"], num_bytes(sound), facts["lossless"]), place
