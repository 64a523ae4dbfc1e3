"""Edits of a mixture by a sentence: AMSS-Net's 21 tasks, scored as there.

Conventions
    Tasks and targets are those of ``stemwright.datagen.evaluate.amss_tasks``, scores those of ``...edit_distances``; means over songs, as
    published. A separator's result is what ``stemwright edit`` makes with its stems of the sum of the real ones, separated once; it cannot
    remove reverberation. "oracle stems" is the same with the real stems: what remains is the difference of the two definitions of the edit.

References
    Choi, Kim, Martinez Ramirez, Chung, Jung 2021, as there. Its table could not be read, so no figure of it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from stemwright.datagen.evaluate.amss_tasks import BUTTERWORTH_Q, NAMED, AmssPair, AmssTask, edited, pair_of, tasks_of
from stemwright.datagen.evaluate.edit_distances import mean_absolute_error, mfcc_rmse
from stemwright.datagen.evaluate.evaluated_songs import EXCERPT, EvaluatedSong, songs_of
from stemwright.datagen.evaluate.given_models import GivenModel, call, checked_audio
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row
from stemwright.datagen.evaluate.scores import mean_over_songs
from stemwright.datagen.evaluate.song_separators import SongSeparator, separator_of
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError
from stemwright.manifests.wording import counted

UNCHANGED, ORACLE, ALL = "unchanged", "oracle stems", "all but dereverb"
SCORES = {"MAE": "mae", "MFCC-RMSE": "mfcc_rmse"}


@dataclass(frozen=True)
class Editor:
    """What edits: a callable of the user's, or a separator with which ``edit`` does."""

    name: str
    given: GivenModel | None = None
    separator: SongSeparator | None = None


def _cases(request: EvaluationRequest) -> list[Case]:
    q = _resonance(request.options.get("q", f"{BUTTERWORTH_Q:.3f}"))
    editors = [_editor(each, request) for each in request.models]
    songs = songs_of(request)
    return [
        Case({"song": song.key, **_keys(editors, song.title)}, song.title, partial(_measure, song, editors, q), song.audio_s)
        for song in songs
    ]


def _resonance(text: str) -> float:
    try:
        q = float(text)
    except ValueError:
        q = 0.0
    if not 0.1 <= q <= 100.0:
        raise UsageError(f"--set q={text}: expected the Q of the filters, 0.1 to 100 (0.707: that of stemwright edit; 10: AMSS-Net's)")
    return q


def _editor(given: GivenModel, request: EvaluationRequest) -> Editor:
    if given.text in (UNCHANGED, ORACLE):
        raise UsageError(f"--model {given.text}: the table has this name already; name the folder ./{given.text}")
    if given.is_callable and not hasattr(given.function, "stem_names"):
        return Editor(given.text, given=given)
    return Editor(given.text, separator=separator_of(given, request.separation))


def _keys(editors: Sequence[Editor], title: str) -> dict[str, Any]:
    return {each.name: each.separator.song_key(title) for each in editors if each.separator is not None}


def _measure(song: EvaluatedSong, editors: Sequence[Editor], q: float) -> list[Row]:
    multitrack = song.load()
    stems, sample_rate = multitrack.stems, multitrack.sample_rate
    if len(multitrack.mixture) != 2:
        raise Refused(f"it has {counted(len(multitrack.mixture), 'channel')}; the tasks pan stems: expected 2")
    tasks = tasks_of(stems)
    total = np.sum(list(stems.values()), axis=0)
    separated = {each.name: _separated(each.separator, song, total, sample_rate, tasks) for each in editors if each.separator}
    rows: list[Row] = []
    for task in tasks:
        pair = pair_of(task, stems, sample_rate, q)
        found: dict[str, Callable[[], Audio]] = {UNCHANGED: partial(_same, pair)}
        if task.edit.operation != "dereverb":
            by = {ORACLE: stems, **separated}
            found |= {name: partial(edited, task, pair, parts, sample_rate, q) for name, parts in by.items()}
        found |= {each.name: partial(_called, each.given, task, pair, sample_rate) for each in editors if each.given}
        for name, make in found.items():
            audio = make()
            scores = {"mae": mean_absolute_error(audio, pair.wanted), "mfcc_rmse": mfcc_rmse(audio, pair.wanted, sample_rate)}
            rows.append({"song": song.title, "task": task.text, "kind": task.kind, "stem": task.stem, "by": name, **scores})
    return rows


def _same(pair: AmssPair) -> Audio:
    return pair.given


def _called(given: GivenModel, task: AmssTask, pair: AmssPair, sample_rate: int) -> Audio:
    return checked_audio(call(given.text, given.function, pair.given, sample_rate, task.text), pair.given.shape, given.text)


def _separated(
    separator: SongSeparator, song: EvaluatedSong, mixture: Audio, sample_rate: int, tasks: Sequence[AmssTask]
) -> dict[str, Audio]:
    parts = separator.stems(song.title, mixture, sample_rate)
    if lacking := sorted({task.stem for task in tasks} - set(parts)):
        raise Refused(f"the model {separator.name} gives {', '.join(parts)}; the tasks of this song are also about {', '.join(lacking)}")
    return parts


def _figures(rows: Sequence[Row]) -> list[Figure]:
    comparable = [row for row in rows if row["kind"] != "dereverb"]  # the tasks that every editor does
    groups = {ALL: comparable} if comparable else {}
    for row in rows:
        groups.setdefault(f"{row['kind']}, {row['stem']}", []).append(row)
    figures = []
    for group, mine in groups.items():
        for name, column in SCORES.items():
            for by in dict.fromkeys(row["by"] for row in mine):
                of = [row for row in mine if row["by"] == by]
                mean = mean_over_songs([row[column] for row in of], [row["song"] for row in of])
                note = f"{len({row['task'] for row in of})} tasks" if group == ALL else ""
                figures.append(Figure(group, name, "", by, mean.value, mean.low, mean.high, mean.songs, note=note))
    return figures


PROTOCOL = EvaluationProtocol(
    name="edit",
    title="Edits of a mixture by a sentence, 21 tasks: distance from the edit made on the real stems",
    source="Choi, Kim, Martinez Ramirez, Chung, Jung 2021, AMSS-Net: Audio manipulation on user-specified sources with textual queries",
    data=f"stereo multitracks with {', '.join(NAMED)}, as MUSDB18's test songs (zenodo.org/records/1117372); else every stem is edited",
    free=EXCERPT,
    model=(
        "a separation model's name, a folder of ready stems (FOLDER/SONG/STEM.wav) or a separator package.module:object, with which "
        "stemwright edit edits; or package.module:callable, (mixture float32 [2, T], sample_rate, text) -> edited mixture [2, T]"
    ),
    published=(),
    cases=_cases,
    figures=_figures,
    options={"q": "Q of the filters of the target: 0.707, that of stemwright edit, if not set; 10 is AMSS-Net's"},
)
