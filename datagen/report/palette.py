"""Colours of pictures: one for each stem name, and the ground and ink of a light and a dark look.

Drums, bass, other, vocals, guitar and piano have the same colour in every picture, light or dark. Other names take spare colours in turn,
then those known ones that the picture does not use: 24 names have 24 colours, and names beyond share colours with other dashes.

Conventions
    Colours are "#RRGGBB". Spare colours have a contrast of at least 3 with their ground (WCAG 2.1, 1.4.11) and were chosen one after
    another, each as far as possible from all before it in Oklab, as seen with protanopia, deuteranopia, half as much with normal vision
    and 1.7 times as much with tritanopia.

References
    Okabe and Ito 2008, Color universal design (the known colours). Machado, Oliveira and Fernandes 2009, A physiologically-based model for
    simulation of color vision deficiency. Ottosson 2020, A perceptual color space for image processing (Oklab). W3C 2018, WCAG 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stemwright.manifests.records import RESIDUAL

COLOURS = {"drums": "#D55E00", "bass": "#0072B2", "other": "#009E73", "vocals": "#CC79A7", "guitar": "#E69F00", "piano": "#56B4E9"}
GREY = "#777777"  # the residual
SOLID = "solid"
DASHES = (SOLID, (0, (5, 1.6)), (0, (1.4, 1.2)))  # of lines, so that colour is not the only difference of many
DASHED_FROM = 8  # names of a picture; so many are distinguished by colour


@dataclass(frozen=True)
class Look:
    """The ground of a picture, its text, its lines behind the data, and the colours of stems of unknown names."""

    ground: str
    ink: str
    muted: str
    line: str
    grid: str
    spare: tuple[str, ...]


LIGHT = Look(
    ground="#FFFFFF",
    ink="#1C2024",
    muted="#5B636D",
    line="#4D4D4D",
    grid="#E6E6E6",
    spare=(
        "#8700FF", "#784B00", "#D200B4", "#2D3C00", "#E11E4B", "#9678FF", "#003C87", "#5A4B78", "#690069",
        "#FF5A5A", "#0000C3", "#A52D4B", "#964B96", "#5A2D3C", "#4B0FE1", "#692DA5", "#695AD2", "#F02DF0",
    ),
)  # fmt: skip
DARK = Look(
    ground="#14171B",
    ink="#E8EAED",
    muted="#A0A9B4",
    line="#B8BEC6",
    grid="#2C3239",
    spare=(
        "#00FF96", "#9678FF", "#E1E100", "#D200B4", "#A5D2B4", "#D2004B", "#69C369", "#FFD2FF", "#875A1E",
        "#870FFF", "#964B96", "#B4A5A5", "#00784B", "#FF78E1", "#695AD2", "#A5964B", "#F02DF0", "#FFC369",
    ),
)  # fmt: skip


def colours(names: Sequence[str], look: Look = LIGHT) -> dict[str, str]:
    """A colour for every stem name, for as many names as there are colours without repetition."""
    known = COLOURS | {RESIDUAL: GREY}
    unused = [colour for name, colour in COLOURS.items() if name not in names]
    spare = [*look.spare, *unused]
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    return {name: known[name] if name in known else spare[unknown.index(name) % len(spare)] for name in dict.fromkeys(names)}


def dashes(names: Sequence[str]) -> dict[str, str | tuple[int, tuple[float, ...]]]:
    """A line style for every stem name: solid for the first DASHED_FROM, dashes for those after them."""
    return {name: DASHES[number // DASHED_FROM % len(DASHES)] for number, name in enumerate(dict.fromkeys(names))}


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.1).

    >>> from stemwright.datagen.report.palette import contrast
    >>> contrast("#000000", "#ffffff")
    21.0
    """
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
