"""Judging of removers on held-out songs, by SI-SDR and MR-STFT, and of the detector; the rows of their tables.

Conventions
    A remover's answer is at the loudness of its input before it is scored, as the pairs are. At most PER_SONG pairs of an effect are
    taken of a song. "Chosen" is what the detector's effect gives: of the removable effects the likeliest, where it is likelier than not.
    Intervals are of ``stemwright.datagen.evaluate.scores``: 95 %, over songs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from effect_detector import EFFECTS, EffectDetector, average_precision
from removal_networks import RATE
from torch import Tensor
from trained_remover import Remover

import stemwright
from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.effects import EFFECTS as DEVICES
from stemwright.datagen.effects import apply_chain
from stemwright.datagen.evaluate.scores import SongMean, mean_over_songs, mr_stft_loss, si_sdr_db
from stemwright.datagen.pairs.drawing import draw_settings, reached_ranges
from stemwright.separation.loudness.meter import integrated_loudness

PER_SONG, AUDIBLE_DB, OTHER_SONGS = 1, 40.0, 16
OTHERS = {"room": "reverb", "clip": "distortion", "limiter": "compressor"}  # a device that no pair had -> the remover that takes it
LEVEL_LUFS, CREST_DB = -20.0, 12.0
Row = dict[str, Any]


def titles(data: PairDataset) -> dict[str, str]:
    """Track -> the title of its song, which begins with where it is from."""
    table = stemwright.read_table(data.folder.parent / "tracks.parquet")
    return dict(zip(table["id"], table["title"], strict=True))


def chosen_of(data: PairDataset, numbers: Sequence[int]) -> Iterator[int]:
    """At most PER_SONG examples of each song."""
    taken: dict[str, int] = defaultdict(int)
    for number in numbers:
        song = data.pair(number).track_id
        taken[song] += 1
        if taken[song] <= PER_SONG:
            yield number


def scores(answer: Tensor, dry: Tensor) -> tuple[float, float]:
    """SI-SDR and MR-STFT of [1, T]."""
    both = answer.numpy(), dry.numpy()
    return si_sdr_db(*both), mr_stft_loss(*both)


def judged(data: PairDataset, weights: Mapping[str, Any], pairs_of: Callable[[PairDataset, str], list[int]]) -> list[Row]:
    """A row for each pair: the scores of wet, of the remover of its effect, and of the one that the detector chooses."""
    remover, names, rows = Remover(weights), titles(data), []
    for effect in remover.removers:
        for number in chosen_of(data, pairs_of(data, effect)):
            item, song = data[number], data.pair(number).track_id
            wet, dry = item.inputs[0], item.targets[0]
            odds = {name: value for name, value in remover.odds(wet).items() if name in remover.removers}
            heard = max(odds, key=odds.__getitem__) if max(odds.values()) > 0.0 else ""
            before, after = scores(wet, dry), scores(remover.without(wet, [effect]), dry)
            by_ear = after if heard == effect else scores(remover.without(wet, [heard]), dry) if heard else before
            rows.append({"effect": effect, "song": song, "title": names[song], "wet": before, "remover": after, "chosen": by_ear})
    return rows


def other_devices(data: PairDataset, weights: Mapping[str, Any]) -> list[Row]:
    """The same of devices that no pair had, with settings drawn from their typical ranges, on a dry sound of OTHER_SONGS songs."""
    remover, names, rows = Remover(weights), titles(data), []
    first = {data.pair(number).track_id: number for number in range(len(data) - 1, -1, -1)}
    for device, effect in OTHERS.items():
        for seed, (song, number) in enumerate(sorted(first.items())[:OTHER_SONGS]):
            dry, rng = data[number].targets[0], np.random.default_rng([seed, 5])
            ranges = {**DEVICES[device].TYPICAL, **reached_ranges(device, LEVEL_LUFS + CREST_DB)}
            settings = draw_settings(DEVICES[device].Settings, rng, ranges)
            wet = apply_chain(dry, RATE, [(device, settings)])
            loudness = integrated_loudness(wet.numpy(), RATE)
            wet = wet * 10.0 ** ((LEVEL_LUFS - loudness) / 20.0) if np.isfinite(loudness) else wet
            before = scores(wet, dry)
            if before[0] < AUDIBLE_DB:
                after = scores(remover.without(wet, [effect]), dry)
                rows.append(
                    {"effect": f"{device}, by that of {effect}", "song": song, "title": names[song], "wet": before, "remover": after}
                )
    return rows


def _shown(mean: SongMean, digits: int, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    interval = "" if mean.low is None else f" ({mean.low:{sign}.{digits}f} to {mean.high:{sign}.{digits}f})"
    return f"{mean.value:{sign}.{digits}f}{interval}"


def removal_rows(rows: Sequence[Row]) -> list[str]:
    """Rows of Markdown: scores of wet, and what each contender is better by, by effect and by where the song is from."""
    contenders = [name for name in ("remover", "chosen") if name in rows[0]]
    heads = {"remover": "remover", "chosen": "remover that the detector chose"}
    columns = [f"SI-SDR better by, dB: {heads[name]} | MR-STFT better by" for name in contenders]
    lines = ["| effect | songs | pairs | SI-SDR of wet, dB | MR-STFT of wet | " + " | ".join(columns) + " | pairs made better |"]
    lines.append("|---" * (6 + 2 * len(contenders)) + "|")
    for effect in dict.fromkeys(row["effect"] for row in rows):
        for origin in ("", "free", "synthetic"):
            its = [row for row in rows if row["effect"] == effect and row["title"].startswith(origin)]
            songs = [row["song"] for row in its]
            if not its or (origin and len(its) == sum(row["effect"] == effect for row in rows)):
                continue
            cells = [effect + (f", {origin} songs" if origin else ""), str(len(set(songs))), str(len(its))]
            cells += [_shown(mean_over_songs([row["wet"][k] for row in its], songs), digits) for k, digits in ((0, 2), (1, 3))]
            for name in contenders:
                cells.append(_shown(mean_over_songs([row[name][0] - row["wet"][0] for row in its], songs), 2, signed=True))
                cells.append(_shown(mean_over_songs([row["wet"][1] - row[name][1] for row in its], songs), 3, signed=True))
            better = np.mean([row["remover"][0] > row["wet"][0] for row in its])
            lines.append("| " + " | ".join([*cells, f"{better:.0%}"]) + " |")
    return lines


def detector_rows(seen: Mapping[str, Any], often: Tensor, state: Mapping[str, Any]) -> list[str]:
    """Rows of Markdown: accuracy and average precision of the detector on held-out songs, and of the majority."""
    detector = EffectDetector(len(state["mean"]))
    detector.load_state_dict(state)
    with torch.inference_mode():
        answers = detector.eval()(seen["features"]).numpy()
    on, songs = seen["on"].numpy() > 0.5, seen["songs"]
    lines = ["| effect | sounds with it | accuracy | of the majority | average precision | by chance |", "|---|---|---|---|---|---|"]
    accuracies = []
    for place, name in enumerate(EFFECTS):
        right = (answers[:, place] > 0.0) == on[:, place]
        usual = on[:, place] == (float(often[place]) > 0.5)
        accuracies.append((right, usual))
        precision = mean_over_songs(
            range(len(on)),
            songs,
            lambda kept, place=place: average_precision(answers[kept.astype(int), place], on[kept.astype(int), place]),
        )
        cells = [
            name,
            f"{on[:, place].sum()} of {len(on)}",
            _shown(mean_over_songs(right, songs), 3),
            _shown(mean_over_songs(usual, songs), 3),
        ]
        lines.append("| " + " | ".join([*cells, _shown(precision, 3), f"{on[:, place].mean():.3f}"]) + " |")
    both = [_shown(mean_over_songs(np.mean([pair[k] for pair in accuracies], axis=0), songs), 3) for k in (0, 1)]
    return [*lines, f"| all | | {both[0]} | {both[1]} | | |"]
