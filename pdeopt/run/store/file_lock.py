"""The lock by which one process at a time works in a directory."""

from __future__ import annotations


def try_lock(descriptor: int) -> bool:
    """Lock an open file until all processes that have it open have closed it.

    Args:
        descriptor: The descriptor of the file.

    Returns:
        False where another process has it; True, too, where there are no locks: on Windows, and on some network disks.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
