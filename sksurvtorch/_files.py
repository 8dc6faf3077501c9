"""Files that are there as a whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: there, parts that a kill has left are not cleared
    fcntl = None  # type: ignore[assignment]

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def as_path(path: Any) -> Path:
    """Return a path that may be given as bytes."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"`path` must be the name of a file, got {type(path).__name__}.")
    return Path(os.fsdecode(path))


def is_there(path: PathLike) -> bool:
    """Whether there is a file that can be read and replaced; raise where neither is possible."""
    return _target(as_path(path)).exists()


@contextmanager
def replaced(path: PathLike) -> Iterator[Any]:
    """Open a file that takes the place of the one at `path` once all has been written."""
    # What is written stands in another file of the folder until then. A symbolic link stays, and
    # its target is replaced; permissions of an existing file stay. A part that a killed process has
    # left is removed by the next one that writes to the same path.
    given = as_path(path)
    target = _target(given)
    try:
        with _part(target) as (part, writer):
            yield writer
            writer.finish()
            part.replace(target)
    except OSError as error:
        if error.errno is None:
            raise
        unchanged = "The file was not written; one that was there before is unchanged"
        what = f"{os.strerror(error.errno)}. {unchanged}"
        raise OSError(error.errno, what, str(given)) from error


@contextmanager
def _part(target: Path) -> Iterator[tuple[Path, _Writer]]:
    """Open a file beside the target, which is removed if anything fails."""
    # A name of its full length leaves no room for an ending.
    name = hashlib.blake2b(os.fsencode(target.name), digest_size=8).hexdigest()
    _clear(target.parent, f".{name}.*.part")
    part, file = _begin(target, f".{name}")
    try:
        with file:
            writer = _Writer(file)
            try:
                yield part, writer
            except BaseException as error:
                # The library that writes may have said something else in its place.
                if writer.failure is not None and error is not writer.failure:
                    raise writer.failure from None
                raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class _Writer:
    """A file to write to, which remembers why it could not be written.

    Parameters
    ----------
    file : binary file
        The file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.failure: OSError | None = None

    def write(self, content: Any) -> int:
        """Write some bytes."""
        try:
            return self._file.write(content)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """Do nothing: all is handed to the disk at the end."""

    def finish(self) -> None:
        """Hand what is written to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())


def _target(path: Path) -> Path:
    """Return the file that is to be replaced, behind all symbolic links, or raise."""
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"`path` must lie in a folder that exists, got {str(path)!r}.")
    if target.is_dir():
        raise IsADirectoryError(f"`path` must name a file, got the folder {str(path)!r}.")
    if os.path.lexists(target) and not target.is_file():
        raise OSError(f"`path` must name a file, got the device, pipe or loop {str(path)!r}.")
    return target


def _begin(target: Path, prefix: str) -> tuple[Path, IO[bytes]]:
    """Return path and file of a new part, locked, with the permissions of the target."""
    before = target.stat() if target.exists() else None
    # Nobody may read it who must not read the target.
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o700
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        part = target.with_name(f"{prefix}.{secrets.token_hex(4)}.part")
        file = open(os.open(part, flags, mode), "wb")  # noqa: SIM115  # the caller closes it
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        if part.exists():  # another process may have cleared it before it was locked
            break
        file.close()
    if before is not None and hasattr(os, "fchmod"):
        with suppress(PermissionError):  # only root may give files away
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
    return part, file


def _clear(folder: Path, pattern: str) -> None:
    """Remove the parts that nobody is writing."""
    for part in folder.glob(pattern) if fcntl is not None else ():
        with suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where it is being written
            part.unlink()
