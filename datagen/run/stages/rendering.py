"""The stage ``render``: pairs -> the dataset and its examples, with what is drawn again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from stemwright.datagen.dataset.writers import WRITERS, DatasetWriter, writer_of
from stemwright.datagen.dataset.writers.base import PresentFiles
from stemwright.datagen.dataset.writers.kinds import columns_of
from stemwright.datagen.dataset.writers.stale_files import forget_started, has_unfinished
from stemwright.datagen.pairs.audibility import ALIKE, check_audible
from stemwright.datagen.pairs.render import Rendered, Sources, render
from stemwright.datagen.pairs.rights import RightsOfPairs, renders_everything
from stemwright.datagen.run import rates
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.runner import Outcome, Stage, spread
from stemwright.datagen.run.runner import run as run_tasks
from stemwright.datagen.run.stages.redrawing import Redraws, is_final, is_to_be_redrawn, unreplaced
from stemwright.datagen.run.stages.summary import Summary, finished, of_share
from stemwright.datagen.run.stages.writing_pairs import writing_pairs
from stemwright.datagen.run.tasks import Share, StoppedError, Task, Workers
from stemwright.manifests import __version__, shards, table
from stemwright.manifests.disk.deletion import check_way, foreign_files
from stemwright.manifests.id_numbers import Ids
from stemwright.manifests.joined_rows import ById, JoinedRows, SelectedRows
from stemwright.manifests.pair_columns import sources_of_pairs
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import AudioFile, Record, Rejected, Stem, Track, content_id
from stemwright.manifests.sound import writing
from stemwright.manifests.spooled_rows import SpooledRows
from stemwright.manifests.spooled_sounds import has_spool
from stemwright.manifests.table_rows import TableRows
from stemwright.manifests.wording import counted


def run_render(corpus: Corpus, workers: Workers, on_progress: OnProgress | None = None) -> Summary:
    """Renders every pair into the dataset. If it is complete already, the pairs are not even read."""
    config, workers = corpus.config, workers.seeing(corpus.folder)
    recipes_only, note = unrendered(corpus)
    made_from = content_id(
        {
            "dataset": config.dataset.model_dump(mode="json"),
            "rights": config.rights.model_dump(mode="json"),
            "tables": {name: corpus.digest(name) for name in ("tracks", "stems", "pairs")},  # labels and card repeat what they say
            "beats": table.digest(corpus.table("track_estimates")),
            "planned_from": table.made_from(corpus.table("pairs")),  # what is drawn again is drawn from the same
            "version": __version__,
            **({"parts": corpus.digest("parts")} if corpus.table("parts").exists() else {}),
            **({"packages": found} if (found := WRITERS.packages([config.dataset.format])) else {}),
        }
    )
    share = workers.share
    if (count := _count_if_complete(corpus, made_from, recipes_only)) is not None:
        refused = [row for row in corpus.rejected() if row.stage == "render"]
        return Summary("render", 0, count, len(unreplaced(refused)), note + _of_redraws(refused))
    planned = JoinedRows(corpus.table_rows("pairs", Pair))
    rendered = np.array([pair_id not in recipes_only for pair_id in corpus.ids("pairs")], np.bool_)
    pairs: Sequence[Pair] = SelectedRows(planned, rendered) if recipes_only else planned
    if share is None:  # otherwise other shares are at work
        writing.remove_leftovers(corpus.dataset.resolve())  # which may be a link to another disk
    writer = writer_of(config.dataset, config.encoding, partial(corpus.rows, "tracks", Track))
    present = PresentFiles(corpus.folder)
    speed = "" if workers.dask else rates.of_stage("render", workers.jobs)
    stage = Stage("render", corpus.folder, "examples", Example, speed, share)
    outcome, redraws = Outcome(), Redraws(corpus, config)
    _check_folders(corpus.dataset, pairs)
    tracks, stems = ById(JoinedRows(corpus.table_rows("tracks", Track))), ById(corpus.source_rows())
    tasks = PairTasks(writer, pairs, tracks, stems)
    drawn = pairs
    if share is not None:
        with writing_pairs(corpus.folder, writer, _signals, workers) as work:
            outcome = run_tasks(stage, tasks.of_share(share), work, on_progress, present)
        again, outcome.rejected = len(outcome.rejected), [row for row in outcome.rejected if not is_to_be_redrawn(row)]
        again -= len(outcome.rejected)
        note += (f"{counted(again, 'pair is', 'pairs are')} to be drawn again, by the command without --share",) if again else ()
        return of_share(share, "render", [outcome], note)
    with SpooledRows(corpus.folder, Example) as examples:
        with writing_pairs(corpus.folder, writer, _signals, workers) as work:
            while len(drawn):
                done = run_tasks(stage, tasks.of(drawn), work, on_progress, present)
                outcome.done, outcome.skipped = outcome.done + done.done, outcome.skipped + done.skipped
                examples.extend(done.rows)
                for pair_id, track_id in columns_of(drawn, "id", "track_id"):
                    if pair_id in done.fresh:
                        outcome.fresh.add(track_id)
                drawn = redraws.next_round(drawn, done.rejected)
        outcome.rejected, outcome.rows = redraws.rejected, examples
        if len(pairs) and not len(examples):
            raise StoppedError(f"none of {counted(len(pairs), 'pair')} could be rendered: {outcome.rejected[0].reason}")
        redraws.finish()
        drawn = JoinedRows(*planned.tables, *((corpus.table_rows("redraws", Pair),) if redraws.rows else ()))
        removed = writer.finish(corpus.folder, drawn, examples, made_from=made_from, spread=spread(workers))
        notes = (*note, *((_removed(removed),) if removed else ()))
        notes += _of_redraws(outcome.rejected) + _of_others(corpus.dataset, examples)
        summary = finished(corpus, stage, outcome, made_from=made_from, notes=notes)
        forget_started(corpus.folder)
        return replace(summary, rejected=len(unreplaced(outcome.rejected)))


def _removed(count: int) -> str:
    planned = "of examples that are no longer planned"
    return counted(count, f"file {planned} was removed", f"files {planned} were removed")


def _check_folders(dataset: Path, pairs: Sequence[Pair]) -> None:
    """Raises Refused if a folder that the examples go into is a link: before the work, not once for each of them."""
    for split, kind in sorted(set(columns_of(pairs, "split", "kind"))):
        check_way(dataset, dataset / split / kind / "pair")
        check_way(dataset, dataset / kind / "shard")


def _of_others(dataset: Path, examples: Sequence[Example]) -> tuple[str, ...]:
    """Notes about files in the dataset folder that stemwright did not make."""
    sounds = (shards.in_dataset(file.audio.path) for example in examples for file in example.signals)
    others = sorted(foreign_files(dataset, shards.DatasetFiles(sounds, shards.read(dataset))))
    where, whose = f"in {dataset.name}/", "not from stemwright and"
    one, many = f"file or link {where} is {whose} is left as it is", f"files or links {where} are {whose} are left as they are"
    return (f"{counted(len(others), one, many)}; the first is {others[0]}",) if others else ()


def unrendered(corpus: Corpus) -> tuple[frozenset[str], tuple[str, ...]]:
    """The ids of the pairs that the policy of a corpus keeps from being rendered, and a note that counts them, if there are any."""
    policy = corpus.config.rights
    if renders_everything(policy) or not corpus.table("pairs").exists():
        return frozenset(), ()
    uses = RightsOfPairs(policy, corpus.table_rows("tracks", Track), corpus.source_rows())
    pairs = sources_of_pairs(corpus.table_rows("pairs", Pair))
    recipes_only = frozenset(pair_id for pair_id, track_id, _, sources in pairs if uses.of(track_id, sources) != "render")
    note = f"{counted(len(recipes_only), 'pair is', 'pairs are')} written as recipes only because of [rights]; their audio is not rendered"
    return recipes_only, (note,) if recipes_only else ()


def _of_redraws(rejected: Sequence[Rejected]) -> tuple[str, ...]:
    """Notes about pairs that were replaced by others: nothing is missing, so they are not counted as rejected."""
    replaced = [row for row in rejected if row.replaced_by is not None]
    alike = sum(row.reason.startswith(ALIKE) for row in replaced)
    phrase = (
        (alike, "whose wet and dry sounded alike"),
        (len(replaced) - alike, "that named something inaudible"),
    )
    return tuple(
        f"{counted(count, f'pair {which} was', f'pairs {which} were')} drawn again; rejected.parquet says which"
        for count, which in phrase
        if count
    )


def _count_if_complete(corpus: Corpus, made_from: str, recipes_only: frozenset[str]) -> int | None:
    """How many examples are finished, if they are all that was planned, every file is there, and no killed process left a journal."""
    if has_unfinished(corpus.folder) or table.journals(corpus.journal("examples")):
        return None  # a killed process may have left files that no table names
    if (corpus.dataset / shards.JOURNAL).exists() or has_spool(corpus.dataset):
        return None
    tables = (corpus.table("examples"), corpus.dataset / "examples.parquet")
    if any(table.made_from(path) != made_from for path in tables) or not (corpus.dataset / table.CARD_FILE).exists():
        return None
    refused = [row for row in corpus.rejected() if row.stage == "render"]
    if not all(is_final(row) for row in refused):
        return None  # what failed for another reason is tried again
    examples = corpus.table_rows("examples", Example)
    planned = _ids(corpus.table("pairs"), Pair)
    known = np.union1d(planned, _ids(corpus.table("redraws"), Pair))
    decided = np.union1d(_ids(corpus.table("examples"), Example, "pair_id"), _numbers(row.row_id for row in refused))
    if not np.isin(decided, known).all() or not np.isin(planned, np.union1d(decided, _numbers(recipes_only))).all():
        return None
    present = PresentFiles(corpus.folder)
    return len(examples) if all(map(present, examples.batches())) else None


def _ids(path: Path, record_type: type[Record], column: str = "id") -> Ids:
    """A column of ids of a table, as numbers; none if it does not exist."""
    return (JoinedRows(TableRows(path, record_type)) if path.exists() else JoinedRows[Any]()).ids(column)


def _numbers(ids: Iterable[str]) -> Ids:
    return np.fromiter((int(each, 16) for each in ids), np.uint64)


class PairTasks(Sequence[Task]):
    """One task of rendering for each pair, made when it is used; its payload is the pair and the files of its sources."""

    def __init__(self, writer: DatasetWriter, pairs: Sequence[Pair], tracks: Mapping[str, Track], stems: Mapping[str, Stem]) -> None:
        self._writer, self._pairs, self._tracks, self._stems = writer, pairs, tracks, stems
        self._numbers = range(len(pairs))

    def of(self, pairs: Sequence[Pair]) -> PairTasks:
        """The tasks of other pairs."""
        return PairTasks(self._writer, pairs, self._tracks, self._stems)

    def of_share(self, share: Share) -> PairTasks:
        """The tasks of a share."""
        some = self.of(self._pairs)
        some._numbers = self._numbers[share.tasks]
        return some

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Task]:
        numbers = self._numbers
        return map(self._task, islice(self._pairs, numbers.start, numbers.stop, numbers.step))

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return [self._task(self._pairs[number]) for number in self._numbers[index]]
        return self._task(self._pairs[self._numbers[index]])

    def _task(self, pair: Pair) -> Task:
        subject = f"{pair.kind} {pair.id} of {self._tracks[pair.track_id].audio.path}"
        wanted = {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}
        files = {source_id: self._stems[source_id].audio for source_id in wanted if source_id in self._stems}
        return Task(self._writer.cache_key(pair), subject, pair.id, (pair, files), pair.num_frames / pair.sample_rate)


def _signals(corpus: Path, pair: Pair, files: dict[str, AudioFile]) -> Rendered:
    """What is written for a pair. Raises Refused where what it is about cannot be heard."""
    signals = render(pair, Sources(corpus, files))
    check_audible(pair, signals)
    return signals
