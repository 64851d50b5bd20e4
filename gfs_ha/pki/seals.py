"""The door to AES-256-GCM: one sealed box at a time, its nonce never twice under a key."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


class Seal:
    """One key. Thread-safe."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, f"a key of {len(key)} bytes"
        self._cipher = AESGCM(key)

    def close(self, nonce: bytes, content: bytes, beside: bytes) -> bytes:
        """Return content encrypted, with a tag over it and over what stands `beside` in clear."""
        return self._cipher.encrypt(nonce, content, beside)

    def open(self, nonce: bytes, sealed: bytes, beside: bytes) -> bytes | None:
        """Return what was sealed; None when this key, nonce and `beside` did not seal it."""
        try:
            return self._cipher.decrypt(nonce, sealed, beside)
        except InvalidTag:
            return None
