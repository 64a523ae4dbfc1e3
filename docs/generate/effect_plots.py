"""Pictures of what each effect does, computed by sending test signals through the very code that renders datasets.

Conventions
    Each picture is drawn twice, with dark and with light lines on a transparent ground, for the two colour schemes of the site.
    Filters are shown by their frequency response, dynamics by level out over level in, echoes and rooms by their impulse response.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from stemwright.datagen.effects import EFFECTS

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

RATE = 44_100
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito 2008
INK = {"light": "#222222", "dark": "#e4e4e4"}
Plot = Callable[[Axes], None]


def draw(name: str, folder: Path) -> list[str]:
    """Draws the picture of an effect in both colour schemes and returns the names of the files, light first."""
    files = []
    for scheme, ink in INK.items():
        keys = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
        with pyplot.rc_context({**dict.fromkeys(keys, ink), "svg.hashsalt": name, "font.size": 9.5, "svg.fonttype": "none"}):
            figure, axes = pyplot.subplots(figsize=(6.6, 3.1), layout="constrained")
            axes.set_prop_cycle(color=COLOURS if scheme == "light" else COLOURS[5:] + COLOURS[4:0:-1])
            axes.grid(alpha=0.25)
            PLOTS[name](axes)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(framealpha=0.0, fontsize=8.5)
            files.append(f"{name}-{scheme}.svg")
            figure.savefig(folder / files[-1], transparent=True, metadata={"Date": None})
            pyplot.close(figure)
    return files


def _apply(name: str, audio: np.ndarray, **settings: Any) -> np.ndarray:
    """Audio [C, T] through one effect, in double precision."""
    effect = EFFECTS[name]
    return effect.apply(torch.from_numpy(np.atleast_2d(audio)).double(), RATE, effect.Settings(**settings)).numpy()


def _impulse(num_frames: int, channels: int = 1) -> np.ndarray:
    audio = np.zeros((channels, num_frames))
    audio[:, 0] = 1.0
    return audio


def _sine(hz: float, amplitude: float, duration_s: float) -> np.ndarray:
    return amplitude * np.sin(2.0 * np.pi * hz * np.arange(round(duration_s * RATE)) / RATE)


def _db(value: Any) -> Any:
    return 20.0 * np.log10(np.maximum(np.abs(value), 1e-9))


def _response(axes: Axes, name: str, cases: dict[str, dict[str, Any]], low_db: float, high_db: float) -> None:
    """Gain over frequency: the spectrum of the impulse response."""
    hz = np.fft.rfftfreq(2**16, 1.0 / RATE)
    for label, settings in cases.items():
        axes.semilogx(hz[1:], _db(np.fft.rfft(_apply(name, _impulse(2**16), **settings)[0]))[1:], label=label)
    axes.set(xlim=(20, 20_000), ylim=(low_db, high_db), xlabel="frequency, Hz", ylabel="gain, dB")


def _eq(axes: Axes) -> None:
    cases = {
        "low shelf +6 dB at 100 Hz": {"low_shelf_gain_db": 6.0},
        "peak −9 dB at 1 kHz, q 2": {"peak2_gain_db": -9.0, "peak2_q": 2.0},
        "peak +6 dB at 3 kHz, q 1": {"peak3_gain_db": 6.0},
        "high shelf −6 dB at 8 kHz": {"high_shelf_gain_db": -6.0},
    }
    _response(axes, "eq", cases, -12.0, 9.0)


def _lowpass(axes: Axes) -> None:
    _response(axes, "lowpass", {f"1 kHz, order {order}": {"cutoff_hz": 1000.0, "order": order} for order in (1, 2, 4, 8)}, -60.0, 6.0)


def _highpass(axes: Axes) -> None:
    _response(axes, "highpass", {f"1 kHz, order {order}": {"cutoff_hz": 1000.0, "order": order} for order in (1, 2, 4, 8)}, -60.0, 6.0)


def _fader(axes: Axes) -> None:
    pans = np.linspace(-1.0, 1.0, 41)
    out = np.array([_apply("fader", np.ones((2, 1)), pan=float(pan))[:, 0] for pan in pans])
    axes.plot(pans, out[:, 0], label="left channel")
    axes.plot(pans, out[:, 1], label="right channel")
    axes.plot(pans, (out**2).sum(axis=1), "--", label="sum of the squares")
    axes.set(xlabel="pan (left −1, right 1)", ylabel="factor")


def _width(axes: Axes) -> None:
    widths = np.linspace(0.0, 4.0, 41)
    stereo = np.array([[1.0], [0.0]])  # a sound in the left channel only
    out = np.array([_apply("width", stereo, width=float(width))[:, 0] for width in widths])
    axes.plot(widths, out[:, 0], label="left channel")
    axes.plot(widths, out[:, 1], label="right channel")
    axes.plot(widths, out.sum(axis=1), "--", label="their sum")
    axes.set(xlabel="width", ylabel="factor of a sound that is only in the left channel")
    axes.yaxis.label.set_fontsize(8)


def _levels(axes: Axes, name: str, cases: dict[str, dict[str, Any]]) -> None:
    """Level out over level in of a steady 1 kHz sine, read after it has settled."""
    levels = np.arange(-60.0, 0.5, 2.0)
    for label, settings in cases.items():
        out = [_db(np.abs(_apply(name, _sine(1000.0, 10.0 ** (level / 20.0), 0.4), **settings)[0, -4410:]).max()) for level in levels]
        axes.plot(levels, out, label=label)
    axes.plot(levels, levels, ":", color="#888888")
    axes.set(xlabel="peak level of a sine in, dBFS", ylabel="out, dBFS", ylim=(-62, 3))


def _compressor(axes: Axes) -> None:
    fast = {"detector_attack_ms": 0.5, "detector_release_ms": 50.0, "attack_ms": 1.0, "release_ms": 100.0}
    cases = {f"threshold −30 dBFS, {ratio:g}:1": {"threshold_db": -30.0, "ratio": ratio, **fast} for ratio in (2.0, 4.0, math.inf)}
    _levels(axes, "compressor", {label.replace("inf", "∞"): settings for label, settings in cases.items()})


def _limiter(axes: Axes) -> None:
    time = np.arange(round(0.25 * RATE)) / RATE
    audio = 0.4 * np.ones_like(time)
    audio[(time > 0.05) & (time < 0.07)] = 1.0
    out = _apply("limiter", audio, ceiling_db=-6.0, release_ms=80.0, lookahead_ms=5.0)[0]
    axes.plot(1000.0 * time, audio, label="in")
    axes.plot(1000.0 * time, out, label="out, ceiling −6 dBFS")
    axes.plot(1000.0 * time, out / audio, "--", label="gain")
    axes.set(xlabel="time, ms", ylabel="amplitude", ylim=(0.0, 1.1))


def _clip(axes: Axes) -> None:
    _curve(axes, "clip", {f"ceiling {ceiling:g} dBFS".replace("-", "−"): {"ceiling_db": ceiling} for ceiling in (-12.0, -6.0, -2.0)})


def _distortion(axes: Axes) -> None:
    cases = {"drive 6 dB": {"drive_db": 6.0}, "drive 20 dB": {"drive_db": 20.0}}
    _curve(axes, "distortion", {**cases, "drive 12 dB, asymmetry 0.5": {"drive_db": 12.0, "asymmetry": 0.5}})


def _curve(axes: Axes, name: str, cases: dict[str, dict[str, Any]]) -> None:
    """Sample out over sample in, of an effect without memory."""
    samples = np.linspace(-1.0, 1.0, 401)
    for label, settings in cases.items():
        axes.plot(samples, _apply(name, samples, **settings)[0], label=label)
    axes.plot(samples, samples, ":", color="#888888")
    axes.set(xlabel="sample in", ylabel="sample out")


def _decay(axes: Axes, name: str, cases: dict[str, dict[str, Any]], duration_s: float) -> None:
    """Energy that is left of the impulse response, after Schroeder: its slope is the decay."""
    frames = round(duration_s * RATE)
    time = np.arange(frames) / RATE
    for label, settings in cases.items():
        response = _apply(name, _impulse(2 * frames, 2), **settings)[0]
        left = np.cumsum(response[:0:-1] ** 2)[::-1][:frames]
        axes.plot(time[::64], 10.0 * np.log10(np.maximum(left / left[0], 1e-9))[::64], label=label)
    axes.set(xlabel="time after an impulse, s", ylabel="energy left of the tail, dB", ylim=(-60, 3))


def _reverb(axes: Axes) -> None:
    cases = {f"room_size {size:g}, damping {damping:g}": {"wet": 0.4, "room_size": size, "damping": damping}
             for size, damping in ((0.3, 0.5), (0.7, 0.5), (0.7, 1.0), (0.95, 0.5))}  # fmt: skip
    _decay(axes, "reverb", cases, 2.5)


def _room(axes: Axes) -> None:
    cases = {f"rt60 {rt60:g} s, damping {damping:g}": {"wet_db": 0.0, "rt60_s": rt60, "damping": damping}
             for rt60, damping in ((0.4, 0.0), (1.2, 0.0), (1.2, 1.0), (2.5, 0.0))}  # fmt: skip
    _decay(axes, "room", cases, 2.5)


def _delay(axes: Axes) -> None:
    response = _apply("delay", _impulse(round(1.6 * RATE)), delay_ms=250.0, feedback=0.6, mix=0.5)[0]
    frames = np.flatnonzero(response)
    axes.stem(1000.0 * frames / RATE, response[frames], basefmt=" ", label="delay 250 ms, feedback 0.6, mix 0.5")
    axes.set(xlabel="time after an impulse, ms", ylabel="amplitude")


def _chorus(axes: Axes) -> None:
    time = np.arange(3 * RATE) / RATE
    for label, settings in {
        "rate 1 Hz, depth 0.25": {},
        "rate 0.5 Hz, depth 0, depth_ms 4": {"rate_hz": 0.5, "depth": 0.0, "depth_ms": 4.0},
    }.items():
        read_at = _apply("chorus", time, mix=1.0, **settings)[0]  # of a ramp, the copy says which moment is read
        axes.plot(time[RATE // 10 :: 64], 1000.0 * (time - read_at)[RATE // 10 :: 64], label=label)
    axes.set(xlabel="time, s", ylabel="delay of the copy, ms", ylim=(0, 13))


def _codec(axes: Axes) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 4 * RATE))
    cases = {"mp3 128": ("mp3", 128.0), "mp3 48": ("mp3", 48.0), "aac 64": ("aac", 64.0), "opus 24": ("opus", 24.0)}
    for label, (codec, kbps) in cases.items():
        wet = _apply("codec", noise, codec=codec, bit_rate_kbps=kbps)
        hz, gain_db = _band_levels(wet - noise, noise)
        axes.semilogx(hz, gain_db, label=f"{label} kbit/s")
    axes.set(xlim=(50, 20_000), ylim=(-45, 6), xlabel="frequency, Hz", ylabel="what is lost, dB of the sound")


def _noise(axes: Axes) -> None:
    sine = _sine(1000.0, 0.5, 4.0)[None]
    for colour in ("white", "pink", "brown"):
        added = _apply("noise", sine, snr_db=40.0, colour=colour) - sine
        axes.semilogx(*_band_levels(added, np.random.default_rng(1).standard_normal(added.shape)), label=colour)
    axes.set(xlim=(50, 20_000), xlabel="frequency, Hz", ylabel="noise in third octaves against white noise, dB")
    axes.yaxis.label.set_fontsize(8)


def _band_levels(audio: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies in third octaves against those of another signal, in dB."""
    hz = np.fft.rfftfreq(audio.shape[1], 1.0 / RATE)
    centres = 1000.0 * 2.0 ** (np.arange(-13, 14) / 3.0)
    powers = [np.abs(np.fft.rfft(each[0])) ** 2 for each in (audio, reference)]
    bands = [(hz >= centre * 2.0 ** (-1 / 6)) & (hz < centre * 2.0 ** (1 / 6)) for centre in centres]
    return centres, np.array([10.0 * np.log10(powers[0][band].sum() / powers[1][band].sum()) for band in bands])


