"""What is found of the faults of multitracks, and what it does to levels: on made songs, and on others if a folder of them is given.

    python benchmarks/multitracks.py [--music FOLDER] [--songs 4] [--write]

FOLDER holds folders with a mixture and its stems, which sum to it, at any depth, as ``benchmarks/free_music.py`` makes them of free music;
the loudest 10 s of each are used.

Conventions
    Closure is the energy of mixture - sum(stems) over the mixture's, in dB: of the files as they are, which is what a reader gets that
    sums them; after each stem is moved to the peak of its cross-correlation with the mixture, with gains by least squares (scipy, numpy),
    which is what one would write in an afternoon; and after what we mend. A verdict counts songs.
    The level of a stem in a master is that of the stem through the same gain or filter: the master is made here.

References
    The faults are those of the errata that MUSDB18, MedleyDB and Slakh2100 have published.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import soundfile
import soxr
from multitrack_songs import KNOWN, RATE, SECONDS, SITUATIONS, Song, Stems, later, made_songs, masters, other_songs, rms
from results import publish
from scipy import signal

from stemwright.manifests.records import Refused
from stemwright.manifests.stems.given_stems import examine
from stemwright.manifests.stems.stem_reading import GivenStems, given_files
from stemwright.separation.balance.level_estimators import CLOSURE_SHARE, LEAKING_SHARE
from stemwright.separation.balance.recordings import measure_recording
from stemwright.separation.loudness.meter import integrated_loudness

CALIBRATION_SEED = 700


def drifted(audio: np.ndarray, parts_per_million: float) -> np.ndarray:
    """As recorded by a clock that runs so much faster: it lasts longer in its own frames."""
    return np.asarray(soxr.resample(audio.T, 1.0, 1.0 + 1e-6 * parts_per_million, quality="VHQ").T)


# Each makes a fault in the first or all of a song's stems; what the findings must say; None: nothing
FAULTS: dict[str, tuple[Callable[[Song, str, str], Song], str | None]] = {
    "none": (lambda song, _a, _b: song, None),
    "noise for a stem": (lambda song, a, _: song.given({a: rms(song.stems[a]) * noise(song)}), "not found"),
    "another take": (lambda song, a, _: song.given({a: song.stems[a][:, ::-1]}), "not found"),
    "another song's stem": (lambda song, a, _: song.given({a: song.foreign[0]}), "not found"),
    "zeros": (lambda song, a, _: song.given({a: 0 * song.stems[a]}), "silent"),
    "a channel missing": (lambda song, a, _: song.given({a: song.stems[a] * [[0.0], [1.0]]}), "channel of stem"),
    "1 frame late": (lambda song, a, _: song.given({a: later(song.stems[a], 1)}), "1 frame"),
    "half a frame late": (lambda song, a, _: song.given({a: half_late(song.stems[a])}), "late: moved"),
    "10 ms late": (lambda song, a, _: song.given({a: later(song.stems[a], 441)}), "441 frames"),
    "91 ms late": (lambda song, a, _: song.given({a: later(song.stems[a], 4013)}), "4013 frames"),
    "all 91 ms early": (lambda song, _a, _b: replace(song, mixture=later(song.mixture, 4013)), "all stems are 4013 frames"),
    "+6 dB": (lambda song, a, _: song.given({a: 2 * song.stems[a]}), "+6.0"),
    "each at its own peak": (lambda song, _a, _b: song.given(at_peaks(song.stems)), "rescaled"),
    "channels swapped": (lambda song, a, _: song.given({a: song.stems[a][::-1]}), "swapped"),
    "inverted": (lambda song, a, _: song.given({a: -song.stems[a]}), "inverted"),
    "a leak": (lambda song, a, b: song.given({a: song.stems[a] + song.stems[b]}), "contained"),
    "mono": (lambda song, a, _: song.given({a: song.stems[a].mean(axis=0, keepdims=True)}), "mono"),
    "48 kHz": (lambda song, a, _: at_48_khz(song, a), "48000 Hz"),
    "50 ms shorter": (lambda song, a, _: song.given({a: song.stems[a][:, :-2205]}), "shorter"),
    "2 s shorter": (lambda song, a, _: song.given({a: song.stems[a][:, :-88_200]}), "lasts"),
    "clock 100 ppm fast": (lambda song, a, _: song.given({a: drifted(song.stems[a], 100.0)}), "ppm"),
    "all clocks 100 ppm fast": (lambda song, _a, _b: replace(song, mixture=drifted(song.mixture, -100.0)), "ppm"),
}


def noise(song: Song) -> np.ndarray:
    """White noise of a song's shape."""
    return np.random.default_rng(1).standard_normal(song.mixture.shape)


