"""The configuration of a corpus: TOML in, checked records out.

Conventions
    Every key has a default, so an empty file is a whole configuration. An unknown key is an error that names the nearest known one.
    A recipe has a section of its own (its ``Config``), so a new kind of pair needs no line here; so does a format that has ``Options``.
    A section of another package is written only where it differs from its default, and such a kind gives no pairs by default: what is
    installed changes no corpus whose configuration does not name it.
    How a run is carried out (workers, progress) is no part of it: it changes nothing in the result.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from stemwright.datagen.dataset.dataset_config import DatasetConfig
from stemwright.datagen.dataset.writers import WRITERS
from stemwright.datagen.pairs.pairs_config import PairsConfig
from stemwright.datagen.pairs.recipes import RECIPES
from stemwright.datagen.pairs.rights import RightsConfig
from stemwright.datagen.pairs.section import ConfigError, Section, range_of, ranges_of_items, since
from stemwright.datagen.run.separation_config import SeparationConfig
from stemwright.datagen.run.songs_config import SongsConfig
from stemwright.datagen.run.storage_config import StorageConfig
from stemwright.manifests.registry import BrokenExtensionError, Registry, UnknownNameError
from stemwright.manifests.sound.formats import Encoding
from stemwright.separation.balance.calibration_names import AUTO, placed
from stemwright.separation.separator import ONNX

EXPECTED = {  # pydantic's names of what is wrong, and what TOML calls what a key takes
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "string_type": "a string",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
}
OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")  # pydantic's names


class EstimateConfig(Section):
    """What is estimated from the stems besides their balance. Pairs with normalised inputs get a profile whatever is set here."""

    effects: bool = Field(
        False,
        description="estimate eq, compression and width of each stem relative to a profile, and its reverberation, each with a confidence",
        json_schema_extra=since("0.1"),
    )
    profile: str | None = Field(
        None,
        description="profile to estimate against: the profile.parquet of another corpus, relative to the configuration file; not "
        "given: a profile of this corpus's training tracks",
        json_schema_extra=since("0.1"),
    )
    calibration: str | None = Field(
        None,
        description="calibration for levels and their ranges: its id (`stemwright calibrate --list`), or its file, relative to the "
        'configuration file; "none": the generic one. It is copied into the corpus. Not given: the one that an earlier version copied '
        "into the corpus, else the generic one; never what is only in a user's cache",
        json_schema_extra=since("0.1"),
    )

    @field_validator("calibration")
    @classmethod
    def _names_one(cls, name: str | None) -> str | None:
        if name == "" or name == AUTO:
            raise ValueError(
                f'expected the id of a calibration (stemwright calibrate --list), its file, or "none"; got {name!r}: rows must not depend '
                "on the cache of a machine"
            )
        return name


class Config(Section):
    """The whole configuration of a corpus."""

    seed: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="seed of the random generator that all pairs are drawn from; the same seed and songs give the same dataset",
        json_schema_extra=since("0.1", unit="whole number"),
    )
    songs: SongsConfig = Field(default_factory=SongsConfig)
    separation: SeparationConfig = Field(default_factory=SeparationConfig)
    estimate: EstimateConfig = Field(default_factory=EstimateConfig)
    pairs: PairsConfig = Field(
        default_factory=PairsConfig, description="settings shared by all pairs; each kind of pair has a section of its own"
    )
    rights: RightsConfig = Field(default_factory=RightsConfig)
    dataset: DatasetConfig = Field(default_factory=DatasetConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)

    @property
    def encoding(self) -> Encoding:
        """How the sound files of the dataset are encoded, with "auto" decided."""
        if self.dataset.encoding != "auto":
            return self.dataset.encoding
        sections = [getattr(self.pairs, kind) for kind in RECIPES]
        as_float = "flac24" not in WRITERS[self.dataset.format].encodings
        return "wav32f" if as_float or any(section.per_track and section.is_float for section in sections) else "flac24"

    @model_validator(mode="after")
    def _format_suits_the_pairs(self) -> Config:
        name, requested = self.dataset.format, self.dataset.encoding
        writer = WRITERS[name]
        if requested != "auto" and requested not in writer.encodings:
            holds = " or ".join(f"{encoding!r}" for encoding in writer.encodings)
            what = {"wav32f": "float WAV", "flac24": "24-bit FLAC"}[writer.encodings[0]]
            raise ValueError(f"[dataset] encoding: the format {name!r} is {what}: set dataset.encoding = 'auto' or {holds}")
        writer.check(self.dataset, self.pairs)
        return self


def parse(text: str, *, where: str = "the configuration") -> Config:
    """Reads a TOML text. Raises ConfigError as ``check`` does."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not TOML: {error}") from error
    return check(values, where=where)


def check(values: dict[str, Any], *, where: str) -> Config:
    """Checks plain values. Raises ConfigError naming the key, what it takes, and the nearest right key."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        found = dict.fromkeys(_explain(problem) for problem in error.errors())  # each once: a union reports every form that fails
        raise ConfigError("; ".join(f"{where}: {each}" for each in found)) from error


def read(path: Path) -> Config:
    """Reads and checks a TOML file. A relative model folder, profile or calibration is relative to the file."""
    return check(read_values(path), where=str(path))


def read_values(path: Path) -> dict[str, Any]:
    """The keys that a TOML file names, not checked yet; a relative model folder, profile or calibration is made relative to the file."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; expected a TOML file. Write one to start from with: stemwright init {path}") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder; expected a TOML file, such as {path / 'stemwright.toml'}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error.reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for section, key in (("separation", "model_folder"), ("estimate", "profile")):
        part = values.get(section)
        if isinstance(part, dict) and isinstance(part.get(key), str):
            values[section] = {**part, key: str((path.parent / Path(part[key]).expanduser()).resolve())}
    part = values.get("estimate")
    if isinstance(part, dict) and isinstance(part.get("calibration"), str):
        values["estimate"] = {**part, "calibration": placed(part["calibration"], path.parent)}
    part = values.get("separation")
    if isinstance(part, dict):
        values["separation"] = _placed_separator(part, path.parent)
    return values


