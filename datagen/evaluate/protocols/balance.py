"""How exact the loudness balance of separated stems is: the protocol of Ward et al. 2017, with any separators and multitracks.

For each stem of each song: its BS.1770 loudness against the mixture, from the stem itself and from what a separator makes of it, by three
estimators: naive (the loudness of the separated stem, as in the paper), cross (energy that it shares with the mixture) and calibrated (the
estimate that ``balance`` prints, with the user's calibration to the separator, else, or on request, the one for its kind). The error by
instrument group, and against the SDR of the separated stem.

Conventions
    Levels are in LU against the mixture's loudness, an error is estimate minus truth; RMSE is over the stems of a group in all songs, with
    a 95 % interval over songs. Groups are the separator's stems: a multitrack's guitar is a part of other where the separator has none.
    "all" is every stem for which all three give a level, and of a group those, too, where it has any; a stem below -30 LU is not counted,
    as leakage. A stem that ``balance`` calls not present, though it is there,
    has no error and is counted in the note. A sum of separated stems (backing) has no calibrated estimate.
    Coverage is the share of true levels within the 80 % interval.
    The relation of error and SDR is Spearman's rank correlation of the magnitude of the error and the SDR in dB of the whole song, over all
    stems of all separators: negative where better separation gives better levels.

References
    Ward, Wierstorf, Mason, Plumbley, Hummersone, Estimating the loudness balance of musical mixtures using audio source separation (3rd
    Workshop on Intelligent Music Production, 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.evaluate.evaluated_songs import EvaluatedSong, songs_of
from stemwright.datagen.evaluate.given_models import shown_names
from stemwright.datagen.evaluate.level_errors import ESTIMATORS, level_rows, rmse
from stemwright.datagen.evaluate.matched_stems import matched
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row, published
from stemwright.datagen.evaluate.scores import mean_over_songs
from stemwright.datagen.evaluate.song_separators import MODELS, SongSeparator, separators_of
from stemwright.manifests.records import Refused
from stemwright.manifests.usage import UsageError
from stemwright.manifests.wording import counted
from stemwright.separation.balance.basis import ESTIMATED
from stemwright.separation.balance.calibration_names import AUTO

if TYPE_CHECKING:
    from stemwright.separation.balance.level_estimators import Calibration

ABSTRACT = "Ward et al. 2017, abstract: the best of 12 systems, mean of four groups, 100 songs of DSD100; better on vocals"
NAMES = {"naive": "naive", "cross": "cross", "point": "calibrated"}
OWN = "your calibration"
GENERIC = "generic ranges, not calibrated"  # as balance calls them
ALL = "all"
RMSE, BIAS, COVERAGE = "RMSE of the level", "mean error", "80 % interval holds"
RELATION = "rank correlation with SDR"
FEWEST_STEMS = 10  # for a correlation
Statistic = Callable[[NDArray[np.float64]], float | np.floating]


def cases(request: EvaluationRequest) -> list[Case]:
    """A case for each song and separator. Raises UsageError for data without multitracks, a separator that is none, and a calibration
    that is none or to another separator.
    """
    separators = separators_of(request, cut=request.duration_s is not None)
    calibrations = [_calibration(each, request.options.get("calibration", AUTO)) for each in separators]
    return [
        Case(
            {"song": song.key, **each.song_key(song.title), "calibration": calibration.id},
            f"{song.title}, {each.name}",
            partial(measure, song, each, calibration, _known_songs(calibration)),
            song.audio_s,
        )
        for song in songs_of(request)
        for each, calibration in zip(separators, calibrations, strict=True)
    ]


def _known_songs(calibration: Calibration) -> frozenset[str]:
    """The titles of the songs that a calibration was made on; empty for those that come with the package."""
    from stemwright.separation.balance.kept_calibrations import kept_calibrations, place_of_calibrations

    kept = kept_calibrations(place_of_calibrations()) if calibration.songs else []
    return frozenset(title.rpartition("/")[2] for each in kept if each.id == calibration.id for title in each.songs)


def _calibration(separator: SongSeparator, name: str) -> Calibration:
    """The calibration to a separator that a name says: the user's (``stemwright calibrate``), else the one for stems of its origin."""
    from stemwright.separation.balance.kept_calibrations import calibration_of, key_of

    return calibration_of(separator.origin, key_of(separator.model) if separator.model else "", name)


