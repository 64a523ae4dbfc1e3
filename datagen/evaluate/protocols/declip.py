"""Declippers: what each gains on recordings clipped to a known SDR, beside the published gains of the survey of 2021.

Conventions
    Signals, clipping and gain are those of ``stemwright.datagen.evaluate.clipping_gains``. Of a song without stems the recording is used,
    of a multitrack every stem and the mixture; of each its loudest two seconds, or as many as are requested. What is clipped already has
    no known original and is left out. Published gains are means over the ten excerpts of the survey, each of about seven seconds, computed
    from the values of its accompanying page; for the same signals give the folder of its excerpts as DATA, and ``--seconds 20``.

References
    Zaviska, Rajmic, Ozerov, Rencker 2021, as there; the values of each excerpt are in the repository rajmic/declipping2020 (dSDR_clipped).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.datagen.evaluate import clipping_gains
from stemwright.datagen.evaluate.evaluated_songs import EXCERPT, EvaluatedSong, check_audible, songs_of, stamp
from stemwright.datagen.evaluate.given_models import GivenModel, call, checked_audio
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row, published
from stemwright.datagen.evaluate.scores import mean_over_songs
from stemwright.datagen.evaluate.song_copies import check_no_copy, copied_titles
from stemwright.datagen.evaluate.steps import step
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.named_songs import named_songs

DURATION_S = 2.0
INPUTS_DB = "7 15"
METHODS = ("ours", "expansion", "cubic spline")
ALL_METHODS = (*METHODS, "A-SPADE, 2048")
SOURCE = "Zaviska, Rajmic, Ozerov, Rencker 2021, IEEE JSTSP 15(1); mean of the ten values of its page, repository rajmic/declipping2020"
# Mean gain over the survey's ten excerpts at these input SDRs, computed from the page's values of each excerpt.
SURVEY_DB = (3, 7, 15)
SURVEY: dict[str, tuple[float, ...]] = {
    "SS PEW": (15.03, 17.66, 21.17),
    "NMF": (12.21, 16.22, 20.57),
    "A-SPADE, 8192": (13.88, 15.98, 19.43),
    "Janssen": (-1.28, 3.52, 17.02),
}
NAME, UNIT = "gain on clipped samples", "dB"


@dataclass(frozen=True)
class LoneRecording:
    """A recording without stems, of the user's."""

    title: str
    path: Path
    copy_of: str = ""

    @property
    def key(self) -> dict[str, Any]:
        """Place, size and time of the file."""
        return {"files": [stamp(self.path)]} | ({"copy_of": self.copy_of} if self.copy_of else {})


def _cases(request: EvaluationRequest) -> list[Case]:
    levels = inputs_db(request.options.get("inputs", INPUTS_DB))
    methods = _methods(request.options.get("methods", ", ".join(METHODS)))
    for given in request.models:
        _ = given.function  # a wrong name is reported before anything is measured
    sources = _sources(request)
    return [Case({"sound": each.key}, each.title, partial(_measure, each, levels, methods, request)) for each in sources]


def _sources(request: EvaluationRequest) -> list[EvaluatedSong | LoneRecording]:
    from stemwright.separation.balance.recordings import titles_of

    if request.data is None:
        return list(songs_of(EvaluationRequest()))
    found: list[EvaluatedSong | LoneRecording] = []
    every = named_songs([request.data]).songs
    named = every[: request.num_songs]
    titles = titles_of([song.path for song in every])[: len(named)]
    for song, title, copy_of in zip(named, titles, copied_titles([song.path for song in named], titles), strict=True):
        found.append(LoneRecording(title, song.path, copy_of) if song.stems is None else EvaluatedSong(title, song, copy_of=copy_of))
    if not found:
        raise UsageError(f"{request.data} has no recording that can be read; expected multitracks or sound files, at any depth")
    return found


def inputs_db(text: str) -> tuple[float, ...]:
    """The input SDRs in dB of an option's text. Raises UsageError for what is no list of numbers between 0 and 60."""
    try:
        levels = tuple(dict.fromkeys(float(each) for each in text.replace(",", " ").split()))
    except ValueError:
        levels = ()
    if not levels or not all(0.0 < each <= 60.0 for each in levels):
        raise UsageError(f"--set inputs={text}: expected SDRs in dB above 0 and up to 60, such as {INPUTS_DB!r}")
    return levels


def _methods(text: str) -> tuple[str, ...]:
    by_name = {each.split(",")[0].lower(): each for each in ALL_METHODS}
    asked = [each.strip().lower() for each in text.split(",") if each.strip()]
    if unknown := [each for each in asked if each not in by_name]:
        raise UsageError(f"--set methods: no method {unknown[0]!r}; expected some of {', '.join(by_name)}, with commas between")
    return tuple(by_name[each] for each in asked)


def _signals(source: EvaluatedSong | LoneRecording) -> tuple[dict[str, np.ndarray], int]:
    if isinstance(source, LoneRecording):
        check_no_copy(source.copy_of)
        audio, sample_rate = load_song(source.path)
        check_audible(audio, sample_rate)
        return {"recording": audio}, sample_rate
    song = source.load()
    return {**song.stems, "mixture": song.mixture}, song.sample_rate


