"""Settings of effects recovered from a dry and a wet signal: every effect alone, and chains, on music, against the project's targets.

Conventions
    The music is the real excerpt inside stempeg and two songs of ``benchmarks/songs.py``, stem by stem, 6 s of 44.1 kHz stereo, peak 0.9.
    Settings are drawn from the effects' typical ranges by a generator keyed by [seed, row, draw]; none was used while the fits were
    written. Wet and dry are rounded to float32, to 16 bit where the row says so, before the fit sees them.
    eq dB is the mean difference of the two responses from 50 Hz to 16 kHz, over linear or logarithmic frequency, whichever is larger.
    SDR (inverse) is of the dry signal that comes back when wet is undone with the fitted settings; SDR (wet) of the wet signal rendered
    with them. Chorus has no fit. A fit that refuses counts as a miss of every figure. Seconds are processor time of one thread.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import torch
from inversion import stems
from songs import render_song

from stemwright.datagen.effects import EFFECTS, apply_chain, compressor, eq, room
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.effects.settings import draw
from stemwright.datagen.inverse.chain import fit_chain
from stemwright.datagen.inverse.known_dry.fit_compressor import fit_compression

SECONDS = 6.0
SONGS = (501, 502)
GRIDS_HZ = (np.geomspace(50.0, 16_000.0, 500), np.linspace(50.0, 16_000.0, 500))
Figures = dict[str, float]
Use = tuple[str, Any]

TRIES = """
What was tried. Entries marked "kept" are in the code, the others are not:

| tried | result |
|---|---|
| eq: response over windows mirrored at the ends of the excerpt | 0.3 to 1.9 dB error on music; windows inside it: 0.001 to 0.005 dB |
| eq: bands added greedily, then refined to the waveform | 0.00 to 0.45 dB: it ends in local minima where two bands do the work of one |
| eq: 48 random starts, ten times as many | of 16 draws most below 0.03 dB, some 0.05 to 0.2; restarting each band of the best result: 24 below 0.04 dB |
| chain: eq fitted to the plain response although a compressor follows it | 0.5 to 2.4 dB of spread |
| chain: the moving gain from both signals' energies within 10 ms, divided out | 1.2 to 1.8 dB of spread, worse than no correction on a voice |
| chain: the gain as the median over frequencies of short spectra, divided out | 0.1 to 0.45 dB of spread: kept |
| chain: the compressor inverted on wet while its settings are inaccurate | worse in each iteration; the gain of the forward model divided out: kept |
| chain: eq with a free level and no penalty on gains | residual -54 dB with eq and threshold both 9 dB off: a shelf can be a gain |
| chain: stop at a residual of -80 dB | reached with eq and threshold both 2.6 dB off; the true bands leave -145 to -152 |
| chain: a free response, 60 knots from 20 Hz, even in log frequency | leaves -36 dB: what shelves do below 20 Hz turns phases above |
| chain: the same, 72 knots from 12 Hz, even on the bands' own axis | -54 to -101 dB; 80 knots from 2 Hz: -88 to -108: kept |
| chain: bands for the free response from their whole ranges | -137, -151 dB with eq 5.9, 2.6 dB off: a high shelf at 20 Hz is a gain |
| chain: the same within typical ranges first | the true level: kept; drawn chains are typical, which favours this benchmark |
| chain: a free response beside a compressor in a wrong local minimum | -38 dB after 25 iterations |
| chain: there, a new search of the compressor for each kind of detector | of three draws one reaches -151 dB, two basses -45 and -54: kept |
| room: level from the energy of the whole signal | 0.1 to 2.9 dB off; the median over short spectra: 0.03 to 1 dB |
| room: decay from the same short spectra by likelihood | RT60 7 to 10 % high, of a bass 150 %: windows smear it |
| room: deconvolution by conjugate gradients with the cut tail modelled | ten steps leave more error than the plain quotient |
| room: plain quotient of spectra, decay from its frames | RT60 1 to 34 % off, pre-delay of a bass 2 to 33 ms; narrow bands: kept |
| room: likelihood in narrow bands, equal cells of half a sample | decays up to 22 % short; cells finer at first: kept |
| room: the same, finer at first, noise added 80 or 100 dB below | decays up to 5 and 18 % short: an effect of the cells; 60 dB below: within 2 % |
| room: pre-delay searched once, 15 ms around a rough one | of one bass 5 ms early; search continued where the best value is at the edge: kept |
"""  # noqa: E501


@dataclass(frozen=True)
class Goal:
    """One figure of a row: its name, and the value it must not exceed (or reach, where ``least``); None where there is no target."""

    name: str
    target: float | None = None
    least: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the benchmark: a title, its figures, and what takes them for a dry signal and a generator."""

    title: str
    goals: tuple[Goal, ...]
    run: Callable[[dict[str, torch.Tensor], str, int, np.random.Generator], tuple[Figures, float]]


