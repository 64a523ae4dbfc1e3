"""Whether this machine can separate as a configuration asks, before any song is read: cataloguing thousands of songs takes an hour, and
a misspelt model or a missing file should not wait for the end of it.

Conventions
    Weights are looked for, fetched if they may be, and compared with their checksums; the network itself is loaded by the stage.
    Songs that are multitracks, where their own stems are taken, need no model, so none is checked. Where only some are, missing weights
    are a note and not an error: the files without stems of their own may not be songs.
"""

from __future__ import annotations

from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.stages.cataloguing import found_songs
from stemwright.datagen.run.stages.separator_order import SeparationOrder, separator_for
from stemwright.datagen.run.tasks import Workers
from stemwright.separation.demucs.separator import DemucsSeparator
from stemwright.separation.demucs.weights import WeightsUnavailable


def check_separator(order: SeparationOrder, workers: Workers | None = None) -> str:
    """Raises ModelError, or UsageError for a device that is none, if songs are to be separated and this machine cannot do it; StoppedError
    if the workers of a cluster cannot.

    Returns a warning where weights are missing that may not be needed, else "".
    """
    config, workers = order.config, workers or Workers()
    if needs_separator(config):
        separator = separator_for(order, workers)
        if isinstance(separator, DemucsSeparator):  # others were checked when they were created
            try:
                separator.check()
            except WeightsUnavailable as error:
                if config.separation.separator != "auto" or not any(song.references for song in found_songs(config).candidates):
                    raise
                return f"songs that are no multitracks cannot be separated on this machine: {error}"
    return ""


def needs_separator(config: Config) -> bool:
    """Whether any of the songs has to be separated: all that have no stems of their own, or all, as the configuration says."""
    if config.separation.separator == "reference":
        return False
    songs = found_songs(config).candidates
    return any(config.separation.separator != "auto" or not song.references for song in songs)
