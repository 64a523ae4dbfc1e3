"""Writing one benchmark's section of ``docs/results.md``.

Conventions
    A section is delimited by HTML comments that carry the benchmark's name, so that a new run replaces its own section and no other.
    Nothing in the file is typed by hand: each section holds the command that printed it.
"""

from __future__ import annotations

import platform
import re
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results.md"
HEAD = """# Results

Every section is what the command in it printed. The machine is named beside the figures; ratios were taken within one run.
"""


def machine() -> str:
    """Names the processor as the operating system reports it, and the number of cores in use."""
    import os

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = re.findall(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        model = names[0].strip() if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def report(name: str, command: str, body: str, *, write: bool) -> None:
    """Prints what a benchmark found, and publishes it if that is wanted."""
    print(body)
    if write:
        publish(name, command, body)


def publish(name: str, command: str, body: str) -> None:
    """Replaces the section of one benchmark, or appends it if it is new. ``body`` is Markdown."""
    text = RESULTS.read_text() if RESULTS.exists() else HEAD
    made = f"`{command}` on {date.today().isoformat()}, {machine()}."
    section = f"<!-- begin {name} -->\n## {name}\n\n{made}\n\n{body.strip()}\n<!-- end {name} -->\n"
    pattern = re.compile(rf"<!-- begin {re.escape(name)} -->.*?<!-- end {re.escape(name)} -->\n", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text)
