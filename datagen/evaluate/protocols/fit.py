"""Settings recovered where the dry sound is known: each effect on the stems of multitracks, and the console of a whole mix.

Conventions
    Rows and figures are those of ``stemwright.datagen.evaluate.fitted_settings``; ``console`` is a random eq, compressor and fader on each
    stem and ``fit_console`` of the sum with the dry stems (``...known_consoles``). One draw of settings for each stem and row, and for each
    song of a console. Of each song the part of six seconds in which its stems have most energy is used, or as much as is requested. A stem
    that is silent there is left out; mono stems are doubled. A fit that refuses is counted, and is no figure.

References
    The settings that are drawn are those of RemFX (Rice et al. 2023) and Diff-MST (Vanka et al. 2024). No publication states errors of
    settings that are comparable; the targets in the notes are the project's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.evaluate.evaluated_songs import EXCERPT, EvaluatedSong, at_most_stereo, loudest, songs_of
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row
from stemwright.datagen.evaluate.scores import mean_over_songs
from stemwright.manifests.records import Refused, content_id
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    import torch

DURATION_S = 6.0
DEFAULT = "fader, eq, compressor 16, compressor leak"
CONSOLE, CONSOLE_CHAIN = "console", ("eq", "compressor", "fader")
CONSOLE_TITLE = "console: eq > compressor > fader on each stem"
SILENT = 1e-5  # of the loudest stem's energy
CONSOLE_FIGURES = {
    "fader_db": ("error of fader", "dB"),
    "level_db": ("error of level in the mix", "dB"),
    "ratio": ("loss / gains and pans", ""),
}


def _cases(request: EvaluationRequest) -> list[Case]:
    names = _rows(request.options.get("rows", DEFAULT))
    return [
        Case({"song": song.key, "row": name}, f"{song.title}: {name}", partial(_measure, song, name, request))
        for song in songs_of(EvaluationRequest(request.data, num_songs=request.num_songs))
        for name in names
    ]


def _rows(text: str) -> list[str]:
    from stemwright.datagen.evaluate.fitted_settings import ROWS

    there = (*ROWS, CONSOLE)
    names = list(dict.fromkeys(each.strip() for each in text.split(",") if each.strip()))
    if unknown := [each for each in names or [""] if each not in there]:
        raise UsageError(f"--set rows={text}: no row {unknown[0]!r}; expected some of {', '.join(there)}, with commas between")
    return names


def _stems(song: EvaluatedSong, duration_s: float) -> tuple[dict[str, torch.Tensor], int]:
    """The stems [2, T] that sound in the loudest part, float64, and their rate. Raises Refused where none does."""
    import torch

    multitrack = at_most_stereo(song.load())
    audio = np.stack([part[[0, -1]] for part in multitrack.stems.values()]).astype(np.float64)
    audio = audio[..., loudest(np.square(audio).sum(axis=(0, 1)), round(duration_s * multitrack.sample_rate))]
    energies = np.square(audio).sum(axis=(1, 2))
    if not energies.max(initial=0.0) > 0.0:
        raise Refused("its stems are silent")
    parts = zip(multitrack.stems, audio, energies, strict=True)
    kept = {name: torch.from_numpy(part.copy()) for name, part, energy in parts if energy > SILENT * energies.max()}
    return kept, multitrack.sample_rate


def _measure(song: EvaluatedSong, name: str, request: EvaluationRequest) -> list[Row]:
    stems, sample_rate = _stems(song, request.duration_s or DURATION_S)
    if name == CONSOLE:
        return [_console(song.title, stems, sample_rate, _generator(request.seed, song.title, CONSOLE))]
    return [_fitted(song.title, name, stems, stem, sample_rate, request.seed) for stem in stems]


def _generator(seed: int, *of: str) -> np.random.Generator:
    return np.random.default_rng([seed, int(content_id({"draw": list(of)}), 16)])


def _fitted(song: str, name: str, stems: Mapping[str, torch.Tensor], stem: str, sample_rate: int, seed: int) -> Row:
    from stemwright.datagen.evaluate.fitted_settings import ROWS

    about: dict[str, Any] = {"song": song, "stem": stem, "row": name, "refused": ""}
    try:
        figures, seconds = ROWS[name].run(stems, stem, sample_rate, _generator(seed, song, stem, name))
    except ValueError as error:  # what has no answer, such as the width of a mono stem
        return {**about, "refused": str(error)}
    return {**about, "seconds": seconds, **figures}


def _console(song: str, stems: Mapping[str, torch.Tensor], sample_rate: int, rng: np.random.Generator) -> Row:
    from stemwright.datagen.evaluate.known_consoles import console_figures, random_chain

    about: dict[str, Any] = {"song": song, "stem": "all", "row": CONSOLE, "refused": ""}
    truth = {name: random_chain(CONSOLE_CHAIN, rng) for name in stems}
    try:
        found = console_figures(stems, stems, truth, [], sample_rate, CONSOLE_CHAIN)
    except ValueError as error:  # such as a band above what the sample rate holds
        return {**about, "refused": str(error)}
    means = {name: float(np.mean(found[name])) for name in ("fader_db", "level_db")}
    return {**about, "seconds": found["cpu_s"], "ratio": found["ratio"], **means}


def _figures(rows: Sequence[Row]) -> list[Figure]:
    from stemwright.datagen.evaluate.fitted_settings import ROWS

    figures: list[Figure] = []
    for name in dict.fromkeys(row["row"] for row in rows):
        mine = [row for row in rows if row["row"] == name]
        if name == CONSOLE:
            figures += [_median(CONSOLE_TITLE, mine, column, *shown) for column, shown in CONSOLE_FIGURES.items()]
            continue
        for goal in ROWS[name].goals:
            asked = "" if goal.target is None else f"asked: at {'least' if goal.least else 'most'} {goal.target:g}"
            figures.append(_median(ROWS[name].title, mine, goal.name, *_named(goal.name), asked))
    return figures


def _named(name: str) -> tuple[str, str]:
    """The name and the unit of a figure of a row, such as "threshold dB"."""
    what, _, unit = name.rpartition(" ")
    what, unit = (what, unit) if unit in ("dB", "%", "ms") else (name, "")
    return (what if what.startswith("SDR") else f"error of {what}"), unit


def _median(group: str, rows: Sequence[Row], column: str, name: str, unit: str, asked: str = "") -> Figure:
    known = [row for row in rows if row.get(column) is not None]
    middle = mean_over_songs([row[column] for row in known], [row["song"] for row in known], np.median)
    notes = list(_notes(rows, known, column, name))
    value = None if math.isnan(middle.value) else middle.value
    note = "; ".join([*notes, asked] if asked else notes)
    return Figure(group, name, unit, "ours, median", value, middle.low, middle.high, middle.songs, note=note)


def _notes(rows: Sequence[Row], known: Sequence[Row], column: str, name: str) -> Iterator[str]:
    if known:
        worst = (min if name.startswith("SDR") else max)(row[column] for row in known)
        yield f"worst of {len(known)}: {worst:.2g}"
    if refused := [row for row in rows if row["refused"]]:
        yield f"refused {len(refused)}: {refused[0]['refused']}"


PROTOCOL = EvaluationProtocol(
    name="fit",
    title="Settings of effects recovered from dry and wet sound, and the console of a mix from its dry stems",
    source="Colonel, Reiss 2021, Reverse engineering of a recording mix with differentiable digital signal processing (task, not figures)",
    data="multitracks in any layout",
    free=EXCERPT,
    model="",
    published=(),
    cases=_cases,
    figures=_figures,
    options={
        "rows": f"what is fitted, with commas between ({DEFAULT!r} if not set): effects, variants such as compressor leak, or console; "
        "an unknown name lists all"
    },
)
