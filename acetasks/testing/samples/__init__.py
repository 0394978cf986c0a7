"""Templates of all providers, by slug.

The formats are those of the services' documents and of their official clients' tests, as of November 2026; files,
ids and prompts are made up. A provider without a template gets the generic one, which has a file at an artifact field
of the provider's spec.
"""

from __future__ import annotations

from acetasks.testing.samples import documented, images, others, songs, videos
from acetasks.testing.samples.common import success_ack
from acetasks.testing.samples.image_endpoints import FACE
from acetasks.testing.templates import Template

#: Specs of services without a tasks call, which are not in the provider table.
UNPOLLED = (FACE,)

GENERIC = Template(ack=success_ack)

_TEMPLATES = {**documented.TEMPLATES, **videos.TEMPLATES, **images.TEMPLATES, **songs.TEMPLATES, **others.TEMPLATES}


def template_for(slug: str) -> Template:
    """Return a provider's template, or the generic one."""
    return _TEMPLATES.get(slug, GENERIC)