def measure(song: EvaluatedSong, separator: SongSeparator, calibration: Calibration, known: Collection[str] = ()) -> list[Row]:
    """A row for each stem of a song, as ``level_rows``; ``calibration_songs`` is on how many songs the calibration was made,
    ``calibrated`` whether a song of this title is one of them. Raises Refused where the separator's stems do not match those of the song.
    """
    own = song.load()
    stems = separator.stems(song.title, own.mixture, own.sample_rate)
    try:
        pairs = matched(tuple(own.stems), tuple(stems), separator.name)
    except UsageError as error:  # each multitrack has stems of its own: others may match
        raise Refused(str(error)) from error
    generic = not calibration.songs and calibration.basis == ESTIMATED
    about = {"calibration_songs": calibration.songs, "generic": generic, "calibrated": song.title.rpartition("/")[2] in known}
    rows = level_rows(own.mixture, own.stems, stems, own.sample_rate, calibration, pairs)
    return [{"song": song.title, "model": separator.name, **row, **about} for row in rows]


def figures(rows: Sequence[Row]) -> list[Figure]:
    """By group the errors of each estimator and separator, over all groups mean error and coverage too; then the relation with the SDR."""
    names = shown_names([row["model"] for row in rows])
    rows = [{**row, "model": names[row["model"]]} for row in rows]
    groups = [ALL, *dict.fromkeys(row["group"] for row in rows)]
    models = list(dict.fromkeys(row["model"] for row in rows))
    chosen = {
        (group, model): [row for row in rows if row["model"] == model and group in (ALL, row["group"])]
        for group in groups
        for model in models
    }
    found: list[Figure] = []
    for group in groups:
        for name, statistic in ((RMSE, rmse), (BIAS, np.mean)):
            found += [
                _error(group, name, model, estimator, chosen[group, model], statistic)
                for model in models
                for estimator in ESTIMATORS
                if group == ALL or name == RMSE
            ]
    found += [_coverage(model, chosen[ALL, model]) for model in models]
    found += [
        _relation(called(model, estimator, chosen[ALL, model]), estimator, chosen[ALL, model])
        for model in models
        for estimator in ESTIMATORS
    ]
    if len(models) > 1:
        found += [_relation(called("all separators", estimator, rows), estimator, rows) for estimator in ESTIMATORS]
    return [each for each in found if each.value is not None]


def errors(rows: Sequence[Row], estimator: str) -> NDArray[np.float64]:
    """The errors of an estimator in LU, [N]; NaN where it gives no level."""
    known = [(row[estimator], row["truth"]) for row in rows]
    return np.array([np.nan if said is None or true is None else said - true for said, true in known])


def _error(group: str, name: str, model: str, estimator: str, rows: Sequence[Row], statistic: Statistic) -> Figure:
    compared = comparable(rows)
    found = mean_over_songs(errors(compared, estimator), [row["song"] for row in compared], statistic)
    missing = [row for row in rows if not row["present"]]
    notes = [f"{len(missing)} of {len(rows)} stems are there and are called not present: no error of theirs"] if missing else []
    if sums := len(rows) - len(compared) - len(missing):
        notes.append(f"{sums} of {len(rows)} stems are sums of separated ones, of which only naive and cross are known: not counted here")
    if estimator == "point" and (own := max((row["calibration_songs"] for row in rows), default=0)):
        songs, shared = ({row["song"] for row in rows if row["calibrated"] or among} for among in (True, False))
        few = f"{len(shared)} of these {counted(len(songs), 'song')} are among them, by their titles: not held out" if shared else ""
        notes.append(f"calibrated on {counted(own, 'song')} (stemwright calibrate); {few or 'none of these songs is among them, by title'}")
    value = found.value if found.count else None
    return Figure(group, name, "LU", called(model, estimator, rows), value, found.low, found.high, found.songs, note="; ".join(notes))


def _coverage(model: str, rows: Sequence[Row]) -> Figure:
    known = [row for row in rows if row["low"] is not None and row["high"] is not None]
    held = [100.0 * (row["low"] <= row["truth"] <= row["high"]) for row in known]
    found = mean_over_songs(held, [row["song"] for row in known])
    value, note = found.value if known else None, f"of {counted(len(known), 'stem')}"
    return Figure(ALL, COVERAGE, "%", called(model, "point", rows), value, found.low, found.high, found.songs, note=note)


def _relation(who: str, estimator: str, rows: Sequence[Row]) -> Figure:
    """Spearman's correlation of the magnitude of errors with the SDR; none of fewer than FEWEST_STEMS stems."""
    from scipy.stats import rankdata

    wrong, sdr = np.abs(errors(rows, estimator)), np.array([row["sdr_db"] for row in rows], np.float64)
    there = np.isfinite(wrong) & np.isfinite(sdr)
    songs = {row["song"] for row, known in zip(rows, there, strict=True) if known}
    if there.sum() < FEWEST_STEMS or np.ptp(wrong[there]) == 0 or np.ptp(sdr[there]) == 0:
        return Figure("error and SDR", RELATION, "", who, None)
    value = float(np.corrcoef(rankdata(wrong[there]), rankdata(sdr[there]))[0, 1])
    return Figure("error and SDR", RELATION, "", who, value, count=len(songs), note=f"{int(there.sum())} stems" if len(songs) else "")


def comparable(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows in which every estimator gives a level; all, where none has a calibrated one: a sum of separated stems."""
    there: NDArray[np.bool_] = np.all([np.isfinite(errors(rows, estimator)) for estimator in ESTIMATORS], axis=0)
    return [row for row, known in zip(rows, there, strict=True) if known] if there.any() else rows


def _estimator(estimator: str, rows: Sequence[Row]) -> str:
    """What an estimator is called: calibrated, or your calibration where all have one, or in the words of ``balance`` where none has."""
    if estimator == "point" and rows and all(row["calibration_songs"] for row in rows):
        return OWN
    is_generic = estimator == "point" and all(row.get("generic", not row["calibration_songs"]) for row in rows)
    return GENERIC if is_generic else NAMES[estimator]


def called(model: str, estimator: str, rows: Sequence[Row]) -> str:
    """The name of a separator and an estimator in figures."""
    return f"{model}, {_estimator(estimator, rows)}"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Writes a picture of error against SDR: each stem of each song by every separator, and both estimators."""
    from stemwright.datagen.report.level_error_plot import plot_errors

    names = shown_names([row["model"] for row in rows])
    rows = [{**row, "model": names[row["model"]]} for row in rows]
    points = {
        (model, _estimator(estimator, own)): [
            (row["group"], row["sdr_db"], error)
            for row, error in zip(own, errors(own, estimator), strict=True)
            if row["sdr_db"] is not None and np.isfinite(error)
        ]
        for model in dict.fromkeys(row["model"] for row in rows)
        for estimator in ESTIMATORS
        if (own := [row for row in rows if row["model"] == model])
    }
    plot_errors({key: found for key, found in points.items() if found}, path)


PROTOCOL = EvaluationProtocol(
    name="balance",
    title="Level of each stem in its mixture, from separated stems",
    source="Ward, Wierstorf, Mason, Plumbley, Hummersone 2017 (3rd WIMP)",
    data="multitracks: folders of a mixture and its stems, STEM files or a list of such; the paper has DSD100 (sisec.inria.fr)",
    free="the excerpt that ships (one song, two stems)",
    model=f"{MODELS}; without any: bundled",
    published=(published(ALL, RMSE, "LU", "best of 12 systems, naive", 1.2, ABSTRACT),),
    cases=cases,
    figures=figures,
    draw=draw,
    options={
        "calibration": "auto (default): yours to the model (stemwright calibrate) where there is one, as balance uses it; none: that which "
        "comes with stemwright, so that the figures do not depend on the machine; or the id of one of yours"
    },
)
