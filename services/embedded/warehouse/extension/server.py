"""The embedded warehouse's HTTP server."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fakesnow.server import routes as fakesnow_routes
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from services.embedded.warehouse.extension import patches, stages
from services.embedded.warehouse.extension.durable import DurableFakeSnow
from services.embedded.warehouse.extension.faults import Faults
from services.embedded.warehouse.extension.sessions import Sessions
from services.embedded.warehouse.extension.statements import Statements, after_bug
from services.embedded.warehouse.supervised import HOST, port_file, port_of


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to run. ``port`` 0 takes the one in the folder's port file, or a free one."""

    folder: Path
    port: int = 0
    idle_transaction_seconds: float = 300.0
    faults: bool = False


def application(options: ServerOptions) -> Starlette:
    """The server as an ASGI application."""
    patches.apply()
    logging.getLogger("fakesnow.server").setLevel(logging.WARNING)
    instance = DurableFakeSnow(options.folder)
    patches.share(instance)
    sessions = Sessions(options.idle_transaction_seconds)
    faults = Faults() if options.faults else None
    routes = [
        Route("/session/v1/login-request", sessions.login, methods=["POST"]),
        Route("/session", sessions.session, methods=["POST"]),
        Route("/session/token-request", sessions.renew, methods=["POST"]),
        Route("/session/heartbeat", sessions.session, methods=["POST"]),
        Route("/queries/v1/query-request", Statements(sessions, faults).query, methods=["POST"]),
        Route("/fs_bucket/{path:path}", stages.upload, methods=["PUT"]),
        Route("/telemetry/send", _ignored, methods=["POST"]),
        Route("/sluice/ready", _ready, methods=["GET"]),
    ]
    if faults is not None:
        routes.append(Route("/sluice/faults", faults.configure, methods=["POST"]))
    ours = {route.path for route in routes}
    routes += [route for route in fakesnow_routes if route.path not in ours]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        reaper = asyncio.create_task(sessions.reap_for_ever())
        yield
        reaper.cancel()
        instance.duck_conn.close()

    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={Exception: after_bug})


async def _ready(_: Request) -> JSONResponse:
    return JSONResponse({"pid": os.getpid()})


async def _ignored(_: Request) -> JSONResponse:
    return JSONResponse({"data": "Log Received", "success": True, "code": None, "message": None})


def serve(options: ServerOptions) -> None:
    """Run until a signal ends it. Raises OSError when a port that was asked for is taken."""
    options.folder.mkdir(parents=True, exist_ok=True)
    listener = _listener(options)
    port_file(options.folder).write_text(str(listener.getsockname()[1]))
    config = uvicorn.Config(
        application(options), log_level="warning", timeout_graceful_shutdown=2, access_log=False
    )
    uvicorn.Server(config).run(sockets=[listener])


def _listener(options: ServerOptions) -> socket.socket:
    known = options.port or port_of(options.folder)
    try:
        return _bound(known)
    except OSError:
        if options.port:
            raise
        return _bound(0)  # somebody else has last time's port


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError:
        listener.close()
        raise
    return listener
