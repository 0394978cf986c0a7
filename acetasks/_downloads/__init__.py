"""Downloads of artifacts: each file is complete under its name, or not there."""

from acetasks._downloads.downloader import Downloader, download_task
from acetasks._downloads.streams import download_each, with_paths

__all__ = ["Downloader", "download_each", "download_task", "with_paths"]
