"""Every part of the benchmark runs, on a model of a few thousand weights, and says what it is asked for."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from benchmarks import commands, growth, machine, photographs, pipeline
from benchmarks.__main__ import main
from benchmarks.browser import find_browser
from benchmarks.case import Case
from benchmarks.contestants import PARTS, build_inference
from benchmarks.measure import Memory, measure_here
from benchmarks.pruning import build_pruning
from benchmarks.real_time import build_real_time
from benchmarks.shown_objects import count_annotated, count_found
from egtr.config import load_config
from egtr.hub.model_zoo import get_config_file
from egtr.layers.cpu import linear
from egtr.structures import EGTRError, GroundTruth, ModelInfo, Prediction, SceneGraph

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "MODEL.DEVICE", "cpu", "MODEL.EGTR.NUM_CLASSES", "5", "MODEL.EGTR.NUM_PREDICATES", "4",
    "MODEL.EGTR.NUM_QUERIES", "6", "MODEL.EGTR.BACKBONE.NAME", "resnet10t",
    "MODEL.EGTR.BACKBONE.CHANNELS", "[8, 8, 8, 16]", "MODEL.EGTR.TRANSFORMER.HIDDEN_DIM", "32",
    "MODEL.EGTR.TRANSFORMER.ENC_LAYERS", "1", "MODEL.EGTR.TRANSFORMER.DEC_LAYERS", "1",
]  # fmt: skip
CASE = ["--size", "96", "128", "--runs", "1"]
# The RT-DETR of transformers needs the usual width of a first stage.
USUAL_STEM = ["MODEL.EGTR.BACKBONE.CHANNELS", "[64, 8, 8, 16]"]


def step_once(build, *args, processes=1):
    """Stand in for `measure_memory`: the contestant makes a step, and nothing is weighed."""
    contestant = build(*args)
    contestant.step(contestant.small)
    return Memory(added=2.0, total=10.0)


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run a command; return its report and the rows of its tables."""
    monkeypatch.setattr(commands, "measure_memory", step_once)
    monkeypatch.setattr(growth, "measure_memory", step_once)

    def run(*arguments):
        output = tmp_path / "folder" / "report.json"
        assert main([*arguments, "--output", str(output)]) == 0
        report = json.loads(output.read_text())
        assert report["command"] == arguments[0]
        assert report["machine"]["threads"] == torch.get_num_threads()
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
        return report, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    return run


def load_tiny(*opts):
    return load_config(get_config_file("vg150_egtr.yaml"), [*TINY, *opts])


