"""Which kind of file system a folder is on: one of this machine, or one that several machines share.

Locks of a file system that several machines share may reach this machine alone: Lustre with ``localflock``, NFS with ``local_lock`` or
``nolock``, most of FUSE's. Taking such a lock succeeds without a warning.

References
    proc_pid_mountinfo(5): field 5 is the place, with spaces and backslashes in octal; the type follows the field that is a hyphen.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# fmt: off
SHARED = frozenset((
    "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "quobyte",
    "smb3", "smbfs", "wekafs",
))
# fmt: on


def is_shared(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Whether other machines may work in a folder. All of FUSE is taken for shared; False where there is no list of mounts."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    place, best, found = os.path.realpath(folder), "", ""
    for fields in (line.split(" ") for line in lines if " - " in line):
        mounted = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if len(mounted) >= len(best) and (place == mounted or place.startswith(mounted.rstrip("/") + "/")):
            best, found = mounted, fields[fields.index("-") + 1]  # of several mounted at one place the last one is visible
    return found in SHARED or found.startswith("fuse")
