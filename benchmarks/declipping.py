"""Declipping beside its peers: ours, the expansion, a cubic spline and a textbook A-SPADE, on real sound clipped to a known SDR.

    python benchmarks/declipping.py [--music FOLDER] [--duration S] [--lossy] [--only NAME ...] [--write]

Conventions
    Gain: SDR of the clipped samples after, minus before, in dB. A signal is an excerpt in mono with a peak of 1, clipped at both signs of a
    ceiling so that the SDR of the whole is 7, 12 or 18 dB. Drums, voice and full mix are from the excerpt inside stempeg, guitars and two
    more mixes from the folder of free music that ``benchmarks/free_music.py`` makes (``--music`` or ``STEMWRIGHT_FREE_MUSIC``); without it
    the other instruments of the excerpt stand in for the guitar. Methods were tuned on other excerpts: of drums and mix the first 2 s, of
    voice 4 to 6 s, other guitars.
    Lossy: the clipped signal after coding and decoding by the ffmpeg program; the gain is over all samples that were clipped, by ceilings
    that are given and by those that are detected.
    Speed: seconds of processor time, all threads together, for a second of one channel; of 1 % clipped, of a minute of the mix.
    Clipping, gain and peers are those of ``stemwright.datagen.evaluate.clipping_gains``; ``stemwright evaluate declip`` measures the same
    on other recordings, beside the published survey.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from results import publish

import stemwright as sw
from stemwright.datagen.evaluate import clipping_gains
from stemwright.datagen.evaluate.clipping_gains import clip_to, gain_db, spade, spline

RATE = 44_100
INPUTS_DB = (7.0, 12.0, 18.0)
MEDIAN_DB, LEAST_DB = 9.0, 2.5
EXCERPTS = {"drums": (1, 3.0), "voice": (4, 0.0), "mix": (0, 3.5)}  # stream of the excerpt, start in seconds
OTHER = (3, 3.5)
GUITARS = {"guitar": ("escape-from-chaosland", "guitar", 41.0), "guitar 2": ("war-of-freedom", "guitar", 50.0)}
MIXES = {"mix 2": ("escape-from-chaosland", "mixture", 60.0), "mix 3": ("war-of-freedom", "mixture", 70.0)}
METHODS = ("ours", "expansion", "cubic spline", "A-SPADE")
CODECS = {
    "MP3 320k": ("libmp3lame", "mp3", ["-b:a", "320k"]),
    "MP3 128k": ("libmp3lame", "mp3", ["-b:a", "128k"]),
    "AAC 256k": ("aac", "m4a", ["-b:a", "256k"]),
    "OGG q6": ("libvorbis", "ogg", ["-q:a", "6"]),
}


def stempeg_excerpt(stream: int, start_s: float, duration_s: float) -> np.ndarray:
    spec = importlib.util.find_spec("stempeg")
    if spec is None or spec.origin is None:
        raise SystemExit("this benchmark needs the excerpt inside stempeg: pip install stempeg")
    path = next((Path(spec.origin).parent / "data").glob("*.stem.mp4"))
    return sw.load(path, round(start_s * RATE), round(duration_s * RATE), stream=stream)[0].mean(axis=0, dtype=float)


def signals(music: Path | None, duration_s: float) -> dict[str, np.ndarray]:
    """Name -> mono [T] with a peak of 1."""
    found = {name: stempeg_excerpt(*place, duration_s) for name, place in EXCERPTS.items()}
    if music is None:
        found["other"] = stempeg_excerpt(*OTHER, duration_s)
    else:
        for name, (song, stem, start_s) in (GUITARS | MIXES).items():
            audio, rate = sw.load(music / "guitar" / song / f"{stem}.flac", round(start_s * RATE), round(duration_s * RATE))
            assert rate == RATE
            found[name] = audio.mean(axis=0, dtype=float)
    return {name: samples / np.abs(samples).max() for name, samples in found.items()}


def ours(clipped: np.ndarray, ceiling: float, method: Literal["gaussian", "expansion"] = "gaussian") -> np.ndarray:
    return clipping_gains.ours(clipped, ceiling, RATE, method)


class Lines:
    """Lines of Markdown, printed as they come and kept."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def add(self, line: str) -> None:
        """Prints a line and keeps it."""
        print(line, flush=True)
        self.kept.append(line)


