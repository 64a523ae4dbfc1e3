"""What every section of the configuration is made of, and the error of one that cannot be used."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from stemwright.manifests.usage import UsageError


class ConfigError(UsageError):
    """A configuration that cannot be used, with the key and the nearest right one."""


def since(version: str, *, unit: str = "") -> dict[str, Any]:
    """What the reference says of a key besides its description, type, range and default: its first version, and the unit of a number."""
    return {"since": version, "unit": unit}


class Section(BaseModel):
    """Base of all configuration sections: frozen, and an unknown key, or a number that is infinite or none, is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
