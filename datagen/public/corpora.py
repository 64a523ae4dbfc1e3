"""A corpus from Python: make it, check it, write its report. The command line has a verb for each stage as well.

Conventions
    A corpus is a folder. ``build`` resumes where it was interrupted, skips what is finished, and makes the same bytes whatever ``jobs``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemwright.datagen.report.page import PLAYERS, write_report
from stemwright.datagen.run.building import keeping, separated_again, songs_config
from stemwright.datagen.run.configuration import Config, plain
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.corpus_check import problems_of
from stemwright.datagen.run.stages import Summary, build_stages
from stemwright.datagen.run.stages.separator_order import SeparationOrder
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests.check import CheckProblem, errors
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Rejected
from stemwright.manifests.usage import UsageError


@dataclass(frozen=True)
class Built:
    """What ``build`` did: the folder, a summary of each stage, the songs and pairs that were refused with reasons, and what a check found.

    A ``Summary`` has stage, done, skipped, rejected and notes; a ``Rejected`` stage, subject and reason; a ``CheckProblem`` level, file and
    what.
    """

    corpus: Path
    stages: tuple[Summary, ...]
    rejected: tuple[Rejected, ...]
    problems: tuple[CheckProblem, ...]

    def __repr__(self) -> str:
        done = ", ".join(f"{summary.stage} {summary.done + summary.skipped}" for summary in self.stages)
        return f"<Built {self.corpus}: {done}; {len(self.rejected)} rejected, {len(errors(self.problems))} problems>"

    @property
    def ok(self) -> bool:
        """Whether nothing was rejected and the check found no error."""
        return not self.rejected and not errors(self.problems)

    @property
    def dataset(self) -> Path:
        """The folder that ``PairDataset`` opens."""
        return Corpus(self.corpus).dataset


def build(
    songs: Path | str,
    corpus: Path | str,
    config: Config | Mapping[str, Any] | Path | str | None = None,
    *,
    jobs: int = 1,
    again: bool = False,
    on_progress: OnProgress | None = None,
) -> Built:
    """Makes a training corpus: catalog, separate, estimate, plan, render and check, one after another.

    ``songs`` is a folder of recordings, MUSDB18, multitracks, or a CSV file; ``corpus`` a new folder, or a corpus that is to go on.
    ``config`` names what is to differ from the defaults (or from what the corpus keeps): a mapping such as ``{"seed": 1, "pairs":
    {"removal": {"per_track": 20}}}``, or a TOML file. ``jobs`` is the number of processes. Stems that exist but were made with
    other settings are made again only if ``again``. ``on_progress`` is called with (done, total, what, seconds of audio done and in
    all, or None). A refused song does not stop the others: see ``Built.rejected``. Raises ``UsageError`` (a ValueError) for a
    configuration or folders that cannot be used, ``ModelError`` where weights cannot be had.

    >>> import numpy, stemwright as sw
    >>> rng = numpy.random.default_rng(0)
    >>> for song in ("one", "two"):
    ...     stems = dict(zip(("drums", "vocals"), rng.normal(0, 0.1, (2, 2, 66_150)), strict=True))
    ...     for name, audio in {**stems, "mixture": sum(stems.values())}.items():
    ...         _ = sw.save(f"songs/{song}/{name}.wav", audio, 44_100)
    >>> config = {"songs": {"kind": "multitracks"}, "pairs": {"duration_s": 1.0, "removal": {"per_track": 2}}}
    >>> made = sw.build("songs", "corpus", config)
    >>> [summary.stage for summary in made.stages], made.ok
    (['catalog', 'separate', 'estimate', 'plan', 'render'], True)
    """
    place = Corpus(corpus)
    wanted = _configured(place, config, Path(songs))
    with place.locked():
        if (reason := separated_again(place, SeparationOrder(wanted))) and not again:
            raise UsageError(f"{reason}. Nothing was changed; again=True allows it")
        with keeping(place, wanted):
            done = tuple(stage(place, on_progress=on_progress) for stage in build_stages(Workers(jobs)).values())
            problems = problems_of(place)
    rejected = tuple(row for row in place.rejected() if row.replaced_by is None)
    return Built(place.folder, done, rejected, tuple(problems))


def check(corpus: Path | str, songs: Path | str | None = None, *, deep: bool = False) -> list[CheckProblem]:
    """Compares every table of a corpus, or of a self-contained dataset folder, with the files and with itself; reads every file.

    ``songs`` says where the songs are now, if they were moved: a folder, or the CSV file. Stems are decoded and summed once: where an
    earlier check of this user summed the same bytes, only their checksums are compared, unless ``deep``. Returns what is wrong: each
    ``CheckProblem`` has a level ("error" or "warning"), the table, row_id and file that it is about, and what it is; an empty list if
    all is well.

    >>> import stemwright as sw
    >>> print(sw.check("no corpus")[0].level)
    error
    """
    from stemwright.manifests.catalog.tracks import songs_root
    from stemwright.manifests.disk.mirror import on_disk

    if songs is not None and not on_disk(songs).exists():
        raise CorpusError(f"{songs} does not exist; expected the folder of the corpus's songs, or the CSV file that lists them")
    return problems_of(Corpus(corpus), None if songs is None else songs_root(Path(songs)).absolute(), alone=False, deep=deep)


def report(corpus: Path | str, path: Path | str | None = None, *, players: int = PLAYERS, seed: int = 0, by: Sequence[str] = ()) -> Path:
    """Writes one HTML page about a corpus: numbers, distributions, what was refused, and pairs to listen to. Returns its path.

    ``path`` is the file to write, ``CORPUS/report.html`` by default. ``players`` pairs, drawn with ``seed``, can be listened to; 0 makes
    a page without audio. Songs are compared by year and genre, where these are known, and by the columns in ``by``. The page needs no
    network. Raises ``CorpusError`` (a ValueError) if the folder is no corpus.

    >>> import numpy, stemwright as sw
    >>> for name in ("mixture", "vocals"):
    ...     _ = sw.save(f"songs/one/{name}.wav", numpy.random.default_rng(0).normal(0, 0.1, (2, 66_150)), 44_100)
    >>> config = {"songs": {"kind": "multitracks"}, "pairs": {"duration_s": 1.0, "mix": {"per_track": 1}, "removal": {"per_track": 0}}}
    >>> made = sw.build("songs", "corpus", config)
    >>> sw.report(made.corpus, "report.html", players=0).name
    'report.html'
    """
    out, _ = write_report(Corpus(corpus), None if path is None else Path(path), num_players=players, seed=seed, by=by)
    return out


def _configured(place: Corpus, config: Config | Mapping[str, Any] | Path | str | None, songs: Path) -> Config:
    """The configuration to run with: what the corpus keeps, else the defaults, with what the caller names."""
    file = Path(config) if isinstance(config, str | Path) else None
    if isinstance(config, Config):  # whole, as it is: the folder that it has by default names no songs
        values = plain(config)
        values.get("songs", {}).pop("folder", None)
    else:
        values = dict(config) if isinstance(config, Mapping) else {}
    return songs_config(place, songs, file=file, values=values)