def test_help_and_wrong_arguments_need_no_torch():
    code = (
        "import sys\nfrom benchmarks.command_line import parse_arguments\n"
        "args = parse_arguments(['growth', 'side'])\n"
        "assert args.command == 'growth' and not {'torch', 'detectron2', 'numpy'} & set(sys.modules)\n"
        "parse_arguments(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in [*commands.COMMANDS, "evaluation", "soak"]:
        assert f"\n    {name} " in done.stdout or f"\n    {name}\n" in done.stdout


def test_inference(run):
    report, rows = run("inference", *TINY, *CASE, "--batch", "2", "--contestants", "egtr", "literal")
    for found in report["contestants"].values():
        assert found["images_per_second"] == pytest.approx(2 / found["seconds"])
        assert (found["added_mb"], found["total_mb"]) == (2, 10)
    assert [row[0] for row in rows[2:4]] == ["egtr", "literal"]
    assert rows[3][3] == "1.000"  # the literal model's time as share of itself
    for name, parts in report["parts"].items():
        assert list(parts) == list(PARTS)
        # The last part is the rest of the whole.
        assert parts["detector"] == pytest.approx(parts["backbone"] + parts["encoder"] + parts["decoder"])
        whole = parts["detector"] + parts["relations and ranking"]
        assert whole == pytest.approx(report["contestants"][name]["seconds"])
        assert all(seconds > 0 for seconds in parts.values())


def test_real_time_contestants(run):
    """Shares of both bases, and detectors with as many boxes as the case has queries."""
    names = ["egtr_plain", "rtdetr_r18", "rtdetr_r18_detector_bf16", "rtdetr_r18_transformers_bf16"]
    report, rows = run("inference", *TINY, *USUAL_STEM, *CASE, "--side", "96", "--contestants", *names)
    assert [row[0] for row in rows[2:6]] == names and rows[0][-1] == "time of egtr_plain"
    seconds = {name: found["seconds"] for name, found in report["contestants"].items()}
    for name, found in report["contestants"].items():
        assert found["of_egtr_plain"]["seconds"] == pytest.approx(seconds[name] / seconds["egtr_plain"])
    parts = report["parts"]["rtdetr_r18"]
    assert list(parts) == list(PARTS) and all(value > 0 for value in parts.values())
    assert report["parts"]["rtdetr_r18_detector_bf16"] == {"detector": seconds["rtdetr_r18_detector_bf16"]}


def test_real_time_detectors_have_one_shape():
    case = Case.from_config(load_tiny(*USUAL_STEM), 96, 128)
    found = {}
    for name in ("rtdetr_r50_detector", "rtdetr_r50_transformers"):
        contestant = build_real_time(case, name, 96)
        output = contestant.step(contestant.inputs)
        found[name] = output.logits.shape, output.pred_boxes.shape
    assert set(found.values()) == {((1, 6, 5), (1, 6, 4))}


def test_egtr_plain_never_chooses(monkeypatch):
    monkeypatch.setattr(linear, "_is_onednn_faster", lambda *_: pytest.fail("a choice"))
    monkeypatch.setattr(linear, "_choices", {})
    monkeypatch.setattr(linear, "LEAST_WORK", 0)
    contestant = build_inference(Case.from_config(load_tiny(), 96, 128), ["egtr_plain"], 96)["egtr_plain"]
    contestant.step(contestant.inputs)
    assert linear.enabled


def test_training(run):
    report, rows = run("training", *TINY, *CASE, "--no-memory", "--contestants", "egtr", "literal")
    assert list(report["contestants"]) == ["egtr", "literal"]
    assert [row[-2:] for row in rows[2:]] == [["-", "-"], ["-", "-"]]


def test_training_of_detectors(run):
    # transformers cannot share one box head among decoder layers where there is a single one.
    layers = ["MODEL.EGTR.TRANSFORMER.DEC_LAYERS", "2"]
    report, rows = run("training", *TINY, *layers, *CASE, "--contestants", "egtr_detector", "transformers")
    assert [row[0] for row in rows[2:]] == ["egtr_detector", "transformers"]
    assert all(found["of_literal"] == {} for found in report["contestants"].values())


def test_training_counts_what_steps_keep(run, monkeypatch):
    # In this process, since a new one would take seconds to start.
    monkeypatch.setattr(commands, "measure_memory", lambda build, *args: measure_here(build, args))
    report, rows = run("training", *TINY, *CASE, "--contestants", "egtr")
    model = build_model(load_tiny())
    weights = [p for p in model.parameters() if p.requires_grad]
    # Gradients and AdamW's two averages are as large as the weights, in float32; each weight has a count of steps.
    expected = sum(3 * 4 * p.numel() + 4 for p in weights) / 1e6
    found = report["contestants"]["egtr"]
    assert found["total_mb"] >= found["added_mb"] >= 0
    assert found["added_with_kept_mb"] - found["added_mb"] == pytest.approx(expected)
    assert "with gradients and optimizer" in rows[0]


def test_each_object_finds_one_annotation():
    """Two dogs are annotated; the surer of two good boxes of the first takes it, and a hat is no dog."""
    truth = GroundTruth([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 0], np.zeros((0, 3)))
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [20, 0, 30, 4.9]]
    graph = SceneGraph(boxes, [0, 0, 1, 0], [0.9] * 4, [], [], (40, 40), presence=[0.6, 0.7, 0.9, 0.8])
    assert count_found(graph, truth) == 1
    graph.classes[2] = 0
    assert count_found(graph, truth) == 2
    assert count_found(graph, GroundTruth(np.zeros((0, 4)), [], np.zeros((0, 3)))) == 0


def test_the_report_says_what_was_asked_for(run):
    report, rows = run("inference", *TINY, *CASE, "--contestants", "egtr", "literal", "--no-memory")
    asked = report["arguments"]
    assert asked["size"] == [96, 128] and asked["runs"] == 1 and asked["contestants"] == ["egtr", "literal"]
    assert asked["opts"] == TINY and asked["output"].endswith("report.json")
    seconds = {name: found["seconds"] for name, found in report["contestants"].items()}
    share = report["contestants"]["egtr"]["of_literal"]
    assert share == {"seconds": pytest.approx(seconds["egtr"] / seconds["literal"])}
    assert float(rows[2][3]) == pytest.approx(share["seconds"], abs=5e-4)


