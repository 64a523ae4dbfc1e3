"""Published layouts of multitracks, and files of any names that patterns group into stems, from their folders to their rows."""

import json
from types import SimpleNamespace

import numpy as np
import published_layouts as published
import pytest
from conftest import write_song_file

from stemwright.manifests.catalog.layouts import LAYOUTS
from stemwright.manifests.catalog.listing import find
from stemwright.manifests.catalog.part_names import part_of_instrument
from stemwright.manifests.catalog.stem_map import StemRules, forms_of
from stemwright.manifests.catalog.tracks import SplitShares, inspect, sound_of
from stemwright.manifests.records import Refused
from stemwright.manifests.sound import identity
from stemwright.manifests.sound.decoding import load, opened
from stemwright.manifests.sound.summing import Sum

FOUR = {"drums": ("*kick*", "snare*", "overheads", "oh*"), "vocals": ("*vox*",), "bass": ("bass*",)}
SUMMED = StemRules(sum_missing=True)


def one(root, **options):
    found = find(root, **options)
    assert not found.refused, found.refused
    (candidate,) = found.candidates
    return candidate


def row(root, **options):
    return inspect(root, one(root, **options), SplitShares())


def refusals(root, **options):
    found = find(root, **options)
    assert not found.candidates, found.candidates
    return dict(found.refused)


def of_stems(track):
    stems = {}
    for stem in track.references:
        stems.setdefault(stem.stem, []).append(stem.name)
    return stems


@pytest.mark.parametrize("kind", ["auto", "moisesdb", "multitracks"])
def test_a_song_of_moisesdb_is_the_sum_of_its_files_in_four_stems(tmp_path, kind):
    _, files = published.moisesdb(tmp_path)
    track = row(tmp_path, kind=kind)
    assert (track.title, track.artist, track.mixture, track.audio.num_channels) == ("A Song", "An Artist", "sum", 2)
    assert of_stems(track) == {
        "vocals": ["vocals_lead_female_singer", "vocals_background_vocals"],
        "drums": ["drums_snare_drum", "drums_kick_drum"],
        "bass": ["bass_bass_guitar"],
        "other": ["guitar_clean_electric_guitar", "bowed_strings_violin"],
    }
    assert [stem.bleed for stem in track.references] == [False, True, True, True, False, False, False]
    audio, _ = load(sound_of(tmp_path, track))
    np.testing.assert_allclose(audio, np.sum(list(files.values()), axis=0), atol=1e-6)
    assert "no mixture: the sum of its 7 files" in " ".join(track.notes)
    assert track.metadata == {"genre": "rock"}


def test_the_instruments_of_moisesdb_can_be_grouped_otherwise(tmp_path):
    published.moisesdb(tmp_path)
    rules = StemRules({"vocals": ["vocals"], "kick": ["kick drum"], "strings": ["violin*"]}, "own")
    assert of_stems(row(tmp_path, rules=rules)) == {
        "vocals": ["vocals_lead_female_singer", "vocals_background_vocals"],
        "drums_snare_drum": ["drums_snare_drum"],
        "kick": ["drums_kick_drum"],
        "bass_bass_guitar": ["bass_bass_guitar"],
        "guitar_clean_electric_guitar": ["guitar_clean_electric_guitar"],
        "strings": ["bowed_strings_violin"],
    }


def test_half_a_song_of_moisesdb_is_refused_with_what_is_missing(tmp_path):
    folder, files = published.moisesdb(tmp_path)
    lost = next(iter(files))
    (folder / lost).unlink()
    where = folder.relative_to(tmp_path).as_posix()
    assert refusals(tmp_path)[where].startswith(f"data.json names {lost}, which is missing; is the download complete?")
    (folder / "data.json").write_text("{broken")
    assert "data.json is not JSON" in refusals(tmp_path)[where]
    (folder / "data.json").unlink()
    assert refusals(tmp_path)[where] == "is missing data.json, which says what its files are; is the download complete?"


