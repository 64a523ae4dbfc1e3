"""Files that other programs wrote in their own ways: read as a whole, or refused by what they are."""

from __future__ import annotations

import shutil
import struct
import subprocess

import av
import numpy as np
import pytest
from made_files import BARE, RATE, encode, headed, packets, pages, read, refusal, renamed, tone, written

from stemwright.manifests.sound import decoding

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg program writes the files")


ID3V1 = b"TAG" + bytes(125)


def test_tags_between_packets_of_mp3_move_no_excerpt(tmp_path):
    one = encode(tone(2), "mp3", "-b:a", "128k", *BARE)
    for between in (ID3V1, b"ID3\3\0\0" + bytes((0, 0, 16, 0)) + bytes(2048)):
        assert read(tmp_path, "a.mp3", one + between + one)[0].shape[1] >= 4 * RATE


def test_random_bytes_behind_mp3_are_not_another_recording(tmp_path):
    data = encode(tone(1), "mp3", "-b:a", "128k", *BARE)
    wanted = read(tmp_path, "a.mp3", data)[0].shape
    for junk in (b"\xff\xf3\x28\xc4" + bytes(range(256)) * 8, *(np.random.default_rng(n).bytes(2000) for n in range(5))):
        assert read(tmp_path, "b.mp3", data + junk)[0].shape == wanted


def test_mp3_of_a_free_format_bit_rate_is_refused_by_that_name(tmp_path):
    def free(packet: bytes) -> bytes:
        return packet[:2] + bytes([packet[2] & 0x0F]) + packet[3:]

    bare = packets(encode(tone(1), "mp3", "-b:a", "128k", *BARE))
    assert "MP3 of a free-format bit rate" in refusal(tmp_path, "a.mp3", b"".join(map(free, bare)))


def test_ogg_of_two_streams_is_read_and_chained_streams_of_other_kinds_are_refused(tmp_path):
    whole, notes = read(tmp_path, "a.ogg", encode(tone(2), "ogg", "-map", "0:a", "-map", "0:a", "-c:a:0", "libvorbis", "-c:a:1", "flac"))
    assert (whole.shape[1], notes) == (2 * RATE, [])
    mono, stereo = (encode(tone(1), "opus", "-ac", channels) for channels in (1, 2))
    chained = stereo + b"".join(renamed(page, b"next") for page in pages(mono))
    assert "channels changes from 2 to 1" in refusal(tmp_path, "b.opus", chained)
    vorbis = encode(tone(1), "ogg", "-c:a", "libvorbis", "-ar", 48_000)
    assert "2 recordings are chained" in refusal(tmp_path, "c.ogg", stereo + b"".join(renamed(page, b"next") for page in pages(vorbis)))


def test_joined_files_of_which_programs_play_the_first_are_refused(tmp_path):
    for suffix, options in {"wav": (), "flac": (), "m4a": ("-c:a", "aac"), "mka": ("-c:a", "flac")}.items():
        data = encode(tone(1), suffix, *options)
        read(tmp_path, f"a.{suffix}", data)
        assert "several recordings are joined" in refusal(tmp_path, f"b.{suffix}", data + data), suffix


@pytest.mark.parametrize("suffix", ["mka", "wma", "mov"])
def test_excerpts_of_pcm_in_any_container_are_slices(tmp_path, suffix):
    whole = read(tmp_path, f"a.{suffix}", encode(tone(4), suffix, "-c:a", "pcm_s16le"))[0]
    assert whole.shape[1] == 4 * RATE


