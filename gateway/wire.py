"""The little of protobuf's wire format that lets finished messages be put into another without parsing them."""

from __future__ import annotations

LENGTH_DELIMITED = 2
ONE_BYTE = [bytes([value]) for value in range(0x80)]


def length_delimited(field_number: int, payload: bytes) -> bytes:
    """A field that holds `payload`: a nested message, or bytes."""
    return length_delimited_head(field_number, len(payload)) + payload


def length_delimited_head(field_number: int, payload_bytes: int) -> bytes:
    """What stands before the payload of such a field."""
    return varint(field_number << 3 | LENGTH_DELIMITED) + varint(payload_bytes)


def varint(value: int) -> bytes:
    """A number of 0 or more, seven bits to a byte, lowest first."""
    if value <= 0x7F:
        return ONE_BYTE[value]
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
