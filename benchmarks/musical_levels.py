"""Levels and pans of a synthetic mix that follow from how its parts sound together, as a person would set them, with a person's scatter.

    python benchmarks/musical_levels.py [--songs 80] [--music FOLDER] [--write]

`musical_levels` is the one function: parts and a seed in, a level and a pan for each out. It hears what a mixing model can hear as well,
the parts at equal loudness. So a model that is trained on such mixes has something to learn from sound, and it is known how much: with
``scatter = 0`` the function is the rule itself, the best that a model can do. Run as a script, it measures over synthetic songs (or real
multitracks, --music) how much of the levels the rule explains, and how much the mean of each name does.

What depends on what
    A level is ROLES[role].level_lu, and then
    covered      MASKING LU for each dB by which the other parts cover it, beyond what is usual for its role: a masked part is raised until
                 it is heard. Equal loudness of all parts was tested by Pestana and Reiss, and refuted. How much is ours.
    brightness   BRIGHTNESS LU for each octave that it is brighter than usual for its role: a bright part is heard at a lower level. Ours.
    density      DENSITY LU between a part that never plays and one that always does: what is played all the time is set back (pads,
                 dense drums), what answers now and then is brought forward. Ours.
    punch        PUNCH LU for each dB that its loud moments are above its mean: beats are heard by their peaks at a lower loudness. Ours.
    company      of leads, COMPANY LU for each part that plays at the same time, beyond three: a lead is set against the sum of the others,
                 "as loud as all the rest together" (Pestana, Reiss 2014, surveyed), not against one of them. How much is ours.
    scatter      of a normal deviate: SCATTER_LU for each part, TASTE_LU for the leads of a mix together. Ours.
    A pan is 0 for lead vocals, bass and drums (Pestana, Reiss 2014, surveyed). Others are further out the brighter they are (De Man,
    Stables, Reiss 2019, surveyed), on the side that has less energy so far (Pestana, Reiss 2014, surveyed); a single one stays near the
    centre.

Conventions
    Parts are float [2, T] or [1, T] of one sample rate and length. A level is the loudness (BS.1770) against the sum of all parts, up to
    one constant for the whole mix: only differences between the parts of one mix mean something. A pan is -1 (left) to 1 (right).
    A silent part has no level: it is left out.

References
    De Man, Leonard, King, Reiss, ISMIR 2014, figure 1 as others quote it: over eight songs mixed by eight engineers each the lead vocal
    is 3 LU below the mix, bass 9, kick 13, snare 17, with standard deviations of 1.6, 3.5, 4.1 and 6.2 LU. ROLES begins at these, and the
    terms together have a spread of that size. Ward, Wierstorf, Mason, Plumbley, Hummersone 2017: the quantity, L(stem) - L(mixture).
    Pestana, Reiss, AES 53rd Conference 2014, and De Man, Stables, Reiss, Intelligent music production, 2019, both as others quote them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
from scipy import signal

from stemwright.separation.loudness.meter import integrated_loudness

Array = np.ndarray

FRAME_S, BANDS = 0.1, 24
LOWEST_HZ, HIGHEST_HZ = 40.0, 16_000.0
SOUNDS_DB = 20.0  # a part plays where it is less than this below its loud moments
MASKING, BRIGHTNESS, DENSITY, PUNCH, COMPANY = 3.0, -2.5, -12.0, -1.0, -1.0
SCATTER_LU, TASTE_LU, FURTHEST_LU = 0.8, 0.5, 8.0


@dataclass(frozen=True)
class Role:
    """What a part does in the arrangement: its level in LU, and how such a part usually sounds (the terms are deviations from it)."""

    level_lu: float
    octaves: float  # brightness above 1 kHz
    density: float
    punch_db: float
    covered_db: float
    leads: bool = False
    centred: bool = False


# Usual sounds: medians over 90 synthetic songs, rounded.
ROLES = {
    "drums": Role(-7.0, -1.6, 0.9, 5.0, 1.0, centred=True),
    "bass": Role(-9.0, -3.1, 0.9, 2.8, 1.2, centred=True),
    "vocals": Role(-3.0, -0.9, 0.9, 2.8, 1.3, leads=True, centred=True),
    "lead": Role(-7.0, -0.5, 0.8, 3.0, 1.5, leads=True),
    "other": Role(-8.0, -0.5, 1.0, 3.0, 1.5),
}


@dataclass(frozen=True)
class Heard:
    """How a part sounds among the others, all at one loudness.

    ``octaves``: the mean of its energy over log frequency, in octaves above 1 kHz. ``density``: the share of time that it plays.
    ``punch_db``: its loud moments above its mean energy while it plays. ``covered_db``: how much of its energy the others cover, 0 for
    a part alone, 3 dB for one that shares every band with another as strong. ``company``: how many others play with it, on average.
    """

    octaves: float
    density: float
    punch_db: float
    covered_db: float
    company: float


@dataclass(frozen=True)
class Setting:
    """The level of a part in LU, up to one constant for the mix, and its pan."""

    level_lu: float
    pan: float


def musical_levels(
    parts: Mapping[str, Array], sample_rate: int, seed: int, *, roles: Mapping[str, str] | None = None, scatter: float = 1.0
) -> dict[str, Setting]:
    """Level and pan of every part that sounds, as the head of this module says.

    ``roles`` gives the role of a part, one of ``ROLES``, where it is not its name; a part of an unknown name is "other". ``scatter`` scales
    all that is drawn: 0 gives the rule alone. The same parts and seed give the same settings, and the order of the parts does not matter.
    """
    known = {name: ROLES.get((roles or {}).get(name, name), ROLES["other"]) for name in parts}
    heard = hear(parts, sample_rate)
    taste = scatter * TASTE_LU * np.random.default_rng([seed, 77]).standard_normal()
    settings, weights = {}, np.zeros(2)
    loose = [name for name in heard if not (known[name].centred or known[name].leads)]
    for name in sorted(heard, key=lambda name: (heard[name].octaves, name)):  # the sides are filled from the lowest part up
        rng = np.random.default_rng([seed, 78, *name.encode()])
        level = rule_level(known[name], heard[name]) + (taste if known[name].leads else 0.0)
        level += scatter * SCATTER_LU * rng.standard_normal()
        pan = 0.0
        if name in loose:
            side = -1.0 if weights[0] <= weights[1] else 1.0
            pan = side * rule_distance(heard[name], len(loose)) * float(np.exp(0.25 * scatter * rng.standard_normal()))
            weights[int(side > 0)] += 10 ** (level / 10) * abs(pan)
        settings[name] = Setting(float(level), float(np.clip(pan, -1.0, 1.0)))
    return {name: settings[name] for name in parts if name in settings}


def rule_level(role: Role, heard: Heard) -> float:
    """The level in LU that the rule gives to a part, without scatter."""
    terms = (
        MASKING * (heard.covered_db - role.covered_db)
        + BRIGHTNESS * (heard.octaves - role.octaves)
        + DENSITY * (heard.density - role.density)
        + PUNCH * (heard.punch_db - role.punch_db)
        + (COMPANY * (heard.company - 3.0) if role.leads else 0.0)
    )
    return role.level_lu + float(np.clip(terms, -FURTHEST_LU, FURTHEST_LU))


def rule_distance(heard: Heard, loose: int) -> float:
    """How far from the centre the rule puts a part that is not centred, 0 to 1, of so many of them."""
    return float(np.clip(0.45 + 0.2 * heard.octaves, 0.1, 0.85)) * (0.25 if loose == 1 else 1.0)


def hear(parts: Mapping[str, Array], sample_rate: int) -> dict[str, Heard]:
    """How every part that sounds is heard among the others, with all of them at one loudness."""
    energies = {}
    for name, audio in parts.items():
        loudness = integrated_loudness(np.asarray(audio, np.float32), sample_rate)
        if np.isfinite(loudness):
            energies[name] = 10 ** (-loudness / 10) * band_energies(audio, sample_rate)
    playing = {name: _plays(energy.sum(axis=0)) for name, energy in energies.items()}
    total = sum(energies.values(), np.zeros((BANDS, 1)))
    centres = np.log2(np.sqrt(band_edges()[1:] * band_edges()[:-1]) / 1000.0)
    found = {}
    for name, energy in energies.items():
        plays, power = playing[name], energy.sum(axis=0)
        whole = energy.sum()
        others = sum((playing[other][plays].mean() for other in energies if other != name), 0.0)
        found[name] = Heard(
            octaves=float(energy.sum(axis=1) @ centres / whole),
            density=float(plays.mean()),
            punch_db=float(10 * np.log10(np.percentile(power[plays], 95) / power[plays].mean())),
            covered_db=float(-10 * np.log10((energy * energy / (total + 1e-12)).sum() / whole)),
            company=float(others),
        )
    return found


def band_edges() -> Array:
    """Edges in Hz of the bands that `band_energies` has."""
    return np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1)


def band_energies(audio: Array, sample_rate: int) -> Array:
    """Energies [bands, frames] of a part, of all channels together, with a rise of 4 dB at the top as the loudness meter has."""
    size = 2048
    window = signal.windows.hann(size, sym=False)
    transform = signal.ShortTimeFFT(window, round(FRAME_S * sample_rate / 2), sample_rate, scale_to="psd")
    power = (np.abs(transform.stft(np.asarray(audio, float))) ** 2).sum(axis=0)
    hz = np.fft.rfftfreq(size, 1 / sample_rate)
    power *= (1 + 1.5 * hz**2 / (hz**2 + 1500.0**2))[:, None]
    place = np.digitize(hz, band_edges()) - 1
    out = np.zeros((BANDS, power.shape[1]))
    for band in range(BANDS):
        out[band] = power[place == band].sum(axis=0)
    return out


def _plays(power: Array) -> Array:
    """In which frames a part with such energies plays: at least one."""
    return power >= max(np.percentile(power, 95) * 10 ** (-SOUNDS_DB / 10), 1e-12) if power.max() > 0 else np.arange(power.size) == 0


def panned(audio: Array, pan: float) -> Array:
    """A part [2, T] moved by a balance control: the centre stays as it is, the far side is turned down by the sine law."""
    angle = (1 + pan) * np.pi / 4
    sides = np.minimum(1.0, np.sqrt(2) * np.array([np.cos(angle), np.sin(angle)]))
    return audio * sides[:, None].astype(audio.dtype)


def mixed(parts: Mapping[str, Array], settings: Mapping[str, Setting], sample_rate: int) -> dict[str, Array]:
    """The parts panned and at their levels; a part without a setting is as it was. Their sum is the mix, at no particular loudness."""
    out = {}
    for name, audio in parts.items():
        if name in settings:
            moved = panned(audio, settings[name].pan)
            loudness = integrated_loudness(np.asarray(moved, np.float32), sample_rate)
            moved = moved * np.asarray(10 ** ((settings[name].level_lu - loudness - 14.0) / 20), audio.dtype)
            out[name] = moved
        else:
            out[name] = audio
    return out


# ---------------------------------------------------------------- how much of the levels the rule explains


def relative(levels: Mapping[str, float]) -> dict[str, float]:
    """Levels without the mean over the parts of the mix."""
    mean = sum(levels.values()) / len(levels)
    return {name: level - mean for name, level in levels.items()}


def explained(rows: list[dict[str, Mapping[str, float]]], names: tuple[str, ...]) -> dict[str, float]:
    """R2 of each prediction of the levels, over all parts of all mixes; rows have "truth" and what is predicted, each by name of part.

    The mean of each name is that of the other mixes.
    """
    errors: dict[str, list[float]] = {name: [] for name in (*names, "mean of each name")}
    truths = [relative(row["truth"]) for row in rows]
    for number, (row, truth) in enumerate(zip(rows, truths, strict=True)):
        others = truths[:number] + truths[number + 1 :]
        means = {part: np.mean([other[part] for other in others if part in other] or [0.0]) for part in truth}
        for name in errors:
            guess = relative(row.get(name, means))
            errors[name] += [guess[part] - truth[part] for part in truth]
    power = np.mean([level**2 for truth in truths for level in truth.values()])
    return {name: float(1 - np.mean(np.square(found)) / power) for name, found in errors.items()}


def measured(parts: Mapping[str, Array], sample_rate: int, seed: int) -> dict[str, Mapping[str, float]]:
    """A row for `explained`: the levels that a person sets, those of the rule, and those of the rule that hears five seconds only."""
    truth = musical_levels(parts, sample_rate, seed)
    start = min(audio.shape[1] for audio in parts.values()) // 2
    part = {name: parts[name][:, start : start + 5 * sample_rate] for name in truth}
    rule, brief = (musical_levels(heard, sample_rate, seed, scatter=0.0) for heard in (parts, part))
    rows = {"truth": truth, "rule": rule, "rule, heard for 5 s": {name: brief.get(name, rule[name]) for name in truth}}
    return {name: {part: setting.level_lu for part, setting in row.items()} for name, row in rows.items()}


def table(rows: list[dict[str, Mapping[str, float]]]) -> str:
    """R2 as Markdown: of all differences of level, and of what the means of names leave."""
    found = explained(rows, ("rule", "rule, heard for 5 s"))
    left = 1 - found["mean of each name"]
    spread = np.std([level for row in rows for level in relative(row["truth"]).values()])
    lines = [
        f"{len(rows)} mixes. Levels within a mix have a standard deviation of {spread:.1f} LU.",
        "",
        "| prediction of the levels | R2 | R2 of what the mean of each name leaves |",
        "|---|---:|---:|",
    ]
    lines += [f"| {name} | {value:.2f} | {1 - (1 - value) / left:.2f} |" for name, value in found.items()]
    return "\n".join(lines)


def main() -> None:
    """Measures synthetic songs, or multitracks in a folder, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=80)
    parser.add_argument(
        "--music", type=Path, help="a folder of multitracks, as free_music.py writes them: real parts in place of synthetic songs"
    )
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = []
    if options.music:
        from multitrack_songs import RATE, other_songs

        rows = [measured(song.stems, RATE, seed) for seed, song in enumerate(other_songs(options.music))]
    else:
        from musical_songs import render_musical_song

        rows = [measured(render_musical_song(seed, 20.0), 44_100, seed) for seed in range(2000, 2000 + options.songs)]
    body = table(rows)
    print(body)
    if options.write:
        from results import publish

        given = f" --music {options.music}" if options.music else f" --songs {options.songs}"
        publish("Musical levels", f"python benchmarks/musical_levels.py{given} --write", body)


if __name__ == "__main__":
    main()
