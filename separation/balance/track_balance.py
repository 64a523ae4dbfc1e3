"""The balance of whole tracks as rows: one track, several with medians and spread, and the percentile of a level in a corpus.

Conventions
    Rows are dicts of plain values, the same for a table, JSON and CSV. Undefined values are None: a level of a stem that is not
    present, the pan of a mono mixture. Levels are in LU against the mixture, rounded to 0.01; a percentile is 0 to 100, a level equal to
    others counting half.

References
    Percentile rank with mid-ranks, as in any textbook. Everything else is measured by separation/balance/measure.py and
    separation/loudness/meter.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.records import Estimate, Track
from stemwright.manifests.spreadsheet import csv_text
from stemwright.manifests.wording import counted
from stemwright.separation.balance.basis import DEMONSTRATION, ESTIMATED, MEASURED, OF_STEM, REFERENCE_ORIGIN, Basis, basis_of, model_of
from stemwright.separation.balance.level_estimators import SEPARATED, Calibration
from stemwright.separation.balance.measure import StemBalance, measure_balance
from stemwright.separation.balance.mixture_line import MixtureCourse, mixture_course, plr_db
from stemwright.separation.balance.music import Music
from stemwright.separation.balance.section_levels import SectionLevels, section_levels
from stemwright.separation.loudness.meter import LoudnessReport, measure_loudness

Array = NDArray[np.floating]
Row = dict[str, Any]

TRAJECTORY_STEP_S = 1.0
FEW_SONGS = 10  # with fewer, one song is more than ten percent
LEVEL_FIELDS = (
    "level_lu", "level_low_lu", "level_high_lu", "naive_lu", "cross_lu", "loudness_lufs",
    "against_rest_lu", "against_rest_low_lu", "against_rest_high_lu",
)  # fmt: skip
IMAGE_FIELDS = ("pan", "pan_low", "pan_high", "width", "width_low", "width_high")
ACTIVE_FIELDS = {"active_share": "active_fraction", "active_low": "active_low", "active_high": "active_high"}


@dataclass(frozen=True)
class TrackBalance:
    """A mixture's loudness and its stems' balance; ``basis`` says whether that is a measurement, ``origin`` which model separated it."""

    title: str
    duration_s: float
    loudness: LoudnessReport
    stems: dict[str, StemBalance]
    closure_db: float | None = None  # of stems that were given: what they leave of the mixture; None: nothing, or they were separated
    notes: tuple[str, ...] = ()  # on stems that were given: what does not fit, and what was mended
    moved: bool = False  # stems were moved in time to fit
    basis: Basis = MEASURED
    origin: str = REFERENCE_ORIGIN  # of the stems, as their rows have it: "htdemucs_ft@demucs-4.1.0"; "": they were given
    path: str = ""  # of the mixture
    parts_origin: str = ""  # of the separator that took a stem apart, where one did
    course: MixtureCourse | None = None  # the mixture's own loudness over time
    music: Music | None = None  # sections, tempo and key, where they were requested
    calibration: str = ""  # id of the calibration to the separator of the stems; "": there is none
    calibration_songs: int = 0  # how many songs it was made with
    calibrated_without: tuple[str, ...] = ()  # stems that none of those songs has

    @property
    def plr_db(self) -> float | None:
        """Peak to loudness ratio of the mixture in dB: true peak less integrated loudness; None for silence."""
        return plr_db(self.loudness.true_peak_dbtp, self.loudness.integrated_lufs)

    @property
    def sections(self) -> tuple[SectionLevels, ...]:
        """The levels of the stems in each section of the recording; none where sections were not requested."""
        return section_levels(self.music.sections, self.course, self.stems) if self.music and self.course else ()


def measure_track(
    title: str, mixture: Array, stems: Mapping[str, Array], sample_rate: int, *, calibration: Calibration = SEPARATED
) -> TrackBalance:
    """Measures one track; ``calibration`` and errors as in ``measure_balance``."""
    balances = measure_balance(mixture, stems, sample_rate, calibration=calibration)
    loudness = measure_loudness(mixture, sample_rate)
    origin = REFERENCE_ORIGIN if calibration.basis == MEASURED else ""
    return TrackBalance(
        title,
        mixture.shape[1] / sample_rate,
        loudness,
        balances,
        basis=calibration.basis,
        origin=origin,
        course=mixture_course(mixture, sample_rate),
        calibration=calibration.id,
        calibration_songs=calibration.songs,
        calibrated_without=calibration.without(stems),
    )


def _plain(value: float | None, digits: int = 2) -> float | None:
    return round(float(value), digits) + 0.0 if value is not None and math.isfinite(value) else None  # no -0.0


def _exact(value: float | None, digits: int = 2) -> float | None:  # noqa: ARG001  # takes what ``_plain`` takes
    return float(value) if value is not None and math.isfinite(value) else None


def table_rows(tracks: Iterable[TrackBalance]) -> list[Row]:
    """One row per track and stem: as in tables and CSV files."""
    return [
        {
            "track": track.title,
            "stem": name,
            "level_lu": _plain(stem.level_lu),
            "level_low_lu": _plain(stem.level_low_lu),
            "level_high_lu": _plain(stem.level_high_lu),
            "against_rest_lu": _plain(stem.against_rest_lu),
            "naive_lu": _plain(stem.naive_lu),
            "cross_lu": _plain(stem.cross_lu),
            "loudness_lufs": _plain(stem.loudness_lufs),
            **{name: _plain(getattr(stem, name)) for name in IMAGE_FIELDS},
            **{name: _plain(getattr(stem, field)) for name, field in ACTIVE_FIELDS.items()},
            "note": stem.note,
            **_basis_row(track, name),
            "path": track.path,
        }
        for track in tracks
        for name, stem in track.stems.items()
    ]


def _basis_row(track: TrackBalance, name: str) -> Row:
    """What the row of a stem, or of a part of one, rests on: of a part two models, "bundled + kit"."""
    if OF_STEM not in name or not track.parts_origin:
        return {"basis": track.basis, "model": model_of(track.origin), "calibration": track.calibration}
    origins = track.origin, track.parts_origin
    basis = DEMONSTRATION if DEMONSTRATION in map(basis_of, origins) else ESTIMATED
    return {"basis": basis, "model": " + ".join(map(model_of, origins)), "calibration": ""}


def summary_rows(tracks: Sequence[TrackBalance], *, exact: bool = False) -> list[Row]:
    """One row per stem name over several tracks: median, quartiles and range of its level, and in how many tracks it is present.

    ``exact`` leaves the numbers unrounded, for a caller that rounds them for display.
    """
    number = _exact if exact else _plain
    names = list(dict.fromkeys(name for track in tracks for name in track.stems))
    rows = []
    for name in names:
        stems = [track.stems[name] for track in tracks if name in track.stems]
        levels = np.array([stem.level_lu for stem in stems if stem.present])
        against = np.array([stem.against_rest_lu for stem in stems if stem.present and math.isfinite(stem.against_rest_lu)])
        low, middle, high = np.percentile(levels, [25, 50, 75]) if levels.size else (None, None, None)
        rows.append(
            {
                "stem": name,
                "tracks": len(stems),
                "present": int(levels.size),
                "median_lu": number(middle),
                "q25_lu": number(low),
                "q75_lu": number(high),
                "min_lu": number(levels.min()) if levels.size else None,
                "max_lu": number(levels.max()) if levels.size else None,
                "against_rest_lu": number(float(np.median(against))) if against.size else None,
            }
        )
    return rows


def as_json(track: TrackBalance) -> Row:
    """Everything about one track as plain values, the trajectories at one point a second."""
    return {
        "track": track.title,
        "path": track.path,
        "basis": track.basis,
        "model": model_of(track.origin) or None,
        "calibration": track.calibration or None,
        "calibrated_without": list(track.calibrated_without),
        "parts_model": model_of(track.parts_origin) or None,
        "duration_s": _plain(track.duration_s, 3),
        "mixture": _mixture_json(track),
        "stems": {name: _stem_json(stem) for name, stem in track.stems.items()},
        "music": _music_json(track),
        "sections": section_rows(track),
        "closure_db": _plain(track.closure_db),
        "notes": list(track.notes),
    }


def _mixture_json(track: TrackBalance) -> Row:
    """Loudness and peaks of the mixture, overall and at one point a second."""
    row: Row = {name: _plain(value) for name, value in track.loudness._asdict().items()} | {"plr_db": _plain(track.plr_db)}
    if track.course is not None:
        step = _points(track.course.end_s)
        row["trajectory"] = {
            each.name: [_plain(value) for value in getattr(track.course, each.name)[::step]] for each in fields(track.course)
        }
    return row


def _music_json(track: TrackBalance) -> Row | None:
    """Tempo and key; None where they were not requested."""
    if track.music is None:
        return None
    music = track.music
    return {"tempo_bpm": _plain(music.tempo_bpm), "key": music.key, "key_confidence": _plain(music.key_confidence)}


def section_rows(track: TrackBalance, *, exact: bool = False) -> list[Row]:
    """One row per section and stem: its level with its interval in the section, and the loudness of the mixture there."""
    number = _exact if exact else _plain
    return [
        {
            "section": count,
            "start_s": number(section.start_s),
            "end_s": number(section.end_s),
            "loudness_lufs": number(section.loudness_lufs),
            "stem": name,
            "level_lu": number(level),
            "level_low_lu": number(low),
            "level_high_lu": number(high),
        }
        for count, section in enumerate(track.sections, 1)
        for name, (level, low, high) in section.stems.items()
    ]


def _points(end_s: Array) -> int:
    """Every which value of a course is a second after the one before."""
    return max(1, round(TRAJECTORY_STEP_S / (end_s[1] - end_s[0]))) if end_s.size > 1 else 1


def _stem_json(stem: StemBalance) -> Row:
    row: Row = {name: _plain(getattr(stem, name)) for name in LEVEL_FIELDS}
    row |= {name: _plain(getattr(stem, name), 3) for name in (*IMAGE_FIELDS, "correlation", "active_fraction", "active_low", "active_high")}
    course = stem.trajectory
    step = _points(course.end_s)
    row["present"], row["note"] = stem.present, stem.note
    row["active_spans_s"] = [[round(start, 2), round(end, 2)] for start, end in stem.active_spans_s]
    row["trajectory"] = {
        name: [_plain(value) for value in getattr(course, name)[::step]] for name in ("end_s", "level_lu", "low_lu", "high_lu")
    }
    row["octave_bands"] = [
        {
            "centre_hz": round(band.centre_hz),
            "pan": _plain(band.image.pan, 3) if band.image else None,
            "width": _plain(band.image.width, 3) if band.image else None,
            "level_lu": _plain(band.level_lu),
        }
        for band in stem.bands
    ]
    return row


def with_percentiles(rows: Iterable[Row], percentiles: Iterable[Row]) -> list[Row]:
    """The rows of ``table_rows`` with the columns of ``percentile_rows``, which are of the same tracks and stems in the same order."""
    return [{**row, **more} for row, more in zip(rows, percentiles, strict=True)]


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV text with a head; None is an empty field."""
    return csv_text(rows)


