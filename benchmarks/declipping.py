"""Declipping beside its peers: ours, the expansion, a cubic spline and a textbook A-SPADE, on real sound clipped to a known SDR.

    python benchmarks/declipping.py [--music FOLDER] [--duration S] [--lossy] [--only NAME ...] [--write]
    python benchmarks/declipping.py --basses [--music FOLDER] [--write]

Conventions
    Gain: SDR of the clipped samples after, minus before, in dB. A signal is an excerpt in mono with a peak of 1, clipped at both signs of a
    ceiling so that the SDR of the whole is 7, 12 or 18 dB. Drums, voice and full mix are from the excerpt inside stempeg, guitars and two
    more mixes from the folder of free music that ``benchmarks/free_music.py`` makes (``--music`` or ``STEMWRIGHT_FREE_MUSIC``); without it
    the other instruments of the excerpt stand in for the guitar. Methods were tuned on other excerpts: of drums and mix the first 2 s, of
    voice 4 to 6 s, other guitars.
    Lossy: the clipped signal after coding and decoding by the ffmpeg program; the gain is over all samples that were clipped, by ceilings
    that are given and by those that are detected.
    Speed: seconds of processor time, all threads together, for a second of one channel; of 1 % clipped, of a minute of the mix.
    Basses: half a second of made low tones, whose runs of clipped samples are long, at 22 050 Hz: sines, saturated ones (tanh of so many
    times a sine), filtered sawtooth and square waves, frequency modulation; and of tracker basses from the folder of free music, their
    loudest half second.
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
import soxr
from results import publish
from scipy.signal import butter, lfilter

import stemwright as sw
from stemwright.datagen.evaluate import clipping_gains
from stemwright.datagen.evaluate.clipping_gains import clip_to, gain_db, loudest_part, spade, spline

RATE = 44_100
BASS_RATE = 22_050
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


def basses() -> dict[str, np.ndarray]:
    """Name -> mono [T] at ``BASS_RATE`` with a peak of 1: made low tones."""
    time, noise = np.arange(round(0.5 * BASS_RATE)) / BASS_RATE, np.random.default_rng(7)

    def filtered(wave: np.ndarray, cutoff_hz: float) -> np.ndarray:
        return np.asarray(lfilter(*butter(2, cutoff_hz, fs=BASS_RATE), wave))

    def phase(frequency_hz: float) -> np.ndarray:
        return 2 * np.pi * frequency_hz * time

    tones = {
        "sine of 48 Hz": np.sin(phase(48.0)),
        "sine of 110 Hz": np.sin(phase(110.0)),
        "saturated, 1.5": np.tanh(1.5 * np.sin(phase(55.0))),
        "saturated, 3": np.tanh(3.0 * np.sin(phase(55.0))),
        "saturated, 6": np.tanh(6.0 * np.sin(phase(55.0))),
        "saturated, 6, second harmonic": np.tanh(6.0 * np.sin(phase(55.0)) + 2.4 * np.sin(phase(110.0) + 0.7)),
        "sawtooth below 300 Hz": filtered(2 * (50.0 * time % 1) - 1, 300.0),
        "sawtooth below 800 Hz": filtered(2 * (82.4 * time % 1) - 1, 800.0),
        "square below 250 Hz": filtered(np.sign((55.0 * time % 1) - 0.5), 250.0),
        "square below 1 kHz": filtered(np.sign((41.2 * time % 1) - 0.5), 1000.0),
        "FM 1:1": np.sin(phase(60.0) + 2.5 * np.exp(-3 * time) * np.sin(phase(60.0))),
        "FM 1:2, tops with a dip": np.sin(phase(73.4) + 1.5 * np.exp(-5 * time) * np.sin(phase(146.8))),
    }
    decaying = {name: tone * np.exp(-time) + noise.normal(0, 1e-3, len(time)) for name, tone in tones.items()}
    return {name: tone / np.abs(tone).max() for name, tone in decaying.items()}


def tracker_basses(music: Path, count: int = 6) -> dict[str, np.ndarray]:
    """The loudest half second of so many tracker songs' basses, evenly chosen, as ``basses``."""
    paths = sorted(music.glob("modules/*/bass.flac"))
    found = {}
    for path in [paths[place] for place in np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))]:
        audio, rate = sw.load(path)
        samples = loudest_part(soxr.resample(audio.T, rate, BASS_RATE).T, round(0.5 * BASS_RATE))
        if np.abs(samples).max() > 0.0:
            found[path.parent.name] = samples
    return found


def report_basses(truths: dict[str, np.ndarray], lines: Lines) -> None:
    lines.add(
        "| signal | input SDR dB | clipped % | ours | expansion | cubic spline | ours, CPU s for a second |\n|---|---|---|---|---|---|---|"
    )
    table = []
    for name, truth in truths.items():
        for input_db in INPUTS_DB:
            clipped, ceiling = clip_to(truth, input_db)
            lost, start = clipped != truth, time.process_time()
            restored = [clipping_gains.ours(clipped, ceiling, BASS_RATE)]
            taken = (time.process_time() - start) / len(truth) * BASS_RATE
            restored += [clipping_gains.ours(clipped, ceiling, BASS_RATE, "expansion"), spline(clipped, ceiling)]
            gains = [gain_db(truth, clipped, one, lost) for one in restored]
            table.append(gains)
            lines.add(
                f"| {name} | {input_db:.0f} | {100 * lost.mean():.1f} | {' | '.join(f'{gain:+.1f}' for gain in gains)} | {taken:.1f} |"
            )
    gains = np.array(table)
    for label, summary in (("median", np.median), ("least", np.min)):
        lines.add(f"| {label} | | | {' | '.join(f'{value:+.1f}' for value in summary(gains, axis=0))} | |")
    below = [int((gains[:, 0] < gains[:, place]).sum()) for place in (1, 2)]
    lines.add(f"\nBelow the expansion: {below[0]} of {len(gains)}; below the spline: {below[1]} (targets: 0).")


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
    parser.add_argument("--basses", action="store_true", help="low tones instead")
    parser.add_argument("--write", action="store_true", help="into docs/results.md")
    chosen = parser.parse_args()
    lines = Lines()
    if chosen.basses:
        report_basses(basses() | (tracker_basses(Path(chosen.music)) if chosen.music else {}), lines)
        if chosen.write:
            music = " --music FOLDER" * bool(chosen.music)
            publish("Declipping: low tones", f"python benchmarks/declipping.py --basses{music} --write", "\n".join(lines.kept))
        return
    truths = signals(None if chosen.music is None else Path(chosen.music), chosen.duration)
    truths = {name: truth for name, truth in truths.items() if not chosen.only or name in chosen.only}
    ours(np.clip(truths[next(iter(truths))][:4000], -0.5, 0.5), 0.5)  # compiles
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
