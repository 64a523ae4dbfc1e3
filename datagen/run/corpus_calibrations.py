"""The calibration of a corpus: its configuration names it, and the corpus contains it.

The key ``estimate.calibration`` names it, by its id or its file; nothing is ever taken from a user's cache that is not named. So one
configuration gives the same rows on every machine, or an error that says what is missing. The first estimate copies what is named into
the corpus, and writes its id into the configuration in place of a path: from then on the corpus needs nothing else, on any machine, and a
later file of the same name changes nothing. A corpus without the key uses the calibrations in its folder. A new one has none there;
earlier versions copied those of the cache, and such corpora keep their rows.

Conventions
    Whether stems are those of a calibration's separator is seen by their cache key: it is over the track and the identity of the
    separator, which the calibration states. So stems of other weights under the same name are never taken for its.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stemwright.datagen.run.configuration import Config, ConfigError
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.stages.separation_keys import separation_key
from stemwright.manifests.records import Stem, Track
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.basis import REFERENCE_ORIGIN, model_of
from stemwright.separation.balance.calibration_names import NONE, is_file
from stemwright.separation.balance.kept_calibrations import (
    KeptCalibration,
    damage,
    damaged_in,
    keep,
    kept_calibrations,
    named_calibration,
    place_of_calibrations,
    to_another,
)
from stemwright.separation.balance.level_estimators import Calibration
from stemwright.separation.separator import is_other

KEY = "estimate.calibration"
PRECISIONS = ("auto", "fp32", "bf16")  # of the stems: a calibration is for all
Rows = Callable[[], Iterable[tuple[Track, Stem]]]  # gives one stem of each track


def of_corpus(corpus: Corpus) -> CorpusCalibrations:
    """The calibrations for the levels of a corpus. Raises CorpusError where its configuration names one that is not on this machine."""
    if corpus.config.estimate.calibration is None:
        return CorpusCalibrations(carried_by(corpus))
    found = named(corpus, corpus.config)
    return CorpusCalibrations([] if found is None else [found])


def carried_by(corpus: Corpus) -> list[KeptCalibration]:
    """The calibrations in the folder of a corpus. Raises CorpusError where one cannot be read: without it levels would change."""
    place = place_of_calibrations(corpus.folder)
    if found := damaged_in(place):
        raise CorpusError(f"{damage(found[0])}. Without it levels would change; for generic ones: {KEY} = {NONE!r}")
    return kept_calibrations(place)


def named(corpus: Corpus, config: Config) -> KeptCalibration | None:
    """The calibration that a configuration names: in the corpus, else in the user's cache. None where it names none. Raises CorpusError."""
    name = config.estimate.calibration
    if name in (None, NONE):
        return None
    carried_by(corpus)
    try:
        return named_calibration(str(name), [place_of_calibrations(corpus.folder), place_of_calibrations()])
    except UsageError as error:
        raise CorpusError(f"{KEY}: {error}. Without calibration: {KEY} = {NONE!r}") from error


def check_named(corpus: Corpus, config: Config) -> None:
    """Raises UsageError, before anything is separated, where a configuration names a calibration that is missing or to another model."""
    found = named(corpus, config)
    if found is not None:
        check_separates(config, found.origin, found.id)


def check_separates(config: Config, origin: str, calibration: str) -> None:
    """Raises ConfigError where a calibration is to another model than Demucs is to run for a configuration."""
    asked = config.separation
    if not is_other(asked.separator) and asked.separator != "reference" and model_of(origin) != asked.model:
        raise ConfigError(f"{KEY}: {calibration} is {to_another(origin, asked.model)}")


def copy_named(corpus: Corpus) -> None:
    """Copies the calibration that the configuration names into a new corpus, before hours of separation in which the user may replace or
    remove their own. Where levels were estimated, the estimate does it. Raises CorpusError, as ``named``."""
    found = named(corpus, corpus.config)
    if found is not None and not corpus.table("estimates").exists():
        keep(found, place_of_calibrations(corpus.folder))


class CorpusCalibrations:
    """Some calibrations, and which of them the stems of a track are to be estimated by."""

    def __init__(self, found: Sequence[KeptCalibration]) -> None:
        self._found = [(model_of(each.origin), _identities(each.identity), each.usable) for each in found]

    def __bool__(self) -> bool:
        return bool(self._found)

    def of_track(self, track: Track, stem: Stem) -> Calibration | None:
        """The calibration to the separator that made a stem of a track; None if there is none."""
        if stem.origin == REFERENCE_ORIGIN:
            return None
        for model, identities, calibration in self._found:
            if model == model_of(stem.origin) and any(separation_key(track, identity) == stem.cache_key for identity in identities):
                return calibration
        return None


def _identities(identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the separator of a calibration may have been when it separated: at any precision."""
    return [{**identity, "precision": each} for each in PRECISIONS] if "precision" in identity else [dict(identity)]


def settle(corpus: Corpus, rows: Rows, *, alone: bool) -> tuple[str, ...]:
    """Copies the calibration that the configuration names into the corpus, and checks that it is to the separator of all separated stems.

    ``alone``: no other share of the corpus is at work; a path in the configuration is then replaced by the id. Returns notes for the user.
    Raises CorpusError.
    """
    found = named(corpus, corpus.config)
    if found is None:
        return _unused(corpus, rows) if corpus.config.estimate.calibration is None else ()
    fits = CorpusCalibrations([found])
    others = [stem.origin for track, stem in rows() if stem.origin != REFERENCE_ORIGIN and fits.of_track(track, stem) is None]
    if others:
        raise CorpusError(f"{KEY}: {found.id} is {to_another(found.origin, others[0])} ({len(others):,} tracks)")
    place = place_of_calibrations(corpus.folder)
    carried = found.id in [each.id for each in carried_by(corpus)]
    if not carried:
        keep(found, place)
    if alone and is_file(str(corpus.config.estimate.calibration)):
        corpus.create(with_calibration(corpus.config, found))
    if carried and corpus.table("estimates").exists():
        return ()
    return (f"levels use the calibration {found.id} to {model_of(found.origin)}, which was copied into the corpus",)


def _unused(corpus: Corpus, rows: Rows) -> tuple[str, ...]:
    """Notes on calibrations of the user that fit the stems of a corpus which names none; by its first separated track."""
    carried = {each.key for each in carried_by(corpus)}
    own = [each for each in kept_calibrations(place_of_calibrations()) if each.key not in carried]
    first = next((row for row in rows() if row[1].origin != REFERENCE_ORIGIN), None) if own else None
    fitting = [each for each in own if first and CorpusCalibrations([each]).of_track(*first)]
    return tuple(
        f"levels have generic ranges; for your calibration to {model_of(each.origin)}: --calibration {each.id}, or {KEY} of a configuration"
        for each in fitting
    )


def with_calibration(config: Config, found: KeptCalibration) -> Config:
    """A configuration that names a calibration by its id."""
    return config.model_copy(update={"estimate": config.estimate.model_copy(update={"calibration": found.id})})


def carry(corpus: Corpus, found: KeptCalibration) -> str:
    """Copies a calibration into a corpus and names it in the configuration: the next estimate uses it. Returns its file."""
    with corpus.locked():
        path = keep(found, place_of_calibrations(corpus.folder))
        corpus.create(with_calibration(corpus.config, found))
    return str(path)