def _dc(axes: Axes) -> None:
    time = np.arange(round(0.02 * RATE)) / RATE
    audio = _sine(150.0, 0.5, 0.02)
    axes.plot(1000.0 * time, audio, label="in")
    axes.plot(1000.0 * time, _apply("dc", audio, offset=0.2)[0], label="out, offset 0.2")
    axes.set(xlabel="time, ms", ylabel="amplitude")


def _envelope(axes: Axes) -> None:
    audio, points = np.ones((1, 11 * RATE)), {"gain_02_db": 3.0, "gain_03_db": -6.0, "gain_04_db": -6.0, "gain_05_db": 1.5}
    time = np.arange(audio.shape[1]) / RATE
    axes.plot(time, _db(_apply("envelope", audio, step_s=2.0, **points)[0]))
    axes.plot(2.0 * np.arange(6), [0.0, *points.values(), 0.0], "o")
    axes.set(xlabel="time, s", ylabel="gain, dB")


def _loudness(axes: Axes) -> None:
    levels = np.arange(-80.0, 0.5, 4.0)
    for target in (-14.0, -23.0):
        audio = [_sine(997.0, 10.0 ** (level / 20.0), 1.0) for level in levels]
        gains = [_db(np.abs(_apply("loudness", each, target_db=target)).max()) - _db(np.abs(each).max()) for each in audio]
        axes.plot(levels, gains, ".-", label=f"target {target:g} LUFS".replace("-", "−"))
    axes.set(xlabel="peak level of a 997 Hz sine in, dBFS", ylabel="gain, dB")


