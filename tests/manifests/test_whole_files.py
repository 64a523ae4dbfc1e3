"""Files that were cut, damaged, joined, piped or misnamed: read as a whole, or refused with what is missing."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess

import numpy as np
import pytest
from made_files import BARE, RATE, encode, headed, packets, pages, read, refusal, renamed, sealed, tone, written

from stemwright.manifests.records import Refused
from stemwright.manifests.sound import decoding
from stemwright.manifests.sound.content import content_of
from stemwright.manifests.sound.ogg_pages import checked_ogg

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg program writes the files")


def test_vbr_mp3_without_a_header_is_read_to_its_end(tmp_path):
    loud_then_soft = np.concatenate([np.random.default_rng(0).normal(0, 0.3, (RATE, 2)), 0.1 * tone(8)])
    whole, notes = read(tmp_path, "a.mp3", encode(loud_then_soft, "mp3", "-q:a", 4, *BARE))
    assert whole.shape[1] >= 9 * RATE
    assert notes == []


def test_joined_mp3_is_read_whole(tmp_path):
    one, other = (encode(tone(3, hz), "mp3", "-q:a", 4) for hz in (220, 440))
    whole, notes = read(tmp_path, "a.mp3", one + other)
    assert 6 * RATE <= whole.shape[1] < 6.1 * RATE
    assert "all 6." in notes[0]


def test_mp3_whose_header_states_half_is_read_whole(tmp_path):
    first, *rest = packets(encode(tone(4), "mp3", "-q:a", 2, "-id3v2_version", 0))
    half = first.replace(struct.pack(">I", len(rest)), struct.pack(">I", len(rest) // 2), 1)
    assert half != first
    whole, notes = read(tmp_path, "a.mp3", half + b"".join(rest))
    assert abs(whole.shape[1] - 4 * RATE) <= 1152
    assert "its header states 2." in notes[0]


def test_mp3_with_another_bit_rate_midway_is_read_and_with_another_kind_is_refused(tmp_path):
    kinds = {"high": ("-b:a", "320k"), "low": ("-b:a", "96k"), "48 kHz": ("-b:a", "96k", "-ar", 48_000), "mono": ("-b:a", "96k", "-ac", 1)}
    made = {name: encode(tone(2), "mp3", *options, *BARE) for name, options in kinds.items()}
    assert read(tmp_path, "a.mp3", made["high"] + made["low"])[0].shape[1] >= 4 * RATE
    assert "sample rate changes from 44100 to 48000 Hz" in refusal(tmp_path, "b.mp3", made["low"] + made["48 kHz"])
    assert "number of channels changes from 2 to 1" in refusal(tmp_path, "c.mp3", made["low"] + made["mono"])


def test_raw_aac_with_another_kind_midway_is_refused(tmp_path):
    mono, stereo, fast = (encode(tone(2), "aac", *options) for options in (("-ac", 1), (), ("-ar", 48_000)))
    assert read(tmp_path, "a.aac", stereo + stereo)[0].shape[1] >= 4 * RATE
    assert "number of channels changes from 1 to 2" in refusal(tmp_path, "b.aac", mono + stereo)
    assert "sample rate changes from 44100 to 48000 Hz" in refusal(tmp_path, "c.aac", stereo + fast)


@pytest.mark.parametrize(
    "behind", [bytes(1500), b"LYRICSBEGIN" + b"la la " * 900 + b"LYRICS200" + b"TAG" + bytes(125), b"TAG" + bytes(125)]
)
def test_what_is_behind_an_mp3_is_not_sound(tmp_path, behind):
    data = encode(tone(2), "mp3", "-b:a", "128k", *BARE)
    np.testing.assert_array_equal(read(tmp_path, "a.mp3", data + behind)[0], read(tmp_path, "b.mp3", data)[0])


def test_mp3_that_lost_packets_is_refused(tmp_path):
    bare, counted = (packets(encode(tone(3), "mp3", "-b:a", "128k", "-id3v2_version", 0, *more)) for more in (("-write_xing", 0), ()))
    hole = b"".join(bare[:40]) + bytes(3000) + b"".join(bare[48:])
    assert "damaged: 3000 bytes at 1.04 s are neither a packet nor a tag" in refusal(tmp_path, "a.mp3", hole)
    assert "truncated: ends at 1." in refusal(tmp_path, "b.mp3", b"".join(counted[:50]))
    assert "within a packet" in read(tmp_path, "c.mp3", b"".join(bare)[:-100])[1][0]


@pytest.mark.parametrize(("suffix", "codec"), [("ogg", "libvorbis"), ("opus", "libopus"), ("oga", "flac")])
def test_damaged_ogg_is_refused_with_what_is_missing(tmp_path, suffix, codec):
    data = encode(tone(8), suffix, "-c:a", codec, "-page_duration", 500_000)
    parts = pages(data)
    assert sum(map(len, parts)) == len(data)
    assert read(tmp_path, f"a.{suffix}", data)[1] == []
    hole = b"".join(parts[:5] + parts[7:])
    assert "pages 5 to 6 are missing at" in refusal(tmp_path, f"b.{suffix}", hole)
    zeros = data[: len(data) // 2] + bytes(4000) + data[len(data) // 2 + 4000 :]
    assert "are no page of OGG" in refusal(tmp_path, f"c.{suffix}", zeros)
    assert "within a page" in refusal(tmp_path, f"d.{suffix}", data[: len(data) - len(parts[-1]) // 2])
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    assert "are no page of OGG" in refusal(tmp_path, f"e.{suffix}", bytes(flipped))
    assert "without OGG's mark of the end" in read(tmp_path, f"f.{suffix}", b"".join(parts[:-3]))[1][0]


def test_ogg_check_sums_are_those_of_the_specification(tmp_path):
    for page in pages(encode(tone(1), "ogg", "-c:a", "libvorbis")):
        crc = 0
        for byte in page[:22] + bytes(4) + page[26:]:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
        assert struct.pack("<I", crc) == page[22:26]


def test_chained_opus_is_read_whole_and_chained_vorbis_is_refused(tmp_path):
    links = {}
    for codec, suffix in (("libopus", "opus"), ("libvorbis", "ogg")):
        one, two = (encode(tone(3, hz), suffix, "-c:a", codec) for hz in (220, 440))
        links[suffix] = one + b"".join(renamed(page, b"four") for page in pages(two))
    assert abs(read(tmp_path, "a.opus", links["opus"])[0].shape[1] - 6 * 48_000) <= 960
    assert "2 recordings are chained in it" in refusal(tmp_path, "a.ogg", links["ogg"])
    (tmp_path / "b.ogg").write_bytes(links["ogg"])
    assert checked_ogg(tmp_path / "b.ogg").codecs == [b"vorbis", b"vorbis"]


def test_opus_that_names_no_rate_is_read_at_48_khz(tmp_path):
    first, *rest = pages(encode(tone(1), "opus", "-c:a", "libopus"))
    at = first.index(b"OpusHead") + 12
    whole, _ = read(tmp_path, "a.opus", sealed(first[:at] + bytes(4) + first[at + 4 :]) + b"".join(rest))
    assert decoding.probe(tmp_path / "a.opus").sample_rate == 48_000
    assert abs(whole.shape[1] - 48_000) <= 1


def test_flac_of_unknown_length_too_small_a_length_and_behind_a_tag_is_read(tmp_path):
    data = encode(tone(3), "flac", "-sample_fmt", "s16")
    wanted, _ = read(tmp_path, "a.flac", data)
    unknown = data[:21] + bytes([data[21] & 0xF0]) + bytes(20) + data[42:]
    half = data[:22] + struct.pack(">I", 3 * RATE // 2) + bytes(16) + data[42:]
    tag = b"ID3\4\0\0" + bytes(300_000 >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(300_000)
    for name, changed in {"unknown": unknown, "half": half, "tag": tag + data}.items():
        whole, notes = read(tmp_path, f"{name}.flac", changed)
        np.testing.assert_array_equal(whole, wanted)
        assert bool(notes) == (name == "half")
    assert "truncated" in refusal(tmp_path, "cut.flac", data[: len(data) // 2])
    assert "truncated" in refusal(tmp_path, "cut tag.flac", tag + data[: len(data) // 2])


@pytest.mark.parametrize("size", [0x7FFFF000, 0x80000000, 0x7FFF0000, 0xFFFFFFFF, 0xFFFFFFDB, 0])
def test_wav_from_a_pipe_is_read_to_its_end(tmp_path, size):
    audio = tone(2)
    audio[:1000] = 0
    for subtype in ("PCM_16", "PCM_24", "FLOAT"):
        data = written(audio, subtype)
        wanted, _ = read(tmp_path, "a.wav", data)
        whole, notes = read(tmp_path, "b.wav", headed(headed(data, b"data", struct.pack("<I", size)), b"RIFF", struct.pack("<I", size)))
        np.testing.assert_array_equal(whole[:, : wanted.shape[1]], wanted)
        assert whole.shape[1] - wanted.shape[1] < 40  # the chunk PEAK is behind the samples of float
        assert "states no length" in notes[0]


@pytest.mark.parametrize(("suffix", "codec"), [("w64", "pcm_s16le"), ("wav", "adpcm_ima_wav"), ("wav", "adpcm_ms"), ("wav", "pcm_alaw")])
def test_cut_chunks_are_refused(tmp_path, suffix, codec):
    data = encode(tone(3), suffix, "-c:a", codec)
    read(tmp_path, f"a.{suffix}", data)
    assert "truncated: ends at 1." in refusal(tmp_path, f"b.{suffix}", data[: len(data) // 2])


def test_gsm_is_read_and_refused_when_cut(tmp_path):
    data = written(tone(3)[:, :1], "GSM610", sample_rate=8000)
    read(tmp_path, "a.wav", data)
    assert "truncated" in refusal(tmp_path, "b.wav", data[: len(data) // 2])


def test_wav_with_more_sound_than_its_header_states_is_refused(tmp_path):
    data = written(tone(2))
    assert "says 1.00 s, but 1.00 s more follow" in refusal(tmp_path, "a.wav", headed(data, b"data", struct.pack("<I", 4 * RATE)))


def test_wav_over_4_gib_whose_size_has_lost_its_upper_bits_is_refused(tmp_path):
    path, head = tmp_path / "a.wav", written(np.zeros((1, 2)))[:44]
    num_bytes = (1 << 32) + 4 * 5 * RATE
    with path.open("wb") as file:  # a sparse file
        file.write(headed(head, b"data", struct.pack("<I", num_bytes & 0xFFFFFFFF)))
        file.truncate(44 + num_bytes)
    with pytest.raises(Refused, match=r"its header says 5\.00 s, but 24347\.\d\d s more follow"):
        decoding.probe(path)


def test_alac_in_caf_and_caf_of_open_size_are_read(tmp_path):
    audio = tone(2)
    whole = np.rint(read(tmp_path, "a.caf", encode(audio, "caf", "-c:a", "alac"))[0].T * 2**15)
    assert whole.shape == audio.shape
    data = encode(audio, "caf", "-c:a", "pcm_s16be")
    wanted, _ = read(tmp_path, "b.caf", data)
    np.testing.assert_array_equal(read(tmp_path, "c.caf", headed(data, b"data", b"\xff" * 8))[0], wanted)


@pytest.mark.parametrize("suffix", ["m4a", "mka", "wma"])
def test_cut_container_is_refused(tmp_path, suffix):
    data = encode(tone(3), suffix, *(("-movflags", "faststart") if suffix == "m4a" else ()))
    read(tmp_path, f"a.{suffix}", data)
    for keep in (0.5, 0.95):
        assert "truncated: has" in refusal(tmp_path, f"b.{suffix}", data[: int(len(data) * keep)])


def test_a_name_decides_nothing(tmp_path):
    data = encode(tone(2), "m4a", "-c:a", "aac")
    wanted, _ = read(tmp_path, "a.m4a", data)
    np.testing.assert_array_equal(read(tmp_path, "b.mp3", data)[0], wanted)
    assert content_of(tmp_path / "b.mp3").format == "mp4"
    noise = np.random.default_rng(0).integers(0, 256, 50_000, np.uint8).tobytes()
    assert "its content is not MP3" in refusal(tmp_path, "c.mp3", noise)


def test_streams_that_start_later_stay_in_time(tmp_path):
    paths = [tmp_path / "mixture.wav", tmp_path / "drums.wav"]
    for path in paths:
        path.write_bytes(written(tone(2)))
    made = tmp_path / "song.stem.mp4"
    options = ["-i", paths[0], "-itsoffset", "0.05", "-i", paths[1], "-map", "0:a", "-map", "1:a", "-c:a", "alac", made]
    subprocess.run(["ffmpeg", "-v", "error", *map(str, options)], check=True)
    mixture, drums = (decoding.load(made, stream=stream)[0] for stream in (0, 1))
    late = round(0.05 * RATE)
    assert not drums[:, :late].any()
    np.testing.assert_array_equal(drums[:, late : mixture.shape[1]], mixture[:, : mixture.shape[1] - late])
    np.testing.assert_array_equal(decoding.load(made, 1000, 3000, stream=1)[0], drums[:, 1000:4000])


def first_frame(data: bytes) -> int:
    """The byte behind the metadata of a FLAC."""
    at, is_last = 4, False
    while not is_last:
        is_last, at = bool(data[at] & 0x80), at + 4 + int.from_bytes(data[at + 1 : at + 4])
    return at


def test_frames_of_flac_that_follow_without_a_header_are_read_or_refused(tmp_path):
    one, same, longer = (encode(tone(length, hz), "flac", "-sample_fmt", "s16") for length, hz in ((2, 330), (2, 440), (3, 500)))
    for name, more in (("same length", same), ("longer", longer), ("a part", same[: len(same) // 2])):
        assert "several recordings are joined" in refusal(tmp_path, f"{name}.flac", one + more[first_frame(more) :])
    assert not read(tmp_path, "one.flac", one)[1]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_the_md5_of_a_flac_is_compared_where_the_whole_is_read(tmp_path, subtype, caplog):
    data = written(tone(2.0001), subtype, "FLAC")
    assert data[26:42] != bytes(16)
    other = data[:26] + bytes(range(1, 17)) + data[42:]
    without = data[:26] + bytes(16) + data[42:]
    assert (read(tmp_path, "a.flac", data)[1], read(tmp_path, "b.flac", without)[1]) == ([], [])
    assert read(tmp_path, "c.flac", other)[1] == [
        "the MD5 of its samples is not the one in its header: it was edited or damaged after it was encoded"
    ]
    caplog.clear()
    decoding.load(tmp_path / "c.flac")
    assert ["MD5" in record.message for record in caplog.records] == [True]
    caplog.clear()
    for _ in decoding.blocks(tmp_path / "c.flac", 5000):  # as stems are read, whose rows have a checksum of the file
        pass
    assert caplog.records == []


def test_tags_around_ac3_are_named(tmp_path):
    data = encode(tone(1), "ac3")
    read(tmp_path, "a.ac3", data)
    id3 = b"ID3\x03\0\0\0\0\2\0" + bytes(256)
    for name, tagged, where in (("b", id3 + data, "before"), ("c", data + b"TAG" + bytes(125), "behind")):
        assert f"a tag is {where} its packets of AC-3" in refusal(tmp_path, f"{name}.ac3", tagged)


def test_chained_opus_of_six_channels_is_refused(tmp_path):
    data = encode(np.repeat(tone(1), 3, axis=1), "opus", "-c:a", "libopus", "-ac", "6")
    assert read(tmp_path, "a.opus", data)[0].shape[0] == 6
    assert "2 recordings of 6 channels are chained" in refusal(tmp_path, "b.opus", data + data)


@pytest.mark.parametrize("suffix", ["ogg", "opus", "oga", "mp3", "mka", "m4a"])
def test_a_file_of_headers_alone_says_that_it_has_no_sound(tmp_path, suffix):
    assert re.search("not one frame of sound|no sound", refusal(tmp_path, f"a.{suffix}", encode(tone(0), suffix)))
