"""Reads records from the pages of a SQLite file one by one, as SQLite's ``.recover`` does.

SQLite finds a row by following its tree from page to page, so a damaged page hides all that lies
behind it. Each leaf is complete in itself, though. The format is that of
https://www.sqlite.org/fileformat2.html; nothing in a page is believed.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR = 0x0D, 0x0A, 0x02

DEFAULT_PAGE_BYTES = 4096
"""SQLite's default, which our files have."""

MOST_VALUES = 100
"""Values in a record. Ours have fewer."""

_WAL_HEADER, _FRAME_HEADER = 32, 24
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

Record = tuple[Any, ...]

_BROKEN = (IndexError, ValueError, OverflowError, struct.error)
"""What parsing raises where a page holds something else. UnicodeDecodeError is a ValueError."""


class Pages:
    """The pages of a file, with those of its write-ahead log in place of older ones."""

    def __init__(self, file: Path) -> None:
        self._content = file.read_bytes()
        self.size = _page_bytes(self._content)
        reserved = self._content[20] if len(self._content) > 20 else 0
        self._usable = self.size - (reserved if reserved < 64 else 0)
        log = file.with_name(file.name + "-wal")
        self._newer = _logged(log.read_bytes(), self.size) if log.exists() else {}

    def rows(self) -> Iterator[tuple[int, Record]]:
        """The rows of all tables, each with its rowid."""
        for page in self._all():
            if page[_begin(page)] == TABLE_LEAF:
                yield from self._cells(page, self._row)

    def entries(self) -> Iterator[Record]:
        """The entries of all indexes."""
        for page in self._all():
            if page[_begin(page)] in (INDEX_LEAF, INDEX_INTERIOR):
                yield from self._cells(page, self._key)

    def _all(self) -> Iterator[bytes]:
        numbers = {*range(1, len(self._content) // self.size + 2), *self._newer}
        return (page for number in sorted(numbers) if (page := self._page(number)))

    def _page(self, number: int) -> bytes:
        if number in self._newer:
            return self._newer[number]
        page = self._content[(number - 1) * self.size : number * self.size]
        return page + bytes(self.size - len(page)) if page else b""

    def _cells(self, page: bytes, parse: Any) -> Iterator[Any]:
        begin = _begin(page)
        pointers = begin + (12 if page[begin] == INDEX_INTERIOR else 8)
        count = min(int.from_bytes(page[begin + 3 : begin + 5]), self.size // 6)
        for place in range(count):
            at = int.from_bytes(page[pointers + 2 * place : pointers + 2 * place + 2])
            try:
                yield parse(page, at)
            except _BROKEN:
                continue

    def _row(self, page: bytes, at: int) -> tuple[int, Record]:
        length, at = _varint(page, at)
        number, at = _varint(page, at)
        return number, _record(self._payload(page, at, length, most=self._usable - 35))

    def _key(self, page: bytes, at: int) -> Record:
        if page[_begin(page)] == INDEX_INTERIOR:
            at += 4  # the number of a child
        length, at = _varint(page, at)
        most = (self._usable - 12) * 64 // 255 - 23
        return _record(self._payload(page, at, length, most=most))

    def _payload(self, page: bytes, at: int, length: int, *, most: int) -> bytes:
        """A cell's content. most: bytes of it that lie in the page itself."""
        if length > len(self._content) + self.size * len(self._newer):
            raise ValueError("longer than the file")
        if length <= most:
            return page[at : at + length]
        least = (self._usable - 12) * 32 // 255 - 23
        here = least + (length - least) % (self._usable - 4)
        here = here if here <= most else least
        found = bytearray(page[at : at + here])
        follower = int.from_bytes(page[at + here : at + here + 4])
        while len(found) < length:
            page = self._page(follower)
            found += page[4 : self._usable]
            follower = int.from_bytes(page[:4])
            if len(page) < self.size:
                raise ValueError("a page is missing")
        return bytes(found[:length])


def _begin(page: bytes) -> int:
    """Where a page's own header begins: in the first page behind the file's."""
    return 100 if page.startswith(b"SQLite format 3\0") else 0


def _page_bytes(content: bytes) -> int:
    size = int.from_bytes(content[16:18])
    size = 65536 if size == 1 else size
    return size if size >= 512 and size & (size - 1) == 0 else DEFAULT_PAGE_BYTES


def _logged(content: bytes, size: int) -> dict[int, bytes]:
    """The newest pages in a write-ahead log, up to its last commit."""
    found: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    salt = content[_WAL_HEADER + 8 : _WAL_HEADER + 16]
    for at in range(_WAL_HEADER, len(content) - _FRAME_HEADER - size + 1, _FRAME_HEADER + size):
        number, pages_after = struct.unpack(">II", content[at : at + 8])
        if content[at + 8 : at + 16] != salt:
            break  # left from before
        pending[number] = content[at + _FRAME_HEADER : at + _FRAME_HEADER + size]
        if pages_after:
            found |= pending
            pending = {}
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to 9 bytes, and where it ends."""
    value = 0
    for place in range(8):
        byte = data[at + place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + place + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >= 1 << 63 else value, at + 9


def _record(data: bytes) -> Record:
    end, at = _varint(data, 0)
    kinds: list[int] = []
    while at < end:
        kind, at = _varint(data, at)
        kinds.append(kind)
        if len(kinds) > MOST_VALUES:
            raise ValueError("no record of ours")
    if at != end:
        raise ValueError("a header that doesn't end where it says")
    values = []
    for kind in kinds:
        value, at = _value(kind, data, at)
        values.append(value)
    if at != len(data):
        raise ValueError("a record that doesn't end where it says")
    return tuple(values)


def _value(kind: int, data: bytes, at: int) -> tuple[Any, int]:
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], at
    if kind == 7:
        return struct.unpack(">d", data[at : at + 8])[0], at + 8
    if kind in _INTEGER_BYTES:
        end = at + _INTEGER_BYTES[kind]
        return int.from_bytes(data[at:end], signed=True), end
    if kind < 12:
        raise ValueError("no such kind of value")
    end = at + (kind - 12) // 2
    if end > len(data):
        raise ValueError("a value beyond the record")
    return data[at:end].decode() if kind % 2 else data[at:end], end
