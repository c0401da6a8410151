"""A person who waits: opens a cold service in Debian's Chromium, looks at the waiting page, then arrives.

    waits.py VISIT URL FOLDER [GATE]

VISIT is one of the functions of `VISITS`. The service becomes ready when the file GATE is made, which is done
here once the page has been looked at. Prints one JSON document: what the page said, then what followed.
Every request of the browser, each refusal by the page's own policy and each complaint of its console is told.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import (  # type: ignore[import-not-found]
    Browser,
    BrowserContext,
    Page,
    Route,
    expect,
    sync_playwright,
)

CHROMIUM = "/usr/bin/chromium"
PATIENCE = 60_000  # milliseconds for each step
AXE = Path(__file__).parents[1] / "clients" / "node" / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
ARGUMENTS = [
    "--no-sandbox",  # CI is root
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP homeserver 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE *.localhost, EXCLUDE localhost",
]
Told = dict[str, Any]  # the JSON document


class Scene:
    """One browser, one cold service. told: what this process prints."""

    def __init__(self, browser: Browser, url: str, folder: Path, gate: Path) -> None:
        self.browser = browser
        self.url = url
        self.folder = folder
        self.gate = gate
        self.told: Told = {"errors": [], "requests": []}

    def page(self, **settings: object) -> Page:
        """A page in a context of its own; its requests and errors are told."""
        context: BrowserContext = self.browser.new_context(
            viewport=settings.pop("viewport", {"width": 1000, "height": 640}), **settings
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on(
            "console", lambda line: self.told["errors"].append(line.text) if line.type == "error" else None
        )
        page.on("pageerror", lambda error: self.told["errors"].append(str(error)))
        page.on("request", lambda one: self.told["requests"].append([one.method, one.url, one.resource_type]))
        return page

    def open(self, page: Page) -> None:
        answer = page.goto(self.url, wait_until="load")
        self.told["status"] = answer.status if answer else 0

    def picture(self, page: Page, name: str) -> None:
        page.screenshot(path=self.folder / f"{name}.png", animations="disabled")

    def arrived(self, page: Page) -> None:
        """The app's own answer is shown."""
        expect(page.locator("body")).to_contain_text('"target"')
        self.told["shown"] = page.inner_text("body")
        self.told["url"] = page.url
        self.told["history"] = page.evaluate("history.length")


def arrives(scene: Scene) -> None:
    """The page is shown, the service gets ready, the address that was opened is there."""
    page = scene.page()
    scene.open(page)
    expect(page.locator("h1")).to_have_text("Starting app")
    expect(page.locator("li.run")).to_have_count(1)
    scene.told["said"] = page.inner_text("main")
    scene.told["title"] = page.title()
    before = page.evaluate("history.length")
    scene.gate.touch()
    scene.arrived(page)
    scene.told["history_before"] = before


def without_script(scene: Scene) -> None:
    """The same without JavaScript."""
    page = scene.page(java_script_enabled=False)
    scene.open(page)
    scene.told["said"] = page.inner_text("main")
    scene.picture(page, "no_script")
    scene.gate.touch()  # and the page comes back by itself
    expect(page.locator("body")).to_contain_text('"target"')
    scene.told["shown"] = page.inner_text("body")
    scene.told["url"] = page.url


def fails(scene: Scene) -> None:
    """A start that fails takes the place of its progress; then once more."""
    page = scene.page()
    scene.open(page)
    expect(page.locator("h1")).to_have_text("app could not be started")
    scene.told["said"] = page.inner_text("main")
    scene.picture(page, "failed")
    with page.expect_response(lambda one: one.request.method == "POST") as pressed:
        page.get_by_role("button", name="Try again").click()
    scene.told["pressed"] = [pressed.value.status, pressed.value.request.headers.get("hestia-wait", "")]
    expect(page.locator("h1")).to_have_text("app could not be started")


def leaves(scene: Scene) -> None:
    """Stop waiting by the keyboard, then wait again and arrive."""
    page = scene.page()
    scene.open(page)
    page.get_by_role("button", name="Stop waiting").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("You no longer wait for app")
    scene.picture(page, "left")
    scene.gate.touch()
    page.get_by_role("button", name="Wait again").click()
    scene.arrived(page)


