"""A corpus folder: where its tables are, its configuration, and that only one process at a time works on it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar, cast

from stemwright.datagen.run import configuration, shares
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.runner import UNUSED
from stemwright.datagen.run.tasks import Share
from stemwright.manifests import table
from stemwright.manifests.catalog.tracks import songs_root
from stemwright.manifests.disk import durable
from stemwright.manifests.disk.deletion import check_plain
from stemwright.manifests.disk.locks import LockedError, NoLocksError, is_held, locked
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Part, Record, Refused, Rejected, Stem
from stemwright.manifests.shards import DATASET
from stemwright.manifests.table_rows import TableRows
from stemwright.manifests.usage import UsageError
from stemwright.manifests.visible import visible

R = TypeVar("R", bound=Record)
STAGES = ("catalog", "separate", "estimate", "plan", "render")
VERBS = {  # table -> the verb that writes it
    "tracks": "catalog",
    "stems": "separate",
    "parts": "separate",
    "estimates": "estimate",
    "part_estimates": "estimate",
    "track_estimates": "estimate",
    "features": "estimate",
    "profile": "estimate",
    "statistics": "estimate",
    "normalisations": "estimate",
    "pairs": "plan",
    "redraws": "render",
    "examples": "render",
}


LOG = "stemwright.log"
OWN = re.compile(r"\..*|lease|stemwright\.toml|stemwright(\.\d+of\d+)?\.log(\.\d+)?")  # what may be in a folder that becomes a corpus

_log = logging.getLogger(__name__)


class CorpusError(UsageError):
    """A corpus folder that cannot be worked on, and what to do."""


class Corpus:
    """Paths and tables of one corpus folder. Opening one reads nothing and creates nothing."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()  # a worker elsewhere has another working directory
        self._config: tuple[tuple[int, ...], Config] | None = None  # as it was read, and what the file was then
        self._given: Config | None = None

    @property
    def config_path(self) -> Path:
        """The configuration as it was run, with every default filled in."""
        return self.folder / "config.toml"

    def given(self, config: Config) -> Corpus:
        """The same corpus, whose ``config`` is another one than the folder keeps: for work that may fail before it changes anything."""
        corpus = Corpus(self.folder)
        corpus._given = config
        return corpus

    @property
    def log(self) -> Path:
        """The log of what was run on this corpus; nothing is read from it."""
        return self.folder / LOG

    def log_of(self, share: Share) -> Path:
        """The log of a share, which several processes would write otherwise."""
        return self.folder / f"{Path(LOG).stem}.{share.writer}.log"

    @property
    def dataset(self) -> Path:
        """What a training job reads; complete by itself, can be moved."""
        return self.folder / DATASET

    @property
    def config(self) -> Config:
        """The configuration that is kept in the folder: read once, and again if the file is another.

        Raises CorpusError if the folder is no corpus yet.
        """
        if self._given is not None:
            return self._given
        if not self.config_path.exists():
            raise CorpusError(self._no_corpus())
        status = regular(self.config_path).stat()
        now = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._config is None or self._config[0] != now:
            self._config = (now, configuration.read(self.config_path))
        return self._config[1]

    def _no_corpus(self) -> str:
        """Why the folder is no corpus, and what to do."""
        if self.folder.exists() and not self.folder.is_dir():
            return f"{self.folder} is not a corpus: it is a file; expected a corpus folder"
        why = "it has no config.toml" if self.folder.exists() else "there is no such folder"
        return f"{self.folder} is not a corpus: {why}. Create one with: stemwright catalog SONGS {self.folder}"

    @property
    def songs(self) -> Path:
        """The folder that the paths of tracks are relative to."""
        return songs_root(Path(self.config.songs.folder))

    def check_free(self, config: Config) -> None:
        """Raises CorpusError if the folder cannot become, or go on as, the corpus of these songs."""
        if self.folder.exists() and not self.folder.is_dir():
            raise CorpusError(f"{self.folder} is a file; expected a folder for the corpus")
        if self.folder.exists() and not self.config_path.exists() and any(map(is_foreign, self.folder.iterdir())):
            raise CorpusError(f"{self.folder} contains other files and is not a corpus; give an empty or a new folder")
        songs = songs_root(Path(config.songs.folder)).resolve()
        for part in (self.folder, self.folder / "stems", self.dataset):  # the latter two may be links to another disk
            if songs.is_relative_to(part.resolve()):
                raise CorpusError(
                    f"the songs in {config.songs.folder} are inside the corpus {self.folder}; give the corpus a separate folder"
                )
            if part.is_symlink() and part != self.folder and part.resolve().is_relative_to(songs):
                raise CorpusError(
                    f"{part} leads into the songs in {config.songs.folder}, where its files would be read as songs; link it elsewhere"
                )

    def create(self, config: Config) -> None:
        """Makes the folder and keeps the configuration in it."""
        durable.make_folder(self.folder)
        text = configuration.to_toml(config)
        if not self.config_path.exists() or regular(self.config_path).read_text(encoding="utf-8") != text:
            durable.write_bytes(self.config_path, text.encode())

    def restore(self, config: bytes | None) -> None:
        """Puts the configuration back that was there before. If there was none, it goes only where no stage has finished any work."""
        if config is None:
            if not any(self.folder.glob("*.parquet")) and not any(self.folder.glob(f"*{table.JOURNAL}")):
                self.config_path.unlink(missing_ok=True)
        else:
            durable.write_bytes(self.config_path, config)

    def table(self, name: str) -> Path:
        """Path of a finished table, by the name it has in ``ROW_TYPES``."""
        return self.folder / f"{name}.parquet"

    def unused(self, name: str) -> Path:
        """Where a table is kept that the configuration does not need."""
        return self.folder / UNUSED / f"{name}.parquet"

    def journal(self, name: str) -> Path:
        """Path of the journal that becomes the table."""
        return self.folder / f"{name}.jsonl.part"

    def ids(self, name: str) -> list[str]:
        """The ids of a table, without its other columns. Raises CorpusError as ``rows`` does."""
        self._finished(name)
        return table.column(self.table(name), "id")

    def rows(self, name: str, record_type: type[R]) -> list[R]:
        """The rows of a table. Raises CorpusError naming the verb that writes it if it is not there."""
        self._finished(name)
        return table.read(self.table(name), record_type)

    def table_rows(self, name: str, record_type: type[R]) -> TableRows[R]:
        """The rows of a table, made into records as they are used. Raises CorpusError as ``rows`` does."""
        self._finished(name)
        return TableRows(self.table(name), record_type)

    def source_rows(self) -> JoinedRows[Stem]:
        """The stems of a corpus and their parts: what pairs can be made of. Raises CorpusError as ``rows`` does."""
        parts = [cast("TableRows[Stem]", self.table_rows("parts", Part))] if self.table("parts").exists() else []
        return JoinedRows(self.table_rows("stems", Stem), *parts)

    def digest(self, name: str) -> str:
        """The digest of the rows of a table. Raises CorpusError as ``rows`` does."""
        self._finished(name)
        return table.digest(self.table(name))

    def _finished(self, name: str) -> None:
        path = self.table(name)
        if not path.exists():
            verb = VERBS[name]
            started = " was not finished; go on" if table.journals(self.journal(name)) else " is missing; make it"
            raise CorpusError(f"{path}{started} with: stemwright {verb} {'SONGS ' if verb == 'catalog' else ''}{self.folder}")

    def rejected(self) -> list[Rejected]:
        """What all stages so far refused."""
        path = self.table("rejected")
        return table.read(path, Rejected) if path.exists() else []

    def replace_rejected(self, stage: str, rows: list[Rejected]) -> None:
        """Puts the rows that a stage refused in place of those it refused in its run before."""
        for row in rows:
            _log.warning("%s rejected %s: %s", stage, visible(row.subject), visible(row.reason))
        before = self.rejected()
        after = [row for row in before if row.stage != stage] + rows
        after.sort(key=lambda row: (STAGES.index(row.stage), row.subject))
        lost = not self.table("rejected").exists()
        if lost and stage != "plan" and self.table("pairs").exists():
            # What planning refused is lost with the table: the pairs no longer say what they were made from, so they are planned again.
            with suppress(ValueError, UsageError):  # of another version: they are planned again anyway
                table.write(self.table("pairs"), self.rows("pairs", Pair), Pair)
        if after != before or lost:
            table.write(self.table("rejected"), after, Rejected)

    def check_not_in_use(self) -> None:
        """Raises CorpusError if another process works on the folder; takes no lock, so that one may begin to."""
        if is_held(self.folder / shares.LOCK):
            raise CorpusError(shares.in_use(self.folder))
        if found := shares.at_work(self.folder):
            raise CorpusError(f"{found[0]}; wait for it, or stop it")
        if holder := shares.at_work_on_all(self.folder):
            raise CorpusError(shares.in_use(self.folder, holder))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for one process. Raises CorpusError if another one works on it, SharesError if shares of it are at work; a
        killed process holds nothing.
        """
        durable.make_folder(self.folder)
        with ExitStack() as stack:
            try:
                check_plain(self.folder / shares.LOCK)  # a lock file is truncated when it is taken
                stack.enter_context(locked(self.folder / shares.LOCK))
            except LockedError as error:
                left = f" (if it was killed, delete {error.soft})" if error.soft else ""
                raise CorpusError(f"{shares.in_use(self.folder)}{left}") from error
            except (NoLocksError, Refused) as error:
                raise CorpusError(str(error)) from error
            stack.enter_context(shares.working_on_all(self.folder))
            shares.check_none_at_work(self.folder)
            # Left by a killed process: this one holds the lock.
            durable.remove(path for path in self.folder.glob(f".*{durable.SUFFIX}") if durable.LEFTOVER.fullmatch(path.name))
            yield


def is_foreign(path: Path) -> bool:
    """Whether something in a folder keeps it from becoming a corpus: it is neither hidden nor a log or a configuration of ours."""
    return not OWN.fullmatch(path.name)