def _placed_separator(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The section of a separation, with that of drums, whose paths of ONNX models and of the folder of drums are relative to a folder."""
    found = {**values, "separator": placed_reference(values["separator"], folder)} if isinstance(values.get("separator"), str) else values
    drums = values.get("drums")
    if not isinstance(drums, dict):
        return found
    if isinstance(drums.get("model"), str):
        drums = {**drums, "model": placed_reference(drums["model"], folder)}
    if isinstance(drums.get("model_folder"), str):
        drums = {**drums, "model_folder": str((folder / Path(drums["model_folder"]).expanduser()).resolve())}
    return {**found, "drums": drums}


def placed_reference(separator: str, folder: Path) -> str:
    """What names a separator, with the path of an ONNX model made absolute; a relative one is relative to the folder."""
    if not separator.startswith(ONNX):
        return separator
    return f"{ONNX}{(folder / Path(separator.removeprefix(ONNX)).expanduser()).resolve()}"


def to_toml(config: Config) -> str:
    """The configuration as TOML with every default filled in; ``parse`` gives it back."""
    import tomli_w

    return tomli_w.dumps(_without_none(plain(config)))


def plain(config: Config) -> dict[str, Any]:
    """The configuration as plain values."""
    return config.model_dump(mode="json")


def _without_none(value: Any) -> Any:
    """TOML has no null: a key that is None is left out."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "value_error":  # one of ours: it already names the value, and the key where its place is a section
        message = str(problem["ctx"]["error"])
        return message if message.startswith("[") else f"{_place(problem['loc'])} {message}".strip()
    if problem["type"] != "extra_forbidden":
        return f"{_place(problem['loc'])} expected {_expected(problem)}; got {problem['input']!r}"
    if broken := _broken_extension(problem["loc"]):
        return f"{key}: {broken}"
    known = keys(Config)
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5) or [
        name for name in known if name.split(".")[-1] == key.split(".")[-1]
    ]
    return f"unknown key {key!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else "")


def _place(path: tuple[str | int, ...]) -> str:
    """Where a problem is: ``[pairs.mix]``, ``[pairs.mix] stems:``, ``[pairs.limit] release_ms:`` for a number of a list, or ``seed:``."""
    model: Any = Config
    sections: list[str] = []
    for index, part in enumerate(path):
        field = model.model_fields.get(part)
        inner = getattr(field, "annotation", None)
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            if get_origin(inner) is dict:  # ranges: an effect, then one of its settings, then the forms that were tried
                sections += [str(name) for name in path[index : index + 2]]
                part = path[index + 2] if len(path) > index + 2 else ""
            where = f"[{'.'.join(sections)}] " if sections else ""
            return f"{where}{part}:" if part else where.strip()
        sections.append(str(part))
        model = inner
    return f"[{'.'.join(sections)}]" if sections else ""


def _expected(problem: Any) -> str:
    """What a key takes: its range where it has one, else as pydantic says it."""
    field: Any = None
    model: Any = Config
    if "ranges" in problem["loc"][:-1]:
        return "a value, a range [low, high], or a list of the values to choose from"
    for part in problem["loc"]:
        if get_origin(model) in (dict, tuple):  # a table of named values, or a list: the part names one of them
            model = get_args(model)[-1] if get_origin(model) is dict else get_args(model)[0]
            continue
        field = getattr(model, "model_fields", {}).get(part) if isinstance(part, str) else field
        model = getattr(field, "annotation", None)
    what = "a number" if problem["type"] in OUT_OF_RANGE else EXPECTED.get(problem["type"])
    if what in ("a number", "a whole number") and field is not None:
        last = problem["loc"][-1]
        within = range_of(field) if isinstance(last, str) else ranges_of_items(field)[min(last, len(ranges_of_items(field)) - 1)]
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        unit = extra.get("unit")
        return " ".join(part for part in (what, within, f"({unit})" if unit else "") if part)
    if what is not None:
        return what
    if problem["type"] in ("too_short", "too_long"):
        least, most = (problem["ctx"].get(f"{name}_length") for name in ("min", "max"))
        return f"a list of at least {least}" if most is None else f"a list of {most} values"
    return str(problem["msg"]).removeprefix("Input should be ")


def _broken_extension(path: tuple[str | int, ...]) -> str | None:
    """Why a section is unknown: the package that provides it is installed but cannot be used."""
    registries: dict[str | int, Registry[Any]] = {"pairs": RECIPES, "dataset": WRITERS}
    if len(path) != 2 or path[0] not in registries:
        return None
    try:
        _ = registries[path[0]][str(path[1])]
    except BrokenExtensionError as error:
        return str(error)
    except UnknownNameError:
        return None
    return None


def keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    """The keys and sections that a section may have, each with its path."""
    found = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        found.append(prefix + name)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += keys(kind, f"{prefix}{name}.")
    return found
