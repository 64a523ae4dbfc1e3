"""Names that no two attempts share: of hidden files, of folders of unfinished work, and of what holds a lease.

Several processes, on several machines, may work in one folder, and one that was believed dead may go on writing. Each writes under names
that no other can have, so none of them can damage or remove what another writes; only a finished file or folder is renamed to its name.

Conventions
    ``process_name`` is HOST-PROCESS-RANDOM: eight hex digits of a digest of the host's name, the number of the process, and six random
    hex digits. It is short, since it is added to names of files, and holds no character that is special in a pattern.
    ``attempt_name`` is the same with a number behind it, another one at each call.
    These names enter no id, no row and no byte of a dataset.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import socket
from functools import cache

PROCESS = r"[0-9a-f]{8}-\d+-[0-9a-f]{6}"
ATTEMPT = rf"{PROCESS}-\d+"

_numbers = itertools.count(1)


def process_name() -> str:
    """A name of this process, which no other process on any machine has."""
    return _name(os.getpid())


def attempt_name() -> str:
    """A name of a new attempt of this process."""
    return f"{process_name()}-{next(_numbers)}"


@cache
def _name(process: int) -> str:  # by its number: a forked process has another name
    return f"{host()}-{process}-{secrets.token_hex(3)}"


@cache
def host() -> str:
    """Eight hex digits that stand for this machine's name."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def may_run(name: str) -> bool:
    """Whether the process of a name may still run: one of this machine is looked for, of another machine's nothing is known.

    A number alone, as earlier versions wrote, is a process of this machine. This process itself does not count: it knows what it does.
    """
    where, _, rest = name.rpartition("-")[0].rpartition("-") if "-" in name else (host(), "", name)
    return where != host() or is_running(int(rest))


def is_running(process: int) -> bool:
    """Whether another process with this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's process
        return True
    return process != os.getpid()
