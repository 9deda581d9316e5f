"""Protocols out of words and YAML, fixed lists of zero-shot triplets, and given groups of predicates."""

import io
import json
import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from egtr.evaluation import PROTOCOLS, Scorer, evaluate, get_protocol, get_protocols, read_groups, read_zero_shot
from egtr.structures import EGTRError, GroundTruth, TripletCounts
from tests.evaluation.scenes import A, B, predict, two_images


def test_a_name_with_changes():
    found = get_protocol("motifs,iou_plus_one=no,ng_predicates=2,iou_threshold=0.75,entries=pair")
    expected = replace(
        PROTOCOLS["motifs"],
        name="motifs,iou_plus_one=no,ng_predicates=2,iou_threshold=0.75,entries=pair",
        iou_plus_one=False,
        ng_predicates=2,
        iou_threshold=0.75,
        entries="pair",
    )
    assert found == expected
    assert get_protocol("vrd,ng_predicates=null").ng_predicates is None
    assert get_protocol("openpsg,matching=all,ap_plus_one=none").ap_plus_one == "none"
    assert list(evaluate(*two_images(), "strict, recall=micro", top_k=(3,)))[0] == "num_images"


def test_changes_that_a_configuration_has_split_at_commas():
    words = "reference,motifs,iou_plus_one=no,ng_predicates=2,strict".split(",")
    names = [protocol.name for protocol in get_protocols(words)]
    assert names == ["reference", "motifs,iou_plus_one=no,ng_predicates=2", "strict"]
    assert get_protocols(words)[1] == get_protocol("motifs,iou_plus_one=no,ng_predicates=2")
    # A change needs something before it that it changes.
    for words in (["iou_plus_one=no"], [PROTOCOLS["strict"], "iou_plus_one=no"], ["own.yaml", "iou_plus_one=no"]):
        with pytest.raises(EGTRError, match="is unknown"):
            get_protocols(words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("motif", "'motif' is unknown, choose one of reference"),
        ("motifs,iou", "'iou' is not like convention=value"),
        ("motifs,iou_plus=no", "there is no convention 'iou_plus', only object_score"),
        ("motifs,iou_plus_one=maybe", "iou_plus_one is 'maybe', expected yes or no"),
        ("motifs,iou_plus_one=1", "iou_plus_one is 1, expected yes or no"),
        ("motifs,name=x", "there is no convention 'name'"),
        ("motifs,iou_threshold=high", "iou_threshold is 'high', expected a number"),
        ("motifs,iou_threshold=7", "iou_threshold is 7"),
        ("motifs,entries=rows", "entries is 'rows', choose one of pair"),
        ("motifs,ng_predicates=0", "ng_predicates is 0"),
    ],
)
def test_bad_changes_are_named(text, message):
    with pytest.raises(EGTRError, match=message):
        get_protocol(text)


def test_a_file_whose_path_looks_like_a_change(tmp_path):
    path = tmp_path / "lr=0.1.yaml"
    path.write_text("mine: {base: motifs}")
    assert [protocol.name for protocol in get_protocols(["reference", str(path)])] == ["reference", "mine"]


