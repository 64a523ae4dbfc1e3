"""Clipped, limited and untouched music, as it is distributed: the material of ``benchmarks/clipping_detection.py``.

Conventions
    An excerpt is float32 [2, T] at its own rate.
    A condition turns an excerpt into one with a known answer. Copies (``COPIES``) are applied afterwards: encoders through PyAV, resampling
    by ffmpeg's ``aresample``.
    Clipping at a share p: the ceiling is the (1 - p) quantile of the magnitude over both channels and signs, so that a share p is clipped.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pedalboard
import soundfile
import torch
from songs import mixture_of, render_song

import stemwright as sw
from stemwright.datagen.effects import limiter
from stemwright.manifests.sound.formats import Audio

EXCERPT_S = 8.0


# ---------------------------------------------------------------- codecs


def _graph(description: str, audio: Audio, sample_rate: int) -> Audio:
    """Audio [C, T] through filters of ffmpeg, as float."""
    layout = "stereo" if len(audio) == 2 else "mono"
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=sample_rate, format="fltp", layout=layout, time_base=Fraction(1, sample_rate))
    nodes = [source]
    for each in description.split(","):
        name, _, options = each.partition("=")
        nodes.append(graph.add(name, options or None))
    nodes.append(graph.add("abuffersink"))
    for one, other in itertools.pairwise(nodes):
        one.link_to(other)
    graph.configure()
    pieces = []

    def drain() -> None:
        while True:
            try:
                pieces.append(nodes[-1].pull().to_ndarray())
            except (av.error.BlockingIOError, av.error.EOFError):
                return

    for start in range(0, audio.shape[1], 4096):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio[:, start : start + 4096], np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
        source.push(frame)
        drain()
    source.push(None)
    drain()
    return np.concatenate(pieces, axis=1)


def resampled(audio: Audio, sample_rate: int, to: int) -> Audio:
    """Audio [C, T] at another rate, by ffmpeg's resampler."""
    return _graph(f"aresample={to},aformat=sample_fmts=fltp", audio, sample_rate)


def alimited(audio: Audio, sample_rate: int, ceiling: float, attack_ms: float = 5.0) -> Audio:
    """Audio [C, T] limited by ffmpeg's ``alimiter``, without its make-up gain."""
    return _graph(f"alimiter=limit={ceiling}:attack={attack_ms}:release=50:level=0,aformat=sample_fmts=fltp", audio, sample_rate)


def acompressed(audio: Audio, sample_rate: int, threshold: float) -> Audio:
    """Audio [C, T] through ffmpeg's ``acompressor`` with its highest ratio and shortest attack."""
    settings = f"threshold={threshold}:ratio=20:attack=0.01:release=50:knee=1:detection=peak"
    return _graph(f"acompressor={settings},aformat=sample_fmts=fltp", audio, sample_rate)


