"""The API as OpenAPI describes it: the parts that FastAPI cannot read from the routes."""

from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from egtr.structures import SceneGraph

FORMATS = {"json": "application/json", "graphml": "application/graphml+xml", "png": "image/png"}
ERRORS = {
    400: "There is no image in the request, or it is cut off.",
    403: "The request came from a page of another site.",
    404: "There is no such model.",
    408: "The upload took too long.",
    413: "The image has too many bytes or pixels.",
    415: "Not an image, or not in a format that is read.",
    421: "The server was called by a name that is not its own.",
    422: "The image is damaged, or a parameter or a given box has a wrong value.",
    500: "The model could not be loaded or failed.",
    503: "Too many images are waiting; the header Retry-After says for how many seconds to stay away.",
    504: "The answer took too long.",
}
SCENE_GRAPH = {"$ref": "#/components/schemas/SceneGraph"}
GIVEN_FIELDS = {
    "boxes": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "JSON: boxes whose relations are wanted, [[x1, y1, x2, y2], ...] in pixels of the upright "
        "image, COCO records with bbox, or a SceneGraph. They are the first objects of the graph, in their order.",
    },
    "classes": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "JSON: a name or id for each box, null where the model is to find the class.",
    },
    "scores": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "JSON: how sure the class of each box is, 0..1; by default 1.",
    },
}
IMAGE_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                    **GIVEN_FIELDS,
                },
            }
        },
        "image/*": {"schema": {"type": "string", "contentMediaType": "image/*"}},
    },
}


class Part(BaseModel):
    """The part of a graph to return."""

    # A misspelt parameter would otherwise be ignored silently.
    model_config = ConfigDict(extra="forbid")

    min_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Least score of a relation. By default a twentieth of the image's best one, at least 0.001, and "
        "with calibration a probability of at least 0.3.",
    )
    top_k: int = Field(20, ge=0, le=10_000, description="At most this number of relations, the best ones.")
    merge: bool = Field(True, description="Whether objects of one class whose boxes nearly coincide become one.")
    single_objects: bool = Field(
        True,
        description="Whether certain objects that no relation joins are kept (TEST.SCENE_GRAPH.OBJECT_THRESHOLD).",
    )

    refine_boxes: bool = Field(False, description="Whether given boxes are returned as the model corrects them.")
    with_found: bool = Field(False, description="Whether objects that the model finds itself follow the given ones.")

    def apply(self, graph: SceneGraph) -> SceneGraph:
        """Return the chosen part of a graph, see :meth:`egtr.structures.SceneGraph.for_display`."""
        merge_iou = 0.7 if self.merge else None
        return graph.for_display(self.min_score, self.top_k, merge_iou, single_objects=self.single_objects)


class Selection(Part):
    """The model to use, and the part of its graph to return."""

    model: str | None = Field(None, description="A name of /api/v1/models; by default the first.")


class ExplainedSelection(Selection):
    remember: bool = Field(
        False, description="Whether the server remembers the image for a while, so that its boxes can be corrected."
    )


class Correction(BaseModel):
    """Boxes of a remembered image."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(description="The id of a remembered image: `remembered` of /api/v1/explanations.")
    boxes: list[Any] | dict[str, Any] = Field(
        description="Boxes whose relations are wanted, [[x1, y1, x2, y2], ...] in pixels of the upright image, COCO "
        "records with bbox, or a SceneGraph. They are the first objects of the graph, in their order."
    )
    # egtr.data.given_boxes checks both, as it does for a form. Pydantic would take true for the class 1.
    classes: list[Annotated[Any, WithJsonSchema({"type": ["string", "integer", "null"]})]] | None = Field(
        None, description="A name or id for each box, null where the model is to find the class."
    )
    scores: list[Annotated[Any, WithJsonSchema({"type": "number"})]] | None = Field(
        None, description="How sure the class of each box is, 0..1; by default 1."
    )


class GraphSelection(Selection):
    format: Literal["json", "graphml", "png"] = Field(
        "json", description="json: SceneGraph; graphml: for graph programs; png: the image with its graph, drawn."
    )


class Problem(BaseModel):
    detail: str = Field(description="What is wrong, and what to do about it.")


class Health(BaseModel):
    status: Literal["ready", "loading", "failed"]


class Model(BaseModel):
    name: str
    state: Literal["ready", "not loaded", "failed"] = Field(
        description="Models are loaded by the first request for them."
    )
    remembers: bool | None = Field(
        description="Whether it can remember images for corrections; null before it is loaded."
    )
    classes: list[str] | None = Field(description="What objects it knows; null before it is loaded.")
    predicates: list[str] | None = Field(description="What relations it knows; null before it is loaded.")


class Models(BaseModel):
    default: str = Field(description="The model that answers requests without a model name.")
    models: list[Model]


class ExplainedGraph(BaseModel):
    """An image with its graph and the explanations, as the page shows it."""

    name: str | None = Field(description="The name of the uploaded file.")
    image: str = Field(description="The image, upright and at most 640 pixels a side, as a data: address (WebP).")
    graph: dict[str, Any]
    explanations: list[dict[str, Any]] | None = Field(
        description="Where each relation of the graph comes from, as egtr.structures.EdgeExplanation says. null: the "
        "model is not EGTR and explains nothing, or boxes were given."
    )
    remembered: str | None = Field(
        description="The id of the remembered image for /api/v1/relations; null if `remember` was not asked for."
    )


CORRECTION_BODY = {"required": True, "content": {"application/json": {"schema": Correction.model_json_schema()}}}
IMAGE_PROBLEMS = {status: {"model": Problem, "description": text} for status, text in ERRORS.items()}
_CORRECTION_ERRORS = {status: ERRORS[status] for status in (400, 403, 408, 413, 415, 421, 422, 500, 503, 504)} | {
    410: "The server does not remember the image any more; send it again.",
    413: "The body has too many bytes.",
    415: "The body is compressed.",
    422: "A parameter, a field or a given box has a wrong value.",
}
CORRECTION_PROBLEMS = {
    status: {"model": Problem, "description": text} for status, text in sorted(_CORRECTION_ERRORS.items())
}
SCENE_GRAPH_ANSWER = {
    200: {
        "description": "The scene graph.",
        "content": {
            FORMATS["json"]: {"schema": SCENE_GRAPH},
            FORMATS["graphml"]: {"schema": {"type": "string"}},
            FORMATS["png"]: {"schema": {"type": "string", "contentMediaType": FORMATS["png"]}},
        },
    }
}


def add_scene_graph_schema(app: FastAPI) -> None:
    """Put :meth:`SceneGraph.json_schema` among the schemas of ``/openapi.json``."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schema = {key: value for key, value in SceneGraph.json_schema().items() if not key.startswith("$")}
        schemas = document["components"]["schemas"]
        schemas["SceneGraph"] = schema
        schemas["ExplainedGraph"]["properties"]["graph"] = SCENE_GRAPH
        return document

    app.openapi = openapi
