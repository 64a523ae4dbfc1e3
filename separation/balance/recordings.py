"""The balance of a recording from its file: with given stems, or by separating it.

Conventions
    As in ``stemwright.separation.balance.track_balance``. Separated stems have the separator's sample rate, and so has the mixture they are
    compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.stem_names import MIXTURE_NAMES
from stemwright.separation.balance.basis import MEASURED, OF_STEM, REFERENCE_ORIGIN
from stemwright.separation.balance.calibration_names import AUTO, NONE
from stemwright.separation.balance.given_levels import given_balance
from stemwright.separation.balance.kept_calibrations import calibration_of, key_of
from stemwright.separation.balance.level_estimators import Calibration
from stemwright.separation.balance.measure import StemBalance, measure_balance
from stemwright.separation.balance.mixture_line import mixture_course
from stemwright.separation.balance.music import Music
from stemwright.separation.balance.own_stems import Files, load_own, multitrack_files
from stemwright.separation.balance.saved_stems import SavedStems, saved_stems
from stemwright.separation.balance.track_balance import TrackBalance, measure_track
from stemwright.separation.loudness.meter import measure_loudness

# Receives song, separated stems, their rate, their origin and the key of the separator that made them.
Keep: TypeAlias = Callable[[Path, dict[str, Audio], int, str, str], None]
Hear: TypeAlias = Callable[[Audio, int], Music]  # receives the mixture and its sample rate


@dataclass(frozen=True)
class RecordingOptions:
    """How recordings are measured: ``keep`` receives the separated stems, ``hear`` the mixture, to find sections, tempo and key.
    ``calibration`` names the one for levels of separated stems (``stemwright.separation.balance.calibration_names``)."""

    keep: Keep | None = None
    hear: Hear | None = None
    calibration: str = AUTO

    def calibration_to(self, made: SavedStems) -> Calibration:
        """The calibration to the separator that made some stems. Raises UsageError where the one that is named is to another."""
        return calibration_of(made.origin, made.key, self.calibration)


DEFAULTS = RecordingOptions()


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
    path: Path,
    separator: Any,
    *,
    stems: Path | Files | None = None,
    on_share: Callable[[float], None] | None = None,
    options: RecordingOptions = DEFAULTS,
) -> TrackBalance:
    """The balance of one recording: with the given ``stems``, a folder or files, or with its own where it is a folder, else by the
    separator.

    The levels of given stems are those that they have in the mixture (``stemwright.separation.balance.given_levels``), with intervals as
    wide as what is left asks; those that ``save_stems`` wrote are measured as when they were separated, and so are all where the separator
    is one that has separated already (``stemwright.separation.calibrating.ready_stems``). ``on_share`` receives the
    progress of separation, 0 to 1. Raises Refused for a recording that cannot be read or separated, UsageError for a calibration that is
    not here or to another separator, and ValueError as ``measure_track`` and ``multitrack_files`` do.
    """
    if stems is not None or path.is_dir():
        return _measure_own(path, stems, options, separator)
    made = SavedStems({}, separator.origin, separator.sample_rate or 0, 0, key_of(separator))
    _ = options.calibration_to(made)  # raises before anything is separated
    mixture, sample_rate = load_song(path)
    heard = {"on_share": on_share} if on_share else {}  # a third-party separator may not take it
    separated = finite_stems(separator.separate(mixture, sample_rate, **heard), mixture, separator)
    rate = separator.sample_rate or sample_rate
    if options.keep is not None:
        options.keep(path, separated, rate, made.origin, made.key)
    found = _measure_separated(path, resample(mixture, sample_rate, rate), separated, replace(made, sample_rate=rate), options)
    return replace(found, parts_origin=getattr(separator, "parts_origin", ""))


def _measure_separated(path: Path, mixture: Audio, stems: dict[str, Audio], made: SavedStems, options: RecordingOptions) -> TrackBalance:
    """Of separated stems, at the rate of ``made``, which says by which separator they were made."""
    sample_rate, origin = made.sample_rate, made.origin
    calibration = options.calibration_to(made)
    parts = {name: audio for name, audio in stems.items() if OF_STEM in name}  # of stems that were taken apart
    whole = {name: audio for name, audio in stems.items() if name not in parts}
    found = measure_track(title_of(path), mixture, whole, sample_rate, calibration=calibration)
    if parts:
        found = replace(found, stems=_beneath(found.stems, measure_balance(mixture, parts, sample_rate)))
    return replace(found, origin=origin, path=str(path), music=options.hear(mixture, sample_rate) if options.hear else None)


def _beneath(stems: dict[str, StemBalance], parts: dict[str, StemBalance]) -> dict[str, StemBalance]:
    """Stems with the parts of each behind it. Parts were measured apart from them: together they would sum to more than the mixture."""
    found: dict[str, StemBalance] = {}
    for name, stem in stems.items():
        found[name] = stem
        found |= {part: own for part, own in parts.items() if part.startswith(f"{name}{OF_STEM}")}
    return found


def _measure_own(path: Path, stems: Path | Files | None, options: RecordingOptions, separator: Any) -> TrackBalance:
    song, files = (path, stems) if isinstance(stems, Mapping) else multitrack_files(path, stems)
    if (saved := saved_stems(files)) is not None:
        mixture, sample_rate = load_song(song)
        return _measure_separated(song, resample(mixture, sample_rate, saved.sample_rate), saved.load(mixture, sample_rate), saved, options)
    if hasattr(separator, "of_song"):
        mixture, sample_rate = load_song(song)
        made = SavedStems({}, separator.origin, sample_rate, 0, key_of(separator))
        return _measure_separated(song, mixture, separator.of_song(song, mixture, sample_rate), made, options)
    unused = (
        ()
        if options.calibration in (AUTO, NONE)
        else ("the calibration was not used: it is for separated stems, and the song has its own",)
    )
    own = load_own(song, files)
    found = own.findings
    balances, basis = given_balance(own.mixture, own.stems, own.sample_rate)
    moved = any(each.lag_frames for each in found.mending.values())
    return TrackBalance(
        title_of(path),
        own.mixture.shape[1] / own.sample_rate,
        measure_loudness(own.mixture, own.sample_rate),
        balances,
        closure_db=found.closure_db,
        notes=(*found.all_notes, *unused),
        moved=moved,
        basis=basis,
        origin=REFERENCE_ORIGIN if basis == MEASURED else "",
        path=str(song),
        course=mixture_course(own.mixture, own.sample_rate),
        music=options.hear(own.mixture, own.sample_rate) if options.hear else None,
    )


def finite_stems(stems: dict[str, Audio], mixture: Audio, separator: Any) -> dict[str, Audio]:
    """The stems that a separator gave. Raises Refused, blaming the model, if they contain NaN and the mixture does not."""
    wrong = [name for name, audio in stems.items() if not np.isfinite(audio).all()]
    if wrong and np.isfinite(mixture).all():
        bf16 = getattr(separator, "precision", None) == "bf16"
        remedy = "try --precision fp32" if bf16 else "use another model: its weights may be damaged"
        raise Refused(f"the model {separator.origin} gives NaN or infinite samples as {', '.join(wrong)} of this recording; {remedy}")
    return stems
