"""``stemwright undo`` over a corpus: the input of every example back to its target, by its row, and by a dry reference.

Each pair has one removed effect and at most one that both sides keep, but for clipping. An example is undone by its row
(``--settings CORPUS``) from files in 24 bit and in 32-bit float; those of `limit` by the gain curve that the corpus has. Then the same
input in 16 bit, without dither, is undone by settings that were fitted on the first two thirds of the dry sound (``--dry``); the last
third is what nothing was fitted on.

The peer is a linear filter: 1024 taps a channel, by least squares with the whole dry sound known, which is more than ``undo`` is given.
The figures are SDR against the target in dB, median / worst.

Songs are the excerpt that stempeg ships and those of ``--music FOLDER`` (folders with stems and mixture.flac, as those of free music that
``benchmarks/free_music.py`` makes), ten seconds of each.

    python benchmarks/undo.py [--music FOLDER] [--songs 4] [--per-track 10] [--write]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import soundfile
from foreign_consoles import songs
from results import publish
from scipy.linalg import solve_toeplitz
from scipy.signal import fftconvolve

import stemwright as sw
from stemwright.datagen.edit.undone_file import Undoing
from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.inverse import FITS
from stemwright.datagen.inverse.undo.requests import Request
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.writing import save

RATE, SECONDS = 44_100, 10.0
TAPS = 1024
EXACT_DB = 150.0  # beyond what float32 files can tell
ENCODINGS = {"flac24": "24 bit", "wav32f": "float"}
Array = np.ndarray


class Made(NamedTuple):
    """An example: its removed effect, input and target, and the folder of its corpus."""

    effect: str
    wet: Path
    dry: Path
    corpus: Path


def write_songs(folder: Path, music: Path | None, count: int) -> Path:
    """Ten seconds of each song as a multitrack, its loudest: the excerpt, and songs drawn from the others."""
    excerpt, *others = songs(music)
    order = np.random.default_rng(14).permutation(len(others))
    for title, read in [excerpt, *(others[place] for place in order)][:count]:
        stems = read()
        total, frames = sum(stems.values()), round(SECONDS * RATE)
        energy = np.convolve((total**2).sum(0)[::100], np.ones(frames // 100), "valid")
        start = 100 * int(energy.argmax())
        for name, audio in stems.items():
            save(folder / title / f"{name}.wav", np.asarray(0.5 * audio[:, start : start + frames], np.float32), RATE, encoding="wav32f")
    return folder


def corpus(place: Path, source: Path, encoding: str, per_track: int) -> Path:
    """A corpus of single effects that can be undone, and of limited mixtures."""
    effects = [name for name, effect in EFFECTS.items() if hasattr(effect, "invert")] + ["clip"]
    removal = {"per_track": per_track, "effects": effects, "removed": [1, 1], "kept": [0, 1], "ranges": {"delay": {"mix": [0.1, 0.4]}}}
    pairs = {"duration_s": 4.0, "mix": {"per_track": 0}, "removal": removal, "limit": {"per_track": 2}}
    config = {"songs": {"kind": "multitracks", "mixture": "sum"}, "pairs": pairs, "dataset": {"encoding": encoding}}
    sw.build(source, place, config)
    return place


def examples(corpus: Path) -> Iterator[Made]:
    """The examples of a corpus of which one effect was removed."""
    dataset = corpus / "dataset"
    pairs = sw.read_table(dataset / "pairs.parquet").set_index("id")
    for row in sw.read_table(dataset / "examples.parquet").itertuples():
        files = {signal["name"]: dataset / signal["audio"]["path"] for signal in row.signals}
        pair = pairs.loc[row.pair_id]
        if pair.kind == "limit":
            yield Made("limiter", files["limited"], files["mix"], corpus)
            continue
        wet = next(iter(pair.inputs))
        chain = [*wet["branches"][0]["chain"], *wet["bus"]]
        [effect] = [use["effect"] for use in chain if use["role"] == "removed"]
        if any(use["effect"] == "clip" and use["role"] == "kept" for use in chain):
            continue  # restored on the way back, which is no inverse: the row ``clip`` is about that
        yield Made(effect, files[wet["name"]], files[next(iter(pair.targets))["name"]], corpus)


def sdr_db(found: Array, dry: Array) -> float:
    """Energy of the dry signal over that of the difference, in dB, at most EXACT_DB."""
    error = float(np.square(found.astype(np.float64) - dry).sum())
    return min(EXACT_DB, 10.0 * np.log10(float(np.square(dry, dtype=np.float64).sum()) / max(error, 1e-30)))


def filtered(wet: Array, dry: Array) -> Array:
    """The wet signal through the linear filter that comes closest to the dry one, channel by channel."""
    size, out = wet.shape[1], np.zeros_like(dry, dtype=np.float64)
    for channel, (one, other) in enumerate(zip(wet.astype(np.float64), dry.astype(np.float64), strict=True)):
        own = fftconvolve(one, one[::-1])[size - 1 : size - 1 + TAPS]
        cross = fftconvolve(other, one[::-1])[size - 1 : size - 1 + TAPS]
        own[0] = own[0] * (1.0 + 1e-9) + 1e-12
        out[channel] = fftconvolve(one, solve_toeplitz(own, cross))[:size]
    return out


def undone_by_row(made: Made, out: Path) -> float:
    """SDR of an input that is undone by the row of its corpus."""
    Undoing(Request(settings=made.corpus)).undo_file(made.wet, out, always=True)
    return sdr_db(load(out)[0], load(made.dry)[0])


def undone_by_dry(made: Made, folder: Path) -> float | None:
    """SDR, over the last third, of the 16-bit input undone by settings from the first two thirds; None where they were refused."""
    wet, dry = load(made.wet)[0], load(made.dry)[0]
    peak = max(float(np.abs(wet).max()), float(np.abs(dry).max()), 1.0)
    known = 2 * dry.shape[1] // 3
    soundfile.write(folder / "wet.wav", (wet / peak).T, RATE, subtype="PCM_16")
    soundfile.write(folder / "dry.wav", (dry / peak).T[:known], RATE, subtype="PCM_16")
    try:
        Undoing(Request(effects=(made.effect,), dry=folder / "dry.wav")).undo_file(folder / "wet.wav", folder / "out.wav", always=True)
    except Refused:
        return None
    return sdr_db(load(folder / "out.wav")[0][:, known:] * peak, dry[:, known:])


def text(values: Iterable[float | None]) -> str:
    """Median / worst; how many were refused."""
    values = list(values)
    found = sorted(value for value in values if value is not None)
    refused = f" ({len(values) - len(found)} refused)" if len(found) < len(values) else ""
    return f"{np.median(found):.0f} / {found[0]:.0f}{refused}" if found else ("-" if not values else f"all {len(values)} refused")


def measured(folder: Path, source: Path, per_track: int) -> dict[str, dict[str, list[Any]]]:
    """{effect: {column: figures}}."""
    rows: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for encoding, column in ENCODINGS.items():
        for made in examples(corpus(folder / encoding, source, encoding, per_track)):
            row = rows[made.effect]
            row[column].append(undone_by_row(made, folder / "out.wav"))
            if encoding == "wav32f":
                wet, dry = load(made.wet)[0], load(made.dry)[0]
                row["nothing"].append(sdr_db(wet, dry))
                row["filter"].append(sdr_db(filtered(wet, dry), dry))
                if made.effect in FITS and hasattr(EFFECTS[made.effect], "invert"):
                    row["dry"].append(undone_by_dry(made, folder))
            print(f"{made.effect} ({column}): {row[column][-1]:.1f} dB", flush=True)
    return rows


def table(rows: dict[str, dict[str, list[Any]]]) -> str:
    """The figures as Markdown."""
    lines = [
        "SDR against the target in dB, median / worst. `filter`: the linear filter with 1024 taps that comes closest, the dry sound being "
        "known. `by its row`: `undo FILE OUT --settings CORPUS`; `limiter` by the gain curve of its pair, `clip` is restored. `16 bit, dry "
        "reference`: settings fitted on the first two thirds, judged on the last. Values above 150 dB are given as 150.",
        "",
        "| effect | examples | doing nothing | filter | by its row, 24 bit | float | 16 bit, dry reference |",
        "|---|---|---|---|---|---|---|",
    ]
    for effect, row in sorted(rows.items()):
        columns = [text(row[name]) for name in ("nothing", "filter", "24 bit", "float", "dry")]
        lines.append(f"| {effect} | {len(row['float'])} | {' | '.join(columns)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs it, prints it, stores it if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--music", type=Path, default=os.environ.get("STEMWRIGHT_FREE_MUSIC"), help="folder of free music, made by benchmarks/free_music.py"
    )
    parser.add_argument("--songs", type=int, default=4, help="songs")
    parser.add_argument("--per-track", type=int, default=10, help="removal pairs a song")
    parser.add_argument("--write", action="store_true", help="store the table in docs/results.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source = write_songs(Path(name) / "songs", Path(asked.music) if asked.music else None, asked.songs)
        body = table(measured(Path(name), source, asked.per_track))
    print(body)
    if asked.write:
        music = " --music FOLDER" if asked.music else ""
        command = f"python benchmarks/undo.py{music} --songs {asked.songs} --per-track {asked.per_track} --write"
        publish("Undoing effects over a corpus", command, body)


if __name__ == "__main__":
    main()
