"""A corpus that lives: songs and settings that change at random, a separator without networks, and death at any change of the file system.

Conventions
    Songs are short, at 8 kHz: a build takes a fraction of a second, all in this process.
    ``Killed`` is no Exception: nothing but the kernel sees a process die. Once it was raised, every further change of the file system
    raises it again, so that what a ``finally`` would tidy up stays as a dead process leaves it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
from conftest import STEM_NAMES, make_song

from stemwright.datagen.run import configuration
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_catalog, run_estimate, run_plan, run_render, run_separate, separator_order
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.records import Part, Refused, Stem
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.formats import Audio
from stemwright.separation.jobs import Job
from stemwright.separation.separator import Used
from stemwright.separation.stem_files import SeparatedFile, StemFolder

RATE = 8_000
DURATION_S = 1.3
BUILD = (run_catalog, run_separate, run_estimate, run_plan, run_render)


class Killed(BaseException):
    """The process died here."""


class FilterSeparator:
    """A separator that needs no weights: each stem is a share of the mixture, delayed by so many samples. ``count`` says how many tracks
    any of them has separated.
    """

    MODELS: ClassVar[dict[str, tuple[float, ...]]] = {
        "one": (0.3, 0.25, 0.2, 0.15),
        "two": (0.1, 0.2, 0.3, 0.35),
        "kit": (0.4, 0.2, 0.1, 0.25),
        "kick and snare": (0.5, 0.4),
        "too loud": (2.0, 1.9),
    }
    NAMES: ClassVar[dict[str, tuple[str, ...]]] = {
        "kit": ("kick", "snare", "toms", "cymbals"),
        "kick and snare": ("kick", "snare"),
        "too loud": ("kick", "snare"),
    }
    count = 0

    def __init__(self, model: str, *asked: Any, **options: Any) -> None:
        self.model, self.gains, self.stem_names = model, self.MODELS[model], self.NAMES.get(model, STEM_NAMES)
        _, _, self.precision, _ = asked
        self.options = options

    @property
    def identity(self) -> dict[str, Any]:
        return {"weights": {self.model: self.gains}, "precision": self.precision, "input_lufs": self.options["input_lufs"]}

    @property
    def origin(self) -> str:
        return f"{self.model}@filter"

    used = Used("filter", "fp32", "cpu")
    sample_rate = None

    def separate(self, mixture: Audio, sample_rate: int) -> dict[str, Audio]:
        del sample_rate
        return {
            name: np.roll(mixture, number, axis=1) * np.float32(gain)
            for number, (name, gain) in enumerate(zip(self.stem_names, self.gains, strict=True))
        }

    def separate_files(self, jobs: Iterable[Job], on_share: object = None) -> Iterator[tuple[Job, SeparatedFile | Refused]]:
        del on_share
        for job in jobs:
            type(self).count += 1
            mixture, sample_rate = load(job.path, stream=job.stream)
            folder = StemFolder(job.out_folder, self.stem_names, sample_rate, len(mixture))
            folder.mixture.append(mixture)
            folder.add(np.stack(list(self.separate(mixture, sample_rate).values())))
            separated = folder.finish()
            folder.close()
            yield job, separated


@contextmanager
def stub_separator() -> Iterator[type[FilterSeparator]]:
    """Puts the separator without networks in the place of Demucs."""
    before = separator_order.DemucsSeparator
    separator_order.DemucsSeparator = FilterSeparator  # type: ignore[misc, assignment]
    FilterSeparator.count = 0
    try:
        yield FilterSeparator
    finally:
        separator_order.DemucsSeparator = before  # type: ignore[misc]


@cache
def song_parts(seed: int, num_channels: int = 2) -> dict[str, np.ndarray]:
    return make_song(seed, DURATION_S, sample_rate=RATE, num_channels=num_channels)


def write_song(path: Path, seed: int, tags: dict[str, str]) -> None:
    """Writes a song's mixture; the odd ones are mono, those from 3 on are shorter. The same arguments give the same bytes."""
    write_sound(path, song_parts(seed, 1 + seed % 2)["mixture"][:, : RATE * 9 // 10 if seed >= 3 else None], tags)


def write_multitrack(folder: Path, seed: int) -> None:
    for name, part in song_parts(seed).items():
        write_sound(folder / f"{name}.wav", part, {})


def write_sound(path: Path, audio: np.ndarray, tags: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", samplerate=RATE, channels=len(audio), subtype="PCM_24") as file:
        for name, text in tags.items():
            setattr(file, name, text)
        file.write(audio.T)


def build(folder: Path, values: dict[str, Any], *, limit: int | None = None) -> None:
    """All stages, as the command runs them one after another, but for the check."""
    corpus, workers = Corpus(folder), Workers()
    config = configuration.check(values, where="the test")
    corpus.check_free(config)
    with corpus.locked():
        before = corpus.config_path.read_bytes() if corpus.config_path.exists() else None
        corpus.create(config)
        try:
            for stage in BUILD:
                options = {"limit": limit} if stage is run_catalog else {}
                stage(corpus) if stage in (run_separate, run_plan) else stage(corpus, workers, **options)
        except Exception:
            corpus.restore(before)
            raise


def contents(folder: Path) -> dict[str, bytes]:
    """What must not depend on how a corpus got to be what it is: tables and card, everything below dataset/, the stems of the table."""
    tables = [*folder.glob("*.parquet"), *folder.glob("*.md"), *folder.glob("*.part")]
    dataset = [path for path in (folder / "dataset").rglob("*") if path.is_file()]
    stems = [folder / row.audio.path for row in table.read(folder / "stems.parquet", Stem)]
    if (folder / "parts.parquet").exists():
        stems += [folder / row.audio.path for row in table.read(folder / "parts.parquet", Part)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted({*tables, *dataset, *stems})}


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of files that only one of two has, or that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


CHANGES = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "fsync")


class Death:
    """Counts changes of the file system below a folder, and dies at one of them, and at all after it."""

    def __init__(self, folder: Path, at: int) -> None:
        self.folder, self.at, self.count = str(folder), at, 0

    def step(self, path: object) -> None:
        if isinstance(path, str | os.PathLike) and not str(path).startswith(self.folder) and Path(str(path)).is_absolute():
            return
        self.count += 1
        if self.count > self.at:
            raise Killed(f"before change {self.count}")


@contextmanager
def dying(folder: Path, at: int) -> Iterator[Death]:
    """Dies before the change of the file system that has the number ``at`` (from 0); yields what counts them."""
    death = Death(folder, at)
    kept = {name: getattr(os, name) for name in CHANGES}

    def wrapped(name: str) -> Callable[..., Any]:
        def change(path: Any, *rest: Any, **options: Any) -> Any:
            death.step(path)
            return kept[name](path, *rest, **options)

        return change

    append = table.Journal.append

    def appended(journal: table.Journal, *rest: Any, **options: Any) -> None:
        death.step(journal.path)
        append(journal, *rest, **options)

    for name in CHANGES:
        setattr(os, name, wrapped(name))
    table.Journal.append = appended  # type: ignore[method-assign]
    try:
        yield death
    finally:
        for name, function in kept.items():
            setattr(os, name, function)
        table.Journal.append = append  # type: ignore[method-assign]


def changes_of(action: Callable[[], None], folder: Path) -> int:
    """How many changes of the file system an action makes."""
    with dying(folder, 1 << 60) as death:
        action()
    return death.count


def shuffled(items: Iterable[Any], seed: int) -> list[Any]:
    """The items in another order."""
    found = list(items)
    random.Random(seed).shuffle(found)
    return found
