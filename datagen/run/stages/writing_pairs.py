"""Doing the tasks of rendering: workers make the signals of pairs and write them, as files of their own or, where they are to be packed,
into the spool.

Conventions
    Before a file is written, its name is noted (``stale_files``). Of what goes into the spool its folder is noted instead: all in it goes
    when it has been packed.
    The places in the spool are journalled before the rows of the examples: an example whose places are lost is rendered again.
    Files of their own, of a format without shards, go before the same sound files are rendered into the spool: what is there under such
    a name is never older than what the spool has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from stemwright.datagen.dataset.writers import DatasetWriter
from stemwright.datagen.dataset.writers.base import DATASET, noting_places
from stemwright.datagen.dataset.writers.packing import ShardWriter
from stemwright.datagen.dataset.writers.stale_files import note_started
from stemwright.datagen.run.runner import shared
from stemwright.datagen.run.tasks import Begin, Do, Result, Share, Task, Workers
from stemwright.manifests import table
from stemwright.manifests.disk import deletion
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import AudioFile, Record
from stemwright.manifests.shards import in_dataset
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.spooled_sounds import SPOOL, SoundSpool, Spooled

Payload = tuple[Pair, dict[str, AudioFile]]
Make = Callable[[Path, Pair, dict[str, AudioFile]], Mapping[str, Audio]]  # (corpus, pair, files of its sources) -> its signals by name


@contextmanager
def writing_pairs(corpus: Path, writer: DatasetWriter, make: Make, workers: Workers) -> Iterator[Do]:
    """Gives what does tasks whose payloads are a pair and the files of its sources: their rows are examples."""
    share = workers.share
    if not isinstance(writer, ShardWriter):
        yield _noting(corpus, writer, shared(partial(_write, corpus, writer, make), workers), share)
        return
    spool = SoundSpool(corpus / DATASET)
    with ExitStack() as opened:
        journals: list[table.Journal] = []

        def journal() -> table.Journal:
            if not journals:  # a run that finds all there makes no spool
                journals.append(opened.enter_context(spool.journal(share.writer if share else "")))
            return journals[0]

        yield _spooling(corpus, writer, shared(partial(_spool, corpus, writer, make, spool), workers), journal, share)


def _noting(corpus: Path, writer: DatasetWriter, do: Do, share: Share | None) -> Do:
    """Work on pairs, with the names of what it will write noted before it begins."""

    def noted(tasks: Sequence[Task], begin: Begin) -> Iterator[Result]:
        paths = (in_dataset(path) for task in tasks for path in writer.paths(task.payload[0]).values())
        note_started(corpus, paths, share.writer if share else "")
        yield from do(tasks, begin)

    return noted


def _spooling(corpus: Path, writer: ShardWriter, do: Do, journal: Callable[[], table.Journal], share: Share | None) -> Do:
    """Work on pairs whose sound files go into the spool, with the places of each journalled before its row is given on."""

    def begun(task: Task, begin: Begin) -> None:
        begin(task)
        for path in writer.paths(task.payload[0]).values():
            if (corpus / path).exists():
                deletion.remove(corpus / DATASET, corpus / path)

    def spooled(tasks: Sequence[Task], begin: Begin) -> Iterator[Result]:
        if not len(tasks):
            return
        note_started(corpus, [SPOOL], share.writer if share else "")
        for result in do(tasks, partial(begun, begin=begin)):
            places = tuple(row for row in result.rows if isinstance(row, Spooled))
            if places:
                journal().append(result.task.id, places)
            yield replace(result, rows=tuple(row for row in result.rows if not isinstance(row, Spooled)))

    return spooled


def _write(corpus: Path, writer: DatasetWriter, make: Make, payload: Payload) -> Sequence[Record]:
    pair, files = payload
    with noting_places(corpus, writer.paths(pair).values()):
        return [writer.write(corpus, pair, make(corpus, pair, files))]


def _spool(corpus: Path, writer: ShardWriter, make: Make, spool: SoundSpool, payload: Payload) -> Sequence[Record]:
    pair, files = payload
    return writer.spool(corpus, pair, make(corpus, pair, files), spool)