def doubts(paths: Sequence[Path], corpus: Path | str, levels: Mapping[str, Array]) -> list[str]:
    """Why percentiles in a corpus may mislead: it has few songs, or recordings that are compared with it are among its songs."""
    from stemwright.manifests.disk.regular import file_sha256
    from stemwright.manifests.table import read

    found = []
    most = max((int(np.size(values)) for values in levels.values()), default=0)
    if most < FEW_SONGS:
        alone = "" if most > 1 else ", of which nothing can be above or below: no percentiles"
        apart = "; " if alone else ": "
        found.append(
            f"{corpus} has levels of {counted(most, 'song')}{alone}{apart}expected at least {FEW_SONGS} for percentiles that say something"
        )
    tracks = Path(corpus) / "tracks.parquet"
    sums = {(row.audio.num_bytes, row.audio.sha256) for row in read(tracks, Track)} if tracks.exists() else set()
    sizes = {size for size, _ in sums}
    own = [path for path in paths if path.is_file() and path.stat().st_size in sizes]
    own = [path for path in own if (path.stat().st_size, file_sha256(path)) in sums]
    found += [f"{path} is a song of {corpus}: it is compared with itself, too" for path in own]
    return found


def corpus_levels(corpus: Path | str) -> dict[str, Array]:
    """Levels in LU of every stem name in a corpus's estimates table, sorted; stems that are not present are left out."""
    from stemwright.manifests.table import read

    path = Path(corpus) / "estimates.parquet"
    if not path.exists():
        raise ValueError(f"expected a corpus with estimates.parquet, got {corpus} without it; run `stemwright estimate` on it first")
    levels: dict[str, list[float]] = {}
    for row in read(path, Estimate):
        if row.level_lu is not None:
            levels.setdefault(row.name, []).append(row.level_lu)
    return {name: np.sort(values) for name, values in levels.items()}


