"""A thousand pairs exported without sound and made again from the songs; songs known again in other encodings.

    python benchmarks/rebuild.py [--songs 10] [--seconds 20] [--pair-seconds 1] [--per-track 50] [--write]

What is measured
    export and rebuild: half of the songs are multitracks, half are separated by the bundled model. The songs are renamed, the corpus is
    exported without sound and rebuilt from them; then every file of the two dataset folders is compared, byte for byte. Kilobytes a song
    are those of all tables.
    known again: every song of the set in every encoding, by the ffmpeg program, against every fingerprint of the set. The offset is right
    if it is that of the largest cross-correlation with the song; the distortion that was estimated from the sketch is held against the
    one measured on the audio. All songs by all others give the smallest error rate between different songs.
    Songs are synthetic (benchmarks/songs.py), with seeds that were chosen before anything was measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
from results import publish
from songs import mixture_of, render_song

from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_catalog, run_estimate, run_plan, run_render, run_separate
from stemwright.datagen.run.tasks import Workers
from stemwright.datagen.share.export import Exported, export
from stemwright.datagen.share.known_songs import aligned, measure_copy
from stemwright.datagen.share.reading import opened
from stemwright.datagen.share.rebuild import Options, Rebuild, Rebuilt
from stemwright.datagen.share.sound_marks import FingerprintRow, SketchRow
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.records import Track
from stemwright.manifests.sound import decoding, fingerprint, writing
from stemwright.separation.stem_files import joint_gain_db

RATE = 44_100
FIRST_SEED = 6_000
ENCODINGS = {  # name -> suffix and arguments of ffmpeg
    "mp3, 128 kbit/s": (".mp3", ["-b:a", "128k"]),
    "mp3, 320 kbit/s": (".mp3", ["-b:a", "320k"]),
    "AAC, 128 kbit/s": (".m4a", ["-b:a", "128k"]),
    "Opus, 96 kbit/s, 48 kHz": (".opus", ["-b:a", "96k"]),
    "Vorbis, quality 4": (".ogg", ["-c:a", "libvorbis", "-q:a", "4"]),
    "FLAC, 16 bit, 6 dB quieter": (".flac", ["-af", "volume=-6dB", "-sample_fmt", "s16"]),
    "FLAC, 48 kHz": (".flac", ["-ar", "48000"]),
    "FLAC, first 50 ms cut": (".flac", ["-af", "atrim=start_sample=2205"]),
    "FLAC, 1105 samples in front": (".flac", ["-af", "adelay=delays=1105S:all=1"]),
}


def write_songs(folder: Path, count: int, duration_s: float) -> None:
    """Songs: mixtures and multitracks in turn."""
    for number in range(count):
        stems = render_song(FIRST_SEED + number, duration_s)
        parts = {"mixture": mixture_of(stems), **stems}
        gain = db_to_gain(joint_gain_db(max(float(np.abs(part).max()) for part in parts.values())))
        name = f"Artist {number} - Title {number}"
        if number % 2:
            for stem, part in parts.items():
                writing.save(folder / name / f"{stem}.flac", part * np.float32(gain), RATE)
        else:
            writing.save(folder / f"{name}.flac", parts["mixture"] * np.float32(gain), RATE)


def build(corpus: Corpus, songs: Path, per_track: int, pair_s: float) -> float:
    """Builds the corpus; returns seconds."""
    values = {
        "songs": {"folder": str(songs)},
        "separation": {"model": "bundled"},
        "pairs": {"duration_s": pair_s, "mix": {"per_track": per_track}, "removal": {"per_track": per_track}},
    }
    started = time.monotonic()
    corpus.create(check(values, where="benchmark"))
    run_catalog(corpus, Workers())
    run_separate(corpus)
    run_estimate(corpus, Workers())
    run_plan(corpus)
    run_render(corpus, Workers())
    return time.monotonic() - started


def rename(songs: Path, other: Path) -> None:
    """The same files under names that say nothing, in one folder."""
    other.mkdir()
    for number, path in enumerate(sorted(path for path in songs.rglob("*") if path.is_file())):
        shutil.copy(path, other / f"{number:04d}{path.suffix}")


def rebuilt(recipes: Path, songs: Path, out: Path) -> tuple[Rebuilt, float]:
    """Rebuilds; returns what was found and seconds."""
    started = time.monotonic()
    with opened(recipes) as read:
        work = Rebuild(read, songs, Corpus(out), Options())
        work.begin()
        work.find()
        work.separate()
        result = work.render()
    return result, time.monotonic() - started


def same_files(one: Path, other: Path) -> tuple[int, int]:
    """How many files below two folders are the same under the same path, and how many there are in either."""
    files = {path.relative_to(root) for root in (one, other) for path in root.rglob("*") if path.is_file()}
    both = [path for path in files if (one / path).exists() and (other / path).exists()]
    return sum((one / path).read_bytes() == (other / path).read_bytes() for path in both), len(files)


def recognition(folder: Path, recipes: Path, songs: Path) -> list[str]:
    """A line for each encoding, and one for different songs."""
    with opened(recipes) as read:
        marks = {row.id: row for row in read.rows("fingerprints", FingerprintRow)}
        sketches = {row.id: row for row in read.rows("sketches", SketchRow)}
        tracks = read.rows("tracks", Track)
    by_sha = {file_sha256(path): path for path in songs.rglob("*.flac")}
    originals = {track.id: by_sha[track.audio.sha256] for track in tracks}
    kept = {name: fingerprint.unpack(mark.words) for name, mark in marks.items()}
    heard = {name: fingerprint.dense_words(path) for name, path in originals.items()}
    apart = [fingerprint.match(kept[one], heard[two]).error_rate for one in kept for two in heard if one != two]
    lines = []
    for encoding, (suffix, options) in ENCODINGS.items():
        rates, right, errors_db, distortions = [], 0, [], []
        for name, path in originals.items():
            copy = folder / f"copy{suffix}"
            subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-i", path, *options, copy], check=True)
            match = fingerprint.match(kept[name], fingerprint.dense_words(copy))
            rates.append(match.error_rate)
            if not match.same:
                continue
            found = measure_copy(copy, marks[name], sketches[name], match.offset_s)
            song, _ = decoding.load(path)
            laid = np.concatenate(list(aligned(copy, marks[name], found.offset_frames, found.gain)), axis=1)
            right += best_lag(song, laid) == 0
            true_db = 10 * np.log10(np.square(song, dtype=float).sum() / max(np.square(song - laid, dtype=float).sum(), 1e-30))
            if true_db < 100:  # beyond it, both say that there is no difference to speak of
                errors_db.append(abs(found.distortion_db - true_db))
            distortions.append(true_db)
        known = sum(rate <= fingerprint.SAME_ERROR_RATE for rate in rates)
        off = f"{np.mean(errors_db):.2f}" if errors_db else "-"
        shown = f"{np.median(distortions):.1f}" if np.median(distortions) < 100 else "over 100"
        lines.append(f"| {encoding} | {known} of {len(rates)} | {max(rates):.3f} | {right} of {known} | {shown} | {off} |")
    lines.append(f"| another song ({len(apart)} pairs of songs) | {sum(r <= fingerprint.SAME_ERROR_RATE for r in apart)} | ")
    lines[-1] += f"at least {min(apart):.3f} | - | - | - |"
    return lines


def best_lag(song: np.ndarray, laid: np.ndarray, reach: int = 200) -> int:
    """By how many samples an aligned copy is still off, by the largest cross-correlation."""
    size = 1 << (song.shape[1] + reach).bit_length()
    one, other = (np.fft.rfft(np.diff(part.mean(axis=0)), size) for part in (song, laid))
    lags = np.fft.irfft(np.conj(one) * other)
    return max(range(-reach, reach + 1), key=lambda lag: float(lags[lag]))


def report(folder: Path, count: int, duration_s: float, per_track: int, pair_s: float) -> str:
    """Runs everything in a folder; returns the Markdown."""
    songs, mine, corpus = folder / "songs", folder / "mine", Corpus(folder / "corpus")
    write_songs(songs, count, duration_s)
    took_build = build(corpus, songs, per_track, pair_s)
    rename(songs, mine)
    started = time.monotonic()
    done: Exported = export(corpus, folder / "recipes", audio=False, workers=Workers())
    took_export = time.monotonic() - started
    result, took_rebuild = rebuilt(folder / "recipes", mine, folder / "again")
    same, files = same_files(corpus.dataset, folder / "again" / "dataset")
    sound = sum(path.stat().st_size for path in corpus.dataset.rglob("*.flac"))
    lines = [
        "| | measured |",
        "|---|---:|",
        f"| pairs of {pair_s:g} s from {done.tracks} songs of {duration_s:g} s, rendered | {done.examples:,} |",
        f"| examples identical after rebuilding | {result.identical:,} of {result.recorded:,} |",
        f"| files of the dataset folder identical, its tables and card included | {same:,} of {files:,} |",
        f"| tables, kB a song | {done.kb_per_song:.1f} |",
        f"| of these, fingerprint and sketches, kB a song | {marks_kb(done):.1f} |",
        f"| tables, bytes a pair | {done.total_bytes / done.pairs:.0f} |",
        f"| tables against the sound of the dataset | 1 : {sound / done.total_bytes:.0f} |",
        f"| building, s | {took_build:.0f} |",
        f"| exporting, s | {took_export:.1f} |",
        f"| rebuilding (separation included), s | {took_rebuild:.0f} |",
        "",
        "| copy | known again | largest error rate | offset to the sample | SDR dB, median | SDR estimate off by, dB, mean |",
        "|---|---:|---:|---:|---:|---:|",
        *recognition(folder, folder / "recipes", mine),
        "",
        f"A copy is taken for the song up to an error rate of {fingerprint.SAME_ERROR_RATE}. "
        "One process; other programs were at work on the machine.",
    ]
    return "\n".join(lines)


def marks_kb(done: Exported) -> float:
    """Thousands of bytes a song of what serves to know a song again."""
    return sum(done.bytes_by_file[f"{name}.parquet"] for name in ("fingerprints", "sketches")) / 1000 / done.tracks


def main() -> None:
    """Prints the tables; with --write into docs/results.md as well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pair-seconds", type=float, default=1.0)
    parser.add_argument("--per-track", type=int, default=50)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        body = report(Path(folder), options.songs, options.seconds, options.per_track, options.pair_seconds)
    print(body)
    if options.write:
        publish("Export and rebuild", "python benchmarks/rebuild.py --write", body)


if __name__ == "__main__":
    main()
