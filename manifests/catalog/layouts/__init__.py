"""Layouts of published multitracks: one file each, in a visible table, and those of other packages.

A new layout is one new file with ``EXPECTED``, ``AUTOMATIC``, ``is_song`` and ``read``, and one line here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from stemwright.manifests.catalog.layouts.base import Multitrack
from stemwright.manifests.registry import Registry, requires


class Layout(Protocol):
    """What the module of a layout offers.

    ``EXPECTED`` says in a phrase what a song of it is. With ``AUTOMATIC`` its songs are found in any folder of songs, without being asked
    for by ``--kind``: only for what is unmistakable.
    """

    EXPECTED: str
    AUTOMATIC: bool

    def is_song(self, folder: Path, names: frozenset[str]) -> bool:
        """Whether a folder, by the names of all that is in it and is not hidden, is one song of this layout, whole or not."""
        ...

    def read(self, folder: Path) -> Multitrack:
        """The song of a folder; no sound is decoded. Raises Refused, with what is missing, if it is not whole."""
        ...


def check_module(name: str, found: Any) -> None:
    """Raises TypeError if an object lacks what a layout has."""
    requires(EXPECTED=str, AUTOMATIC=bool, is_song=callable, read=callable)(name, found)


LAYOUTS: Registry[Layout] = Registry(
    "layout of songs",
    "stemwright.layouts",
    {
        "moisesdb": "stemwright.manifests.catalog.layouts.moisesdb",
        "slakh": "stemwright.manifests.catalog.layouts.slakh",
        "medleydb": "stemwright.manifests.catalog.layouts.medleydb",
        "cambridge": "stemwright.manifests.catalog.layouts.cambridge",
    },
    plural="layouts of songs",
    check=check_module,
)
