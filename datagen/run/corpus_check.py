"""Checking a corpus, or a self-contained dataset, while another process may be working on it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from stemwright.datagen.run.configuration import ConfigError
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.shares import LOCK, at_work
from stemwright.datagen.run.stages.rendering import unrendered
from stemwright.manifests.check import CheckProblem, check_corpus, check_dataset, check_meanwhile
from stemwright.manifests.check.proofs import Proofs
from stemwright.manifests.disk.locks import is_held
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.shards import DATASET


def problems_of(
    place: Corpus,
    songs: Path | None = None,
    *,
    on_progress: OnProgress | None = None,
    alone: bool = True,
    download: bool = False,
    deep: bool = False,
) -> list[CheckProblem]:
    """What is wrong. While another process works on the corpus, or starts to meanwhile, only what it does not touch is judged.

    ``songs`` is where the songs are, if not where the configuration says. ``alone`` says that the caller holds the corpus itself.
    ``download`` also compares the bytes of what is in a store; ``deep`` decodes and sums also the stems that an earlier check of this user
    summed, and whose bytes are the same.
    """
    if not place.config_path.exists():
        within = place.folder.parent
        busy = place.folder.name == DATASET and (within / "config.toml").exists() and _is_in_use(within)
        if busy:  # of a corpus, whose lock says so: judged with it
            return problems_of(Corpus(within), songs, on_progress=on_progress, alone=alone, deep=deep)
        return check_dataset(place.folder, download=download, progress=on_progress)
    unusable, recipes_only = [], frozenset[str]()
    try:
        songs = songs or place.songs
    except (ConfigError, OSError) as error:
        unusable = [CheckProblem(file=place.config_path.name, what=str(error))]
    if not unusable:
        with suppress(ValueError, OSError):  # a table that cannot be read: the check says so itself
            recipes_only, _ = unrendered(place)
    proofs = None if deep else Proofs.of_user()
    if alone or not _is_in_use(place.folder):
        found = check_corpus(place.folder, songs, unrendered=recipes_only, download=download, proofs=proofs, progress=on_progress)
        found = [*unusable, *found]
        if alone or not found or not _is_in_use(place.folder):
            return found
    return [*unusable, *check_meanwhile(place.folder, songs, proofs=proofs, progress=on_progress)]


def _is_in_use(corpus: Path) -> bool:
    """Whether a process works on a corpus, by itself or with a share of it."""
    return is_held(corpus / LOCK) or bool(at_work(corpus))
