"""Does a differentiable console learn to mix from emitted ``mix`` pairs? Trained on songs, judged on others, synthetic and real.

    python benchmarks/train_console.py --work FOLDER [--songs 64] [--held-out 24] [--label-steps 100] [--mix-steps 60]
        [--free FREE] [--write]
    python benchmarks/train_console.py --dataset CORPUS/dataset [--label-steps 100] [--mix-steps 60]

The second command trains on a corpus of one's own instead of synthetic songs, as ``train_mixer.py --dataset`` does, and judges on its test
songs.

What is measured
    Dry stems of one loudness go in, the mix that an engineer made of them is the target (``engineered_songs``). Judged on songs that no
    contender has seen: the loss of the mix and the error of the relative levels, with intervals of 95 % by a bootstrap over songs. The
    published loss is that of the mix; here levels are also in the labels of the rows, and are trained on first, gains alone.
    With --free, what ``free_music.py`` made: groups of tracker modules (drums, bass, other) at their composers' levels. Nothing is trained
    on them; "mean of each name" is there the mean over the synthetic songs, and that over the free songs of other packages.
    FOLDER keeps songs and corpora, so that a run that was stopped goes on.

References
    Steinmetz et al. 2021, differentiable mixing console. The network is ``stemwright.datagen.mixing.mixer_network``, the effects are those
    of ``stemwright.datagen.mixing.mixing_console``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from console_training import BATCH, MEAN, Answers, contenders, train_on_mixes
from engineered_songs import RATE, STEMS, corpus_of, dry_stems
from free_corpus import by_track, free_corpus, free_songs
from free_excerpts import PARTS
from mixer_training import (
    Judged,
    centred,
    gathered,
    judged,
    mix_pairs_of,
    ratio_of,
    rms,
    shown,
    song_errors,
    songs_of,
    table,
    train_on_labels,
    true_gains_db,
)
from musical_levels import musical_levels
from results import report

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.mixing.mixer_network import MixerNetwork, untrained
from stemwright.datagen.mixing.mixing_console import NUM_CONTROLS, NUM_SHARED

DATA_RATE, EXCERPT_S, CROP_S = 22_050, 5.0, 3.0
FIRST_TRAIN, FIRST_TEST = 2000, 9400  # by results on songs from 9100 on, network and steps were chosen
LABEL_SHARE = 0.3  # of the square error in LU beside the loss of the mix, where the console is trained on both
FREE_S = 24.0


def pairs_of(stems: Sequence[str], target: str) -> dict[str, Any]:
    """The configuration of the pairs."""
    mixes = {"per_track": 3, "stems": list(stems), "inputs": "levelled", "target": target}
    return {"duration_s": EXCERPT_S, "sample_rate": DATA_RATE, "mix": mixes, "removal": {"per_track": 0}}


def rule_errors(data: PairDataset, kept: Path, seconds: float) -> np.ndarray:
    """[songs, stems]: errors of the songs' own rule without the engineer's scatter: nothing that listens can do better."""
    found = []
    for track in dict.fromkeys(songs_of(data)):
        pair = next(data.pair(index) for index in range(len(data)) if data.pair(index).track_id == track)
        seed = int(str(pair.sources[0].artist).rpartition(" ")[2])
        stems = dry_stems(seed, seconds, kept)
        rule, made = musical_levels(stems, RATE, seed, scatter=0.0), musical_levels(stems, RATE, seed)
        found.append([rule[name].level_lu - made[name].level_lu if name in rule else np.nan for name in STEMS])
    return centred(np.array(found))


# ------------------------------------------------------------------------------------------------------------------------------ real music


def of_other_packages(data: PairDataset, packages: Mapping[str, str]) -> np.ndarray:
    """[songs, stems]: errors of the mean of each name over the free songs of other packages."""
    truth, songs = true_gains_db(data), songs_of(data)
    levels = -song_errors(np.zeros_like(truth), truth, songs)
    owners = np.array([packages[song] for song in dict.fromkeys(songs)])
    return np.stack([np.nanmean(levels[owners != owner], axis=0) - row for owner, row in zip(owners, levels, strict=True)])


# ------------------------------------------------------------------------------------------------------------------------------ the script


def made_up_section(work: Path, held_out: PairDataset, results: dict[str, Judged]) -> list[str]:
    """The table over synthetic songs, with the limit that the songs' own rule sets."""
    truth, songs = true_gains_db(held_out), songs_of(held_out)
    rows = table(results, truth, songs, MEAN)
    limit = rule_errors(held_out, work / "dry", 12.0)
    mean = song_errors(results[MEAN].gains_db, truth, songs)
    return [*rows, f"| the songs' own rule without its scatter (limit) | | | {rms(limit):.2f} | {shown(ratio_of(limit, mean))} |"]


