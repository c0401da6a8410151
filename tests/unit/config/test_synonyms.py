"""Which key was meant."""

from __future__ import annotations

import pytest

from hestia.config.models import GatewayKeys, ServiceKeys, spellings
from hestia.config.synonyms import _SYNONYMS, meant

KNOWN = spellings(ServiceKeys)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("URL", "base_url"),
        ("health-check", "health_url"),
        ("idle_timeout_sec", "idle_timeout_seconds"),
        ("idle-timeout-s", "idle_timeout_seconds"),
        ("idle_timeout_millis", "idle_timeout_ms"),
        ("queue_sizes", "queue_size"),
        ("nothing_like_it", ""),
        ("", ""),
        ("_s", ""),
    ],
)
def test_the_key_that_was_meant_is_found(written: str, key: str) -> None:
    assert meant(written, KNOWN) == key


def test_a_word_is_only_suggested_where_its_key_is_known() -> None:
    assert meant("listen", KNOWN) == ""


def test_every_synonym_leads_to_a_real_key() -> None:
    assert set(_SYNONYMS.values()) <= {*KNOWN, *spellings(GatewayKeys)}
