"""The effects by name, and chains of them.

Each effect is one file of this folder and the only implementation of that effect: it renders datasets, is fitted by gradient descent,
and is inverted where the mathematics allows. To add one: write the file, add its line to ``MODULES``; the contract test finds it.
Another package adds one by an entry point of the group ``stemwright.effects``.

Conventions
    audio is a torch tensor, float32 or float64, [..., C, T], full scale 1.0. Output has its shape, type and device, no latency, and no
    tail beyond its end. A setting is a float, or a tensor with the shape of the leading dimensions (or none), one value an item.
    Listing the names loads no effect. The settings of our own effects are available without torch, which is imported on first computation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.effects.settings import EffectSettings, effect_name, fields
from stemwright.datagen.effects.traits import Trait
from stemwright.manifests.registry import Registry, UnknownNameError, load, requires
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    import torch

    from stemwright.manifests.records import EffectUse

    Use: TypeAlias = EffectUse | EffectSettings | tuple[str, EffectSettings | Mapping[str, Any]] | Mapping[str, Any]
    Chain: TypeAlias = Iterable[Use]

MODULES = {
    "fader": "stemwright.datagen.effects.fader",
    "width": "stemwright.datagen.effects.width",
    "eq": "stemwright.datagen.effects.eq",
    "lowpass": "stemwright.datagen.effects.lowpass",
    "highpass": "stemwright.datagen.effects.highpass",
    "compressor": "stemwright.datagen.effects.compressor",
    "limiter": "stemwright.datagen.effects.limiter",
    "clip": "stemwright.datagen.effects.clip",
    "distortion": "stemwright.datagen.effects.distortion",
    "reverb": "stemwright.datagen.effects.reverb",
    "room": "stemwright.datagen.effects.room",
    "delay": "stemwright.datagen.effects.delay",
    "chorus": "stemwright.datagen.effects.chorus",
    "codec": "stemwright.datagen.effects.codec",
    "noise": "stemwright.datagen.effects.noise",
    "dc": "stemwright.datagen.effects.dc",
    "envelope": "stemwright.datagen.effects.envelope",
    "loudness": "stemwright.datagen.effects.loudness",
}


EXTERNAL_VERBS = {  # tables (effect -> "module:function") of verbs that another package provides; it is not imported here
    "fit": "stemwright.datagen.inverse:FITS",
    "estimate": "stemwright.datagen.inverse:ESTIMATES",
    "fit_response": "stemwright.datagen.inverse:RESPONSE_FITS",
    "fewer_bands": "stemwright.datagen.inverse:FEWER_BANDS",
    "nearest_bands": "stemwright.datagen.inverse:NEAREST_BANDS",
    "refit": "stemwright.datagen.inverse:REFITS",
    "find_level": "stemwright.datagen.inverse:LEVEL_SEARCHES",
    "fit_power": "stemwright.datagen.inverse:POWER_FITS",
    "changes": "stemwright.datagen.inverse:CHANGES",
    "along": "stemwright.datagen.inverse:DERIVATIVES",
}


class Effect:
    """An effect by its name: the contents of its module, and verbs of other packages. A missing verb raises AttributeError.

    ``TRAITS`` states properties of its sound (``stemwright.datagen.effects.traits``). ``TYPICAL`` narrows the settings to the ranges that
    are drawn unless a range is given. Effects that can be undone also have ``invert(audio, sample_rate, settings)``; those that can be
    recovered from a dry and a wet signal ``fit(wet, dry, sample_rate)``, which an effect of another package may provide itself.

    Effects that leave a trace in a wet signal alone have ``estimate(stem, sample_rate, profile)``: a stem [C, T] and what is typical of its
    name -> settings relative to that profile with a confidence, or none and the reason. An effect whose trace cannot be distinguished
    from the music has no ``estimate``. These verbs, and those that only searches of chains and consoles use, are in the tables of
    ``stemwright.datagen.inverse``.
    """

    NAME: str
    TRAITS: frozenset[Trait]
    TYPICAL: Mapping[str, Any]
    Settings: type[EffectSettings]
    apply: Callable[[torch.Tensor, int, Any], torch.Tensor]

    def __init__(self, module: Any) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        if name == "module":  # not set yet: a copy is being made
            raise AttributeError(name)
        if hasattr(self.module, name):
            return getattr(self.module, name)
        if name == "TRAITS":  # an effect that states none has none
            return frozenset()
        if name in EXTERNAL_VERBS:
            table = load(EXTERNAL_VERBS[name])
            if self.NAME in table:
                return load(table[self.NAME])
            raise AttributeError(f"the effect {self.NAME!r} has no {name}; those of our own that have one are {', '.join(table)}")
        raise AttributeError(f"the effect {self.NAME!r} has no {name}")

    def __repr__(self) -> str:
        return f"<effect {self.NAME}>"


class UnknownEffectError(UnknownNameError):
    """An effect's name that is not in ``EFFECTS``; the message names the nearest one."""


