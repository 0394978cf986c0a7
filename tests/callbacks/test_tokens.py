"""Tokens of callback URLs."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks._callbacks.tokens import TokenMaker

MAKER = TokenMaker(b"a secret of the tests")


def test_each_token_is_new_and_genuine() -> None:
    """Tokens are unique, of characters that a URL has as they are, and known to every holder of the secret."""
    tokens = [MAKER.make("luma") for _ in range(1000)]
    assert len(set(tokens)) == 1000
    assert all(TokenMaker(b"a secret of the tests").is_genuine("luma", token) for token in tokens)
    assert all(token.replace("-", "").replace("_", "").isalnum() and token.isascii() for token in tokens)


def test_a_token_is_of_one_secret_and_one_provider() -> None:
    """It is not genuine with another secret, or for another provider."""
    token = MAKER.make("luma")
    assert not TokenMaker(b"a secret of others").is_genuine("luma", token)
    assert not MAKER.is_genuine("veo", token)


def test_only_one_text_is_genuine() -> None:
    """A text that decodes to the same bytes is not."""
    token = MAKER.make("luma")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    bytes_of = base64.urlsafe_b64decode(token + "=")
    same = [
        token[:-1] + letter for letter in letters if base64.urlsafe_b64decode(token[:-1] + letter + "=") == bytes_of
    ]
    assert len(same) == 4
    assert [text for text in same if MAKER.is_genuine("luma", text)] == [token]


@given(st.integers(0, 42), st.characters())
def test_a_changed_character_is_found(position: int, character: str) -> None:
    """A token with any other character is not genuine."""
    token = MAKER.make("luma")
    changed = token[:position] + character + token[position + 1 :]
    assert MAKER.is_genuine("luma", changed) is (changed == token)


@given(st.text())
def test_no_other_text_is_genuine(text: str) -> None:
    """Whatever the text is, it is refused without an exception."""
    assert not MAKER.is_genuine("luma", text)


@pytest.mark.parametrize("text", ["", "a" * 42, "a" * 43, "a" * 44, "=" * 43, "\udcff" * 43, "ü" * 43])
def test_texts_of_about_the_length_are_refused(text: str) -> None:
    """Neither the length nor the alphabet suffices."""
    assert not MAKER.is_genuine("luma", text)


@pytest.mark.parametrize("provider", ["", "lüma", "\udcff", "luma/", "LUMA"])
def test_no_other_provider_has_the_token(provider: str) -> None:
    """Whatever stands before it in the path."""
    assert not MAKER.is_genuine(provider, MAKER.make("luma"))


def test_the_secret_is_not_shown() -> None:
    """The repr has no secret."""
    assert "secret" not in repr(MAKER)
