"""The loudness meter: conformance to the published signals, and speed beside libebur128 and pyloudnorm.

Conventions
    Times are processor seconds of one thread, the least of several interleaved runs, so that other work on the machine does not count.
    The programme is four minutes of stereo noise at 48 kHz whose level moves; for the true peak also the same brick-walled at full scale,
    where every block could hold the peak.

References
    libebur128 through pyebur128 (C); pyloudnorm (NumPy and SciPy). Conformance cases: tests/conformance.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from conformance import Case, cases

from stemwright.separation.balance.measure import measure_balance
from stemwright.separation.loudness.meter import integrated_loudness, loudness_range, measure_loudness, true_peak

SAMPLE_RATE = 48_000
DURATION_S = 240
REPEATS = 5
RATES = (48_000, 44_100)


def programme(*, limited: bool) -> np.ndarray:
    """Four minutes of noise whose level moves twice a second, [2, T]; clipped to full scale if ``limited``."""
    rng = np.random.default_rng(0)
    level = np.repeat(10 ** rng.uniform(-1.2, 0, 2 * DURATION_S), SAMPLE_RATE // 2)
    noise = rng.standard_normal((2, DURATION_S * SAMPLE_RATE)) * (1.0 if limited else 0.2 * level)
    return np.clip(noise, -1, 1).astype(np.float32)


def conformance_table() -> str:
    """Expected and measured, one line per signal; families of twenty signals in one line with their extremes."""
    lines = [
        "| signal | reading | expected | tolerance | " + " | ".join(f"measured at {rate / 1000:g} kHz" for rate in RATES) + " | passes |",
        "|---|---|---|---|" + "---|" * (len(RATES) + 1),
    ]
    passed = total = 0
    for (name, quantity), family in groupby(cases(), key=lambda case: (_family(case), case.quantity)):
        members = list(family)
        first = members[0]
        verdicts, cells = [], []
        for rate in RATES:
            readings = [member.readings(rate) for member in members]
            verdicts += [member.passes(reading) for member, reading in zip(members, readings, strict=True)]
            cells.append(_extremes([value for reading in readings for value in reading], first))
        passed, total = passed + sum(verdicts), total + len(verdicts)
        label = name if len(members) == 1 else f"{name} ({len(members)} signals)"
        tolerance = f"±{first.above:g}" if first.above == first.below else f"+{first.above:g} / −{first.below:g}"
        expected = f"{first.expected[0]:g}" if len(set(first.expected)) == 1 else f"{first.expected[0]:g} … {first.expected[-1]:g}"
        lines.append(f"| {label} | {quantity} | {expected} | {tolerance} | {' | '.join(cells)} | {'yes' if all(verdicts) else '**no**'} |")
    return "\n".join(lines) + f"\n\n{passed} of {total} signals pass (3341: EBU Tech 3341; 3342: EBU Tech 3342)."


def _family(case: Case) -> str:
    """Case 10.3 of Tech 3341 is one of twenty signals of case 10."""
    return case.name.split(".")[0] if case.name.startswith("3341") else case.name


def _extremes(values: list[float], case: Case) -> str:
    if len(set(case.expected)) > 1:
        errors = np.array(values) - np.array(case.expected)
        return f"errors {errors.min():+.3f} to {errors.max():+.3f}"
    low, high = min(values), max(values)
    return f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}"


def fastest(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Least processor seconds of each function, run in turn."""
    seconds = dict.fromkeys(functions, np.inf)
    for function in functions.values():
        function()  # compiles, and fills caches
    for _ in range(REPEATS):
        for name, function in functions.items():
            start = time.process_time()
            function()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


def peers(audio: np.ndarray) -> dict[str, dict[str, Callable[[], object]]]:
    """Per figure the functions that give it, ours first."""
    import pyebur128.pyebur128 as ebur
    import pyloudnorm

    interleaved = np.ascontiguousarray(audio.T)
    flat, mode = interleaved.ravel(), ebur.MeasurementMode
    meter = pyloudnorm.Meter(SAMPLE_RATE)

    def libebur128(modes: int, *readings: Callable[[object], float]) -> Callable[[], list[float]]:
        def run() -> list[float]:
            state = ebur.R128State(2, SAMPLE_RATE, modes)
            state.add_frames(flat, interleaved.shape[0])
            return [reading(state) for reading in readings]

        return run

    def peak(state: object) -> float:
        return max(ebur.get_true_peak(state, channel) for channel in (0, 1))

    every = mode.MODE_I | mode.MODE_LRA | mode.MODE_TRUE_PEAK
    return {
        "integrated": {
            "stemwright": lambda: integrated_loudness(audio, SAMPLE_RATE),
            "libebur128": libebur128(mode.MODE_I, ebur.get_loudness_global),
            "pyloudnorm": lambda: meter.integrated_loudness(interleaved),
        },
        "range": {
            "stemwright": lambda: loudness_range(audio, SAMPLE_RATE),
            "libebur128": libebur128(mode.MODE_LRA, ebur.get_loudness_range),
            "pyloudnorm": lambda: meter.loudness_range(interleaved),
        },
        "true peak": {
            "stemwright": lambda: true_peak(audio, SAMPLE_RATE),
            "libebur128": libebur128(mode.MODE_TRUE_PEAK, peak),
        },
        "integrated + range + true peak": {
            "stemwright": lambda: measure_loudness(audio, SAMPLE_RATE),
            "libebur128": libebur128(every, ebur.get_loudness_global, ebur.get_loudness_range, peak),
        },
    }


def speed_table() -> str:
    """Processor milliseconds for four minutes, and how many times faster than each peer."""
    lines = [
        "| programme | figure | stemwright ms | libebur128 ms | pyloudnorm ms | faster than libebur128 | faster than pyloudnorm |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, limited in (("moving level", False), ("brick-walled", True)):
        for figure, functions in peers(programme(limited=limited)).items():
            if limited and "peak" not in figure:
                continue
            seconds = fastest(functions)
            ours = seconds["stemwright"]
            times = [
                f"{1000 * seconds[peer]:.0f}" if peer in seconds else "does not measure it"
                for peer in ("stemwright", "libebur128", "pyloudnorm")
            ]
            ratios = [f"**{seconds[peer] / ours:.1f}**" if peer in seconds else "" for peer in ("libebur128", "pyloudnorm")]
            lines.append(f"| {label} | {figure} | {' | '.join(times)} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def balance_line() -> str:
    """Time of the balance of four minutes, four stereo stems at 44.1 kHz."""
    rng = np.random.default_rng(0)
    stems = {name: 0.1 * rng.standard_normal((2, DURATION_S * 44_100), dtype=np.float32) for name in ("drums", "bass", "other", "vocals")}
    mixture = np.sum(list(stems.values()), axis=0, dtype=np.float32)
    seconds = fastest({"balance": lambda: measure_balance(mixture, stems, 44_100)})["balance"]
    return f"Balance of a four-minute song from four given stems (44.1 kHz, stereo): **{seconds:.2f} s** of one core (target: under 1 s)."


def main() -> None:
    """Prints the tables; ``--write`` puts them into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    speed = f"{speed_table()}\n\n{balance_line()}"
    print(speed, conformance_table(), sep="\n\n")
    if args.write:
        from results import publish

        command = "python benchmarks/loudness.py --write"
        publish("Loudness: speed", command, speed)
        publish("Loudness: conformance", command, conformance_table())


if __name__ == "__main__":
    main()