def test_protocols_of_a_file(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("mine:\n  base: motifs\n  iou_plus_one: no\nplain:\n")
    mine, plain, strict = get_protocols([str(path), "strict"])
    assert mine == replace(PROTOCOLS["motifs"], name="mine", iou_plus_one=False)
    assert plain == replace(PROTOCOLS["iou0"], name="plain") and strict.name == "strict"
    for text, message in (
        ("motifs: {}", "own.yaml: protocol 'motifs': this name has a meaning already"),
        ("mine: {base: house}", "own.yaml: protocol 'mine': .*'house' is unknown"),
        ("mine: {iou: 1}", "own.yaml: protocol 'mine': there is no convention 'iou'"),
        ("mine: {iou_threshold: 50}", "iou_threshold is 50"),
        ("- mine", "own.yaml: holds no protocols"),
        ("mine: [", "own.yaml: cannot be read as YAML"),
    ):
        path.write_text(text)
        with pytest.raises(EGTRError, match=message):
            get_protocols(str(path))
    with pytest.raises(EGTRError, match="none.yaml: cannot be read"):
        get_protocols(str(tmp_path / "none.yaml"))


def test_single_instance():
    # Two queries find A: the second one is surer of its class, the first one of its relation. Only the second takes
    # part.
    prediction = predict([A, A, B], [0, 0, 1], {(0, 2): (1.0, [0.9, 0, 0]), (1, 2): (1.0, [0, 0.5, 0])})
    prediction.logits[0, 0] = 1.0
    scene = [prediction], [GroundTruth([A, B], [0, 1], [[0, 1, 0], [0, 1, 1]])]
    for name, hits in (("reference", 1.0), ("single", 0.5)):
        metrics = evaluate(*scene, name, top_k=(2,))
        assert [metrics["R@2"], metrics["oi/microR@50"]] == [hits, hits]
    # Another class is another object, and boxes that hardly overlap are, too.
    other = predict([A, A, B], [0, 1, 1], {(0, 2): (1.0, [0.9, 0, 0]), (1, 2): (1.0, [0, 0.5, 0])})
    apart = predict([A, B, B], [0, 0, 1], {(0, 2): (1.0, [0.9, 0, 0]), (1, 2): (1.0, [0, 0.5, 0])})
    for prediction in (other, apart):
        truth = [GroundTruth([*prediction.boxes], prediction.logits.argmax(axis=1), [[0, 2, 0], [1, 2, 1]])]
        assert evaluate([prediction], truth, "single", top_k=(2,))["R@2"] == 1.0


def test_single_instance_says_what_a_pruned_record_cannot_know(caplog):
    # The two best triplets are of the same two objects. Of a record that is sure up to K = 2 one is left.
    prediction = predict([A, A, B], [0, 0, 1], {(0, 2): (1.0, [0.9, 0, 0]), (1, 2): (1.0, [0.8, 0, 0])})
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    scorer = Scorer(["single", "reference"], top_k=(1, 2), whole=False)
    results = scorer.summarize([scorer.score(prediction, truth)])
    assert results["single"]["R@1"] == 1.0 and np.isnan(results["single"]["R@2"])
    assert np.isnan(results["single"]["oi/score"]) and results["reference"]["R@2"] == 1.0
    assert "only metrics up to K = 1 are sure" in caplog.text


def test_f1_mean():
    # Mean over K of F1@K: F1@1 = 2 * 1/6 * 1/6 / (1/3) = 1/6 (mR@1: predicate 0 (1 + 0) / 2 of three), F1@3 = 2/5.
    metrics = evaluate(*two_images(), top_k=(1, 3))
    assert metrics["F1@mean"] == pytest.approx((1 / 6 + 2 / 5) / 2)


NAMES = ("person", "dog"), ("near", "holds", "under")


def test_zero_shot_lists(tmp_path):
    by_name, by_id = tmp_path / "names.json", tmp_path / "ids.json"
    by_name.write_text('[["dog", "person", "under"], ["dog", "dog", "holds"]]')
    by_id.write_text("[[1, 0, 2], [1, 1, 1]]")
    torch.save(torch.tensor([[2, 1, 3], [2, 2, 2]]), tmp_path / "new.pytorch")
    torch.save(torch.tensor([[2, 1, 3], [2, 2, 2]]), tmp_path / "old.pytorch", _use_new_zipfile_serialization=False)
    for path in (by_name, by_id, tmp_path / "new.pytorch", tmp_path / "old.pytorch"):
        assert read_zero_shot(path, *NAMES).triplets.tolist() == [[1, 0, 2], [1, 1, 1]]
    by_name.write_text('[["cat", "person", "under"]]')
    with pytest.raises(EGTRError, match="names.json: 'cat' is none of the 2 names.*JSON"):
        read_zero_shot(by_name, *NAMES)
    torch.save(torch.zeros(2, 3), tmp_path / "float.pytorch")
    with pytest.raises(EGTRError, match="no table of three whole numbers"):
        read_zero_shot(tmp_path / "float.pytorch", *NAMES)
    torch.save(torch.tensor([[0, 1, 1]]), tmp_path / "background.pytorch")
    with pytest.raises(EGTRError, match="does not fit 2 classes"):
        read_zero_shot(tmp_path / "background.pytorch", *NAMES)
    with pytest.raises(EGTRError, match="none.pytorch.*No such file"):
        read_zero_shot(tmp_path / "none.pytorch", *NAMES)


def test_groups(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text(json.dumps({"head": ["under"], "body": [0], "tail": []}))
    groups = read_groups(path, NAMES[1])
    assert {name: ids.tolist() for name, ids in groups.items()} == {"head": [2], "body": [0], "tail": []}
    # With graph constraint at 3: predicate 0: 1/2, 2: 1. Training is not needed.
    metrics = evaluate(*two_images(), top_k=(3,), groups=groups)
    assert [metrics["head-mR@3"], metrics["body-mR@3"]] == [1.0, 0.5] and np.isnan(metrics["tail-mR@3"])
    # They take the place of thirds.
    training = TripletCounts.from_class_triplets([[0, 0, 0]], 2, 3)
    assert evaluate(*two_images(), top_k=(3,), groups=groups, training=training)["head-mR@3"] == 1.0
    for record, message in (
        ({"head": [], "body": []}, "expected the keys head, body and tail"),
        ({"head": ["over"], "body": [], "tail": []}, "head holds 'over', which is none of the 3 predicates"),
        ({"head": [3], "body": [], "tail": []}, "head holds 3"),
        ({"head": [1], "body": [1], "tail": []}, "predicate 1 is in two groups"),
    ):
        path.write_text(json.dumps(record))
        with pytest.raises(EGTRError, match=message):
            read_groups(path, NAMES[1])
    with pytest.raises(EGTRError, match="groups: tail holds predicate 7"):
        evaluate(*two_images(), top_k=(3,), groups={"head": [], "body": [], "tail": [7]})
    with pytest.raises(EGTRError, match="none.json: cannot be read as JSON.*bgnn"):
        read_groups(tmp_path / "none.json")


def test_bgnns_groups():
    names = [f"predicate {i}" for i in range(34)]
    names += ["on", "has", "of", "wearing", "above", "behind", "holding", "in", "in front of", "near", "riding"]
    names += ["sitting on", "standing on", "under", "wears", "with"]
    groups = read_groups("bgnn", names)
    assert [len(groups[name]) for name in ("head", "body", "tail")] == [4, 12, 34]
    assert groups["tail"].tolist() == list(range(34)) and 34 in groups["head"] and 49 in groups["body"]
    with pytest.raises(EGTRError, match="of Visual Genome's 50 predicates, but here are 3, without 'has'"):
        read_groups("bgnn", NAMES[1])


class Shell:
    def __reduce__(self):
        return __import__("os").system, ("touch run",)


def test_a_list_of_triplets_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Shell(), "new.pytorch")
    torch.save(Shell(), "old.pytorch", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Shell()))
    for name in ("new.pytorch", "old.pytorch", "plain.pkl"):
        with pytest.raises(EGTRError, match=f"{name}: holds an object of posix.system, whose making could run code"):
            read_zero_shot(name, *NAMES)
    assert not (tmp_path / "run").exists()


def test_damaged_tensors_are_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save(torch.tensor([[2, 1, 3]]), buffer, _use_new_zipfile_serialization=False)
    whole = buffer.getvalue()
    path = tmp_path / "cut.pytorch"
    for content in (b"", whole[:40], whole[:-4], whole[:-32] + struct.pack("<q", 99) + whole[-24:]):
        path.write_bytes(content)
        with pytest.raises(EGTRError, match="cut.pytorch"):
            read_zero_shot(path, *NAMES)
