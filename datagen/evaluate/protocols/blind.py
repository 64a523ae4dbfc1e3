"""Estimates without the dry sound: how much a stem was compressed, and how it reverberates, on multitracks with known effects added.

Conventions
    Trials are those of ``stemwright.datagen.evaluate.blind_trials``. Compression is estimated against a profile: of the multitracks in the
    folder of ``--set profile=``, else of every other song, the first included, and only the others are measured. Without a profile, as with
    the excerpt that ships, only reverberation is measured, which needs none; rooms are ``room`` of ours, a box and a feedback network.
    Of each stem the loudest twelve seconds are used, or as many as are requested, at 44.1 kHz. Stems that are nearly silent are left out.

References
    Eaton, Gaubitch, Moore, Naylor 2016: the ACE challenge. Sun, Fourer, Maaref 2024: blind estimates of compression, of other figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.evaluate import blind_trials
from stemwright.datagen.evaluate.blind_trials import CONSTANT_S, NO_ROOM, UNTOUCHED, Compress, HeardStem
from stemwright.datagen.evaluate.evaluated_songs import EXCERPT, EvaluatedSong, at_most_stereo, loudest, songs_of
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row
from stemwright.datagen.evaluate.scores import mean_over_songs
from stemwright.manifests.records import Refused, content_id
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from stemwright.datagen.inverse.blind.profile import Profile

SAMPLE_RATE = 44_100
DURATION_S = 12.0
MAKES = ("room", "image", "network")
MAKERS: Mapping[str, tuple[Compress, int]] = {UNTOUCHED: (blind_trials.untouched, 1), "compressed": (blind_trials.own_compressor, 2)}
LARGE_DB = 3.0
WITHIN = 0.25


class Known:
    """The songs of a profile, which is made when the first song needs it."""

    def __init__(self, songs: Sequence[EvaluatedSong], duration_s: float) -> None:
        self.songs, self.duration_s = songs, duration_s

    @cached_property
    def profile(self) -> Profile:
        """The profile of the songs that can be read; of none at all where there is no song."""
        from stemwright.datagen.inverse.blind.profile import profile_of

        return profile_of(self._readable(), SAMPLE_RATE)

    def _readable(self) -> Iterator[dict[str, Audio]]:
        for song in self.songs:
            with suppress(Refused):
                yield stems_of(song, self.duration_s)


def stems_of(song: EvaluatedSong, duration_s: float) -> dict[str, Audio]:
    """The stems that sound, the loudest part of each. Raises Refused where there is none, or the song cannot be read."""
    from stemwright.datagen.inverse.blind.features import measure_features

    multitrack = at_most_stereo(song.load())
    parts = {}
    for name, audio in multitrack.stems.items():
        part = _loudest(np.asarray(resample(audio, multitrack.sample_rate, SAMPLE_RATE), np.float32), round(duration_s * SAMPLE_RATE))
        if np.abs(part).max(initial=0.0) > 0.0 and measure_features(part, SAMPLE_RATE) is not None:
            parts[name] = part
    if not parts:
        raise Refused("none of its stems sounds for long enough to measure anything")
    return parts


def _loudest(audio: Audio, num_frames: int) -> Audio:
    return audio[:, loudest(np.square(audio, dtype=np.float64).sum(axis=0), num_frames)]


def _cases(request: EvaluationRequest) -> list[Case]:
    duration_s = request.duration_s or DURATION_S
    whole = EvaluationRequest(request.data, seed=request.seed)
    songs = songs_of(whole)
    if "profile" in request.options:
        folder = Path(request.options["profile"]).expanduser()
        if not folder.is_dir():
            raise UsageError(f"--set profile={folder}: no such folder; expected one with multitracks")
        known, measured = Known(songs_of(EvaluationRequest(folder)), duration_s), songs
    elif len(songs) > 1:
        known, measured = Known(songs[::2], duration_s), songs[1::2]
    else:
        known, measured = Known((), duration_s), songs
    of_profile = [song.key for song in known.songs]
    return [
        Case({"song": song.key, "profile": of_profile}, song.title, partial(_measure, song, known, duration_s, request.seed))
        for song in measured[: request.num_songs]
    ]


def _measure(song: EvaluatedSong, known: Known, duration_s: float, seed: int) -> list[Row]:
    rows: list[Row] = []
    for name, audio in stems_of(song, duration_s).items():
        rng = np.random.default_rng([seed, int(content_id({"song": song.title, "stem": name}), 16)])
        heard = HeardStem(song.title, name, audio, SAMPLE_RATE)
        rows += _in_rooms(heard, rng)
        if known.songs:
            rows += _compressed(heard, known.profile, rng)
    return rows


def _in_rooms(heard: HeardStem, rng: np.random.Generator) -> Iterator[Row]:
    for one in blind_trials.room_trials(heard, MAKES, rng):
        found = one.found
        yield {
            "song": heard.song,
            "stem": heard.stem,
            "effect": "reverberation",
            "maker": one.make,
            "true": one.rt60_s,
            "value": found.rt60_s,
            "low": found.rt60_low_s,
            "high": found.rt60_high_s,
            "peer": one.peer_s,
            "drr_true": one.drr_db,
            "drr": found.drr_db,
            "answered": one.answered,
            "found": one.answered,
        }


def _compressed(heard: HeardStem, profile: Profile, rng: np.random.Generator) -> Iterator[Row]:
    for one in blind_trials.compressor_trials(heard.stem, heard.audio, heard.sample_rate, profile, MAKERS, rng):
        yield {
            "song": heard.song,
            "stem": heard.stem,
            "effect": "compression",
            "maker": one.maker,
            "true": one.true_db,
            "value": one.value_db,
            "low": one.low_db,
            "high": one.high_db,
            "answered": one.answered,
            "found": one.found,
        }


Value = Callable[[Row], float]


def _figures(rows: Sequence[Row]) -> list[Figure]:
    figures: list[Figure] = []
    for effect, figures_of in (("compression", _of_compression), ("reverberation", _of_reverberation)):
        mine = [row for row in rows if row["effect"] == effect]
        stems = list(dict.fromkeys(row["stem"] for row in mine))
        for stem in ("all", *(stems if len(stems) > 1 else ())):
            figures += figures_of(f"{effect}, {stem}", [row for row in mine if stem in (row["stem"], "all")])
    return [each for each in figures if each.value is not None]  # where there is no answer, the share of answers is 0


def _of_compression(group: str, rows: Sequence[Row]) -> Iterator[Figure]:
    touched = [row for row in rows if row["maker"] != UNTOUCHED]
    answers = [row for row in touched if row["answered"]]
    yield _mean(group, "answered", "%", touched, lambda row: 100.0 * row["answered"])
    yield _mean(group, "mean error of the answers", "dB", answers, lambda row: abs(row["value"] - row["true"]))
    yield _mean(group, "true in 80 % interval", "%", answers, _covered)
    large = [row for row in touched if row["true"] >= LARGE_DB]
    yield _mean(group, f"found, of {LARGE_DB:g} dB and more", "%", large, lambda row: 100.0 * row["found"])
    yield _mean(group, "found, of untouched", "%", [row for row in rows if row["maker"] == UNTOUCHED], lambda row: 100.0 * row["found"])


def _of_reverberation(group: str, rows: Sequence[Row]) -> Iterator[Figure]:
    wet = [row for row in rows if row["maker"] != NO_ROOM]
    answers = [row for row in wet if row["answered"]]
    yield _mean(group, "answered", "%", wet, lambda row: 100.0 * row["answered"])
    by: dict[str, Value] = {
        "ours": lambda row: row["value"],
        "decay rate": lambda row: CONSTANT_S if row["peer"] is None else row["peer"],
        f"constant {CONSTANT_S:.2f} s": lambda _: CONSTANT_S,
    }
    for who, value in by.items():
        yield _mean(group, "RT60 within 25 %", "%", answers, partial(_within, value), who)
    for who, value in by.items():
        yield _mean(group, "median error of RT60", "%", answers, partial(_off, value), who, np.median)
    yield _mean(group, "true RT60 in 80 % interval", "%", answers, _covered)
    known = [row for row in answers if row["drr"] is not None]
    yield _mean(group, "mean error of the direct-to-reverberant ratio", "dB", known, lambda row: abs(row["drr"] - row["drr_true"]))


def _off(value: Value, row: Row) -> float:
    return 100.0 * abs(value(row) / row["true"] - 1.0)


def _within(value: Value, row: Row) -> float:
    return 100.0 * (abs(value(row) / row["true"] - 1.0) <= WITHIN)


def _covered(row: Row) -> float:
    return 100.0 * (row["low"] <= row["true"] <= row["high"])


def _mean(group: str, name: str, unit: str, rows: Sequence[Row], value: Value, who: str = "ours", statistic: Any = np.mean) -> Figure:
    found = mean_over_songs([value(row) for row in rows], [row["song"] for row in rows], statistic)
    known = found.value if found.count else None
    return Figure(group, name, unit, who, known, found.low, found.high, found.songs, note=f"{found.count} stems")


PROTOCOL = EvaluationProtocol(
    name="blind",
    title="Compression and reverberation of stems estimated without their dry sound, against known effects",
    source="Eaton, Gaubitch, Moore, Naylor 2016, Estimation of room acoustic parameters: the ACE challenge (measures of reverberation)",
    data="multitracks, two at least for compression, whose stems have names that recur: vocals, drums, bass ...",
    free=EXCERPT,
    model="",
    published=(),
    cases=_cases,
    figures=_figures,
    options={"profile": "folder of multitracks of which the profile is made; if not set, every other song of the data"},
)