def percentile(level_lu: float, levels: Array) -> float | None:
    """Share of ``levels`` below ``level_lu``, 0 to 100; None when nothing can be compared, as among less than two."""
    if np.size(levels) < 2 or not math.isfinite(level_lu):
        return None
    return float(100 * (np.mean(levels < level_lu) + np.mean(levels <= level_lu)) / 2)


def percentile_rows(tracks: Iterable[TrackBalance], corpus: Mapping[str, Array], *, exact: bool = False) -> list[Row]:
    """One row per track and stem: its level, its percentile among the corpus's stems of that name, and how many those are.

    ``exact`` leaves the numbers unrounded, for a caller that rounds them for display.
    """
    number = _exact if exact else _plain
    return [
        {
            "track": track.title,
            "stem": name,
            "level_lu": number(stem.level_lu),
            "percentile": number(percentile(stem.level_lu, corpus.get(name, np.array([]))), 1),
            "percentile_low": number(percentile(stem.level_low_lu, corpus.get(name, np.array([]))), 1),
            "percentile_high": number(percentile(stem.level_high_lu, corpus.get(name, np.array([]))), 1),
            "corpus_median_lu": number(float(np.median(corpus[name]))) if name in corpus else None,
            "corpus_stems": int(np.size(corpus.get(name, []))),
        }
        for track in tracks
        for name, stem in track.stems.items()
    ]
