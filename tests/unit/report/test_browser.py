"""The page in a real browser: it opens, nothing in it fails, it can be listened to, and no text becomes a program."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from parity.report.html import render
from tests.support import report_samples as samples
from tests.support.browser import Browser, Opened, find

HOSTILE = '"\'><img src=x onerror="console.error(\'ran\')"><script>console.error("ran")</script>&lt;{{7*7}}\x00\u202e'


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return find(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(render(samples.record(), samples.evidence(folder), samples.history(4)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def opened(browser: Browser, page: Path) -> Opened:
    return browser.open(page)


def test_the_page_opens_to_its_end_without_an_error_on_the_console(opened: Opened) -> None:
    assert 'data-ready="yes"' in opened.dom
    assert opened.console == []


def test_an_error_on_the_console_would_be_seen(browser: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<script>console.error('here')</script><script>undefined_name()</script>", encoding="utf-8")
    assert len(browser.open(broken).console) == 2


def test_the_stage_that_failed_is_the_first_row(opened: Opened) -> None:
    states = re.findall(r'data-stage="([^"]*)" data-state="([^"]*)"', opened.dom)
    assert len(states) == 7
    assert [state for _, state in states] == ["failed"] * 5 + ["passed"] * 2


def test_both_players_hold_the_whole_sound(opened: Opened) -> None:
    seconds = re.findall(r'<audio[^>]*data-seconds="([\d.]+)"', opened.dom)
    assert len(seconds) == opened.dom.count("<audio") == 6
    assert all(abs(float(found) - 1.6) < 0.001 for found in seconds)
    assert opened.dom.count('src="data:audio/wav;base64,') == 6


def test_a_switch_while_it_plays_keeps_the_position(browser: Browser, page: Path, tmp_path: Path) -> None:
    probe = """<script>addEventListener("load", () => setTimeout(async () => {
      const card = document.querySelector(".listen"), [a, b] = card.querySelectorAll("audio");
      const seek = card.querySelector("input"); seek.value = "0.5"; seek.dispatchEvent(new Event("input"));
      card.querySelector(".b").click();
      const said = [a.currentTime, b.currentTime, a.muted, b.muted, a.volume, b.volume];
      document.documentElement.dataset.probe = said.map(String).join(" ");
    }, 1000));</script>"""
    altered = tmp_path / "probed.html"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    altered.write_text(text.replace("</body>", f"{probe}</body>"), encoding="utf-8")
    found = re.search(r'data-probe="([^"]*)"', browser.open(altered).dom)
    assert found is not None
    assert found[1] == "0.8 0.8 true false 1 1"


def test_text_of_others_is_shown_and_never_run(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(render(samples.hostile(HOSTILE), lambda key: None, ()), encoding="utf-8")
    opened = browser.open(path)
    assert opened.console == []
    assert "<img src=" not in opened.dom.replace('src="data:', "")
    assert opened.dom.count("<script") == 2
    assert "&lt;script&gt;console.error" in opened.dom


def test_what_slipped_through_would_be_stopped_by_the_page_itself(browser: Browser, page: Path, tmp_path: Path) -> None:
    """Were escaping broken, the page's policy still lets no other script run and nothing be fetched."""
    slip = '<script>document.documentElement.dataset.ran = "yes"</script><img src="http://127.0.0.1:9/x.png">'
    altered = tmp_path / "slipped.html"
    altered.write_text(page.read_text(encoding="utf-8").replace("</main>", f"{slip}</main>"), encoding="utf-8")
    opened = browser.open(altered)
    assert 'data-ran="yes"' not in opened.dom
    assert any("Content Security Policy" in line for line in opened.console)


@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_has_something_to_see_and_fits_its_window(
    browser: Browser, page: Path, tmp_path: Path, width: int
) -> None:
    pixels = _pixels(browser, page, tmp_path, width)
    assert pixels.std() > 5
    assert _edge_is_empty(pixels)


@pytest.mark.parametrize("width", [1280, 420])
def test_who_speaks_when_is_seen_in_any_window(browser: Browser, tmp_path: Path, width: int) -> None:
    path = tmp_path / "meetings.html"
    path.write_text(render(*samples.diarized(tmp_path)), encoding="utf-8")
    opened = browser.open(path)
    assert opened.console == []
    assert opened.dom.count('class="timeline"') == 2
    assert _edge_is_empty(_pixels(browser, path, tmp_path, width))


def test_names_without_end_fit_a_phone(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "long.html"
    path.write_text(render(samples.hostile("x" * 300), lambda key: None, ()), encoding="utf-8")
    assert _edge_is_empty(_pixels(browser, path, tmp_path, 420))


def _pixels(browser: Browser, page: Path, folder: Path, width: int) -> NDArray[np.uint8]:
    with Image.open(browser.photograph(page, width, 5000, folder / "photo.png")) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape == (5000, width)
    return pixels


def _edge_is_empty(pixels: NDArray[np.uint8]) -> bool:
    return int(np.ptp(pixels[:, -8:].astype(int))) == 0
