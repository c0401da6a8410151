"""Whether a template of the owner's for the waiting page can be read; `api.waiting_theme` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

BLOCKS: Final = (
    "title",
    "icon",
    "style",
    "header",
    "now",
    "progress",
    "stages",
    "failure",
    "footer",
    "script",
)
INSTEAD: Final = "the built-in page is shown instead"


def template_faults(path: str) -> Iterator[str]:
    """What is wrong with it, in sentences; nothing where all is well."""
    from jinja2 import Environment, TemplateSyntaxError, nodes  # only for who has a template

    try:
        tree = Environment().parse(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        yield f"{path} cannot be read: {exc.strerror}; {INSTEAD}"
        return
    except UnicodeDecodeError:
        yield f"{path} is not UTF-8; {INSTEAD}"
        return
    except TemplateSyntaxError as exc:
        yield f"{path}:{exc.lineno}: {exc.message}; {INSTEAD}"
        return
    extends = [one.template for one in tree.find_all(nodes.Extends)]
    if any(isinstance(one, nodes.Const) and one.value == "waiting.html" for one in extends):
        for block in tree.find_all(nodes.Block):
            if block.name not in BLOCKS:
                known = ", ".join(BLOCKS)
                said = f"the page has no block {block.name}, so it is never shown; it has {known}"
                yield f"{path}:{block.lineno}: {said}"
