"""Which kind of file system a folder lies on: flock and append hold on local ones only."""

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs",
     "9p", "afs", "orangefs", "pvfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs",
     "fuse.rclone", "fuse.gcsfuse", "fuse.juicefs", "fuse.moosefs", "panfs", "wekafs"}
)  # fmt: skip


def network_file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """Return the kind of the network file system that a folder lies on, or "" on a local one.

    The folder need not exist. "" too where the system does not say.
    """
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    home, best, kind = folder.resolve(), -1, ""
    for line in lines:
        left, _, right = line.partition(" - ")
        place = Path(left.split()[4].encode().decode("unicode_escape"))
        if home.is_relative_to(place) and len(place.parts) >= best:
            best, kind = len(place.parts), right.split()[0]
    return kind if kind in NETWORK else ""
