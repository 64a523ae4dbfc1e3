"""Lossy coding in memory: what MP3, AAC, Opus and Vorbis leave of a sound, at its own rate and on its own time axis.

Conventions
    Audio is float32 [C, T], full scale 1.0, and comes back with its shape. One or two channels are coded together; of more, each by itself.
    The stream is put into the container that such files have (MP3 with its Xing header, mp4, Ogg), where the encoder's delay and padding
    are written, and is decoded as ``decoding`` decodes files: the result is what a player of that file gives, without any delay.
    Sound of a rate that a codec does not have is resampled to the next higher one that it has, or to its highest, and back: MP3 and AAC
    end at 48 and 96 kHz, Opus always works at 48 kHz.
    The same sound gives the same samples with the same versions of PyAV (ffmpeg, LAME and libopus inside) and soundfile (libvorbis).
    Of a bit rate that a codec does not have the nearest one is taken (``nearest_bit_rate``), so MP3 is of constant bit rate. Vorbis is
    coded by quality: its bit rate is the nominal one of that quality for two channels at 44.1 kHz, and what a sound takes differs.
    Files hold nothing beyond full scale, and AAC codes it badly: a sound that exceeds it is scaled down to it before, and back after.

References
    ISO/IEC 11172-3 and 13818-3 for the bit rates of MP3; RFC 6716 for those of Opus; ISO/IEC 14496-3 for the 6144 bits that one channel of
    AAC takes at most for 1024 samples. Nominal bit rates of Vorbis: the setup templates of libvorbis. LAME tag: Tonnerre, Mp3 Info Tag,
    revision 1.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemwright.manifests.sound.coded_reader import channels_of
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample

MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
AAC_RATES = (*MPEG_RATES, 64_000, 88_200, 96_000)
MPEG1_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # from 32 kHz on
MPEG2_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # from 16 kHz on
MPEG25_KBPS = (8, 16, 24, 32, 40, 48, 56, 64)
AAC_BITS_A_SAMPLE = 6.0  # of one channel
OPUS_KBPS = (6.0, 256.0)
VORBIS_KBPS = (64.0, 80.0, 96.0, 112.0, 128.0, 160.0, 192.0, 224.0, 256.0, 320.0, 500.0)  # of the qualities 0 to 10
VORBIS_BLOCK = 4096  # libsndfile encodes what it is given at once on the stack
MP3_HEAD = 1 << 16  # bytes within which the Xing or Info header is, behind the tags
LAME_DELAYS, LAME_CRC = 141, 154  # from "Info" on: delay and padding, 12 bits each; the checksum of the header to there
AAC_PACKET = 1024  # samples of a channel, ISO/IEC 14496-3
LEAST_OF_SONG = {"mp3": 47, "aac": AAC_PACKET, "opus": 1}  # frames that a file can state; 47: two packets of 1152 less the delay
LEAST_FRAMES = 4096  # shorter sounds are followed by silence: some containers drop a stream of less than a packet


@dataclass(frozen=True)
class _Coder:
    """How PyAV codes: ffmpeg's names of the encoder, the container as written and as read, and the type of samples."""

    encoder: str
    muxer: str
    demuxer: str
    samples: str
    rates: tuple[int, ...]


CODERS = {
    "mp3": _Coder("libmp3lame", "mp3", "mp3", "fltp", MPEG_RATES),
    "aac": _Coder("aac", "mp4", "mov", "fltp", AAC_RATES),
    "opus": _Coder("libopus", "ogg", "ogg", "flt", (48_000,)),
}
CODECS = (*CODERS, "vorbis")


def nearest_bit_rate(codec: str, bit_rate_kbps: float, sample_rate: int) -> float:
    """The bit rate in kbit/s that a codec has for sound of this rate and that is nearest to the one requested."""
    rate = coding_rate(codec, sample_rate)
    if codec == "mp3":
        table = MPEG1_KBPS if rate >= 32_000 else MPEG2_KBPS if rate >= 16_000 else MPEG25_KBPS
        return float(min(table, key=lambda each: abs(each - bit_rate_kbps)))
    low, high = {
        "aac": (8.0, AAC_BITS_A_SAMPLE * rate / 1000.0),
        "opus": OPUS_KBPS,
        "vorbis": (VORBIS_KBPS[0], VORBIS_KBPS[-1]),
    }[codec]
    return float(int(min(max(round(bit_rate_kbps), low), high)))


def coding_rate(codec: str, sample_rate: int) -> int:
    """The rate at which a codec works on sound of this rate."""
    rates = CODERS[codec].rates if codec in CODERS else (sample_rate,)
    return min((rate for rate in rates if rate >= sample_rate), default=max(rates))


def coded(audio: Audio, sample_rate: int, codec: str, bit_rate_kbps: float) -> Audio:
    """Encodes and decodes [C, T] and returns its shape, without delay. Raises ValueError for an unknown codec."""
    if codec not in CODECS:
        raise ValueError(f"expected one of the codecs {', '.join(CODECS)}; got {codec!r}")
    if audio.shape[0] > 2:
        return np.concatenate([coded(channel[None], sample_rate, codec, bit_rate_kbps) for channel in audio])
    num_frames, rate = audio.shape[1], coding_rate(codec, sample_rate)
    scale = max(1.0, float(np.abs(audio).max(initial=0.0)))
    whole = np.pad(audio / np.float32(scale), ((0, 0), (0, max(0, LEAST_FRAMES - num_frames))))
    kbps = nearest_bit_rate(codec, bit_rate_kbps, sample_rate)
    at_rate = resample(whole, sample_rate, rate)
    data = _encoded_vorbis(at_rate, rate, kbps) if codec == "vorbis" else _encoded(CODERS[codec], at_rate, rate, kbps)
    out = resample(decoded(data, codec), rate, sample_rate)[:, :num_frames]
    return np.pad(np.float32(scale) * out, ((0, 0), (0, num_frames - out.shape[1])))


