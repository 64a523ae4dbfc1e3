"""Reverse engineering of a mix: the console behind a mixture of known dry stems.

fit                 the whole fit, from initial settings to pruning and confidences
preparation         what is fitted: an excerpt with aligned stems, and the best gains and pans alone
initial_settings    where the search begins
joint_search        all settings together, by least squares on the waveform
alternatives        other choices, equalisers from other starts, pruning
fitted_console      the result
recorded            the result as a signal of a pair
rooms               rooms, of which only the decay can be estimated
reverberation       the impulse response of one reverb, and the gains of stems into it
shared_room         one room that stems share, with its gains, settings and response
send_search         chains and shared room in turns
rides               gain rides
whole_song          what is found from the whole song: rides, the shared room, and the errors with them
"""

from stemwright.datagen.inverse.console.fit import DEFAULT, fit_console
from stemwright.datagen.inverse.console.fitted_console import Console

__all__ = ["DEFAULT", "Console", "fit_console"]
