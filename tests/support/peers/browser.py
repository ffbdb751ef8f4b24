"""Debian's Chromium without a window, driven through the page by a test. `browser.py [CHROMIUM]`

Chromium's fake camera stands in for a real one: a green picture with a counter and a yellow disc.
"""

import asyncio
import base64
import sys
import tempfile
import urllib.parse

from playwright.async_api import async_playwright

import driven

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
]

# Mean colour and spread of an element's picture, looked at small: what a prompt does shows in the whole picture.
LOOK = """(selector) => {
  const picture = document.querySelector(selector);
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 64;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(picture, 0, 0, 64, 64);
  const { data } = context.getImageData(0, 0, 64, 64);
  const mean = [0, 0, 0];
  let squares = 0;
  for (let i = 0; i < data.length; i += 4) {
    for (let c = 0; c < 3; c += 1) { mean[c] += data[i + c] / 4096; squares += data[i + c] ** 2 / 12288; }
  }
  const all = (mean[0] + mean[1] + mean[2]) / 3;
  return { mean: mean.map(Math.round), contrast: Math.round(Math.sqrt(Math.max(0, squares - all * all))),
           width: picture.videoWidth ?? picture.width, height: picture.videoHeight ?? picture.height };
}"""

# Frames put on the screen in a span of time, as the compositor counts them.
RATE = """async (seconds) => {
  const video = document.querySelector('[data-testid=output-video]');
  let count = 0;
  const tick = () => { count += 1; video.requestVideoFrameCallback(tick); };
  video.requestVideoFrameCallback(tick);
  const began = performance.now();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  return { fps: count / (performance.now() - began) * 1000, quality: video.getVideoPlaybackQuality().totalVideoFrames };
}"""

# What the system does when files are dropped or pasted.
BRING = """([selector, contents, how]) => {
  const given = new DataTransfer();
  for (const [name, base64] of contents) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    given.items.add(new File([bytes], name, { type: `image/${name.split('.').at(-1)}` }));
  }
  const about = { bubbles: true, cancelable: true };
  const event = how === 'paste' ? new ClipboardEvent('paste', { ...about, clipboardData: given })
                                : new DragEvent('drop', { ...about, dataTransfer: given });
  document.querySelector(selector).dispatchEvent(event);
}"""

STATE = "(wanted) => wanted.includes(document.body.dataset.state)"


class Browser:
    def __init__(self, context):
        self.context, self.pages, self.problems, self.traffic_of = context, {}, [], {}

    async def open(self, url, tab="one"):
        """A new tab of the page; addresses carry the presets."""
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self.problems.append(f"{tab}: {error}"))
        self.pages[tab] = page
        calls, sockets = self.traffic_of[tab] = [], []
        page.on("request", lambda request: calls.append(f"{request.method} {urllib.parse.urlsplit(request.url).path}"))
        page.on("websocket", lambda socket: sockets.append(urllib.parse.urlsplit(socket.url).path))
        await page.goto(url)

    async def reaches(self, state, tab="one", timeout=30):
        """Waits until the page is in this state; `error` ends the wait with what the page says."""
        page = self.pages[tab]
        await page.wait_for_function(STATE, arg=[state, "error"], timeout=timeout * 1000)
        now = await page.evaluate("document.body.dataset.state")
        if now != state:
            raise RuntimeError(f"the page says: {await page.inner_text('[data-testid=card]')}")

    async def look(self, at="output-video", tab="one"):
        return await self.pages[tab].evaluate(LOOK, f"[data-testid={at}]")

    async def rate(self, seconds=5, tab="one"):
        return await self.pages[tab].evaluate(RATE, seconds)

    async def prompt(self, text, tab="one"):
        field = self.pages[tab].get_by_test_id("prompt")
        await field.fill(text)
        await field.press("Enter")

    async def click(self, on, tab="one"):
        await self.pages[tab].get_by_test_id(on).first.click()

    async def choose(self, on, files, tab="one"):
        """Gives files to a field for files."""
        await self.pages[tab].get_by_test_id(on).set_input_files(files)

    async def bring(self, on, files, how, tab="one"):
        """Drops files on a part of the page, or pastes them there (`how`: drop, paste)."""
        contents = [[path.rsplit("/", 1)[-1], base64.b64encode(open(path, "rb").read()).decode()] for path in files]
        await self.pages[tab].evaluate(BRING, [f"[data-testid={on}]", contents, how])

    async def slide(self, on, to, tab="one"):
        await self.pages[tab].get_by_test_id(on).fill(str(to))

    async def count(self, of, tab="one"):
        """How many children a part of the page has."""
        return {"count": await self.pages[tab].get_by_test_id(of).locator("> *").count()}

    async def is_able(self, on, tab="one"):
        return {"able": await self.pages[tab].get_by_test_id(on).is_enabled()}

    async def save(self, on, to, tab="one"):
        """Clicks on a link to a file, once it is there, and keeps the file."""
        page = self.pages[tab]
        async with page.expect_download() as saved:
            await page.get_by_test_id(on).click()
        download = await saved.value
        await download.save_as(to)
        return {"name": download.suggested_filename}

    async def text(self, of, tab="one"):
        return {"text": await self.pages[tab].get_by_test_id(of).inner_text()}

    async def close(self, tab="one"):
        await self.pages.pop(tab).close()

    async def traffic(self, tab="one"):
        """What went over the network: requests as method and path, and paths of sockets."""
        calls, sockets = self.traffic_of[tab]
        return {"calls": calls, "sockets": sockets}

    async def complaints(self):
        """Errors thrown in the pages so far."""
        return {"errors": self.problems}


async def main():
    with tempfile.TemporaryDirectory() as profile:
        async with async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                profile, executable_path=sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/chromium",
                headless=True, args=ARGUMENTS, viewport={"width": 1280, "height": 800},
            )
            browser = Browser(context)
            names = ("open", "reaches", "look", "rate", "prompt", "click", "save", "text", "close", "complaints", "traffic",
                     "choose", "bring", "slide", "count", "is_able")
            await driven.serve({name: getattr(browser, name) for name in names})
            await context.close()


asyncio.run(main())