class Effects(Registry[Effect]):
    """Name -> effect, our own and those of other packages; a module is imported when it is first looked up.

    ``EFFECTS[name].Settings`` is a record of settings: ``stemwright effects`` lists their units, ranges and neutral values, which are the
    defaults. ``.apply(audio, sample_rate, settings)`` takes torch [..., C, T] and returns its shape; ``.invert`` and ``.fit(wet, dry,
    sample_rate)`` exist where the effect can be undone or fitted. Raises ``UnknownEffectError`` (a ValueError) with the nearest name,
    and ValueError for a setting out of its range.

    >>> import stemwright as sw
    >>> ", ".join(list(sw.EFFECTS)[:4])
    'fader, width, eq, lowpass'
    >>> settings = sw.EFFECTS["compressor"].Settings(threshold_db=-30.0, ratio=4.0)
    >>> settings.attack_ms
    10.0
    """

    def __getitem__(self, name: str) -> Effect:
        """The effect of this name. Raises UnknownEffectError, with the nearest name."""
        found: Any = super().__getitem__(name)
        if not isinstance(found, Effect):
            found = self._loaded[name] = Effect(found)
        return found

    def _hint(self, name: object, names: Sequence[str]) -> str:
        codecs: Any = fields(self["codec"].Settings)["codec"]
        if str(name).lower() in codecs.options:  # which people take for effects
            return f"; {name} is a codec of the effect 'codec', its setting codec."
        return super()._hint(name, names)


EFFECTS = Effects(
    "effect",
    "stemwright.effects",
    MODULES,
    check=requires(NAME=str, TYPICAL=Mapping, Settings=lambda found: issubclass(found, EffectSettings), apply=callable),
    unknown=UnknownEffectError,
)


def resolve_chain(chain: Chain) -> list[tuple[Effect, EffectSettings]]:
    """Looks up each effect of a chain and checks its settings.

    A use is a name with settings, ``("eq", {"low_shelf_gain_db": 3.0})`` or ``("eq", Settings(...))``; a settings object alone; or a row:
    an ``EffectUse``, or its row in a table, a mapping of ``effect`` and ``settings`` (JSON text as well). Raises ValueError for an unknown
    effect, a setting out of its range, and anything else.
    """
    if isinstance(chain, str | EffectSettings) or _is_use(chain):
        raise UsageError(f'expected a list of effects with their settings, such as [("fader", {{"gain_db": -3.0}})]; got {chain!r}')
    return [_resolved(*_named(use)) for use in chain]


def _is_use(chain: Any) -> bool:
    """Whether what was given as a chain is one effect with its settings."""
    return isinstance(chain, Mapping) or (isinstance(chain, tuple) and len(chain) == 2 and isinstance(chain[0], str))


def _named(use: Any) -> tuple[str, Any]:
    """The effect's name in a use, and its settings in whatever form they are."""
    if isinstance(use, EffectSettings):
        return effect_name(type(use)), use
    if isinstance(use, Mapping) and {"effect", "settings"} <= {*use}:
        return use["effect"], use["settings"]
    if isinstance(use, Mapping):  # as it is in a file
        what = f"the effect {use['effect']!r} has no settings" if "effect" in use else f"got {json.dumps(use, default=repr)}"
        raise UsageError(f'expected an effect with its settings, such as {{"effect": "fader", "settings": {{"gain_db": -3.0}}}}; {what}')
    if hasattr(use, "effect") and hasattr(use, "settings"):
        return use.effect, use.settings
    if isinstance(use, tuple | list) and len(use) == 2:
        return use[0], use[1]
    raise UsageError(f'expected an effect with its settings, such as ("fader", {{"gain_db": -3.0}}); got {use!r}')


