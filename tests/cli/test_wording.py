"""Sentences that a person reads: numbers with their nouns, figures that differ, what is at fault and what to do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemwright.datagen.pairs.render import Sources
from stemwright.manifests.records import AudioFile, Refused
from stemwright.manifests.wording import below, counted
from stemwright.separation.balance.recordings import finite_stems


@pytest.mark.parametrize(("count", "said"), [(0, "0 tracks"), (1, "1 track"), (2, "2 tracks"), (1000, "1,000 tracks")])
def test_one_is_singular(count, said):
    assert counted(count, "track") == said


def test_a_verb_agrees_with_the_number_of_its_noun():
    assert [counted(count, "pair is", "pairs are") for count in (1, 2)] == ["1 pair is", "2 pairs are"]


@given(st.integers(1, 10**7), st.sampled_from([8_000, 44_100, 48_000, 192_000]), st.integers(1, 100))
def test_a_figure_that_is_below_another_looks_so(frames, rate, missing):
    limit_s, value_s = (frames + missing) / rate, frames / rate
    assert float(below(value_s, limit_s)) < limit_s
    assert below(0.1814, 0.5) == "0.18"
    assert below((4 * 44_100 - 1) / 44_100, 4.0) == "3.99998"


@pytest.mark.parametrize(("damage", "says"), [("missing", r" is missing\."), ("empty", r": empty file")])
def test_a_stem_that_cannot_be_read_is_named_with_the_verb_that_makes_it_again(tmp_path, damage, says):
    path = "stems/tiny/0123456789abcdef/drums.flac"
    if damage == "empty":
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    file = AudioFile(path=path, sample_rate=44_100, num_channels=2, num_frames=100, num_bytes=1, sha256="0" * 64)
    with pytest.raises(
        Refused, match=rf"^{tmp_path / path}{says}.*Run `stemwright separate {tmp_path}` to have it made again, then render$"
    ):
        Sources(tmp_path, {"0" * 16: file})("0" * 16, 0, 10, 44_100)


class Separator:
    precision, origin = "fp32", "broken@demucs-4.1.0"


def test_a_model_that_gives_nan_is_blamed_and_not_the_file():
    mixture, stems = np.zeros((2, 8)), {"drums": np.zeros((2, 8)), "bass": np.full((2, 8), np.nan)}
    with pytest.raises(Refused, match=r"the model broken@demucs-4\.1\.0 gives NaN or infinite samples as bass"):
        finite_stems(stems, mixture, Separator())
    assert finite_stems(stems, mixture + np.inf, Separator()) is stems  # the file is at fault: reported by the code that measures it
