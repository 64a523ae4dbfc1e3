"""The pipeline around separation: planning, rendering, starting again, answering.

    python benchmarks/pipeline.py [--write]                 all parts
    python benchmarks/pipeline.py --only script [--write]   one part; only the script has a section of its own

What is measured
    planning: pairs a second, of `mix` and `removal`, from rows in memory to the written table.
    rendering: seconds of written audio a second on one core, decoding of 24-bit FLAC stems and encoding included, for each kind of pair
    and format; beside it the limit that libsndfile sets in the same run: decoding once and encoding once what is read and written.
    against a script: the same pairs, rendered, checked and written, and by ``afternoon_script.py``, in turn: the ratio of the medians.
    scale: 100,000 pairs planned and written by a process of its own, with its peak memory; rendering by two processes against one, on an
    otherwise idle machine (wall time; each includes starting its workers).
    starting again: `stemwright render` as a process of its own over 10,000 finished examples.
    All other times are processor seconds (user and system), the best of several runs: the time of one core that runs nothing else.
    answering: `stemwright --help` as a process; and which heavy libraries `import stemwright` loads.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
from results import publish
from songs import render_song

from stemwright.datagen.dataset.writers.folder import FolderWriter
from stemwright.datagen.pairs.audibility import check_audible
from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.pairs.render import Sources, render
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_plan, run_render
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.pair_records import Example, Pair, SignalFile
from stemwright.manifests.records import AudioFile, Estimate, Refused, Stem, Track, content_id, seal, track_id
from stemwright.manifests.sound import writing

RATE = 44_100
RUNS = 5
NAMES = ("drums", "bass", "other", "vocals", "residual")


def corpus_of(folder: Path, songs: int, *, duration_s: float, per_track: int | tuple[int, int], real: bool) -> Corpus:
    """A corpus with tracks, stems and estimates; its stems exist as files only if they are to be read.

    ``per_track`` are the pairs of `mix` and of `removal` a track.
    """
    corpus = Corpus(folder)
    mix, removal = per_track if isinstance(per_track, tuple) else (per_track, per_track)
    pairs = {"duration_s": 5.0, "mix": {"per_track": mix}, "removal": {"per_track": removal}}
    corpus.create(check({"pairs": pairs}, where="benchmark"))
    tracks, stems, estimates = [], [], []
    for number in range(songs):
        source = audio_file(f"{number}.flac", duration_s, content_id(number) * 4)
        key = track_id(source.sha256)
        tracks.append(
            Track(
                id=key,
                cache_key=key,
                audio=source,
                sound=source.sha256,
                title=f"Song {number}",
                artist=f"A {number}",
                source="folder",
                split="train",
                peak_dbfs=-1.0,
            )
        )
        made = render_song(number, duration_s) if real else {}
        for name in NAMES:
            path = f"stems/{key}/{name}.flac"
            sha256 = content_id(path) * 4
            if real:
                silence = np.zeros((2, round(duration_s * RATE)), np.float32)
                sha256 = writing.save(folder / path, made.get(name, silence) * np.float32(0.5), RATE)
            file = audio_file(path, duration_s, sha256)
            stem = seal(Stem, cache_key=key, track_id=key, name=name, audio=file, origin="synthetic", gain_db=0.0, closure_db=-20.0)
            stems.append(stem)
            facts = {
                "level_lu": -6.0,
                "level_low_lu": -6.0,
                "level_high_lu": -6.0,
                "pan": 0.0,
                "width": 0.2,
                "active": (True,) * int(duration_s),
            }
            estimates.append(seal(Estimate, cache_key=key, stem_id=stem.id, track_id=key, name=name, loudness_lufs=-24.0, **facts))
    table.write(corpus.table("tracks"), tracks, Track)
    table.write(corpus.table("stems"), stems, Stem)
    table.write(corpus.table("estimates"), estimates, Estimate)
    return corpus


def audio_file(path: str, duration_s: float, sha256: str) -> AudioFile:
    """The row of a file that is as long as it says."""
    return AudioFile(path=path, sample_rate=RATE, num_channels=2, num_frames=round(duration_s * RATE), num_bytes=0, sha256=sha256)


def best(times: Sequence[float]) -> float:
    """The shortest of several runs: noise only ever adds."""
    return min(times)


def planning(folder: Path) -> list[str]:
    """Pairs a second."""
    corpus = corpus_of(folder, 500, duration_s=240.0, per_track=10, real=False)
    rows = [corpus.rows(name, kind) for name, kind in (("tracks", Track), ("stems", Stem), ("estimates", Estimate))]
    times = []
    for _ in range(RUNS):
        corpus.table("pairs").unlink(missing_ok=True)
        started = time.process_time()
        pairs = plan_pairs(corpus.config, *rows).pairs
        table.write(corpus.table("pairs"), pairs, Pair)
        times.append(time.process_time() - started)
    rate = len(pairs) / best(times)
    return [f"| planning, {len(pairs):,} pairs, to Parquet | {rate:,.0f} pairs/s | 5,000 pairs/s | {rate / 5000:.2f} |"]


def scale(folder: Path) -> list[str]:
    """100,000 pairs in one process, of many tracks and of few, with its peak memory; two processes that render against one."""
    corpus_of(folder / "rows", 5000, duration_s=240.0, per_track=10, real=False)
    corpus_of(folder / "few", 12, duration_s=240.0, per_track=(0, 8_400), real=False)
    lines = planned_alone(folder / "rows", "20 of each of 5,000 tracks") + planned_alone(folder / "few", "8,400 of each of 12 tracks")
    corpus = corpus_of(folder / "audio", 4, duration_s=30.0, per_track=100, real=True)
    run_plan(corpus)
    times = {}
    for jobs in (1, 2):
        shutil.rmtree(corpus.dataset, ignore_errors=True)
        corpus.table("examples").unlink(missing_ok=True)
        started = time.perf_counter()
        run_render(corpus, Workers(jobs))
        times[jobs] = time.perf_counter() - started
    ratio, both = times[1] / times[2], f"{times[1]:.0f} s and {times[2]:.0f} s"
    lines.append(f"| rendering with two processes against one ({both}) | {ratio:.2f} times | 1.8 times | {ratio / 1.8:.2f} |")
    return lines


def planned_alone(folder: Path, shape: str) -> list[str]:
    """How long a process of its own plans a corpus, and its peak memory."""
    code = (
        "import sys, time; from pathlib import Path; from stemwright.datagen.run.corpus import Corpus; "
        "from stemwright.datagen.run.stages import run_plan; "
        "began = time.process_time(); done = run_plan(Corpus(sys.argv[1])).done; took = time.process_time() - began; "
        "peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM')); "
        "print(done, took, peak.split()[1])"
    )
    root = str(Path(__file__).resolve().parent.parent)
    ran = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=root, capture_output=True, text=True, check=True)
    done, took, peak_kb = ran.stdout.split()
    what = f"planning {int(done):,} pairs, {shape}, reading and writing the tables included"
    return [
        f"| {what} | {float(took):.1f} s | 20 s | {20 / float(took):.2f} |",
        f"| its peak memory | {int(peak_kb) / 1024:,.0f} MB | 1,024 MB | {1024 * 1024 / int(peak_kb):.2f} |",
    ]


def rendering(folder: Path) -> list[str]:
    """Seconds of written audio a second on one core, and how near that is to what the codec alone takes."""
    import torch

    torch.set_num_threads(1)
    corpus = corpus_of(folder, 4, duration_s=30.0, per_track=15, real=True)
    run_plan(corpus)
    pairs = corpus.rows("pairs", Pair)
    files = {stem.id: stem.audio for stem in corpus.rows("stems", Stem)}
    lines = []
    for kind in ("mix", "removal"):
        chosen = [pair for pair in pairs if pair.kind == kind]
        for encoding in ("flac24", "wav32f"):
            writer, read = FolderWriter(encoding), Sources(corpus.folder, files)
            writer.write(corpus.folder, chosen[0], render(chosen[0], read))  # compiles the kernels
            times, codec = [], []
            for _ in range(RUNS):
                started = time.process_time()
                for pair in chosen:
                    writer.write(corpus.folder, pair, render(pair, read))
                times.append(time.process_time() - started)
                codec.append(codec_time(chosen, read, encoding))
            written = sum(pair.num_frames / pair.sample_rate * len((*pair.inputs, *pair.targets)) for pair in chosen)
            rate = written / best(times)
            share = best(codec) / best(times)
            ratio = f"{rate / 100:.2f} (codec alone takes {share:.0%})"
            lines.append(f"| rendering `{kind}`, {encoding}, one core | {rate:,.0f} s of audio/s | 100 s/s | {ratio} |")
    return lines


def script(folder: Path) -> list[str]:
    """Mix and removal against a script of an afternoon."""
    import torch

    torch.set_num_threads(1)
    corpus = corpus_of(folder, 2, duration_s=30.0, per_track=8, real=True)
    run_plan(corpus)
    pairs, files = corpus.rows("pairs", Pair), {stem.id: stem.audio for stem in corpus.rows("stems", Stem)}
    return [against_script(corpus, kind, [pair for pair in pairs if pair.kind == kind], files) for kind in ("mix", "removal")]


def is_audible(pair: Pair, read: Sources) -> bool:
    """Whether a pair is not refused."""
    try:
        check_audible(pair, render(pair, read))
    except Refused:
        return False
    return True


def against_script(corpus: Corpus, kind: str, pairs: Sequence[Pair], files: Mapping[str, AudioFile]) -> str:
    """How long a script of soundfile, pedalboard and joblib takes for the same pairs, over how long we take."""
    import afternoon_script

    writer, read = FolderWriter("flac24"), Sources(corpus.folder, dict(files))
    paths = {name: corpus.folder / file.path for name, file in files.items()}
    pairs = [pair for pair in pairs if is_audible(pair, read)]  # others are drawn again, which a script does not

    def ours() -> None:
        for pair in pairs:
            signals = render(pair, read)
            check_audible(pair, signals)
            writer.write(corpus.folder, pair, signals)

    def by_script() -> None:
        afternoon_script.run(corpus.folder / "script", pairs, paths)

    times: dict[str, list[float]] = {"ours": [], "script": []}
    for _ in range(RUNS + 1):
        for name, work in (("ours", ours), ("script", by_script)):
            started = time.process_time()
            work()
            times[name].append(time.process_time() - started)
    own, other = (statistics.median(times[name][1:]) for name in ("ours", "script"))
    aim = {"mix": 1.0, "removal": 0.9}[kind]
    what = f"rendering {len(pairs)} pairs of `{kind}`, a script of soundfile, pedalboard and joblib against ours"
    return f"| {what} | {other:.2f} s against {own:.2f} s: {other / own:.2f} | {aim} | {other / own / aim:.2f} |"


def codec_time(pairs: Sequence[Pair], read: Sources, encoding: str) -> float:
    """Seconds for decoding every source once and encoding every signal once, and nothing else."""
    spent = 0.0
    for pair in pairs:
        sources = {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}
        started = time.process_time()
        decoded = [read(source, pair.start_frame, pair.num_frames, pair.sample_rate) for source in sources]
        for _ in (*pair.inputs, *pair.targets):
            writing.encode(decoded[0], pair.sample_rate, encoding)  # type: ignore[arg-type]
        spent += time.process_time() - started
    return spent


def starting_again(folder: Path) -> list[str]:
    """`stemwright render` over 10,000 finished examples: rows and files stand, nothing is to be done."""
    corpus = corpus_of(folder, 500, duration_s=240.0, per_track=10, real=False)
    run_plan(corpus)
    pairs, writer, examples = corpus.rows("pairs", Pair), FolderWriter(), []
    for pair in pairs:
        signals = []
        for role, planned in (("input", pair.inputs), ("target", pair.targets)):
            for signal in planned:
                path = f"dataset/train/{pair.kind}/{pair.id}/{role}_{signal.name}.flac"
                (corpus.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (corpus.folder / path).touch()
                signals.append(
                    SignalFile(role=role, name=signal.name, audio=audio_file(path, 5.0, "0" * 64), loudness_lufs=-20.0, peak_dbfs=-1.0)
                )
        examples.append(seal(Example, cache_key=writer.cache_key(pair), pair_id=pair.id, gain_db=0.0, signals=tuple(signals)))
    table.write(corpus.table("examples"), examples, Example)
    run_render(corpus, Workers(1))
    took = best([process_time([STEMWRIGHT, "render", str(corpus.folder)], f"0 done, {len(pairs)} skipped") for _ in range(3)])
    return [f"| a second start over {len(pairs):,} finished examples | {took:.2f} s | 3 s | {3 / took:.2f} |"]


STEMWRIGHT = str(Path(sys.executable).with_name("stemwright"))


def process_time(command: Sequence[str], expected: str) -> float:
    """Processor seconds of one whole process, which must print what is expected."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if expected not in done.stdout:
        raise RuntimeError(f"{' '.join(command)} printed {done.stdout!r}; expected {expected!r}")
    return took


