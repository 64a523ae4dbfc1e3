"""Whole, blocks and excerpts of a file are one signal, and that of ffmpeg's own decode: over 200 files of every codec, rate and channels.

ffmpeg's program may be of another version than the libraries that we read with. Up to version 7 it has wrong band limits for MP3 at 24 kHz
(off by 0.02) and another rounding of IMA ADPCM (0.002); there libsndfile, with decoders of its own, is the peer.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwright.manifests.sound import decoding

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg program writes the files, and is the peer")

MP3_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
AAC_RATES = (*MP3_RATES, 96_000)
OPUS_RATES = (8000, 16_000, 48_000)
EVERY_RATE = (*MP3_RATES, 88_200, 96_000)
# Name of the file: the rates that its codec has, and ffmpeg's options. No suffix of a name decides how a file is read.
CODECS: dict[str, tuple[tuple[int, ...], str]] = {
    "low.mp3": (MP3_RATES, "-c:a libmp3lame -b:a 32k"),
    "high.mp3": (MP3_RATES, "-c:a libmp3lame -b:a 160k"),
    "vbr.mp3": (MP3_RATES, "-c:a libmp3lame -q:a 5"),
    # Not at 24 kHz, where both peers are wrong: libsndfile does not read the whole.
    "bare.mp3": (tuple(rate for rate in MP3_RATES if rate != 24_000), "-c:a libmp3lame -q:a 2 -write_xing 0 -id3v2_version 0"),
    "layer2.mp3": ((32_000, 44_100, 48_000), "-c:a mp2 -b:a 128k -f mp2"),
    "vorbis.ogg": (EVERY_RATE, "-c:a libvorbis -q:a 3"),
    "voice.opus": (OPUS_RATES, "-c:a libopus -b:a 20k -frame_duration 60"),
    "music.opus": (OPUS_RATES, "-c:a libopus -b:a 96k"),
    "aac.m4a": (AAC_RATES, "-c:a aac -b:a 48k"),
    "adts.aac": (AAC_RATES, "-c:a aac -b:a 64k"),
    "alac.m4a": ((8000, 44_100, 96_000), "-c:a alac"),
    "alac.caf": ((44_100,), "-c:a alac"),
    "flac.flac": (EVERY_RATE, "-c:a flac -sample_fmt s16"),
    "deep.flac": ((44_100, 96_000), "-c:a flac -sample_fmt s32 -bits_per_raw_sample 24"),
    "flac.oga": ((44_100, 48_000), "-c:a flac"),
    "vorbis.mka": ((44_100, 48_000), "-c:a libvorbis"),
    "opus.webm": ((48_000,), "-c:a libopus"),
    "wma.wma": ((22_050, 44_100), "-c:a wmav2"),
    "ac3.ac3": ((32_000, 44_100, 48_000), "-c:a ac3"),
    "s16.wav": (EVERY_RATE, "-c:a pcm_s16le"),
    "u8.wav": ((8000, 44_100), "-c:a pcm_u8"),
    "s24.wav": ((44_100, 96_000), "-c:a pcm_s24le"),
    "s32.wav": ((44_100,), "-c:a pcm_s32le"),
    "f32.wav": ((44_100, 48_000), "-c:a pcm_f32le"),
    "f64.wav": ((44_100,), "-c:a pcm_f64le"),
    "alaw.wav": ((8000,), "-c:a pcm_alaw"),
    "mulaw.wav": ((8000,), "-c:a pcm_mulaw"),
    "ima.wav": ((22_050, 44_100), "-c:a adpcm_ima_wav"),
    "ms.wav": ((22_050, 44_100), "-c:a adpcm_ms"),
    "wave64.w64": ((44_100, 48_000), "-c:a pcm_s24le"),
    "big.aiff": ((44_100, 48_000), "-c:a pcm_s16be"),
    "core.caf": ((44_100, 48_000), "-c:a pcm_s24be"),
}
GROUPS = [(rate, channels) for rate in EVERY_RATE for channels in (1, 2)]


def names(sample_rate: int) -> list[str]:
    return [name for name, (rates, _) in CODECS.items() if sample_rate in rates]


def bursts(sample_rate: int, num_channels: int, duration_s: float) -> np.ndarray:
    """Float [T, C]: tones under noise that comes and goes, so that a bit reservoir fills and empties."""
    rng = np.random.default_rng(sample_rate + num_channels)
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    gate = np.exp(-9 * (time_s * 3.1 % 1))[:, None]
    tones = np.stack([0.2 * np.sin(2 * np.pi * hz * time_s) for hz in (220, 331)[:num_channels]], axis=1)
    return (tones + 0.25 * gate * rng.standard_normal((time_s.size, num_channels))).clip(-0.95, 0.95)


def ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True)


def encoded(folder: Path, sample_rate: int, num_channels: int) -> list[Path]:
    """Writes the files of a group in one call of ffmpeg."""
    source = folder / "source.wav"
    duration_s = 0.9 + 0.1 * num_channels + 6000 / sample_rate
    soundfile.write(source, bursts(sample_rate, num_channels, duration_s), sample_rate, subtype="FLOAT")
    paths = [folder / name for name in names(sample_rate)]
    outputs: list[object] = []
    for path in paths:
        outputs += ["-map_metadata", -1, *CODECS[path.name][1].split(), path]
    ffmpeg("-i", source, *outputs)
    return paths


def by_ffmpeg(paths: list[Path], num_channels: int) -> list[np.ndarray]:
    """Float [C, T] of each file as the ffmpeg program decodes it, in one call."""
    inputs, outputs = list[object](), list[object]()
    for number, path in enumerate(paths):
        inputs += ["-i", path]
        outputs += ["-map", f"{number}:a:0", "-f", "f32le", path.with_name(f"{path.name}.raw")]
    ffmpeg(*inputs, *outputs)
    return [np.fromfile(path.with_name(f"{path.name}.raw"), "<f4").reshape(-1, num_channels).T for path in paths]


def peers(paths: list[Path], sample_rate: int, num_channels: int) -> list[np.ndarray]:
    """Float [C, T] of each file as another decoder has it."""
    found = by_ffmpeg(paths, num_channels)
    for number, path in enumerate(paths):
        if path.name == "ima.wav" or (path.name in ("low.mp3", "vbr.mp3") and sample_rate == 24_000):
            with soundfile.SoundFile(path) as file:
                found[number] = file.read(dtype="float32", always_2d=True).T
    return found


@pytest.mark.parametrize(("sample_rate", "num_channels"), GROUPS)
def test_three_readings_are_one_signal_and_that_of_ffmpeg(tmp_path, sample_rate, num_channels):
    paths = encoded(tmp_path, sample_rate, num_channels)
    rng = np.random.default_rng(num_channels)
    for path, peer in zip(paths, peers(paths, sample_rate, num_channels), strict=True):
        whole, _ = decoding.load(path)
        assert whole.shape == peer.shape, path.name
        np.testing.assert_allclose(whole, peer, atol=1e-5, rtol=0, err_msg=path.name)
        length = whole.shape[1]
        for size in (int(rng.integers(1000, 9000)), 1 << 14):
            blocks = list(decoding.blocks(path, size))
            assert {block.shape[1] for block in blocks[:-1]} <= {size}
            np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole, err_msg=f"{path.name} in blocks of {size}")
        for start in (1, int(rng.integers(0, length)), length * 19 // 20, length - 5):
            count = int(min(length - start, rng.integers(1, 5000)))
            part, _ = decoding.load(path, int(start), count)
            np.testing.assert_array_equal(part, whole[:, start : start + count], err_msg=f"{path.name} from {start}")


def test_these_are_over_200_files():
    assert sum(len(names(sample_rate)) for sample_rate, _ in GROUPS) >= 200


def test_a_name_does_not_decide_how_a_file_is_read(tmp_path):
    paths = encoded(tmp_path, 44_100, 1)
    for number, path in enumerate(paths):
        whole = decoding.load(path)[0]
        for suffix in ((".mp3", ".wav"), (".m4a", ".aac"), (".flac", ".ogg"))[number % 3]:
            other = path.rename(path.with_suffix(suffix)) if path.suffix != suffix else path
            np.testing.assert_array_equal(decoding.load(other)[0], whole, err_msg=f"{path.name} called {suffix}")
            other.rename(path)
