"""The balance of a recording from its file: with given stems, or by separating it.

Conventions
    As in ``stemwright.separation.balance.track_balance``. Separated stems have the separator's sample rate, and so has the mixture they are
    compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.stem_names import MIXTURE_NAMES
from stemwright.separation.balance.given_levels import measure_given
from stemwright.separation.balance.level_estimators import calibration_for
from stemwright.separation.balance.own_stems import load_own, multitrack_files
from stemwright.separation.balance.track_balance import TrackBalance, measure_track
from stemwright.separation.loudness.meter import measure_loudness


def title_of(path: Path, folders: int = 0) -> str:
    """What a recording is called: by its file, or where that is called mixture by its folder; after the names of so many folders above."""
    place = path.absolute()
    place = place.parent if place.stem.lower() in MIXTURE_NAMES and place.parent.name else place
    return "/".join([*place.parts[1:][: len(place.parts) - 2][-folders:], place.name] if folders else [place.name])


def titles_of(paths: Sequence[Path]) -> list[str]:
    """The titles of several recordings, those of equal names after as many folders as tell them apart."""
    titles = [title_of(path) for path in paths]
    for folders in range(1, max((len(path.absolute().parts) for path in paths), default=1)):
        places = {title: {path.absolute() for path, its in zip(paths, titles, strict=True) if its == title} for title in titles}
        titles = [title_of(path, folders) if len(places[its]) > 1 else its for path, its in zip(paths, titles, strict=True)]
    return titles


def measure_recording(
    path: Path, separator: Any, *, stems: Path | None = None, on_share: Callable[[float], None] | None = None
) -> TrackBalance:
    """The balance of one recording: with the stems of the folder ``stems`` if it is given, or with its own where it is a folder, else by
    the separator.

    The levels of given stems are those that they have in the mixture (``stemwright.separation.balance.given_levels``), with intervals as
    wide as what is left asks. ``on_share`` receives the
    progress of separation, 0 to 1. Raises Refused for a recording that cannot be read or separated, and ValueError as ``measure_track`` and
    ``multitrack_files`` do.
    """
    if stems is not None or path.is_dir():
        return _measure_own(path, stems)
    mixture, sample_rate = load_song(path)
    heard = {"on_share": on_share} if on_share else {}  # a third-party separator may not take it
    separated = finite_stems(separator.separate(mixture, sample_rate, **heard), mixture, separator)
    rate = separator.sample_rate or sample_rate
    at_rate = resample(mixture, sample_rate, rate)
    return measure_track(title_of(path), at_rate, separated, rate, calibration=calibration_for(separator.origin))


def _measure_own(path: Path, stems: Path | None) -> TrackBalance:
    own = load_own(*multitrack_files(path, stems))
    found = own.findings
    balances = measure_given(own.mixture, own.stems, own.sample_rate)
    balance = TrackBalance(title_of(path), own.mixture.shape[1] / own.sample_rate, measure_loudness(own.mixture, own.sample_rate), balances)
    moved = any(each.lag_frames for each in found.mending.values())
    return replace(balance, closure_db=found.closure_db, notes=found.all_notes, moved=moved)


def finite_stems(stems: dict[str, Audio], mixture: Audio, separator: Any) -> dict[str, Audio]:
    """The stems that a separator gave. Raises Refused, blaming the model, if they contain NaN and the mixture does not."""
    wrong = [name for name, audio in stems.items() if not np.isfinite(audio).all()]
    if wrong and np.isfinite(mixture).all():
        bf16 = getattr(separator, "precision", None) == "bf16"
        remedy = "try --precision fp32" if bf16 else "use another model: its weights may be damaged"
        raise Refused(f"the model {separator.origin} gives NaN or infinite samples as {', '.join(wrong)} of this recording; {remedy}")
    return stems
