"""Reading an export back: a folder or a zip from an untrusted source, so everything in it is checked before it is used.

Conventions
    Only the files that an export writes are looked at, under their own names; a zip is unpacked to a temporary folder, and what else is in
    it stays there. Sizes are checked before anything is unpacked or read, and again while it is.
    The manifest is checked as a whole (``Manifest``), each row of a table by its record, the configuration as any other. Paths of
    another machine in the configuration are left out: they would be read here.
    An id is half of a SHA-256 and cannot be compressed, so a table has at least eight bytes a row: one with fewer unfolds to more rows than
    a person can have planned.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stemwright.datagen.run import configuration
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import CorpusError
from stemwright.datagen.share.export import FORMAT, MANIFEST, README, without_local_paths
from stemwright.datagen.share.export_rows import OPTIONAL, TYPES
from stemwright.manifests import table
from stemwright.manifests.disk.regular import file_sha256, not_a_file, regular
from stemwright.manifests.pair_records import Example
from stemwright.manifests.records import Record
from stemwright.manifests.table_rows import TableRows

R = TypeVar("R", bound=Record)
CONFIG = "config.toml"
TABLES = tuple(f"{name}.parquet" for name in TYPES)
KNOWN = (MANIFEST, README, CONFIG, *TABLES)
EXPECTED = "expected what `stemwright export CORPUS OUT --no-audio` wrote"
LARGEST_TEXT = 16 << 20  # bytes of manifest, README or configuration; a corpus of a million pairs has a few kB of each
LARGEST_DIRECTORY = 1 << 20  # bytes of a zip's list of members: ours has a dozen; it is read into memory before anything else
MOST_FOLDED = 20  # how far tables may be compressed in a zip: they are compressed already
ID_BYTES = 8  # of a row's id, in the smallest form there is
MOST_UNFOLDED = 200  # how much larger the columns of a table may be than its file; ours are 2 to 10 times as large
SMALL_BYTES = 1 << 26  # below it a table may unfold as it likes
MOST_VALUES = 1000  # in one column, for each byte of the file, beyond the first ten million: flags of a second each compress well


class FileFacts(BaseModel):
    """What a manifest says of one file."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class UsedFacts(BaseModel):
    """On what the stems were made."""

    engine: Literal["torch", "openvino"]
    precision: Literal["fp32", "bf16"]
    device: str = Field(max_length=100)
    versions: dict[str, str]


class ModelFacts(BaseModel):
    """Which model the stems were made with."""

    model_config = ConfigDict(extra="allow")

    weights: dict[str, str]
    bag: list[list[float]] | None
    segment_s: float | None
    schedule: Any
    used: UsedFacts


class Manifest(BaseModel):
    """What an export says about itself."""

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    format: int = Field(ge=0)
    stemwright: str = Field(max_length=100)
    model: ModelFacts | None
    parts_model: dict[str, Any] | None = None
    origins: list[str]
    files: dict[str, FileFacts]


