"""Songs, stems and shards in a store: there, as large as their rows say. Bytes are compared on request only: all are downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stemwright.manifests.check.files import ClaimedFile
from stemwright.manifests.check.problems import CheckProblem, in_threads
from stemwright.manifests.disk import mirror
from stemwright.manifests.disk.bulk import bulk_of, is_stored
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Track

NOT_READ = "only sizes were compared of what is in a store: pass --checksums to download it and compare checksums and sums of stems"


class _InFolders(Iterable[ClaimedFile]):
    """Those claims that are of files in folders."""

    def __init__(self, claims: Iterable[ClaimedFile]) -> None:
        self._claims = claims

    def __iter__(self) -> Iterator[ClaimedFile]:
        return (claim for claim in self._claims if not mirror.is_mirrored(claim.place))


def in_store(folder: Path, claims: Iterable[ClaimedFile]) -> tuple[Iterable[ClaimedFile], list[ClaimedFile]]:
    """The claims of files in folders, and those of files in the store of a corpus or dataset, if it has one: whole files, no parts of
    shards, whose size is compared with the shard.
    """
    if bulk_of(folder) is None:
        return claims, []
    return _InFolders(claims), [claim for claim in claims if claim.inside is None and mirror.is_mirrored(claim.place)]


def check_stored(folder: Path, claims: Sequence[ClaimedFile], progress: OnProgress | None) -> list[CheckProblem]:
    """The files of a corpus or dataset that are not in its store as their rows say."""

    def work(claim: ClaimedFile) -> CheckProblem | None:
        if is_stored(folder, claim.audio):
            return None
        return claim.problem(f"is not in {mirror.as_named(claim.place)} with {claim.audio.num_bytes:,} bytes; run separate again")

    return [problem for problem in in_threads("stored", work, claims, len(claims), progress) if problem]


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
