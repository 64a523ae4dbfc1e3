"""What is claimed, on songs that were made here and on real free music: one row a claim, by the same measure side by side.

    python benchmarks/claims.py --music FOLDER [--only NAME ...] [--songs N] [--write]

``--only`` measures some parts; with ``--write`` the rows of the others stay as they are published, which the section says.

Conventions
    Synthetic: songs of ``songs.py`` with seeds that nothing was trained or chosen on. Real: tracker songs (``FOLDER/modules``, made by
    ``free_music.py``) with drums, bass and other as stems, those of games that no weights were trained on; the ranges of the levels of
    ``bundled`` were fitted to every other one. The first N of each, N as stated in the row. Intervals are 95 %, by a bootstrap over songs;
    of fewer than six there is none.
    ``fit``, ``blind`` and ``declip`` are the protocols of ``stemwright evaluate``; rows name the command that measures the same on a folder
    of multitracks. Separation is by ``bundled``, of the sum of the stems; its balance is what ``stemwright balance`` gives. Undoing: the
    five published presets of compressors on each stem, known settings, from 24-bit files.
    What was measured is kept in .cache/claims, so that a run that was stopped goes on.

References
    Gorlow and Reiss 2013: the presets, and an error of -129 dBFS. Ward et al. 2017: 1.2 LU (balance by separation, its songs and models).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import torch
from free_excerpts import songs_with
from inversion import PRESETS, invert_once
from results import RESULTS, publish
from songs import mixture_of, render_song

from stemwright.datagen.effects import compressor
from stemwright.datagen.evaluate.evaluated_songs import songs_of
from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
from stemwright.datagen.evaluate.scores import mean_over_songs, si_sdr_db
from stemwright.manifests.sound.writing import save
from stemwright.manifests.wording import counted
from stemwright.separation.balance.level_estimators import ABSENT_LU, REFERENCE, calibration_for
from stemwright.separation.balance.measure import measure_balance
from stemwright.separation.demucs.separator import DemucsSeparator

SECTION = "Claims on synthetic and on real music"
KEPT = Path(__file__).resolve().parent.parent / ".cache" / "claims"
RATE = 44_100
FIRST_SEED, MADE_S = 93_000, 12.0
TRAINED_ON = ("heroes",)  # whose channels the weights of the reverberation estimate were trained on
NAMES = ("drums", "bass", "other", "vocals")
Rows = Sequence[Mapping[str, Any]]


class Claim(NamedTuple):
    """A figure of a claim: its title and unit, what is asked of it, of which rows it is the statistic, and of which column."""

    title: str
    unit: str
    asked: str
    value: Callable[[Mapping[str, Any]], float | None]
    statistic: Callable[[Any], Any] = np.mean


class Part(NamedTuple):
    """A part of the table: what measures a folder of songs, how many songs, the command that does the same, and its claims."""

    measure: Callable[[Path, int], Rows]
    songs: int
    command: str
    claims: tuple[Claim, ...]


# ---------------------------------------------------------------- songs


def made_songs(count: int) -> Path:
    """A folder of so many synthetic multitracks."""
    folder = KEPT / "synthetic"
    for number in range(count):
        place = folder / f"{number:02d}"
        if not (place / "mixture.wav").exists():
            stems = render_song(FIRST_SEED + number, MADE_S, without=("drive", "compression", "reverb"))
            for name, audio in stems.items():
                save(place / f"{name}.wav", audio, RATE)
            save(place / "mixture.wav", mixture_of(stems), RATE)
    return folder


def real_songs(music: Path, count: int) -> Path:
    """A folder with links to the tracker songs that have drums, bass and other, for evaluations."""
    folder = KEPT / "real"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [place for place in songs_with(music, "modules") if place.name.split("-")[0] not in TRAINED_ON]
    for place in chosen[:count]:
        here = folder / place.name
        here.mkdir(exist_ok=True)
        for name in ("mixture", *NAMES[:3]):
            if not (here / f"{name}.flac").exists():
                (here / f"{name}.flac").symlink_to((place / f"{name}.flac").resolve())
    return folder


# ---------------------------------------------------------------- measures


def by_protocol(name: str, seconds: float, **options: str) -> Callable[[Path, int], Rows]:
    """Rows of a protocol on a folder."""

    def measure(folder: Path, count: int) -> Rows:
        request = EvaluationRequest(folder, num_songs=count, duration_s=seconds, options=options)
        found = evaluate(PROTOCOLS[name], request, KEPT / "evaluations")
        for title, reason in found.rejected:
            print(f"    {name}: {title}: {reason}", file=sys.stderr)
        return found.rows

    return measure


def separated(folder: Path, count: int) -> Rows:
    """Of each stem the SI-SDR improvement by ``bundled``, and its level beside the truth."""
    separator = DemucsSeparator("bundled")
    calibration = calibration_for(separator.origin)
    rows = []
    for song in songs_of(EvaluationRequest(folder, num_songs=count, duration_s=8.0)):
        track = song.load()
        mixture = np.sum(list(track.stems.values()), axis=0)
        found = separator.separate(mixture, track.sample_rate)
        truth = measure_balance(mixture, track.stems, track.sample_rate, calibration=REFERENCE)
        said = measure_balance(mixture, {name: found[name] for name in NAMES}, track.sample_rate, calibration=calibration)
        for name, stem in track.stems.items():
            if truth[name].naive_lu >= ABSENT_LU:
                gain = si_sdr_db(found[name], stem) - si_sdr_db(mixture, stem)
                level = {"true": truth[name].naive_lu, "level": said[name].level_lu}
                ends = {"low": said[name].level_low_lu, "high": said[name].level_high_lu}
                rows.append({"song": song.title, "stem": name, "gain_db": gain, **level, **ends})
    return rows


def undone(folder: Path, count: int) -> Rows:
    """Of each stem and preset the error after undoing its compression with the known settings, from 24 bit."""
    rows = []
    for song in songs_of(EvaluationRequest(folder, num_songs=count, duration_s=4.0)):
        track = song.load()
        for name, audio in track.stems.items():
            dry = torch.from_numpy(audio.astype(np.float64))
            for preset, (threshold_db, ratio, attack_ms, release_ms) in PRESETS.items():
                settings = compressor.Settings(threshold_db=threshold_db, ratio=ratio, attack_ms=attack_ms, release_ms=release_ms)
                rows.append({"song": song.title, "stem": name, "preset": preset, "dbfs": invert_once(dry, track.sample_rate, settings)[1]})
    return rows


def _of(stem: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda row: row["gain_db"] if row["stem"] == stem else None


def _column(column: str, **only: Any) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda row: row.get(column) if all(row.get(name) == value for name, value in only.items()) else None


def _gain(method: str, input_db: float) -> Callable[[Mapping[str, Any]], float | None]:
    return _column("gain_db", method=method, input_db=input_db)


def _error(effect: str, kind: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Of the answers about one effect: the size of the error, whether it is within 25 %, or within the interval."""

    def value(row: Mapping[str, Any]) -> float | None:
        if row["effect"] != effect or row["true"] is None or not row["answered"] or row["maker"] == "untouched":
            return None
        if kind == "covered":
            return 100.0 * (row["low"] <= row["true"] <= row["high"])
        return abs(row["value"] - row["true"]) if kind == "error" else 100.0 * (abs(row["value"] / row["true"] - 1.0) <= 0.25)

    return value