def test_relation(run):
    report, _ = run("relation", *TINY, *CASE)
    for mode in ("forward", "forward and backward"):
        assert all(found["seconds"] > 0 for found in report[mode]["contestants"].values())


def test_pruning(run):
    report, rows = run("pruning", *TINY, *CASE, "--queries", "6", "30", "--top-k", "3", "--batch", "2")
    assert report["sure"] == 0.1
    # A search begins with 2 pairs for each of the 3 triplets. 36 pairs are too few for one; of 900 the best are among
    # the 9 pairs of the 3 queries that are sure, unless ones of a single sure query come near.
    assert report["pair_share"][0] == 1
    assert 6 / 900 <= report["pair_share"][1] < 1 / 4
    assert all(share > 0 for share in report["time_share"])
    assert [row[0] for row in rows[2:]] == ["6", "30"]
    assert rows[2][4] == "1.000"


def test_pruning_where_many_pairs_promise_as_much(run):
    report, _ = run("pruning", *TINY, *CASE, "--queries", "30", "--top-k", "3", "--sure", "0")
    assert report["pair_share"] == [1]


def test_pruned_and_dense_are_the_same_ranking():
    case = Case.from_config(load_tiny("MODEL.EGTR.NUM_QUERIES", "40"), 96, 128, batch=2)
    contestants = build_pruning(case, top_k=10, sure=0.1)
    pruned, dense = (contestant.step(contestant.inputs) for contestant in contestants.values())
    for few, all_of_them in zip(pruned, dense, strict=True):
        assert few.prediction.pair_share < 1 / 4 and all_of_them.prediction.pair_share == 1
        assert len(few.triplets) == 10
        np.testing.assert_array_equal(few.triplets, all_of_them.triplets)
        np.testing.assert_array_equal(few.triplet_queries, all_of_them.triplet_queries)
        np.testing.assert_allclose(few.triplet_scores, all_of_them.triplet_scores, rtol=1e-5)
        # Four of the forty queries are sure of their class, so that these are the graph.
        assert few.triplet_queries.max() < 4


def test_pruning_needs_a_relation_part(capsys):
    assert main(["pruning", *CASE, *TINY, "MODEL.EGTR.RELATION.ENABLED", "False"]) == 1
    assert "single pairs" in capsys.readouterr().err


def test_pairs_of_trained_weights(run, tiny_dataset, tmp_path):
    # 25 queries: their 625 pairs are enough to search for the best triplet, but too few to search for 100.
    queries = ["MODEL.EGTR.NUM_QUERIES", "25"]
    torch.manual_seed(0)
    built = build_model(load_tiny(*queries))
    # Untrained, all pairs look alike (logits of 1e-5). Enlarged, few are far more probably related than the others.
    last = built.relation.connectivity_head.mlp.layers[-1]
    torch.nn.init.constant_(last.bias, -15)
    with torch.no_grad():
        last.weight *= 1e5
    weights = tmp_path / "weights.pth"
    torch.save({"model": built.state_dict()}, weights)
    data = ["DATASETS.TEST", f"('{tiny_dataset.val}',)", "DATALOADER.NUM_WORKERS", "0", "MODEL.WEIGHTS", str(weights)]
    arguments = ["--config-file", "vg150_egtr.yaml", "--top-k", "1", "100", "--images", "2"]
    report, rows = run("pairs", *arguments, *TINY, *queries, *data)
    assert report["images"] == 2 and report["queries"] == 25 and report["top_k"] == [1, 100]
    assert [row[0] for row in rows[2:]] == ["1", "100"]
    assert report["dense"] == [0, 2]
    assert 2 / 625 <= report["pair_share"][0] <= 1 / 4 and report["pair_share"][1] == 1


