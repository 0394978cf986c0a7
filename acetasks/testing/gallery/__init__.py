"""The gallery: one row a provider, with how it writes its tasks down; only here are their names known.

The shapes are those of the services' documents and of their official clients' tests, as of November 2026; files,
ids and prompts are made up. A provider without a row is given the generic shape, which puts a file where the
provider's row in `acetasks.providers.table` says that files stand.
"""

from __future__ import annotations

from acetasks.testing.gallery import documented, images, others, videos
from acetasks.testing.gallery.parts import ALL_TIMES, success_ack
from acetasks.testing.shapes import Shape

#: What a provider without a row sends.
GENERIC = Shape(times=ALL_TIMES, stamps_failure=True, ack=success_ack)

_GALLERY = {**documented.ROWS, **videos.ROWS, **images.ROWS, **others.ROWS}


def shape_of(slug: str) -> Shape:
    """Find how a provider writes its tasks down; the generic way where the gallery has no row."""
    return _GALLERY.get(slug, GENERIC)
