"""How far the levels of separated stems are from the truth: the quantity of Ward et al. 2017, by three estimators.

The truth is the BS.1770 loudness of each real stem minus that of the mixture. It is compared with the loudness of the separated stem
(naive), with the cross-energy of stem and mixture (cross), and with the point estimate of the model's calibration and its 80 % interval.

Conventions
    Audio is float32 [C, T]; levels and errors are in LU, an error is the estimate minus the truth. A stem that is softer than ABSENT_LU, or
    silent, has no level to be right about and no row.
    Rows are plain values: ``stem``, ``group`` (the separator's stem that it is compared with), ``truth``, ``naive``, ``cross``, ``point``,
    ``low``, ``high``, ``present`` (whether the estimate says that the stem is there), ``sdr_db``, and of stereo ``pan_error`` and
    ``width_error``. What is not there is NaN, a level of what is not found -inf.

References
    Ward, Wierstorf, Mason, Plumbley, Hummersone, Estimating the loudness balance of musical mixtures using audio source separation (2017).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from stemwright.datagen.evaluate.bss_metrics import song_sdr
from stemwright.datagen.evaluate.matched_stems import StemPair, summed
from stemwright.manifests.sound.formats import Audio

if TYPE_CHECKING:
    from stemwright.separation.balance.level_estimators import Calibration
    from stemwright.separation.balance.measure import StemBalance

ESTIMATORS = ("naive", "cross", "point")


def level_rows(
    mixture: Audio,
    stems: Mapping[str, Audio],
    separated: Mapping[str, Audio],
    sample_rate: int,
    calibration: Calibration,
    pairs: Sequence[StemPair] | None = None,
) -> Iterator[dict[str, Any]]:
    """A row for each stem that is in the mixture. ``separated`` are all stems of the separator, ``pairs`` how they compare with the
    multitrack's (``matched_stems``); None: by name. A sum of separated stems has no calibration: its point and interval are NaN.
    """
    from stemwright.separation.balance.level_estimators import ABSENT_LU, REFERENCE
    from stemwright.separation.balance.measure import measure_balance

    pairs = [StemPair(name, (name,), (name,)) for name in stems] if pairs is None else pairs
    wanted = {pair.name: summed(stems, pair.references) for pair in pairs}
    given = {pair.name: summed(separated, pair.estimates) for pair in pairs}
    sums = {pair.name: given[pair.name] for pair in pairs if len(pair.estimates) > 1}
    truth = measure_balance(mixture, wanted, sample_rate, calibration=REFERENCE)
    said = measure_balance(mixture, separated, sample_rate, calibration=calibration)
    of_sums = measure_balance(mixture, sums, sample_rate, calibration=replace(calibration, together=())) if sums else {}
    for pair in pairs:
        true, is_sum = truth[pair.name], pair.name in sums
        found = of_sums[pair.name] if is_sum else said[pair.estimates[0]]
        if not true.naive_lu >= ABSENT_LU:
            continue
        point = (math.nan,) * 3 if is_sum else (found.level_lu, found.level_low_lu, found.level_high_lu)
        yield {
            "stem": pair.name,
            "group": pair.group,
            "truth": true.naive_lu,
            "naive": found.naive_lu,
            "cross": found.cross_lu,
            **dict(zip(("point", "low", "high"), point, strict=True)),
            "present": found.present,
            "sdr_db": song_sdr(given[pair.name], wanted[pair.name]),
            "pan_error": _apart(found, true, "pan"),
            "width_error": _apart(found, true, "width"),
        }


def rmse(errors: ArrayLike) -> float:
    """Root of the mean square.

    >>> from stemwright.datagen.evaluate.level_errors import rmse
    >>> rmse([3.0, -4.0, 0.0, 0.0])
    2.5
    """
    return float(np.sqrt(np.mean(np.square(errors))))


def _apart(found: StemBalance, true: StemBalance, name: str) -> float:
    values = getattr(found, name), getattr(true, name)
    return math.nan if None in values else abs(values[0] - values[1])
