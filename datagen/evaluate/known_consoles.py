"""The console of a whole mix found from the mixture and the dry stems, beside the one that made it.

Conventions
    Stems are float64 [2, T]. Settings are drawn from each effect's typical ranges (make-up 0, which faders share). ``loss`` is the
    multi-resolution STFT loss (auraloss's definition and values), mean over left, right, sum and difference; ``ratio`` is that of the
    fitted console's mix against that of the best gains and pans alone (``plain``).

References
    Colonel and Reiss 2021, "Reverse engineering of a recording mix with differentiable digital signal processing": the task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.dsp.spectral_loss import multi_resolution_loss
from stemwright.datagen.effects.settings import draw
from stemwright.datagen.inverse.console import fit_console

Stems = Mapping[str, torch.Tensor]
Chain = list[tuple[str, Any]]


def random_chain(names: Sequence[str], rng: np.random.Generator) -> Chain:
    """Each effect with settings from its typical ranges."""
    chain = []
    for name in names:
        settings = EFFECTS[name].Settings
        ranges = {**EFFECTS[name].TYPICAL, **({"makeup_db": 0.0} if "makeup_db" in settings.model_fields else {})}
        chain.append((name, draw(settings, rng, ranges)))
    return chain


def mixed(stems: Stems, truth: Mapping[str, Chain], bus: Chain, sample_rate: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Every stem through its chain, and their sum through that of the bus."""
    wet = {name: apply_chain(audio, sample_rate, truth[name]) for name, audio in stems.items()}
    return wet, apply_chain(torch.stack(list(wet.values())).sum(0), sample_rate, bus)


def console_figures(
    stems: Stems, given: Stems, truth: Mapping[str, Chain], bus: Chain, sample_rate: int, names: Sequence[str]
) -> dict[str, Any]:
    """What ``fit_console`` finds of a mix of ``stems`` when it gets those of ``given``, against the truth.

    Seconds (``s``, ``cpu_s``), ``loss``, ``plain``, ``ratio``, ``error_db``, and lists with a value a stem: ``fader_db``, ``known_db``
    (faders that the console calls determined), ``level_db``, ``rt60`` (relative).
    """
    wet, mixture = mixed(stems, truth, bus, sample_rate)
    start, cpu = time.perf_counter(), time.process_time()
    console = fit_console(mixture, dict(given), sample_rate, names, bus=[name for name, _ in bus])
    took, worked = time.perf_counter() - start, time.process_time() - cpu
    plain = float(multi_resolution_loss(console.gain_and_pan_mix(given, sample_rate), mixture))
    loss = float(multi_resolution_loss(console.mix(given, sample_rate), mixture))
    figures: dict[str, Any] = {"s": took, "cpu_s": worked, "ratio": loss / plain, "loss": loss, "plain": plain}
    figures |= {"error_db": console.error_db, "fader_db": [], "known_db": [], "level_db": [], "rt60": []}
    for name in set(stems) & set(console.chains):
        true, found = dict(truth[name]), dict[str, Any](console.chains[name])
        off_db = abs(found["fader"].gain_db - true["fader"].gain_db)
        figures["fader_db"].append(off_db)
        if "fader.gain_db" not in console.chains[name].undetermined:
            figures["known_db"].append(off_db)
        level = apply_chain(given[name], sample_rate, console.chains[name]).square().mean() / wet[name].square().mean()
        figures["level_db"].append(abs(10.0 * math.log10(float(level))))
        times = {effect: settings.rt60_s for effect, settings in true.items() if hasattr(settings, "rt60_s") and effect in found}
        figures["rt60"] += [abs(found[effect].rt60_s / time_s - 1.0) for effect, time_s in times.items()]
    return figures
