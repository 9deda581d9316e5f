"""Probes of by-products: AUC at equal distance by hand, perceptrons on known features, and the command."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from egtr.checkpoint import export_weights
from egtr.layers import box_xyxy_to_cxcywh
from egtr.structures import DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "projects/EGTR/attention_probe.py"))


def test_auc_at_equal_distance_by_hand(script):
    # Ten bins of two pairs, the first of which is related. It scores higher in seven, lower in two, the same in one.
    distance = np.arange(20) // 2
    related = np.arange(20) % 2 == 0
    scores = np.array([[1.0, 0.0] * 7 + [0.0, 1.0] * 2 + [0.5, 0.5]])
    measured = script["auc_at_equal_distance"]
    assert measured(scores, related, distance) == pytest.approx([0.75])
    # A score that is the distance itself says nothing among pairs of the same distance, in any order of the pairs.
    order = np.random.default_rng(0).permutation(20)
    assert measured(distance[order] * 1.0, related[order], distance[order]) == 0.5
    # Two of three pairs of the first bin are related; the other bins, of three unrelated pairs, do not count.
    scores, related = np.arange(30.0), np.arange(30) < 2
    assert measured(scores, related, np.arange(30)) == 0.0
    assert np.isnan(measured(scores[None], np.zeros(30, dtype=bool), np.arange(30))).all()


def test_probe_learns_what_the_features_say_and_nothing_else(script):
    numbers = np.random.default_rng(0)
    x = torch.tensor(numbers.normal(size=(4000, 6)), dtype=torch.float32)
    # A product is beyond a linear map; the offset and the scale do not matter.
    related = (x[:, 0] * x[:, 1] > 0).numpy()
    state = torch.get_rng_state()
    scores = script["score_by_probe"](100 + 50 * x[:3000], related[:3000], 100 + 50 * x[3000:], seed=1)
    assert script["auc"](scores, related[3000:]) > 0.9
    assert torch.equal(torch.get_rng_state(), state)
    again = script["score_by_probe"](100 + 50 * x[:3000], related[:3000], 100 + 50 * x[3000:], seed=1)
    np.testing.assert_array_equal(again, scores)
    scores = script["score_by_probe"](x[:3000, 2:], related[:3000], x[3000:, 2:], seed=1)
    assert 0.4 < script["auc"](scores, related[3000:]) < 0.6


@pytest.fixture
def model(make_cfg, tiny_dataset):
    cfg = make_cfg({"DATALOADER.NUM_WORKERS": 0})
    torch.manual_seed(0)
    return cfg, build_model(cfg).eval()


def test_pairs_of_a_model(script, model, tiny_dataset):
    cfg, model = model
    pairs = script["collect_pairs"](cfg, model, tiny_dataset.val, 1)
    record = next(script["load_annotated"](cfg, tiny_dataset.val, 1))
    with torch.no_grad():
        output, target = script["run_annotated"](model, record)
    queries = script["match_in_order"](output, target, model.criterion).queries
    count = len(queries)
    assert len(pairs.related) == count * (count - 1) and pairs.attention.shape[-1] == len(pairs.related)
    expected = {(int(s), int(o)) for s, o in target.relations[:, :2]}
    ends = [(s, o) for s in range(count) for o in range(count) if s != o]
    assert {end for end, related in zip(ends, pairs.related, strict=True) if related} == expected
    subject, object_ = ends[1]
    for layer, (q, k) in enumerate(zip(output.queries, output.keys, strict=True)):
        features = torch.cat([q[0, queries[subject]], k[0, queries[object_]]])
        torch.testing.assert_close(pairs.sources[f"by-products of layer {layer}"][1], features)
    state = output.hidden_states[-1][0, queries]
    torch.testing.assert_close(pairs.sources["last hidden state"][1], torch.cat([state[subject], state[object_]]))
    height, width = record["instances"].image_size
    centres = box_xyxy_to_cxcywh(record["instances"].gt_boxes.tensor)[:, :2] / torch.tensor([width, height])
    assert pairs.distance[1] == pytest.approx(float((centres[subject] - centres[object_]).norm()), abs=1e-5)
    widths = {name: features.shape[1] for name, features in pairs.sources.items()}
    layers, dim = len(output.queries), state.shape[1]
    assert widths["by-products"] == 2 * dim * layers and widths["last hidden state"] == 2 * dim
    assert widths["by-products and last hidden state"] == 2 * dim * (layers + 1)
    # Two boxes, four offsets and the distance; 5 classes for each end; both directions of each head.
    assert (widths["boxes"], widths["boxes and classes"]) == (13, 23)
    assert widths["attention weights"] == 2 * layers * cfg.MODEL.EGTR.TRANSFORMER.NHEADS


def test_command(script, model, tiny_dataset, tmp_path, capsys):
    cfg, model = model
    (tmp_path / "run").mkdir()
    weights = tmp_path / "run/model_final.pth"
    export_weights(model, weights)
    (tmp_path / "run/config.yaml").write_text(cfg.dump())
    options = ["--train", tiny_dataset.train, "--test", tiny_dataset.val, "--seeds", "1", "2"]
    script["main"]([f"before={weights}", f"after={weights}", *options, "--output", str(tmp_path / "out")])
    found = json.loads((tmp_path / "out/probe.json").read_text())
    assert found["before"] == found["after"] and list(found) == ["before", "after"]
    assert all(len(probe["auc"]) == 2 for probe in found["after"]["probes"].values())
    assert (tmp_path / "out/probe.png").stat().st_size > 1000
    rows = [
        [cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines() if "|" in line
    ]
    assert rows[0][1:4] == ["AUC over all pairs / at equal distance", "before", "after"]
    assert rows[2][1:3] == ["closeness of the boxes", f"{found['before']['closeness']:.3f}"]
    probe = found["before"]["probes"]["boxes"]
    means = [sum(probe[name]) / 2 for name in ("auc", "at_equal_distance")]
    assert rows[4][1:3] == ["probe on boxes", f"{means[0]:.3f} / {means[1]:.3f}"]


def test_errors_are_one_line(script, model, tiny_dataset, tmp_path, capsys):
    for argument, message in (("x.pth", "write a name"), ("a=missing/x.pth", "config.yaml")):
        with pytest.raises(SystemExit, match=message):
            script["main"]([argument, "--output", str(tmp_path)])
    with pytest.raises(SystemExit):
        script["main"](["a=x.pth", "--limit", "0", "--output", str(tmp_path)])
    assert "--limit" in capsys.readouterr().err
    pairs = script["collect_pairs"](*model, tiny_dataset.val, 1)
    nothing = replace(pairs, related=np.zeros_like(pairs.related))
    with pytest.raises(DataError, match="more images"):
        script["measure"](pairs, nothing, [1])
