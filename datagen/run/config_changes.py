"""What a command changes in the configuration that a corpus keeps.

Conventions
    A corpus keeps its whole configuration, defaults filled in. An option, or a file, changes the keys that it names and no other, table
    within table. ``reset`` gives a key, or a whole section, its default again.
    A key with the value of its default or preset counts as not set: it follows when a file names another preset.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemwright.datagen.pairs.recipes.base import merged
from stemwright.datagen.run.configuration import Config, ConfigError, check, keys, plain, read_values
from stemwright.manifests.catalog.splits import with_split_names

SHAPE = ("sample_rate", "duration_s")  # of excerpts: presets of several recipes may need them given


def changed(
    kept: Config,
    *,
    file: Path | None = None,
    values: Mapping[str, Any] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    reset: Sequence[str] = (),
) -> Config:
    """The kept configuration with some keys at their defaults again, then with what a file names, then with the options of a command.

    ``values`` are named as a file names them, table within table. ``options`` are keys by section, those of no section under "";
    what is None was not given. Raises ConfigError.
    """
    found = requested(kept)
    for key in reset:
        found = _without(found, key)
    if file is not None:
        found = merged(found, _split_names(read_values(file)))
    found = merged(found, _split_names(values or {}))
    found = plain(check(found, where=str(file or "the configuration")))
    for section, given in (options or {}).items():
        named = {key: str(value) if isinstance(value, Path) else value for key, value in given.items() if value is not None}
        found = merged(found, {section: named} if section else named)
    return check(found, where="the options")


def _split_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values whose ``songs.shares`` name their splits as the kept configuration does, so that they replace its shares."""
    songs = values.get("songs")
    if not isinstance(songs, dict) or not isinstance(songs.get("shares"), dict):
        return dict(values)
    try:
        return {**values, "songs": {**songs, "shares": with_split_names(songs["shares"])}}
    except ValueError as error:
        raise ConfigError(f"songs.shares: {error}") from error


def requested(config: Config) -> dict[str, Any]:
    """The keys of a configuration that differ from what its presets and the defaults give; ``check`` makes the whole of them again."""
    values = plain(config)
    presets = {kind: {"preset": section["preset"]} for kind, section in values["pairs"].items() if _has_preset(section)}
    for beneath in ({"pairs": presets}, {"pairs": {**presets, **{key: values["pairs"][key] for key in SHAPE}}}):
        try:
            found = merged(beneath, _difference(values, plain(check(beneath, where=""))))
            if plain(check(found, where="")) == values:
                return found
        except ConfigError:
            continue
    return values


def _has_preset(section: Any) -> bool:
    return isinstance(section, dict) and bool(section.get("preset"))


def _difference(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """What of some values is not in others, table within table."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(others.get(key), dict):
            if inner := _difference(value, others[key]):
                found[key] = inner
        elif key not in others or others[key] != value:
            found[key] = value
    return found


def _without(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The values without a key such as ``separation.input_lufs`` or a section. Raises ConfigError if there is no such key."""
    known = keys(Config)
    if key not in known:
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ", such as separation.model or pairs"
        raise ConfigError(f"--reset {key}: expected a key or a section of the configuration{hint}")
    first, _, rest = key.partition(".")
    if not rest:
        return {name: value for name, value in values.items() if name != first}
    inner = values.get(first)
    return {**values, first: _without_inner(inner, rest)} if isinstance(inner, dict) else dict(values)


def _without_inner(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    if rest and isinstance(values.get(first), dict):
        return {**values, first: _without_inner(values[first], rest)}
    return {name: value for name, value in values.items() if name != first}


def differences(before: Config, after: Config, section: str) -> list[str]:
    """The keys of a section whose values differ between two configurations, as text: ``model htdemucs_ft -> htdemucs``."""
    old, new = plain(before)[section], plain(after)[section]
    return [
        f"{key} {_shown_value(old[key])} -> {_shown_value(new[key])}"
        for key in new
        if old[key] != new[key] and not isinstance(new[key], dict)
    ]


def _shown_value(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
