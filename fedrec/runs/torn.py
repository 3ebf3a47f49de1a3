"""What a crash leaves of a line that was being added to a file."""

import os
from typing import BinaryIO


def drop_torn_line(file: BinaryIO) -> None:
    """Cut off what a crash left after the last newline."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
