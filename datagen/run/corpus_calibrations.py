"""The calibrations of a corpus: files that it carries, which of its tracks each is for, and those of the user that it takes up.

Conventions
    Whether stems are those of a calibration's separator is seen by their cache key: it is over the track and the identity of the
    separator, which the calibration states. So stems of other weights under the same name are never taken for its.
    A corpus on another machine uses its own files only: nothing here depends on whose cache is there, once they are taken up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages.separation_keys import separation_key
from stemwright.manifests.records import Stem, Track
from stemwright.separation.balance.basis import REFERENCE_ORIGIN, model_of
from stemwright.separation.balance.kept_calibrations import KeptCalibration, keep, kept_calibrations, place_of_calibrations
from stemwright.separation.balance.level_estimators import Calibration

PRECISIONS = ("auto", "fp32", "bf16")  # of the stems: a calibration is for all


def of_corpus(corpus: Corpus) -> CorpusCalibrations:
    """The calibrations that a corpus carries."""
    return CorpusCalibrations(kept_calibrations(place_of_calibrations(corpus.folder)))


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


def take_up(corpus: Corpus, rows: Iterable[tuple[Track, Stem]]) -> list[KeptCalibration]:
    """Copies those of the user's calibrations into a corpus that are for its stems, by one stem of each track; an earlier one of the same
    separator that the corpus has stays. Returns those that were copied."""
    place = place_of_calibrations(corpus.folder)
    own = {each.key for each in kept_calibrations(place)}
    left = [each for each in kept_calibrations(place_of_calibrations()) if each.key not in own]
    taken: list[KeptCalibration] = []
    for track, stem in rows if left else ():
        for each in [each for each in left if CorpusCalibrations([each]).of_track(track, stem)]:
            keep(each, place)
            taken.append(each)
            left.remove(each)
        if not left:
            break
    return taken
