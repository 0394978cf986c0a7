"""The library's messages in the words of the shell: options and commands in place of arguments and methods."""

from __future__ import annotations

import re

#: What the library advises to Python programs, and the same for users of the commands.
_WORDS = (
    (re.compile(r"pass one to Client\(\.\.\.\) or set (\w+)"), r"set the environment variable \1"),
    (re.compile(r"(?:or )?pass allow_insecure=True if"), "or pass --allow-insecure if"),
    (
        re.compile(r"look it up with client\.history\('([^']*)'\) before submitting again"),
        r"look it up with 'acetasks history \1' before submitting again ('acetasks resume' does, with a journal)",
    ),
    (re.compile(r"pass path='([^']*)'"), r"name it with --path \1"),
    (re.compile(r"wait for it with client\.handle\('([^']*)', '([^']*)'\)"), r"wait for it with 'acetasks wait \1:\2'"),
    (
        re.compile(r"create it with Client\(journal='tasks\.db'\)"),
        "name its file with --journal or the environment variable ACETASKS_JOURNAL",
    ),
    (re.compile(r"; `acetasks\.providers\.register` adds one\)"), ")"),
    (re.compile(r"\(`acetasks providers` lists"), "('acetasks providers' lists"),
    (
        re.compile(r"a key is kept in the journal: create the client with Client\(journal='tasks\.db'\)"),
        "--key needs a journal: name its file with --journal or the environment variable ACETASKS_JOURNAL",
    ),
    (re.compile(r"; DownloadPolicy\(allow_private=True\) allows those"), ", from which nothing is downloaded"),
    (re.compile(r", or pass an aiohttp session with a connector for SOCKS as Client\(http=\.\.\.\)"), ""),
    (re.compile(r"^ledger "), "journal "),
    (re.compile(r"PollPolicy\.interval"), "--interval"),
    (re.compile(r"use `retrieve`|use the task id, or `history`"), "use 'acetasks get' with the task id"),
)


def describe_error(error: Exception) -> str:
    """Return the text of an error, with its notes, in the words of the shell."""
    return translate("; ".join([str(error), *getattr(error, "__notes__", ())]))


def translate(text: str) -> str:
    """Return a message of the library in the words of the shell."""
    for pattern, words in _WORDS:
        text = pattern.sub(words, text)
    return text