def half_late(audio: np.ndarray) -> np.ndarray:
    """Half a frame later, by Fourier transform."""
    spectrum = np.fft.rfft(np.pad(audio, ((0, 0), (0, 1 << 12))))
    return np.fft.irfft(spectrum * np.exp(-1j * np.pi * np.fft.rfftfreq(audio.shape[1] + (1 << 12))))[:, : audio.shape[1]]


def at_peaks(stems: Stems) -> Stems:
    """Each stem with a peak of 0.9, as writers do that scale every file by itself."""
    return {name: 0.9 * audio / np.abs(audio).max() for name, audio in stems.items()}


def at_48_khz(song: Song, name: str) -> Song:
    """A stem that was saved at another rate than its mixture."""
    return replace(song.given({name: soxr.resample(song.stems[name].T, RATE, 48_000, quality="VHQ").T}), rates={name: 48_000})


def write(song: Song, folder: Path, subtype: str = "FLOAT") -> Path:
    """Writes the files of a multitrack."""
    folder.mkdir(parents=True)
    for name, audio in {"mixture": song.mixture, **song.stems}.items():
        soundfile.write(folder / f"{name}.wav", audio.T, song.rates.get(name, RATE), subtype=subtype)
    return folder


def read(folder: Path) -> GivenStems:
    """A multitrack as the catalog reads it."""
    paths = {path.stem: (path, 0) for path in sorted(folder.iterdir()) if path.stem != "mixture"}
    return given_files((folder / "mixture.wav", 0), paths, RATE, 2, {})


def closure_db(mixture: np.ndarray, parts: Iterable[np.ndarray]) -> float:
    """The closure of a sum, at least -120 dB."""
    left = mixture.astype(np.float64)
    for part in parts:
        count = min(part.shape[1], left.shape[1])
        left[:, :count] -= part[:, :count]
    return max(-120.0, 10 * np.log10(np.sum(left**2) / np.sum(np.square(mixture, dtype=np.float64)) + 1e-13))


def by_correlation(song: Song) -> float:
    """The closure that a plain reader gets: each stem at the peak of its correlation with the mixture, gains by least squares."""
    mono, count, moved = song.mixture.sum(axis=0), song.mixture.shape[1], []
    for audio in song.stems.values():
        course = signal.correlate(mono, audio.sum(axis=0), method="fft")
        lag = int(np.argmax(np.abs(course))) - (audio.shape[1] - 1)
        part = np.pad(audio, ((0, 0), (max(lag, 0), count)))[:, max(-lag, 0) :][:, :count]
        moved.append(part.repeat(3 - len(part), axis=0)[:2])
    rows = np.stack([part.ravel() for part in moved], axis=1)
    gains = np.linalg.lstsq(rows.T @ rows, rows.T @ song.mixture.ravel(), rcond=None)[0]
    return closure_db(song.mixture, [gain * part for gain, part in zip(gains, moved, strict=True)])


def faulty(song: Song, fault: str) -> dict[str, Any]:
    """What is said of a fault, and the closures before and after."""
    change, words = FAULTS[fault]
    wrong = change(song, *song.by_level()[:2])
    row: dict[str, Any] = {"fault": fault, "before": closure_db(wrong.mixture, wrong.stems.values()), "peer": by_correlation(wrong)}
    with tempfile.TemporaryDirectory() as place:
        given = read(write(wrong, Path(place, "song")))
        try:
            found = examine(given)
        except Refused as reason:
            return row | {"named": words is not None and words in str(reason), "refused": True, "after": None}
        notes = "\n".join(found.all_notes)
        after = found.closure_db if found.closure_db is not None else -120.0
    return row | {"named": words in notes if words else not notes, "refused": bool(found.foreign), "after": max(after, -120.0)}


def verdicts(song: Song, master: str) -> list[dict[str, Any]]:
    """Whether stems of a mastered song are called foreign: its own, and one of another song or take in the place of the loudest."""
    rows = []
    for situation, change in SITUATIONS.items():
        right = masters()[master](change(song))
        rows.append({"master": master, "case": f"own, {situation}", "foreign": bool(foreign_of(right))})
    right, name = masters()[master](song), song.by_level()[0]
    for number, audio in enumerate((song.stems[name][:, ::-1], *song.foreign)):
        audio = audio * rms(song.stems[name]) / max(rms(audio), 1e-9)
        found = foreign_of(right.given({name: audio}))
        rows.append({"master": master, "case": "another song's" if number else "another take", "foreign": name in found})
    return rows