def _resolved(name: str, values: Any) -> tuple[Effect, EffectSettings]:
    effect = EFFECTS[name]
    if isinstance(values, effect.Settings):
        return effect, values
    if isinstance(values, str):  # JSON, as a table has them
        try:
            values = json.loads(values)
        except ValueError as error:
            raise UsageError(f"expected settings of the effect {name!r} as a mapping or its JSON text; got {values!r} ({error})") from error
    if not isinstance(values, Mapping):
        raise UsageError(f"expected settings of the effect {name!r}, as {name}.Settings or as a mapping; got {values!r}")
    return effect, effect.Settings(**values)


@overload
def apply_chain(audio: torch.Tensor, sample_rate: int, chain: Chain) -> torch.Tensor: ...
@overload
def apply_chain(audio: NDArray[np.floating], sample_rate: int, chain: Chain) -> NDArray[np.floating]: ...
def apply_chain(audio: Any, sample_rate: int, chain: Chain) -> Any:
    """Sends audio [..., C, T] through the effects of a chain, first to last, and returns it in its shape and type.

    ``audio`` is float numpy or torch; gradients pass through torch. ``chain`` lists the effects with their settings: pairs
    ``("eq", {...})``, settings objects, or the rows of a table; neutral effects are skipped. There is no latency, and a tail beyond
    the end is cut. Raises ValueError for an unknown effect, a setting out of its range, and audio that is not finite.

    >>> import numpy, stemwright as sw
    >>> dry = numpy.random.default_rng(0).normal(0, 0.1, (2, 4410)).astype("float32")
    >>> wet = sw.apply_chain(dry, 44_100, [("fader", {"gain_db": 6.0}), ("lowpass", {"cutoff_hz": 8000.0})])
    >>> wet.shape == dry.shape, wet.dtype == dry.dtype
    (True, True)
    """
    return _through(audio, sample_rate, [(effect.apply, settings) for effect, settings in resolve_chain(chain)])


@overload
def invert_chain(audio: torch.Tensor, sample_rate: int, chain: Chain) -> torch.Tensor: ...
@overload
def invert_chain(audio: NDArray[np.floating], sample_rate: int, chain: Chain) -> NDArray[np.floating]: ...
def invert_chain(audio: Any, sample_rate: int, chain: Chain) -> Any:
    """Undoes the effects of a chain on audio [..., C, T], last to first: the inverse of ``apply_chain`` where there is one.

    ``audio`` is float numpy or torch, ``chain`` as for ``apply_chain``: the chain as it was applied. A neutral effect needs no inverse.
    Raises ValueError, before anything is computed, naming each effect that has no inverse, and for settings that cannot be undone.

    >>> import numpy, stemwright as sw
    >>> dry = numpy.random.default_rng(0).normal(0, 0.1, (2, 4410))
    >>> chain = [("eq", {"low_shelf_gain_db": 4.0}), ("fader", {"gain_db": -6.0, "pan": 0.3})]
    >>> numpy.allclose(sw.invert_chain(sw.apply_chain(dry, 44_100, chain), 44_100, chain), dry)
    True
    """
    uses = [(effect, settings) for effect, settings in resolve_chain(chain) if not settings.is_neutral()]
    if lacking := dict.fromkeys(effect.NAME for effect, _ in uses if not hasattr(effect, "invert")):
        able = ", ".join(name for name, effect in EFFECTS.items() if hasattr(effect, "invert"))
        raise UsageError(f"the chain cannot be inverted: {', '.join(lacking)} has no inverse. Those that have one are {able}")
    return _through(audio, sample_rate, [(cast("Any", effect).invert, settings) for effect, settings in reversed(uses)])


def _through(audio: Any, sample_rate: int, steps: Iterable[tuple[Any, EffectSettings]]) -> Any:
    """The audio after each step whose settings are not neutral; numpy in, numpy out."""
    if not isinstance(audio, np.ndarray):
        if not hasattr(audio, "ndim"):
            raise UsageError(f"expected audio [..., C, T] as a numpy array or a torch tensor; got {type(audio).__name__}")
        for step, settings in steps:
            audio = audio if settings.is_neutral() else step(audio, sample_rate, settings)
        return audio
    import torch

    with torch.inference_mode():
        return _through(torch.from_numpy(np.array(audio)), sample_rate, steps).numpy()
