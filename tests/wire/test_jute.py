"""Tests of ``zkservice.wire.jute``: lengths, strings, what cannot be written."""

from __future__ import annotations

from struct import pack
from typing import Annotated

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import ProtocolError, UnwritableError
from zkservice.wire.acl import ACL, Id
from zkservice.wire.jute import Int, append, codec_of, decode, encode, encode_fields, record
from zkservice.wire.records import (
    AuthPacket,
    CreateRequest,
    DeleteRequest,
    GetChildrenResponse,
    PathResponse,
    SetDataRequest,
)


class LengthTests(SynchronousTestCase):
    """A length announces what is there; anything else is refused before memory is spent."""

    def test_only_minus_1_means_null(self) -> None:
        """-1 is null; no other negative length means anything."""
        self.assertEqual(decode(PathResponse, pack(">i", -1)), PathResponse(None))
        for size in (-2, -(2**31)):
            with self.assertRaises(ProtocolError):
                decode(PathResponse, pack(">i", size) + bytes(20))
            with self.assertRaises(ProtocolError):
                decode(GetChildrenResponse, pack(">i", size) + bytes(20))

    def test_an_impossible_count_is_refused(self) -> None:
        """A count of two thousand million strings in a few bytes is refused."""
        for size in (2**31 - 1, 21):
            with self.assertRaises(ProtocolError):
                decode(GetChildrenResponse, pack(">i", size) + bytes(20))


class StringTests(SynchronousTestCase):
    """UTF-8, and the CESU-8 that Java sends."""

    def read(self, raw: bytes) -> str | None:
        """What the bytes of a string read as."""
        return decode(PathResponse, pack(">i", len(raw)) + raw).path

    @given(st.text())
    def test_both_spellings_outside_the_bmp_are_read(self, text: str) -> None:
        """Java writes each half of a character outside the BMP by itself; both spellings read."""
        units = text.encode("utf-16-be")
        pairs = zip(units[::2], units[1::2], strict=True)
        java = "".join(chr(high << 8 | low) for high, low in pairs)
        self.assertEqual(self.read(java.encode("utf-8", "surrogatepass")), text)
        self.assertEqual(self.read(text.encode()), text)

    def test_byte_order_mark(self) -> None:
        """U+FEFF is a character like others, in either spelling."""
        self.assertEqual(self.read(b"\xef\xbb\xbf/"), "\ufeff/")
        self.assertEqual(self.read(b"\xef\xbb\xbf\xed\xa0\xbd\xed\xb8\x80"), "\ufeff\U0001f600")

    def test_invalid_text_is_refused(self) -> None:
        """Half a character, or bytes that are no text at all, are refused."""
        for raw in (b"\xff", b"\xed\xa0\xbd", b"\xed\xb8\x80\xed\xa0\xbd", b"\xc3", b"\xc0\x80"):
            with self.assertRaises(ProtocolError):
                self.read(raw)


class UnwritableTests(SynchronousTestCase):
    """What a field cannot carry is refused with the field's name."""

    def test_the_error_names_record_and_field(self) -> None:
        """The error names the record, the field, and what was found in it."""
        for value, message in [
            (DeleteRequest("/a", 2**31), "version of DeleteRequest has an invalid int"),
            (DeleteRequest("/a", "1"), "version of DeleteRequest has an invalid str"),  # type: ignore[arg-type]
            (DeleteRequest(b"/a", 1), "path of DeleteRequest has an invalid bytes"),  # type: ignore[arg-type]
            (DeleteRequest("/\ud800", 1), "path of DeleteRequest has an invalid str"),
            (SetDataRequest("/a", "text", 1), "data of SetDataRequest has an invalid str"),  # type: ignore[arg-type]
            (SetDataRequest("/a", 7, 1), "data of SetDataRequest has an invalid int"),  # type: ignore[arg-type]
            (ACL(1, None), "scheme of Id has an invalid NoneType"),  # type: ignore[arg-type]
        ]:
            with self.assertRaisesRegex(UnwritableError, message):
                encode(value)

    def test_without_a_record(self) -> None:
        """Values that never become a record are refused in the same words."""
        with self.assertRaisesRegex(UnwritableError, "version of DeleteRequest has an invalid int"):
            encode_fields(DeleteRequest, "/a", 2**31)
        with self.assertRaisesRegex(UnwritableError, "path of DeleteRequest has an invalid bytes"):
            encode_fields(DeleteRequest, b"/a", 1)

    def test_the_innermost_record_is_named(self) -> None:
        """The innermost record is the one that is named."""
        acl = [ACL(1, Id("world", "anyone")), ACL(2**31, Id("world", "anyone"))]
        with self.assertRaises(UnwritableError) as caught:
            encode(CreateRequest("/a", b"", acl, 0))
        self.assertEqual((caught.exception.record, caught.exception.field), ("ACL", "perms"))

    def test_all_or_nothing(self) -> None:
        """Half a record never stays behind in the bytes that are about to be sent."""
        out = bytearray(b"before")
        with self.assertRaises(UnwritableError):
            append(out, CreateRequest("/a", b"data", [ACL(31, Id("ip", "::"))], 2**31))
        self.assertEqual(out, b"before")

    def test_a_credential_is_not_shown(self) -> None:
        """A credential is not shown, whatever is wrong with it."""
        with self.assertRaises(UnwritableError) as caught:
            encode(AuthPacket(0, "digest", "me:secret"))  # type: ignore[arg-type]
        self.assertNotIn("secret", str(caught.exception))


class DeclarationTests(SynchronousTestCase):
    """A record with a field that is not a jute type is a programming error."""

    def test_fields_without_a_codec_are_refused(self) -> None:
        """Plain types, annotations without a codec and classes that are no records are refused."""

        class Bare(DeleteRequest):
            pass

        for annotation in (int, str | None, Annotated[int, "metres"], Bare):
            with self.assertRaisesRegex(TypeError, "is not a jute type"):
                codec_of(annotation)

    def test_an_invalid_field_is_found_at_the_definition(self) -> None:
        """Such a field is found when the class is made, not when it is sent."""
        with self.assertRaisesRegex(TypeError, "is not a jute type"):
            record(type("Bad", (), {"__annotations__": {"count": int, "size": Int}}))
