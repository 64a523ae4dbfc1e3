"""Settings of effects recovered from a dry and a wet signal, beside those that were used: every effect alone, and chains.

Conventions
    Signals are float64 [2, T] with a peak of 0.9. Settings are drawn from the effects' typical ranges. Wet and dry are rounded to float32,
    to 16 bit where a row says so, before the fit sees them.
    eq dB is the mean difference of the two responses from 50 Hz to 16 kHz, over linear or logarithmic frequency, whichever is larger.
    SDR (inverse) is of the dry signal that comes back when wet is undone with the fitted settings; SDR (wet) of the wet signal rendered
    with them. A compressor's "times" is the worst of its four. Seconds are processor time of one thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemwright.datagen.effects import EFFECTS, apply_chain, compressor, eq, room
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.effects.settings import draw
from stemwright.datagen.inverse.chain import fit_chain
from stemwright.datagen.inverse.known_dry.fit_compressor import fit_compression

GRIDS_HZ = (np.geomspace(50.0, 16_000.0, 500), np.linspace(50.0, 16_000.0, 500))
Figures = dict[str, float]
Use = tuple[str, Any]


@dataclass(frozen=True)
class Goal:
    """One figure of a row: its name, and the value it must not exceed (or reach, where ``least``); None where there is no target."""

    name: str
    target: float | None = None
    least: bool = False


@dataclass(frozen=True)
class FitRow:
    """One line of the benchmark: a title, its figures, and what takes them for a dry signal and a generator."""

    title: str
    goals: tuple[Goal, ...]
    run: Callable[[Mapping[str, torch.Tensor], str, int, np.random.Generator], tuple[Figures, float]]


def level(audio: torch.Tensor) -> torch.Tensor:
    """The signal with a peak of 0.9."""
    return audio * (0.9 / float(audio.abs().max()))


def float32(audio: torch.Tensor) -> torch.Tensor:
    """What a float32 file gives back."""
    return audio.float().double()


def sdr_db(error: torch.Tensor, reference: torch.Tensor) -> float:
    """Energy of the reference over that of the error, in dB."""
    return 10.0 * math.log10(float(reference.square().sum()) / max(float(error.square().sum()), 1e-300))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its processor seconds."""
    start = time.process_time()
    return work(), time.process_time() - start


def response_error_db(found: Any, truth: Any, sample_rate: int) -> float:
    """The larger of the mean differences of two equalisers over linear and logarithmic frequency."""
    levels = [
        [20.0 * np.log10(np.abs(response(eq.sections(settings, sample_rate), hz, sample_rate))) for hz in GRIDS_HZ]
        for settings in (found, truth)
    ]
    return max(float(np.abs(one - other).mean()) for one, other in zip(*levels, strict=True))


def settings_of(chain: Sequence[Use], name: str) -> Any:
    """The settings of an effect in a fitted chain; its neutral ones if it was pruned."""
    return next((settings for effect, settings in chain if effect == name), EFFECTS[name].Settings())


def drawn(name: str, rng: np.random.Generator, **fixed: Any) -> Any:
    """Typical settings of an effect."""
    return draw(EFFECTS[name].Settings, rng, {**EFFECTS[name].TYPICAL, **fixed})


def percent(found: float, truth: float) -> float:
    """Error in per cent."""
    return 100.0 * abs(found / truth - 1.0)


TIMES = ("detector_attack_ms", "detector_release_ms", "attack_ms", "release_ms")


def compressor_figures(found: Any, truth: Any) -> Figures:
    """Errors of threshold, ratio, and the worst of the four times."""
    return {
        "threshold dB": abs(found.threshold_db - truth.threshold_db),
        "ratio %": percent(found.ratio, truth.ratio),
        "times %": max(percent(getattr(found, name), getattr(truth, name)) for name in TIMES),
    }


def single(name: str, errors: Callable[[Any, Any], Figures]) -> Callable[..., tuple[Figures, float]]:
    """A row that fits one effect through its own ``fit``."""
    effect: Any = EFFECTS[name]

    def run(song: Mapping[str, torch.Tensor], stem: str, sample_rate: int, rng: np.random.Generator) -> tuple[Figures, float]:
        dry, truth = float32(level(song[stem])), drawn(name, rng)
        wet = float32(effect.apply(dry, sample_rate, truth))
        found, seconds = timed(lambda: effect.fit(wet, dry, sample_rate))
        return {**errors(found, truth), "SDR (wet) dB": sdr_db(effect.apply(dry, sample_rate, found) - wet, wet)}, seconds

    return run


def eq_alone(song: Mapping[str, torch.Tensor], stem: str, sample_rate: int, rng: np.random.Generator) -> tuple[Figures, float]:
    """One equaliser."""
    dry, truth = float32(level(song[stem])), drawn("eq", rng)
    wet = float32(eq.apply(dry, sample_rate, truth))
    found, seconds = timed(lambda: EFFECTS["eq"].fit(wet, dry, sample_rate))
    return {"eq dB": response_error_db(found, truth, sample_rate)}, seconds