def test_integers_of_32_bits_in_flac_and_of_64_in_wav_are_read(tmp_path):
    audio = tone(1)
    (tmp_path / "source.wav").write_bytes(written(audio, "FLOAT"))
    options = ["-i", tmp_path / "source.wav", "-c:a", "pcm_s64le", tmp_path / "a.wav"]
    subprocess.run(["ffmpeg", "-v", "error", *map(str, options)], check=True)
    np.testing.assert_allclose(decoding.load(tmp_path / "a.wav")[0].T, audio, atol=1e-6)
    with av.open(str(tmp_path / "b.flac"), "w") as container:  # the ffmpeg program writes no 32 bits up to version 5
        stream = container.add_stream("flac", rate=RATE, layout="stereo", options={"strict": "experimental", "bits_per_raw_sample": "32"})
        stream.format = "s32"
        samples = np.ascontiguousarray(np.rint(audio * 2**31).astype(np.int32).reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(samples, format="s32", layout="stereo")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    np.testing.assert_allclose(decoding.load(tmp_path / "b.flac")[0].T, audio, atol=1e-6)


def test_bw64_and_wav_behind_an_id3_tag_are_read(tmp_path):
    audio = tone(1)
    data = written(audio)
    wanted, _ = read(tmp_path, "a.wav", data)
    np.testing.assert_array_equal(read(tmp_path, "b.wav", b"ID3\3\0\0" + bytes((0, 0, 2, 0)) + bytes(256) + data)[0], wanted)
    rf64 = written(audio, form="RF64")
    np.testing.assert_array_equal(read(tmp_path, "c.wav", b"BW64" + rf64[4:])[0], wanted)


def test_aiff_from_a_pipe_is_read_and_one_whose_sizes_differ_is_refused(tmp_path):
    data = written(tone(2), form="AIFF")
    wanted, _ = read(tmp_path, "a.aiff", data)
    at = data.index(b"COMM") + 10
    frames = data[:at] + struct.pack(">I", 0x1FC00000) + data[at + 4 :]
    whole, notes = read(tmp_path, "b.aiff", headed(frames, b"SSND", struct.pack(">I", 0x7F000008)))
    np.testing.assert_array_equal(whole, wanted)
    assert "states no length" in notes[0]
    half = headed(data, b"SSND", struct.pack(">I", 8 + 4 * RATE))
    assert f"says {2 * RATE} frames, but {RATE} are in its chunk" in refusal(tmp_path, "c.aiff", half)


def test_wav_that_states_the_size_of_its_file_for_its_samples_is_read(tmp_path):
    data = written(tone(1))
    wanted, _ = read(tmp_path, "a.wav", data)
    for size in (len(data), len(data) - 8):
        whole, notes = read(tmp_path, "b.wav", headed(data, b"data", struct.pack("<I", size)))
        np.testing.assert_array_equal(whole, wanted)
        assert "size of the whole file" in notes[0]
    assert "4 bytes before the end" in refusal(tmp_path, "c.wav", data[:-4])


def test_sound_that_is_shorter_than_the_film_is_read(tmp_path):
    film = ("-f", "lavfi", "-i", "color=s=32x32:r=5:d=4", "-map", "0:a", "-map", "1:v", "-c:v", "mpeg4")
    for suffix, codec in (("mkv", "libvorbis"), ("mp4", "aac")):
        assert read(tmp_path, f"a.{suffix}", encode(tone(2), suffix, *film, "-c:a", codec))[0].shape[1] >= 2 * RATE


def test_bytes_behind_mp4_are_no_box_and_lost_fragments_are_noted_or_refused(tmp_path):
    data = encode(tone(2), "m4a", "-c:a", "aac")
    np.testing.assert_array_equal(read(tmp_path, "a.m4a", data + b"junk" * 50)[0], read(tmp_path, "b.m4a", data)[0])
    live = encode(tone(3), "mp4", "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov", "-frag_duration", 400_000)
    assert read(tmp_path, "c.mp4", live)[1] == []
    assert "states no length" in read(tmp_path, "d.mp4", live[: live.rindex(b"moof") - 4])[1][0]
    indexed = encode(tone(3), "mp4", "-c:a", "aac", "-movflags", "dash+global_sidx", "-frag_duration", 400_000)
    assert read(tmp_path, "e.mp4", indexed)[1] == []
    assert "truncated: has" in refusal(tmp_path, "f.mp4", indexed[: indexed.rindex(b"moof") - 4])


def test_matroska_of_a_stream_is_read_and_refused_if_it_ends_within_a_cluster(tmp_path):
    data = encode(tone(3), "mka", "-c:a", "libvorbis", "-live", 1)
    assert "states no length" in read(tmp_path, "a.mka", data)[1][0]
    assert "truncated" in refusal(tmp_path, "b.mka", data[: len(data) - 300])


def test_other_formats_of_sound_are_refused_by_what_is_read_instead(tmp_path):
    for suffix, options in {"au": (), "wv": ("-c:a", "wavpack"), "tta": ("-c:a", "tta"), "ts": ("-c:a", "mp2")}.items():
        assert "another format of sound" in refusal(tmp_path, f"a.{suffix}", encode(tone(1), suffix, *options))
    assert "contains no audio" in refusal(
        tmp_path, "a.mp4", encode(tone(1), "mp4", "-f", "lavfi", "-i", "color=s=32x32:d=1", "-map", "1:v")
    )
