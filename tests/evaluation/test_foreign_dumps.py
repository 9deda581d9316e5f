"""Other projects' result files, written here as they write them, score as the records that they hold."""

import json
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import torch

from egtr.cli import main
from egtr.evaluation import (
    Annotations,
    PredictionWriter,
    evaluate,
    foreign_pickles,
    read_predictions,
    score_predictions,
)
from egtr.evaluation.foreign_dumps import convert_dump, ranked_rows
from egtr.structures import EGTRError, GroundTruth, Prediction
from tests.evaluation.scenes import A, B, C, nothing

NAMES = ("person", "dog"), ("near", "holds", "under")


@pytest.fixture
def package(monkeypatch):
    """Modules of a package that is gone when files are read, with the classes of the projects."""

    def make(name, cls):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = types.ModuleType(".".join(parts[:end]))
            monkeypatch.setitem(sys.modules, module.__name__, module)
        cls.__module__, cls.__qualname__ = name, cls.__name__
        setattr(module, cls.__name__, cls)
        return cls

    return make


def box_list(cls, boxes, size, **fields):
    record = cls()
    record.bbox, record.size, record.mode = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), size, "xyxy"
    record.extra_fields = {name: torch.as_tensor(value) for name, value in fields.items()}
    return record


@pytest.fixture
def eval_results(package):
    """Save two images as Scene-Graph-Benchmark does: ids from 1, the background's column first."""

    def save(path, module="maskrcnn_benchmark.structures.bounding_box", more_predicates=0, **options):
        more = [0.0] * more_predicates
        cls = package(module, type("BoxList", (), {}))
        # Image 1: objects A (person), B (dog, which late suppression chose), pairs A,B and B,A. Image 2: nothing.
        predictions = [
            box_list(
                cls,
                [A, B],
                (60, 50),
                pred_labels=[1, 2],
                pred_scores=[0.9, 0.8],
                rel_pair_idxs=[[0, 1], [1, 0]],
                pred_rel_scores=[[0.1, 0.7, 0.2, 0.0, *more], [0.5, 0.0, 0.1, 0.4, *more]],
            ),
            box_list(
                cls,
                [],
                (60, 50),
                pred_labels=torch.zeros(0, dtype=torch.int64),
                pred_scores=torch.zeros(0),
                rel_pair_idxs=torch.zeros(0, 2, dtype=torch.int64),
                pred_rel_scores=torch.zeros(0, 4 + more_predicates),
            ),
        ]
        truths = [
            box_list(cls, [A, B], (60, 50), labels=[1, 2], relation_tuple=[[0, 1, 1], [1, 0, 2]]),
            box_list(cls, [C], (60, 50), labels=[1], relation_tuple=torch.zeros(0, 3, dtype=torch.int64)),
        ]
        torch.save({"predictions": predictions, "groundtruths": truths}, path, **options)
        return path

    return save


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    ("kind", "module"),
    [("sgb", "maskrcnn_benchmark.structures.bounding_box"), ("pysgg_oi", "pysgg.structures.bounding_box")],
)
def test_box_lists(eval_results, tmp_path, kind, module, new):
    path = eval_results(tmp_path / "eval_results.pytorch", module, _use_new_zipfile_serialization=new)
    convert_dump(kind, path, tmp_path / "found.npz")
    (first, found, truth), (_, empty, other) = read_predictions(tmp_path / "found.npz")
    assert first == 0 and found.image_size == (50, 60)
    assert found.classes.tolist() == [0, 1] and found.scores.tolist() == pytest.approx([0.9, 0.8])
    assert found.boxes.tolist() == [A, B] and found.pairs.tolist() == [[0, 1], [1, 0]]
    np.testing.assert_allclose(found.relation, [[0.7, 0.2, 0.0], [0.0, 0.1, 0.4]], rtol=1e-6)
    assert truth.triplets.tolist() == [[0, 1, 0], [1, 0, 1]] and truth.classes.tolist() == [0, 1]
    assert empty.num_queries == 0 and other.classes.tolist() == [0] and len(other.triplets) == 0
    # Rows by score: A0B .7 * .72 (right), B2A .4 * .72 (wrong): 1 of 2.
    assert score_predictions(tmp_path / "found.npz", "motifs", (1,))["motifs"]["R@1"] == 0.5


