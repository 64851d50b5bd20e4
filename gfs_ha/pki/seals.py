"""The door to AES-256-GCM: one sealed box at a time, its nonce never twice under a key."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Bytes = bytes | bytearray | memoryview

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


@cache
def _library() -> tuple[type[AESGCM], type[Exception]]:
    """Load what does it, when it is first needed: who shows no tickets does not wait for it."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM, InvalidTag


class Seal:
    """One key. Thread-safe."""

    __slots__ = ("_altered", "_cipher")

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, f"a key of {len(key)} bytes"
        kind, self._altered = _library()
        self._cipher = kind(key)

    def close(self, nonce: bytes, content: bytes, beside: bytes) -> bytes:
        """Return content encrypted, with a tag over it and over what stands `beside` in clear."""
        return self._cipher.encrypt(nonce, content, beside)

    def open(self, nonce: bytes, sealed: bytes, beside: bytes) -> bytes | None:
        """Return what was sealed; None when this key, nonce and `beside` did not seal it."""
        try:
            return self._cipher.decrypt(nonce, sealed, beside)
        except self._altered:
            return None

    def close_into(self, nonce: bytes, content: Bytes, into: memoryview) -> None:
        """Encrypt into a view that is TAG_BYTES longer, and apart from the content."""
        self._cipher.encrypt_into(nonce, content, None, into)

    def open_into(self, nonce: bytes, sealed: Bytes, into: memoryview) -> bool:
        """Decrypt into a view that is TAG_BYTES shorter; False when it was altered."""
        try:
            self._cipher.decrypt_into(nonce, sealed, None, into)
        except self._altered:
            return False
        return True

    def sign(self, nonce: bytes, content: Bytes) -> bytes:
        """Return a tag over content that stays in clear (GMAC)."""
        return self._cipher.encrypt(nonce, b"", content)

    def agrees(self, nonce: bytes, content: Bytes, tag: Bytes) -> bool:
        """Return whether content in clear is what was signed."""
        try:
            self._cipher.decrypt(nonce, tag, content)
        except self._altered:
            return False
        return True
