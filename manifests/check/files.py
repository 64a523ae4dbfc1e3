"""The files that rows name, alone or in shards, and those that none names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath

import numpy as np

from stemwright.manifests.check.corpus_tables import read_tables
from stemwright.manifests.check.problems import CheckProblem, in_threads
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.disk.deletion import foreign_files
from stemwright.manifests.disk.mirror import is_mirrored
from stemwright.manifests.disk.name_set import NameSet
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.pair_records import Example
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import AudioFile, Refused, Shard, Stem
from stemwright.manifests.shards import JOURNAL, DatasetFiles, Place, Places, in_dataset
from stemwright.manifests.sound import decoding, embedded, formats
from stemwright.manifests.sound.formats import BLOCK_FRAMES

KEPT_STEMS = "stems.json"  # beside the stems of a track that are whole, whether or not the table names them


@dataclass(frozen=True)
class ClaimedFile:
    """A file that a row says exists, and where it should be."""

    table: str
    row_id: str
    audio: AudioFile
    place: Path
    inside: Place | None = None  # where in the shard ``place``; None: it is a file of its own

    @property
    def name(self) -> str:
        """Its path and, in a shard, its first byte there."""
        return str(self.place) if self.inside is None else f"{self.place}:{self.inside.start_byte}:{self.inside.num_bytes}"

    def problem(self, what: str) -> CheckProblem:
        """That something is wrong with the file."""
        return CheckProblem(table=self.table, row_id=self.row_id, file=self.audio.path, what=what)


def check_shards(dataset: Path, progress: OnProgress | None, *, download: bool = False) -> tuple[Places, list[CheckProblem]]:
    """Where the sound files of a dataset are, and what is wrong with its shards as files; ``download`` reads those in a store."""
    rows, problems = read_tables(dataset, {"shards": Shard})
    if (dataset / JOURNAL).exists():
        problems.append(CheckProblem(file=JOURNAL, what="packing was interrupted; run the same command again to resume it"))
    places = Places(dataset, rows["shards"])

    def work(shard: Shard) -> CheckProblem | None:
        facts = {"table": "shards", "row_id": shard.id, "file": shard.path}
        if what := places.damaged.get(shard.path):
            return CheckProblem(**facts, what=f"{what}; {len(shard.members)} sound files are lost with it. Delete it and run render again")
        if is_mirrored(places.file_of(shard.path)) and not download:
            return None
        if file_sha256(places.file_of(shard.path)) != shard.sha256:
            return CheckProblem(**facts, what="its content changed after it was written (SHA-256 differs). Delete it and run render again")
        return None

    found = in_threads("shards", work, places.shards, len(places.shards), progress)
    return places, problems + [problem for problem in found if problem]


class Claims(Iterable[ClaimedFile]):
    """The files that rows name, made as they are used: those of stems, and those of examples but where they are lost with their shards.

    ``called`` gives what the dataset calls a file.
    """

    def __init__(
        self,
        corpus: Path,
        stems: Iterable[Stem],
        examples: Iterable[Example],
        places: Places | None = None,
        called: Callable[[str], str] = in_dataset,
    ) -> None:
        self._corpus, self._stems, self._examples, self._places, self._called = corpus, stems, examples, places, called

    def __iter__(self) -> Iterator[ClaimedFile]:
        for stem in self._stems:
            yield ClaimedFile("stems", stem.id, stem.audio, located(self._corpus, stem.audio))
        if self._places is not None:
            yield from _example_claims(self._examples, self._places, self._called)


def _example_claims(examples: Iterable[Example], places: Places, called: Callable[[str], str]) -> Iterator[ClaimedFile]:
    for example in examples:
        for file in example.signals:
            path = called(file.audio.path)
            place = places.find(path)
            if places.inside(path):
                yield ClaimedFile("examples", example.id, file.audio, place.file, place)
            elif place.file.exists() or not places.lost_with(path):
                yield ClaimedFile("examples", example.id, file.audio, place.file)


def check_files(claims: Iterable[ClaimedFile], progress: OnProgress | None) -> list[CheckProblem]:
    """What is wrong with the files that rows name. Hashing and decoding release the interpreter, so they run in threads."""
    counted = count()
    repeated = NameSet(claim.name for claim, _ in zip(claims, counted, strict=False)).repeated()
    problems = list(_shared(claims, repeated)) if repeated else []
    found = in_threads("files", _check_file, claims, next(counted), progress)
    return problems + [problem for problem in found if problem]


def _shared(claims: Iterable[ClaimedFile], repeated: Container[int]) -> Iterator[CheckProblem]:
    """That rows name a file that an earlier row, or the row itself, names already; but a store has equal bytes once."""
    first: dict[str, str] = {}
    for claim in claims:
        if hash(claim.name) not in repeated:
            continue
        if claim.name in first and not is_mirrored(claim.place):
            yield claim.problem(f"row {first[claim.name]} names the same file")
        first.setdefault(claim.name, claim.row_id)


def _check_file(claim: ClaimedFile) -> CheckProblem | None:
    """The first thing that is wrong with one file; others may follow from it."""
    row = claim.audio
    if claim.inside is not None:
        return _check_inside(claim, claim.inside)
    try:
        if file_sha256(claim.place) != row.sha256:
            return claim.problem("its content changed after it was written (SHA-256 differs)")
        info = decoding.probe(claim.place, stream=row.stream)
        found = (info.num_frames, info.sample_rate, info.num_channels)
        if found != (row.num_frames, row.sample_rate, row.num_channels):
            return claim.problem(_differs(found, (row.num_frames, row.sample_rate, row.num_channels)))
        if claim.place.suffix != ".flac" and not all(np.isfinite(block).all() for block in decoding.blocks(claim.place, BLOCK_FRAMES)):
            return claim.problem("contains NaN or infinite samples")
    except FileNotFoundError:
        return claim.problem("is missing")
    except (Refused, OSError) as error:
        return claim.problem(f"cannot be read: {getattr(error, 'strerror', None) or error}")
    return None


def _check_inside(claim: ClaimedFile, inside: Place) -> CheckProblem | None:
    """The first thing that is wrong with a sound file inside a shard."""
    row = claim.audio
    try:
        data = inside.read()
        if hashlib.sha256(data).hexdigest() != row.sha256:
            return claim.problem(f"its content in {claim.place.name} changed after it was written (SHA-256 differs)")
        info = embedded.probe_bytes(data)
        found = (info.num_frames, info.sample_rate, info.num_channels)
        if found != (row.num_frames, row.sample_rate, row.num_channels):
            return claim.problem(_differs(found, (row.num_frames, row.sample_rate, row.num_channels)))
        if not row.path.endswith(".flac") and not np.isfinite(embedded.decode(data)[0]).all():
            return claim.problem("contains NaN or infinite samples")
    except (Refused, OSError) as error:
        return claim.problem(f"cannot be read: {getattr(error, 'strerror', None) or error}")
    return None


def _differs(found: tuple[int, int, int], stated: tuple[int, int, int]) -> str:
    names = ("frames", "Hz", "channels")
    return "has " + ", ".join(f"{a} {name}; its row says {b}" for a, b, name in zip(found, stated, names, strict=True) if a != b)


def unnamed(folder: Path, parts: Sequence[str], claims: Iterable[ClaimedFile], places: Places) -> Iterator[CheckProblem]:
    """Leftovers of a killed process, and stems that no row names."""
    named = NameSet(chain((str(claim.place) for claim in claims), (str(places.dataset / path) for path in places.shard_paths)))
    folders, spare = {claim.place.parent for claim in claims if claim.table == "stems"}, dict[Path, str]()
    for part in parts:
        for path in _files_below(folder / part):
            if str(path) in named:
                continue
            file = path.relative_to(folder).as_posix()
            in_hidden_folder = any(name.startswith(".") for name in PurePosixPath(file).parts[:-1])
            if in_hidden_folder or (path.name.startswith(".") and path.suffix == ".part"):
                yield CheckProblem(file=file, what="left incomplete by a killed process; delete it")
            elif part == "stems" and path.suffix.lower() in formats.READABLE_SUFFIXES and not path.name.startswith("."):
                if path.parent not in folders and file.count("/") > 1:
                    spare[path.parent] = file
                else:
                    yield CheckProblem(file=file, what="no row names this file; delete it, or run separate again")
    # Complete stems are kept on purpose, for a song that is absent or for another model.
    if left := [file for parent, file in spare.items() if not (parent / KEPT_STEMS).exists()]:
        what = f"stems in {len(left)} folders are not used by this version and no row names them; delete them to free disk space"
        yield CheckProblem(level="warning", file=left[0], what=what)


def _files_below(folder: Path) -> Iterator[Path]:
    """Everything below a folder but folders, in the order of the parts of the paths; nothing behind a link."""
    inside: list[Path] = []
    with suppress(OSError):  # not there, or not readable
        inside = sorted(folder.iterdir())
    for path in inside:
        if path.is_dir():
            yield from () if path.is_symlink() else _files_below(path)
        else:
            yield path


def foreign(corpus: Path, dataset: Path, sounds: Iterable[str], places: Places) -> Iterator[CheckProblem]:
    """Files in the dataset folder that do not belong to it: no stage touches them, but a program that reads the folder may."""
    for name in sorted(foreign_files(dataset, DatasetFiles(sounds, places.shards))):
        what = "no row names this file and no stage touches it. Move it away if other programs read the dataset folder"
        if (dataset / name).is_symlink():
            what = "is a link that no row names: nothing is written or deleted through it. Only the dataset folder itself may be a link"
        yield CheckProblem(level="warning", file=(dataset / name).relative_to(corpus).as_posix(), what=what)
