"""Debian packages with free music: where each song is in them, its licence, and their files without installing them.

Conventions
    A package is downloaded by apt-get, or taken as PACKAGE_*.deb from a folder, and unpacked once, to CACHE/PACKAGE with its version in the
    file VERSION. Nothing is installed, and no program of a package is run. Links out of the package are left out.
    ``words`` are what a package's copyright file has to say of its files; a package whose file says something else is refused.

References
    deb(5): an ar archive of control.tar and data.tar. Debian's machine-readable copyright format 1.0: stanzas of ``Files`` and ``License``.
"""

from __future__ import annotations

import io
import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

GPL2 = "version 2 of the License, or (at your option) any later"
MIT = "including without limitation the rights"


class PackageError(RuntimeError):
    """A package that cannot be had, or whose copyright file does not say what is expected."""


@dataclass(frozen=True)
class Source:
    """A package, what it holds, the licence and the words of its copyright file that say so, the artist, its files, and those left out."""

    package: str
    kind: str
    licence: str
    words: str
    artist: str
    files: str
    left_out: tuple[str, ...] = ()


SOURCES = (
    Source("fretsonfire-songs-sectoid", "guitar", "MIT", MIT, "Carlos Viola Iborra", "usr/share/games/fretsonfire/data/songs/*/*/song.ogg"),
    Source("tomatoes-data", "module", "Zlib", "Zlib", "Mika Halttunen", "usr/share/tomatoes/music/*.it"),
    Source(
        "tecnoballz-data",
        "module",
        "GPL-3.0-or-later",
        "GPL-3+",
        "Regis Parret (TLK Games)",
        "usr/share/games/tecnoballz/musics/*.mod",
        ("area1-game2",),  # the same music as another of its files
    ),
    Source("heroes-sound-tracks", "module", "GPL-2.0-or-later", "GPL-2+", "Alexel, ToalNkor (Heroes)", "usr/share/games/heroes/mod/*.xm"),
    Source("dodgindiamond2", "module", "GPL-2.0-or-later", "GPL-2+", "Juan J. Martinez", "usr/share/games/dodgindiamond2/*.xm"),
    Source(
        "pingus-data",
        "module",
        "GPL-2.0-or-later",
        GPL2,
        "Joseph Toscano and others (Pingus)",
        "usr/share/games/pingus/data/music/*",
        ("gd-matth", "sorcerer"),  # one says that its samples are ripped; the other is an arrangement of someone else's music
    ),
    Source(
        "singularity-music",
        "mixture",
        "CC-BY-SA-3.0",
        "Attribution, ShareAlike",
        "Max McCracken",
        "usr/share/games/singularity/music/**/*.ogg",
    ),
    Source(
        "freedoom",
        "score",
        "BSD-3-Clause",
        "freedoom-license",  # its text is that of BSD with three clauses
        "Contributors to the Freedoom project",
        "usr/share/games/doom/freedoom[12].wad",
    ),
    Source(
        "freedm",
        "score",
        "BSD-3-Clause",
        "freedoom-license",
        "Contributors to the Freedoom project",
        "usr/share/games/doom/freedm.wad",
    ),
    Source("hydrogen-drumkits", "drumkit", "see each kit", "GPL", "see each kit", "usr/share/hydrogen/data/drumkits/*/drumkit.xml"),
)


@dataclass(frozen=True)
class Packages:
    """Packages unpacked in ``cache``; those that are not there are taken from the folder ``given``, or downloaded."""

    cache: Path
    given: Path | None = None

    def unpacked(self, package: str) -> Path:
        """The folder with a package's files. Raises PackageError if it cannot be had."""
        root, part = self.cache / package, self.cache / f".{package}.part"
        if not root.exists():
            shutil.rmtree(part, ignore_errors=True)  # of a run that was stopped
            part.mkdir(parents=True)
            deb = self._file(package, part)
            unpack(deb, part / "files")
            (part / "files" / "VERSION").write_text(version_of(deb), encoding="utf-8")
            (part / "files").rename(root)
            shutil.rmtree(part)
        return root

    def version(self, package: str) -> str:
        """The version of a package that is unpacked."""
        return (self.unpacked(package) / "VERSION").read_text(encoding="utf-8").strip()

    def _file(self, package: str, folder: Path) -> Path:
        files = sorted(self.given.glob(f"{package}_*.deb")) if self.given else []
        if files:
            return files[-1]
        if shutil.which("apt-get") is None:
            raise PackageError(
                f"the package {package} cannot be downloaded: there is no apt-get, which Debian and Ubuntu have. Download its .deb from "
                f"https://packages.debian.org/{package} by hand, and give its folder with --packages FOLDER"
            )
        print(f"{package}: downloading", flush=True)
        command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
        if done.returncode or not (files := sorted(folder.glob("*.deb"))):
            said = " ".join(line for line in done.stderr.splitlines() if line.startswith("E:")) or f"it left with {done.returncode}"
            raise PackageError(
                f"apt-get could not download {package}: {said}. Is there a network, and space on the disk? If it knows no such package, "
                "run `apt-get update` first (on Ubuntu with the component universe), or give its .deb with --packages FOLDER"
            )
        return files[-1]


