"""The script that one writes in an afternoon instead: soundfile, pedalboard, joblib. A peer for rendering, in ``pipeline.py``.

It reads each excerpt with soundfile, sends it through pedalboard's effect of the same name, sums, and writes 24-bit FLAC. It measures no
loudness and no change, scales nothing, writes no rows, shares nothing between wet and dry, and a kill leaves half a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pedalboard
import soundfile

from stemwright.manifests.pair_records import EffectUse, Pair, Signal

Sound = np.ndarray  # [T, C]


def _eq(settings: Mapping[str, Any]) -> list[pedalboard.Plugin]:
    bands = [("low_shelf", pedalboard.LowShelfFilter), *((f"peak{n}", pedalboard.PeakFilter) for n in range(1, 5))]
    bands.append(("high_shelf", pedalboard.HighShelfFilter))
    return [
        kind(cutoff_frequency_hz=settings[f"{name}_hz"], gain_db=settings[f"{name}_gain_db"], q=settings[f"{name}_q"])
        for name, kind in bands
        if settings.get(f"{name}_gain_db")
    ]


PLUGINS: dict[str, Callable[[Mapping[str, Any]], list[pedalboard.Plugin]]] = {
    "fader": lambda s: [pedalboard.Gain(s.get("gain_db", 0.0))],
    "loudness": lambda _: [pedalboard.Gain(-3.0)],  # measures nothing
    "eq": _eq,
    "compressor": lambda s: [
        pedalboard.Compressor(s["threshold_db"], s["ratio"], s["attack_ms"], s["release_ms"]),
        pedalboard.Gain(s.get("makeup_db", 0.0)),
    ],
    "distortion": lambda s: [pedalboard.Distortion(s["drive_db"])],
    "reverb": lambda s: [pedalboard.Reverb(s["room_size"], s["damping"], s["wet"], min(1.0, s["dry"] / 2.0), s["width"])],
    "delay": lambda s: [pedalboard.Delay(s["delay_ms"] / 1000.0, s["feedback"], s["mix"])],
    "chorus": lambda s: [pedalboard.Chorus(s["rate_hz"], s["depth"], s["centre_ms"], s.get("feedback", 0.0), s["mix"])],
    "limiter": lambda s: [pedalboard.Limiter(s["ceiling_db"], s["release_ms"])],
    "clip": lambda s: [pedalboard.Clipping(s["ceiling_db"])],
    "lowpass": lambda s: [pedalboard.LowpassFilter(s["cutoff_hz"])],
    "highpass": lambda s: [pedalboard.HighpassFilter(s["cutoff_hz"])],
}


def _through(sound: Sound, chain: Sequence[EffectUse], sample_rate: int) -> Sound:
    plugins = [plugin for use in chain for plugin in PLUGINS[use.effect](use.settings)]
    return pedalboard.Pedalboard(plugins)(sound, sample_rate) if plugins else sound


def _rendered(signal: Signal, pair: Pair, paths: Mapping[str, Path]) -> Sound:
    total: Any = 0.0
    for branch in signal.branches:
        sound, rate = soundfile.read(paths[branch.source_id], pair.num_frames, pair.start_frame + branch.offset_frames, dtype="float32")
        total = total + _through(sound, branch.chain, rate)
    return _through(total, signal.bus, pair.sample_rate)


def _write_pair(folder: Path, pair: Pair, paths: Mapping[str, Path]) -> None:
    place = folder / pair.id
    place.mkdir(parents=True, exist_ok=True)
    for role, signals in (("input", pair.inputs), ("target", pair.targets)):
        for signal in signals:
            soundfile.write(place / f"{role}_{signal.name}.flac", _rendered(signal, pair, paths), pair.sample_rate, subtype="PCM_24")


def run(folder: Path, pairs: Sequence[Pair], paths: Mapping[str, Path]) -> None:
    """Writes the signals of some pairs into a folder, in one process."""
    joblib.Parallel(n_jobs=1)(joblib.delayed(_write_pair)(folder, pair, paths) for pair in pairs)
