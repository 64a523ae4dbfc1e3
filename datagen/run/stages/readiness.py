"""Whether this machine can separate as a configuration asks, before any song is read: cataloguing thousands of songs takes an hour, and
a misspelt model or a missing file should not wait for the end of it.

Conventions
    Weights are looked for, fetched if they may be, and compared with their checksums; the network itself is loaded by the stage.
    Songs that are multitracks, where their own stems are taken, need no model, so none is checked. Where only some are, missing weights
    are a note and not an error: the files without stems of their own may not be songs.
    A device or an engine that this machine lacks is an error only where songs are left to separate: a corpus whose stems were made on a
    machine with a GPU is continued on any other. Which songs have their stems is known by their paths, before they are read; one whose file
    was changed under its name is noticed when it is to be separated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages.cataloguing import found_songs
from stemwright.datagen.run.stages.separating import finished_keys, tasks_of
from stemwright.datagen.run.stages.separating_parts import parts_are_left
from stemwright.datagen.run.stages.separation_work import Separation
from stemwright.datagen.run.stages.separator_order import SeparationOrder, check_orders, separator_for
from stemwright.datagen.run.tasks import Task, Workers
from stemwright.manifests.catalog.candidates import Candidate
from stemwright.manifests.usage import UsageError
from stemwright.separation.demucs.separator import DemucsSeparator
from stemwright.separation.demucs.weights import ModelError, WeightsUnavailable
from stemwright.separation.part_separator import PartSeparator
from stemwright.separation.separator import Separator


def check_separator(corpus: Corpus, order: SeparationOrder, workers: Workers | None = None) -> str:
    """Raises ModelError, or UsageError for a device that is none, if songs of the songs folder are to be separated and this machine cannot
    do it; StoppedError if the workers of a cluster cannot.

    Returns a warning where weights are missing that may not be needed, else "".
    """
    config, workers = order.config, workers or Workers()
    corpus = corpus.given(config)
    mixtures = _mixtures(config)
    if mixtures:
        separator = separator_for(order, workers)
        try:
            _check(separator, lambda: _are_left(corpus, separator, config, mixtures))
        except WeightsUnavailable as error:
            if config.separation.separator != "auto" or not any(song.references for song in found_songs(config).candidates):
                raise
            return f"songs that are no multitracks cannot be separated on this machine: {error}"
    _check_parts(corpus, order, workers, separator if mixtures else None)
    return ""


def _check_parts(corpus: Corpus, order: SeparationOrder, workers: Workers, first: Any) -> None:
    """Raises ModelError or UsageError if the drums are to be taken apart and cannot be; ``first`` is the first separator, if any."""
    parts = order.of_parts()
    if parts is None:
        return
    if first is not None:
        check_orders(order, first, workers)
    further = separator_for(parts, workers)
    if isinstance(further, PartSeparator):
        _ = further.stem_names  # raises an error where they cannot be those of parts
        try:
            further.check()
        except WeightsUnavailable:
            raise
        except (ModelError, UsageError):
            if parts_are_left(corpus, further):
                raise


def check_separator_of_tracks(corpus: Corpus, order: SeparationOrder) -> None:
    """As ``check_separator``, of the tracks of a corpus instead of the songs in a folder: for a share, which has no catalog to make."""
    separator, corpus = order.separator(), corpus.given(order.config)
    _check_parts(corpus, order, Workers(), None)
    if any(_of_networks(corpus, separator, order.config)):
        _check(separator, lambda: _are_left(corpus, separator, order.config))


def _check(separator: Separator, are_left: Callable[[], bool]) -> None:
    """Raises ModelError or UsageError if the networks cannot be run here and songs are left for them."""
    if not isinstance(separator, DemucsSeparator):  # others were checked when they were created
        return
    try:
        separator.check()
    except WeightsUnavailable:
        raise
    except (ModelError, UsageError):
        if are_left():
            raise


def _mixtures(config: Config) -> list[Candidate]:
    """The songs that have to be separated: all that have no stems of their own, or all, as the configuration says."""
    if config.separation.separator == "reference":
        return []
    songs = found_songs(config).candidates
    return [song for song in songs if config.separation.separator != "auto" or not song.references]


def _of_networks(corpus: Corpus, separator: Separator, config: Config) -> Iterator[Task]:
    """The tasks of separating the tracks of a corpus that are not done by taking a track's own stems."""
    if config.separation.separator == "reference":
        return
    for task in tasks_of(corpus, separator, config):
        _, own = task.payload
        if own is None:
            yield task


def _are_left(corpus: Corpus, separator: Separator, config: Config, songs: list[Candidate] | None = None) -> bool:
    """Whether one of the songs, or without them of the tracks, has no stems yet that were made as the configuration says."""
    if not corpus.table("tracks").exists():
        return bool(songs)
    separation, finished = Separation(corpus, separator, config), finished_keys(corpus)
    tasks = {task.subject: task for task in _of_networks(corpus, separator, config)}
    wanted = tasks.values() if songs is None else [tasks.get(song.path) for song in songs]
    return any(task is None or (task.id not in finished and separation.kept(task) is None) for task in wanted)
