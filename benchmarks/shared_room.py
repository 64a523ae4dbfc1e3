"""A room that the stems of a mix share: what `fit_console(..., send="room")` finds of it, and how close the mix gets.

Each draw: stems of a song through random chains (eq > compressor > fader, typical ranges), each sent after its fader to one room with a
gain of its own; reverberation 11 to 17 LU below the direct sound, about what is published for released mixes (De Man 2017). The fit
gets the mixture and the dry stems. Losses are spectral, of the whole excerpt, against those of the best gains and pans alone:
``response`` with the impulse response that was found, ``settings`` with the settings that were found and another noise, ``floor`` with
the true settings and another noise.

Songs are the excerpt that stempeg ships, synthetic songs and, with ``--music FOLDER``, songs of that folder (folders with stems,
as those of free music that ``benchmarks/free_music.py`` makes).

    python benchmarks/shared_room.py [--music FOLDER] [--draws 10] [--seed 300] [--chain eq,compressor,fader] [--decays] [--write]

Each draw is kept in .cache/shared_room.jsonl as soon as it is fitted; a run again goes on from there.

``--decays`` does not search chains: it takes the true ones with normal errors in the gains of bands, thresholds and faders, so that what
they leave of the direct sound is known. The decay is estimated with the term for errors of the direct sound and without it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from console import random_chain, song
from results import report

from stemwright.datagen.effects import apply_chain, eq, room
from stemwright.datagen.effects.dsp.spectral_loss import multi_resolution_loss
from stemwright.datagen.inverse.console import fit_console
from stemwright.datagen.inverse.console.rooms import maximum_likelihood, power
from stemwright.datagen.inverse.console.whole_song import FittedSong, settings_alone_loss
from stemwright.manifests.sound.decoding import load
from stemwright.separation.loudness.meter import integrated_loudness

KEPT = Path(__file__).resolve().parent.parent / ".cache" / "shared_room.jsonl"
SECONDS = 10.0
OFF_DB = (0.3, 1.0)
ROOM = {"rt60_s": (0.3, 2.0), "pre_delay_ms": (0.0, 40.0), "damping": (0.2, 1.0)}


def material(number: int, music: Path | None) -> tuple[str, dict[str, torch.Tensor], int]:
    """The excerpt, synthetic songs and songs of a folder, in turns."""
    if number % 3 == 0 or (number % 3 == 2 and music is None):
        return song(0)
    if number % 3 == 1 or music is None:
        return song(1 + number // 3 * 2)
    folders = sorted({path.parent for path in music.glob("**/mixture.flac") if 2 <= len(list(path.parent.glob("*.flac"))) <= 6})
    folder = folders[number // 3 % len(folders)]
    found = {path.stem: load(path) for path in sorted(folder.glob("*.flac")) if path.stem not in ("mixture", "unsorted")}
    rate = next(iter(found.values()))[1]
    frames, total = round(SECONDS * rate), min(audio.shape[1] for audio, _ in found.values())
    starts = range(0, max(total - frames, 1), 2 * rate)
    first = max(starts, key=lambda at: min(float((audio[:, at : at + frames] ** 2).mean()) for audio, _ in found.values()))
    stems = {name: torch.from_numpy(np.array(audio[:, first : first + frames])).double() for name, (audio, _) in found.items()}
    return folder.name, stems, rate


class Draw(NamedTuple):
    """A mix with a room that its stems share: its settings, and its signals."""

    title: str
    rate: int
    stems: dict[str, torch.Tensor]
    chains: dict[str, list[tuple[str, Any]]]
    sends_db: dict[str, float]
    room: room.Settings
    level_lu: float
    gain_db: float  # added to the gains of the sends
    fed: torch.Tensor
    direct: torch.Tensor
    mixture: torch.Tensor


def draw(number: int, seed: int, names: tuple[str, ...], music: Path | None) -> Draw:
    """A song through random chains into a random room."""
    rng = np.random.default_rng([seed, number])
    title, stems, rate = material(number, music)
    truth = {name: random_chain(names, rng) for name in stems}
    wet = {name: apply_chain(audio, rate, truth[name]) for name, audio in stems.items()}
    sends_db = {name: float(rng.uniform(-12.0, 0.0)) for name in stems}
    log_rt60 = rng.uniform(*np.log(ROOM["rt60_s"]))
    true = room.Settings(
        rt60_s=math.exp(log_rt60),
        pre_delay_ms=float(rng.uniform(*ROOM["pre_delay_ms"])),
        damping=float(rng.uniform(*ROOM["damping"])),
        wet_db=0.0,
        seed=float(rng.integers(1, 2**31 - 1)),
    )
    fed = torch.stack([10.0 ** (sends_db[name] / 20.0) * audio for name, audio in wet.items()]).sum(0)
    direct = torch.stack(list(wet.values())).sum(0)
    returned = room.apply(fed, rate, true) - fed
    level_lu = float(rng.uniform(-17.0, -11.0))
    gain_db = level_lu + integrated_loudness(direct.numpy(), rate) - integrated_loudness(returned.numpy(), rate)
    mixture = direct + 10.0 ** (gain_db / 20.0) * returned
    return Draw(title, rate, stems, truth, sends_db, true, level_lu, gain_db, fed, direct, mixture)


def measure(number: int, seed: int, names: tuple[str, ...], music: Path | None) -> dict[str, Any]:
    """One draw: the figures of a fit."""
    title, rate, stems, _, sends_db, true, level_lu, gain_db, fed, direct, mixture = draw(number, seed, names, music)
    worked = time.process_time()
    found = fit_console(mixture, stems, rate, names, send="room")
    worked = time.process_time() - worked
    assert found.send is not None
    other = direct + 10.0 ** (gain_db / 20.0) * (room.apply(fed, rate, true.model_copy(update={"seed": 0.0})) - fed)
    plain = found.gain_and_pan_loss
    heard = [name for name in found.send.gains_db if sends_db[name] > max(sends_db.values()) - 12.0]
    return {
        "chain": ",".join(names),
        "number": number,
        "seed": seed,
        "song": title,
        "level_lu": level_lu,
        "cpu_s": worked,
        "plain": plain,
        "response": found.loss / plain,
        "settings": settings_alone_loss(found, FittedSong(mixture, stems, rate, np.ones(1))) / plain,
        "floor": float(multi_resolution_loss(other, mixture)) / plain,
        "rt60_s": true.rt60_s,
        "rt60": abs(found.send.settings.rt60_s / true.rt60_s - 1.0),
        "send_db": [abs(found.send.gains_db[name] - sends_db[name] - gain_db) for name in heard],
        "error_db": found.error_db,
        "gain_and_pan_error_db": found.gain_and_pan_error_db,
    }


def moved(chain: list[tuple[str, Any]], off: float, rng: np.random.Generator) -> list[tuple[str, Any]]:
    """A chain with normal errors: ``off`` dB of the gains of bands and of the threshold, 0.3 ``off`` dB of the fader."""
    wrong = []
    for name, settings in chain:
        unit = {"fader": {"gain_db": 0.3}, "compressor": {"threshold_db": 1.0}}.get(name, {f"{band}_gain_db": 1.0 for band in eq.BANDS})
        changes = {each: getattr(settings, each) + off * by * rng.normal() for each, by in unit.items()}
        wrong.append((name, settings.model_copy(update=changes)))
    return wrong


def decays(number: int, seed: int, music: Path | None) -> list[dict[str, Any]]:
    """One draw with chains that are off by known amounts: the relative errors of the decay."""
    made, rng, rows = draw(number, seed, ("eq", "compressor", "fader"), music), np.random.default_rng([seed, number, 1]), []
    reverberation = float((made.mixture - made.direct).square().sum())
    for off in OFF_DB:
        wet = {name: apply_chain(audio, made.rate, moved(made.chains[name], off, rng)) for name, audio in made.stems.items()}
        direct = torch.stack(list(wet.values())).sum(0)
        fed = torch.stack([10.0 ** ((made.sends_db[name] + made.gain_db) / 20.0) * audio for name, audio in wet.items()]).sum(0)
        left, heard = (power(audio, made.rate) for audio in (made.mixture - direct, direct))
        row = {"off_db": off, "error_db": 10.0 * math.log10(float((direct - made.direct).square().sum()) / reverberation)}
        for key, errors in (("with", heard), ("without", 0.0 * heard)):
            [found] = maximum_likelihood(left, {"": power(fed, made.rate)}, errors, made.rate / 2.0).values()
            row[key] = found.rt60_s / made.room.rt60_s - 1.0
        rows.append(row | {"number": number, "song": made.title})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def decay_table(rows: list[dict[str, Any]]) -> str:
    """A row for each size of the errors of chains: the errors of RT60."""
    lines = [
        "Chains that are off by normal errors of so many dB (bands and thresholds; faders by 0.3 of it), gains into the room as they were:",
        "median and largest error of RT60, and how many are within 20 %.",
        "",
        "| chains off by, dB | direct sound left, against the reverberation, dB | draws | RT60, % | within 20 % "
        "| without the term, % | within 20 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for off in OFF_DB:
        mine = [row for row in rows if row["off_db"] == off]
        cells = [f"{off:g}", f"{np.median([row['error_db'] for row in mine]):.0f}", str(len(mine))]
        for key in ("with", "without"):
            values = np.abs([row[key] for row in mine])
            cells += [f"{100 * np.median(values):.0f} / {100 * max(values):.0f}", str(int((values <= 0.2).sum()))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table(draws: list[dict[str, Any]]) -> str:
    """Each chain: medians, worst, and how many draws meet the target."""

    def both(values: list[float], digits: int) -> str:
        return f"{np.median(values):.{digits}f} / {max(values):.{digits}f}"

    lines = [
        "| chain of a stem | draws | response | at most 0.4 | settings | floor | RT60, % | within 20 % | send, dB | s a fit (CPU) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for chain in dict.fromkeys(each["chain"] for each in draws):
        mine = [each for each in draws if each["chain"] == chain]
        losses, rt60 = [each["response"] for each in mine], [each["rt60"] for each in mine]
        cells = [chain.replace(",", " > "), str(len(mine)), both(losses, 2), f"{sum(loss <= 0.4 for loss in losses)}"]
        cells += [both([each[key] for each in mine], 2) for key in ("settings", "floor")]
        cells += [both([100.0 * each for each in rt60], 0), f"{sum(each <= 0.2 for each in rt60)}"]
        cells += [both([value for each in mine for value in each["send_db"]], 1), both([each["cpu_s"] for each in mine], 0)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


TEXT = """Median / worst; losses are against gains and pans alone, which are 1. Stems are sent after their faders to one room, 11 to 17 LU
below the direct sound. `response`: the mix with the impulse response that was found; `settings`: with the settings that were found and
another noise; `floor`: the true settings with another noise, which no settings are expected to beat.
"""


def main() -> None:
    """Measures what is not there yet, prints the table, publishes it with --write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--music", type=Path, help="folder of free music, made by benchmarks/free_music.py")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seed", type=int, default=300)
    parser.add_argument("--chain", default="eq,compressor,fader")
    parser.add_argument("--decays", action="store_true", help="the decay alone, beside known errors of chains")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    music = " --music FOLDER" if options.music else ""
    if options.decays:
        body = decay_table([row for number in range(options.draws) for row in decays(number, options.seed, options.music)])
        command = f"python benchmarks/shared_room.py{music} --decays --draws {options.draws} --seed {options.seed} --write"
        report("Decay of a shared room", command, body, write=options.write)
        return
    KEPT.parent.mkdir(exist_ok=True)
    done = [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []
    have = {(each["chain"], each["number"], each["seed"]) for each in done}
    for number in range(options.draws):
        if (options.chain, number, options.seed) not in have:
            done.append(measure(number, options.seed, tuple(options.chain.split(",")), options.music))
            print(json.dumps(done[-1]), flush=True)
            with KEPT.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
    body = TEXT + "\n" + table([each for each in done if each["seed"] == options.seed])
    report("Shared room", f"python benchmarks/shared_room.py{music} --draws {options.draws} --write", body, write=options.write)


if __name__ == "__main__":
    main()
