"""Secrets are taken out of texts (lifecycle OB-20)."""

from __future__ import annotations

from hestia.core.errors import StartFailed
from hestia.core.secrets import Secrets


def test_ob_20_the_longer_secret_goes_first_and_short_texts_stay() -> None:
    secrets = Secrets(["hunter2", "hunter2-and-more", "8080"])
    assert secrets.hide("x hunter2-and-more hunter2 8080") == "x *** *** 8080"


def test_ob_20_an_error_loses_its_secrets_and_those_of_the_configuration_before() -> None:
    secrets = Secrets(["hunter2"])
    secrets.take(["tr0ub4dor"])
    error = StartFailed("run --key hunter2", remedy="unset tr0ub4dor", tail=("a", "hunter2 given"))
    secrets.hide_in(error)
    assert (error.detail, error.remedy, error.tail) == ("run --key ***", "unset ***", ("a", "*** given"))
    assert "hunter2" not in repr(secrets)