@pytest.mark.parametrize(
    ("stem", "track_id"), [("..", "secret"), ("/etc", "passwd"), ("vocals", "../../../secret"), ("vocals", "a\0b"), ("vocals", None)]
)
def test_metadata_that_lead_out_of_the_folder_are_refused(tmp_path, stem, track_id):
    folder, _ = published.moisesdb(tmp_path)
    data = json.loads((folder / "data.json").read_text())
    data["stems"][0] |= {"stemName": stem, "tracks": [{"id": track_id, "trackType": "x", "extension": "wav"}]}
    (folder / "data.json").write_text(json.dumps(data))
    assert "data.json names" in next(iter(refusals(tmp_path).values()))


@pytest.mark.parametrize("data", [[], 1, {"stems": [1, {"tracks": 3}, {"tracks": [4]}]}, {"stems": []}])
def test_strange_metadata_are_refused_with_a_message(tmp_path, data):
    folder, _ = published.moisesdb(tmp_path)
    (folder / "data.json").write_text(json.dumps(data))
    found = find(tmp_path, kind="moisesdb")
    assert not found.candidates
    assert all("data.json lists no files" in reason or "outside of a song" in reason for _, reason in found.refused)


@pytest.mark.parametrize("kind", ["auto", "slakh"])
def test_a_song_of_slakh_has_bass_drums_and_other_and_keeps_its_split(tmp_path, kind):
    published.slakh(tmp_path, split="validation")
    track = row(tmp_path, kind=kind)
    assert of_stems(track) == {"other": ["s00_guitar", "s03_piano"], "bass": ["s01_bass"], "drums": ["s02_drums"]}
    assert (track.split, track.rights, track.mixture, track.title) == ("valid", "CC BY 4.0", "file", "Track00001")
    assert track.closure_db is None or track.closure_db < -100


def test_slakh_without_folders_of_splits_has_them_by_number_and_omits_duplicates(tmp_path):
    for number in (1, 1500, 1501, 1875, 1876):
        published.slakh(tmp_path, f"Track{number:05d}", "Slakh2100_flac", seed=number)
    assert [song.split for song in find(tmp_path).candidates] == ["train", "train", "valid", "valid", "test"]
    published.slakh(tmp_path / "redux", "Track00002", "omitted")
    published.slakh(tmp_path / "baby", "Track00003", "babyslakh_16k")
    ((where, reason),) = find(tmp_path / "redux").refused
    assert (where, reason) == ("omitted/Track00002", "omitted by Slakh2100-redux: a duplicate of another of its songs")
    assert one(tmp_path / "baby").split is None


def test_half_a_song_of_slakh_is_refused_with_what_is_missing(tmp_path):
    folder = published.slakh(tmp_path)
    (folder / "stems" / "S01.flac").unlink()
    assert refusals(tmp_path)["train/Track00001"].startswith("metadata.yaml names stems S01, which are missing")
    (folder / "mix.flac").unlink()
    assert refusals(tmp_path)["train/Track00001"].startswith("is missing mix.flac; expected a folder Track00001 with")


@pytest.mark.parametrize("kind", ["auto", "medleydb"])
def test_a_song_of_medleydb_has_its_stems_by_their_instruments(tmp_path, kind):
    published.medleydb(tmp_path, bleed="yes")
    track = row(tmp_path, kind=kind)
    assert of_stems(track) == {
        "vocals": ["s01_female_singer"],
        "drums": ["s02_drum_set", "s05_auxiliary_percussion"],
        "bass": ["s03_electric_bass"],
        "other": ["s04_clean_electric_guitar"],
    }
    assert (track.artist, track.title) == ("Liz Nelson", "Rainfall")
    assert all(stem.bleed for stem in track.references)


def test_medleydb_without_metadata_or_with_them_in_one_folder_or_without_a_mix(tmp_path):
    folder = published.medleydb(tmp_path)
    (tmp_path / "Metadata").mkdir()
    (folder / "LizNelson_Rainfall_METADATA.yaml").rename(tmp_path / "Metadata" / "LizNelson_Rainfall_METADATA.yaml")
    assert set(one(tmp_path).parts.values()) == {"vocals", "drums", "bass", "other"}
    bare = tmp_path / "bare"
    published.medleydb(bare, metadata=False, mix=False)
    assert "--mixture sum" in refusals(bare)["Audio/LizNelson_Rainfall"]
    summed = one(bare, rules=SUMMED)
    assert (summed.mixture, summed.parts, summed.artist, summed.title) == ("sum", {}, "Liz Nelson", "Rainfall")
    assert "no metadata" in summed.note


