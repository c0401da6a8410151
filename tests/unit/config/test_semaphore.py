"""`semaphore_*` keys: the seeds' examples as printed, both forms of one service, what a change means."""

from __future__ import annotations

from typing import cast

import pytest

from hestia.config.show import effective
from hestia.core.difference import difference
from hestia.core.model import InstanceSettings, ServiceId, Settings
from hestia.engines.semaphore.options import SemaphoreOptions
from tests.unit.config.loading import Loader

KEYS = """
semaphore_base_url: http://semaphore.lan:3000/
semaphore_api_key: {env: TOKEN}
semaphore_project: hestia
services:
  app:
    base_url: http://gpu.lan:8000
    semaphore_enabled: true
    semaphore_machine_id: gpu-server-01
    semaphore_start_template_id: start app
    semaphore_stop_template_id: 7
"""
GENERAL = """
semaphore_base_url: http://semaphore.lan:3000
semaphore_api_key: {env: TOKEN}
semaphore_project: hestia
services:
  app:
    base_url: http://gpu.lan:8000
    engine: {type: semaphore, machine_id: gpu-server-01, start_template: start app, stop_template: 7}
"""
TOKEN = {"TOKEN": "a-secret-token="}


def instance(settings: Settings, service: str = "app") -> tuple[InstanceSettings, SemaphoreOptions]:
    found = settings.services[ServiceId(service)].instances[0]
    assert found.engine == "semaphore"
    return found, cast(SemaphoreOptions, found.options)


def test_both_forms_are_the_same_service(loader: Loader) -> None:
    first, second = (loader(text, env=TOKEN) for text in (KEYS, GENERAL))
    assert first.services == second.services
    one, options = instance(first)
    assert one.machine == "gpu-server-01"
    assert (options.start_template, options.stop_template, options.project) == ("start app", 7, "hestia")
    assert (options.base_url, options.api_key) == ("http://semaphore.lan:3000", TOKEN["TOKEN"])
    assert first.warnings == ()


SEEDS = {
    "quickstart": {
        "MYSERVICE_BASE_URL": "http://target.local:8080",
        "MYSERVICE_SEMAPHORE_ENABLED": "true",
        "MYSERVICE_SEMAPHORE_MACHINE_ID": "my-server",
        "SEMAPHORE_BASE_URL": "http://localhost:3000",
    },
    "cloud": {
        "CLOUD_ML_BASE_URL": "http://gpu-vm.aws.com:8080",
        "CLOUD_ML_SEMAPHORE_ENABLED": "true",
        "CLOUD_ML_SEMAPHORE_MACHINE_ID": "aws-gpu-instance",
        "CLOUD_ML_IDLE_TIMEOUT_MS": "900000",
        "CLOUD_ML_SEMAPHORE_TASK_TIMEOUT": "600",
    },
    "development": {
        "DEV_WORKSPACE_BASE_URL": "http://dev.local:8080",
        "DEV_WORKSPACE_SEMAPHORE_ENABLED": "true",
        "DEV_WORKSPACE_SEMAPHORE_MACHINE_ID": "dev-vm-pool",
        "DEV_WORKSPACE_IDLE_TIMEOUT_MS": "300000",
        "DEV_WORKSPACE_SEMAPHORE_TASK_TIMEOUT": "120",
    },
}


@pytest.mark.parametrize("name", SEEDS)
def test_an_example_of_the_seeds_loads_as_printed_and_says_what_it_lacks(loader: Loader, name: str) -> None:
    """It names no credentials, so a start will fail: said when the gateway starts, and again then."""
    env = SEEDS[name]
    service = next(iter(env)).removesuffix("_BASE_URL").lower().replace("_", "-")
    settings = loader("services: {}\n", env=env)
    one, options = instance(settings, service)
    assert one.machine == env[f"{service.upper().replace('-', '_')}_SEMAPHORE_MACHINE_ID"]
    assert options.base_url == "http://localhost:3000"
    (warning,) = settings.warnings
    assert warning.startswith(f"{service}: ")
    assert "SEMAPHORE_API_KEY" in warning


def test_seed_patterns_without_a_base_url_are_reported_and_skipped(loader: Loader) -> None:
    env = {
        "GPU_SERVICE_SEMAPHORE_ENABLED": "true",
        "GPU_SERVICE_SEMAPHORE_MACHINE_ID": "gpu-server",
        "GPU_SERVICE_IDLE_TIMEOUT_MS": "1800000",
    }
    settings = loader("services: {}\n", env=env)
    assert not settings.services
    (warning,) = settings.warnings
    assert "set GPU_SERVICE_BASE_URL to define it" in warning