def _level_error(row: Mapping[str, Any]) -> float | None:
    return row["level"] - row["true"] if row["level"] is not None and np.isfinite(row["level"]) else None


def _level_covered(row: Mapping[str, Any]) -> float:
    return 100.0 * (row["low"] <= row["true"] <= row["high"])


def _false_alarm(row: Mapping[str, Any]) -> float | None:
    return 100.0 * row["found"] if row["maker"] == "untouched" else None


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


PARTS = {
    "separation": Part(
        separated,
        12,
        "python benchmarks/claims.py --only separation --music FREE",
        (
            *(Claim(f"separation by bundled, SI-SDR improvement, {name}", "dB", "at least 4.5", _of(name)) for name in ("bass", "other")),
            *(Claim(f"separation by bundled, SI-SDR improvement, {name}", "dB", "", _of(name)) for name in ("drums", "vocals")),
            Claim("balance by bundled, RMSE of the level", "LU", "at most 0.6; published 1.2 (Ward 2017)", _level_error, _rms),
            Claim("balance by bundled, true level in 80 % interval", "%", "75 to 85", _level_covered),
        ),
    ),
    "fit": Part(
        by_protocol("fit", 3.0, rows="eq, compressor"),
        6,
        'stemwright evaluate fit FOLDER --songs 6 --seconds 3 --set rows="eq, compressor"',
        (
            Claim("fit of an eq, median error", "dB", "at most 0.1", _column("eq dB", row="eq"), np.median),
            Claim("fit of a compressor, median error of the threshold", "dB", "at most 0.01", _column("threshold dB"), np.median),
            Claim("fit of a compressor, SDR of the dry sound, undone", "dB", "at least 100", _column("SDR (inverse) dB"), np.median),
        ),
    ),
    "blind": Part(
        by_protocol("blind", 8.0),
        12,
        "stemwright evaluate blind FOLDER --songs 12 --seconds 8",
        (
            Claim("blind, mean error of gain reduction (of answers)", "dB", "", _error("compression", "error")),
            Claim("blind, true reduction in 80 % interval", "%", "nominal 80", _error("compression", "covered")),
            Claim("blind, untouched stems said to be compressed", "%", "", _false_alarm),
            Claim("blind, reverberation time within 25 % (of answers)", "%", "", _error("reverberation", "within")),
            Claim("blind, true reverberation time in 80 % interval", "%", "nominal 80", _error("reverberation", "covered")),
        ),
    ),
    "inversion": Part(
        undone,
        6,
        "python benchmarks/claims.py --only inversion",
        (Claim("undoing known compression from 24 bit, worst error", "dBFS", "published -129", _column("dbfs"), np.max),),
    ),
    "declipping": Part(
        by_protocol("declip", 1.0, methods="ours, cubic spline", inputs="15"),
        8,
        'stemwright evaluate declip FOLDER --songs 8 --seconds 1 --set inputs=15 --set methods="ours, cubic spline"',
        (
            Claim("declipping at 15 dB, median gain", "dB", "at least 9", _gain("ours", 15.0), np.median),
            Claim("declipping at 15 dB, least gain", "dB", "at least 2.5", _gain("ours", 15.0), np.min),
            Claim("declipping at 15 dB, median gain of a cubic spline", "dB", "", _gain("cubic spline", 15.0), np.median),
        ),
    ),
}


