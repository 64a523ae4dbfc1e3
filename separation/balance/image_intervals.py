"""80 % intervals of pan, width and the share of the time in which a stem plays, for stems that a model separated.

What a separator leaves in a stem of the others draws its image towards theirs, and fills its rests. It does so less to the energy that the
stem shares with the mixture in each channel: for uncorrelated sources and an estimate of least squares, that is the energy of the real
stem. So the interval of the pan is around the pan of what is shared. It is as wide as that is apart from the pan of the separated stem,
and, where a model is poor, as the mixture is wide: in a narrow mixture no stem can be far out.

The constants were fitted by benchmarks/image_accuracy.py on made and free songs, as they are and with their stems moved to places drawn at
random.

Conventions
    Pan is -1 to 1, width and shares 0 to 1; intervals end there, and contain the value. Of a multitrack's own stems an interval has no
    width. A stem without a gap between its loudness and that of what it shares has no error, and no interval.

References
    The orthogonality principle, as in separation/balance/level_estimators.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from stemwright.separation.balance.panorama import Image

GROWTH_LU = 0.25  # of the gap between naive and cross, at which most of an error is there
FIELDS = ("pan", "pan_low", "pan_high", "width", "width_low", "width_high", "correlation")


class Seen(NamedTuple):
    """What a separated stem shares with its mixture: the gap in LU between naive and cross, the pan of what both share (None: nothing),
    and the width of the mixture."""

    gap_lu: float
    shared_pan: float | None
    mixture_width: float


@dataclass(frozen=True)
class ImageCalibration:
    """How far intervals go, for a kind of stems.

    Pan: ``place``, and so much for each unit by which two readings of it are ``apart``, and by which the mixture is wide (``spread``).
    Width: towards 0 ``narrower`` and a share ``narrowed`` of it, towards 1 ``wider``. Playing: ``less``, and so much for each LU of the gap
    (``per_gap``); never more, since a separator rather fills a rest than makes one. For one separator, by multitracks: the pan is
    moved by a share ``to_shared`` of the way to the pan of what is shared, and from the middle ``outwards`` by a share of itself.
    """

    place: float = 0.0
    apart: float = 0.0
    spread: float = 0.0
    narrower: float = 0.0
    narrowed: float = 0.0
    wider: float = 0.0
    less: float = 0.0
    per_gap: float = 0.0
    to_shared: float = 0.0
    outwards: float = 0.0

    def pan_of(self, pan: float, seen: Seen) -> float:
        """The pan of a stem that is separated at ``pan``, corrected."""
        shared = pan if seen.shared_pan is None else seen.shared_pan
        return (
            pan
            if self.to_shared == self.outwards == 0.0
            else max(-1.0, min(1.0, pan + self.to_shared * (shared - pan) + self.outwards * pan))
        )

    def times(self, factor: float) -> ImageCalibration:
        """The same for intervals so many times as wide."""
        return replace(self, **{name: getattr(self, name) * factor for name in WIDTHS})


def image_fields(image: Image | None, seen: Seen, calibration: ImageCalibration) -> dict[str, Any]:
    """The fields of a stem's balance for its image, {name: value}; None where there is none."""
    if image is None:
        return dict.fromkeys(FIELDS)
    found = calibration.pan_of(image.pan, seen)
    pan = pan_interval(found, seen, calibration)
    width = width_interval(image.width, seen, calibration)
    return dict(zip(FIELDS, (found, *pan, image.width, *width, image.correlation), strict=True))


def pan_interval(pan: float, seen: Seen, calibration: ImageCalibration) -> tuple[float, float]:
    """The interval of the pan of a stem that is separated at ``pan``."""
    if not _grown(seen, calibration) or seen.shared_pan is None:
        return (pan, pan)
    margin = calibration.place + calibration.apart * abs(pan - seen.shared_pan) + calibration.spread * seen.mixture_width
    margin *= _grown(seen, calibration)
    return _within(min(pan, seen.shared_pan - margin), max(pan, seen.shared_pan + margin), lowest=-1.0)


def width_interval(width: float, seen: Seen, calibration: ImageCalibration) -> tuple[float, float]:
    """The interval of the width of a stem that is separated with ``width``."""
    grown = _grown(seen, calibration)
    return _within(width - grown * (calibration.narrower + calibration.narrowed * width), width + grown * calibration.wider)


def active_interval(share: float, seen: Seen, calibration: ImageCalibration) -> tuple[float, float]:
    """The interval of the share of the time in which a stem plays that, separated, plays for ``share`` of it."""
    less = _grown(seen, calibration) * calibration.less + calibration.per_gap * max(seen.gap_lu, 0.0)
    return _within(share - less, share)


def _grown(seen: Seen, calibration: ImageCalibration) -> float:
    """How much of an error there is, by the gap; none for stems whose intervals have no width."""
    return 0.0 if calibration == EXACT_IMAGE else 1.0 - math.exp(-max(seen.gap_lu, 0.0) / GROWTH_LU)


def _within(low: float, high: float, *, lowest: float = 0.0) -> tuple[float, float]:
    return (max(lowest, low), min(1.0, high))


WIDTHS = ("place", "apart", "spread", "narrower", "narrowed", "wider", "less", "per_gap")
EXACT_IMAGE = ImageCalibration()
SEPARATED_IMAGE = ImageCalibration(place=0.02, apart=0.36, narrower=0.01, narrowed=0.95, wider=0.01, per_gap=0.02)
BUNDLED_IMAGE = ImageCalibration(apart=1.17, spread=1.08, narrowed=1.0, wider=0.12, less=0.06)
OTHER_IMAGE = SEPARATED_IMAGE.times(1.5)  # of a model that no calibration was made for
