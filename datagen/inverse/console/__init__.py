"""Reverse engineering of a mix: the console behind a mixture of known dry stems.

fit       the whole way, from starts to pruning and confidences
start     where the search begins
search    all settings together, by least squares on the waveform
room      rooms, of which only the decay can be known
"""

from stemwright.datagen.inverse.console.fit import DEFAULT, Console, fit_console

__all__ = ["DEFAULT", "Console", "fit_console"]