def _measure(
    source: EvaluatedSong | LoneRecording, levels: Sequence[float], methods: Sequence[str], request: EvaluationRequest
) -> list[Row]:
    from stemwright.datagen.inverse.clipping.detect import detect_clipping

    signals, sample_rate = _signals(source)
    num_frames = max(1, round((request.duration_s or DURATION_S) * sample_rate))
    rows: list[Row] = []
    reasons: list[str] = []
    for number, (name, audio) in enumerate(signals.items()):
        truth = clipping_gains.loudest_part(audio, num_frames)
        if not np.abs(truth).max(initial=0.0) > 0.0:
            reasons.append(f"{name} is silent")
        elif any(one.confidence for one in detect_clipping(audio, sample_rate)):
            reasons.append(f"{name} is clipped already")
        else:
            for place, each in enumerate(levels):
                begun = partial(_begun, f"{name}, {each:g} dB", (number + place / len(levels)) / len(signals), len(levels) * len(signals))
                clipped, ceiling = clipping_gains.clip_to(truth, each)
                if (clipped == truth).all():
                    reasons.append(f"{name} loses nothing at {each:g} dB")
                    continue
                given = _Clipped(truth, clipped, ceiling, sample_rate, each)
                rows += [{"song": source.title, "signal": name, **row} for row in _gains(given, methods, request.models, begun)]
    if not rows:
        raise Refused(f"nothing to clip: {', '.join(reasons)}")
    return rows


@dataclass(frozen=True)
class _Clipped:
    """A signal [T] before and after it was clipped at a ceiling, and its SDR in dB."""

    truth: np.ndarray
    clipped: np.ndarray
    ceiling: float
    sample_rate: int
    input_db: float


def _begun(what: str, share: float, parts: int, method: str, of_part: float) -> None:
    """Reports that a method begins with a part of the signals and levels of a song."""
    step(f"{what}, {method}", share + of_part / parts)


def _gains(
    given: _Clipped, methods: Sequence[str], models: Sequence[GivenModel], begun: Callable[[str, float], None]
) -> Iterator[dict[str, Any]]:
    """The gain of every method on one signal at one input SDR."""
    truth, clipped, ceiling, sample_rate = given.truth, given.clipped, given.ceiling, given.sample_rate
    lost, count = clipped != truth, len(methods) + len(models)
    run: Mapping[str, Callable[[], np.ndarray]] = {
        "ours": partial(clipping_gains.ours, clipped, ceiling, sample_rate),
        "expansion": partial(clipping_gains.ours, clipped, ceiling, sample_rate, "expansion"),
        "cubic spline": partial(clipping_gains.spline, clipped, ceiling),
        "A-SPADE, 2048": partial(clipping_gains.spade, clipped, ceiling),
    }
    shared = {"input_db": given.input_db, "clipped": float(lost.mean())}
    for number, method in enumerate(methods):
        begun(method, number / count)
        yield {**shared, "method": method, "gain_db": clipping_gains.gain_db(truth, clipped, run[method](), lost)}
    for number, model in enumerate(models, start=len(methods)):
        begun(model.text, number / count)
        found = call(model.text, model.function, clipped[None].astype(np.float32), sample_rate, ceiling)
        restored = checked_audio(found, clipped[None].shape, model.text)[0]
        yield {**shared, "method": model.text, "gain_db": clipping_gains.gain_db(truth, clipped, restored.astype(np.float64), lost)}


def _figures(rows: Sequence[Row]) -> list[Figure]:
    figures = []
    for level in dict.fromkeys(row["input_db"] for row in rows):
        at_level = [row for row in rows if row["input_db"] == level]
        for method in dict.fromkeys(row["method"] for row in at_level):
            mine = [row for row in at_level if row["method"] == method]
            mean = mean_over_songs([row["gain_db"] for row in mine], [row["song"] for row in mine])
            note = f"least {min(row['gain_db'] for row in mine):+.1f} of {len(mine)} signals"
            figures.append(Figure(_group(level), NAME, UNIT, method, mean.value, mean.low, mean.high, mean.songs, note=note))
    return figures


def _group(input_db: float) -> str:
    return f"input {input_db:g} dB"


PUBLISHED = tuple(
    published(_group(level), NAME, UNIT, method, gains[number], SOURCE)
    for number, level in enumerate(SURVEY_DB)
    for method, gains in SURVEY.items()
)
PROTOCOL = EvaluationProtocol(
    name="declip",
    title="Declippers on recordings clipped to a known SDR: the gain in SDR on the clipped samples",
    source="Zaviska, Rajmic, Ozerov, Rencker 2021, A survey and an extensive evaluation of popular audio declipping methods",
    data="a folder of recordings or multitracks that are not clipped; the survey's ten excerpts: Sounds/ of rajmic/declipping2020_codes",
    free=EXCERPT,
    model="package.module:callable, (clipped float32 [1, T], sample_rate, ceiling) -> restored [1, T]",
    published=PUBLISHED,
    cases=_cases,
    figures=_figures,
    options={
        "inputs": f"SDRs in dB to which signals are clipped ({INPUTS_DB!r} if not set; the survey has 1 3 5 7 10 15 20)",
        "methods": "which of ours, expansion, cubic spline, A-SPADE (all but A-SPADE, which is slow, if not set)",
    },
)
