"""Undoing compression: the published presets with known settings, and compressors whose settings were found from dry and wet audio.

Conventions
    The signals are the four stems of the real excerpt that ships inside stempeg, 44.1 kHz, stereo, as they are. RMSE is against the dry
    stem in dB of full scale, the worst over the stems; 24 and 16 bit mean that the compressed signal was rounded (no dither) before it was
    undone. Speed is duration over processor time of one thread, the slowest over the stems. SDR is of the dry signal that comes
    back when wet is undone with the fitted settings.

References
    Gorlow and Reiss 2013: presets A to E; published inversion error down to -129 dBFS at about 0.5 times real time.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import torch

from stemwright.datagen.effects import compressor
from stemwright.datagen.effects.settings import draw
from stemwright.datagen.inverse.known_dry.fit_compressor import fit_compression
from stemwright.manifests.sound.decoding import load

PRESETS = {
    "A": (-32.0, 3.0, 13.0, 435.0),
    "B": (-19.9, 1.8, 11.0, 49.0),
    "C": (-24.4, 3.2, 5.8, 112.0),
    "D": (-26.3, 7.3, 9.0, 705.0),
    "E": (-38.0, 4.9, 13.1, 257.0),
}
PUBLISHED_DBFS, PUBLISHED_SPEED = -129.0, 0.5
STEMS = {"drums": 1, "bass": 2, "other": 3, "vocals": 4}
FITTED = ("threshold_db", "ratio", "detector_attack_ms", "detector_release_ms", "attack_ms", "release_ms")


def stems(duration_s: float) -> tuple[dict[str, torch.Tensor], int]:
    """The stems of the excerpt, float64 [2, T], from its second on."""
    spec = importlib.util.find_spec("stempeg")
    if spec is None or spec.origin is None:
        raise SystemExit("this benchmark needs the excerpt inside stempeg: pip install stempeg")
    path = next((Path(spec.origin).parent / "data").glob("*.stem.mp4"))
    audio = {name: load(path, 0, None, stream=stream) for name, stream in STEMS.items()}
    rate = audio["drums"][1]
    return {name: torch.from_numpy(data[:, : round(duration_s * rate)]).double() for name, (data, _) in audio.items()}, rate


def dbfs(error: torch.Tensor) -> float:
    """RMS in dB of full scale."""
    return 20.0 * math.log10(float(error.square().mean().sqrt()) + 1e-20)


def preset_rows(signals: dict[str, torch.Tensor], sample_rate: int) -> list[str]:
    """One line a preset, detector and link."""
    rows = []
    for name, (threshold_db, ratio, attack_ms, release_ms) in PRESETS.items():
        for detector in ("peak", "rms"):
            for linked in (True, False):
                settings = compressor.Settings(
                    threshold_db=threshold_db, ratio=ratio, attack_ms=attack_ms, release_ms=release_ms, detector=detector, linked=linked
                )
                figures = [invert_once(dry, sample_rate, settings) for dry in signals.values()]
                exact, fine, coarse, reduction = (max(column) for column in list(zip(*figures, strict=True))[:4])
                speed = min(figure[4] for figure in figures)
                rows.append(
                    f"| {name} | {detector} | {'yes' if linked else 'no'} | {reduction:.1f} | {exact:.0f} | {fine:.0f} | {coarse:.0f} "
                    f"| {speed:.0f} | {speed / PUBLISHED_SPEED:.0f} |"
                )
    return rows


def invert_once(dry: torch.Tensor, sample_rate: int, settings: compressor.Settings) -> tuple[float, float, float, float, float]:
    """RMSE from float64, 24 bit and 16 bit; the largest gain reduction in dB; times real time."""
    wet = compressor.apply(dry, sample_rate, settings)
    compressor.invert(wet[:, :100], sample_rate, settings)
    start = time.process_time()
    restored = compressor.invert(wet, sample_rate, settings)
    speed = dry.shape[-1] / sample_rate / (time.process_time() - start)
    rounded = [compressor.invert(torch.round(wet * scale) / scale, sample_rate, settings) for scale in (2.0**23, 2.0**15)]
    reduction = -20.0 * math.log10(float(compressor.gain_curve(dry, sample_rate, settings).min()))
    return dbfs(restored - dry), dbfs(rounded[0] - dry), dbfs(rounded[1] - dry), reduction, speed


def fit_rows(signals: dict[str, torch.Tensor], sample_rate: int, number: int) -> list[str]:
    """Errors of fitted settings: random compressors on the stems, float audio, 16-bit files, and other stems leaking in."""
    rng = np.random.default_rng(2024)
    settings = [draw(compressor.Settings, rng, compressor.TYPICAL) for _ in range(number)]
    names = [list(signals)[index % len(signals)] for index in range(number)]
    rows = []
    for condition in ("float", "16 bit", "others at -40 dB"):
        figures = [fit_once(signals, name, sample_rate, truth, condition) for name, truth in zip(names, settings, strict=True)]
        columns = [np.array(column) for column in zip(*figures, strict=True)]
        cells = [f"{np.median(column):.2g} / {column.max():.2g}" for column in columns[:3]]
        cells += [f"{np.median(columns[3]):.0f} / {columns[3].min():.0f}", f"{np.median(columns[4]):.1f}", str(number)]
        rows.append(f"| {condition} | {' | '.join(cells)} |")
    return rows


def fit_once(
    signals: dict[str, torch.Tensor], name: str, sample_rate: int, truth: compressor.Settings, condition: str
) -> tuple[float, float, float, float, float]:
    """Errors of threshold in dB, ratio in %, the worst time in %; SDR in dB after undoing with what was found; processor seconds."""
    dry = signals[name] / signals[name].abs().max() * 0.9
    clean = compressor.apply(dry, sample_rate, truth)
    if condition == "float":
        wet, known = clean.float(), dry.float()
    elif condition == "16 bit":
        peak = max(1.0, float(clean.abs().max()))
        wet, known = (torch.round(audio / peak * 2.0**15) / 2.0**15 * peak for audio in (clean, dry))
    else:
        others = torch.stack([audio for other, audio in signals.items() if other != name]).sum(0)
        wet, known = clean + others * 0.01 * clean.norm() / others.norm(), dry
    start = time.process_time()
    found = fit_compression(wet, known, sample_rate).settings
    spent_s = time.process_time() - start
    restored = compressor.invert(wet.double(), sample_rate, found)
    sdr_db = 10.0 * math.log10(float(dry.square().sum() / (restored - dry).square().sum().clamp(min=1e-300)))
    times = [abs(getattr(found, key) / getattr(truth, key) - 1.0) for key in FITTED[2:]]
    return abs(found.threshold_db - truth.threshold_db), 100.0 * abs(found.ratio / truth.ratio - 1.0), 100.0 * max(times), sdr_db, spent_s


def main() -> None:
    """Prints both tables; ``--write`` puts them into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    parser.add_argument("--fits", type=int, default=12, help="number of random compressors")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    signals, sample_rate = stems(10.0)
    head = "| preset | detector | linked | reduction dB | RMSE dBFS | from 24 bit | from 16 bit | × real time | × published speed |"
    lines = [
        f"Published: {PUBLISHED_DBFS:.0f} dBFS at about {PUBLISHED_SPEED} × real time.",
        "",
        head,
        "|" + "---|" * 9,
        *preset_rows(signals, sample_rate),
        "",
        "Settings found from dry and wet audio, median / worst:",
        "",
        "| wet and dry are | threshold dB | ratio % | worst time % | SDR after undoing dB (median / worst) | processor s | compressors |",
        "|" + "---|" * 7,
        *fit_rows(signals, sample_rate, arguments.fits),
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        from results import publish

        publish("Undoing compression", f"python benchmarks/inversion.py --fits {arguments.fits} --write", text)


if __name__ == "__main__":
    main()