def foreign_of(song: Song) -> tuple[str, ...]:
    """The stems that are called foreign, or of another clock."""

    def source(audio: np.ndarray) -> Callable[[], Iterable[np.ndarray]]:
        return lambda: (np.asarray(audio[:, start : start + 65_536], np.float32) for start in range(0, audio.shape[1], 65_536))

    found = examine(GivenStems(source(song.mixture), {name: source(audio) for name, audio in song.stems.items()}, RATE, 2))
    return found.foreign + found.drifting


def levels(song: Song, master: str, codec: str, rescaled: bool) -> list[dict[str, Any]]:
    """Levels of a master's stems against the truth: of the files as they are, and as `balance` has them."""
    right = KNOWN[master](song)
    given = right.given(at_peaks(right.stems)) if rescaled else right
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = write(given, Path(place, "song"))
        for path in sorted(folder.iterdir()) if codec else ():
            subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", path, "-b:a", codec, path.with_suffix(".mp3")], check=True)
            path.unlink()
        measured = measure_recording(folder, None)
    whole = integrated_loudness(right.mixture, RATE)
    for name, stem in measured.stems.items():
        true = integrated_loudness(right.truth[name], RATE) - whole
        plain = integrated_loudness(given.stems[name], RATE) - whole
        facts = {"plain": plain - true, "error": stem.level_lu - true, "low": stem.level_low_lu - true, "high": stem.level_high_lu - true}
        named = {"master": master, "codec": codec, "rescaled": rescaled, "song": song.name, "stem": name, "closure": measured.closure_db}
        rows.append({**named, **facts, "level": stem.level_lu, "naive": stem.naive_lu - true, "true": true})
    return rows


# ---------------------------------------------------------------- tables

SONGS: list[Song] = []  # set before the processes start, which share it


