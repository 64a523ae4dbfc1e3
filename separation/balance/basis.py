"""What the figures of a balance rest on: a measurement, an estimate, or the estimate of a model that is for demonstration only.

The multitrack's own stems give a measurement where their sum, taken through what was done to it, is the mixture. Separated stems give an
estimate; so do given stems that leave much of the mixture, since what they lack may be of any of them. The bundled model is small enough to
come with the package, which is why it is there: its figures are rough.

Conventions
    A basis is one of three words, the same in tables, JSON, CSV and pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

from stemwright.manifests.wording import counted

Basis: TypeAlias = Literal["measured", "estimated", "demonstration"]

MEASURED: Basis = "measured"
ESTIMATED: Basis = "estimated"
DEMONSTRATION: Basis = "demonstration"
BASES: tuple[Basis, ...] = get_args(Basis)
REFERENCE_ORIGIN = "reference"
DEMONSTRATION_MODEL = "bundled"
OF_STEM = "/"  # between the name of a stem and that of its part


def model_of(origin: str) -> str:
    """The name of a model in the origin of its stems, "htdemucs_ft@demucs-4.1.0"; "" for a multitrack's own stems."""
    return "" if origin == REFERENCE_ORIGIN else origin.split("@", 1)[0]


def basis_of(origin: str) -> Basis:
    """The basis of levels from stems of an origin, as stem rows and separators give it."""
    if origin == REFERENCE_ORIGIN:
        return MEASURED
    return DEMONSTRATION if model_of(origin) == DEMONSTRATION_MODEL else ESTIMATED


def rough(origins: Iterable[str]) -> str:
    """A sentence about figures from stems of these origins, if a demonstration model separated any of them; else ""."""
    found = next((origin for origin in origins if basis_of(origin) == DEMONSTRATION), None)
    return f"{model_of(found)} is a demonstration model: its figures are rough; for work use htdemucs_ft" if found else ""


def sentence_on_parts(parts_origin: str) -> str:
    """What the levels of parts of stems mean, "drums/kick"; "" where no stem was taken apart."""
    return f"parts separated by {model_of(parts_origin)}; their 80 % ranges are not calibrated" if parts_origin else ""


def sentence_on_calibration(basis: Basis, origin: str, songs: int, without: Sequence[str] = ()) -> str:
    """What intervals of separated stems are fitted to: songs of the user, or separators in general; "" for stems that are not separated.

    ``without`` names stems that none of those songs has.
    """
    if songs:
        none = f", none of them with {', '.join(without)}" if without else ""
        return f"calibrated to {model_of(origin)} on {counted(songs, 'song')}{none}"
    if basis != ESTIMATED or not model_of(origin):
        return ""
    return f"generic ranges, not calibrated to {model_of(origin)}: see stemwright calibrate"


def sentence(basis: Basis, origin: str = "") -> str:
    """What a basis means, in a line for a reader."""
    if basis == MEASURED:
        return "measured in its own stems"
    if basis == DEMONSTRATION:
        return f"rough estimate by the demonstration model {model_of(origin) or DEMONSTRATION_MODEL}"
    separated = model_of(origin)
    return f"estimate, separated by {separated}" if separated else "estimate: the given stems do not sum to the mixture"
