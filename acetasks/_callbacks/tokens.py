"""Tokens of callback URLs: one for each submission, which only a holder of the secret can make.

A token is checked without any memory of the ones that were made, so that forged ones cost nothing and genuine ones are
known after a restart, and in every process that has the secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

#: Bytes of the random part, and of the code that shows that it is genuine: neither can be guessed.
_NONCE_SIZE, _CODE_SIZE = 16, 16
#: Characters of a token: base64 without padding.
_LENGTH = (4 * (_NONCE_SIZE + _CODE_SIZE) + 2) // 3


class TokenMaker:
    """Makes and checks tokens with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "<TokenMaker>"  # without the secret

    def make(self, provider: str) -> str:
        """Return a new token for a submission to a provider."""
        return self._sign(provider, secrets.token_bytes(_NONCE_SIZE))

    def is_genuine(self, provider: str, token: str) -> bool:
        """Return whether this is a token that `make` has returned for the provider, in this process or another."""
        if len(token) != _LENGTH or not token.isascii() or not provider.isascii():
            return False
        try:
            nonce = base64.urlsafe_b64decode(token + "=")[:_NONCE_SIZE]
        except binascii.Error:
            return False
        # The whole text is compared: several texts would decode to the same bytes.
        return hmac.compare_digest(self._sign(provider, nonce), token)

    def _sign(self, provider: str, nonce: bytes) -> str:
        code = hmac.digest(self._secret, nonce + provider.encode(), hashlib.sha256)[:_CODE_SIZE]
        return base64.urlsafe_b64encode(nonce + code).rstrip(b"=").decode()
