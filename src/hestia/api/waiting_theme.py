"""Templates of the waiting page: made into a whole page, or into the part of it that changes.

Owns Jinja2. The part is what stands between two marks of the page, so that a template of somebody else's
needs to know nothing of it. Source: experience.md WP-12, WP-16.
"""

from __future__ import annotations

from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from hestia.api.waiting_view import Shown, duration

BEGIN: Final = "<!--now-->"
END: Final = "<!--/now-->"


def environment() -> Environment:
    """Everything that is put in is escaped."""
    made = Environment(
        loader=PackageLoader("hestia.api"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["duration"] = duration
    return made


class Theme:
    """One template."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def page(self, now: Shown, nonce: str) -> str:
        """The whole page."""
        return self._template.render(p=now, nonce=nonce)

    def part(self, now: Shown) -> str:
        """What changes of it."""
        text = self.page(now, "")
        begin, end = text.find(BEGIN), text.rfind(END)
        return text[begin + len(BEGIN) : end].strip() if 0 <= begin < end else ""


BUILT_IN: Final = Theme(environment().get_template("waiting.html"))
