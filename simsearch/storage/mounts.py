"""File systems on which several machines may write, and locks do not hold between them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from simsearch.errors import IndexLocked

MOUNTS: Final = Path("/proc/self/mountinfo")
ALLOW: Final = "SIMSEARCH_ALLOW_NETWORK_FS"
_NETWORK: Final = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "lustre"),
        *("ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "sshfs"),
    }
)


def refuse_network(directory: Path) -> None:
    """Refuse to write to a directory on a network file system, unless the environment allows it.

    SQLite's log needs memory that all processes share, and flock may hold on one machine only: two
    writers on two machines would each be right, and the index wrong.

    Raises:
        IndexLocked: naming the file system.
    """
    kind = file_system(directory)
    if kind.rpartition("fuse.")[2] not in _NETWORK or os.environ.get(ALLOW) == "1":
        return
    raise IndexLocked(
        f"{directory} is on a network file system ({kind}), where no lock keeps another machine "
        f"out (keep it on a local disk; if no other machine ever writes to it, set {ALLOW}=1)"
    )


def file_system(directory: Path) -> str:
    """Return the type of the file system of a directory; "" where the kernel does not say."""
    try:
        device = os.stat(directory).st_dev
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    # ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS... - TYPE SOURCE OPTIONS
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split(" ")[2:3] == [wanted]:
            return after.partition(" ")[0]
    return ""