def unpack(deb: Path, folder: Path) -> None:
    """Extracts the files of a package: regular files, folders and links within it."""
    with _archive(deb, "data.tar") as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter=_inside)
        else:  # Python before 3.11.4, which Debian 12 has
            archive.extractall(folder, [member for member in archive.getmembers() if _stays_within(member)])


def _inside(member: tarfile.TarInfo, place: str) -> tarfile.TarInfo | None:
    """The member as it may be extracted; None: it may not."""
    try:
        return tarfile.data_filter(member, place)
    except tarfile.FilterError:
        return None


def _stays_within(member: tarfile.TarInfo) -> bool:
    """Whether a member is a file, a folder or a link, and neither its name nor its target leads out of the folder."""
    at = PurePosixPath(member.name)
    paths = [at]
    if member.issym():
        paths.append(at.parent / member.linkname)
    elif member.islnk():
        paths.append(PurePosixPath(member.linkname))
    elif not (member.isreg() or member.isdir()):
        return False
    return not any(path.is_absolute() or posixpath.normpath(path).split("/")[0] == ".." for path in paths)


def version_of(deb: Path) -> str:
    """The version that a package's control file states."""
    with _archive(deb, "control.tar") as archive:
        names = [name for name in archive.getnames() if name.removeprefix("./") == "control"]
        file = archive.extractfile(names[0]) if names else None
        found = re.search(r"^Version: *(\S+)", file.read().decode("utf-8"), re.MULTILINE) if file else None
    if found is None:
        raise PackageError(f"{deb} states no version; expected a Debian package")
    return found[1]


def _archive(deb: Path, member: str) -> tarfile.TarFile:
    """The archive ``member`` of a package, of any compression that Python's tarfile reads; for others dpkg-deb has to be there."""
    name, data = next(((name, data) for name, data in _members(deb) if name.startswith(member)), ("", b""))
    if not name:
        raise PackageError(f"{deb} has no {member}; expected a Debian package")
    if name.endswith(".zst") and sys.version_info < (3, 14):
        if shutil.which("dpkg-deb") is None:
            raise PackageError(
                f"{deb} is compressed with zstandard, which needs dpkg-deb or Python 3.14; take the package of Debian instead"
            )
        option = "--fsys-tarfile" if member == "data.tar" else "--ctrl-tarfile"
        data = subprocess.run(["dpkg-deb", option, deb], check=True, capture_output=True).stdout
    return tarfile.open(fileobj=io.BytesIO(data))


def _members(deb: Path) -> list[tuple[str, bytes]]:
    """Names and contents of an ar archive: after its mark, heads of 60 bytes with the size in decimal, and data at even places."""
    data, found, start = deb.read_bytes(), [], 8
    if data[:8] != b"!<arch>\n":
        raise PackageError(f"{deb} is not a Debian package; expected an ar archive")
    while start + 60 <= len(data):
        size = int(data[start + 48 : start + 58])
        if start + 60 + size > len(data):
            raise PackageError(f"{deb} is cut short; download it again")
        found.append((data[start : start + 16].decode().strip().rstrip("/"), data[start + 60 : start + 60 + size]))
        start += 60 + size + size % 2
    return found


def kept_copyright(source: Source, root: Path, out: Path) -> str:
    """The text of a package's copyright file, which is copied to OUT/licences. Raises PackageError if it does not say ``source.words``.

    Where the file has a stanza for all files, the words have to be in its licence.
    """
    path = root / "usr/share/doc" / source.package / "copyright"
    if not path.is_file():
        raise PackageError(f"{source.package} has no copyright file; expected {path}")
    text = path.read_text(encoding="utf-8", errors="replace")
    stanza = re.search(r"^Files: \*\n(?:.+\n)*?License: *(.+)$", text, re.MULTILINE)  # of all files but what later stanzas name
    if source.words not in " ".join((stanza[1] if stanza else text).split()):
        raise PackageError(
            f"the copyright file of {source.package} does not say {source.words!r} ({path}); read it before you use the music"
        )
    (out / "licences").mkdir(parents=True, exist_ok=True)
    (out / "licences" / f"{source.package}.txt").write_text(text, encoding="utf-8")
    return text
