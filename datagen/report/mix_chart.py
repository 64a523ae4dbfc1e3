"""The picture of a first mix: the level of each stem against the mix, and its place between the loudspeakers.

Conventions
    Stems are in the order of their levels, the loudest on top. A stereo stem that keeps its image is drawn as a line over the whole width.
"""

from __future__ import annotations

import io
from pathlib import Path

from stemwright.datagen.mixing.settling import MixSettings
from stemwright.datagen.report.lettering import short_names
from stemwright.datagen.report.plots import pyplot_without_display
from stemwright.datagen.report.sheet import drawing
from stemwright.manifests.disk.durable import remove_earlier, write_bytes

LEVEL, PLACE = "#0072B2", "#D55E00"  # of Okabe and Ito
LONGEST = 28  # characters of a name
LOWEST_LU = -30.0


def plot_mix(settings: MixSettings, path: Path | str) -> None:
    """Draws the levels and places of a mix into a picture (.png, .svg, .pdf or .jpg)."""
    with drawing(texts=list(settings.stems)):
        pyplot = pyplot_without_display()
        names = sorted(settings.stems, key=lambda name: settings.stems[name].level_lu)
        figure, (levels, places) = pyplot.subplots(
            1, 2, figsize=(9.0, 1.4 + 0.32 * len(names)), sharey=True, width_ratios=(3, 2), layout="constrained"
        )
        rows = range(len(names))
        shown = [max(settings.stems[name].level_lu, LOWEST_LU) for name in names]
        lowest = min(-12.0, min(shown)) - 3.0
        levels.barh(rows, [level - lowest for level in shown], left=lowest, color=LEVEL, height=0.6)
        for row, name in zip(rows, names, strict=True):
            stem = settings.stems[name]
            levels.annotate(
                f"{round(stem.level_lu, 1) + 0.0:.1f}",
                (max(stem.level_lu, LOWEST_LU), row),
                (3, 0),
                textcoords="offset points",
                va="center",
            )
            if any(reason.rule == "stereo" for reason in stem.plan.reasons):
                places.plot([-1, 1], [row, row], color=PLACE, linewidth=3, solid_capstyle="round")
            else:
                places.plot(stem.plan.pan, row, "o", color=PLACE, markersize=8)
        levels.set(xlim=(lowest, 3.0), xlabel="level against the mix, LU", yticks=list(rows))
        levels.set_yticklabels(list(short_names(names, LONGEST).values()))
        places.set(
            xlim=(-1.1, 1.1), xlabel="place", xticks=[-1, 0, 1], xticklabels=["left", "centre", "right"], ylim=(-0.6, len(names) - 0.4)
        )
        for axes in (levels, places):
            axes.grid(axis="x", alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(f"{settings.loudness_lufs:.1f} LUFS, true peak {settings.true_peak_dbtp:.1f} dBTP", fontsize=10)
        picture = io.BytesIO()
        figure.savefig(picture, format=Path(path).suffix[1:].lower().replace("jpg", "jpeg"), dpi=150)
        pyplot.close(figure)
        remove_earlier(Path(path))
        write_bytes(Path(path), picture.getvalue())
