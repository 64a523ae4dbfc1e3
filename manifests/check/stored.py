"""Songs, stems and shards in a store: there, as large as their rows say. Bytes are compared on request only: all are downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stemwright.manifests.check.files import ClaimedFile
from stemwright.manifests.check.problems import CheckProblem, in_threads
from stemwright.manifests.disk import mirror
from stemwright.manifests.disk.bulk import is_stored
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Stem, Track

NOT_READ = "only sizes were compared of what is in a store: pass --checksums to download it and compare checksums and sums of stems"


def in_store(claims: Iterable[ClaimedFile]) -> tuple[list[ClaimedFile], list[ClaimedFile]]:
    """The claims of files in folders, and those of files in a store."""
    here: list[ClaimedFile] = []
    stored: list[ClaimedFile] = []
    for claim in claims:
        (stored if mirror.is_mirrored(claim.place) else here).append(claim)
    return here, stored


def check_stored(folder: Path, claims: Sequence[ClaimedFile], progress: OnProgress | None) -> list[CheckProblem]:
    """The files of a corpus or dataset that are not in its store as their rows say."""

    def work(claim: ClaimedFile) -> CheckProblem | None:
        if is_stored(folder, claim.audio):
            return None
        return claim.problem(f"is not in {mirror.as_named(claim.place)} with {claim.audio.num_bytes:,} bytes; run separate again")

    return [problem for problem in in_threads("stored", work, claims, progress) if problem]


def read_stems(stems: Sequence[Stem], stored: Iterable[ClaimedFile]) -> list[Stem]:
    """The stems of the tracks that have none in the store: the sums of those can be measured without a download."""
    away = {claim.row_id for claim in stored}
    tracks = {stem.track_id for stem in stems if stem.id in away}
    return [stem for stem in stems if stem.track_id not in tracks]


def check_stored_songs(songs: Path, tracks: Sequence[Track]) -> Iterator[CheckProblem]:
    """The songs that their store does not list as their rows say."""
    mirror.show(mirror.address_of_place(songs))
    for track in tracks:
        for file in {file.path: file for file in track.files}.values():
            try:
                found = (songs / file.path).stat().st_size
            except FileNotFoundError:
                what = f"{file.path} is no longer in {mirror.as_named(songs)}"
                yield CheckProblem(table="tracks", row_id=track.id, file=file.path, what=what)
                continue
            if found != file.num_bytes:
                what = f"has {found:,} bytes; its row says {file.num_bytes:,}. Run the catalog again"
                yield CheckProblem(table="tracks", row_id=track.id, file=file.path, what=what)
