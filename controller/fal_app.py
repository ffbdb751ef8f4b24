"""gst-scope on a GPU of fal: `fal deploy controller/fal_app.py::GstScope`. The whole story is in controller/DEPLOY.md.

The runner starts `gst-scope serve` on its loopback address, where nobody else can reach it, and hands two WebSockets
through: `/ws` (the scope dialect) and `/webrtc` (the dialect of fal's webcam demo). fal's gateway has checked the key
or token by then. Pictures do not come this way: they travel by WebRTC between the client and the runner.

No key, account or password belongs in this file. TURN servers come from secrets of your fal account, see `turn()`.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import fal
from fal.container import ContainerImage
from fastapi import WebSocket, WebSocketDisconnect

REPOSITORY = Path(__file__).resolve().parent.parent
# Model folders to bake in, relative to the repository; without one they are looked for on fal's disk.
BAKED_MODELS = "models"
# The model that is loaded before the first client is let in.
PIPELINE = os.environ.get("SCOPE_FAL_PIPELINE", "scope-tiny")

PORT = 8000
# fal's gateway drops a connection with a message above 4 MB.
MESSAGE_MIB = 3
# The longest a client may stay, seconds; it is told so before it is cut off.
STAY = 7200
# The longest a runner may take from its start to a loaded model, seconds.
START = 600
# Without a STUN server a runner knows only its private address, and no client finds it.
STUN = "stun:stun.l.google.com:19302"


def dockerfile():
    """The image, with the model folders that lie in the repository when it is deployed."""
    text = (REPOSITORY / "controller" / "Dockerfile").read_text()
    if (REPOSITORY / BAKED_MODELS).is_dir():
        text += f"\nCOPY {BAKED_MODELS} /opt/models\n"
    return text


def image():
    return ContainerImage.from_dockerfile_str(
        dockerfile(),
        context_dir=REPOSITORY,
        dockerignore=["target", ".venv", ".git", "**/__pycache__", ".setup/native"],
    )


class GstScope(fal.App):
    app_name = "gst-scope"
    # Only with a key of your account, or a token made with it. "public" lets anybody spend your money.
    app_auth = "private"
    # scope-tiny would run on the CPU machine "M"; SD-Turbo wants a GPU. Any of these, whichever is free first.
    machine_type = ["GPU-A100", "GPU-H100"]
    # Seconds a runner waits for the next client before it is given back: money against cold starts.
    keep_alive = 300
    # 0: nothing costs while nobody is there. 1: the first client never waits, and one GPU is always paid for.
    min_concurrency = 0
    # Runners at once, and so clients at once: a limit on what a mistake can cost.
    max_concurrency = 2
    # One socket is one live session, and it has the GPU for itself.
    max_multiplexing = 1
    # For fal a socket is one request: a little longer than gst-scope's own limit, whose farewell is the friendlier one.
    request_timeout = STAY + 60
    startup_timeout = START + 60
    # Enough for sessions to be closed and their clients told.
    termination_grace_period_seconds = 10
    image = image() if (REPOSITORY / "controller" / "Dockerfile").is_file() else None

    def setup(self):
        """Starts gst-scope, and returns when its model is loaded: only then is the runner up."""
        self.home = Path(tempfile.mkdtemp(prefix="gst-scope-"))
        self.clients = 0
        config = self.home / "controller.toml"
        config.touch(mode=0o600)
        config.write_text(configuration())
        models = "/opt/models" if Path("/opt/models").is_dir() else "/data/models"
        environment = {
            "PIPELINE": PIPELINE,
            "DAYDREAM_SCOPE_MODELS_DIR": models,
            "DAYDREAM_SCOPE_ASSETS_DIR": str(self.home / "assets"),
            "SCOPE_SOCKET_MESSAGE_MIB": str(MESSAGE_MIB),
            "SCOPE_SOCKET_SECONDS": str(STAY),
        }
        program = ["gst-scope", "serve", "--no-browser", "--port", str(PORT), "--config", str(config)]
        self.server = subprocess.Popen(program, env=os.environ | environment)
        wait_until_loaded(self.server)

    def teardown(self):
        self.server.terminate()
        try:
            self.server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.server.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    @fal.endpoint("/ws", is_websocket=True)
    async def ws(self, websocket: WebSocket):
        """Signalling, API calls, uploads and logs: the scope dialect."""
        await self.hand_through(websocket, "/ws")

    @fal.endpoint("/webrtc", is_websocket=True)
    async def webrtc(self, websocket: WebSocket):
        """Signalling alone: the dialect of fal's webcam demo."""
        await self.hand_through(websocket, "/webrtc")

    @fal.endpoint("/alive", health_check=fal.HealthCheck(timeout_seconds=5, failure_threshold=3))
    def alive(self) -> dict:
        """fal replaces a runner whose gst-scope is gone or does not answer."""
        if self.server.poll() is not None:
            raise RuntimeError(f"gst-scope has ended with {self.server.returncode}")
        return ask("/health")

    async def hand_through(self, client, path):
        self.clients += 1
        try:
            await relay(client, f"ws://127.0.0.1:{PORT}{path}")
        finally:
            self.clients -= 1
            # What one client has sent is not for the next one.
            if self.clients == 0:
                shutil.rmtree(self.home / "assets", ignore_errors=True)


