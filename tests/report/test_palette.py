"""24 colours that can be distinguished, on a light and on a dark ground, by readers of any colour vision."""

import numpy as np
import pytest

from stemwright.datagen.report.palette import COLOURS, DARK, GREY, LIGHT, colours, contrast, dashes

# Machado, Oliveira and Fernandes 2009, table 1, severity 1.0, in linear RGB
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
LEAST = {"normal": 0.09, "protanopia": 0.05, "deuteranopia": 0.05, "tritanopia": 0.035}  # in Oklab; 0.02 is just seen


def oklab(colour, vision):
    """Ottosson 2020."""
    srgb = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISIONS[vision]) @ linear, 0, 1)
    cones = np.array(
        [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]]
    )
    lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return lab @ np.cbrt(cones @ seen)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("look", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    "names", [[f"ch{n}" for n in range(24)], [*COLOURS, "residual", *(f"ch{n}" for n in range(17))]], ids=["unknown", "mixed"]
)
def test_24_stems_have_colours_that_any_reader_can_tell_apart(names, look, vision):
    places = np.array([oklab(colour, vision) for colour in colours(names, look).values()])
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert distances[~np.eye(len(names), dtype=bool)].min() >= LEAST[vision]


def test_contrast_is_that_of_published_pairs():
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)  # the grey that just fails 4.5 on white
    assert contrast("#FFFFFF", "#0000FF") == pytest.approx(8.59, abs=0.01)


@pytest.mark.parametrize("look", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_the_ground(look):
    assert contrast(look.ink, look.ground) >= 7
    assert contrast(look.muted, look.ground) >= 4.5
    for colour in (look.line, *look.spare, GREY):
        assert contrast(colour, look.ground) >= 3


def test_known_stems_stand_out_from_the_dark_ground_and_guitar_and_piano_less_from_white():
    assert all(contrast(colour, DARK.ground) >= 3 for colour in COLOURS.values())
    assert {name for name, colour in COLOURS.items() if contrast(colour, LIGHT.ground) < 3} == {"guitar", "piano"}  # as published


def test_known_stems_keep_their_colours_and_lines_beyond_eight_are_dashed():
    palette = colours(["flute", "vocals", "choir"])
    assert palette["vocals"] == COLOURS["vocals"]
    assert len(set(palette.values())) == 3
    styles = dashes([f"ch{n}" for n in range(24)])
    assert [list(styles.values()).count(style) for style in dict.fromkeys(styles.values())] == [8, 8, 8]