PLOTS: dict[str, Plot] = {
    "fader": _fader, "width": _width, "eq": _eq, "lowpass": _lowpass, "highpass": _highpass, "compressor": _compressor,
    "limiter": _limiter, "clip": _clip, "distortion": _distortion, "reverb": _reverb, "room": _room, "delay": _delay,
    "chorus": _chorus, "codec": _codec, "noise": _noise, "dc": _dc, "envelope": _envelope, "loudness": _loudness,
}  # fmt: skip
SHOWS = {
    "fader": "Factors of the two channels over the pan.",
    "width": "A sound that is only in the left channel: what each channel gets.",
    "eq": "Gain over frequency of four single bands.",
    "lowpass": "Gain over frequency.",
    "highpass": "Gain over frequency.",
    "compressor": "Level out over level in of a steady sine.",
    "limiter": "A burst above the ceiling: the gain falls before it, within the look-ahead, and recovers after it.",
    "clip": "Sample out over sample in.",
    "distortion": "Sample out over sample in.",
    "reverb": "Decay of the tail: the energy that is left after each moment, of the impulse response.",
    "room": "Decay of the tail: the energy that is left after each moment, of the impulse response.",
    "delay": "Impulse response: the direct sound and its echoes.",
    "chorus": "Delay of the copy over time.",
    "codec": "What coding takes from white noise of one channel, in third octaves: 0 dB where nothing of the sound is left.",
    "noise": "Spectrum of the noise, in third octaves.",
    "dc": "A sine and the same with an offset.",
    "envelope": "Gain over time of a ride with points two seconds apart.",
    "loudness": "Gain over the level in: it brings every level to the target, but lifts nothing by more than 40 dB.",
}
