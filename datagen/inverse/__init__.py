"""Settings from audio: of effects whose dry signal is known, of whole chains and consoles, and estimates from a stem alone.

fit         one effect, dry and wet known: the table ``FITS``, one module an effect in ``known_dry``
chain       a chain of effects, dry and wet known
console     a chain for each stem, and one for their sum, from the mixture and its dry stems
estimate    one effect from the wet stem alone, relative to a profile of many songs: the table ``ESTIMATES``

Conventions
    The tables give the module and function for an effect; it is imported on first use. ``EFFECTS[name].fit``, ``.estimate`` and the
    other verbs read them. An effect of another package may bring any of these verbs itself. Whatever else a search needs to know of an
    effect follows from its traits and its settings (``stemwright.datagen.inverse.effect_roles``), never from its name.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.effects import EFFECTS
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    import torch

    from stemwright.datagen.effects.settings import EffectSettings

FITS = {
    "fader": "stemwright.datagen.inverse.known_dry.fit_fader:fit_fader",
    "width": "stemwright.datagen.inverse.known_dry.fit_width:fit_width",
    "eq": "stemwright.datagen.inverse.known_dry.fit_eq:fit_equaliser",
    "lowpass": "stemwright.datagen.inverse.known_dry.fit_cutoff:fit_lowpass",
    "highpass": "stemwright.datagen.inverse.known_dry.fit_cutoff:fit_highpass",
    "compressor": "stemwright.datagen.inverse.known_dry.fit_compressor:fit_compressor",
    "limiter": "stemwright.datagen.inverse.known_dry.fit_limiter:fit_limiter",
    "clip": "stemwright.datagen.inverse.known_dry.fit_clip:fit_clip",
    "distortion": "stemwright.datagen.inverse.known_dry.fit_distortion:fit_distortion",
    "reverb": "stemwright.datagen.inverse.known_dry.fit_reverb:fit_reverb",
    "room": "stemwright.datagen.inverse.known_dry.fit_room:fit_room",
    "delay": "stemwright.datagen.inverse.known_dry.fit_delay:fit_delay",
    "envelope": "stemwright.datagen.inverse.known_dry.fit_envelope:fit_envelope",
    "loudness": "stemwright.datagen.inverse.known_dry.fit_loudness:fit_loudness",
}
RESPONSE_FITS = {  # settings whose response is closest to a measured one: fit_response(response, sample_rate, near=, rounds=, level_free=)
    "eq": "stemwright.datagen.inverse.known_dry.band_search:fit_response",
}
FEWER_BANDS = {  # with fewer bands and nearly the same response: fewer_bands(settings, hz, weight, sample_rate, level_free=)
    "eq": "stemwright.datagen.inverse.known_dry.few_bands:fewer_bands",
}
NEAREST_BANDS = {  # closest to a response by what another leaves: nearest_bands(settings, target_db, hz, root, sample_rate, same=)
    "eq": "stemwright.datagen.inverse.known_dry.few_bands:nearest_bands",
}
REFITS = {  # like fit, from earlier settings and with so many other starts: refit(wet, dry, sample_rate, near, starts=)
    "compressor": "stemwright.datagen.inverse.known_dry.fit_compressor:refit_compressor",
}
LEVEL_SEARCHES = {  # the level that an effect shares with others of its chain: find_level(wet, dry, sample_rate, uses, errors)
    "eq": "stemwright.datagen.inverse.known_dry.shared_level:with_level",
}
POWER_FITS = {  # all uses in a console of an effect of which only the power can be estimated: fit_power(problem, console)
    "room": "stemwright.datagen.inverse.console.rooms:fitted",
}
CHANGES = {  # of the output for slightly other settings: changes(wet, sample_rate, settings, moved); without it an effect is rendered again
    "eq": "stemwright.datagen.inverse.derivatives:equaliser_changes",
}
DERIVATIVES = {  # of the output along a change of the input: along(audio, sample_rate, settings); without it by differences
    "compressor": "stemwright.datagen.inverse.derivatives:compressor_along",
}
ESTIMATES = {
    "eq": "stemwright.datagen.inverse.blind.estimators:estimate_equaliser",
    "compressor": "stemwright.datagen.inverse.blind.compression:estimate_compressor",
    "width": "stemwright.datagen.inverse.blind.estimators:estimate_width",
    "room": "stemwright.datagen.inverse.blind.heard_reverberation:estimate_room",
}


def fit(name: str, wet: Any, dry: Any, sample_rate: int, *, on_progress: OnProgress | None = None) -> EffectSettings:
    """The settings with which the effect ``name`` turns ``dry`` into ``wet``.

    ``wet`` and ``dry`` are float [C, T], numpy or torch, of one shape and at the same place in time. Returns ``EFFECTS[name].Settings``,
    whose fields have the units that ``stemwright effects`` lists. Raises ``UsageError`` for an unknown effect or one that cannot be
    fitted, ``NotIdentifiableError`` (both are ValueErrors) where a setting left no trace in the audio. ``on_progress`` is called with
    (done, total, what) by effects whose fit takes it.

    >>> import numpy, stemwright as sw
    >>> dry = numpy.random.default_rng(0).normal(0, 0.1, (2, 44_100))
    >>> wet = sw.apply_chain(dry, 44_100, [("fader", {"gain_db": -3.0, "pan": 0.25})])
    >>> settings = sw.fit("fader", wet, dry, 44_100)
    >>> round(settings.gain_db, 3), round(settings.pan, 3)
    (-3.0, 0.25)
    """
    effect = EFFECTS[name]
    if not hasattr(effect, "fit"):
        raise UsageError(f"the settings of {name} cannot be fitted; those of {', '.join(FITS)} can")
    import torch

    wet, dry = (torch.as_tensor(np.array(audio) if isinstance(audio, np.ndarray) else audio) for audio in (wet, dry))
    reporting = {"on_progress": on_progress} if "on_progress" in signature(effect.fit).parameters else {}
    settings: EffectSettings = effect.fit(wet, dry, sample_rate, **reporting)
    return settings


def estimate(name: str, stem: torch.Tensor, sample_rate: int, profile: Any) -> Any:
    """The settings with which an effect seems to have processed a stem [C, T], relative to a profile of stems of its name; it may abstain.

    Raises UnknownEffectError for an unknown effect, AttributeError for one that leaves no trace in a stem alone.
    """
    return EFFECTS[name].estimate(stem, sample_rate, profile)