def two_tabs(scene: Scene) -> None:
    """One tab is looked at, the other is not: both arrive."""
    front = scene.page()
    scene.open(front)
    back = front.context.new_page()
    back.goto(scene.url)
    expect(back.locator("h1")).to_have_text("Starting app")
    back.bring_to_front()
    scene.gate.touch()
    scene.arrived(back)
    front.bring_to_front()
    scene.arrived(front)


def survives(scene: Scene) -> None:
    """The gateway goes away and comes back while the page waits; GATE is then made by who restarts it."""
    page = scene.page()
    scene.open(page)
    expect(page.locator("h1")).to_have_text("Starting app")
    (scene.folder / "waiting").touch()
    expect(page.locator("#lost")).to_be_visible()
    scene.picture(page, "lost")
    scene.arrived(page)


def looks(scene: Scene) -> None:
    """How it looks: both themes, narrow and wide; and what axe-core says of each."""
    page = scene.page(bypass_csp=True)
    scene.open(page)
    expect(page.locator("li.run")).to_have_count(1)
    _look_at(scene, page, "waiting", (320, 768, 1280))
    scene.gate.touch()


def looks_failed(scene: Scene) -> None:
    """The same of a failure."""
    page = scene.page(bypass_csp=True)
    scene.open(page)
    expect(page.locator("h1")).to_have_text("app could not be started")
    _look_at(scene, page, "failed", (320, 1280))


def _look_at(scene: Scene, page: Page, name: str, widths: tuple[int, ...]) -> None:
    page.add_script_tag(path=AXE)
    scene.told |= {"axe": {}, "wider": []}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for width in widths:
            page.set_viewport_size({"width": width, "height": 640})
            shown = f"{name}_{theme}_{width}"
            scene.picture(page, shown)
            scene.told["axe"][shown] = _axe(page)
            scene.told["wider"].append(
                page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            )


def behind_a_buffer(scene: Scene) -> None:
    """Something in front holds each stream back: the page asks for single answers instead, and arrives."""
    page = scene.page()
    held: list[str] = []

    def hold(route: Route) -> None:
        if "event-stream" in route.request.headers.get("accept", ""):
            held.append(route.request.url)  # and is never answered
        else:
            route.continue_()

    page.route("**/*", hold)
    scene.open(page)
    with page.expect_request(lambda one: one.headers.get("accept") == "application/json"):
        pass
    scene.gate.touch()
    scene.arrived(page)
    scene.told["held"] = len(held)


def picture(scene: Scene) -> None:
    """The picture of the documentation: a start that is known from before, half way."""
    page = scene.page(viewport={"width": 760, "height": 560})
    scene.open(page)
    expect(page.locator("progress[data-usual]")).to_have_count(1)
    expect(page.locator("time[data-up]").first).to_have_text(re.compile(r"([3-9]|\d\d) s"))
    scene.told["said"] = page.inner_text("main")
    scene.told["title"] = page.title()
    scene.picture(page, "waiting_page")
    page.emulate_media(color_scheme="dark")
    scene.picture(page, "waiting_page_dark")
    scene.gate.touch()
    scene.arrived(page)


def _axe(page: Page) -> list[str]:
    """Rules that are broken, each with where."""
    found = page.evaluate("tags => axe.run({runOnly: tags})", TAGS)
    return [f"{one['id']}: {node['html'][:120]}" for one in found["violations"] for node in one["nodes"]]


VISITS: dict[str, Callable[[Scene], None]] = {
    one.__name__: one
    for one in (
        arrives,
        without_script,
        fails,
        leaves,
        two_tabs,
        survives,
        behind_a_buffer,
        picture,
        looks,
        looks_failed,
    )
}


def main() -> None:
    """One visit in a browser without a past."""
    visit, url, folder = sys.argv[1:4]
    gate = Path(sys.argv[4]) if len(sys.argv) > 4 else Path(os.devnull)
    began = time.monotonic()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        expect.set_options(timeout=PATIENCE)
        scene = Scene(browser, url, Path(folder), gate)
        try:
            VISITS[visit](scene)
        except BaseException:
            for context in browser.contexts:
                for page in context.pages:
                    scene.picture(page, f"trouble_{visit}")
                    print(page.url, page.inner_text("body"), file=sys.stderr)
            print(scene.told, file=sys.stderr)
            raise
        finally:
            browser.close()
    scene.told["took"] = time.monotonic() - began
    print(json.dumps(scene.told))


main()
