"""The picture of a balance shows every stem that is present, in its colour."""

import numpy as np
import pytest
from matplotlib import colors, image

from stemwright.datagen.report.plots import COLOURS, colours, plot_balance
from stemwright.separation.balance.track_balance import measure_track

RATE = 22_050


def track(names: tuple[str, ...], *, silent: str = ""):
    rng = np.random.default_rng(0)
    stems = {name: (0.1 * (name != silent) * rng.standard_normal((2, 6 * RATE))).astype(np.float32) for name in names}
    return measure_track("a song", sum(stems.values()), stems, RATE)


def share_of(colour: str, picture: np.ndarray) -> float:
    return float(np.mean(np.all(np.abs(picture[..., :3] - np.array(colors.to_rgb(colour))) < 0.02, axis=-1)))


def test_every_present_stem_is_drawn_on_both_sides_and_an_absent_one_on_neither(tmp_path):
    plot_balance(track(("drums", "bass", "vocals"), silent="bass"), tmp_path / "balance.png")
    picture = image.imread(tmp_path / "balance.png")
    left, right = np.array_split(picture, [picture.shape[1] * 37 // 100], axis=1)
    for name in ("drums", "vocals"):
        assert share_of(COLOURS[name], left) > 1e-4
        assert share_of(COLOURS[name], right) > 1e-3
    assert share_of(COLOURS["bass"], picture) == 0


def test_several_tracks_are_drawn_one_below_the_other(tmp_path):
    one = track(("drums", "vocals"))
    plot_balance(one, tmp_path / "one.png")
    plot_balance([one, one, one], tmp_path / "three.png")
    assert image.imread(tmp_path / "three.png").shape[0] == pytest.approx(3 * image.imread(tmp_path / "one.png").shape[0], rel=0.02)


def test_stems_of_unknown_names_get_colours_of_their_own():
    palette = colours(["vocals", "flute", "choir"])
    assert palette["vocals"] == COLOURS["vocals"]
    assert len(set(palette.values())) == 3


def test_no_track_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one measured track"):
        plot_balance([], tmp_path / "balance.png")
