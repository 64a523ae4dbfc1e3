"""The settings of one effect, where the dry signal is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.effects import EFFECTS
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from stemwright.datagen.effects.settings import EffectSettings


def fit(name: str, wet: Any, dry: Any, sample_rate: int) -> EffectSettings:
    """The settings with which the effect ``name`` turns ``dry`` into ``wet``.

    ``wet`` and ``dry`` are float [C, T], numpy or torch, of one shape and at the same place in time. Returns ``EFFECTS[name].Settings``,
    whose fields have the units that ``stemwright effects`` lists. Raises ``UsageError`` for an unknown effect or one that cannot be
    fitted, ``NotIdentifiableError`` (both are ValueErrors) where a setting left no trace in the audio.

    >>> import numpy, stemwright as sw
    >>> dry = numpy.random.default_rng(0).normal(0, 0.1, (2, 44_100))
    >>> wet = sw.apply_chain(dry, 44_100, [("fader", {"gain_db": -3.0, "pan": 0.25})])
    >>> settings = sw.fit("fader", wet, dry, 44_100)
    >>> round(settings.gain_db, 3), round(settings.pan, 3)
    (-3.0, 0.25)
    """
    import torch

    effect: Any = EFFECTS[name]
    if not hasattr(effect, "fit"):
        able = ", ".join(each for each in EFFECTS if hasattr(EFFECTS[each], "fit"))
        raise UsageError(f"the settings of {name} cannot be fitted; those of {able} can")
    settings: EffectSettings = effect.fit(
        *(torch.as_tensor(np.array(each) if isinstance(each, np.ndarray) else each) for each in (wet, dry)), sample_rate
    )
    return settings
