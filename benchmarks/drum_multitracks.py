"""Drum multitracks with microphones and a mix that our effects made, of single hits of free kits and of synthetic ones.

    python benchmarks/drum_multitracks.py OUT --music FOLDER [--grooves 9] [--synthetic 24]

    OUT/SONG/     mixture (the mix), kick, snare, hihat, overheads and tom1 to tom3: what a microphone at each records
    OUT/songs.csv the list for the catalog: every kit of HELD_OUT is in the split ``test`` with grooves of its own, the others in ``train``

Conventions
    Audio is [T] or [2, T], full scale 1.0. A song is a kit, a groove of ``song_score.compose`` and an engineer, each drawn from its seed.
    A microphone records its drum, and the others ``BLEED_DB`` below and up to 3 ms later. Overheads are a pair: every drum at a place,
    later on the far side, with the first reflections of a room. A drum that the groove does not play has no microphone.
    The engineer brings each microphone to the loudness of HABIT_LU, give or take MOOD_LU, and uses the effects of the package: equaliser
    and compressor by microphone, a reverb for snare and toms, a compressor on the mix. The files of the microphones are without effects,
    and at their faders, so that they are found in the mix; the preset ``drums`` takes level and place from them again.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import soundfile
from song_drums import one_shot as synthetic_hit
from song_score import compose

from stemwright.datagen.effects import apply_chain
from stemwright.datagen.pairs.recipes.mix import DRUM_STEMS
from stemwright.manifests.sound import writing
from stemwright.manifests.sound.resampling import resample
from stemwright.separation.loudness.meter import integrated_loudness

RATE, DURATION_S, FIRST_SEED = 44_100, 9.0, 71_000
HELD_OUT = ("BJA_Pacific", "ColomboAcousticDrumkit", "HardElectro1", "Audiophob")
ROLES = {  # what a kit calls it -> the drum; the first that fits
    "kick": r"kick|bass ?drum",
    "snare": r"snare(?!.*roll)",
    "open": r"(hat|hh|hi hat).*(open|op\b)|open hh|side ohh",
    "hat": r"hat|\bhh\b|hi-hat",
    "tom1": r"tom.*(hi|1)|high tom|^tom$|pearl tom 1",
    "tom2": r"tom.*(mid|2)|middle tom",
    "tom3": r"tom.*(low|floor|3)|(low|floor) tom",
    "ride": r"ride(?!.*bell)",
    "crash": r"crash|china|splash|cymbal",
    "rim": r"stick|rim|click",
}
PLAYED_AS = {"clap": "snare", "shaker": "hat", "perc": "rim"}  # what a groove asks for -> the drum that plays it
INPUTS = tuple(DRUM_STEMS)  # of the preset, in its order
MICROPHONES = {
    "kick": ("kick",),
    "snare": ("snare", "rim"),
    "hihat": ("hat", "open"),
    "tom1": ("tom1",),
    "tom2": ("tom2",),
    "tom3": ("tom3",),
}
PLACES = {
    "kick": 0.0,
    "snare": 0.1,
    "rim": 0.1,
    "hat": 0.6,
    "open": 0.6,
    "tom1": 0.35,
    "tom2": -0.1,
    "tom3": -0.6,
    "ride": -0.7,
    "crash": 0.4,
}
BLEED_DB, MOOD_LU, LATEST_S = (-30.0, -16.0), 1.0, 0.003
HABIT_LU = {"kick": -18.0, "snare": -18.0, "hihat": -33.0, "tom1": -22.0, "tom2": -22.0, "tom3": -21.0, "overheads": -26.0}
PANS = {"hihat": 0.4, "tom1": 0.3, "tom2": -0.1, "tom3": -0.45}
REVERB_DB = -14.0
Chain = list[tuple[str, dict[str, Any]]]
CHAINS: dict[str, Chain] = {
    "kick": [
        ("eq", {"low_shelf_gain_db": 4.0, "low_shelf_hz": 80.0, "peak1_gain_db": -6.0, "peak1_hz": 350.0, "peak3_gain_db": 5.0}),
        ("compressor", {"ratio": 4.0, "attack_ms": 10.0, "release_ms": 80.0}),
    ],
    "snare": [
        ("eq", {"peak1_gain_db": 3.0, "peak1_hz": 200.0, "high_shelf_gain_db": 5.0, "high_shelf_hz": 5000.0}),
        ("compressor", {"ratio": 3.0, "attack_ms": 8.0, "release_ms": 100.0}),
    ],
    "hihat": [("highpass", {"cutoff_hz": 400.0})],
    **{f"tom{n}": [("eq", {"peak1_gain_db": -5.0, "peak1_hz": 400.0, "peak3_gain_db": 4.0})] for n in (1, 2, 3)},
    "overheads": [("highpass", {"cutoff_hz": 250.0}), ("eq", {"high_shelf_gain_db": 3.0, "high_shelf_hz": 9000.0})],
}
THRESHOLD_DB = {"kick": -10.0, "snare": -9.0}  # against the peak of the microphone
REVERB: Chain = [("reverb", {"room_size": 0.4, "damping": 0.5, "wet": 0.5, "dry": 0.0})]
BUS: Chain = [("compressor", {"threshold_db": -14.0, "ratio": 2.0, "attack_ms": 20.0, "release_ms": 120.0})]
Hits = Sequence[tuple[float, np.ndarray]]  # the largest velocity of a layer, and its sound [T]
Kit = Mapping[str, Sequence[Hits]]  # drum -> the instruments that may be it


def free_kits(music: Path) -> dict[str, Kit]:
    """The kits of a folder of free music that have kick, snare and hi-hat."""
    layers: dict[str, dict[str, dict[str, list[tuple[float, Path, float]]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    with (music / "drumkits" / "index.csv").open(encoding="utf-8") as index:
        for row in csv.DictReader(index):
            name = row["instrument"].lower()
            drum = next((drum for drum, pattern in ROLES.items() if re.search(pattern, name)), None)
            if drum and float(row["seconds"]) > 0.02:
                layers[row["kit"]][drum][row["instrument"]].append(
                    (float(row["max"] or 1.0), music / "drumkits" / row["path"], float(row["gain"] or 1.0))
                )
    wanted = {"kick", "snare", "hat"}
    found = {kit: drums for kit, drums in sorted(layers.items()) if wanted <= set(drums)}
    return {kit: {drum: [_read(hits) for hits in by_name.values()] for drum, by_name in drums.items()} for kit, drums in found.items()}


def _read(layers: Sequence[tuple[float, Path, float]]) -> Hits:
    """The layers of an instrument, softest first, the loudest with its peak at full scale."""
    hits = []
    for velocity, path, gain in sorted(layers, key=lambda layer: layer[:2]):
        audio, rate = soundfile.read(path, always_2d=True, dtype="float32")
        hits.append((velocity, gain * resample(audio.T.mean(0, keepdims=True), rate, RATE)[0][: round(3.0 * RATE)]))
    peak = max(1e-9, *(float(np.abs(audio).max()) for _, audio in hits), 0.0)
    return [(velocity, audio / peak) for velocity, audio in hits]


def synthetic_kit(rng: np.random.Generator) -> Kit:
    """A kit of synthetic hits."""
    names = {"hat": "hat", "rim": "rim", **{drum: drum for drum in ("kick", "snare", "open", "tom1", "tom2", "tom3", "ride", "crash")}}
    return {drum: [[(1.0, synthetic_hit(rng, name, RATE).astype(np.float32))]] for drum, name in names.items()}


def played(kit: Kit, rng: np.random.Generator, duration_s: float = DURATION_S) -> dict[str, np.ndarray]:
    """Drum -> [T]: the drums of a kit in a groove that is drawn, each as it sounds by itself."""
    chosen = {drum: instruments[int(rng.integers(len(instruments)))] for drum, instruments in kit.items()}
    frames = round(duration_s * RATE)
    drums: dict[str, np.ndarray] = {}
    for at, name, velocity in compose(rng, duration_s).drums:
        drum = PLAYED_AS.get(name, name)
        if drum not in chosen:
            continue
        layers = chosen[drum]
        hit = next((audio for limit, audio in layers if velocity <= limit), layers[-1][1])
        out, start = drums.setdefault(drum, np.zeros(frames, np.float32)), round(at * RATE)
        end = min(frames, start + len(hit))
        out[start:end] += np.float32(velocity**1.5) * hit[: end - start]
    return drums


def later(audio: np.ndarray, seconds: float) -> np.ndarray:
    """The audio so much later, of the same length."""
    frames = round(seconds * RATE)
    return np.concatenate([np.zeros(frames, audio.dtype), audio[: len(audio) - frames]])


def recorded(drums: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The microphones around the drums."""
    frames = len(next(iter(drums.values())))
    sound = {drum: 10.0 ** (rng.uniform(-6.0, 6.0) / 20.0) * audio for drum, audio in drums.items()}
    found = {}
    for microphone, own in MICROPHONES.items():
        if not set(own) & set(drums):
            continue
        total = np.zeros(frames)
        for drum, audio in sound.items():
            distant = 10.0 ** (rng.uniform(*BLEED_DB) / 20.0) * later(audio, rng.uniform(0.0005, LATEST_S))
            total += audio if drum in own else distant
        found[microphone] = total.astype(np.float32)
    room = rng.standard_normal((2, round(0.25 * RATE))) * np.exp(-np.arange(round(0.25 * RATE)) / (0.05 * RATE)) * 0.02
    overheads = np.zeros((2, frames))
    for drum, audio in sound.items():
        place = float(np.clip(PLACES[drum] + rng.normal(0.0, 0.1), -0.9, 0.9))
        level = 1.0 if drum in ("hat", "open", "ride", "crash") else 0.5
        for side, sign in enumerate((-1.0, 1.0)):
            near = 0.5 * (1.0 + sign * place)
            overheads[side] += level * (0.3 + 0.7 * near) * later(audio, 0.002 + 0.001 * (1.0 - near))
    echoes = [
        np.fft.irfft(np.fft.rfft(side, 2 * frames) * np.fft.rfft(tail, 2 * frames))[:frames]
        for side, tail in zip(overheads, room, strict=True)
    ]
    return {**found, "overheads": (overheads + np.stack(echoes)).astype(np.float32)}


