"""The reference of effects: for each its equation, settings, a picture of what it does, and how it is undone or found again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from generate.effect_plots import SHOWS, draw
from generate.equations import EQUATIONS
from generate.tables import cell, code, number, table
from stemwright.datagen.effects import EFFECTS, MODULES
from stemwright.datagen.effects.settings import Choice, describe, fields
from stemwright.datagen.effects.traits import MEANINGS

DOORS = {  # function -> what it means that an effect has it
    "invert": "undone with known settings",
    "fit": "found from the wet and the dry signal",
    "estimate": "estimated from the wet signal alone",
}
INDEX = """# Effects

Every effect is one implementation in PyTorch, which renders datasets on CPU and GPU, carries gradients, and is what a label means. Output
has the length of the input and no latency. Neutral settings change nothing. `stemwright effects NAME` prints the settings.

"""


def write(folder: Path) -> None:
    """Writes a page for each effect, and one that lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in MODULES:  # those of other packages have pages of their own
        effect = EFFECTS[name]
        (folder / f"{name}.md").write_text(_page(name, effect, folder), encoding="utf-8")
        rows.append([f"[{name}]({name}.md)", cell(_first(effect)), *("yes" if hasattr(effect, door) else "" for door in DOORS)])
    pages = "\n".join(MODULES)
    listing = table(["effect", "what it is", *DOORS.values()], rows)
    (folder / "index.md").write_text(f"{INDEX}{listing}\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n", encoding="utf-8")


def _page(name: str, effect: Any, folder: Path) -> str:
    light, dark = draw(name, folder)
    parts = [
        f"(effect-{name})=\n# {name}\n",
        cell(_first(effect)) + "\n",
        f"$$\n{EQUATIONS[name]}\n$$\n",
        f"![{SHOWS[name]}]({light}){{.only-light}}\n![{SHOWS[name]}]({dark}){{.only-dark}}\n",
        f"*{SHOWS[name]} Drawn by sending test signals through the effect itself.*\n",
        "## Settings\n",
        _settings(effect),
        *_sections(effect),
        "## Undoing and finding the settings\n",
        *_doors(effect),
    ]
    parts += [
        "## Traits\n",
        table(["trait", "meaning"], [[code(trait), cell(MEANINGS[trait])] for trait in MEANINGS if trait in effect.TRAITS]),
    ]
    return "\n".join(parts)


def _settings(effect: Any) -> str:
    rows = []
    for row, field in zip(describe(effect.Settings), fields(effect.Settings).values(), strict=True):
        typical = effect.TYPICAL.get(row.name)
        drawn = f"{number(typical[0])} to {number(typical[1])}" if isinstance(typical, tuple) and len(typical) == 2 else ""
        meaning = cell(row.description[:1].upper() + row.description[1:])
        if isinstance(field, Choice):
            takes, neutral = " or ".join(code(_plain(option)) for option in field.options), code(_plain(field.neutral))
        else:
            off = "" if row.off is None or row.off in (row.low, row.high) else f"; {number(row.off)}: off"
            takes = f"{number(field.low)} to {number(field.high)} {cell(row.unit)}".rstrip() + off
            neutral = number(field.neutral)
        rows.append([code(row.name), meaning, takes, neutral, drawn, row.scale])
    return table(["setting", "meaning", "takes", "neutral", "typical", "drawn on"], rows)


def _plain(option: object) -> str:
    return str(option).lower() if isinstance(option, bool) else str(option)


def _first(effect: Any) -> str:
    return " ".join(effect.module.__doc__.split("\n\n")[0].split())


def _sections(effect: Any) -> list[str]:
    """The sections of the module's head, such as Conventions and References, as prose."""
    found = re.findall(r"^(Conventions|References|Differences)\n((?:    .*\n?|\n)+)", effect.module.__doc__, re.MULTILINE)
    titles = {"References": "Source"}
    return [f"## {titles.get(title, title)}\n\n{cell(body)}\n" for title, body in found]


def _doors(effect: Any) -> list[str]:
    texts = []
    for door, meaning in DOORS.items():
        function = getattr(effect, door, None)
        about = re.sub(r"[:;] see\s+``[^`]+``", "", (function.__doc__ or "") if function else "").split("\n\n")[0]
        texts.append(f"- **{meaning}** (`{door}`): {cell(about) if function else 'no'}")
    return ["\n".join(texts) + "\n"]