def music() -> tuple[list[tuple[dict[str, torch.Tensor], str]], int]:
    """Pairs of (stems of one song, name of one of them), real and synthetic songs in turn."""
    real, sample_rate = stems(SECONDS)
    songs = [real, *({name: torch.from_numpy(audio).double() for name, audio in render_song(seed, SECONDS).items()} for seed in SONGS)]
    return [(songs[(k + k // 3) % 3 if k % 2 else 0], name) for k, name in enumerate(("drums", "vocals", "other", "bass") * 6)], sample_rate


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

    def run(song: dict[str, torch.Tensor], stem: str, sample_rate: int, rng: np.random.Generator) -> tuple[Figures, float]:
        dry, truth = float32(level(song[stem])), drawn(name, rng)
        wet = float32(effect.apply(dry, sample_rate, truth))
        found, seconds = timed(lambda: effect.fit(wet, dry, sample_rate))
        return {**errors(found, truth), "SDR (wet) dB": sdr_db(effect.apply(dry, sample_rate, found) - wet, wet)}, seconds

    return run


def eq_alone(song: dict[str, torch.Tensor], stem: str, sample_rate: int, rng: np.random.Generator) -> tuple[Figures, float]:
    """One equaliser."""
    dry, truth = float32(level(song[stem])), drawn("eq", rng)
    wet = float32(eq.apply(dry, sample_rate, truth))
    found, seconds = timed(lambda: EFFECTS["eq"].fit(wet, dry, sample_rate))
    return {"eq dB": response_error_db(found, truth, sample_rate)}, seconds


def chain_row(names: Sequence[str], **narrowed: dict[str, Any]) -> Callable[..., tuple[Figures, float]]:
    """A row that fits a chain in its known order; figures for each of its effects."""

    def run(song: dict[str, torch.Tensor], stem: str, sample_rate: int, rng: np.random.Generator) -> tuple[Figures, float]:
        dry = float32(level(song[stem]))
        truth = [(name, drawn(name, rng, **narrowed.get(name, {}))) for name in names]
        wet = float32(apply_chain(dry, sample_rate, truth))
        found, seconds = timed(lambda: fit_chain(wet, dry, sample_rate, list(names)))
        figures: Figures = {"SDR (wet) dB": sdr_db(apply_chain(dry, sample_rate, found) - wet, wet)}
        for name, settings in truth:
            mine = settings_of(found, name)
            if name == "eq":
                figures["eq dB"] = response_error_db(mine, settings, sample_rate)
            elif name == "compressor":
                figures.update(compressor_figures(mine, settings))
                # The compressor's own inverse: its input and its output are both known here.
                before = apply_chain(dry, sample_rate, truth[: [key for key, _ in truth].index(name)])
                figures["SDR (inverse) dB"] = inverse_sdr_db(before, settings, mine, sample_rate)
            elif name == "fader":
                figures.update({"gain dB": abs(mine.gain_db - settings.gain_db), "pan": abs(mine.pan - settings.pan)})
            elif name == "room":
                figures.update(room_figures(mine, settings))
        return figures, seconds

    return run


def inverse_sdr_db(before: torch.Tensor, truth: Any, found: Any, sample_rate: int) -> float:
    """SDR of the compressor's input when its output is undone with the found settings; a gain that a fader shares is left out."""
    plain = {"makeup_db": 0.0}
    wet = compressor.apply(before, sample_rate, truth.model_copy(update=plain))
    restored = compressor.invert(wet, sample_rate, found.model_copy(update=plain))
    return sdr_db(restored - before, before)


def compressor_row(condition: str) -> Callable[..., tuple[Figures, float]]:
    """One compressor, from float audio, from 16-bit files, or with the other stems leaking in."""

    def run(song: dict[str, torch.Tensor], stem: str, sample_rate: int, rng: np.random.Generator) -> tuple[Figures, float]:
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


def room_alone(song: dict[str, torch.Tensor], stem: str, sample_rate: int, rng: np.random.Generator) -> tuple[Figures, float]:
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
    return (Goal("threshold dB", limit_db), Goal("ratio %", ratio), Goal("times %", times), Goal("SDR (inverse) dB", sdr, least=True))


ROOM = (Goal("RT60 %", 5.0), Goal("pre-delay ms", 1.0), Goal("room wet dB", 1.0), Goal("damping"))
FADER_EQ = {"compressor": {"makeup_db": 0.0}}
ROWS = {
    "fader": Row("fader and pan", (Goal("gain_db", 0.01), Goal("pan", 0.001)), single("fader", errors_of("gain_db", "pan"))),
    "eq": Row("eq", (Goal("eq dB", 0.1),), eq_alone),
    "eq compressor": Row("eq > compressor", (Goal("eq dB", 0.5), *exact(None, None, None)), chain_row(["eq", "compressor"])),  # type: ignore[arg-type]
    "compressor": Row("compressor, float audio", exact(0.01, 0.1, 100.0, 0.5), compressor_row("float")),
    "compressor 16": Row("compressor, 16-bit files", exact(0.1, 1.0, 60.0), compressor_row("16 bit")),
    "compressor behind": Row(
        "compressor > eq > fader, eq and fader unknown", exact(0.3, 3.0, 30.0), chain_row(["compressor", "eq", "fader"], **FADER_EQ)
    ),
    "compressor leak": Row("compressor, other stems leaking at -40 dB", exact(0.5, 5.0, 20.0), compressor_row("leak")),
    "room": Row("room, noise unknown", ROOM, room_alone),
    "strip": Row(
        "eq > compressor > fader",
        (Goal("eq dB", 0.5), Goal("gain dB"), Goal("pan"), *exact(None, None, None), REPRODUCED),  # type: ignore[arg-type]
        chain_row(["eq", "compressor", "fader"], **FADER_EQ),
    ),
    "strip room": Row(
        "eq > compressor > room, noise unknown",
        (Goal("eq dB"), *exact(None, None, None), *(Goal(goal.name) for goal in ROOM)),  # type: ignore[arg-type]
        chain_row(["eq", "compressor", "room"], **FADER_EQ),
    ),
    "delay": Row(
        "delay", (Goal("delay_ms %"), Goal("feedback"), Goal("mix"), REPRODUCED), single("delay", errors_of("delay_ms", "feedback", "mix"))
    ),
    "width": Row("width", (Goal("width"), REPRODUCED), single("width", errors_of("width"))),
    "lowpass": Row("lowpass", (Goal("cutoff_hz %"), Goal("order"), REPRODUCED), single("lowpass", errors_of("cutoff_hz", "order"))),
    "highpass": Row("highpass", (Goal("cutoff_hz %"), Goal("order"), REPRODUCED), single("highpass", errors_of("cutoff_hz", "order"))),
    "clip": Row("clip", (Goal("ceiling_db"), REPRODUCED), single("clip", errors_of("ceiling_db"))),
    "distortion": Row(
        "distortion", (Goal("drive_db"), Goal("asymmetry"), REPRODUCED), single("distortion", errors_of("drive_db", "asymmetry"))
    ),
    "reverb": Row(
        "reverb",
        tuple(map(Goal, ("room_size", "damping", "wet", "dry", "width", "SDR (wet) dB"))),
        single("reverb", errors_of("room_size", "damping", "wet", "dry", "width")),
    ),
    "limiter": Row(
        "limiter",
        (Goal("ceiling_db"), Goal("release_ms %"), Goal("lookahead_ms %"), REPRODUCED),
        single("limiter", errors_of("ceiling_db", "release_ms", "lookahead_ms")),
    ),
    "loudness": Row("loudness (what was measured is not identifiable)", (REPRODUCED,), single("loudness", errors_of())),
}


def cell(values: np.ndarray, goal: Goal) -> str:
    """Median and worst of a figure, with its target and the verdict on both."""
    worst = values.min() if goal.least or goal.name.startswith("SDR") else values.max()
    middle = float(np.median(values))
    text = f"{goal.name} {middle:.2g} / {worst:.2g}"
    if goal.target is None:
        return text
    meets = [value >= goal.target if goal.least else value <= goal.target for value in (middle, worst)]
    verdict = "met" if all(meets) else "median met, worst missed" if meets[0] else "**missed**"
    return f"{text} (target {goal.target:g}: {verdict})"


def measure(row: Row, index: int, draws: int, seed: int) -> str:
    """One line of the table."""
    sources, sample_rate = music()
    taken: list[Figures] = []
    seconds, refused = [], list[str]()
    for number in range(draws):
        song, stem = sources[number]
        rng = np.random.default_rng([seed, index, number])
        try:
            figures, spent_s = row.run(song, stem, sample_rate, rng)
            seconds.append(spent_s)
        except ValueError as error:
            figures = {}
            refused.append(f"{stem}: {error}")
        taken.append(figures)
        print(f"    {row.title}, {stem}: " + ", ".join(f"{key} {value:.3g}" for key, value in figures.items()), file=sys.stderr, flush=True)
    lost = {True: -math.inf, False: math.inf}
    columns = [
        (goal, np.array([figures.get(goal.name, lost[goal.least or goal.name.startswith("SDR")]) for figures in taken]))
        for goal in row.goals
    ]
    cells = "<br>".join(cell(values, goal) for goal, values in columns)
    notes = "" if not refused else f"; refused {len(refused)}: {refused[0]}"
    return f"| {row.title} | {cells} | {np.median(seconds or [math.nan]):.1f} | {draws}{notes} |"


def main() -> None:
    """Prints the table; ``--write`` puts it into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    parser.add_argument("--draws", type=int, default=6, help="settings drawn for each row")
    parser.add_argument("--seed", type=int, default=2026, help="of the settings")
    parser.add_argument("--rows", default=",".join(ROWS), help="some of the rows, separated by commas")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"Settings drawn with seed {arguments.seed}; each figure is median / worst over the draws.",
        "",
        "| what is fitted | error of the settings | processor s a fit | draws |",
        "|---|---|---|---|",
    ]
    for index, (name, row) in enumerate(ROWS.items()):
        if name in arguments.rows.split(","):
            lines.append(measure(row, index, arguments.draws, arguments.seed))
            print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join([*lines, TRIES.rstrip()])
    print(text)
    if arguments.write:
        from results import publish

        publish("Fitting effects", f"python benchmarks/fit.py --draws {arguments.draws} --write", text)


if __name__ == "__main__":
    main()