def encoded(audio: Audio, sample_rate: int, codec: str, bit_rate_kbps: float, *, tags: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file of one or two channels [C, T], at a rate that the codec has, which decodes to T frames.

    mp4 states where sound begins, to the sample, but readers do not cut what is behind its end: silence goes before the sound until its
    end is that of a packet, and is stated with the encoder's delay. A sound of less than a packet is followed by silence. ``tags`` have
    ffmpeg's names, for Vorbis libsndfile's.
    """
    if codec == "vorbis":
        return _encoded_vorbis(audio, sample_rate, bit_rate_kbps, tags)
    whole = np.pad(audio, ((0, 0), (0, max(0, LEAST_OF_SONG[codec] - audio.shape[1]))))
    lead = -whole.shape[1] % AAC_PACKET if codec == "aac" else 0
    data = _encoded(CODERS[codec], np.pad(whole, ((0, 0), (lead, 0))), sample_rate, bit_rate_kbps, first=-lead, tags=tags)
    return _with_mp3_end(data, whole.shape[1]) if codec == "mp3" else data


def _with_mp3_end(data: bytes, num_frames: int) -> bytes:
    """An MP3 file whose header states the padding that leaves so many frames.

    The padding that an encoder reports with its last packet is less than that packet; where two packets at the end are padding, the
    header lacks the first one's part.
    """
    start = max(data.find(b"Info", 0, MP3_HEAD), data.find(b"Xing", 0, MP3_HEAD))
    if start < 0:
        return data
    frame = data.rfind(b"\xff", 0, start)
    is_mpeg1 = data[frame + 1] & 0x18 == 0x18
    (packets,) = struct.unpack_from(">I", data, start + 8)
    stated = int.from_bytes(data[start + LAME_DELAYS : start + LAME_DELAYS + 3], "big")
    delay = stated >> 12
    padding = packets * (1152 if is_mpeg1 else 576) - delay - num_frames
    if padding == stated & 0xFFF or not 0 <= padding < 1 << 12:
        return data
    head = bytearray(data[: start + LAME_CRC])
    head[start + LAME_DELAYS : start + LAME_DELAYS + 3] = (delay << 12 | padding).to_bytes(3, "big")
    return bytes(head) + _crc16(head[frame:]).to_bytes(2, "big") + data[start + LAME_CRC + 2 :]


def _crc16(data: bytes | bytearray) -> int:
    """The checksum of a LAME tag: CRC-16 with the polynomial 0x8005, reflected."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def _encoded(
    coder: _Coder,
    audio: Audio,
    sample_rate: int,
    bit_rate_kbps: float,
    *,
    first: int = 0,
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a file whose first frame has the time ``first``; what is before 0 is not played."""
    import av

    buffer, layout = io.BytesIO(), "mono" if len(audio) == 1 else "stereo"
    with av.open(buffer, "w", format=coder.muxer) as container:
        container.metadata.update(tags or {})
        stream: Any = container.add_stream(coder.encoder, rate=sample_rate, layout=layout)
        stream.bit_rate = round(1000.0 * bit_rate_kbps)
        context = stream.codec_context
        context.format, context.thread_count = coder.samples, 1
        context.open()
        for start in range(0, audio.shape[1], context.frame_size):
            block = audio[:, start : start + context.frame_size]
            samples = block if coder.samples.endswith("p") else block.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format=coder.samples, layout=layout)
            frame.sample_rate, frame.pts = sample_rate, first + start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _encoded_vorbis(audio: Audio, sample_rate: int, bit_rate_kbps: float, tags: Mapping[str, str] | None = None) -> bytes:
    """The bytes of an Ogg Vorbis file: PyAV's wheels have no libvorbis, soundfile's have."""
    import soundfile

    quality = float(np.interp(bit_rate_kbps, VORBIS_KBPS, np.arange(len(VORBIS_KBPS)) / 10.0))
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", samplerate=sample_rate, channels=len(audio), format="OGG", subtype="VORBIS", compression_level=1.0 - quality
    ) as file:
        for name, text in (tags or {}).items():
            setattr(file, name, text)
        for start in range(0, audio.shape[1], VORBIS_BLOCK):
            file.write(np.ascontiguousarray(audio[:, start : start + VORBIS_BLOCK].T))
    return buffer.getvalue()


def decoded(data: bytes, codec: str) -> Audio:
    """The samples of a file of a codec, [C, t]."""
    import av

    opened: Any = av.open(io.BytesIO(data), format="ogg" if codec == "vorbis" else CODERS[codec].demuxer)
    with opened as container:
        container.streams.audio[0].codec_context.thread_count = 1
        return np.concatenate([np.stack(channels_of(frame)) for frame in container.decode(audio=0)], axis=1)
