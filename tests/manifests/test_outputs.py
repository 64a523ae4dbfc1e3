import os

import pytest

from stemwright.manifests.disk.outputs import PAGES, SOUND, TABLES, check_output
from stemwright.manifests.usage import UsageError


def test_an_output_of_another_form_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"song\.flac: expected an output file that ends in \.csv or \.txt"):
        check_output(tmp_path / "song.flac", TABLES)
    with pytest.raises(UsageError, match=r"expected an output file that ends in \.html"):
        check_output(tmp_path / "page", PAGES)
    check_output(tmp_path / "rows.CSV", TABLES)


def test_a_folder_is_no_output(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path / "a.csv", TABLES)


@pytest.mark.parametrize("name", ["song.wav", "x/../song.wav", "link.wav", "hard.wav", "stems/vocals.wav"])
def test_no_output_is_one_of_the_inputs_under_any_name(tmp_path, name):
    (tmp_path / "x").mkdir()
    (tmp_path / "stems").mkdir()
    (tmp_path / "stems" / "vocals.wav").write_bytes(b"vocals")
    song = tmp_path / "song.wav"
    song.write_bytes(b"song")
    (tmp_path / "link.wav").symlink_to(song)
    os.link(song, tmp_path / "hard.wav")
    with pytest.raises(UsageError, match="is one of the files to read"):
        check_output(tmp_path / name, SOUND, [song, tmp_path / "stems"])
    (tmp_path / "other.wav").write_bytes(b"earlier output")
    check_output(tmp_path / "other.wav", SOUND, [song, tmp_path / "stems"])