@dataclass(frozen=True)
class Recipes:
    """An export as it is read back."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        """The id of this export, which its manifest states."""
        return str(self.manifest["id"])

    @property
    def config(self) -> Config:
        """The configuration; without paths of the machine that exported it."""
        return without_local_paths(configuration.read(regular(self.folder / CONFIG)))

    def rows(self, name: str, record_type: type[R]) -> list[R]:
        """The rows of one of its tables; none of one that it need not have. Raises CorpusError if one of them cannot be a row."""
        if name in OPTIONAL and not self._has(name):
            return []
        try:
            return table.read(self.folder / f"{name}.parquet", record_type)
        except ValueError as error:
            raise CorpusError(str(error)) from error

    def check_rows(self) -> None:
        """Raises CorpusError if any row of any table cannot be one: to be asked before anything is written or separated."""
        for name, record_type in TYPES.items():
            if name in OPTIONAL and not self._has(name):
                continue
            try:
                deque(TableRows(self.folder / f"{name}.parquet", record_type).batches(), maxlen=0)
            except ValueError as error:
                raise CorpusError(str(error)) from error

    def _has(self, name: str) -> bool:
        """Whether the export has a table: one that its manifest does not list was never checked."""
        return f"{name}.parquet" in self.manifest["files"]

    @property
    def rendered_from(self) -> str:
        """What the table of examples says that it was made from."""
        return table.made_from(self.folder / "examples.parquet") or ""

    def examples(self) -> list[Example]:
        """Every example that was rendered."""
        return self.rows("examples", Example)


@contextmanager
def opened(path: Path) -> Iterator[Recipes]:
    """Opens an export, a folder or a zip. Raises CorpusError if it is none, is damaged, or was written by a later version."""
    if not path.exists():
        raise CorpusError(f"{path} does not exist; {EXPECTED}")
    if path.is_dir():
        yield _checked(path, path)
        return
    if (what := not_a_file(path)) or not zipfile.is_zipfile(path):
        raise CorpusError(f"{path} is {what or 'neither a folder nor a zip'}; {EXPECTED}")
    with tempfile.TemporaryDirectory(prefix="stemwright-") as unpacked:
        try:
            _unpack(path, Path(unpacked))
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
            raise CorpusError(f"{path} cannot be unpacked ({error}); {EXPECTED}") from error
        yield _checked(Path(unpacked), path)


def _unpack(path: Path, folder: Path) -> None:
    """Unpacks the files of an export. Raises CorpusError before anything is written if they are too many or too large."""
    if (listed := _directory_bytes(path)) > LARGEST_DIRECTORY:
        raise CorpusError(f"{path} lists its members in {listed:,} bytes, at most {LARGEST_DIRECTORY:,} are read; {EXPECTED}")
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename in KNOWN]
        if len({member.filename for member in members}) < len(members):
            raise CorpusError(f"{path} has two members with the same name; {EXPECTED}")
        for member in members:
            size, name = member.file_size, member.filename
            most = max(LARGEST_TEXT, MOST_FOLDED * member.compress_size) if name in TABLES else LARGEST_TEXT
            if size > most:
                raise CorpusError(f"{path} has a {name} of {size / 1e6:,.0f} MB, at most {most / 1e6:,.0f} MB are unpacked; {EXPECTED}")
        total, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
        if total > free:
            raise CorpusError(f"{path} takes {total / 1e9:,.1f} GB unpacked, {folder.parent} has {free / 1e9:,.1f} GB free; set TMPDIR")
        for member in members:
            with archive.open(member) as packed, (folder / member.filename).open("xb") as file:
                shutil.copyfileobj(packed, file)  # reads no more than the size that the archive states


def _directory_bytes(path: Path) -> int:
    """How large a zip's list of its members is, by the record at its end; very large where a field says that it is elsewhere."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (22 + 0xFFFF)))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    return int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0


def _checked(folder: Path, path: Path) -> Recipes:
    for name in (MANIFEST, CONFIG, README):
        if (folder / name).is_file() and (folder / name).stat().st_size > LARGEST_TEXT:
            raise CorpusError(f"{path} has a {name} of more than {LARGEST_TEXT / 1e6:,.0f} MB; {EXPECTED}")
    manifest = _manifest(folder / MANIFEST, path)
    for name in (*(file for file in TABLES if file.removesuffix(".parquet") not in OPTIONAL), CONFIG):
        if name not in manifest.files:
            raise CorpusError(f"{path} is incomplete: its {MANIFEST} does not list {name}; export it again")
    for name, facts in manifest.files.items():
        if name not in KNOWN:
            raise CorpusError(f"{path} lists {name[:80]!r} in its {MANIFEST}, which is not a file of an export; {EXPECTED}")
        if not (folder / name).is_file():
            raise CorpusError(f"{path} is incomplete: {name} is missing; export it again")
        if file_sha256(folder / name) != facts.sha256:
            raise CorpusError(f"{path} is damaged: the checksum of {name} differs from {MANIFEST}; export it again")
        if name in TABLES:
            _check_unfolded(folder / name, path)
    return Recipes(folder, manifest.model_dump(mode="json"))


def _manifest(file: Path, path: Path) -> Manifest:
    try:
        values = json.loads(regular(file).read_text(encoding="utf-8"))
        later = values.get("format", 0) if isinstance(values, dict) else 0
        if isinstance(later, int) and later > FORMAT:
            raise CorpusError(
                f"{path} was exported by stemwright {values.get('stemwright')}, in a newer format than this version reads; update"
            )
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:80] or "the whole"
        raise CorpusError(f"{path} has no readable {MANIFEST}; {EXPECTED} ({where}: {first['msg']})") from error
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f"{path} has no readable {MANIFEST}; {EXPECTED} ({str(error)[:200]})") from error


def _check_unfolded(file: Path, path: Path) -> None:
    """Raises CorpusError if a table would unpack to far more in memory than an export of its size holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = file.stat().st_size
    try:
        facts = pq.read_metadata(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorpusError(f"{path}: {file.name} is not a readable Parquet table; {EXPECTED}") from error
    columns = [facts.row_group(group).column(number) for group in range(facts.num_row_groups) for number in range(facts.num_columns)]
    unfolded, values = sum(one.total_uncompressed_size for one in columns), max((one.num_values for one in columns), default=0)
    if facts.num_rows * ID_BYTES > size or unfolded > max(SMALL_BYTES, MOST_UNFOLDED * size) or values > 10_000_000 + MOST_VALUES * size:
        raise CorpusError(
            f"{path}: {file.name} has {size:,} bytes and would unpack to {facts.num_rows:,} rows, {unfolded / 1e6:,.0f} MB; {EXPECTED}"
        )
