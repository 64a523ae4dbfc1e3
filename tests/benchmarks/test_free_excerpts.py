"""What benchmarks read of free music: which songs, and their middle."""

import numpy as np
import pytest
import soundfile
from free_excerpts import middle, songs_with

RATE = 8000


@pytest.fixture
def music(tmp_path):
    """Three songs of a collection, of which the second has no bass; every sample says where it is from."""
    ramp = np.linspace(-0.5, 0.5, 10 * RATE)
    for place, stems in {"b": ("drums", "bass", "other"), "c": ("drums", "other"), "a": ("drums", "bass", "other")}.items():
        folder = tmp_path / "modules" / place
        folder.mkdir(parents=True)
        for name in ("mixture", *stems):
            soundfile.write(folder / f"{name}.flac", np.stack([ramp, -ramp], axis=1), RATE, subtype="PCM_24")
    (tmp_path / "modules" / "catalog.csv").write_text("")
    return tmp_path


def test_songs_are_those_with_every_stem_in_order_of_name(music):
    assert [place.name for place in songs_with(music, "modules")] == ["a", "b"]
    assert [place.name for place in songs_with(music, "modules", ("drums",))] == ["a", "b", "c"]


@pytest.mark.parametrize(("duration_s", "first", "count"), [(4.0, 3 * RATE, 4 * RATE), (99.0, 0, 10 * RATE)])
def test_the_middle_is_as_long_as_asked_or_all_of_the_song(music, duration_s, first, count):
    stems, rate = middle(music / "modules" / "a", duration_s)
    ramp = np.linspace(-0.5, 0.5, 10 * RATE)[first : first + count]
    assert (list(stems), rate) == (["drums", "bass", "other"], RATE)
    np.testing.assert_allclose(stems["bass"], np.stack([ramp, -ramp]), atol=1e-6)