# ---------------------------------------------------------------- table


def cell(claim: Claim, rows: Rows) -> str:
    """Value, interval and songs of a claim."""
    known = [(value, row["song"]) for row in rows if (value := claim.value(row)) is not None and np.isfinite(value)]
    if not known:
        return "-"
    found = mean_over_songs([value for value, _ in known], [song for _, song in known], claim.statistic)
    ends = "" if found.low is None else f" ({found.low:.3g} to {found.high:.3g})"
    return f"{found.value:.3g}{ends}; {counted(found.count, 'value')}, {counted(found.songs, 'song')}"


def kept(name: str, music: str, work: Callable[[], Rows]) -> Rows:
    """What a part measured before, else what it measures now."""
    path = KEPT / f"{name} {music}.json"
    if not path.exists():
        start = time.process_time()
        rows = [dict(row) for row in work()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"rows": rows, "cpu_s": time.process_time() - start}))
    return json.loads(path.read_text())["rows"]  # type: ignore[no-any-return]


def measured(name: str, part: Part, count: int, music: Path | None) -> tuple[Rows, Rows]:
    """What a part measured on synthetic and on real songs; of every other song the profile of blind estimates is made."""
    needed = 2 * count + 2
    synthetic = kept(name, f"synthetic {count}", lambda: part.measure(made_songs(needed), count))
    if music is None:
        return synthetic, ()
    return synthetic, kept(name, f"real {count}", lambda: part.measure(real_songs(Path(music), needed), count))


def published_rows() -> dict[str, str]:
    """The rows of the table as it is published, by the title of the claim."""
    section = re.search(rf"<!-- begin {SECTION} -->.*?<!-- end {SECTION} -->", RESULTS.read_text(), re.DOTALL)
    rows = [line for line in (section[0] if section else "").splitlines() if line.startswith("| ")]
    return {line.removeprefix("| ").partition(" | ")[0].rpartition(", ")[0]: line for line in rows}


def main() -> None:
    """Prints the table; ``--write`` puts it into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--music", type=Path, default=os.environ.get("STEMWRIGHT_FREE_MUSIC"), help="folder made by benchmarks/free_music.py"
    )
    parser.add_argument("--only", nargs="*", choices=list(PARTS), help="some parts")
    parser.add_argument("--songs", type=int, help="songs of each part instead of its own number")
    parser.add_argument("--write", action="store_true", help="into docs/results.md")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "Value (95 % interval over songs, of six or more); how many values, of how many songs. `-`: no such stem, or no answer.",
        "",
        "| claim | asked | on synthetic songs | on real free music |",
        "|---|---|---|---|",
    ]
    commands, before = [], published_rows() if chosen.only and chosen.write else {}
    for name, part in PARTS.items():
        if chosen.only and name not in chosen.only:
            lines += [before[claim.title] for claim in part.claims if claim.title in before]
            commands += [f"- {name}, of an earlier run: `{part.command}`"] if before else []
            continue
        count = chosen.songs or part.songs
        synthetic, real = measured(name, part, count, chosen.music)
        for claim in part.claims:
            lines.append(f"| {claim.title}, {claim.unit} | {claim.asked} | {cell(claim, synthetic)} | {cell(claim, real)} |")
            print(lines[-1], flush=True)
        commands.append(f"- {name}: `{part.command}`")
    text = "\n".join([*lines, "", "The same on a folder of multitracks:", "", *commands])
    print(text)
    if chosen.write:
        only = f" --only {' '.join(chosen.only)}" if chosen.only else ""
        count = f" --songs {chosen.songs}" if chosen.songs else ""
        publish(SECTION, f"python benchmarks/claims.py --music FOLDER{only}{count} --write", text)


if __name__ == "__main__":
    main()
