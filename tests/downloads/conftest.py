"""Fixtures of the tests of downloads."""

from download_support import files, new_downloader

__all__ = ["files", "new_downloader"]
