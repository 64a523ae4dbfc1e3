"""Multitracks with known truth for ``multitracks.py``: songs that sum to their mixtures, and masters of them that are made here.

Conventions
    Audio is float64 [2, T]. The truth of a song is what each stem is in the mixture: of a master, the stem through the same gain or filter.
    What masters of other programs and libraries make of a stem is not known: their songs have no truth.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from song_filters import compress, peak_filter, reverberate, tilt
from songs import render_song

RATE = 44_100
SECONDS = 10.0
QUIETEST_DB = -20.0  # a stem of a song that is used, below its loudest: what is softer is not heard in ten seconds
Stems = dict[str, np.ndarray]


@dataclass(frozen=True)
class Song:
    """A mixture [2, T], its stems, which may be of other lengths; of each its part in the mixture, where known; and another song's."""

    name: str
    mixture: np.ndarray
    stems: Stems
    truth: Stems
    rates: dict[str, int]
    foreign: tuple[np.ndarray, ...] = ()

    def by_level(self) -> list[str]:
        """The names of the stems, the one with most energy first."""
        return sorted(self.stems, key=lambda name: -float(np.sum(np.square(self.stems[name], dtype=np.float64))))

    def given(self, changed: Stems) -> Song:
        """The song with other files for some stems."""
        return replace(self, stems={**self.stems, **changed})


def song_of(name: str, stems: Stems) -> Song:
    """A song that is the sum of its stems."""
    return Song(name, sum(stems.values()), stems, stems, {})


def made_songs(count: int, seed: int = 300) -> list[Song]:
    """Songs as the benchmarks make them from a seed on, with every stem playing."""
    songs: list[Song] = []
    while len(songs) < count:
        stems = {name: audio.astype(np.float64) for name, audio in render_song(seed, SECONDS).items()}
        seed += 1
        energies = [float(np.sum(audio**2)) for audio in stems.values()]
        if min(energies) > 10 ** (QUIETEST_DB / 10) * max(energies):
            songs.append(song_of(f"made {seed - 1}", stems))
    return songs