def test_a_file_of_scene_graph_benchmark_from_the_command_line(eval_results, tmp_path, capsys):
    path = eval_results(tmp_path / "eval_results.pytorch")
    arguments = ["score", str(path), "--from", "sgb", "--protocol", "motifs", "--top-k", "1", "2"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"{path}: 2 images" in printed and "R@1 / 2" in printed
    metrics = json.loads((tmp_path / "evaluation.json").read_text())["protocols"]["motifs"]["metrics"]
    assert [metrics["R@1"], metrics["ng-R@2"]] == [50.0, 50.0]


def test_names_that_ship_for_a_file_without_any(eval_results, tmp_path, capsys):
    path = str(eval_results(tmp_path / "eval_results.pytorch", more_predicates=47))
    # As Scene-Graph-Benchmark has it, ids from 1: "airplane above animal" of these names, which is hit.
    torch.save(torch.tensor([[1, 2, 1]]), tmp_path / "zeroshot_triplet.pytorch")
    words = ["score", path, "--from", "sgb", "--protocol", "motifs", "--top-k", "1", "--output", str(tmp_path)]
    more = ["--zero-shot", str(tmp_path / "zeroshot_triplet.pytorch"), "--groups", "bgnn", "--per-predicate"]
    assert main([*words, "--names", "vg150", *more]) == 0
    assert "| above" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "evaluation.json").read_text())["protocols"]["motifs"]["metrics"]
    assert metrics["num_zero_shot_triplets"] == 1 and metrics["zR@1"] == 100.0
    # "above" and "across" are annotated, and the first is hit: of BGNN's 12 body predicates one, of its head none.
    assert metrics["body-mR@1"] == pytest.approx(100 / 12) and metrics["head-mR@1"] is None
    for words_of_names, message in (
        (more, "--names vg150"),
        (["--names", "coco"], "--names coco: has no names of predicates"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*words, *words_of_names])
        assert message in capsys.readouterr().err
    assert main([*words, "--names", "vg"]) == 1
    assert "vg: no names of this dataset" in capsys.readouterr().err
    eval_results(path)
    assert main([*words, "--names", "vg150"]) == 1
    expected = f"{path}: has 2 or more classes and 3 predicates, but there are names of 150 and 50"
    assert expected in capsys.readouterr().err


def annotations(**records):
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0], [1, 0, 1]])
    return Annotations("mine", records or {7: truth}, *NAMES)


def test_openpsg(package, tmp_path):
    cls = package("openpsg.models.relation_heads.approaches.relation_util", type("Result", (), {}))
    found = cls()
    found.refine_bboxes = np.array([[*A, 0.9], [*B, 0.8]], dtype=np.float32)
    found.labels, found.rel_pair_idxes = np.array([1, 2]), np.array([[0, 1]])
    found.rel_dists, found.masks = np.array([[0.1, 0.7, 0.2, 0.0]]), None
    (tmp_path / "results.pkl").write_bytes(pickle.dumps([found]))
    convert_dump("openpsg", tmp_path / "results.pkl", tmp_path / "found.npz", annotations())
    ((image_id, record, truth),) = read_predictions(tmp_path / "found.npz")
    assert image_id == 7 and record.classes.tolist() == [0, 1] and len(truth.triplets) == 2
    np.testing.assert_allclose(record.relation, [[0.7, 0.2, 0.0]], rtol=1e-6)
    with pytest.raises(EGTRError, match="results.pkl: has 1 images, mine 2"):
        both = annotations(a=annotations().records[7], b=annotations().records[7])
        convert_dump("openpsg", tmp_path / "results.pkl", tmp_path / "two.npz", both)
    with pytest.raises(EGTRError, match="results.pkl: a file of openpsg holds no ground truth"):
        convert_dump("openpsg", tmp_path / "results.pkl", tmp_path / "two.npz")


def test_sgbench(tmp_path):
    path = tmp_path / "sgbench.json"
    image = {"id": "7", "bboxes": [A, B], "categories": [0, 1], "triplets": [[1, 0, 2], [0, 1, 0], [1, 0, 1]]}
    path.write_text(json.dumps({"version": 1, "images": [image]}))
    convert_dump("sgbench", path, tmp_path / "found.npz", annotations())
    # In the given order: B2A (wrong), A0B, B1A.
    metrics = score_predictions(tmp_path / "found.npz", "sgbench", (1, 2, 3))["sgbench"]
    assert [metrics[f"R@{k}"] for k in (1, 2, 3)] == [0.0, 0.5, 1.0]
    for change, message in (
        ({"bboxes": None}, "'7' has masks and no bboxes"),
        ({"id": "8"}, "'8' is not in mine"),
        ({"triplets": [[0, 1, 3]]}, "a predicate outside 0..2"),
        ({"triplets": [[0, 2, 0]]}, "outside 0..1"),
        ({"categories": [0]}, "Prediction.classes has shape"),
    ):
        path.write_text(json.dumps({"images": [image | change]}))
        with pytest.raises(EGTRError, match=f"sgbench.json: .*{message}"):
            convert_dump("sgbench", path, tmp_path / f"{message[:4]}.npz", annotations())


