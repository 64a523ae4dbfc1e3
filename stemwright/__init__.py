"""stemwright turns released mixtures into training data for music mixing models.

The sources are in the folders ``manifests``, ``separation`` and ``datagen`` of the repository. This folder gives them their one import
name: the wheel maps them below ``stemwright`` (``package-dir`` in ``pyproject.toml``), and in a checkout they are links, so that Python,
pytest, mypy and editors see a new file at once. A strict editable install would need to be made again for every file.
"""

from stemwright.manifests import __version__

__all__ = ["__version__"]