def other_songs(folder: Path) -> list[Song]:
    """The multitracks below a folder, of each the ten seconds in which the mixture is loudest, without silent stems."""
    songs = []
    for mixture in sorted(folder.rglob("mixture.*")):
        rate = soundfile.info(mixture).samplerate
        power = np.convolve(np.square(soundfile.read(mixture)[0]).mean(axis=1)[:: rate // 10], np.ones(round(10 * SECONDS)), "valid")
        start = int(np.argmax(power)) * (rate // 10)
        paths = [path for path in sorted(mixture.parent.iterdir()) if path.suffix == mixture.suffix and path != mixture]
        parts = {path.stem: soundfile.read(path, frames=round(SECONDS * rate), start=start, always_2d=True)[0].T for path in paths}
        loudest = max((float(np.sum(part**2)) for part in parts.values()), default=0.0)
        parts = {name: part for name, part in parts.items() if np.sum(part**2) > 10 ** (QUIETEST_DB / 10) * loudest}
        if len(parts) > 1:
            at_rate = {name: part if rate == RATE else soxr.resample(part.T, rate, RATE).T for name, part in parts.items()}
            songs.append(song_of(mixture.parent.name, {name: part.repeat(3 - len(part), axis=0)[:2] for name, part in at_rate.items()}))
    return songs


def later(audio: np.ndarray, frames: int) -> np.ndarray:
    """The same length, so many frames later."""
    return np.pad(audio, ((0, 0), (frames, 0)))[:, : audio.shape[1]]


def rms(audio: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(audio))))


# ---------------------------------------------------------------- masters


def by_gain(song: Song, gain: np.ndarray) -> Song:
    """A master that is the mixture at a gain over time [T]."""
    return replace(song, mixture=song.mixture * gain, truth={name: audio * gain for name, audio in song.truth.items()})


def by_filter(song: Song, apply: Callable[[np.ndarray], np.ndarray]) -> Song:
    """A master that is the filtered mixture."""
    return replace(song, mixture=apply(song.mixture), truth={name: apply(audio) for name, audio in song.truth.items()})


def compressed(song: Song) -> Song:
    """4:1 above 10 dB below the mixture's own level, in 20 ms."""
    threshold_db = 20 * np.log10(rms(song.mixture)) - 10
    return by_gain(song, compress(song.mixture, RATE, threshold_db, 4.0, 0.02)[0] / np.where(song.mixture[0] == 0, 1, song.mixture[0]))


def limited(song: Song, drive_db: float = 9.0) -> Song:
    """Driven into a limiter that looks 5 ms ahead."""
    peaks = np.abs(song.mixture).max(axis=0)
    drive, half = 0.9 * 10 ** (drive_db / 20) / peaks.max(), round(0.005 * RATE)
    needed = np.minimum(1.0, 0.9 / np.maximum(drive * peaks, 1e-9))
    return by_gain(song, drive * uniform_filter1d(minimum_filter1d(needed, 2 * half + 1), half))


def equalised(song: Song) -> Song:
    """Bass and treble up, middle down."""
    return by_filter(song, lambda x: tilt(peak_filter(peak_filter(x, RATE, 80, 4, 1), RATE, 3000, -3, 1), RATE, 4000, 4))


def saturated(song: Song) -> Song:
    """Through a tanh, 6 dB above what it leaves as it is."""
    drive = 2.0 / np.abs(song.mixture).max()
    mixture = np.tanh(drive * song.mixture) / drive
    gain = np.where(song.mixture == 0, 1.0, mixture / np.where(song.mixture == 0, 1.0, song.mixture))
    return replace(song, mixture=mixture, truth={name: audio * gain for name, audio in song.truth.items()})


def with_return(song: Song) -> Song:
    """The mixture has a reverb of two stems, which is in no file; it belongs to these."""
    rng, truth = np.random.default_rng(5), dict(song.truth)
    for name in song.by_level()[1:3]:
        truth[name] = reverberate(rng, truth[name], RATE, 0.3)
    return replace(song, mixture=sum(truth.values()), truth=truth)


def leaking(song: Song) -> Song:
    """Every stem's file holds a tenth of the next one's, as rooms do."""
    names = list(song.stems)
    return song.given({name: song.stems[name] + 0.1 * song.stems[other] for name, other in zip(names, names[1:] + names[:1], strict=True)})


def by_ffmpeg(song: Song, chain: str) -> Song:
    """A master that ffmpeg made; what the stems are in it is not known."""
    with tempfile.TemporaryDirectory() as place:
        soundfile.write(Path(place, "mix.wav"), song.mixture.T, RATE, subtype="FLOAT")
        command = ["ffmpeg", "-v", "error", "-nostdin", "-i", f"{place}/mix.wav", "-af", chain, "-ar", str(RATE), "-c:a", "pcm_f32le"]
        subprocess.run([*command, f"{place}/master.wav"], check=True)
        master = soundfile.read(f"{place}/master.wav")[0].T
    return replace(song, mixture=np.pad(master, ((0, 0), (0, song.mixture.shape[1])))[:, : song.mixture.shape[1]], truth={})


def by_pedalboard(song: Song) -> Song:
    """A master by another library's compressor, filters and limiter."""
    import pedalboard as pb

    chain = [pb.Compressor(-25, 4, 5, 100), pb.LowShelfFilter(120, 4), pb.HighShelfFilter(8000, 4), pb.Gain(6), pb.Limiter(-1, 80)]
    return replace(song, mixture=pb.Pedalboard(chain)(song.mixture.astype(np.float32), RATE).astype(np.float64), truth={})


KNOWN: dict[str, Callable[[Song], Song]] = {
    "no master": lambda song: song,
    "compressor": compressed,
    "limiter": limited,
    "equaliser": equalised,
    "tanh": saturated,
    "all of these": lambda song: limited(saturated(compressed(equalised(song))), 6.0),
    "reverb in no stem": with_return,
    "leaks": leaking,
}
FFMPEG = {
    "ffmpeg alimiter": "volume=9dB,alimiter=limit=0.9:level=0:attack=5:release=50",
    "ffmpeg loudnorm": "loudnorm=I=-9:TP=-1:LRA=5",
    "ffmpeg acompressor, equalizer": "equalizer=f=80:t=q:w=1:g=4,acompressor=threshold=-24dB:ratio=4:attack=10:release=100:makeup=4",
}


def masters() -> dict[str, Callable[[Song], Song]]:
    """Those of this file, and those of peers that are installed."""
    found = dict(KNOWN)
    if shutil.which("ffmpeg"):
        found |= {name: functools.partial(by_ffmpeg, chain=chain) for name, chain in FFMPEG.items()}
    try:
        import pedalboard  # noqa: F401
    except ImportError:
        return found
    return found | {"pedalboard": by_pedalboard}


def brief(song: Song) -> Song:
    """The second stem plays for one second only."""
    name = song.by_level()[1]
    gate = np.zeros(song.mixture.shape[1])
    start = int(np.argmax(np.convolve(np.square(song.stems[name][0]), np.ones(RATE), "valid")))
    gate[start : start + RATE] = 1.0
    return song_with(song, {**song.stems, name: song.stems[name] * gate})


def soft(song: Song) -> Song:
    """The second stem is 30 dB below the loudest."""
    first, second = song.by_level()[:2]
    gain = 10 ** (-30 / 20) * rms(song.stems[first]) / rms(song.stems[second])
    return song_with(song, {**song.stems, second: gain * song.stems[second]})


def song_with(song: Song, stems: Stems) -> Song:
    """The sum of other stems, with the same foreign ones."""
    return replace(song_of(song.name, stems), foreign=song.foreign)


SITUATIONS: dict[str, Callable[[Song], Song]] = {"all play": lambda song: song, "one plays 1 s": brief, "one at -30 dB": soft}