def work(task: tuple[str, int, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """One task of a process."""
    kind, number, arguments = task
    song = SONGS[number]
    if kind == "fault":
        return [{"kind": kind, **faulty(song, *arguments)}]
    return [{"kind": kind, **row} for row in (verdicts if kind == "verdict" else levels)(song, *arguments)]


def tasks(count: int) -> list[tuple[str, int, tuple[Any, ...]]]:
    """What is measured of so many songs."""
    codecs = ("", "128k") if shutil.which("ffmpeg") else ("",)
    made: list[tuple[str, int, tuple[Any, ...]]] = []
    for number in range(count):
        made += [("fault", number, (fault,)) for fault in FAULTS]
        made += [("verdict", number, (master,)) for master in masters()]
        made += [("level", number, (master, "", False)) for master in KNOWN]
        made += [("level", number, (master, codec, True)) for master in ("no master", "all of these", "leaks") for codec in codecs]
    return made


def grouped(rows: Sequence[dict[str, Any]], *keys: str) -> dict[Any, list[dict[str, Any]]]:
    """Rows by the values of columns, in their order."""
    found: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[tuple(row[key] for key in keys)].append(row)
    return found


def median(rows: Sequence[dict[str, Any]], key: str) -> str:
    """The median of a column of dB, or a dash."""
    values = [row[key] for row in rows if row[key] is not None]
    return f"{np.median(values):.1f}" if values else "-"


def fault_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Fault by what was said and done, and the closures."""
    lines = ["| fault | songs | named | mended | refused | closure as read, dB | by correlation and least squares | mended |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for (fault,), each in grouped(rows, "fault").items():
        mended = sum(row["after"] is not None and row["after"] < row["before"] - 6 for row in each)
        said = f"{sum(row['named'] for row in each)} | {mended} | {sum(row['refused'] for row in each)}"
        closures = " | ".join(median(each, key) for key in ("before", "peer", "after"))
        lines.append(f"| {fault} | {len(each)} | {said} | {closures} |")
    return lines


def verdict_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Master by how many songs' stems are called foreign."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    lines = [f"| master | {' | '.join(cases)} |", "|---" * (len(cases) + 1) + "|"]
    for (master,), each in grouped(rows, "master").items():
        cells = [[row["foreign"] for row in each if row["case"] == case] for case in cases]
        lines.append(f"| {master} | {' | '.join(f'{sum(cell)} of {len(cell)}' for cell in cells)} |")
    own = [row["foreign"] for row in rows if row["case"].startswith("own")]
    other = [row["foreign"] for row in rows if not row["case"].startswith("own")]
    wrong = f"{sum(own)} of {len(own)} of the right stems are called foreign ({100 * np.mean(own):.1f} %)"
    return [
        *lines,
        "",
        f"{wrong}, and {len(other) - sum(other)} of {len(other)} foreign ones are not ({100 - 100 * np.mean(other):.1f} %).",
    ]


def level_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Master by the errors of levels, and how often the interval holds the truth."""
    lines = ["| master | files | stems | closure, dB | error as read, LU | error, LU | interval, LU | holds, % |", "|---" * 8 + "|"]
    covering: list[bool] = []
    for (master, codec, rescaled), each in grouped(rows, "master", "codec", "rescaled").items():
        present = [row for row in each if np.isfinite(row["level"])]
        holds = [row["low"] <= 0.005 and row["high"] >= -0.005 for row in present]
        covering += [hold for hold, row in zip(holds, present, strict=True) if row["closure"] is not None and row["closure"] > -60]
        files = ("rescaled, " if rescaled else "") + (f"MP3 {codec}" if codec else "lossless")
        errors = [f"{np.mean(np.abs([row[key] for row in present])):.3f}" for key in ("plain", "error")]
        width = np.median([row["high"] - row["low"] for row in present])
        lines.append(
            f"| {master} | {files} | {len(present)} of {len(each)} | {median(each, 'closure')} | {' | '.join(errors)} | {width:.2f} | "
            f"{100 * np.mean(holds):.0f} |"
        )
    return [
        *lines,
        "",
        *needed_shares(rows),
        f"Where the stems do not close, {100 * np.mean(covering):.0f} % of {len(covering)} intervals hold the true level.",
    ]


def needed_shares(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What share of the residual the intervals should take to hold the levels of a part of the stems."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        half = (row["high"] - row["low"]) / 2
        leaking = row["master"] == "leaks"
        if half > 0.002 and np.isfinite(row["level"]):
            ratio = (10 ** (half / 20) - 1) / (LEAKING_SHARE if leaking else CLOSURE_SHARE)
            found["with leaks" if leaking else "without leaks"].append((10 ** (abs(row["error"]) / 20) - 1) / ratio)
    lines = []
    for kind, values in found.items():
        shares = ", ".join(f"{part} % of stems {np.percentile(values, part):.2f}" for part in (80, 85, 95))
        lines.append(f"Share of the residual that the interval needs, {kind}: {shares} ({len(values)} stems).")
    return [*lines, ""]


def main() -> None:
    """Prints the tables; with --write, also into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--music", type=Path, metavar="FOLDER", help="multitracks that sum to their mixtures: free music, made by benchmarks/free_music.py"
    )
    parser.add_argument("--songs", type=int, default=4, help="how many songs are made")
    parser.add_argument("--calibrate", action="store_true", help="levels of made songs that no table uses, to set the shares by")
    parser.add_argument("--only", choices=("fault", "verdict", "level"))
    parser.add_argument("--rows", type=Path, metavar="FILE", help="also writes every measurement, as JSON")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    songs = (made_songs(options.songs, CALIBRATION_SEED) if options.calibrate else made_songs(options.songs)) + (
        other_songs(options.music) if options.music else []
    )
    for number, song in enumerate(songs):
        other = [songs[(number + step) % len(songs)] for step in (1, 2)]
        SONGS.append(replace(song, foreign=tuple(each.stems[each.by_level()[0]] for each in other)))
    with ProcessPoolExecutor(2) as pool:
        wanted = [task for task in tasks(len(SONGS)) if ("level" if options.calibrate else options.only) in (None, task[0])]
        rows = [row for found in pool.map(work, wanted, chunksize=4) for row in found]
    if options.rows:
        options.rows.write_text(json.dumps(rows, default=float))
    parts: list[str] = []
    for kind, made in (("fault", fault_table), ("verdict", verdict_table), ("level", level_table)):
        if some := [row for row in rows if row["kind"] == kind]:
            parts += [*made(some), ""]
    others = f" and {len(songs) - options.songs} of {options.music.name}" if options.music else ""
    body = f"{options.songs} made songs{others}, {SECONDS:g} s of each.\n\n" + "\n".join(parts)
    print(body)
    if options.write:
        publish("Multitracks", f"python benchmarks/multitracks.py{' --music FOLDER' if options.music else ''} --write", body)


if __name__ == "__main__":
    main()
