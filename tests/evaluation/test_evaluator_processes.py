"""SceneGraphEvaluator in several processes, and what travels between them."""

import json

import numpy as np
import pytest
import torch
from detectron2.utils import comm

from egtr.evaluation import PROTOCOLS, SceneGraphEvaluator, read_predictions
from egtr.evaluation.packing import pack, unpack
from egtr.evaluation.report import to_json
from egtr.structures import GroundTruth, Prediction, TripletCounts, all_pairs
from tests.evaluation.evaluator_scenes import (
    CLASS_TRIPLETS,
    NUM_CLASSES,
    NUM_PREDICATES,
    model_output,
    random_scene,
    run,
    without_nan,
)


@pytest.mark.parametrize(("protocols", "limit"), [(["reference"], 8_000), (list(PROTOCOLS), 11_000)])
def test_only_compact_records_travel(protocols, limit):
    # Visual Genome's sizes: 200 queries, 50 predicates, 150 classes. The record itself has 8 MB.
    num_queries, num_predicates, num_classes = 200, 50, 150
    ground_truth = {}
    rng = np.random.RandomState(0)
    outputs = []
    for image_id in range(3):
        corners = rng.rand(num_queries, 2) * 400
        prediction = Prediction(
            logits=rng.randn(num_queries, num_classes),
            boxes=np.concatenate([corners, corners + rng.rand(num_queries, 2) * 200], axis=1),
            pairs=all_pairs(num_queries),
            connectivity=rng.rand(num_queries**2),
            relation=rng.rand(num_queries**2, num_predicates),
            image_size=(600, 600),
        )
        triplets = np.stack([rng.randint(0, high, 30) for high in (20, 20, num_predicates)], axis=1)
        classes = prediction.logits.argmax(axis=1)[:20]
        ground_truth[image_id] = GroundTruth(prediction.boxes[:20], classes, triplets, image_id)
        outputs.append(model_output(prediction, max_detections=100))
    evaluator = SceneGraphEvaluator(ground_truth=ground_truth, protocols=protocols)
    evaluator.process([{"image_id": i} for i in ground_truth], outputs)
    assert prediction.relation.nbytes == 8_000_000
    packed = pack(evaluator._images)
    assert len(packed) / len(ground_truth) < limit
    # Nothing was lost on the way.
    alone = without_nan(evaluator.evaluate())
    evaluator._images = unpack(packed, ground_truth)
    assert without_nan(evaluator.evaluate()) == alone


# Images of each process: uneven shares, in another order than the dataset's, and images that come twice, as
# samplers fill up.
SHARES = {2: ((5, 6, 7), (0, 1, 2, 3, 4, 5)), 3: ((7, 7), (), (0, 1, 2, 3, 4, 5, 6, 7))}


def _worker(rank, folder):
    for num_processes, shares in SHARES.items():
        if rank < num_processes:
            _evaluate_share(rank, num_processes, shares[rank], folder / str(num_processes))


def _evaluate_share(rank, num_processes, share, folder):
    init_method = (folder / "store").as_uri()
    torch.distributed.init_process_group("gloo", init_method=init_method, rank=rank, world_size=num_processes)
    comm.create_local_process_group(num_processes)
    scenes, evaluator = _evaluator_of_all(folder)
    results = run(evaluator, [scenes[i] for i in share])
    (folder / f"{rank}.json").write_text(to_json(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    # Left-over groups abort the interpreter at exit, and the next ones are others.
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()


def _evaluator_of_all(folder):
    scenes = [random_scene(seed) for seed in range(8)]
    evaluator = SceneGraphEvaluator(
        ground_truth={record["image_id"]: GroundTruth.from_dict(record) for record, _ in scenes},
        protocols=["reference", "strict"],
        top_k=(3, 10),
        training=TripletCounts.from_class_triplets(CLASS_TRIPLETS[2:], NUM_CLASSES, NUM_PREDICATES),
        bootstrap=10,
        output_dir=str(folder),
        save_predictions=True,
    )
    return scenes, evaluator


@pytest.mark.slow
def test_several_processes_score_what_one_scores(tmp_path):
    for num_processes in SHARES:
        (tmp_path / str(num_processes)).mkdir()
    context = torch.multiprocessing.get_context("spawn")
    workers = [context.Process(target=_worker, args=(rank, tmp_path)) for rank in range(max(SHARES))]
    for worker in workers:
        worker.start()
    scenes, evaluator = _evaluator_of_all(tmp_path / "alone")
    alone = without_nan(run(evaluator, scenes))
    for worker in workers:
        worker.join(timeout=300)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
    for num_processes in SHARES:
        folder = tmp_path / str(num_processes)
        first, *others = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(num_processes)]
        assert first == alone
        assert others == [{}] * (num_processes - 1)
        assert (folder / "scene_graph.json").read_text() == (tmp_path / "alone" / "scene_graph.json").read_text()
        # Each process wrote its own parts, which make one complete file.
        read = {image_id for image_id, _, _ in read_predictions(folder / "predictions")}
        assert read == {record["image_id"] for record, _ in scenes}