def chain_row(names: Sequence[str], **narrowed: dict[str, Any]) -> Callable[..., tuple[Figures, float]]:
    """A row that fits a chain in its known order; figures for each of its effects."""

    def run(song: Mapping[str, torch.Tensor], stem: str, sample_rate: int, rng: np.random.Generator) -> tuple[Figures, float]:
        dry = float32(level(song[stem]))
        truth = [(name, drawn(name, rng, **narrowed.get(name, {}))) for name in names]
        wet = float32(apply_chain(dry, sample_rate, truth))
        found, seconds = timed(lambda: fit_chain(wet, dry, sample_rate, list(names)))
        figures: Figures = {"SDR (wet) dB": sdr_db(apply_chain(dry, sample_rate, found) - wet, wet)}
        for name, settings in truth:
            before = apply_chain(dry, sample_rate, truth[: [key for key, _ in truth].index(name)])
            figures.update(IN_CHAIN[name](settings_of(found, name), settings, before, sample_rate))
        return figures, seconds

    return run


def eq_in_chain(found: Any, truth: Any, before: torch.Tensor, sample_rate: int) -> Figures:
    """Figures of an equaliser of a chain."""
    del before
    return {"eq dB": response_error_db(found, truth, sample_rate)}


def compressor_in_chain(found: Any, truth: Any, before: torch.Tensor, sample_rate: int) -> Figures:
    """Figures of a compressor of a chain, whose input is known here, and so its own inverse."""
    return {**compressor_figures(found, truth), "SDR (inverse) dB": inverse_sdr_db(before, truth, found, sample_rate)}


def fader_in_chain(found: Any, truth: Any, before: torch.Tensor, sample_rate: int) -> Figures:
    """Figures of a fader of a chain."""
    del before, sample_rate
    return {"gain dB": abs(found.gain_db - truth.gain_db), "pan": abs(found.pan - truth.pan)}


def room_in_chain(found: Any, truth: Any, before: torch.Tensor, sample_rate: int) -> Figures:
    """Figures of a room of a chain."""
    del before, sample_rate
    return room_figures(found, truth)


IN_CHAIN: Mapping[str, Callable[[Any, Any, torch.Tensor, int], Figures]] = {
    "eq": eq_in_chain,
    "compressor": compressor_in_chain,
    "fader": fader_in_chain,
    "room": room_in_chain,
}


def inverse_sdr_db(before: torch.Tensor, truth: Any, found: Any, sample_rate: int) -> float:
    """SDR of the compressor's input when its output is undone with the found settings; a gain that a fader shares is left out."""
    plain = {"makeup_db": 0.0}
    wet = compressor.apply(before, sample_rate, truth.model_copy(update=plain))
    restored = compressor.invert(wet, sample_rate, found.model_copy(update=plain))
    return sdr_db(restored - before, before)


def compressor_row(condition: str) -> Callable[..., tuple[Figures, float]]:
    """One compressor, from float audio, from 16-bit files, or with the other stems leaking in."""

    def run(song: Mapping[str, torch.Tensor], stem: str, sample_rate: int, rng: np.random.Generator) -> tuple[Figures, float]:
        dry, truth = level(song[stem]), drawn("compressor", rng)
        wet = compressor.apply(dry, sample_rate, truth)
        known = dry
        if condition == "16 bit":
            # One common gain brings both below full scale: the threshold moves with it.
            peak = max(1.0, float(wet.abs().max()))
            wet, known = (torch.round(audio / peak * 2.0**15) / 2.0**15 * peak for audio in (wet, dry))
        elif condition == "leak":
            others = torch.stack([audio for name, audio in song.items() if name != stem]).sum(0)
            wet = wet + others * 0.01 * wet.norm() / others.norm()
        found, seconds = timed(lambda: fit_compression(float32(wet), float32(known), sample_rate).settings)
        restored = compressor.invert(float32(wet), sample_rate, found)
        return {**compressor_figures(found, truth), "SDR (inverse) dB": sdr_db(restored - dry, dry)}, seconds

    return run


def room_figures(found: Any, truth: Any) -> Figures:
    """Errors of the room but for its noise."""
    return {
        "RT60 %": percent(found.rt60_s, truth.rt60_s),
        "pre-delay ms": abs(found.pre_delay_ms - truth.pre_delay_ms),
        "room wet dB": abs(found.wet_db - truth.wet_db),
        "damping": abs(found.damping - truth.damping),
    }


