"""Rendering speed of every effect on one core, beside pedalboard's C++ effect of the same kind where there is one.

A second table has the compressor and the limiter on music, since the work of dynamics depends on how much of the sound is above the
threshold: the excerpt that stempeg ships, as a master that is driven into saturation, as it is, and 34 dB softer; and its drums.

Conventions
    Ten seconds of stereo noise in float32 at 44.1 kHz, both as their users call them: audio in, audio out, settings ready. Times are
    processor seconds of one thread, the least of several interleaved runs, so that other work on the machine does not count. The ratio is
    pedalboard's time over ours: above 1 we are faster. Kinds are alike, not identical: its limiter has no look-ahead, its compressor no
    detector of its own, and its chorus smooths its settings. ``difference`` is the energy between the two outputs against that of theirs:
    where both are meant to be the same effect (delay, reverb, distortion, filters) it is that of rounding.
    pedalboard's compressor and limiter follow each channel by itself, so ours is comparable unlinked; "linked", our default, is one
    gain for both channels.

References
    pedalboard (GPL-3; a peer for measurements only).
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import pedalboard
import torch
from effect_settings import SETTINGS

from stemwright.datagen.effects import EFFECTS
from stemwright.manifests.sound.decoding import load

SAMPLE_RATE = 44_100
DURATION_S = 10
REPEATS = 7


def peers(noise: np.ndarray) -> dict[str, Callable[[], Any]]:
    """pedalboard's effect of the same kind, ready to run on the noise."""
    response = np.random.default_rng(1).standard_normal((2, round(0.96 * SAMPLE_RATE))).astype(np.float32)
    response *= np.exp(-6.9 * np.arange(response.shape[1]) / (0.8 * SAMPLE_RATE)).astype(np.float32)
    bands = [
        pedalboard.LowShelfFilter(100, 3, 0.71),
        *(pedalboard.PeakFilter(hz, gain_db, 1) for hz, gain_db in ((250, 3), (1000, -3), (3000, 3), (6000, -3))),
        pedalboard.HighShelfFilter(8000, 3, 0.71),
    ]
    effects = {
        "fader": pedalboard.Gain(-3),
        "eq": pedalboard.Pedalboard(bands),
        "lowpass": pedalboard.LowpassFilter(1000),
        "highpass": pedalboard.HighpassFilter(1000),
        "compressor": pedalboard.Compressor(-25, 4, 5, 100),
        "limiter": pedalboard.Limiter(-10, 100),
        "clip": pedalboard.Clipping(-6),
        "distortion": pedalboard.Distortion(15),
        "reverb": pedalboard.Reverb(0.5, 0.5, 0.33, 0.4),
        "room": pedalboard.Convolution(response, 0.5, sample_rate=SAMPLE_RATE),
        "delay": pedalboard.Delay(0.3, 0.2, 0.3),
        "chorus": pedalboard.Chorus(1.0, 0.25, 7.0, 0.0, 0.3),
    }
    return {name: (lambda effect=effect: effect(noise, SAMPLE_RATE)) for name, effect in effects.items()}


def fastest(functions: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The least processor time of each function, all run in turns."""
    best = dict.fromkeys(functions, math.inf)
    for function in functions.values():
        function()
    for _ in range(REPEATS):
        for name, function in functions.items():
            start = time.process_time()
            function()
            best[name] = min(best[name], time.process_time() - start)
    return best


def difference_db(functions: dict[str, Callable[[], Any]]) -> float:
    """Energy of the difference of both outputs against that of theirs."""
    ours, theirs = (np.asarray(functions[name]()) for name in ("ours", "theirs"))
    return 10.0 * math.log10(float(((ours - theirs) ** 2).sum() / (theirs**2).sum()) + 1e-30)


def table() -> str:
    """One line an effect, and the median of the ratios."""
    rng = np.random.default_rng(0)
    noise = (0.2 * rng.standard_normal((2, DURATION_S * SAMPLE_RATE))).astype(np.float32)
    audio = torch.from_numpy(noise)
    theirs = peers(noise)
    lines = ["| effect | × real time | pedalboard × real time | ratio | difference dB |", "|---|---|---|---|---|"]
    ratios = {}
    for name, effect in EFFECTS.items():
        settings = effect.Settings(**SETTINGS[name])
        functions: dict[str, Callable[[], Any]] = {
            "ours": lambda effect=effect, settings=settings: effect.apply(audio, SAMPLE_RATE, settings)
        }
        if name in theirs:
            functions["theirs"] = theirs[name]
        with torch.inference_mode():
            times = fastest(functions)
        cells = [f"{DURATION_S / times['ours']:,.0f}", "–", "–", "–"]
        if name in theirs:
            ratios[name] = times["theirs"] / times["ours"]
            cells[1:] = [f"{DURATION_S / times['theirs']:,.0f}", f"{ratios[name]:.2f}", f"{difference_db(functions):.0f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    values = sorted(ratios.values())
    slowest = min(ratios, key=lambda name: ratios[name])
    lines += ["", f"Median ratio {np.median(values):.2f}; the least is {ratios[slowest]:.2f} ({slowest})."]
    return "\n".join(lines)


def music() -> dict[str, np.ndarray]:
    """The excerpt that stempeg ships, float32 [2, T] at 44.1 kHz, at three levels, and its drums."""
    spec = importlib.util.find_spec("stempeg")
    if spec is None or spec.origin is None:
        raise SystemExit("this benchmark needs the excerpt inside stempeg: pip install stempeg")
    path = next((Path(spec.origin).parent / "data").glob("*.stem.mp4"))
    mixture, drums = (load(path, 0, None, stream=stream)[0] for stream in (0, 1))
    mixture, drums = (audio / np.abs(audio).max() for audio in (mixture, drums))
    sounds = {"loud master": np.tanh(4.0 * mixture), "mixture": mixture, "34 dB softer": 0.02 * mixture, "drums": 0.5 * drums}
    return {name: np.ascontiguousarray(audio, np.float32) for name, audio in sounds.items()}


def dynamics() -> str:
    """One line a sound: compressor and limiter, linked and unlinked, against pedalboard's."""
    lines = [
        "| music | RMS, dBFS | compressor, × real time: linked, unlinked, pedalboard | ratio | limiter, likewise | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, sound in music().items():
        theirs, audio, duration_s = peers(sound), torch.from_numpy(sound), sound.shape[1] / SAMPLE_RATE
        cells = [name, f"{10.0 * math.log10(float((sound.astype(float) ** 2).mean())):.0f}"]
        for kind in ("compressor", "limiter"):
            effect, functions = EFFECTS[kind], {"pedalboard": theirs[kind]}
            for linked in (True, False):
                settings = effect.Settings(**SETTINGS[kind], linked=linked)
                functions["linked" if linked else "unlinked"] = lambda effect=effect, settings=settings, audio=audio: effect.apply(
                    audio, SAMPLE_RATE, settings
                )
            with torch.inference_mode():
                times = fastest(functions)
            speeds = [f"{duration_s / times[way]:,.0f}" for way in ("linked", "unlinked", "pedalboard")]
            cells += [", ".join(speeds), ", ".join(f"{times['pedalboard'] / times[way]:.2f}" for way in ("linked", "unlinked"))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table; ``--write`` puts it into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = f"{table()}\n\nCompressor and limiter on music; the ratio is pedalboard's time over ours:\n\n{dynamics()}"
    print(text)
    if arguments.write:
        from results import publish

        publish("Rendering speed of the effects", "python benchmarks/effects.py --write", text)


if __name__ == "__main__":
    main()