@pytest.mark.parametrize(
    ("instrument", "stem"),
    [
        *[("male singer", "vocals"), ("vocalists", "vocals"), ("male rapper", "vocals"), ("choir", "vocals"), ("drum machine", "drums")],
        *[("bass drum", "drums"), ("tabla", "drums"), ("double bass", "bass"), ("bass clarinet", "other"), ("electric bass", "bass")],
        *[("bassoon", "other"), ("clean electric guitar", "other"), ("steel drum guitar", "drums"), ("fx/processed sound", "other")],
    ],
)
def test_instruments_belong_to_stems(instrument, stem):
    assert part_of_instrument(instrument) == stem


def test_numbered_raw_tracks_are_a_song_only_where_the_kind_names_them(tmp_path):
    published.cambridge(tmp_path)
    reasons = refusals(tmp_path)
    assert len(reasons) == 8
    assert all("--kind multitracks; to take the sum" in reason for reason in reasons.values())
    assert "To take the sum of its stems for the mixture, add --mixture sum" in refusals(tmp_path, kind="cambridge")["TheBand_TheSong_Full"]


def test_numbered_raw_tracks_are_summed_and_grouped(tmp_path):
    folder, parts = published.cambridge(tmp_path)
    (folder / ".DS_Store").write_text("x")
    write_song_file(folder / "TheBand_TheSong_Full_Preview.wav", published.sound(99))
    track = row(tmp_path, kind="cambridge", rules=StemRules(FOUR, "refuse", sum_missing=True))
    assert of_stems(track) == {
        "drums": ["kick_in", "kick_out", "snare_up", "snare_down", "overheads"],
        "bass": ["bass_di"],
        "vocals": ["lead_vox", "backing_vox1"],
    }
    assert "Preview.wav: a preview of the mix, so neither a stem nor" in " ".join(track.notes)
    assert (track.artist, track.title, track.audio.path) == ("The Band", "The Song", "TheBand_TheSong_Full")
    whole = np.zeros((2, published.FRAMES))
    for part in parts.values():
        whole[:, : part.shape[1]] += part
    audio, rate = load(sound_of(tmp_path, track))
    np.testing.assert_allclose(audio, whole, atol=1e-6)
    assert (rate, track.audio.num_frames) == (published.RATE, published.FRAMES)


def test_a_pattern_that_two_stems_claim_is_refused_with_both(tmp_path):
    published.cambridge(tmp_path)
    rules = StemRules({"drums": ["kick*"], "bass": ["*in"]}, sum_missing=True)
    reason = refusals(tmp_path, kind="cambridge", rules=rules)["TheBand_TheSong_Full"]
    assert reason.startswith("Kick In matches 'kick*' of drums and '*in' of bass in [songs.stems]; expected one")


def test_names_that_no_pattern_matches_are_other_or_own_or_refused():
    files = {"kick": ("01_Kick", "Kick"), "sitar": ("02_Sitar", "Sitar")}
    assert StemRules({"drums": ["KICK*"]}).assign(files) == ({"kick": "drums", "sitar": "other"}, ["sitar"])
    assert StemRules({"drums": ["kick"]}, "own").assign(files) == ({"kick": "drums"}, ["sitar"])
    with pytest.raises(Refused, match=r"no pattern of \[songs.stems\] matches 02_Sitar\. Add patterns, or set songs\.unmatched"):
        StemRules({"drums": ["kick"]}, "refuse").assign(files)


def test_a_name_is_compared_with_and_without_its_number_and_its_signs():
    assert forms_of(("01_Hi-Hat",)) == ["01_hi-hat", "01_hi_hat", "hi-hat", "hi_hat"]
    assert forms_of(("808 Sub",)) == ["808 sub", "808_sub"]


