"""What verbs and scripts share before and after stages run: the configuration to run with, and what is kept if it fails.

The stages of a build are ``stemwright.datagen.run.stages.build_stages``.

Conventions
    Raises errors and prints nothing. The lock is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stemwright.datagen.run.config_changes import changed
from stemwright.datagen.run.configuration import Config, ConfigError, read_values
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.stages.reseparation import count_to_separate_again, reason_to_separate_again
from stemwright.datagen.run.stages.separator_order import SeparationOrder
from stemwright.datagen.run.tasks import StoppedError, UnsuitedError, Workers
from stemwright.manifests.disk.bulk import bulk_of
from stemwright.manifests.disk.durable import is_full, sentence
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.disk.stores import address_of, is_address
from stemwright.manifests.wording import counted
from stemwright.separation.separator import is_other


def check_model(name: str, model_folder: Path | str | None) -> None:
    """Raises ConfigError if a model's name is nearly that of a known one: nothing is downloaded, or searched for, because of a typo."""
    from stemwright.separation.demucs.checkpoints import nearly_known

    if (meant := nearly_known(name, model_folder=model_folder)) is not None:
        raise ConfigError(f"there is no model {name!r}; did you mean {meant!r}? `stemwright models` lists them")


def requested_config(
    corpus: Corpus,
    *,
    file: Path | None = None,
    values: Mapping[str, Any] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    reset: Sequence[str] = (),
) -> Config:
    """The configuration to run with: what the corpus keeps, else the defaults, with what a caller asks to change (see ``changed``).

    Raises ConfigError, also for other songs in ``file`` or ``values`` than in ``options``, for a model's name that is nearly known, and for
    a calibration that is missing.
    """
    there = corpus.config_path.exists()
    kept = corpus.config if there else Config()
    folder = (options or {}).get("songs", {}).get("folder")
    named = (read_values(file) if file else values or {}).get("songs", {})
    if folder and isinstance(named, Mapping) and "folder" in named and _placed(str(named["folder"])) != folder:
        where = file or "the configuration"
        raise ConfigError(f"{where} names the songs {named['folder']}, but the songs given are {folder}; remove one of them")
    config = changed(kept, file=file, values=values, options=options, reset=reset)
    now, before = config.separation, kept.separation
    if not is_other(now.separator) and (not there or (now.model, now.model_folder) != (before.model, before.model_folder)):
        check_model(now.model, now.model_folder)
    calibration = config.estimate.calibration
    if calibration is not None and (not there or (now, calibration) != (before, kept.estimate.calibration)):
        from stemwright.datagen.run.corpus_calibrations import check_named  # imports the meter, which few verbs need

        check_named(corpus, config)
    drums = now.drums
    if drums.model is not None and drums.separator is None and drums != before.drums:
        check_model(drums.model, drums.model_folder)
    return config


def _placed(songs: Path | str) -> str:
    """The place of songs as a configuration keeps it: an absolute path, or an address."""
    return str(address_of(songs)) if is_address(songs) else str(Path(songs).resolve())


def songs_config(
    corpus: Corpus,
    songs: Path,
    *,
    file: Path | None = None,
    values: Mapping[str, Any] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    reset: Sequence[str] = (),
) -> Config:
    """As ``requested_config``, of songs: a folder, a CSV file or an address. Raises CorpusError if the places do not fit."""
    if not is_address(songs) and not songs.exists():
        raise CorpusError(
            f"{songs} does not exist; expected a folder of songs or a CSV file, or the address of a store (s3://BUCKET/SONGS)"
        )
    options = options or {}
    options = {**options, "songs": {**options.get("songs", {}), "folder": _placed(songs)}}
    config = requested_config(corpus, file=file, values=values, options=options, reset=reset)
    corpus.check_free(config)
    return config


def separated_again(corpus: Corpus, order: SeparationOrder, workers: Workers | None = None) -> str:
    """A sentence on what would be separated again, and why; empty if nothing is."""
    if not corpus.config_path.exists():
        return ""
    if count := count_to_separate_again(corpus, order, workers):
        return f"{reason_to_separate_again(corpus, corpus.config, order.config)}: {counted(count, 'track')} would be separated again"
    return ""


@contextmanager
def keeping(corpus: Corpus, config: Config) -> Iterator[None]:
    """Stores a configuration in the corpus; if it cannot be used, the earlier one is restored.

    Raises StoppedError where the disk is full.
    """
    before = regular(corpus.config_path).read_bytes() if corpus.config_path.exists() else None
    corpus.create(config)
    try:
        if (bulk := bulk_of(corpus.folder)) is not None:
            bulk.claim(corpus.folder)
        if config.estimate.calibration is not None:
            from stemwright.datagen.run.corpus_calibrations import copy_named  # imports the meter, which few verbs need

            copy_named(corpus)
        yield
    except Exception as error:
        if isinstance(error, StoppedError) and not isinstance(error, UnsuitedError):
            raise
        if isinstance(error, OSError) and is_full(error):  # no fault of the configuration, and no room to put another back
            raise StoppedError(sentence(error, "what was finished is kept")) from error
        corpus.restore(before)
        raise
