"""Jute, ZooKeeper's serialization: primitive types, and what makes a class a record.

A record is a class whose annotations are its codec, so that it reads like the
``.jute`` file it came from and mypy sees plain ``int`` and ``str``::

    @record
    class DeleteRequest:
        path: UString
        version: Int

All integers are big-endian; a string or buffer is its length and its bytes, and a
length of -1 is null (BinaryOutputArchive.java).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from struct import Struct
from struct import error as struct_error
from typing import Annotated, Any, Final, Generic, TypeVar, get_args, get_origin, get_type_hints

from typing_extensions import dataclass_transform

from zkservice.errors import ProtocolError, UnwritableError

T = TypeVar("T")

NULL: Final = -1


@dataclass(frozen=True)
class Codec(Generic[T]):
    """How a value becomes bytes and back.

    ``put`` appends to the bytes; ``get`` reads at an offset and returns the value and
    the offset behind it, or raises `ProtocolError`.
    """

    put: Callable[[bytearray, T], None]
    get: Callable[[bytes, int], tuple[T, int]]


def fixed(form: str) -> Codec[Any]:
    """The codec of a number: one `struct` format character, big-endian."""
    packing = Struct(">" + form)
    pack, unpack_from, size = packing.pack, packing.unpack_from, packing.size

    def put(out: bytearray, value: int) -> None:
        out += pack(value)

    def get(data: bytes, offset: int) -> tuple[int, int]:
        end = offset + size
        if end > len(data):
            raise ProtocolError(None, f"{size} bytes are due at {offset} of {len(data)}")
        return unpack_from(data, offset)[0], end

    return Codec(put, get)


INT: Final[Codec[int]] = fixed("i")
LONG: Final[Codec[int]] = fixed("q")
BOOL: Final[Codec[bool]] = fixed("?")

_LENGTH: Final = Struct(">i")


def _get_length(data: bytes, offset: int) -> tuple[int, int]:
    """Read a length.  -1 is null; else the data must have at least that many bytes more."""
    start = offset + 4
    if start > len(data):
        raise ProtocolError(None, f"a length is due at {offset} of {len(data)} bytes")
    (size,) = _LENGTH.unpack_from(data, offset)
    if size < NULL or size > len(data) - start:
        raise ProtocolError(None, f"a length of {size} with {len(data) - start} bytes left")
    return size, start


def _put_buffer(out: bytearray, value: bytes | None) -> None:
    if value is None:
        out += b"\xff\xff\xff\xff"
    else:
        out += _LENGTH.pack(len(value))
        out += value


def _get_buffer(data: bytes, offset: int) -> tuple[bytes | None, int]:
    size, start = _get_length(data, offset)
    if size == NULL:
        return None, start
    return data[start : start + size], start + size


def _put_nullable_ustring(out: bytearray, value: str | None) -> None:
    _put_buffer(out, None if value is None else value.encode())


def _get_nullable_ustring(data: bytes, offset: int) -> tuple[str | None, int]:
    raw, end = _get_buffer(data, offset)
    return None if raw is None else _text(raw), end


def _text(raw: bytes) -> str:
    """Decode UTF-8, or the CESU-8 that Java servers send.

    BinaryOutputArchive.stringToByteBuffer encodes a character outside the Basic Multilingual
    Plane as two surrogates of three bytes each.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass
    try:
        return (
            raw.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16")
        )
    except UnicodeDecodeError as error:
        raise ProtocolError(None, f"a string that is not UTF-8: {error.reason}") from None


def _put_ustring(out: bytearray, value: str) -> None:
    raw = value.encode()
    out += _LENGTH.pack(len(raw))
    out += raw


def _get_ustring(data: bytes, offset: int) -> tuple[str, int]:
    text, end = _get_nullable_ustring(data, offset)
    if text is None:
        raise ProtocolError(None, f"a null string at {offset}")
    return text, end


def _get_lenient_ustring(data: bytes, offset: int) -> tuple[str, int]:
    text, end = _get_nullable_ustring(data, offset)
    return text or "", end


def _put_trailing_bool(out: bytearray, value: bool | None) -> None:
    if value is not None:
        BOOL.put(out, value)


def _get_trailing_bool(data: bytes, offset: int) -> tuple[bool | None, int]:
    return (None, offset) if offset == len(data) else BOOL.get(data, offset)


Int = Annotated[int, INT]
Long = Annotated[int, LONG]
Bool = Annotated[bool, BOOL]
#: Bytes, or None: no data is not the same as empty data.
Buffer = Annotated[bytes | None, Codec(_put_buffer, _get_buffer)]
#: Text; null is refused.
USTRING: Final[Codec[str]] = Codec(_put_ustring, _get_ustring)
UString = Annotated[str, USTRING]
#: Text; null reads as empty, since kazoo writes every empty string as null.
LenientUString = Annotated[str, Codec(_put_ustring, _get_lenient_ustring)]
NullableUString = Annotated[str | None, Codec(_put_nullable_ustring, _get_nullable_ustring)]
#: A last byte that old programs leave out (None): ``readOnly`` of the handshake.
TrailingBool = Annotated[bool | None, Codec(_put_trailing_bool, _get_trailing_bool)]