def test_shown_objects(run, tiny_dataset, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save(build_model(load_tiny()).state_dict(), weights)
    arguments = ["--images", "2", "MODEL.WEIGHTS", str(weights), "DATASETS.TEST", f"['{tiny_dataset.test}']"]
    report, rows = run("shown", "--config-file", get_config_file("vg150_egtr.yaml"), *arguments, *TINY)
    records = DatasetCatalog.get(tiny_dataset.test)[:2]
    assert report["images"] == 2 and report["annotated"] == sum(len(record["annotations"]) for record in records)
    # No untrained query is certain, so that only relations bring objects: at most six queries an image.
    assert report["shown"]["only with relations"] == report["shown"]["with single objects"]
    # The model has no calibration, so that its drawings choose relations by rank.
    relations = report["relations"]
    assert relations["by default"] == relations["only by rank"] and relations["only by rank"]["shown"] > 0
    names = ["drawn", *report["shown"], "relations chosen", *relations]
    assert [row[0] for row in rows if row[0].strip(":-")] == names


def test_annotated_relations_by_hand():
    """One of three drawn relations is annotated, one has another predicate, and one joins an object that is none."""
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [0, 20, 10, 30]], dtype=np.float32)
    prediction = Prediction(
        logits=np.array([[9, -9], [-9, 9], [-9, 9]], dtype=np.float32),
        boxes=boxes,
        pairs=np.array([[0, 1], [1, 0], [0, 2]]),
        connectivity=np.ones(3, dtype=np.float32),
        relation=np.array([[0.9, 0.1], [0.1, 0.8], [0.7, 0.1]], dtype=np.float32),
        image_size=(40, 40),
    )
    truth = GroundTruth(boxes[:2], np.array([0, 1]), np.array([[0, 1, 0], [1, 0, 0]]))
    graph = SceneGraph.from_prediction(prediction)
    assert len(graph.for_display()) == 3
    assert count_annotated(graph.for_display(), prediction, truth) == 1
    assert count_annotated(graph.for_display(top_k=0), prediction, truth) == 0