def answering() -> list[str]:
    """The help, and what importing loads."""
    took = best([process_time([STEMWRIGHT, "--help"], "build") for _ in range(5)])
    code = "import sys, stemwright; print(sorted({'torch', 'demucs', 'musdb', 'pandas'} & set(sys.modules)))"
    process_time([sys.executable, "-c", code], "[]")
    return [
        f"| `stemwright --help` | {took:.2f} s | 0.5 s | {0.5 / took:.2f} |",
        "| `import stemwright` loads torch, demucs, musdb, pandas | none | none | - |",
    ]


def main() -> None:
    """Prints the table; with --write, also into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("plan", "scale", "render", "script", "again"), help="one part")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    head = ["| what | measured | target | ratio (above 1 is better) |", "|---|---|---|---|"]
    lines, compared = [*head], []
    with tempfile.TemporaryDirectory() as place:
        for name, part in (("plan", planning), ("scale", scale), ("render", rendering), ("again", starting_again)):
            if options.only in (None, name):
                lines += part(Path(place, name))
        if options.only in (None, "script"):
            compared = head + script(Path(place, "script"))
        lines += answering() if options.only is None else []
    body = "\n".join(lines)
    print(body, *compared, sep="\n")
    if options.write and compared:
        publish("Rendering against a script", "python benchmarks/pipeline.py --only script --write", "\n".join(compared))
    if options.write and options.only is None:
        publish("Pipeline", "python benchmarks/pipeline.py --write", body)


if __name__ == "__main__":
    main()