async def relay(client, address):
    """Passes messages on in both directions until either side ends; the reason is passed on, too."""
    import websockets

    await client.accept()
    try:
        # gst-scope has limits of its own, and says so in words.
        async with websockets.connect(address, max_size=None, proxy=None) as server:
            inward = asyncio.ensure_future(pass_in(client, server))
            outward = asyncio.ensure_future(pass_out(client, server))
            await asyncio.wait([inward, outward], return_when=asyncio.FIRST_COMPLETED)
            for task in (inward, outward):
                task.cancel()
            await asyncio.gather(inward, outward, return_exceptions=True)
            await server.close()
            code, reason = server.close_code or 1000, server.close_reason or ""
    except (OSError, websockets.WebSocketException) as error:
        code, reason = 1013, f"gst-scope did not take the connection: {error}"
    # The client may have been the one who ended it.
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        if code == 1013:
            await client.send_text(json.dumps({"type": "error", "error": reason}))
        await client.close(code, reason[:100])


async def pass_in(client, server):
    while (message := await client.receive())["type"] == "websocket.receive":
        text = message.get("text")
        await server.send(text if text is not None else message["bytes"])


async def pass_out(client, server):
    async for message in server:
        if isinstance(message, str):
            await client.send_text(message)
        else:
            await client.send_bytes(message)


def configuration():
    """What gst-scope cannot be told by its environment, as TOML."""
    servers = [{"urls": [STUN]}, *turn()]
    lines = []
    for server in servers:
        lines.append("[[ice_servers]]")
        # A JSON string or list of strings is one in TOML, too.
        lines += [f"{key} = {json.dumps(value)}" for key, value in server.items()]
    return "\n".join(lines) + "\n"


def turn():
    """Your TURN servers: `fal secrets set TURN_URLS=turn:… TURN_USERNAME=… TURN_CREDENTIAL=…`; several with commas."""
    urls = [url.strip() for url in os.environ.get("TURN_URLS", "").split(",") if url.strip()]
    if not urls:
        return []
    return [{
        "urls": urls,
        "username": os.environ.get("TURN_USERNAME", ""),
        "credential": os.environ.get("TURN_CREDENTIAL", ""),
    }]


def ask(path):
    # A proxy of the environment is not for this machine's own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{PORT}{path}", timeout=4) as reply:
        return json.load(reply)


def wait_until_loaded(server):
    end = time.monotonic() + START
    status = {}
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"gst-scope ended with {server.returncode} before it was ready; see the lines above")
        try:
            status = ask("/api/v1/pipeline/status")
        except OSError:
            # It does not listen yet.
            status = {}
        if status.get("status") == "loaded":
            return
        if status.get("status") == "error":
            raise RuntimeError(f"{PIPELINE} could not be loaded: {status['error']}")
        time.sleep(0.2)
    raise RuntimeError(f"{PIPELINE} was not loaded within {START} s; the last word was {status}")
