"""The graph that people read: objects with names, and ranked triplets between them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

import egtr

from .arrays import convert_arrays
from .errors import PredictionError
from .export import from_dict, read_schema, to_dict, to_networkx
from .prediction import Prediction
from .ranking import rank_triplets
from .selection import choose, merge, take
from .text import summarize, to_text

if TYPE_CHECKING:
    import networkx
    from matplotlib.figure import Figure

# By default, for_display leaves out triplets below this share of the image's best score, or below the least score.
SHARE_OF_BEST = 0.05
LEAST_SCORE = 0.001
# Least probability of a triplet that for_display keeps of the others, where a calibration tells probabilities.
LEAST_PROBABILITY = 0.3
# Least presence of an object that is shown without a relation.
OBJECT_THRESHOLD = 0.5


@dataclass(eq=False, repr=False)
class SceneGraph:
    """Ranked, named view of a :class:`Prediction`.

    N is the number of objects (queries, unless filtered), K the number of triplets. The index of an object is its
    place in *this* graph and changes if objects are left out; ``query_index`` identifies the object in all graphs
    that were made from the same prediction.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
        classes: (N,) int64, the class of highest logit.
        scores: (N,) float32 in 0..1.
        triplets: (K, 3) int64, (subject, object, predicate); subject and object index the objects of *this* graph.
        triplet_scores: (K,) float32 in 0..1, descending.
        image_size: (height, width) in pixels.
        class_names: C names, or None: objects are then called "class 3".
        predicate_names: R names, or None.
        prediction: the record that the graph was made from; None if it was not kept, or if objects no longer line up
            with its queries (after :meth:`filter`, :meth:`merge_duplicates` and :meth:`from_dict`).
        query_index: (N,) int64, the query that found each object. Annotations count as queries. Default: 0..N-1.
        triplet_queries: (K, 2) int64, the subject query and the object query from which each triplet was scored. Only
            merging makes them differ from the query_index of the triplet's objects, which is the default.
        file_name: the image or video, or None.
        frame: the number of the frame of a video or camera, counted from 0, or None.
        time: the time of this frame in seconds from the beginning, or None.
        presence: (N,) float32 in 0..1, the probability that there is such an object at all (sigmoid of the highest
            logit), while ``scores`` may only compare its class with other classes; None if it is not known.
        object_threshold: least presence of an object that :meth:`for_display` keeps without a relation
            (TEST.SCENE_GRAPH.OBJECT_THRESHOLD).
        warnings: reasons to doubt the graph, as sentences.
        triplet_probabilities: (K,) float32, the probability that each triplet is annotated, or None without a
            :class:`~egtr.structures.Calibration`; likewise
        triplet_precisions: (K,) float32, the expected share of annotated triplets among all, of any image, that score
            at least as high, and
        object_probabilities: (N,) float32, the probability that an object of this class is annotated there.
        given: (N,) bool, the objects whose boxes were given to the model; None: it found all objects itself.
        given_by: how the model learned of given boxes, "box_queries" or "assignment" (docs/given_boxes.md), or None.
        least_probability: least probability of a triplet that :meth:`for_display` keeps, set by a calibration on
            exhaustive annotations; None: any.

    Raises:
        PredictionError: a field has another shape, or a triplet names an object that is not there.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    triplets: np.ndarray
    triplet_scores: np.ndarray
    image_size: tuple[int, int]
    class_names: tuple[str, ...] | None = None
    predicate_names: tuple[str, ...] | None = None
    prediction: Prediction | None = None
    query_index: np.ndarray | None = None
    triplet_queries: np.ndarray | None = None
    file_name: str | None = None
    frame: int | None = None
    time: float | None = None
    presence: np.ndarray | None = None
    object_threshold: float = OBJECT_THRESHOLD
    warnings: tuple[str, ...] = ()
    triplet_probabilities: np.ndarray | None = None
    triplet_precisions: np.ndarray | None = None
    object_probabilities: np.ndarray | None = None
    given: np.ndarray | None = None
    given_by: str | None = None
    least_probability: float | None = None

    def __post_init__(self):
        convert_arrays(self)

    @classmethod
    def from_prediction(
        cls,
        prediction: Prediction,
        class_names: Sequence[str] | None = None,
        predicate_names: Sequence[str] | None = None,
        top_k: int = 100,
        object_score: str = "auto",
    ) -> "SceneGraph":
        """Make a graph of all queries as objects and the ``top_k`` best triplets, one predicate per pair."""
        scores, classes = prediction.object_scores(object_score)
        ranked = rank_triplets(prediction, top_k, graph_constraint=True, object_score=object_score)
        return cls(
            boxes=prediction.boxes,
            classes=classes,
            scores=scores,
            triplets=np.stack([ranked.subjects, ranked.objects, ranked.predicates], axis=1),
            triplet_scores=ranked.scores,
            image_size=prediction.image_size,
            class_names=tuple(class_names) if class_names else None,
            predicate_names=tuple(predicate_names) if predicate_names else None,
            prediction=prediction,
            presence=prediction.object_scores("sigmoid")[0],
        )

    def __len__(self) -> int:
        """Return the number of triplets."""
        return len(self.triplets)

    def class_name(self, index: int) -> str:
        """Name the class of object ``index``."""
        label = int(self.classes[index])
        return self.class_names[label] if self.class_names else f"class {label}"

    def predicate_name(self, predicate: int) -> str:
        """Name a predicate by its id."""
        return self.predicate_names[predicate] if self.predicate_names else f"predicate {predicate}"

    def filter(
        self,
        min_score: float = 0.0,
        top_k: int | None = None,
        min_object_score: float | None = None,
        *,
        classes: str | int | Iterable[str | int] | None = None,
        predicates: str | int | Iterable[str | int] | None = None,
        merge_iou: float | None = None,
        min_presence: float | None = None,
        precision: float | None = None,
        min_probability: float | None = None,
    ) -> "SceneGraph":
        """Keep the triplets that meet all conditions, and the objects that they join.

        Args:
            min_score: least score of a triplet.
            top_k: at most this many triplets, the best ones that meet all other conditions.
            min_object_score: if given, triplets whose subject or object has a lower score are dropped, and objects of
                at least this score are kept even if no triplet uses them.
            classes: names or ids. A triplet is kept if its subject or object (or both) has one of these classes, so
                neighbours are kept, too. Objects that no triplet uses are kept if they have one of these classes.
            predicates: names or ids of the predicates to keep.
            merge_iou: if given, duplicates are merged first, see :meth:`merge_duplicates`.
            min_presence: if given, objects of at least this presence are kept even if no triplet uses them.
            precision: if given, the triplets of highest score are kept, down to the score at which the expected share
                of annotated triplets, over images like those of the calibration, is at least this number; none if no
                score is high enough for it.
            min_probability: if given, least probability of a triplet, each for itself.

        Returns:
            A new graph with ``prediction`` None. Objects and triplets keep their order.

        Raises:
            PredictionError: there is no such class or predicate, ``top_k`` is negative, ``merge_iou``,
                ``precision`` or ``min_probability`` is outside 0..1, or there is no calibration for one of the
                last two.
        """
        if top_k is not None and top_k < 0:
            raise PredictionError(f"filter: top_k is {top_k}; give a number of triplets, 0 or more")
        if merge_iou is not None:
            rest = {
                "classes": classes,
                "predicates": predicates,
                "min_presence": min_presence,
                "precision": precision,
                "min_probability": min_probability,
            }
            return self.merge_duplicates(merge_iou).filter(min_score, top_k, min_object_score, **rest)
        least = {"precision": precision, "min_probability": min_probability}
        return self.select(
            *choose(self, min_score, top_k, min_object_score, min_presence, classes, predicates, least)
        )

    def select(self, objects: np.ndarray, relations: np.ndarray) -> "SceneGraph":
        """Keep the objects of a mask, (N,) bool, and these rows of ``triplets``, which join only such objects."""
        return take(self, objects, self.triplets, relations)

    def merge_duplicates(self, iou: float = 0.7) -> "SceneGraph":
        """Merge objects of one class whose boxes nearly coincide, so that a graph has one node per object.

        EGTR has no non-maximum suppression, so several queries may find the same object. In a graph for people, they
        would appear as several nodes with the same neighbours. The rule:

        1. Objects are visited by descending score (ties: lower index first). Each joins the highest-scoring
           representative of its own class whose IoU with it exceeds ``iou``; if there is none, it becomes a
           representative itself. A representative keeps its own box, score and query_index; its presence is the
           highest among its duplicates. Objects whose boxes were given are visited first, and are never merged.
        2. Every triplet moves to the representatives of its subject and object. A triplet that would then join a
           representative with itself is dropped. Among triplets with the same subject, object and predicate, the best
           one is kept, and its ``triplet_queries`` tell which queries it came from. Different predicates between the
           same two objects are all kept.

        This is only for display. Evaluation counts every query and never calls it.

        Args:
            iou: threshold in 0..1 of intersection over union, compared with ``>``.

        Returns:
            A new graph with ``prediction`` None. Representatives keep their order; triplets are by descending score.

        Raises:
            PredictionError: ``iou`` lies outside 0..1.
        """
        return merge(self, iou)

    def holds_all_queries(self) -> bool:
        """Tell whether the graph is as a model returned it, with queries or relations that show nothing."""
        if self.presence is None or not np.array_equal(self.query_index, np.arange(len(self.boxes))):
            return False
        # Every given box is an object, so of such graphs only the relations tell.
        is_unsure = self.given is not None and bool((self.triplet_scores < LEAST_SCORE).any())
        return is_unsure or bool((self.presence < self.object_threshold).any())

    def for_display(
        self,
        min_score: float | None = None,
        top_k: int | None = 20,
        merge_iou: float | None = 0.7,
        min_object_score: float | None = None,
        *,
        single_objects: bool = True,
    ) -> "SceneGraph":
        """Select the part of a graph that a person wants to see: no duplicates, the best triplets, objects found.

        The score of a triplet is a product of four probabilities, so the scores of good triplets differ from image to
        image and from model to model (with 150 classes, few exceed 0.1). By default triplets are therefore chosen by
        rank: the ``top_k`` best ones, without those below a twentieth of the best score or below 0.001. Of these,
        graphs of calibrated models keep the ones whose probability is at least ``least_probability``.

        Args:
            min_score: least score of a triplet, in place of these limits.
            top_k: at most this many triplets, counted after merging; None: all.
            merge_iou: threshold of :meth:`merge_duplicates`; None: nothing is merged.
            min_object_score: see :meth:`filter`.
            single_objects: also keep objects that none of these triplets joins, if their presence is at least
                ``object_threshold``.
        """
        conditions = {"merge_iou": merge_iou, "min_presence": self.object_threshold if single_objects else None}
        if min_score is None:
            if self.triplet_probabilities is not None:
                conditions["min_probability"] = self.least_probability
            min_score = max(LEAST_SCORE, SHARE_OF_BEST * float(self.triplet_scores.max(initial=0.0)))
        return self.filter(min_score, top_k, min_object_score, **conditions)

    def to_dict(self) -> dict[str, Any]:
        """Return the graph as plain Python values, ready for ``json.dump``; docs/scene_graph_json.md describes it."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "SceneGraph":
        """Make the graph that :meth:`to_dict` described.

        Raises:
            PredictionError: a field is missing or malformed, or the version is one that this release does not know.
        """
        return cls(**from_dict(record))

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of what :meth:`to_dict` returns."""
        return read_schema()

    def to_networkx(self) -> "networkx.MultiDiGraph":
        """Convert the graph for networkx, which writes it as GraphML, GEXF, node-link JSON and more.

        :func:`egtr.structures.export.to_networkx` says what its nodes and edges hold.
        """
        return to_networkx(self.to_dict())

    def draw(self, image: Any = None, channel_order: str | None = None, **options: Any) -> "Figure":
        """Draw the image with its objects boxed, and the graph beside it: ``graph.draw().savefig("graph.png")``.

        Of a graph with all queries, as a model returns it, the part is drawn that :meth:`for_display` selects; a
        graph from which anything was selected is drawn as it is.

        Args:
            image, channel_order: the image, see :func:`egtr.data.image.load_image`; None: the file or the frame of a
                video that the graph was made of.
            options: see :func:`egtr.visualization.draw_scene_graph`.

        Raises:
            PredictionError: the graph does not know its file, or the image has other proportions than the graph's.
            DataError: the image cannot be read.
        """
        return egtr.visualization.draw_on_own_image(self, image, channel_order, **options)

    def save(
        self, path: str | PathLike[str], image: Any = None, channel_order: str | None = None, **options: Any
    ) -> None:
        """Write the graph to a file: all of it as .json or .graphml, or drawn as .png, .jpg, .svg, .pdf and more.

        Args:
            path: its suffix decides.
            image, channel_order: see :meth:`draw`.
            options: see :func:`egtr.visualization.save_scene_graph`.

        Raises:
            ConfigurationError: graphs are not written in files of this suffix.
            WriteError: the file cannot be written.
            PredictionError, DataError: see :meth:`draw`.
        """
        if PurePath(path).suffix in (".json", ".graphml"):
            egtr.inference.save_graph(path, self)
        else:
            egtr.visualization.save_on_own_image(path, self, image, channel_order, **options)

    def _repr_png_(self) -> bytes:
        # Notebooks show this.
        return egtr.visualization.render_for_notebook(self)

    def __str__(self) -> str:
        return to_text(self.to_dict())

    def __repr__(self) -> str:
        return f"<{summarize(self.to_dict())}>"
