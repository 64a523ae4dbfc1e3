"""What a shell completes besides verbs, options and files: names of effects, models and keys, and the choices of a setting.

Conventions
    Everything is read from where it is declared, on completion: a new effect, format or key needs no change here.
    ``stemwright --install-completion`` sets a shell up; it asks this program by the variable ``_STEMWRIGHT_COMPLETE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

Completer = Callable[[str], list[str]]


def choices_of(key: str) -> Completer:
    """A completer of the choices that a key of the configuration takes."""

    def complete(incomplete: str) -> list[str]:
        import json

        from stemwright.datagen.run.config_reference import sections

        found = [json.loads(choice) for section in sections() for each in section.keys if each.path == key for choice in each.choices]
        return starting(incomplete, found)

    return complete


def one_of(*choices: str) -> Completer:
    """A completer of given choices."""
    return lambda incomplete: starting(incomplete, choices)


def configuration_keys(incomplete: str) -> list[str]:
    """Sections and keys of the configuration: sections first, then what is in the one that was typed."""
    from stemwright.datagen.run.config_reference import sections

    paths = [section.path for section in sections() if section.path] + [key.path for section in sections() for key in section.keys]
    return starting(incomplete, paths)


def effects(incomplete: str) -> list[str]:
    """Names of effects."""
    from stemwright.datagen.effects import EFFECTS

    return starting(incomplete, list(EFFECTS))


def rules(incomplete: str) -> list[str]:
    """Names of published rules."""
    from stemwright.separation.rules.published import RULES

    return starting(incomplete, list(RULES))


def protocols(incomplete: str) -> list[str]:
    """Names of the protocols of ``evaluate``."""
    from stemwright.datagen.evaluate.protocol import PROTOCOLS

    return starting(incomplete, list(PROTOCOLS))


def chain(incomplete: str) -> list[str]:
    """Names of effects after what was typed of a list: ``eq,comp`` gives ``eq,compressor``."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in effects(last)]


def models(incomplete: str) -> list[str]:
    """Names of the models that ``stemwright models`` lists."""
    from stemwright.separation.demucs.checkpoints import available

    with suppress(Exception):  # a shell that completes shows no errors
        return starting(incomplete, [model.name for model in available()])
    return []


def devices(incomplete: str) -> list[str]:
    """Devices that a network may run on; which of them there are is not looked up, since that loads torch."""
    return starting(incomplete, ["auto", "cpu", "cuda", "mps"])


def starting(incomplete: str, names: Iterable[str]) -> list[str]:
    """Those of the names that what was typed may become."""
    return [name for name in names if name.startswith(incomplete)]
