"""Refuse a file that is changed while it is read in chunks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gatewright.data.source.open_file import identity
from gatewright.errors import DataError


@dataclass(frozen=True, slots=True)
class UnchangedFile:
    """A file as it was when it was opened."""

    path: Path
    identity: tuple[int, ...]

    @classmethod
    def of(cls, path: Path) -> UnchangedFile:
        """Return the file as it is now."""
        return cls(path, identity(path.stat()))

    def check(self) -> None:
        """Raise `DataError` if the file is another one now, or has other contents."""
        try:
            present = identity(self.path.stat())
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be read any more: {error.strerror or error}"
            ) from error
        if present != self.identity:
            raise DataError(
                f"{self.path} changed while it was read; open it again when no other program "
                "writes to it"
            )
