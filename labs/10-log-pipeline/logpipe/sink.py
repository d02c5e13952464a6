"""A folder of files full of rows: each file appears with all its rows, or not at all.

Any number of workers may write into one folder.
"""

import contextlib
import gzip
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from logpipe.transforms import Row

ENDINGS = {"jsonl": ".jsonl", "gzip": ".jsonl.gz"}
PART = ".part"  # of a file that is being written
STALE = 60  # seconds after which such a file must be from a dead worker


class Sink:
    """Where one worker writes its rows, a file for each batch. Raises OSError if it cannot."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.ending = folder, ENDINGS[kind]
        self.files = 0
        self._name = uuid.uuid4().hex[:8]  # unique to this worker
        folder.mkdir(parents=True, exist_ok=True)
        self._clean()

    def write(self, rows: list[Row]) -> Path:
        """Write a file; once this returns, not even a power cut loses it."""
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        if self.ending.endswith(".gz"):
            data = gzip.compress(data, compresslevel=6)
        self.files += 1
        path = self.folder / f"{time.time_ns()}-{self._name}-{self.files}{self.ending}"
        part = path.with_name(path.name + PART)
        self.folder.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:  # Ctrl-C too
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        self._sync_folder()
        return path

    def _sync_folder(self) -> None:
        """Write the folder to the disk, too: it holds the new name, the file does not."""
        if os.name == "nt":  # Windows has no such call
            return
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _clean(self) -> None:
        """Remove the unfinished files of dead workers; a live one soon renames its own."""
        for part in self.folder.glob("*" + PART):
            with contextlib.suppress(FileNotFoundError):  # another worker was quicker
                if time.time() - part.stat().st_mtime > STALE:
                    part.unlink()


def read_rows(folder: Path) -> Iterator[Row]:
    """Yield all rows of a folder, the oldest file first. Raises OSError and ValueError."""
    for path in sorted(folder.iterdir()):
        if path.name.endswith(tuple(ENDINGS.values())):
            opened = gzip.open if path.name.endswith(".gz") else open
            with opened(path, "rt", encoding="utf-8") as lines:
                try:
                    for row in map(json.loads, lines):
                        if not {"id", "table"} <= row.keys():
                            raise ValueError
                        yield row
                except (ValueError, EOFError, AttributeError, gzip.BadGzipFile):
                    raise ValueError(f"{path} is no file of rows") from None