def _get_ustrings(data: bytes, offset: int) -> tuple[list[str] | None, int]:
    """A vector of strings, in one loop: a list of children has many."""
    count, offset = _get_length(data, offset)
    if count == NULL:
        return None, offset
    texts: list[str] = []
    unpack_from, end = _LENGTH.unpack_from, len(data)
    plain = data.decode("latin-1")  # a character for a byte: right wherever it is ASCII
    for _ in range(count):
        start = offset + 4
        if start > end:
            raise ProtocolError(None, f"a length is due at {offset} of {end} bytes")
        (size,) = unpack_from(data, offset)
        offset = start + size
        if size < 0 or offset > end:
            raise ProtocolError(None, f"a string of {size} bytes with {end - start} left")
        text = plain[start:offset]
        texts.append(text if text.isascii() else _text(data[start:offset]))
    return texts, offset


def vector(element: Codec[T]) -> Codec[list[T] | None]:
    """The codec of a count and as many elements; a count of -1 is null."""
    put_one, get_one = element.put, element.get

    def put(out: bytearray, value: list[T] | None) -> None:
        if value is None:
            out += b"\xff\xff\xff\xff"
            return
        out += _LENGTH.pack(len(value))
        for one in value:
            put_one(out, one)

    def get(data: bytes, offset: int) -> tuple[list[T] | None, int]:
        # Each element has at least one byte, so _get_length can check the count as if it were a
        # length: a forged one is refused before any memory is used for it.
        size, offset = _get_length(data, offset)
        if size == NULL:
            return None, offset
        values = []
        for _ in range(size):
            value, offset = get_one(data, offset)
            values.append(value)
        return values, offset

    return Codec(put, _get_ustrings if element is USTRING else get)  # type: ignore[arg-type]


def not_null(codec: Codec[T | None]) -> Codec[T]:
    """The same codec, but a null is refused."""

    def get(data: bytes, offset: int) -> tuple[T, int]:
        value, end = codec.get(data, offset)
        if value is None:
            raise ProtocolError(None, f"a null vector at {offset}")
        return value, end

    return Codec(codec.put, get)


def codec_of(annotation: Any) -> Codec[Any]:
    """The codec that an annotation stands for: a primitive, a list of one, or a record."""
    if get_origin(annotation) is Annotated:
        for note in get_args(annotation)[1:]:
            if isinstance(note, Codec):
                return note
    if get_origin(annotation) is list:
        return not_null(vector(codec_of(get_args(annotation)[0])))
    nullable = [part for part in get_args(annotation) if part is not type(None)]
    if len(nullable) == 1 and get_origin(nullable[0]) is list:
        return vector(codec_of(get_args(nullable[0])[0]))
    # Only the class's own attribute: a subclass without @record would inherit a codec that does
    # not know the fields it adds.
    codec = getattr(annotation, "__dict__", {}).get("__jute__")
    if not isinstance(codec, Codec):
        raise TypeError(f"{annotation!r} is not a jute type")
    return codec


R = TypeVar("R")

#: The errors of a codec's ``put`` if the value does not have the type of its field.
_UNWRITABLE: Final = (struct_error, UnicodeEncodeError, TypeError, AttributeError)


@dataclass_transform(frozen_default=True)
def record(cls: type[R]) -> type[R]:
    """Make a class a jute record: a frozen dataclass that `encode` and `decode` know."""
    made: Any = dataclass(frozen=True, slots=True)(cls)
    hints = get_type_hints(made, include_extras=True)
    parts = [(field.name, codec_of(hints[field.name])) for field in fields(made)]
    puts = [(name, codec.put) for name, codec in parts]
    gets = [codec.get for _, codec in parts]

    def put(out: bytearray, value: R) -> None:
        name = ""
        try:
            for name, put_field in puts:
                put_field(out, getattr(value, name))
        except _UNWRITABLE as error:
            found = type(getattr(value, name, None)).__name__
            raise UnwritableError(made.__name__, name, found, str(error)) from None

    def get(data: bytes, offset: int) -> tuple[R, int]:
        values = []
        for get_field in gets:
            value, offset = get_field(data, offset)
            values.append(value)
        return made(*values), offset

    made.__jute__ = Codec(put, get)
    made.__puts__ = tuple(put_field for _, put_field in puts)
    typed: type[R] = made
    return typed


def encode(value: object) -> bytes:
    """The bytes of a record, without a frame or header.

    Raises:
        UnwritableError: a value does not fit into its field.
    """
    out = bytearray()
    append(out, value)
    return bytes(out)


def encode_fields(cls: type[Any], *values: object) -> bytes:
    """The bytes of a record with these values, without building the record object.

    Raises:
        UnwritableError: a value does not fit into its field.
    """
    out = bytearray()
    try:
        for put, value in zip(cls.__puts__, values, strict=True):
            put(out, value)
    except _UNWRITABLE:
        return encode(cls(*values))  # which raises an error that names the field
    return bytes(out)


def append(out: bytearray, value: object) -> None:
    """Append the bytes of a record.

    Raises:
        UnwritableError: a value does not fit into its field; then ``out`` is unchanged.
    """
    codec: Codec[Any] = type(value).__jute__  # type: ignore[attr-defined]
    start = len(out)
    try:
        codec.put(out, value)
    except UnwritableError:
        del out[start:]
        raise


def decode(cls: type[R], data: bytes, offset: int = 0) -> R:
    """Read a record that begins at the offset; what follows it is ignored, as servers do.

    Raises:
        ProtocolError: the bytes end too early, or are not such a record.
    """
    return decode_at(cls, data, offset)[0]


def decode_at(cls: type[R], data: bytes, offset: int) -> tuple[R, int]:
    """Read a record at the offset; returns it and the offset after it."""
    codec: Codec[R] = cls.__jute__  # type: ignore[attr-defined]
    return codec.get(data, offset)
