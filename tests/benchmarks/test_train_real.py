"""Mixers on real songs: no owner is in two folds, and every score has a composer."""

from pathlib import Path

import free_corpus
import numpy as np
import soundfile
from free_corpus import COMPOSER_OF, COMPOSERS, FreeSong, free_songs
from train_real import folds_of

from stemwright.manifests.sound.decoding import load


def test_every_owner_is_in_one_fold_and_folds_are_about_equal():
    owners = [name for name, size in zip("abcdefgh", (17, 17, 13, 11, 8, 6, 3, 1), strict=True) for _ in range(size)]
    folds = folds_of(owners, 4)
    assert sorted(name for fold in folds for name in fold) == sorted(set(owners))
    sizes = [sum(owner in fold for owner in owners) for fold in folds]
    assert max(sizes) - min(sizes) <= 3
    assert folds == folds_of(owners[::-1], 4)


def test_a_score_has_one_composer_and_a_module_is_owned_by_its_package(tmp_path):
    assert len(COMPOSER_OF) == sum(len(names.split()) for names in COMPOSERS.values())
    rows = ["path,collection,package", "scores/freedoom2-doom,scores,freedoom", "modules/some-song,modules,some-data"]
    (tmp_path / "index.csv").write_text("\n".join(rows))
    for path, stems in {"scores/freedoom2-doom": ("drums", "other"), "modules/some-song": ("drums", "bass", "other")}.items():
        for name in ("mixture", *stems):
            (tmp_path / path).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / path / f"{name}.flac", np.full((800, 2), 0.1), 8000)
    scored, tracked = free_songs(tmp_path, ["scores", "modules"])
    assert (scored.title, scored.owner) == ("freedoom2-doom", COMPOSER_OF["freedoom2-doom"])
    assert (tracked.title, tracked.owner) == ("some-song", "some-data")


def test_a_score_without_a_bass_has_silence_for_it_and_sums_to_its_mixture(tmp_path):
    place = tmp_path / "song"
    place.mkdir()
    sounds = {name: 0.2 * np.random.default_rng(number).standard_normal((8000, 2)) for number, name in enumerate(("drums", "other"))}
    for name, audio in {**sounds, "mixture": sum(sounds.values())}.items():
        soundfile.write(place / f"{name}.flac", audio, 8000, subtype="PCM_24")
    free_corpus._write(Path(tmp_path, "out"), FreeSong(place, "scores", "x"), 0.5, None)
    parts = {path.stem: load(path)[0] for path in (tmp_path / "out").iterdir()}
    assert not parts["bass"].any()
    np.testing.assert_allclose(parts["mixture"], parts["drums"] + parts["other"], atol=1e-6)
    np.testing.assert_allclose(parts["drums"], sounds["drums"][2000:6000].T, atol=1e-6)
