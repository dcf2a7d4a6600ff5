"""The files that this process has mapped into its memory, on Linux.

A tensor of a map (`torch.from_numpy(np.load(..., mmap_mode="r"))`, `torch.from_file`) has lost the
map that it was made of, and reading it ends the process if its file has become shorter. The system
knows the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: A line for each map: its addresses, permissions, offset in the file, device, inode and path.
TABLE = Path("/proc/self/maps")


@dataclass(frozen=True, slots=True)
class FileMap:
    """A part of a file in memory.

    Attributes:
        begin, end: Its addresses.
        offset: The position of its first byte in the file.
        path: The file when it was mapped.
        shared: Whether the memory always holds what the file does.
    """

    begin: int
    end: int
    offset: int
    path: Path
    shared: bool

    @classmethod
    def read(cls, line: str) -> FileMap | None:
        """Read a line of the table; None if its memory is of no file that can be opened."""
        addresses, permissions, offset, _, inode, *path = line.split(maxsplit=5)
        if inode == "0" or not path or path[0].endswith("(deleted)"):
            return None
        begin, end = (int(address, 16) for address in addresses.split("-"))
        name = path[0].rstrip("\n").replace("\\012", "\n")
        # A private map that cannot be written has no values of its own either.
        shared = permissions[3] == "s" or permissions[1] == "-"
        return cls(begin, end, int(offset, 16), Path(name), shared)


class FileMaps:
    """The maps of this process, read from the system once, when they are first needed."""

    def find(self, begin: int, end: int) -> FileMap | None:
        """Return the map that contains some addresses, or None."""
        return next((m for m in self._maps if m.begin <= begin and end <= m.end), None)

    @cached_property
    def _maps(self) -> list[FileMap]:
        try:
            lines = TABLE.read_text(errors="surrogateescape").splitlines()
        except OSError:  # another system
            return []
        return [file_map for line in lines if (file_map := FileMap.read(line)) is not None]
