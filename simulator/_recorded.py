"""A recording as what it holds: lanes of sockets, each with its frames in the file, and answers of REST."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from schemas.recordings import Answer, Frame, Recording, Socket, is_cut, parse


class NotARecording(ValueError):
    """A file that cannot be played."""


class Strand:
    """One socket's frames: ``count`` of them, from ``offset`` of the file on."""

    def __init__(self, path: Path, socket: Socket, offset: int) -> None:
        self._path, self._offset = path, offset
        self.socket, self.lane, self.at_path = socket.socket, socket.lane, socket.path or "/"
        self.count = 0

    def frames(self) -> Iterator[Frame]:
        """In order, read as they are asked for."""
        left = self.count
        with self._path.open("rb") as lines:
            lines.seek(self._offset)
            for line in lines if left else ():
                it = _line(line)
                if isinstance(it, Frame) and it.socket == self.socket:
                    yield it
                    left -= 1
                    if not left:
                        return


class Recorded:
    """What a file holds. Raises NotARecording."""

    def __init__(self, path: Path) -> None:
        self.exchange = ""
        self.lanes: dict[int, list[Strand]] = {}
        self.answers: dict[tuple[str, str], bytes] = {}
        """Bodies by path and what was posted; the last one holds."""
        self.frames = self.first = self.last = self.skipped = 0
        strands: dict[int, Strand] = {}
        offset = 0
        with path.open("rb") as lines:
            for line in lines:
                it = _line(line)
                if isinstance(it, Recording):
                    self.exchange = it.exchange
                elif not self.exchange:
                    raise NotARecording(f"{path} does not begin as a recording of `flowtape record` does")
                elif isinstance(it, Socket):
                    strands[it.socket] = Strand(path, it, offset)
                    self.lanes.setdefault(it.lane, []).append(strands[it.socket])
                elif isinstance(it, Answer):
                    self.answers[it.path, it.asked] = it.body.encode()
                elif it is not None and it.socket in strands:
                    strands[it.socket].count += 1
                    self.frames, self.first, self.last = self.frames + 1, self.first or it.received, it.received
                else:
                    self.skipped += 1
                offset += len(line)
        if not self.frames:
            raise NotARecording(f"{path} holds no frames")

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return (self.last - self.first) / 1e6


def _line(line: bytes) -> Frame | Recording | Socket | Answer | None:
    """What a line says; None where it is cut off or is none of a recording."""
    if is_cut(line):
        return None
    try:
        return parse(line)
    except ValueError:
        return None