def free_section(work: Path, free: Path, answers: Callable[[Sequence[str]], Answers]) -> list[str]:
    """The table over free songs."""
    chosen = free_songs(free, ["modules"])
    data = free_corpus(work / "free", chosen, pairs_of(PARTS, "sum"), FREE_S)
    packages = {track: song.owner for track, song in by_track(data, chosen).items()}
    truth, songs = true_gains_db(data), songs_of(data)
    results = judged(data, answers(PARTS))
    others, mean = of_other_packages(data, packages), song_errors(results[MEAN].gains_db, truth, songs)
    return [
        "",
        f"{len(set(songs))} real free songs (tracker modules of {len(set(packages.values()))} packages: {', '.join(PARTS)}), on which "
        "nothing was trained; the mean of each name is that of the synthetic songs:",
        "",
        *table(results, truth, songs, MEAN),
        f"| mean of each name over the free songs of other packages | | | {rms(others):.2f} | {shown(ratio_of(others, mean))} |",
    ]


def trained(folder: Path, options: argparse.Namespace) -> tuple[MixerNetwork, MixerNetwork]:
    """Trained on a dataset: the network after the labels, of gains and pans alone, and the whole console after the mixes."""
    whole = PairDataset(folder, kind="mix", split="train")
    material, rate = gathered(whole), whole.sample_rate
    start = untrained(torch.from_numpy(material.mean_db).float(), rate, NUM_CONTROLS, NUM_SHARED)
    plain = train_on_labels(start, material, options.label_steps)
    cropped = PairDataset(folder, kind="mix", split="train", num_frames=min(whole.num_frames, round(CROP_S * rate)), with_index=True)
    return plain, train_on_mixes(deepcopy(plain), cropped, material, options.mix_steps, LABEL_SHARE)


def on_dataset(options: argparse.Namespace) -> list[str]:
    """Trains on a dataset of one's own: the table over its test songs."""
    pairs = mix_pairs_of(options.dataset)
    songs = songs_of(pairs.train)
    if len(songs) - max(Counter(songs).values()) < BATCH:  # those of every fifth song choose the parameters
        raise SystemExit(f"{options.dataset}: expected {BATCH} pairs beside those of one song; got {len(songs)} of {len(set(songs))} songs")
    plain, console = trained(options.dataset, options)
    lines = [f"{len(pairs.train)} mix pairs of {len(set(songs))} songs ({', '.join(pairs.names)}).", ""]
    if pairs.held_out is None:
        return [*lines, pairs.why]
    answers = contenders(pairs.names, pairs.train.sample_rate, torch.arange(len(pairs.names)), plain, console)
    truth, songs = true_gains_db(pairs.held_out), songs_of(pairs.held_out)
    lines += [
        f"Judged on {len(truth)} pairs of its {len(set(songs))} test songs. In brackets 95 % intervals over songs; below 1 is better."
    ]
    return [*lines, "", *table(judged(pairs.held_out, answers), truth, songs, MEAN)]


def on_songs(options: argparse.Namespace) -> list[str]:
    """Trains on synthetic songs: the tables over others and, where there are any, over real ones."""
    seeds = {"train": range(FIRST_TRAIN, FIRST_TRAIN + options.songs), "test": range(FIRST_TEST, FIRST_TEST + options.held_out)}
    folder = corpus_of(options.work, seeds, pairs_of(STEMS, "released")).dataset
    data, held_out = (PairDataset(folder, kind="mix", split=split) for split in ("train", "test"))
    plain, console = trained(folder, options)

    def answers(names: Sequence[str]) -> Answers:
        return contenders(names, DATA_RATE, torch.tensor([STEMS.index(name) for name in names]), plain, console)

    results = judged(held_out, answers(STEMS))
    size = sum(one.numel() for one in console.parameters())
    return [
        f"{size:,} parameters. {options.label_steps} steps of 32 excerpts on labels, "
        f"{options.mix_steps} of {BATCH} on mixes; {len(data)} pairs of {options.songs} synthetic songs, dry, with a mix by effects whose "
        f"settings follow from their sound; judged on {len(held_out)} pairs of {options.held_out} other songs at {DATA_RATE} Hz. In "
        "brackets 95 % intervals over songs; below 1 is better.",
        "",
        *made_up_section(options.work, held_out, results),
        *(free_section(options.work, options.free, answers) if options.free else ()),
    ]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--work", type=Path)
    place.add_argument("--dataset", type=Path)
    parser.add_argument("--songs", type=int, default=64)
    parser.add_argument("--held-out", type=int, default=24)
    parser.add_argument("--label-steps", type=int, default=100)
    parser.add_argument("--mix-steps", type=int, default=60)
    parser.add_argument("--free", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    if options.dataset and (options.write or options.free):
        parser.error("--write and --free are for the synthetic songs; leave them out with --dataset")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, judges, prints."""
    options = parsed(arguments)
    torch.set_num_threads(1)
    lines = on_dataset(options) if options.dataset else on_songs(options)
    given = f"--songs {options.songs} --held-out {options.held_out} --label-steps {options.label_steps} --mix-steps {options.mix_steps}"
    command = f"python benchmarks/train_console.py --work FOLDER {given}{' --free FREE' if options.free else ''} --write"
    report("Training a mixing console", command, "\n".join(lines), write=options.write)


if __name__ == "__main__":
    main()
