"""Whether the labels of a dataset are true of its audio: recorded chains re-applied to what was written, and what removed effects change.

For every format and encoding a corpus is built of synthetic songs and of the real excerpt that stempeg ships, some of them far above full
scale, so that 24-bit files need a joint gain. The rows of ``dataset/`` alone then give

    SDR        energy of a written target or input over that of its difference to the sources, times the example's ``gain_db``, through
               the recorded chains; the worst of all signals of a kind. 24-bit rounding bounds it: of a soft signal it is less
    wet        the same of the written wet against the written dry through the removed effects, where no kept one follows them
    below      share of the removed and added effects that change their signal by less than the pair's ``min_change_db``
    smallest   the smallest such change

    python benchmarks/labels.py [--write]
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import torch
from results import publish
from songs import mixture_of, render_song

from stemwright.datagen.effects import apply_chain
from stemwright.datagen.pairs.render import Sources, render
from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import shards, table
from stemwright.manifests.dataset_rows import WrittenPair
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.pair_records import Example
from stemwright.manifests.records import Stem
from stemwright.manifests.sound import decoding, writing

RATE = 44_100
HOT = 2.0  # songs above full scale, as float WAV may be
KINDS: dict[str, dict[str, Any]] = {
    "mix": {"per_track": 3, "inputs": "levelled", "level_over": "excerpt", "loudness_lufs": -9.0, "target": "sum"},
    "remix": {"per_track": 2, "mode": "console", "loudness_lufs": -12.0},
    "removal": {"per_track": 8, "preset": "wide", "loudness_lufs": -9.0},
    "limit": {"per_track": 2, "loudness_lufs": -6.0},
    "edit": {"per_track": 4},
}
FORMATS = [
    *((name, encoding) for name in ("folder", "webdataset", "huggingface") for encoding in ("flac24", "wav32f")),
    ("musdb", "wav32f"),
]
SPLITS = ("train", "train", "test", "train")


def write_songs(folder: Path) -> None:
    """Three synthetic songs and the real excerpt, as multitracks in the shape of MUSDB18-HQ."""
    import stempeg

    real = stempeg.example_stem_path()
    names = ("drums", "bass", "other", "vocals")
    parts = [render_song(6000 + number, 6.0) for number in range(3)]
    parts.append({name: decoding.load(real, 0, 6 * RATE, stream=stream)[0] for stream, name in enumerate(names, 1)})
    for number, (song, split) in enumerate(zip(parts, SPLITS, strict=True)):
        hot = np.float32(HOT if number % 2 == 0 else 1.0)
        stems = {name: np.asarray(song[name], np.float32) * hot for name in names}
        for name, sound in {**stems, "mixture": mixture_of(stems)}.items():
            writing.save(folder / split / f"Artist {number} - Song" / f"{name}.wav", sound, RATE, encoding="wav32f")


def configuration(songs: Path, format_name: str, encoding: str) -> Any:
    """All kinds of pairs, or mixes alone where the format holds no others."""
    kinds = KINDS if format_name != "musdb" else {name: {"per_track": 0} for name in KINDS} | {"mix": {"per_track": 3, "target": "sum"}}
    sections = {"dataset": {"format": format_name, "encoding": encoding}, "separation": {"limits": {"clipped_share": 1.0}}}
    return check({"songs": {"folder": str(songs)}, "pairs": {"duration_s": 3.0, **kinds}, **sections}, where="benchmark")


def prepared(place: Path, songs: Path, format_name: str) -> Corpus:
    """A corpus up to its plan."""
    corpus = Corpus(place)
    corpus.create(configuration(songs, format_name, "auto"))
    stages.run_catalog(corpus, Workers(2))
    stages.run_separate(corpus)
    stages.run_estimate(corpus, Workers(2))
    stages.run_plan(corpus)
    return corpus


def sdr_db(made: np.ndarray, written: np.ndarray) -> float:
    """Energy of what was written over that of the difference."""
    error = float(np.square(made.astype(np.float64) - written).sum())
    return 10.0 * math.log10(float(np.square(written).sum()) / error) if error > 0.0 else math.inf


def measured(corpus: Path) -> dict[str, dict[str, list[float]]]:
    """Kind -> what was measured of its examples, from the rows of the dataset."""
    dataset, found = corpus / "dataset", defaultdict[str, dict[str, list[float]]](lambda: defaultdict(list))
    stems = {row.id: row.audio for row in table.read(corpus / "stems.parquet", Stem)}
    read, places = Sources(corpus, stems), shards.Places(dataset)
    examples = {row.pair_id: row for row in table.read(dataset / "examples.parquet", Example)}
    for pair in table.read(dataset / "pairs.parquet", WrittenPair):
        example, of = examples[pair.id], found[pair.kind]
        gain = np.float32(db_to_gain(example.gain_db))
        made = render(pair, lambda *which, gain=gain: read(*which) * gain)
        sound = {file.name: places.find(file.audio.path).load()[0].astype(np.float64) for file in example.signals}
        of["sdr"] += [sdr_db(made[name], written) for name, written in sound.items() if np.any(written)]
        of["gain"].append(example.gain_db)
        for change in example.changes:
            of["change"].append(-math.inf if change.change_db is None else change.change_db)
            of["below"].append(float(of["change"][-1] < (pair.min_change_db or -math.inf)))
        if pair.kind == "removal" and (removed := _only_removed(pair)):
            of["wet"].append(sdr_db(apply_chain(torch.from_numpy(sound["dry"]).float(), pair.sample_rate, removed).numpy(), sound["wet"]))
    return found


def _only_removed(pair: WrittenPair) -> tuple[Any, ...]:
    """What follows the dry chain in the wet one, if the wet chain begins with the dry one."""
    wet, dry = (side[0].branches[0].chain for side in (pair.inputs, pair.targets))
    return wet[len(dry) :] if wet[: len(dry)] == dry else ()


def rows(place: Path) -> list[str]:
    """The lines of the table."""
    songs = place / "songs"
    write_songs(songs)
    plans = {name: prepared(place / f"plan-{name}", songs, name) for name in ("folder", "musdb")}
    lines = []
    for format_name, encoding in FORMATS:
        folder = place / f"{format_name}-{encoding}"
        shutil.copytree(plans.get(format_name, plans["folder"]).folder, folder)
        corpus = Corpus(folder)
        corpus.create(configuration(songs, format_name, encoding))
        stages.run_render(corpus, Workers(2))
        for kind, of in measured(folder).items():
            cells = [kind, format_name, encoding, f"{len(of['gain'])} ({sum(gain < 0 for gain in of['gain'])})", f"{min(of['gain']):.1f}"]
            cells += [f"{min(of['sdr']):.1f}", f"{min(of['wet']):.1f}" if of["wet"] else ""]
            cells += [f"{np.mean(of['below']):.0%} of {len(of['below'])}", f"{min(of['change']):.1f}"] if of["change"] else ["", ""]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
        shutil.rmtree(folder)
    return lines


def main() -> None:
    """Prints the table, and publishes it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="publish in docs/results.md")
    write = parser.parse_args().write
    titles = ("kind", "format", "encoding", "examples (joint gain)", "largest gain, dB", "worst SDR, dB", "wet from written dry, dB")
    head = "| " + " | ".join((*titles, "below", "smallest, dB")) + " |"
    with tempfile.TemporaryDirectory() as place:
        body = "\n".join([head, "|---|---|---|---|---|---|---|---|---|", *rows(Path(place))])
    if write:
        note = (
            "Recorded chains applied to the sources at `gain_db`, or to the written dry side, against what was written; the worst signal. "
            "Beside it the share of removed and added effects that change their signal by less than the pair's `min_change_db`, and the "
            "smallest change. Three synthetic songs and one real excerpt, two of them 6 dB louder than they were."
        )
        publish("labels re-applied to written audio", "python benchmarks/labels.py --write", f"{note}\n\n{body}")


if __name__ == "__main__":
    main()