def test_given_boxes(run, tiny_dataset, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save(build_model(load_tiny()).state_dict(), weights)
    arguments = ["--images", "3", "MODEL.WEIGHTS", str(weights), "DATASETS.TEST", f"['{tiny_dataset.test}']"]
    config = get_config_file("vg150_egtr.yaml")
    report, rows = run("given_boxes", "--config-file", config, *arguments, *TINY, "DATALOADER.NUM_WORKERS", "0")
    assert report["images"] == 3 and report["given_by"] == "assignment"
    assert list(report["recall"]) == ["sgdet", "sgcls", "predcls", "moved", "right", "first"]
    assert [row[1:] for row in rows[2:8]] == [[f"{v:.3f}" for v in r.values()] for r in report["recall"].values()]
    assert [row[:2] for row in rows[10:]] == [list(map(str, row[:2])) for row in report["wrong"]]
    assert all(0 < count <= annotated for *_, count, annotated in report["wrong"])
    assert report["recall"]["predcls"]["R@50"] <= report["recall"]["right"]["R@50"] == 100
    # Without training no class is right, unless it is given; then all pairs are among the first 50.
    assert report["recall"]["sgdet"]["R@50"] <= report["recall"]["predcls"]["R@50"]
    assert 0 <= report["right"] <= 1
    # The model's own objects are assigned to its own queries.
    assert report["jaccard"] == 1


def test_photographs(run, tiny_dataset, tmp_path, monkeypatch):
    """With one photograph; the threshold lies at 5% of the best scores of the other images."""
    monkeypatch.setattr(photographs, "PHOTOGRAPHS", {"matplotlib": photographs.PHOTOGRAPHS["matplotlib"]})
    weights = tmp_path / "weights.pth"
    torch.save(build_model(load_tiny()).state_dict(), weights)
    ModelInfo(name="tiny", domain="drawings").save(tmp_path / "model_info.json")
    arguments = ["MODEL.WEIGHTS", str(weights), "DATASETS.TEST", f"['{tiny_dataset.test}']"]
    config = get_config_file("vg150_egtr.yaml")
    report, rows = run("photographs", "--write", "--config-file", config, *arguments, *TINY)
    least, low, *_ = report["quantiles"]["own"]
    assert least <= low and report["threshold"] == round(low, 3) and report["images"] > 1
    assert list(report["best_scores"]) == ["grace_hopper.jpg"]
    assert {tiny_dataset.test, "photographs", "grace_hopper.jpg"} <= {row[0] for row in rows}
    assert report["record"] == str(tmp_path / "weights.model_info.json")
    info = ModelInfo.find(weights)
    assert (info.name, info.domain, info.photograph_threshold) == ("tiny", "drawings", report["threshold"])


def test_photographs_that_are_not_installed(monkeypatch):
    missing = {"matplotlib": ("mpl-data", "none.jpg"), "no_such_package": ("data", "a.png")}
    monkeypatch.setattr(photographs, "PHOTOGRAPHS", missing)
    with pytest.raises(EGTRError, match=r"none.jpg, no_such_package/data/a.png: not installed.*pip install"):
        photographs.find_photographs()


def test_sampling(run):
    report, rows = run("sampling", *TINY, *CASE)
    assert len(report["seconds"]) == 4  # encoder and decoder, with and without gradients
    assert {"grid_sample", "embedding_bag", "auto"} <= set(next(iter(report["seconds"].values())))
    assert len(rows[0]) == 5


def test_growth(run, tmp_path):
    plot = tmp_path / "plots" / "growth.png"
    report, rows = run("growth", "queries", *TINY, *CASE, "--values", "4", "6", "9", "--plot", str(plot))
    assert report["values"] == [4, 6, 9]
    assert set(report["series"]) == {"seconds", "product_seconds", "added_mb", "model_total_mb"}
    assert all(len(series) == 3 for series in report["series"].values())
    assert [row[0] for row in rows[2:]] == ["4", "6", "9"]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_growth_of_the_image(run):
    report, _ = run("growth", "side", *TINY, *CASE, "--values", "96", "128")
    assert set(report["series"]) == {"seconds", "added_mb"}


def test_machine(run, monkeypatch):
    monkeypatch.setattr(machine, "PRODUCT", (100, 32, 64))
    monkeypatch.setattr(machine, "COPY_MB", 1)
    monkeypatch.setattr(machine, "LEAST_RUNS", 1)
    report, _ = run("machine", *TINY, *CASE)
    able = report["able"]
    assert min(able.values()) > 0
    assert able["float32_gflops"] == max(able["float32_mkl_gflops"], able["float32_onednn_gflops"])
    assert list(report["work"]) == ["backbone", "encoder", "decoder", "relations"]
    assert all(work["gflop"] > 0 and work["mb"] > 0 for work in report["work"].values())


def test_pipeline(run, tiny_dataset, monkeypatch):
    monkeypatch.setattr(pipeline, "WARMUP", 1)
    options = ["DATASETS.TRAIN", f"('{tiny_dataset.train}',)", "SOLVER.IMS_PER_BATCH", "2"]
    options += ["DATALOADER.NUM_WORKERS", "0", "INPUT.MIN_SIZE_TRAIN", "(64,)"]
    report, _ = run("pipeline", "--config-file", "vg150_egtr.yaml", "--iterations", "2", *TINY, *options)
    assert report["iterations"] == 2 and report["workers"] == 0
    assert 0 <= report["share"] == pytest.approx(report["waiting"] / report["total"])


def test_agreement(run, tiny_dataset, tmp_path):
    weights = tmp_path / "weights.pth"
    data = ["DATASETS.TEST", f"('{tiny_dataset.val}',)", "DATALOADER.NUM_WORKERS", "0"]
    torch.save({"model": build_model(load_tiny()).state_dict()}, weights)
    arguments = ["--config-file", "vg150_egtr.yaml", "--images", "2"]
    report, _ = run("agreement", *arguments, *TINY, *data, "MODEL.WEIGHTS", str(weights))
    assert report["images"] == 2
    # All 6 x 5 pairs of the six queries are among the 50 best in either precision, most with the same predicate.
    assert 0.5 < report["kept"] <= 1
    assert set(report["R@50"]) == {"float32", "bfloat16"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["inference", "--runs", "0"],
        ["inference", "--side", "0"],
        ["machine", "--size", "32", "64"],
        ["pruning", "--queries", "200", "1"],
        ["pairs", "--top-k", "0"],
    ],
)
def test_numbers_that_mean_nothing_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert f"{arguments[1]} must be at least" in capsys.readouterr().err


def test_a_wrong_key_is_named(capsys):
    assert main(["machine", "MODEL.EGTR.NUM_QUERY", "3"]) == 1
    assert "NUM_QUERY" in capsys.readouterr().err