def room_alone(song: Mapping[str, torch.Tensor], stem: str, sample_rate: int, rng: np.random.Generator) -> tuple[Figures, float]:
    """One room whose noise is unknown."""
    dry, truth = float32(level(song[stem])), drawn("room", rng)
    wet = float32(room.apply(dry, sample_rate, truth))
    found, seconds = timed(lambda: EFFECTS["room"].fit(wet, dry, sample_rate))
    return room_figures(found, truth), seconds


def errors_of(*names: str) -> Callable[[Any, Any], Figures]:
    """The errors of the named settings: relative where the unit is a time, a frequency or a rate, else absolute."""

    def errors(found: Any, truth: Any) -> Figures:
        figures = {}
        for name in names:
            relative = name.endswith(("_hz", "_ms"))
            value, goal = getattr(found, name), getattr(truth, name)
            figures[f"{name} %" if relative else name] = percent(value, goal) if relative else abs(value - goal)
        return figures

    return errors


REPRODUCED = Goal("SDR (wet) dB")


def exact(limit_db: float, ratio: float, sdr: float, times: float | None = None) -> tuple[Goal, ...]:
    """The figures of a compressor with their targets."""
    return (
        Goal("threshold dB", limit_db),
        Goal("ratio %", ratio),
        Goal("times %", times),
        Goal("SDR (inverse) dB", sdr, least=True),
    )


ROOM = (Goal("RT60 %", 5.0), Goal("pre-delay ms", 1.0), Goal("room wet dB", 1.0), Goal("damping"))
FADER_EQ = {"compressor": {"makeup_db": 0.0}}
ROWS = {
    "fader": FitRow("fader and pan", (Goal("gain_db", 0.01), Goal("pan", 0.001)), single("fader", errors_of("gain_db", "pan"))),
    "eq": FitRow("eq", (Goal("eq dB", 0.1),), eq_alone),
    "eq compressor": FitRow("eq > compressor", (Goal("eq dB", 0.5), *exact(None, None, None)), chain_row(["eq", "compressor"])),  # type: ignore[arg-type]
    "compressor": FitRow("compressor, float audio", exact(0.01, 0.1, 100.0, 0.5), compressor_row("float")),
    "compressor 16": FitRow("compressor, 16-bit files", exact(0.1, 1.0, 60.0), compressor_row("16 bit")),
    "compressor behind": FitRow(
        "compressor > eq > fader, eq and fader unknown", exact(0.3, 3.0, 30.0), chain_row(["compressor", "eq", "fader"], **FADER_EQ)
    ),
    "compressor leak": FitRow("compressor, other stems leaking at -40 dB", exact(0.5, 5.0, 20.0), compressor_row("leak")),
    "room": FitRow("room, noise unknown", ROOM, room_alone),
    "strip": FitRow(
        "eq > compressor > fader",
        (Goal("eq dB", 0.5), Goal("gain dB"), Goal("pan"), *exact(None, None, None), REPRODUCED),  # type: ignore[arg-type]
        chain_row(["eq", "compressor", "fader"], **FADER_EQ),
    ),
    "strip room": FitRow(
        "eq > compressor > room, noise unknown",
        (Goal("eq dB"), *exact(None, None, None), *(Goal(goal.name) for goal in ROOM)),  # type: ignore[arg-type]
        chain_row(["eq", "compressor", "room"], **FADER_EQ),
    ),
    "delay": FitRow(
        "delay",
        (Goal("delay_ms %"), Goal("feedback"), Goal("mix"), REPRODUCED),
        single("delay", errors_of("delay_ms", "feedback", "mix")),
    ),
    "width": FitRow("width", (Goal("width"), REPRODUCED), single("width", errors_of("width"))),
    "lowpass": FitRow("lowpass", (Goal("cutoff_hz %"), Goal("order"), REPRODUCED), single("lowpass", errors_of("cutoff_hz", "order"))),
    "highpass": FitRow("highpass", (Goal("cutoff_hz %"), Goal("order"), REPRODUCED), single("highpass", errors_of("cutoff_hz", "order"))),
    "clip": FitRow("clip", (Goal("ceiling_db"), REPRODUCED), single("clip", errors_of("ceiling_db"))),
    "distortion": FitRow(
        "distortion", (Goal("drive_db"), Goal("asymmetry"), REPRODUCED), single("distortion", errors_of("drive_db", "asymmetry"))
    ),
    "reverb": FitRow(
        "reverb",
        tuple(map(Goal, ("room_size", "damping", "wet", "dry", "width", "SDR (wet) dB"))),
        single("reverb", errors_of("room_size", "damping", "wet", "dry", "width")),
    ),
    "limiter": FitRow(
        "limiter",
        (Goal("ceiling_db"), Goal("release_ms %"), Goal("lookahead_ms %"), REPRODUCED),
        single("limiter", errors_of("ceiling_db", "release_ms", "lookahead_ms")),
    ),
    "loudness": FitRow("loudness (what was measured is not identifiable)", (REPRODUCED,), single("loudness", errors_of())),
}
