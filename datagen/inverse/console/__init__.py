"""Reverse engineering of a mix: the console behind a mixture of known dry stems.

fit                 the whole fit, from initial settings to pruning and confidences
initial_settings    where the search begins
joint_search        all settings together, by least squares on the waveform
rooms               rooms, of which only the decay can be estimated
"""

from stemwright.datagen.inverse.console.fit import DEFAULT, Console, fit_console

__all__ = ["DEFAULT", "Console", "fit_console"]
