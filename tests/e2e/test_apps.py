"""Apps that are too heavy for every run: code-server and Open WebUI, and a browser on apps by prefix.

`./scripts/dev.sh test apps` installs them (apps.sh) and runs this; what came out is in docs/apps.md.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import missing, need_module, node, tiny_llm
from tests.e2e.documents import free_port
from tests.e2e.served import serving
from tests.e2e.test_real_browser import TOKEN, no_refusals, service, visit, was_woken_by

pytestmark = [pytest.mark.e2e, pytest.mark.apps, pytest.mark.timeout(600)]

PROGRAMS = Path(__file__).parent / "programs"
SAID = "by the shell"


def installed(name: str) -> Path:
    """A file of the folder that apps.sh fills."""
    folder = os.environ.get("HESTIA_E2E_APPS") or Path.home() / ".cache" / "hestia-e2e-apps"
    found = Path(folder) / name
    if not found.exists():
        missing(f"{found} is not there; tests/e2e/apps.sh installs it, HESTIA_E2E_APPS names the folder")
    return found


def code_server(folder: Path) -> list[str]:
    """Its command line. folder: its data, and what it opens."""
    entry = installed("code-server/node_modules/code-server/out/node/entry.js")
    settings = folder / "data" / "User" / "settings.json"
    settings.parent.mkdir(parents=True)
    # Text that can be read from the page, and no questions at the start.
    wishes = {"terminal.integrated.gpuAcceleration": "off", "security.workspace.trust.enabled": False}
    settings.write_text(json.dumps({**wishes, "workbench.startupEditor": "none"}))
    words = [node(), str(entry), "--auth", "none", "--bind-addr", "127.0.0.1:{port}", "--disable-telemetry"]
    return [*words, "--disable-update-check", "--user-data-dir", str(folder / "data"), str(folder)]


async def test_a_command_in_the_terminal_of_code_server(tmp_path: Path, real_python: str) -> None:
    need_module(real_python, "playwright")
    configuration = service("/healthz", tmp_path, *code_server(tmp_path), SAID=SAID)
    async with serving(tmp_path / "gateway", configuration) as served:
        seen = await visit(served, real_python, "code_server")
        assert f"42 {SAID}" in seen["shown"].replace("\xa0", " "), seen
        assert (tmp_path / "said").read_text() == f"42 {SAID}\n"
        assert seen["sockets"], seen
        was_woken_by(served, "/")
        no_refusals(served)


def web_ui(folder: Path, port: int) -> dict[str, str]:
    """Environment of Open WebUI: one model behind the gateway, nobody to log in, nothing from outside."""
    off = ["WEBUI_AUTH", "ENABLE_OLLAMA_API", "ENABLE_TITLE_GENERATION", "ENABLE_TAGS_GENERATION"]
    off += ["ENABLE_FOLLOW_UP_GENERATION", "ENABLE_EVALUATION_ARENA_MODELS", "ENABLE_VERSION_UPDATE_CHECK"]
    return {
        **dict.fromkeys(off, "False"),
        "DATA_DIR": str(folder),
        "OPENAI_API_BASE_URL": f"http://127.0.0.1:{port}/services/llm/v1",
        "OPENAI_API_KEY": "none",
        "WEBUI_SECRET_KEY": "not-a-secret",
        "HF_HUB_OFFLINE": "1",
        "OFFLINE_MODE": "True",
        "RAG_EMBEDDING_ENGINE": "openai",  # else it fetches a model of its own at the start
    }


async def test_a_chat_in_open_webui_is_streamed_from_a_model_that_it_wakes(
    tmp_path: Path, real_python: str
) -> None:
    """Both sleep: the browser wakes the page's server, and that wakes the model through the gateway."""
    program = installed("open-webui/bin/open-webui")
    for module in ("playwright", "xllamacpp", "gguf"):
        need_module(real_python, module)
    port = free_port()
    words = [str(program), "serve", "--host", "127.0.0.1", "--port", "{port}"]
    configuration = service("/health", tmp_path, *words, **web_ui(tmp_path, port))
    model = [real_python, str(tiny_llm()), "--port", "{port}", "--model", "tiny.gguf"]
    configuration["services"]["app"] |= {"start_timeout": "5m", "request_timeout": "6m"}
    configuration["services"]["llm"] = {
        "engine": {"type": "process", "command": model, "cwd": str(tmp_path)},
        "health_url": "http://127.0.0.1:{port}/health",
    }
    async with serving(tmp_path / "gateway", configuration, "--port", str(port)) as served:
        seen = await visit(served, real_python, "open_webui")
        assert seen["shown"].strip(), seen
        asked = [line["path"] for line in served.lines("request", "llm")]
        assert any("chat/completions" in path for path in asked), asked
        was_woken_by(served, "/")
        no_refusals(served)


# -- by prefix --------------------------------------------------------------------------------------

PREFIX = "/services/app"


async def by_prefix(tmp_path: Path, python: str, app: str, path: str, configuration: dict[str, Any]) -> str:
    """What the same visit shows at http://localhost:PORT/services/app/."""
    need_module(python, "playwright")
    async with serving(tmp_path / "gateway", configuration) as served:
        seen = await visit(served, python, app, PREFIX + path, host="localhost")
        no_refusals(served)
        return str(seen["shown"])


async def test_jupyterlab_by_prefix_with_base_url_and_host_preserved(
    tmp_path: Path, real_python: str
) -> None:
    need_module(real_python, "jupyterlab")
    words = [real_python, "-m", "jupyterlab", "--no-browser", "--ip", "127.0.0.1", "--port", "{port}"]
    words += [f"--ServerApp.base_url={PREFIX}", f"--IdentityProvider.token={TOKEN}", "--allow-root"]
    more = {"JUPYTER_PREFER_ENV_PATH": "1", "SAID": "by the kernel"}
    configuration = service("/api", tmp_path, *words, base=PREFIX, **more)
    # Else the service's own name stands in Host, and Jupyter refuses sockets of a page from another one.
    configuration["services"]["app"]["host_header"] = "preserve"
    shown = await by_prefix(tmp_path, real_python, "jupyter", f"/lab?token={TOKEN}", configuration)
    assert shown.strip() == "42 by the kernel"


async def test_gradio_by_prefix_with_its_root_path(tmp_path: Path, real_python: str) -> None:
    need_module(real_python, "gradio")
    words = [real_python, str(PROGRAMS / "gradio_app.py"), "{port}"]
    more = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_ROOT_PATH": PREFIX}
    shown = await by_prefix(tmp_path, real_python, "gradio", "/", service("/", tmp_path, *words, **more))
    assert shown == "Hello Hestia of 6 letters!"


async def test_streamlit_by_prefix_with_its_base_url_path(tmp_path: Path, real_python: str) -> None:
    need_module(real_python, "streamlit")
    words = [real_python, "-m", "streamlit", "run", str(PROGRAMS / "streamlit_app.py")]
    words += ["--server.port", "{port}", "--server.address", "127.0.0.1", "--server.headless", "true"]
    words += ["--server.baseUrlPath", PREFIX]
    configuration = service("/_stcore/health", tmp_path, *words, base=PREFIX)
    assert await by_prefix(tmp_path, real_python, "streamlit", "/", configuration) == "square is 16"


async def test_code_server_by_prefix_as_it_is(tmp_path: Path, real_python: str) -> None:
    configuration = service("/healthz", tmp_path, *code_server(tmp_path), SAID=SAID)
    shown = await by_prefix(tmp_path, real_python, "code_server", "/", configuration)
    assert f"42 {SAID}" in shown.replace("\xa0", " ")
