"""Thrift's compact protocol, as far as the metadata of a Parquet file needs it (writing only).

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Value = int | bytes | str | Sequence["Value"] | Mapping[int, "Value"]

_TRUE, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 5, 6, 8, 9, 12


class Long(int):
    """An integer that its field declares as 64 bits wide."""


def encode(value: Value) -> bytes:
    """The bytes of a value: a mapping of field numbers is a struct, a plain ``int`` is an i32."""
    if isinstance(value, Mapping):
        return _struct(value)
    if isinstance(value, int):
        return varint((value << 1) ^ (value >> 63))
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return varint(len(value)) + value
    size = len(value)
    kind = _kind(value[0])
    head = bytes([size << 4 | kind]) if size < 15 else bytes([0xF0 | kind]) + varint(size)
    return head + b"".join(map(encode, value))


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _struct(fields: Mapping[int, Value]) -> bytes:
    encoded, previous = b"", 0
    for number, value in sorted(fields.items()):
        encoded += bytes([(number - previous) << 4 | _kind(value)])
        encoded += b"" if value is True else encode(value)
        previous = number
    return encoded + b"\x00"


def _kind(value: Value) -> int:
    if value is True:
        return _TRUE
    if isinstance(value, int):
        return _I64 if isinstance(value, Long) else _I32
    if isinstance(value, Mapping):
        return _STRUCT
    return _BINARY if isinstance(value, bytes | str) else _LIST