def test_seed_two_services_on_one_machine(loader: Loader) -> None:
    env = {
        f"{name}_{key}": value
        for name, port in (("STABLE_DIFFUSION", "7860"), ("COMFYUI", "8188"))
        for key, value in (
            ("BASE_URL", f"http://gpu:{port}"),
            ("SEMAPHORE_ENABLED", "true"),
            ("SEMAPHORE_MACHINE_ID", "gpu-server-01"),
        )
    }
    settings = loader("services: {}\n", env=env)
    for name in ("stable-diffusion", "comfyui"):
        assert instance(settings, name)[0].machine == "gpu-server-01"


def test_ck05_a_start_may_take_as_long_as_its_task_and_what_comes_after(loader: Loader) -> None:
    (service,) = loader(KEYS + "    semaphore_task_timeout: 600\n", env=TOKEN).services.values()
    assert service.start_timeout == 600 + 600 + 300
    assert service.wait_limit > service.start_timeout
    short = loader(KEYS + "    semaphore_task_timeout: 10m\n    start_timeout: 5m\n", env=TOKEN)
    assert short.services[ServiceId("app")].start_timeout == 300
    assert "start_timeout (5m) ends a start before its task has to end (10m)" in short.warnings[0]


@pytest.mark.parametrize("value", ["600", "10m", "600s"])
def test_a_bare_number_is_seconds(loader: Loader, value: str) -> None:
    settings = loader(KEYS, env={**TOKEN, "APP_SEMAPHORE_TASK_TIMEOUT": value, "SEMAPHORE_TIMEOUT": "7"})
    assert instance(settings)[1].task_timeout == 600
    assert instance(settings)[1].timeout == 7


def test_ad17_new_credentials_and_limits_leave_what_runs_as_it_is(loader: Loader) -> None:
    before, _ = instance(loader(KEYS, env=TOKEN))
    for change in ({"TOKEN": "another-token"}, {**TOKEN, "SEMAPHORE_TIMEOUT": "5"}):
        after, _ = instance(loader(KEYS, env=change))
        assert after.options_hash == before.options_hash
        assert after != before
    other, _ = instance(loader(KEYS, env={**TOKEN, "APP_SEMAPHORE_MACHINE_ID": "gpu-2"}))
    assert other.options_hash != before.options_hash


def test_a_reload_takes_new_credentials_at_once(loader: Loader) -> None:
    old, new = loader(KEYS, env=TOKEN), loader(KEYS, env={"TOKEN": "another-token"})
    found = difference(old, new)
    assert found.changed == ("app",)
    assert "semaphore_api_key" in found.gateway
    assert not found.waiting


def test_secrets_are_shown_to_nobody(loader: Loader) -> None:
    written = KEYS.replace("{env: TOKEN}", "a-secret-token=")
    for text in (KEYS, written):
        settings = loader(text, env=TOKEN)
        assert TOKEN["TOKEN"] in settings.secrets
        assert TOKEN["TOKEN"] not in str(effective(settings))
        assert TOKEN["TOKEN"] not in repr(settings)
    rows = {row.key: row for row in effective(settings)}
    assert rows["services.app.semaphore_stop_template_id"].value == 7
    assert rows["services.app.engine.base_url"].source == "default (as semaphore_base_url)"


def test_credentials_of_a_service_of_its_own_are_not_mixed_with_the_file_s(loader: Loader) -> None:
    own = GENERAL.replace("stop_template: 7", "stop_template: 7, username: me, password: {env: TOKEN}")
    options = instance(loader(own, env=TOKEN))[1]
    assert (options.api_key, options.username, options.password) == ("", "me", TOKEN["TOKEN"])


def test_what_the_file_says_is_known_without_a_service(loader: Loader) -> None:
    """What services of before have left is found by it."""
    settings = loader(KEYS.partition("services:")[0] + "services: {}\n", env=TOKEN)
    (options,) = settings.options_for("semaphore")
    assert cast(SemaphoreOptions, options).api_key == TOKEN["TOKEN"]


def test_keys_that_do_nothing_are_said(loader: Loader) -> None:
    settings = loader("services: {app: {base_url: 'http://a:1', semaphore_machine_id: gpu}}\n")
    assert settings.warnings == (
        "services.app: semaphore_machine_id without effect; add semaphore_enabled: true",
    )


def test_variables_of_semaphore_s_own_server_are_left_alone(loader: Loader) -> None:
    settings = loader("services: {}\n", env={"SEMAPHORE_DB_DIALECT": "bolt", "SEMAPHORE_ADMIN": "admin"})
    assert settings.warnings == ()
    (warning,) = loader("services: {}\n", env={"SEMAPHORE_API_KEYS": "x"}).warnings
    assert "did you mean SEMAPHORE_API_KEY?" in warning
