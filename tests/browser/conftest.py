"""Headless Chromium, the stack that it visits, screenshots and the accessibility check.

These tests use Playwright's blocking interface, which cannot share a session with pytest-asyncio: they run as a
pytest process of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.e2e.scenario import Site, seed_plans

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome")
# Root in a container has no sandbox of its own to give; the rest keeps Chromium from calling anyone but us.
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-default-apps",
)  # fmt: skip
SIZES = {"phone": (360, 740), "desktop": (1280, 800)}
WAIT_MS = 15_000
SERIOUS = frozenset({"serious", "critical"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a browser test."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)


def _running() -> dict[str, Any] | None:
    """State of the stack that the runner has started, or of the one that a developer left running."""
    named = os.environ.get("COPECK_STACK_FILE")
    path = Path(named) if named else ROOT / ".devstack" / "stack.json"
    if not path.is_file():
        return None
    state: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return state if state.get("ready") and _answers(state["urls"]["public"]) else None


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/subscriptions/api/v1/plans", timeout=5, trust_env=False).status_code < 500
    except httpx2.HTTPError:
        return False


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The whole of Copeck with plans on sale; started here when none is up."""
    state = _running()
    with contextlib.ExitStack() as stack:
        if state is None:
            from deploy.devstack.stack import Stack

            state = stack.enter_context(Stack("browser")).state()
        found = Site.of_state(state)
        seed_plans(found)
        yield found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("Chromium is not installed: apt-get install chromium")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS), headless=True)
        yield browser
        browser.close()


@dataclass
class Visit:
    """One visitor: a page, what it complained of, and where its pictures go."""

    page: Page
    name: str
    size: str
    errors: list[str]

    def picture(self, step: str) -> None:
        """Keep a picture of the page as it is."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{self.name}-{step}-{self.size}.png", full_page=False)

    def check_accessibility(self) -> None:
        """No serious violation in the page or in its frames, and nothing wider than the window."""
        serious = []
        for frame in self.page.frames:
            found = Axe().run(cast(Page, frame)).response["violations"]
            serious += [
                f"{frame.url}: {item['id']}: {item['help']} ({node['html']})"
                for item in found if item["impact"] in SERIOUS for node in item["nodes"]
            ]  # fmt: skip
        assert not serious, serious
        overflow = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, f"{self.page.url} is {overflow} px wider than the window"


Visitor = Callable[..., Visit]


@pytest.fixture
def visitor(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Make visitors with cookies of their own; at the end, none may have met an error of a script."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def make(
        size: str = "desktop", language: str = "ru", scheme: Literal["light", "dark"] = "light", *, scripts: bool = True
    ) -> Visit:
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, locale={"ru": "ru-RU", "en": "en-US"}[language],
            has_touch=size == "phone", timezone_id="Europe/Moscow", color_scheme=scheme,
            java_script_enabled=scripts,
        )  # fmt: skip
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        own = request.node.originalname.removeprefix("test_")
        visit = Visit(page, f"{own}-{language}", size, [])
        page.on("pageerror", lambda error: visit.errors.append(f"{page.url}: {error}"))
        page.on("console", lambda message: _note(visit, message.type, message.text))
        visits.append(visit)
        return visit

    yield make
    for visit in visits:
        if request.node.stash.get(FAILED, default=False):
            visit.picture("failed")
    for context in contexts:
        context.close()
    assert [error for visit in visits for error in visit.errors] == []


FAILED = pytest.StashKey[bool]()


def _note(visit: Visit, kind: str, text: str) -> None:
    # Chromium reports every answer of 4xx as an error; what the page does about it is what tests look at.
    if kind == "error" and "Failed to load resource" not in text:
        visit.errors.append(text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Remember a failure, so that the visitor's last sight is kept."""
    report = yield
    if call.when == "call" and report.failed:
        item.stash[FAILED] = True
    return report
