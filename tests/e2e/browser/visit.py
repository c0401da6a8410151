"""A person's part: opens an app in Debian's Chromium and does its real work, then tells what was shown.

    visit.py APP URL FOLDER

APP is one of the functions of `VISITS`. URL is where a person would go; the visit begins with that, so
it wakes a cold service. Pictures go to FOLDER. Prints one JSON document: shown (the text that only the
app's server can have made), errors (what the page's console complained about), sockets (WebSockets opened),
pictures. Run by the interpreter of the real servers, which has Playwright.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright  # type: ignore[import-not-found]

CHROMIUM = "/usr/bin/chromium"
PATIENCE = 90_000  # milliseconds for each step
ARGUMENTS = [
    "--no-sandbox",  # CI is root
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    # Nothing but this machine: fonts and news of the apps must not decide how long a test takes.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.localhost, EXCLUDE localhost",
]


class Visit:
    """One open page. pictures: files made so far."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.errors: list[str] = []
        self.sockets: list[str] = []
        self.pictures: list[str] = []
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("websocket", lambda socket: self.sockets.append(socket.url))

    def open(self, url: str) -> int:
        """Navigate as by the address bar; the status."""
        answer = self.page.goto(url, wait_until="commit")
        return int(answer.status) if answer else 0

    def picture(self, name: str) -> None:
        path = self.folder / f"{name}.png"
        self.page.screenshot(path=path)
        self.pictures.append(str(path))


def jupyter(visit: Visit, url: str) -> str:
    """A notebook made in the launcher, one cell run on its kernel; the output."""
    page = visit.page
    visit.open(url)
    page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click()
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    # A cell that is run before the page has heard of its kernel is not run at all.
    page.get_by_text("| Idle").wait_for()
    page.keyboard.type("import os; print(6 * 7, os.environ['SAID'])")
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-OutputArea-output").first
    expect(output).to_contain_text(re.compile(r"\d+"))
    visit.picture("jupyter")
    return str(output.inner_text())


def gradio(visit: Visit, url: str) -> str:
    """The app's function called with a name; the last of the texts that it yields."""
    page = visit.page
    visit.open(url)
    page.get_by_label("name").fill("Hestia")
    page.get_by_role("button", name="Submit").click()
    output = page.get_by_label("output")
    expect(output).to_have_value(re.compile("!$"))
    visit.picture("gradio")
    return str(output.input_value())


def streamlit(visit: Visit, url: str) -> str:
    """The slider moved by one step; what the script wrote then."""
    page = visit.page
    visit.open(url)
    page.get_by_text("square is 9").wait_for()
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    output = page.get_by_text(re.compile("square is (?!9$)"))
    output.wait_for()
    visit.picture("streamlit")
    return str(output.inner_text())


def code_server(visit: Visit, url: str) -> str:
    """A terminal opened in the editor, one command; what it printed."""
    page = visit.page
    visit.open(url)
    page.locator(".monaco-workbench .statusbar").wait_for()
    page.keyboard.press("Control+Backquote")
    terminal = page.locator(".terminal-wrapper.active .xterm-rows")
    terminal.wait_for()
    page.locator(".terminal-wrapper.active textarea").focus()
    page.keyboard.type('echo "$((6 * 7)) $SAID" | tee said\n')
    expect(terminal).to_contain_text(re.compile("42"))
    visit.picture("code_server")
    return str(terminal.inner_text())


def open_webui(visit: Visit, url: str) -> str:
    """A chat with the one model; the answer as it stands when it is complete."""
    page = visit.page
    visit.open(url)
    news = page.get_by_role("button", name="Okay, Let's Go!")
    page.add_locator_handler(news, lambda: news.click())
    page.locator("#chat-input").click()
    page.keyboard.type("wake up")
    page.keyboard.press("Enter")
    answer = page.locator(".chat-assistant").first
    expect(answer).to_contain_text(re.compile(r"\w+"))
    page.get_by_role("button", name="Copy").last.wait_for()
    visit.picture("open_webui")
    return str(answer.inner_text())


def failure(visit: Visit, url: str) -> str:
    """A service that cannot start: what the person reads."""
    status = visit.open(url)
    visit.page.wait_for_load_state()
    visit.picture("failure")
    return f"{status} {visit.page.inner_text('body')}"


VISITS: dict[str, Callable[[Visit, str], str]] = {
    one.__name__: one for one in (jupyter, gradio, streamlit, code_server, open_webui, failure)
}


def main() -> None:
    """One visit in a browser without a past."""
    app, url, folder = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1000, "height": 620})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        visit = Visit(page, Path(folder))
        told: dict[str, Any] = {}
        try:
            told["shown"] = VISITS[app](visit, url)
        except Exception:
            visit.picture("trouble")
            print(visit.errors, visit.page.url, file=sys.stderr)
            raise
        finally:
            browser.close()
        told |= {"errors": visit.errors, "sockets": visit.sockets, "pictures": visit.pictures}
        print(json.dumps(told))


main()
