"""Templates of the owner's own for the waiting page, and what happens when they are broken (WP-16)."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hestia.api.waiting_theme import Themes
from hestia.api.waiting_view import Failure, Shown
from hestia.config.template import BLOCKS, template_faults
from hestia.runtime.visits import Phase

NOW = Shown(
    phase=Phase.WAITING,
    visit="v",
    service="sdxl",
    machine="",
    heading="Starting sdxl",
    lead="Soon.",
    title="Starting sdxl",
    said="",
)
OWN = """{% extends "waiting.html" %}
{% block header %}<p>The house of {{ p.service }}</p>{% endblock %}
{% block style %}{{ super() }}body{font-size:2rem}{% endblock %}
{% block stages %}<p>mine</p>{% endblock %}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "waiting.html"


def themes(own: Path) -> Themes:
    return Themes(lambda: str(own))


def test_wp16_a_template_changes_what_it_names_and_keeps_the_rest(own: Path) -> None:
    own.write_text(OWN)
    page = themes(own).page(NOW, "n1")
    for words in ("The house of sdxl", "font-size:2rem", "Starting sdxl", 'script nonce="n1"', "--fire"):
        assert words in page
    assert "<p>mine</p>" in themes(own).part(NOW)
    assert "The house" not in themes(own).part(NOW)  # it does not change
    assert not list(template_faults(str(own)))


def test_wp16_a_change_of_the_file_is_seen(own: Path) -> None:
    own.write_text(OWN)
    made = themes(own)
    made.page(NOW, "n")
    own.write_text(OWN.replace("The house of", "Welcome to"))
    os.utime(own, (1, 1))
    assert "Welcome to sdxl" in made.page(NOW, "n")


@pytest.mark.parametrize(
    "text",
    [
        "{% block header %}",
        "{{ p.nothing }}",
        '{% extends "other.html" %}',
        "{{ p.service.__class__ }}",
        None,
    ],
    ids=["syntax", "unknown name", "unknown parent", "reaches out", "missing"],
)
def test_wp16_a_broken_one_is_told_once_and_the_built_in_page_is_shown(
    own: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    if text is not None:
        own.write_text(text)
    made = themes(own)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert "<h1>Starting sdxl</h1>" in made.page(NOW, "n")
            assert "<h1>Starting sdxl</h1>" in made.part(NOW)
    assert [one.levelname for one in caplog.records] == ["WARNING"], caplog.records
    assert str(own) in caplog.text


def test_wp16_faults_have_a_line_and_words(own: Path) -> None:
    own.write_text("\n{% block header %}")
    (said,) = template_faults(str(own))
    assert said.startswith(f"{own}:2: ")
    assert said.endswith("the built-in page is shown instead")
    own.write_text('{% extends "waiting.html" %}\n{% block heading %}{% endblock %}')
    (said,) = template_faults(str(own))
    assert said.startswith(f"{own}:2: the page has no block heading, so it is never shown")
    own.write_bytes(b"\xff")
    assert "is not UTF-8" in next(template_faults(str(own)))
    own.unlink()
    assert "cannot be read: No such file" in next(template_faults(str(own)))


def test_wp16_the_named_blocks_are_those_of_the_page(own: Path) -> None:
    for block in BLOCKS:
        own.write_text('{% extends "waiting.html" %}{% block ' + block + " %}here-it-is{% endblock %}")
        now = NOW if block != "failure" else _failed()
        assert "here-it-is" in themes(own).page(now, "n"), block


def _failed() -> Shown:
    return replace(NOW, phase=Phase.FAILED, failure=Failure("x", "It broke.", "", (), ""))
