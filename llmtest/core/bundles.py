"""The files of a folder or a zip archive, in one way.

An archive is read in place: nothing is unpacked, so no name in it leads elsewhere.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

MAX_FILES: Final = 20_000
MAX_BYTES: Final = 1 << 29
"""Of all files together that are read: an archive of some kilobytes may hold terabytes."""


class BundleError(ValueError):
    """A folder or archive cannot be read, or is too large."""


def read_files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield the name (with `/`) and the content of each file in a folder or a zip archive whose name is wanted, sorted.

    Raises:
        BundleError: there is neither at `path`, it cannot be read, or there is too much in it.
    """
    if path.is_dir():
        files = _of_folder(path, wanted)
    elif path.is_file() and zipfile.is_zipfile(path):
        files = _of_archive(path, wanted)
    else:
        raise BundleError(f"{path} is {'no zip archive' if path.is_file() else 'no folder and no file'}")
    room = MAX_BYTES
    for number, (name, data) in enumerate(files, 1):
        room -= len(data)
        if number > MAX_FILES or room < 0:
            raise BundleError(f"{path} has more than {MAX_FILES:,} files or {MAX_BYTES >> 20} MiB")
        yield name, data


def _of_folder(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        # A link in a folder that came from elsewhere may lead to any file of this machine.
        if wanted(name) and file.is_file() and not file.is_symlink():
            if file.stat().st_size > MAX_BYTES:
                raise BundleError(f"{file} is larger than {MAX_BYTES >> 20} MiB")
            yield name, file.read_bytes()


def _of_archive(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                if not info.is_dir() and wanted(info.filename):
                    with archive.open(info) as file:
                        yield info.filename, file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from None