def test_the_product_is_where_the_model_is():
    """Otherwise the growth of a model on a GPU would be compared with that of a product on a CPU."""
    case = Case.from_config(load_tiny("MODEL.DEVICE", "meta"), 96, 96)
    product = growth._smallest_product(case).step(None)
    assert product.device.type == "meta" and product.shape == (36, 1)


def test_growth_is_judged_by_numbers():
    found = {
        "values": [500, 1000],
        "slopes": {"seconds": 1.954, "product_seconds": 1.9},
        "series": {"model_total_mb": [1500.0, 1980.4]},
    }
    assert growth.judge_growth(found) == (
        "The relation part's time grows with exponent 1.95, that of its smallest product with 1.90, pairs with 2; "
        "with 1000 queries the process with the whole model takes 1980 MB of the 4000 MB that 1000 queries may take."
    )


def test_slope_of_a_power_law():
    # y = 5 x^2 where only the last two of four values count: the first two are far off.
    assert growth.slope([1, 2, 4, 8], [99.0, 99.0, 80.0, 320.0]) == pytest.approx(2)
    assert math.isnan(growth.slope([1, 2], [math.nan, math.nan]))


def test_equal_graphs_by_hand():
    """Logits differ by 0.5; a box by 2 of 100 pixels in height, 1 of 50 in width; one of two triplets is the same."""
    from benchmarks.equality import compare_graphs

    def graph(logit, box, triplets):
        # Class 1 first, then class 0, in both graphs; the boxes do not overlap.
        prediction = Prediction(
            logits=np.float32([[1, logit], [1, 0]]),
            boxes=np.float32([box, [30, 60, 40, 90]]),
            pairs=np.array([[0, 1], [1, 0]]),
            connectivity=np.ones(2),
            relation=np.ones((2, 4)),
            image_size=(100, 50),
        )
        scores, classes = prediction.object_scores()
        return SceneGraph(
            prediction.boxes, classes, scores, triplets, [0.9, 0.8], prediction.image_size, prediction=prediction
        )

    ours = graph(2.0, [0, 10, 20, 30], [[0, 1, 3], [1, 0, 3]])
    theirs = graph(2.5, [1, 12, 20, 30], [[1, 0, 3], [1, 0, 2]])
    assert compare_graphs(ours, theirs) == (0.5, 0.02, 0.5)
    assert compare_graphs(ours, ours) == (0, 0, 1)


@pytest.mark.slow
@pytest.mark.own_process
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_runtimes(run, monkeypatch):
    from benchmarks import runtimes

    monkeypatch.setattr(runtimes, "MODELS", dict.fromkeys(runtimes.MODELS, ("Base-EGTR.yaml", TINY, (96, 128))))
    report, table = run("runtimes", "--cases", "scenes", "--runs", "1")
    eager = ["PyTorch float32, F.linear", "PyTorch float32", "PyTorch bfloat16"]
    labels = [*eager, "onnxruntime float32", "OpenVINO float32", "OpenVINO bfloat16"]
    assert [row[0] for row in table[2:]] == [f"scenes, {label}" for label in labels]
    assert report["scenes, PyTorch float32, F.linear"]["share"] == 1
    assert min(report[f"scenes, {label}"]["of fastest"] for label in eager) == 1
    assert all(report[f"scenes, {label}"]["seconds"] > 0 for label in labels)


@pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome on this machine")
def test_correcting(run):
    """The trained model, and an RT-DETR on an image of the least size that has enough cells for its queries."""
    arguments = ["--runs", "1", "--side", "128", "--boxes", "3", "MODEL.DEVICE", "cpu"]
    report, rows = run("correcting", *arguments)
    cases = report["cases"]
    assert list(cases) == ["scenes", "rtdetr_r50"] and cases["rtdetr_r50"]["boxes"] == 3
    assert cases["scenes"]["boxes"] > 3
    for found in cases.values():
        assert found["runs"] == 1 and list(found["ms"]) == ["correction", "graph", "page"]
        share = found["ms"]["correction"] / found["ms"]["graph"]
        assert found["share"]["graph"] == pytest.approx(share) and list(found["share"]) == ["graph", "page"]
        assert found["relate"] > 0 and found["model_share"] == pytest.approx(found["relate"] / found["predict"])
    assert [row[0] for row in rows[2:]] == [
        f"{name}, {text}"
        for name, found in cases.items()
        for text in (f"{found['boxes']} boxes, on the page", "only the model")
    ]
