"""Hand-made images for reports."""

import re

import numpy as np

from egtr.structures import Calibration, EdgeExplanation, ExplainedObject, GroundTruth, Prediction, SceneGraph
from egtr.structures.calibration import Curve, Labels
from egtr.visualization.report import ReportImage, compare_with_truth

# Names that would break a page that takes them for HTML, and a script element that holds them as they are.
EVIL = "</script><img src=x onerror=alert(1)>"
CLASSES = ("man", "horse", EVIL)
PREDICATES = ("rides", 'is "near" & <b>')
BOXES = np.array([[10, 10, 60, 80], [20, 40, 110, 90], [100, 5, 150, 50]], dtype=np.float32)


# Half of a score is its probability.
HALVES = Curve((0.0, 1.0), (0.0, 0.5))
CALIBRATION = Calibration(
    "drawn", 10, True, HALVES, HALVES, HALVES, Labels(1.0, (0.9,), (0.9,)), Labels(1.0, (0.9,), (0.9,))
)


def make_prediction(boxes=BOXES):
    """Man 0 rides horse 1 (0.8), and the third object is near the man (0.4); all else is impossible.

    Classes are as good as certain, so that scores are those of the predicates.
    """
    relation = np.zeros((9, 2), dtype=np.float32)
    relation[0 * 3 + 1, 0] = 0.8
    relation[2 * 3 + 0, 1] = 0.4
    pairs = np.array([(i, j) for i in range(3) for j in range(3)])
    logits = np.full((3, 3), -20.0, dtype=np.float32)
    np.fill_diagonal(logits, 20.0)
    return Prediction(logits, boxes, pairs, np.ones(9), relation, image_size=(100, 160))


def make_image(name="street.jpg", explained=True, annotated=True, color=(200, 220, 240)):
    """Two edges are shown. Annotated are the first of them, and "horse near man", which no prediction has."""
    prediction = make_prediction()
    graph = SceneGraph.from_prediction(prediction, CLASSES, PREDICATES).for_display()
    truth = GroundTruth(BOXES, np.arange(3), np.array([[0, 1, 0], [1, 0, 1]]))
    return ReportImage(
        name,
        np.full((100, 160, 3), color, dtype=np.uint8),
        graph,
        [make_explanation(graph, row) for row in range(len(graph))] if explained else None,
        compare_with_truth(graph, prediction, truth) if annotated else None,
    )


def make_explanation(graph, row):
    """Gates 0.5 and 0.25; logit 2 = 1.5 - 0.5 + 0.75 (constant) + 0.25 (frequency bias); two layers of two heads."""
    subject, object_, predicate = graph.triplets[row].tolist()

    def end(index):
        points = np.tile((graph.boxes[index, :2] + graph.boxes[index, 2:]) / 2, (2, 2, 1, 1, 1))
        weights = np.full((2, 2, 1, 1), 1.0)
        return ExplainedObject(
            index, int(graph.classes[index]), graph.class_name(index), 1.0, graph.boxes[index], points, weights
        )

    return EdgeExplanation(
        subject=end(subject),
        object=end(object_),
        predicate_id=predicate,
        predicate=graph.predicate_name(predicate),
        score=float(graph.triplet_scores[row]),
        predicate_score=0.88,
        connectivity=0.9,
        connectivity_logit=2.2,
        logit=2.0,
        head_logit=1.75,
        frequency_bias=0.25,
        logit_adjustment=0.0,
        sources=("layer 0", "last state"),
        gates=np.array([0.5, 0.25]),
        contributions=np.array([1.5, -0.5]),
        constant=0.75,
        attention=np.array([[0.1, 0.2], [0.3, 0.4]]),
        attention_back=np.array([[0.0, 0.05], [0.0, 0.0]]),
    )


def read_element(page, name):
    """The text of a script element by its id."""
    return re.search(rf'<script type="[a-z/]+" id="{name}">(.*?)</script>', page, re.DOTALL)[1]
