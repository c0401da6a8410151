"""What options of strategies call an instance: its name or its address."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from hestia.core.model import InstanceId, InstanceSettings
from hestia.core.strategy import Unfit


def instance_of(text: str, instances: Sequence[InstanceSettings], way: Sequence[str | int]) -> InstanceId:
    """The instance of that name or address. way: keys to it. Raises Unfit."""
    for one in instances:
        if text == one.id or (one.base_url and text.rstrip("/") == one.base_url.rstrip("/")):
            return one.id
    known = [*(one.base_url for one in instances if one.base_url), *(str(one.id) for one in instances)]
    near = difflib.get_close_matches(text, known, n=1)
    raise Unfit(
        f"{text!r} is neither the address nor the name of an instance of this service",
        way=way,
        near=near[0] if near else "",
        remedy="" if near else f"write one of: {', '.join(known)}; or add it to `instances`",
    )
