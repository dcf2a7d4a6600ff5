"""Record the pictures of `gatewright look` in the documentation, in Chromium.

    python docs/images/record_look.py MODEL DATA    # a model of a text, such as prose

Needs playwright, Pillow and Debian's chromium. It writes look.png and look-hold.gif next to itself.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from gatewright.deploy.page import look_at

HERE = Path(__file__).parent
#: Milliseconds of a frame of the recording.
FRAME = 450


def shot(page: Page) -> Image.Image:
    """A picture of the page from its top."""
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(400)
    content = page.screenshot()
    return Image.open(io.BytesIO(content)).convert("RGB")


def press(page: Page, label: str) -> None:
    """Press a button, without scrolling to it."""
    page.locator("button", has_text=label).first.dispatch_event("click")


def main(model: str, data: str) -> None:
    """Record both pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        path = Path(folder) / "page.html"
        path.write_text(look_at([model, data]).html, encoding="utf-8")
        chromium = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = chromium.new_page(viewport={"width": 1360, "height": 1000})
        page.goto(f"file://{path}#zoom=cell&time=120&name=l0.c&unit=3")
        page.wait_for_selector("#tracks canvas")
        page.wait_for_timeout(4000)
        shot(page).quantize(128).save(HERE / "look.png", optimize=True)

        page.set_viewport_size({"width": 1120, "height": 960})
        page.goto(f"file://{path}#zoom=cell&time=150&name=l0.f&unit=3&span=60-120")
        page.reload()
        page.wait_for_selector("#tracks canvas")
        page.wait_for_timeout(3000)
        # The tracks, the prediction, and what is done to them.
        page.evaluate(
            "for (const id of ['input', 'influence', 'search', 'units', 'zoom', 'memory'])"
            " document.getElementById(id).hidden = true"
        )
        page.select_option("#hold [aria-label='Steps to hold']", "span")
        frames = [shot(page)] * 4
        press(page, "Close it: hold at 0")
        frames += [shot(page)] * 6
        press(page, "Release")
        frames += [shot(page)] * 2
        chromium.close()
    small = [frame.resize((840, 720), Image.Resampling.LANCZOS).quantize(64) for frame in frames]
    small[0].save(
        HERE / "look-hold.gif",
        save_all=True,
        append_images=small[1:],
        duration=FRAME,
        loop=0,
        optimize=True,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
