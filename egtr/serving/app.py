"""The routes: the page, its API, and whether the server is ready."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import ValidationError

from egtr.structures import EGTRError
from egtr.version import __version__
from egtr.visualization.report import assemble_page
from egtr.visualization.report.assets import IMAGE_PAGE_SCRIPTS, IMAGE_PAGE_STYLES, image_page_body, read_asset

from . import answers
from .errors import RefusedError
from .models import ModelStore
from .protocol import AnswerHead, DropUpload
from .remembered import RememberedImages
from .schema import (
    CORRECTION_BODY,
    CORRECTION_PROBLEMS,
    FORMATS,
    IMAGE_BODY,
    IMAGE_PROBLEMS,
    SCENE_GRAPH,
    SCENE_GRAPH_ANSWER,
    Correction,
    ExplainedGraph,
    ExplainedSelection,
    GraphSelection,
    Health,
    Models,
    Part,
    Selection,
    add_scene_graph_schema,
)
from .security import SameOrigin, read_public_names
from .upload import decode_image, open_image, read_body, read_upload, while_connected
from .worker import Worker


def create_app(
    store: ModelStore, worker: Worker, *, only_loopback: bool = True, public_names: Sequence[str] = ()
) -> FastAPI:
    """Create the application.

    Args:
        store: the models to choose from.
        worker: the thread in which models compute; its limits apply to every request. The caller closes it.
        only_loopback: answer only requests that address the server by a name of the loopback interface.
        public_names: names, ``NAME`` or ``NAME:PORT``, by which browsers reach a proxy in front of this server; they
            are accepted too. If there are any, no other name is, whatever ``only_loopback`` is.

    Raises:
        ConfigurationError: a public name is not one.
        EGTRError: the page cannot be put together, see :func:`egtr.visualization.report.read_graph_library`.
    """
    # FastAPI's own documentation pages load their code from elsewhere.
    app = FastAPI(title="EGTR: scene graphs of images", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(SameOrigin, only_loopback=only_loopback, public_names=read_public_names(public_names))
    app.add_middleware(AnswerHead)
    app.add_middleware(DropUpload, timeout=worker.limits.timeout)
    _add_error_handlers(app)
    add_scene_graph_schema(app)
    page = build_page()
    remembered = RememberedImages(worker.limits.max_remembered)
    example = files(__package__).joinpath("page", "example.png").read_bytes()

    @app.get("/", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/example.png", include_in_schema=False)
    async def show_example() -> Response:
        return Response(example, media_type="image/png")

    @app.get("/health", responses={503: {"model": Health, "description": "Not ready."}})
    async def health(response: Response) -> Health:
        """Say whether the default model is loaded."""
        state = store.state(store.default)
        response.status_code = 200 if state == "ready" else 503
        return Health(status="loading" if state == "not loaded" else state)

    @app.get("/api/v1/models")
    async def models() -> Models:
        """List the models to choose from."""
        return Models(
            default=store.default,
            models=[
                {
                    "name": name,
                    "state": store.state(name),
                    "remembers": store.remembers(name),
                    **store.vocabulary(name),
                }
                for name in store.names
            ],
        )

    async def answer(request: Request, selection: Selection, compute: Callable[..., Any]) -> Any:
        with worker.place():
            upload = await read_upload(request, worker.limits)
            given = answers.read_given(upload.given, selection, worker.limits.max_boxes)
            model = store.find(selection.model)
            image = await asyncio.to_thread(open_image, upload.data, worker.limits.max_pixels)
            work = worker.run(lambda: compute(store.load(model), decode_image(image), upload.name, selection, given))
            return await while_connected(request, work)

    route = {"openapi_extra": {"requestBody": IMAGE_BODY}}

    @app.post("/api/v1/scene-graph", responses={**SCENE_GRAPH_ANSWER, **IMAGE_PROBLEMS}, **route)
    async def scene_graph(request: Request, selection: Annotated[GraphSelection, Query()]) -> Response:
        """Predict the scene graph of an image, sent as the body or as the file of a form."""
        content = await answer(request, selection, answers.scene_graph)
        return Response(content, media_type=FORMATS[selection.format])

    @app.post("/api/v1/explanations", response_model=ExplainedGraph, responses=IMAGE_PROBLEMS, **route)
    async def explanations(request: Request, selection: Annotated[ExplainedSelection, Query()]) -> Response:
        """Predict the scene graph of an image, and explain where each of its relations comes from."""
        compute = partial(answers.explained_graph, images=remembered if selection.remember else None)
        return JSONResponse(await answer(request, selection, compute))

    related = {200: {"description": "The scene graph.", "content": {FORMATS["json"]: {"schema": SCENE_GRAPH}}}}

    @app.post(
        "/api/v1/relations",
        responses={**related, **CORRECTION_PROBLEMS},
        openapi_extra={"requestBody": CORRECTION_BODY},
    )
    async def relations(request: Request, selection: Annotated[Part, Query()]) -> Response:
        """Predict the relations between boxes of an image that the server remembers, without its upload."""
        with worker.place():
            correction = _read_correction(await read_body(request, worker.limits))
            fields = correction.model_dump(exclude={"image"}, exclude_unset=True)
            given = answers.read_given(fields, selection, worker.limits.max_boxes)
            work = worker.run(answers.corrected_graph, remembered, correction, selection, given)
            return JSONResponse(await while_connected(request, work))

    return app


def _read_correction(body: bytes) -> Correction:
    # By hand, because FastAPI itself reads bodies of any length.
    try:
        return Correction.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error


def build_page() -> str:
    """Build the page, with everything that it needs inside."""
    styles = [*map(read_asset, IMAGE_PAGE_STYLES), read_asset("correct.css", __package__)]
    own = [read_asset(name, __package__) for name in ("coco_sg.js", "box_editor.js", "correct.js", "serve.js")]
    scripts = [*map(read_asset, IMAGE_PAGE_SCRIPTS), *own]
    body = image_page_body(
        choices=read_asset("choices.html", __package__),
        privacy="It is sent only to this server, which writes nothing to a disk.",
        actions=read_asset("actions.html", __package__),
        tools=read_asset("correct.html", __package__),
        footer='The same for programs: <a href="openapi.json">openapi.json</a>',
    )
    return "".join(assemble_page(body, "Scene graphs", styles, scripts, connect="'self'"))


def _add_error_handlers(app: FastAPI) -> None:
    """Make every failure an answer ``{"detail": text}``, see :class:`egtr.serving.schema.Problem`."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong_parameters(request: Request, error: RequestValidationError) -> JSONResponse:
        texts = [f"{'.'.join(map(str, entry['loc'][1:])) or 'body'}: {entry['msg']}" for entry in error.errors()]
        return JSONResponse({"detail": "; ".join(texts)}, 422)

    @app.exception_handler(EGTRError)
    async def failed(request: Request, error: EGTRError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 500)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "something is wrong inside; the server's own output says more"}, 500)
