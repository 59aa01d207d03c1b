"""The HTTP application: health, metadata and inference of the Open Inference Protocol V2, and a page to try it.

Source of the protocol: https://github.com/kserve/open-inference-protocol (REST, version 2).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sartor import __version__
from sartor.serve.bodies import inference, one_input, read_body
from sartor.serve.guard import FAILURE, Guard, Problem
from sartor.serve.lane import Lane
from sartor.serve.page import POLICY, page
from sartor.serve.served import Served
from sartor.serve.settings import Settings


def create_app(settings: Settings | None = None) -> ASGIApp:
    """The application around one package; settings come from the environment where none are given."""
    settings = settings or Settings.from_environment()
    service = _Service(settings, Served(settings.package, settings.gallery, settings.false_accepts))
    routes = [
        Route("/", service.page),
        Route("/about", service.about),
        Route("/v2", service.server),
        Route("/v2/health/live", service.live),
        Route("/v2/health/ready", service.ready),
        Route("/v2/models/{name}", service.metadata),
        Route("/v2/models/{name}/ready", service.model_ready),
        Route("/v2/models/{name}/infer", service.infer, methods=["POST"]),
        Route("/predict", service.predict, methods=["POST"]),
        Route("/explain", service.explain, methods=["POST"]),
        Route("/metrics", service.metrics),
    ]
    app = Starlette(routes=routes, lifespan=service.lifespan, exception_handlers=_ERRORS)
    app.router.redirect_slashes = False
    return Guard(app, settings)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.answer(request.scope)


async def _routing_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = {404: "there is nothing here", 405: "this method is not allowed here"}.get(error.status_code, "refused")
    return Problem(error.status_code, sentence, error.headers).answer(request.scope)


async def _failure(request: Request, error: Exception) -> Response:
    return FAILURE.answer(request.scope)  # the guard logs it


_ERRORS: dict[Any, Any] = {Problem: _problem, HTTPException: _routing_problem, Exception: _failure}


class _Service:
    """The handlers, around one model in one lane."""

    def __init__(self, settings: Settings, served: Served) -> None:
        self.settings, self.served = settings, served
        self.lane = Lane(settings.max_waiting, settings.deadline_s, settings.hang_s)
        self.started = False

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(self.served.check, all_pairs=True)
        if self.served.wrong:
            print(f"not serving: {self.served.wrong}", file=sys.stderr)
        self.started = True
        tasks = [asyncio.create_task(self.lane.watch()), asyncio.create_task(self._ask_golden_pairs())]
        try:
            yield
        finally:
            self.started = False
            for task in tasks:
                task.cancel()

    async def _ask_golden_pairs(self) -> None:
        while not self.served.wrong:
            await asyncio.sleep(self.settings.canary_s)
            with suppress(Problem):  # a busy lane is asked again later
                await self.lane.call(self.served.check)
        print(f"stopped answering: {self.served.wrong}", file=sys.stderr)

    # ------------------------------------------------------------------------------------------------ reading

    async def page(self, request: Request) -> Response:
        return HTMLResponse(page(), headers={"content-security-policy": POLICY})

    async def about(self, request: Request) -> Response:
        return JSONResponse({**self.served.metadata(), "examples": self.served.examples()})

    async def server(self, request: Request) -> Response:
        return JSONResponse({"name": "sartor", "version": __version__, "extensions": []})

    async def live(self, request: Request) -> Response:
        live = not self.lane.hung()
        return JSONResponse({"live": live}, 200 if live else 503)

    async def ready(self, request: Request) -> Response:
        ready = self._is_ready()
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def metadata(self, request: Request) -> Response:
        self._check_name(request)
        return JSONResponse(self.served.metadata())

    async def model_ready(self, request: Request) -> Response:
        self._check_name(request)
        ready = self._is_ready()
        return JSONResponse({"name": self.served.name, "ready": ready}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        lines = ["# TYPE sartor_requests_total counter"]
        lines += [f'sartor_requests_total{{outcome="{name}"}} {n}' for name, n in sorted(self.lane.outcomes.items())]
        lines += ["# TYPE sartor_model_seconds_total counter", f"sartor_model_seconds_total {self.lane.seconds:.6f}"]
        lines += ["# TYPE sartor_requests_admitted gauge", f"sartor_requests_admitted {self.lane.admitted}"]
        lines += ["# TYPE sartor_ready gauge", f"sartor_ready {int(self._is_ready())}"]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    # --------------------------------------------------------------------------------------------- answering

    async def predict(self, request: Request) -> Response:
        return await self._one(request, lambda raw: self.served.answer(raw, request.scope["language"]))

    async def explain(self, request: Request) -> Response:
        return await self._one(request, lambda raw: self.served.explain(raw, request.scope["language"]))

    async def _one(self, request: Request, work: Callable[[bytes], dict[str, Any]]) -> Response:
        """What ``work`` makes of the one input in the body."""
        self._check_ready()
        with self.lane.place():
            body = await read_body(request, self.settings.max_body_bytes, self.settings.deadline_s)
            raw = one_input(body, request.headers.get("content-type", ""), self.served.media)
            answer = await self.lane.call(lambda: work(raw))
        return self._answered(answer)

    async def infer(self, request: Request) -> Response:
        self._check_name(request)
        self._check_ready()
        if "inference-header-content-length" in request.headers:
            raise Problem(400, "binary tensors are not read here; send the data in JSON, or the bytes of one input")
        with self.lane.place():
            body = await read_body(request, self.settings.max_body_bytes, self.settings.deadline_s)
            asked = inference(body, request.headers.get("content-type", ""), self.served.media)
            if set(asked.outputs) - set(self.served.outputs):
                raise Problem(400, f"there are the outputs {', '.join(self.served.outputs)} and no others")
            outputs = await self.lane.call(lambda: self.served.infer(asked.inputs, asked.outputs))
        names = {"model_name": self.served.name, "model_version": self.served.version}
        return self._answered({**names, **({"id": asked.id} if asked.id else {}), "outputs": outputs})

    def _answered(self, body: dict[str, object]) -> Response:
        self._check_ready()  # a fault seen meanwhile makes this answer doubtful too
        return JSONResponse(body, headers={"x-model-version": self.served.version})

    def _is_ready(self) -> bool:
        return self.started and not self.served.wrong and not self.lane.hung()

    def _check_ready(self) -> None:
        if not self._is_ready():
            raise Problem(503, "the model gives no answers now; its server's log says why", {"retry-after": "5"})

    def _check_name(self, request: Request) -> None:
        if request.path_params["name"] != self.served.name:
            raise Problem(404, "there is no such model here")
