"""`external`: what the engines that are there can do with what they did not start (ID-09)."""

from __future__ import annotations

import pytest

from hestia.core.model import External
from tests.unit.config.loading import Loader

PROCESS = "engine: {type: process, command: [chat]}"


@pytest.mark.parametrize("word", ["adopt", "ignore"])
def test_id09_process_adopts_or_ignores(loader: Loader, word: str) -> None:
    assert loader.chat(f"{PROCESS}, external: {word}").external is External(word)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (f"{PROCESS}, external: stop", "engine process cannot stop what it did not start"),
        ("external: stop", "engine none cannot stop what it did not start"),
        ("external: ignore", "ignore leaves nothing to serve"),
        ("external: leave", "expected adopt, ignore or stop"),
    ],
)
def test_id09_what_cannot_be_is_an_error_with_a_remedy(loader: Loader, keys: str, text: str) -> None:
    problem = loader.chat_problem(keys)
    assert problem.key == "services.chat.external"
    assert text in problem.text
    assert problem.remedy or "adopt" in problem.text