def test_ranked_rows_keep_their_order():
    pairs, relation = ranked_rows([(0, 1, 2), (0, 1, 0), (1, 0, 1), (0, 1, 2)], 3)
    assert pairs.tolist() == [[0, 1], [0, 1], [1, 0], [0, 1]]
    assert relation.tolist() == [[0, 0, 1], [0.75, 0, 0], [0, 0.5, 0], [0, 0, 0.25]]
    assert ranked_rows([], 3)[1].shape == (0, 3)


def test_foreign_classes_are_refused(tmp_path, package):
    cls = package("mmcv.parallel", type("DataContainer", (), {}))
    torch.save({"predictions": [cls()], "groundtruths": []}, tmp_path / "odd.pytorch")
    with pytest.raises(EGTRError, match="odd.pytorch: holds an object of mmcv.parallel.DataContainer"):
        convert_dump("sgb", tmp_path / "odd.pytorch", tmp_path / "found.npz")
    torch.save({"predictions": []}, tmp_path / "half.pytorch")
    with pytest.raises(EGTRError, match="half.pytorch: is not as sgb writes it"):
        convert_dump("sgb", tmp_path / "half.pytorch", tmp_path / "found.npz")
    with pytest.raises(EGTRError, match="none.pytorch: cannot be read"):
        convert_dump("sgb", tmp_path / "none.pytorch", tmp_path / "found.npz")


class Called:
    """Pickles as the call of a function, which itself pickles by its name."""

    def __init__(self, name, *values, state=None):
        self.name, self.values, self.state = name, values, state


class Writer(pickle._Pickler):
    """Writes made-up pickles: names that need not exist here, and calls of them with any arguments."""

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Called):
            self.write(pickle.GLOBAL + value.name.rpartition(".")[0].encode() + b"\n")
            self.write(value.name.rpartition(".")[2].encode() + b"\n")
            if value.values:
                super().save(value.values)
                self.write(pickle.REDUCE)
            if value.state is not None:
                super().save(value.state)
                self.write(pickle.BUILD)
        else:
            super().save(value, save_persistent_id)


def make_pickle(path, value):
    with open(path, "wb") as file:
        Writer(file, 2).dump(value)
    return path


ARRAY, DTYPE, TENSOR = "numpy.ndarray", "numpy.dtype", "torch._utils._rebuild_tensor_v2"
MAKE_ARRAY, ADDRESS = "numpy.core.multiarray._reconstruct", b"A" * 8


def made_up_array(dtype, content, shape=(1,)):
    return Called(MAKE_ARRAY, Called(ARRAY), (0,), b"b", state=(1, shape, dtype, False, content))


@pytest.mark.parametrize(
    "value",
    [
        Called("os.system", "false"),
        Called("builtins.eval", "1"),
        Called("builtins.getattr", Called("builtins.list"), "__class__"),
        # A class of results, but more of it than its making.
        Called("pysgg.structures.bounding_box.BoxList.__init__.__globals__"),
        Called("structures.bounding_box", "BoxList"),
        # Bytes that would become addresses of objects.
        made_up_array(Called(DTYPE, "O8", False, True), ADDRESS),
        Called("numpy.core.multiarray.scalar", Called(DTYPE, "O8", False, True), ADDRESS),
        Called("numpy.core.numeric._frombuffer", ADDRESS, Called(DTYPE, "O8", False, True), (1,), "C"),
        # The same, in a type whose later state says so.
        made_up_array(
            Called(DTYPE, "V8", state=(4, "|", None, ("a",), {"a": (Called(DTYPE, "O8"), 0)}, 8, 1, 0)), ADDRESS
        ),
        # A view that is longer than its memory, as the numbers of another.
        Called(TENSOR, Called(TENSOR, np.zeros(1), 0, (10**7,), (0,)), 0, (10**7,), (1,)),
        Called(TENSOR, made_up_array(Called(DTYPE, "f4"), b"AAAA"), 0, (2,), (1,)),
        # A billion values of one.
        Called(
            TENSOR,
            Called("numpy.core.numeric._frombuffer", b"AAAA", Called(DTYPE, "f4"), (1,), "C"),
            0,
            (10**9,),
            (0,),
        ),
        # More values than bytes.
        made_up_array(Called(DTYPE, "f4"), b"AAAA", (1000,)),
        # State for a class, not for an object of it.
        Called("pysgg.structures.bounding_box.BoxList", state={"kind": "changed"}),
    ],
    ids=range(14),
)
def test_made_up_pickles_are_refused(tmp_path, value):
    path = make_pickle(tmp_path / "made_up.pkl", {"predictions": [value]})
    with pytest.raises(EGTRError, match="made_up.pkl: "):
        foreign_pickles.read_pickled(path)