def mixed(song: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The engineer's mix [2, T] as ``mixture``, below full scale, and the microphones [2, T] at their faders, without effects."""
    faders, sum_, send = {}, np.zeros((2, song["overheads"].shape[-1])), np.zeros((2, song["overheads"].shape[-1]))
    for name, audio in song.items():
        stereo = np.atleast_2d(audio).astype(np.float32)
        treated = apply_chain(stereo, RATE, engineered(name, stereo, rng))
        gain_db = HABIT_LU[name] + rng.normal(0.0, MOOD_LU) - integrated_loudness(treated, RATE)
        fader = [("fader", {"gain_db": float(np.clip(gain_db, -48.0, 24.0)), "pan": PANS.get(name, 0.0)})]
        faders[name], placed = (apply_chain(each.repeat(3 - len(each), 0), RATE, fader) for each in (stereo, treated))
        sum_ += placed
        send += placed if name.startswith(("snare", "tom")) else 0.0
    sum_ += 10.0 ** (REVERB_DB / 20.0) * apply_chain(send.astype(np.float32), RATE, REVERB)
    before = 0.5 / np.abs(sum_).max()
    mix = apply_chain((before * sum_).astype(np.float32), RATE, BUS)
    scale = 0.9 / float(np.abs(mix).max())
    return {"mixture": scale * mix, **{name: scale * before * audio for name, audio in faders.items()}}


def engineered(name: str, audio: np.ndarray, rng: np.random.Generator) -> Chain:
    """The effects of a microphone, with thresholds at its level and gains that vary from song to song."""
    chain = [(effect, dict(settings)) for effect, settings in CHAINS[name]]
    for effect, settings in chain:
        if effect == "compressor":
            peak_db = 20.0 * np.log10(float(np.abs(audio).max()) + 1e-9)
            settings["threshold_db"] = float(np.clip(peak_db + THRESHOLD_DB[name], -80.0, 0.0))
        settings |= {key: value + rng.normal(0.0, MOOD_LU) for key, value in settings.items() if key.endswith("gain_db")}
    return chain


def write_song(place: Path, kit: Kit, seed: int, duration_s: float = DURATION_S) -> None:
    """Writes the microphones and the mix of a kit, a groove and an engineer."""
    rng = np.random.default_rng([seed, 11])
    drums = played(kit, rng, duration_s)
    while not {"kick", "snare", "hat"} <= set(drums):
        drums = played(kit, rng, duration_s)
    place.mkdir(parents=True, exist_ok=True)
    for name, audio in mixed(recorded(drums, rng), rng).items():
        scale = 0.9 / max(0.9, float(np.abs(audio).max())) if name != "mixture" else 1.0
        writing.save(place / f"{name}.wav", (scale * audio).astype(np.float32), RATE, encoding="wav32f")


def _write_free(place: Path, kit: Kit, seed: int) -> None:
    write_song(place, kit, seed)


def _write_synthetic(place: Path, seed: int) -> None:
    write_song(place, synthetic_kit(np.random.default_rng([seed, 12])), seed)


def write_songs(folder: Path, music: Path | None, grooves: int, synthetic: int, *, workers: int = 1) -> Path:
    """Writes ``grooves`` songs of each free kit and so many of synthetic ones, those there are kept, and the list of them: its path.

    Without music every third of the synthetic kits is held out.
    """
    kits, rows, seed = free_kits(music) if music else {}, [], FIRST_SEED
    with ProcessPoolExecutor(workers) as pool:
        tasks = []
        for kit_name, number in ((kit, number) for kit in kits for number in range(grooves)):
            name = re.sub(r"\W+", " ", f"{kit_name} {number}")
            rows.append((name, name, "test" if kit_name in HELD_OUT else "train"))
            tasks.append((folder / name, partial(_write_free, folder / name, kits[kit_name], seed)))
            seed += 1
        for number in range(synthetic):
            name = f"synthetic kit {number}"
            rows.append((name, name, "test" if not kits and number % 3 == 2 else "train"))
            tasks.append((folder / name, partial(_write_synthetic, folder / name, seed)))
            seed += 1
        for result in [pool.submit(task) for place, task in tasks if not (place / "mixture.wav").exists()]:
            result.result()
    with (folder / "songs.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("path", "title", "split"))
        table.writerows(rows)
    return folder / "songs.csv"


def main() -> None:
    """Writes the songs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--music", type=Path)
    parser.add_argument("--grooves", type=int, default=9)
    parser.add_argument("--synthetic", type=int, default=24)
    options = parser.parse_args()
    print(write_songs(options.out, options.music, options.grooves, options.synthetic))


if __name__ == "__main__":
    main()
