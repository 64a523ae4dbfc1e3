"""Free music as multitracks: a made package in the cache becomes a song; instruments of made sounds are grouped. Nothing is downloaded."""

import csv
import io
import json
import shutil
import sys
import tarfile
from collections import Counter
from pathlib import Path

import free_music
import free_packages
import free_songs
import numpy as np
import pytest
import soundfile
import tracker_modules
from free_packages import PackageError, Packages, Source
from typer.testing import CliRunner

import stemwright as sw
from stemwright.datagen.cli.app import app
from stemwright.manifests.disk.locks import locked
from stemwright.separation.loudness.meter import integrated_loudness

RATE = 44_100
COPYRIGHT = "Files: *\nCopyright: 2026 A Band\nLicense: Expat\n\nLicense: Expat\n Permission is granted.\n"
BAND = Source("band-songs", "guitar", "MIT", "Expat", "A Band", "usr/share/songs/*/song.ogg")


def tone(hz: float, seconds: float, level: float = 0.3) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with the files of a package: one song, whose sum passes full scale."""
    root = tmp_path_factory.mktemp("package")
    song = root / "usr/share/songs/First Song"
    song.mkdir(parents=True)
    noise = 0.2 * np.random.default_rng(1).standard_normal((RATE, 2))
    soundfile.write(song / "guitar.ogg", np.stack([tone(330, 1, 0.6)] * 2, axis=1), RATE, format="OGG", subtype="VORBIS")
    soundfile.write(song / "song.ogg", noise + tone(110, 1, 0.7)[:, None], RATE, format="OGG", subtype="VORBIS")
    (song / "song.ini").write_text("[song]\nname = The First\n")
    notes = root / "usr/share/doc/band-songs"
    notes.mkdir(parents=True)
    (notes / "copyright").write_text(COPYRIGHT)
    (root / "VERSION").write_text("1.2-3")
    return root


@pytest.fixture(scope="module")
def laid_out(package, tmp_path_factory):
    """The folder that the command line makes of it."""
    out = tmp_path_factory.mktemp("music")
    shutil.copytree(package, out / ".packages" / "band-songs")
    free_music.main([str(out)], [BAND])
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def samples(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int32")[0] >> 8


def test_stems_sum_to_their_mixture_bit_for_bit(laid_out):
    song = laid_out / "guitar" / "first-song"
    mixture = samples(song / "mixture.flac")
    np.testing.assert_array_equal(samples(song / "guitar.flac") + samples(song / "backing.flac"), mixture)
    assert np.abs(mixture).max() > 0.1 * 2**23


def test_song_is_its_source_at_one_power_of_two(laid_out, package):
    row = json.loads((laid_out / "guitar/first-song" / free_songs.ROW).read_text())
    for name, file in {"guitar": "guitar.ogg", "backing": "song.ogg"}.items():
        source = soundfile.read(package / "usr/share/songs/First Song" / file)[0]
        written = samples(laid_out / "guitar/first-song" / f"{name}.flac") / 2**23
        np.testing.assert_allclose(written, row["gain"] * source, atol=1e-7)
    assert row["gain"] == 0.5
    assert row["clipped"] > 0


def test_index_says_what_a_song_is(laid_out):
    (row,) = rows_of(laid_out / "index.csv")
    mixture, rate = soundfile.read(laid_out / row["path"] / "mixture.flac")
    assert list(row) == list(free_music.COLUMNS)
    names = ("path", "collection", "title", "artist", "licence", "package", "version", "stems", "sample_rate")
    expected = ["guitar/first-song", "guitar", "The First", "A Band", "MIT", "band-songs", "1.2-3", "guitar backing", "44100"]
    assert [row[name] for name in names] == expected
    assert float(row["loudness_lufs"]) == pytest.approx(integrated_loudness(mixture.T, rate), abs=0.01)
    assert float(row["duration_s"]) == pytest.approx(len(mixture) / rate, abs=0.01)
    assert (laid_out / "licences/band-songs.txt").read_text() == COPYRIGHT


def test_catalog_is_read_by_the_verb(laid_out, tmp_path):
    assert rows_of(laid_out / "guitar/catalog.csv") == [
        {"path": "first-song", "title": "The First", "artist": "A Band", "rights": "MIT, A Band"}
    ]
    done = CliRunner().invoke(app, ["catalog", str(laid_out / "guitar/catalog.csv"), str(tmp_path / "corpus")])
    assert done.exit_code == 0, done.output
    (track,) = sw.read_table(tmp_path / "corpus/tracks.parquet").to_dict("records")
    assert (track["title"], track["artist"], track["rights"]) == ("The First", "A Band", "MIT, A Band")


def test_second_run_keeps_songs(laid_out, capsys):
    before = {path: path.stat().st_mtime_ns for path in laid_out.glob("guitar/*/*")}
    free_music.main([str(laid_out), "--only", "guitar"], [BAND])
    assert "band-songs 1/1 First Song: kept" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in laid_out.glob("guitar/*/*")}


def test_song_without_its_row_in_the_journal_is_kept(laid_out, capsys):
    """A run that was stopped between a song and its journal."""
    (laid_out / ".done.json").unlink()
    before = (laid_out / "guitar/first-song/mixture.flac").stat().st_mtime_ns
    free_music.main([str(laid_out)], [BAND])
    assert (laid_out / "guitar/first-song/mixture.flac").stat().st_mtime_ns == before
    assert "done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Files: *\nCopyright: 2026 A Band\nLicense: Proprietary\n\nFiles: debian/*\nLicense: Expat\n", "does not say 'Expat'"),
        (None, "has no copyright file"),
    ],
)
def test_package_with_another_licence_is_refused(package, tmp_path, capsys, text, why):
    shutil.copytree(package, tmp_path / "cache" / "band-songs")
    path = tmp_path / "cache/band-songs/usr/share/doc/band-songs/copyright"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit):
        free_music.main([str(tmp_path / "out"), "--cache", str(tmp_path / "cache")], [BAND])
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out/guitar").exists()


def test_two_runs_do_not_write_at_once(laid_out, capsys):
    with locked(laid_out / ".lock"), pytest.raises(SystemExit):
        free_music.main([str(laid_out)], [BAND])
    assert "another process" in capsys.readouterr().err


def test_unknown_collection_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        free_music.main([str(tmp_path / "out"), "--only", "piano"], [BAND])
    assert "does not know piano; expected one of band-songs, guitar" in capsys.readouterr().err


def test_error_says_what_a_system_without_apt_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit):
        free_music.main([str(tmp_path / "out")], [BAND])
    assert "there is no apt-get, which Debian and Ubuntu have" in capsys.readouterr().err


def test_full_disk_leaves_no_half_song(package, tmp_path, monkeypatch, capsys):
    shutil.copytree(package, tmp_path / "out/.packages/band-songs")
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(free_songs.shutil, "disk_usage", lambda _: free)
    with pytest.raises(SystemExit):
        free_music.main([str(tmp_path / "out")], [BAND])
    assert "no space left" in capsys.readouterr().err
    assert list((tmp_path / "out/guitar").iterdir()) == []


def deb(path: Path, root: Path) -> Path:
    """A Debian package of a folder, as deb(5) describes it."""

    def packed(folder: Path) -> bytes:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:xz") as archive:
            archive.add(folder, ".")
        return data.getvalue()

    control = path.parent / "control-files"
    control.mkdir()
    (control / "control").write_text(
        "Package: band-songs\nVersion: 1:2.0-1\nArchitecture: all\nMaintainer: A Band <a@b.c>\nDescription: x\n"
    )
    members = {"debian-binary": b"2.0\n", "control.tar.xz": packed(control), "data.tar.xz": packed(root)}
    heads = {name: f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() for name, data in members.items()}
    path.write_bytes(b"!<arch>\n" + b"".join(heads[name] + data + b"\n" * (len(data) % 2) for name, data in members.items()))
    return path


@pytest.mark.parametrize("filters", [True, False], ids=["tarfile with filters", "tarfile without"])
def test_package_file_is_unpacked_without_programs(package, tmp_path, monkeypatch, filters):
    if not filters and sys.version_info >= (3, 14):
        pytest.skip("tarfile always filters")
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    root = tmp_path / "files"
    shutil.copytree(package / "usr", root / "usr")
    (root / "usr/outside").symlink_to("/etc/hostname")
    (root / "usr/share/doc/again").symlink_to("band-songs")
    (tmp_path / "given").mkdir()
    deb(tmp_path / "given/band-songs_2.0-1_all.deb", root)
    monkeypatch.setenv("PATH", "")
    packages = Packages(tmp_path / "cache", tmp_path / "given")
    unpacked = packages.unpacked("band-songs")
    assert packages.version("band-songs") == "1:2.0-1"
    assert (unpacked / "usr/share/doc/band-songs/copyright").read_text() == COPYRIGHT
    assert not (unpacked / "usr/outside").is_symlink()
    assert (unpacked / "usr/share/doc/again").resolve() == (unpacked / "usr/share/doc/band-songs").resolve()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["band-songs"]


def test_damaged_package_file_is_named(package, tmp_path):
    path = deb(tmp_path / "band-songs_2.deb", package)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(PackageError, match="is cut short"):
        free_packages.version_of(path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(PackageError, match="is not a Debian package"):
        free_packages.version_of(path)


def hits(sound: np.ndarray, count: int) -> np.ndarray:
    """A sound every half second, [T, 2]."""
    one = np.pad(sound, (0, RATE // 2 - len(sound)))
    return np.stack([np.tile(one, count)] * 2, axis=1)


def melody(frequencies: tuple[float, ...]) -> np.ndarray:
    return np.stack([np.concatenate([tone(hz, 0.5) for hz in frequencies])] * 2, axis=1)


SNARE = np.random.default_rng(2).standard_normal(4410) * np.exp(-np.arange(4410) / 900)
LOW, HIGH = (55.0, 62.0, 73.0, 82.0), (440.0, 494.0, 587.0, 659.0)
MANY = Counter({50: 2, 52: 2, 55: 2, 57: 2})


@pytest.mark.parametrize(
    ("name", "notes", "chords", "sound", "expected"),
    [
        ("", Counter({60: 8}), 0.0, hits(SNARE, 8), ("drums", False)),
        ("", MANY, 0.0, melody(LOW), ("bass", False)),
        ("", MANY, 0.5, melody(LOW), ("tonal", False)),
        ("", MANY, 0.5, melody(HIGH), ("other", False)),
        ("", Counter({60: 8}), 0.0, melody(HIGH), ("unsorted", False)),
        ("Snare 2", MANY, 0.0, melody(HIGH), ("drums", True)),
        ("slap BASS", MANY, 0.0, melody(HIGH), ("bass", True)),
        ("bassoon", MANY, 0.0, melody(LOW), ("other", True)),
        ("bass", Counter({60: 8}), 0.0, hits(SNARE, 8), ("drums", False)),
    ],
    ids=["noise", "low notes", "low chords", "high chords", "a long note", "named drums", "named bass", "bassoon", "bass drum"],
)
def test_instrument_is_grouped_by_name_else_by_sound(name, notes, chords, sound, expected):
    assert tracker_modules.group(name, notes, chords, sound.astype(np.float32)) == expected


@pytest.mark.parametrize(
    ("instruments", "energies", "stems"),
    [
        ({"drums": {0}, "bass": {1}, "other": {2}, "tonal": {3}}, {0: 30, 1: 30, 2: 35, 3: 5}, ["drums", "bass", "other", "unsorted"]),
        ({"drums": {0}, "bass": {1}, "tonal": {2}}, {0: 30, 1: 30, 2: 40}, ["drums", "rest", "unsorted"]),
        ({"drums": {0}, "unsorted": {1}}, {0: 50, 1: 50}, []),
        ({"drums": {0}, "other": {1}}, {0: 1, 1: 99}, []),
    ],
    ids=["all known", "no bass apart", "unknown", "one group only"],
)
def test_modules_have_the_groups_that_can_be_trusted(instruments, energies, stems):
    found = free_songs.Groups(energies=energies)
    found.instruments.update(instruments)
    parts, why = free_songs.parts_of(found, 5)
    assert list(parts) == stems
    assert bool(why) != bool(stems)
    if stems:
        assert sorted(number for part in parts.values() for number in part) == [0, 1, 2, 3, 4], "each instrument is in one stem"


def test_hits_of_a_kit_have_its_licence(tmp_path):
    kit = tmp_path / "kits/Small_Kit"
    kit.mkdir(parents=True)
    soundfile.write(kit / "kick.wav", tone(60, 0.1), RATE)
    layer = "<layer><filename>kick.wav</filename><min>0</min><max>1</max><gain>1</gain></layer>"
    outside = "<layer><filename>../../secret.wav</filename></layer>"
    soundfile.write(tmp_path / "secret.wav", tone(60, 0.1), RATE)
    head = '<drumkit_info xmlns="http://www.hydrogen-music.org/drumkit">'
    (kit / "drumkit.xml").write_text(f"{head}<instrument><name>Kick</name>{layer}{outside}</instrument></drumkit_info>")
    text = "Files: *\nLicense: GPL\n\nFiles: drumkits/Small_Kit.h2drumkit\nLicense: CC0\n"
    (row,) = free_songs.drum_hits(tmp_path / "out", kit / "drumkit.xml", text)
    assert (row["kit"], row["licence"], row["instrument"], row["layer"]) == ("Small_Kit", "CC0", "Kick", 0)
    np.testing.assert_array_equal(samples(tmp_path / "out/drumkits" / row["path"]), samples(kit / "kick.wav"))