def test_compressed_archives_are_refused(eval_results, tmp_path):
    path = eval_results(tmp_path / "eval_results.pytorch")
    with (
        zipfile.ZipFile(path) as stored,
        zipfile.ZipFile(tmp_path / "small.pytorch", "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for name in stored.namelist():
            out.writestr(name, stored.read(name))
    with pytest.raises(EGTRError, match="small.pytorch: is compressed"):
        foreign_pickles.read_pickled(tmp_path / "small.pytorch")


def test_made_up_pickles_change_nothing_for_later_ones(tmp_path):
    # Attributes of a function that the file names, an array by its class and a type with a later state.
    function = Called(TENSOR, state=(None, {"__defaults__": (1, 2), "__kwdefaults__": {}}))
    array = Called(ARRAY, (4,), Called(DTYPE, "O8", False, True), ADDRESS * 4)
    dtype = Called(DTYPE, "f4", False, False, state=(3, "<", (1, 2), None, None, 400, 1, 255))
    found = foreign_pickles.read_pickled(make_pickle(tmp_path / "made_up.pkl", [function, array, dtype]))
    assert foreign_pickles._rebuild_tensor.__defaults__ is None
    assert np.asarray(found[1]).shape == (0,)
    assert found[2].value == np.dtype("<f4") and found[2].value.itemsize == 4


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_each_protocol(tmp_path, protocol):
    arrays = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(3, dtype=">i2"),
        np.zeros((0, 4)),
        np.array(["ä", "bc"]),
        np.array([True, False]),
        np.array([[1, 2], "text", None], dtype=object),
        np.float32(0.5),
    ]
    (tmp_path / "arrays.pkl").write_bytes(pickle.dumps(arrays, protocol))
    for read, array in zip(foreign_pickles.read_pickled(tmp_path / "arrays.pkl"), arrays, strict=True):
        assert np.asarray(read).dtype == array.dtype and np.asarray(read).shape == array.shape
        np.testing.assert_array_equal(read, array)


LABELS = {"classes": [1, 1], "scores": [0.25, 0.5]}


def labelled(**changes):
    """Two objects whose best logits say class 0, and whose label is 1."""
    record = {"logits": [[5, 0], [5, 0]], "boxes": [A, B], "pairs": [[0, 1]], "connectivity": [1.0]}
    return Prediction(**(record | {"relation": [[0.9, 0.1]], "image_size": (50, 50)} | LABELS | changes))


def test_given_labels_decide():
    truth = GroundTruth([A, B], [1, 1], [[0, 1, 0]])
    for protocol in ("reference", "strict"):
        metrics = evaluate([labelled()], [truth], protocol, top_k=(1,))
        assert [metrics[name] for name in ("R@1", "AP", "oi/microR@50")] == [1.0, 1.0, 1.0]
    assert labelled().object_scores("softmax")[0].tolist() == [0.25, 0.5]
    # By the logits both are of class 0; AP also looks at the other class of each.
    assert evaluate([labelled(classes=None, scores=None)], [truth], top_k=(1,))["R@1"] == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, "belong together"),
        ({"classes": [1]}, r"classes has shape \(1,\), expected \(2,\)"),
        ({"classes": [1, 2]}, r"classes lie outside 0\.\.1"),
        ({"classes": [-1, 0]}, r"classes lie outside 0\.\.1"),
    ],
)
def test_bad_labels_are_named(changes, message):
    with pytest.raises(EGTRError, match=message):
        labelled(**changes)


def test_labels_are_written_and_read(tmp_path):
    truth = GroundTruth([A, B], [1, 1], [[0, 1, 0]])
    with PredictionWriter(tmp_path / "labels.npz") as writer:
        writer.write(1, labelled(), truth)
        writer.write(2, nothing(2), truth)
        with pytest.raises(EGTRError, match="scores lies in 0.25..2"):
            writer.write(3, labelled(scores=[0.25, 2]), truth)
    (_, found, _), (_, without, _) = read_predictions(tmp_path / "labels.npz")
    assert found.classes.tolist() == [1, 1] and found.scores.tolist() == [0.25, 0.5] and without.classes is None
