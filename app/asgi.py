"""The web server: Streamlit's app wrapped with health checks, security headers, and a worker that lives as long.

`pellucid serve` comes here. Only the host names that were allowed are answered, over HTTP and over WebSocket alike, so
that a foreign page cannot reach a server on this machine by pointing its own name at it.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import streamlit as st
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import db, server_paths
from app.settings import Settings
from cbm.errors import StoreError

log = logging.getLogger(__name__)

LOCAL_HOSTS = ("localhost", "127.0.0.1")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Streamlit's own pages need inline scripts and eval; nothing may come from, or go to, another place.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws: wss: data: blob:; worker-src 'self' "
        "blob:; frame-src 'self' blob: data:; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
}
OPTIONS = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "viewer",
    "server.enableStaticServing": False,
    "server.fileWatcherType": "none",
}


def theme() -> dict[str, object]:
    """The options of the theme's file by their dotted names; `st.App` does not look for that file itself."""
    path = Path(__file__).with_name(".streamlit") / "config.toml"
    return dict(_dotted(tomllib.loads(path.read_text(encoding="utf-8"))["theme"], "theme"))


def _dotted(table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value


class SecurityHeaders:
    """Adds `HEADERS` to every response that does not have them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def build(settings: Settings, *, worker: bool = True, hosts: Sequence[str] = LOCAL_HOSTS) -> st.App:
    """The ASGI application.

    Parameters
    ----------
    worker
        Whether a job worker is started with the server and stopped with it.
    hosts
        Names in the Host header that are answered; `"*"` is any.
    """
    routes = [Route("/healthz", _alive), Route("/readyz", _readiness(settings))]
    return st.App(
        Path(__file__).with_name("main.py"),
        routes=[*routes, *(_rest(settings) if settings.api else ())],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        lifespan=_lifespan(settings, worker),
    )


def run(
    settings: Settings, *, host: str, port: int, worker: bool = True, browser: bool = True, hosts: Sequence[str] = ()
) -> None:
    """Serve until interrupted; `hosts` as in `build`, by default this machine's names when `host` is this machine."""
    local = host in (*LOCAL_HOSTS, "::1")
    if not local and settings.server_paths == server_paths.ANY:
        settings = replace(settings, server_paths=server_paths.NONE)
    os.environ.update(settings.to_environment())  # Streamlit runs app/main.py, which reads its settings there
    allowed = tuple(hosts) or (LOCAL_HOSTS if local else ("*",))
    options = {
        **OPTIONS,
        **theme(),
        "server.address": host,
        "server.port": port,
        "server.maxUploadSize": settings.max_upload,
    }
    if not browser:
        options["server.headless"] = True
    build(settings, worker=worker, hosts=allowed).run(config=options)


def _rest(settings: Settings) -> list[Mount]:
    from app.rest import build_rest

    return [Mount("/api", app=build_rest(settings))]


def _alive(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def _readiness(settings: Settings) -> Callable[[Request], JSONResponse]:
    def ready(request: Request) -> JSONResponse:
        try:
            problems = check(settings)
        except (SQLAlchemyError, StoreError, OSError):
            log.exception("not ready")
            problems = ["the database does not answer"]
        return JSONResponse({"ready": not problems, "problems": problems}, status_code=503 if problems else 200)

    return ready


def check(settings: Settings) -> list[str]:
    """Why requests cannot be served, one sentence each; an empty list when they can."""
    if not os.access(settings.home, os.W_OK):
        return ["the workspace folder cannot be written"]
    engine = db.open_engine(settings.url)
    try:
        return db.check(engine)
    finally:
        engine.dispose()


def _lifespan(settings: Settings, worker: bool) -> Callable[[st.App], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(app: st.App) -> AsyncIterator[dict[str, Any]]:
        process = start_worker(settings) if worker else None
        threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()
        try:
            yield {"worker": process}
        finally:
            if process is not None:
                await anyio.to_thread.run_sync(stop_worker, process, settings.grace)

    return lifespan


def _warm_up() -> None:
    """Import what every screen needs while the first visitor's browser still loads its own files, then what most need."""
    for name in ("pandas", "plotly.graph_objects", "torch"):
        import_module(name)


def start_worker(settings: Settings) -> "subprocess.Popen[bytes]":
    """Start a job worker in a process of its own, which also ends when this one is killed."""
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **settings.to_environment(), "PYTHONPATH": paths}
    return subprocess.Popen(
        [sys.executable, "-m", "app.worker", "--attached"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=sys.__stderr__,
        start_new_session=True,  # Ctrl-C is for the server, which then stops the worker in order
    )


def stop_worker(process: "subprocess.Popen[bytes]", grace: float) -> None:
    """Ask a worker to stop, so that it gives its job back; kill it when it has not within `grace` and a second."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace + 1)
    except subprocess.TimeoutExpired:
        log.warning("the worker did not stop within %g seconds and is killed", grace + 1)
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
