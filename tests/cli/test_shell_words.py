"""Errors of the library as the commands print them: every advice is one that a shell user can follow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import acetasks
from acetasks.cli.shell_words import describe_error

if TYPE_CHECKING:
    from collections.abc import Callable

#: What only a Python program can do.
PYTHON = re.compile(r"Client\(|client\.|\w+=(True|False|')|acetasks\.\w+\.|`")


async def find_errors(new_client: Callable[..., acetasks.Client]) -> dict[str, Exception]:
    """Return errors of the library that advise something."""
    errors: dict[str, Exception] = {}

    async def note(name: str, call: Callable[[], object]) -> None:
        try:
            result = call()
            if hasattr(result, "__await__"):
                await result
        except Exception as error:  # noqa: BLE001  # whatever is raised is what the test is about
            errors[name] = error

    async def use(name: str, client: acetasks.Client, call: Callable[[acetasks.Client], object]) -> None:
        async with client:
            await note(name, lambda: call(client))

    await note("insecure", lambda: acetasks.Client("t", base_url="http://other.example"))
    await note("provider", lambda: acetasks.providers.lookup("Luma!"))
    await note("path", lambda: acetasks.providers.lookup("lumma"))
    await use("token", new_client(None), lambda client: client.retrieve("luma", "a"))
    await use("key", new_client(), lambda client: client.submit("luma", {}, key="k"))
    await use("journal", new_client(), lambda client: client.resume())
    await use("submit path", new_client(), lambda client: client.submit("brand-new", {}))
    await use("trace", new_client(), lambda client: client.retrieve("luma", trace_id="a"))
    errors["uncertain"] = acetasks.SubmissionUncertainError(
        "reset", provider="luma", path="/luma/videos", payload=b"{}", sent_at=0.0
    )
    return errors


async def test_advice_is_for_the_shell(new_client: Callable[..., acetasks.Client]) -> None:
    """No argument, method or module of Python is named; options and commands are."""
    described = {name: describe_error(error) for name, error in (await find_errors(new_client)).items()}
    assert set(described) == {
        *("insecure", "provider", "path", "token", "key", "journal", "submit path", "trace", "uncertain")
    }
    assert {name: text for name, text in described.items() if PYTHON.search(text)} == {}
    assert "pass --allow-insecure if the network is trusted" in described["insecure"]
    assert "set the environment variable ACEDATACLOUD_API_TOKEN" in described["token"]
    assert "--key needs a journal: name its file with --journal" in described["key"]
    assert "name its file with --journal" in described["journal"]
    assert "name it with --path /brand-new/..." in described["submit path"]
    assert "look it up with 'acetasks history luma' before submitting again" in described["uncertain"]


def test_notes_are_part_of_the_text() -> None:
    """A note says what may be paid for."""
    error = acetasks.AceTasksError("it failed")
    error.add_note("luma task a was submitted: wait for it with client.handle('luma', 'a')")
    assert describe_error(error) == "it failed; luma task a was submitted: wait for it with 'acetasks wait luma:a'"


@pytest.mark.parametrize("text", ["a private address; DownloadPolicy(allow_private=True) allows those"])
def test_other_advice_is_translated(text: str) -> None:
    """Settings without an option are not named."""
    assert not PYTHON.search(describe_error(acetasks.AceTasksError(text)))
