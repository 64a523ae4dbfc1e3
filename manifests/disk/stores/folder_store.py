"""``file:///folder``: a folder as a store, such as a disk of another machine. What is written is there whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stemwright.manifests.disk import durable
from stemwright.manifests.disk.stores import Listed, Span, check_length, is_key


class FolderStore:
    """The files of this machine; a key is an absolute path without its first slash."""

    def __init__(self, bucket: str = "") -> None:
        self._root = Path(os.sep) / bucket

    def _place(self, key: str) -> Path:
        if not is_key(key):
            raise FileNotFoundError(2, "no such object", key)
        return self._root / key

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes of a file, or so many of them."""
        with self._place(key).open("rb") as file:
            file.seek(start)
            data = file.read() if length is None else file.read(length)
        return data if length is None else check_length(data, length, key)

    def get_ranges(self, key: str, spans: Sequence[Span]) -> list[bytes]:
        """Several ranges of a file."""
        return [self.get(key, start, length) for start, length in spans]

    def download(self, key: str, place: Path) -> None:
        """Copies a file."""
        durable.copy_file(self._place(key), place)

    def size(self, key: str) -> int | None:
        """The size of a file; None if there is none."""
        place = self._place(key)
        return place.stat().st_size if place.is_file() else None

    def put(self, key: str, data: Path | bytes, *, create: bool = True) -> bool:
        """Writes a file by rename."""
        place = self._place(key)
        if create and place.exists():
            return False
        durable.copy_file(data, place) if isinstance(data, Path) else durable.write_bytes(place, data)
        return True

    def list(self, prefix: str) -> Iterator[Listed]:
        """All files below a folder, but those that are being written."""
        for folder, _, names in os.walk(self._root / prefix):
            for name in names:
                if durable.LEFTOVER.fullmatch(name) is None:
                    place = Path(folder, name)
                    found = place.stat()
                    yield Listed(place.relative_to(self._root).as_posix(), found.st_size, f"{found.st_mtime_ns:x}-{found.st_ino:x}")

    def delete(self, keys: Iterable[str]) -> None:
        """Removes files."""
        durable.remove(self._place(key) for key in keys)
