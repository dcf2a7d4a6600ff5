"""Exported JavaScript in a real browser, loaded as a module from a page."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exported import LIMIT, RUN_ALL, as_answers, javascript_inputs, worst
from gatewright.deploy.network import exported_network
from whole_models import MODELS

CHROMIUM = shutil.which("chromium")
PAGE = '<!doctype html><meta charset="utf-8"><title>exported</title>'


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a page in `tmp_path`, on this machine only."""
    (tmp_path / "index.html").write_text(PAGE)
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.mark.slow(instead="test_round_trip.py::test_javascript")
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_whole_models_in_a_browser(tmp_path: Path, address: str) -> None:
    api = pytest.importorskip("playwright.sync_api")
    names = ["pooled", "convolutional", "tied_text", "ensemble", "known"]
    networks = {name: exported_network(MODELS[name](), name) for name in names}
    data = javascript_inputs(list(networks.values()), tmp_path)
    script = (
        f"async (data) => {{ const load = (name) => import(`./${{name}}.js`);\n{RUN_ALL}"
        "return JSON.stringify(answers); }"
    )
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        answers = as_answers(json.loads(page.evaluate(script, json.loads(data))))
        browser.close()
    assert errors == []
    apart = {name: worst(network, answers[name]) for name, network in networks.items()}
    assert {name: value for name, value in apart.items() if not value < LIMIT} == {}
