"""Do networks learn from emitted pairs to remove effects, and to say which are on? Judged on other songs, against doing nothing.

    python benchmarks/train_removal.py WORK --music FOLDER [--synthetic 54] [--minutes 2] [--write]

WORK keeps songs, corpora, what was read of the pairs, and the weights (``remover.pt``), so that a run that was stopped continues;
--minutes is the processor's time for the steps of the network of compression. ``trained_remover.py`` is what uses the weights:
``STEMWRIGHT_REMOVER=WORK/remover.pt stemwright evaluate removal --model trained_remover:remove`` from this folder.

What is measured
    Stems of real free music and of synthetic songs (``removal_songs.py``), a third of the songs held out. Of one corpus each pair has one
    of three effects, with the ranges of RemFX, to be removed; one small network for each effect learns from its pairs
    (``removal_networks.py``). Of the other each pair has up to five of the five effects of RemFX: a detector learns which
    (``effect_detector.py``). The removers are judged as RemFX does, by SI-SDR and MR-STFT, against doing nothing: each on its effect, and
    with the effect that the detector says. The detector by accuracy and average precision, against what is most often so in the training
    songs. A last table shows devices that no pair had: what the networks learned is the devices that they were shown.
    Intervals of 95 % are of a bootstrap over songs.

References
    RemFX (Rice et al. 2023): input -> best in SI-SDR: compression 15.57 -> 20.08 dB, reverb 9.3 -> 13.59 dB (other music, days of
    training).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import removal_songs
import torch
from effect_detector import EFFECTS, EffectDetector, heard
from removal_judging import detector_rows, judged, other_devices, removal_rows
from removal_networks import (
    RATE,
    REMOVERS,
    CurveInverter,
    EchoFilter,
    cepstrum,
    frame_sums,
    levels,
    magnitudes,
    si_sdr,
)
from removal_training import train_rider
from results import report
from torch import Tensor, nn

from stemwright.datagen.dataset.loader import PairDataset

SINGLE: dict[str, Any] = {"preset": "remfx-5-1", "effects": list(REMOVERS)}
SEVERAL: dict[str, Any] = {"preset": "remfx"}
PER_TRACK, PER_TRACK_SEVERAL, SAMPLES, DRY_EVERY = 18, 12, 16_384, 3
Material = dict[str, Any]


def removed_of(data: PairDataset, index: int) -> list[str]:
    """The effects that are removed in a pair."""
    return [use.effect for use in data.pair(index).inputs[0].branches[0].chain if use.role == "removed"]


def pairs_of(data: PairDataset, effect: str) -> list[int]:
    """The examples in which an effect is removed."""
    return [index for index in range(len(data)) if effect in removed_of(data, index)]


def read_of(effect: str, wet: Tensor, dry: Tensor, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """What training needs of a pair [1, T] of an effect: two tensors."""
    if effect == "compressor":
        return levels(wet)[0], frame_sums(wet, dry)[0]
    if effect == "reverb":
        return cepstrum(wet)[0], cepstrum(dry)[0]
    chosen = torch.from_numpy(rng.integers(wet.shape[-1], size=SAMPLES))
    return magnitudes(wet)[0], torch.stack([wet[0, chosen] / wet.abs().max().clamp_min(1e-9), dry[0, chosen]])


def material(data: PairDataset, effect: str) -> Material:
    """What training needs of all pairs of an effect, stacked: two tensors."""
    rng, found = np.random.default_rng(0), []
    for index in pairs_of(data, effect):
        item = data[index]
        found.append(read_of(effect, item.inputs[0], item.targets[0], rng))
    first, second = zip(*found, strict=True)
    return {"first": torch.stack(first), "second": torch.stack(second)}


def statistics(data: PairDataset) -> Material:
    """The detector's view of all examples, wet, and of each DRY_EVERY-th dry: [N, P], their labels [N, E], and the songs."""
    features, on, songs = [], [], []
    for index in range(len(data)):
        item, effects = data[index], removed_of(data, index)
        for sound, there in ((item.inputs[0], effects), (item.targets[0], ()))[: 2 if index % DRY_EVERY == 0 else 1]:
            features.append(heard(sound)[0])
            on.append([float(name in there) for name in EFFECTS])
            songs.append(data.pair(index).track_id)
    return {"features": torch.stack(features), "on": torch.tensor(on), "songs": songs}


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What ``make`` returns, or returned before: it is written to a file."""
    if not path.exists():
        part = path.with_suffix(".part")
        torch.save(make(), part)
        part.replace(path)
    return torch.load(path, weights_only=True)


def train_inverter(pairs: Material, steps: int = 600) -> CurveInverter:
    """Trains the inverse of a curve on SI-SDR of samples drawn from each excerpt; a curve has no memory."""
    torch.manual_seed(0)
    network, features, samples = CurveInverter(), pairs["first"], pairs["second"]
    network.mean.copy_(features.mean(0))
    network.spread.copy_(features.std(0) + 1e-3)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.01)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1.0 - step / steps)
        chosen = torch.randint(len(features), (16,))
        seen = features[chosen] + 0.05 * network.spread * torch.randn(16, features.shape[1])
        loss = -si_sdr(network.unbent(samples[chosen, 0], seen), samples[chosen, 1]).clamp_max(40.0).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    return network.eval()


def trained(effect: str, pairs: Material, work: Path, minutes: float) -> nn.Module:
    """The remover of an effect."""
    if effect == "compressor":
        return train_rider(pairs["first"], pairs["second"], minutes, work / "compressor-state.pt")
    if effect == "reverb":
        return EchoFilter().fitted(pairs["first"], pairs["second"]).eval()
    return train_inverter(pairs)


def trained_detector(seen: Material) -> EffectDetector:
    """The detector of effects."""
    torch.manual_seed(0)
    return EffectDetector(seen["features"].shape[1]).fitted(seen["features"], seen["on"])


def weights(single: PairDataset, several: PairDataset, work: Path, minutes: float) -> dict[str, Any]:
    """The state of each remover and of the detector, trained."""
    found: dict[str, Any] = {}
    for effect in REMOVERS:
        pairs = kept(work / f"read-{effect}.pt", lambda effect=effect: material(single, effect))  # type: ignore[misc]
        found[effect] = trained(effect, pairs, work, minutes).state_dict()
        print(f"{effect}: {len(pairs['first'])} pairs", flush=True)
    seen = kept(work / "read-detector.pt", lambda: statistics(several))
    found["detector"] = trained_detector(seen).state_dict()
    print(f"detector: {len(seen['songs'])} sounds", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the corpora, trains, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--music", type=Path, help="the folder that free_music.py makes (default: synthetic songs alone)")
    parser.add_argument("--synthetic", type=int, default=54, help="number of synthetic songs")
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    songs = removal_songs.write_songs(options.work / "songs", options.music, options.synthetic)
    folders = [
        removal_songs.build(songs, options.work / name, removal, number).dataset
        for name, removal, number in (("one", SINGLE, PER_TRACK), ("any", SEVERAL, PER_TRACK_SEVERAL))
    ]
    single, several = (PairDataset(folder, kind="removal", split="train", num_channels=1) for folder in folders)
    found = kept(options.work / "remover.pt", lambda: weights(single, several, options.work, options.minutes))
    held_out, held_out_several = (PairDataset(folder, kind="removal", split="test", num_channels=1) for folder in folders)
    rows = kept(options.work / "judged.pt", lambda: judged(held_out, found, pairs_of))
    seen = kept(options.work / "read-detector-test.pt", lambda: statistics(held_out_several))
    most = kept(options.work / "read-detector.pt", lambda: statistics(several))["on"].mean(0)
    others = kept(options.work / "others.pt", lambda: other_devices(held_out, found))
    counts = [len({data.pair(index).track_id for index in range(len(data))}) for data in (single, held_out)]
    body = "\n".join(
        [
            f"Songs: {counts[0]} for training, {counts[1]} held out; {len(single)} pairs of one effect and {len(several)} of up to five "
            f"for training; mono at {RATE:,} Hz, {single.num_frames / RATE:.2f} s. Parameters: "
            + ", ".join(f"{name} {sum(each.numel() for each in state.values()):,}" for name, state in found.items())
            + f". Steps for compression: {options.minutes:g} minutes of one core; the others take seconds.",
            "",
            *removal_rows(rows),
            "",
            *detector_rows(seen, most, found["detector"]),
            "",
            *removal_rows(others),
        ]
    )
    command = f"python benchmarks/train_removal.py WORK --music FREE --synthetic {options.synthetic} --minutes {options.minutes:g} --write"
    report("Training an effect remover on emitted pairs", command, body, write=options.write)


if __name__ == "__main__":
    main()
