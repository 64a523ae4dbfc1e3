"""The toy package of the pages "how to add ...": its files are the code blocks of these pages, so that what they show is what is run."""

import re
import tomllib
from pathlib import Path

PAGES = Path(__file__).parent.parent.parent / "docs" / "extending"
BLOCK = re.compile(r"```\{code-block\} \w+\n:caption: (\S+)\n\n(.*?)```", re.DOTALL)
NAME, VERSION = "toy-stemwright", "0.1"


def blocks() -> dict[str, list[str]]:
    """The code blocks of all pages by the file that their caption names."""
    found: dict[str, list[str]] = {}
    for page in sorted(PAGES.glob("*.md")):
        for caption, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            found.setdefault(caption, []).append(text)
    return found


def entry_points() -> dict[str, dict[str, str]]:
    """Group -> name -> object, of the entry points that the pages show."""
    groups: dict[str, dict[str, str]] = {}
    for text in blocks()["pyproject.toml"]:
        for group, points in tomllib.loads(text)["project"]["entry-points"].items():
            groups.setdefault(group, {}).update(points)
    return groups


def install(folder: Path) -> Path:
    """Writes the package as a distribution into a folder, which then belongs on the path."""
    for caption, texts in blocks().items():
        if caption.endswith(".py"):
            (folder / caption).parent.mkdir(parents=True, exist_ok=True)
            (folder / caption).write_text(texts[0])
    info = folder / f"{NAME.replace('-', '_')}-{VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n")
    lines = [line for group, points in entry_points().items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()), "")]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder
