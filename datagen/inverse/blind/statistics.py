"""Statistics of the profile: further facts about a stem that another package, or a line here, adds to what is typical of its name.

    STATISTICS["brightness"](stem, sample_rate) -> a number, a sequence of numbers, or None where it is not defined

Conventions
    A stem is float32 [C, T], full scale 1.0, as its file has it. A statistic gives equally many numbers for every stem.
    The numbers are rows of the table ``statistics``, which is made with the profile and only where there is a statistic; our own features
    are columns of ``features``. A profile finds the table beside its own file, and ``Profile[name].typical("brightness")`` gives their
    middle and spread over songs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stemwright.manifests import __version__
from stemwright.manifests.feature_rows import StemStatistic
from stemwright.manifests.records import Stem, content_id, seal
from stemwright.manifests.registry import Registry
from stemwright.manifests.sound.formats import Audio

Statistic = Callable[[Audio, int], float | Sequence[float] | None]
ByStem = Mapping[str, Mapping[str, tuple[float | None, ...]]]  # statistic -> stem id -> its numbers


def _check(name: str, found: Any) -> None:
    del name
    if not callable(found):
        raise TypeError("a statistic is a function (stem [C, T], sample_rate) -> number(s)")


STATISTICS: Registry[Statistic] = Registry("statistic", "stemwright.statistics", {}, check=_check)  # name -> "module:function"


def statistics_cache_key(stems: Sequence[Stem]) -> str:
    """The id of measuring the statistics of the stems of one track; it covers which there are, and the versions of their packages."""
    names = list(STATISTICS)
    key = {"stems": [stem.id for stem in stems], "statistics": names, "packages": STATISTICS.packages(names), "version": __version__}
    return content_id(key)


def statistic_rows(audio: Audio, stem: Stem, cache_key: str) -> list[StemStatistic]:
    """Every statistic of one stem [C, T]."""
    ids = {"cache_key": cache_key, "stem_id": stem.id, "track_id": stem.track_id, "name": stem.name}
    return [seal(StemStatistic, statistic=name, values=measured(name, audio, stem.audio.sample_rate), **ids) for name in STATISTICS]


def measured(name: str, audio: Audio, sample_rate: int) -> tuple[float | None, ...]:
    """The numbers of one statistic. Raises ValueError naming it for what is no number."""
    found = STATISTICS[name](audio.copy(), sample_rate)
    if found is None:
        return (None,)
    values = np.atleast_1d(np.asarray(found, dtype=np.float64))
    if values.ndim != 1 or not np.isfinite(values).all():
        package = STATISTICS.package(name) or "stemwright"
        raise ValueError(f"the statistic {name} of {package} gave {found!r}; expected finite numbers, or None where it is not defined")
    return tuple(values.tolist())


def by_stem(rows: Iterable[StemStatistic]) -> ByStem:
    """The numbers by statistic and stem."""
    found: dict[str, dict[str, tuple[float | None, ...]]] = {}
    for row in rows:
        found.setdefault(row.statistic, {})[row.stem_id] = row.values
    return found


def over_songs(found: Mapping[str, tuple[float | None, ...]], stem_ids: Sequence[str]) -> np.ndarray:
    """The numbers of stems, [N], or [N, B] where there are several; NaN where they are not defined."""
    width = max(map(len, found.values()), default=1)
    numbers = np.full((len(stem_ids), width), math.nan)
    for row, stem_id in enumerate(stem_ids):
        values = found.get(stem_id, ())
        numbers[row, : len(values)] = [math.nan if value is None else value for value in values]
    return numbers[:, 0] if width == 1 else numbers