def report(truths: dict[str, np.ndarray], lines: Lines) -> None:
    lines.add(f"| signal | input SDR dB | clipped % | {' | '.join(METHODS)} | ours, CPU s for a second | re-clipped, largest difference |")
    lines.add("|---|---|---|" + "---|" * (len(METHODS) + 2))
    table = []
    for name, truth in truths.items():
        for input_db in INPUTS_DB:
            clipped, ceiling = clip_to(truth, input_db)
            lost, start = clipped != truth, time.process_time()
            restored = [ours(clipped, ceiling)]
            taken = (time.process_time() - start) / len(truth) * RATE
            if not np.array_equal(restored[0][~lost], clipped[~lost]):
                raise SystemExit(f"{name}: samples that were not clipped changed")
            again = np.abs(restored[0].clip(-ceiling, ceiling) - clipped).max()
            restored += [ours(clipped, ceiling, "expansion"), spline(clipped, ceiling), spade(clipped, ceiling)]
            gains = [gain_db(truth, clipped, one, lost) for one in restored]
            table.append(gains)
            figures = " | ".join(f"{gain:+.1f}" for gain in gains)
            lines.add(f"| {name} | {input_db:.0f} | {100 * lost.mean():.1f} | {figures} | {taken:.1f} | {again:.0e} |")
    gains = np.array(table)
    for label, summary, target in (("median", np.median, f"at least {MEDIAN_DB:+.1f}"), ("least", np.min, f"at least {LEAST_DB:+.1f}")):
        lines.add(f"| {label} | | | {' | '.join(f'{value:+.1f}' for value in summary(gains, axis=0))} | target: {target} | |")
    below = int((gains[:, :1] < gains[:, 1:3]).any(axis=1).sum())
    spade_below = int((gains[:, 0] < gains[:, 3]).sum())
    lines.add(f"\nBelow the expansion or the spline: {below} of {len(gains)} (target: 0); below A-SPADE: {spade_below}.")


def coded(clipped: np.ndarray, codec: tuple[str, str, list[str]]) -> np.ndarray:
    """What ffmpeg makes of it: the samples at the same places."""
    encoder, suffix, options = codec
    with tempfile.TemporaryDirectory() as folder:
        raw, path = Path(folder, "in.wav"), Path(folder, f"out.{suffix}")
        sw.save(raw, 0.5 * clipped[None], RATE)
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", raw, "-c:a", encoder, *options, path], check=True)
        decoded = 2.0 * sw.load(path)[0][0].astype(float)
    return np.pad(decoded, (0, max(0, len(clipped) - len(decoded))))[: len(clipped)]


def report_lossy(truths: dict[str, np.ndarray], lines: Lines) -> None:
    lines.add("\n| signal | copy | input SDR dB | ceiling given: gain dB | ceiling detected: gain dB |\n|---|---|---|---|---|")
    for name, truth in truths.items():
        for label, codec in CODECS.items():
            for input_db in (12.0, 18.0):
                clipped, ceiling = clip_to(truth, input_db)
                wet, lost = coded(clipped, codec), clipped != truth
                given = gain_db(truth, wet, ours(wet, ceiling), lost)
                found = any(one.confidence for one in sw.detect_clipping(wet[None], RATE))
                detected = f"{gain_db(truth, wet, sw.declip(wet[None], RATE)[0], lost):+.1f}" if found else "not found"
                lines.add(f"| {name} | {label} | {input_db:.0f} | {given:+.1f} | {detected} |")


def report_speed(lines: Lines) -> None:
    mix = np.tile(stempeg_excerpt(0, 0.0, 6.0), 10)
    ceiling = float(np.quantile(np.abs(mix), 0.99))
    start = time.process_time()
    ours(mix.clip(-ceiling, ceiling), ceiling)
    taken = (time.process_time() - start) / len(mix) * RATE
    lines.add(f"\n1 % clipped: {taken:.2f} s of processor time for a second of a channel (target: at most 1 s of two processors).\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--music", type=Path, default=os.environ.get("STEMWRIGHT_FREE_MUSIC"), help="folder of free music, made by benchmarks/free_music.py"
    )
    parser.add_argument("--duration", type=float, default=2.0, help="seconds of each signal")
    parser.add_argument("--only", nargs="*", help="names of signals")
    parser.add_argument("--lossy", action="store_true", help="also the table of lossy copies")
    parser.add_argument("--write", action="store_true", help="into docs/results.md")
    chosen = parser.parse_args()
    truths = signals(None if chosen.music is None else Path(chosen.music), chosen.duration)
    truths = {name: truth for name, truth in truths.items() if not chosen.only or name in chosen.only}
    ours(np.clip(truths[next(iter(truths))][:4000], -0.5, 0.5), 0.5)  # compiles
    lines = Lines()
    report_speed(lines)
    report(truths, lines)
    if chosen.lossy:
        report_lossy(truths, lines)
    if chosen.write:
        names = f" --only {' '.join(chosen.only)}" if chosen.only else ""
        options = " --music FOLDER" * bool(chosen.music) + " --lossy" * chosen.lossy + names
        publish("Declipping", f"python benchmarks/declipping.py{options} --write", "\n".join(lines.kept))


if __name__ == "__main__":
    main()