def test_a_sum_above_full_scale_is_kept_and_its_id_is_of_its_samples(tmp_path):
    loud = np.clip(published.sound(1, level=0.9), -0.999, 0.999)
    for folder, names in (("one", ("a", "b")), ("two", ("c", "d"))):
        for name, part in zip(names, (loud, 0.75 * loud), strict=True):
            write_song_file(tmp_path / folder / "songs" / "song" / f"{name}.wav", part)
    tracks = [row(tmp_path / folder / "songs", kind="multitracks", rules=SUMMED) for folder in ("one", "two")]
    audio, _ = load(sound_of(tmp_path / "one" / "songs", tracks[0]))
    np.testing.assert_allclose(audio, 1.75 * loud, atol=1e-6)
    assert tracks[0].peak_dbfs > 4.5
    assert tracks[0].sound == tracks[1].sound == identity.of_file(sound_of(tmp_path / "two" / "songs", tracks[1]))


def test_a_sum_is_the_same_in_blocks_of_any_size_and_names_what_is_short(tmp_path):
    parts = [published.sound(seed, 30_000 - 9_000 * seed, channels=1 + seed % 2) for seed in range(3)]
    for number, part in enumerate(parts):
        write_song_file(tmp_path / f"{number}.wav", part)
    whole = Sum(tmp_path, tuple(tmp_path / f"{number}.wav" for number in range(3)))
    audio, _ = load(whole)
    for size in (997, 40_000):
        with opened(whole) as reader:
            np.testing.assert_array_equal(np.concatenate(list(reader.blocks(size)), axis=1), audio)
            assert reader.notes == ["files of unequal length: silence was added to 1.wav by 0.2 s, 2.wav by 0.4 s"]
    np.testing.assert_array_equal(load(whole, 20_000, 5_000)[0], audio[:, 20_000:25_000])
    assert audio.shape == (2, 30_000)


SONGS = {
    "moisesdb": lambda root: published.moisesdb(root)[0],
    "slakh": published.slakh,
    "medleydb": published.medleydb,
    "cambridge": lambda root: published.cambridge(root)[0],
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_layout_keeps_the_contract(tmp_path, kind):
    layout, folder = LAYOUTS[kind], SONGS[kind](tmp_path)
    assert layout.EXPECTED.startswith("a folder")
    assert not layout.is_song(tmp_path / "empty", frozenset())
    assert layout.is_song(folder, frozenset(path.name for path in folder.iterdir()))
    song = layout.read(folder)
    paths = [*(file.path for file in song.files), *([song.mixture] if song.mixture else [])]
    assert len(set(paths)) == len(paths) >= 4
    assert all((folder / path).is_file() and file.labels for path, file in zip(paths, song.files, strict=False))
    assert one(tmp_path, kind=kind, rules=SUMMED).source == kind
    write_song_file(tmp_path / "Another Song.wav", published.sound(1))
    found = find(tmp_path, kind=kind, rules=SUMMED)
    ((where, reason),) = found.refused
    assert (where, reason.split("; ")[0]) == (".", f"1 sound file outside of a song of {kind}")
    if layout.AUTOMATIC:
        assert sorted(song.source for song in find(tmp_path).candidates) == sorted(["folder", kind])


def test_metadata_cannot_name_a_mix_outside_of_the_folder(tmp_path):
    folder = published.medleydb(tmp_path)
    (folder / "LizNelson_Rainfall_MIX.wav").rename(tmp_path / "outside.wav")
    place = folder / "LizNelson_Rainfall_METADATA.yaml"
    place.write_text(place.read_text().replace("LizNelson_Rainfall_MIX.wav", "../../outside.wav"))
    assert "has 5 stems and no mixture" in dict(find(tmp_path).refused)["Audio/LizNelson_Rainfall"]


def test_a_layout_of_another_package_that_fails_loses_one_folder_only(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("no such luck")

    package = SimpleNamespace(EXPECTED="a folder", AUTOMATIC=True, is_song=lambda folder, _: folder.name == "theirs", read=fails)
    monkeypatch.setattr(LAYOUTS, "_loaded", {"theirs": package})
    monkeypatch.setattr(LAYOUTS, "_points", {"theirs": []})
    for name in ("theirs", "mine"):
        write_song_file(tmp_path / name / "song.wav", published.sound(1))
    found = find(tmp_path)
    assert [song.path for song in found.candidates] == ["mine/song.wav"]
    ((where, reason),) = found.refused
    assert where == "theirs"
    assert reason.endswith("failed: RuntimeError: no such luck")
    package.is_song = fails
    assert [song.path for song in find(tmp_path).candidates] == ["mine/song.wav", "theirs/song.wav"]