def encoded(audio: Audio, sample_rate: int, codec: str, options: dict[str, str], bit_rate: int = 0) -> tuple[Audio, int]:
    """Audio [2, T] through an encoder and back, as float, without trimming the delay; and the rate."""
    suffix = {"libmp3lame": "mp3", "aac": "adts", "libopus": "ogg"}[codec]
    if codec == "libopus" and sample_rate != 48_000:
        audio, sample_rate = resampled(audio, sample_rate, 48_000), 48_000
    memory = io.BytesIO()
    with av.open(memory, "w", format=suffix) as container:
        stream = container.add_stream(codec, rate=sample_rate, options=options)
        stream.layout = "stereo"
        if bit_rate:
            stream.bit_rate = bit_rate
        if codec == "libopus":
            stream.format = "flt"
        context = stream.codec_context
        resampler = av.AudioResampler(format=context.format, layout="stereo", rate=sample_rate, frame_size=context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio, np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
        for each in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    memory.seek(0)
    with av.open(memory) as container:
        to_float = av.AudioResampler(format="fltp", layout="stereo", rate=sample_rate)
        pieces = [out.to_ndarray() for each in container.decode(audio=0) for out in to_float.resample(each)]
    return np.concatenate(pieces, axis=1), sample_rate


def _vorbis(audio: Audio, sample_rate: int, quality: float) -> Audio:
    """Audio [2, T] through libvorbis, which the wheels of PyAV do not encode with."""
    memory = io.BytesIO()
    with soundfile.SoundFile(memory, "w", sample_rate, 2, format="OGG", subtype="VORBIS", compression_level=1 - quality) as file:
        for start in range(0, audio.shape[1], sample_rate):  # libsndfile overflows its stack on long blocks
            file.write(audio[:, start : start + sample_rate].T)
    memory.seek(0)
    return soundfile.read(memory, dtype="float32", always_2d=True)[0].T


def _rounded(audio: Audio, bits: int) -> Audio:
    steps = 2.0 ** (bits - 1)
    return (np.clip(np.round(audio.astype(np.float64) * steps), -steps, steps - 1) / steps).astype(np.float32)


def _dithered(audio: Audio, bits: int) -> Audio:
    rng = np.random.default_rng(0)
    return _rounded(audio + (rng.random(audio.shape) - rng.random(audio.shape)) * 2.0 ** (1 - bits), bits)


Copy = Callable[[Audio, int], tuple[Audio, int]]
COPIES: dict[str, Copy] = {
    "float": lambda x, rate: (x, rate),
    "16 bit": lambda x, rate: (_rounded(x, 16), rate),
    "24 bit": lambda x, rate: (_rounded(x, 24), rate),
    "-3.7 dB, 16 bit": lambda x, rate: (_rounded(x * 10 ** (-3.7 / 20), 16), rate),
    "-6.2 dB, 16 bit dithered": lambda x, rate: (_dithered(x * 10 ** (-6.2 / 20), 16), rate),
    "44.1 - 48": lambda x, rate: (resampled(x, rate, 92_100 - rate), 92_100 - rate),
    "44.1 - 48 - 44.1": lambda x, rate: (resampled(resampled(x, rate, 92_100 - rate), 92_100 - rate, rate), rate),
    "MP3 320k": lambda x, rate: encoded(x, rate, "libmp3lame", {}, 320_000),
    "MP3 128k": lambda x, rate: encoded(x, rate, "libmp3lame", {}, 128_000),
    "MP3 192k": lambda x, rate: encoded(x, rate, "libmp3lame", {}, 192_000),
    "AAC 256k": lambda x, rate: encoded(x, rate, "aac", {}, 256_000),
    "AAC 128k": lambda x, rate: encoded(x, rate, "aac", {}, 128_000),
    "OGG q6": lambda x, rate: (_vorbis(x, rate, 0.6), rate),
    "OGG q3": lambda x, rate: (_vorbis(x, rate, 0.3), rate),
    "Opus 96k": lambda x, rate: encoded(x, rate, "libopus", {}, 96_000),
    "Opus 160k": lambda x, rate: encoded(x, rate, "libopus", {}, 160_000),
}
LOSSLESS = ("float", "16 bit", "24 bit", "-3.7 dB, 16 bit", "-6.2 dB, 16 bit dithered")


# ---------------------------------------------------------------- songs


def songs(root: Path) -> Iterator[tuple[str, Path | int]]:
    """Names of songs and their sources: files below a folder that ``free_music.py`` made, stempeg's excerpt, seeds of our own songs."""
    import stempeg

    for path in sorted(root.glob("*/*/mixture.*")):
        if path.suffix in (".flac", ".ogg") and path.parent.parent.name != "channels":  # the same songs as "modules"
            yield f"{path.parent.parent.name}/{path.parent.name}", path
    yield "stempeg", Path(stempeg.example_stem_path())
    yield from ((f"songs.py {seed}", seed) for seed in range(5))


def excerpt(source: Path | int) -> tuple[Audio, int]:
    """The loudest of eight places of a song, [2, T], at its own level; and its rate."""
    if isinstance(source, int):
        return mixture_of(render_song(source, EXCERPT_S)), 44_100
    audio, rate = sw.load(source)
    length = min(audio.shape[1], int(EXCERPT_S * rate))
    places = np.linspace(0, audio.shape[1] - length, 8).astype(int)
    place = max(places.tolist(), key=lambda start: float(np.square(audio[:, start : start + length]).mean()))
    piece = audio[:, place : place + length]
    return np.ascontiguousarray(piece if len(piece) == 2 else np.repeat(piece[:1], 2, axis=0)), rate


# ---------------------------------------------------------------- conditions


def ceiling_of(audio: Audio, share: float) -> float:
    """The level that a share of the samples of [C, T] exceeds in magnitude."""
    return float(np.quantile(np.abs(audio), 1 - share))


def hard(audio: Audio, share: float) -> tuple[Audio, float]:
    """The excerpt clipped so that ``share`` of its samples are, scaled to a ceiling of 0.95; and that ceiling."""
    ceiling = ceiling_of(audio, share)
    return (np.clip(audio, -ceiling, ceiling) * (0.95 / ceiling)).astype(np.float32), 0.95


def driven(audio: Audio, gain_db: float) -> Audio:
    """The excerpt with its peak at ``gain_db`` above full scale."""
    return (audio * (10 ** (gain_db / 20) / max(float(np.abs(audio).max()), 1e-9))).astype(np.float32)


def _ours(x: Audio, rate: int) -> Audio:
    return _limited(x, rate, 1.5)


def _limited(x: Audio, rate: int, lookahead_ms: float) -> Audio:
    settings = limiter.Settings(ceiling_db=-0.5, release_ms=80.0, lookahead_ms=lookahead_ms)
    return limiter.apply(torch.from_numpy(driven(x, 8.0)), rate, settings).numpy()


def _pedalboard(x: Audio, rate: int) -> Audio:
    """JUCE's limiter ends in a clipper at full scale: driven as far as that stays idle."""
    board = pedalboard.Limiter(threshold_db=-1.0, release_ms=100.0)
    limited = x
    for gain_db in range(8, -13, -2):
        limited = board(driven(x, gain_db), rate, reset=True)
        if np.abs(limited).max() < 0.9999:
            break
    return 0.95 * limited


def _compressed(x: Audio, rate: int) -> Audio:
    """JUCE's compressor, as fast and steep as a limiter without look-ahead."""
    return np.asarray(pedalboard.Compressor(threshold_db=-8.0, ratio=20.0, attack_ms=0.1, release_ms=50.0)(x, rate))


def _alimiter(x: Audio, rate: int) -> Audio:
    return alimited(driven(x, 8.0), rate, 0.94)


LIMITED: dict[str, Callable[[Audio, int], Audio]] = {
    "untouched": lambda x, _: driven(x, -0.3),
    "limiter (ours)": _ours,
    "limiter (pedalboard)": _pedalboard,
    "alimiter (ffmpeg)": _alimiter,
}
FLATTENED: dict[str, Callable[[Audio, int], Audio]] = {  # peaks cut or bent by something else than a clipper
    "limiter (ours), no look-ahead": lambda x, rate: _limited(x, rate, 0.0),
    "alimiter, 0.1 ms": lambda x, rate: alimited(driven(x, 8.0), rate, 0.94, 0.1),
    "acompressor, 0.01 ms": lambda x, rate: driven(acompressed(driven(x, 8.0), rate, 0.9), -0.5),  # its peaks exceed full scale
    "compressor (pedalboard), 0.1 ms": lambda x, rate: driven(_compressed(driven(x, 8.0), rate), -0.5),
    "tanh": lambda x, _: (0.9 * np.tanh(driven(x, 8.0))).astype(np.float32),
}
