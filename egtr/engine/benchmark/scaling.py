"""What grows with the number of processes and pictures: exchanged gradients, waiting for the slowest, data."""

import math
import pickle
import statistics
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from torch.multiprocessing import get_context

from egtr.data import get_metadata
from egtr.data.mapper import SceneGraphMapper
from egtr.data.transforms import detr_resize_shape
from egtr.engine.defaults import without_pretrained
from egtr.engine.optimizer import freeze_parameters
from egtr.structures import EGTRError

# Gradients that DistributedDataParallel sends together, and its first, smaller bucket.
BUCKET = 25 * 2**20
MACHINE = 8  # GPUs


def count_gradients(cfg: CfgNode) -> dict[str, int]:
    """Parameters of the model, and bytes of gradients that each process sends in a step."""
    model = build_model(without_pretrained(cfg))
    freeze_parameters(cfg, model)
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in trained),
        "bytes": sum(p.numel() * p.element_size() for p in trained),
    }


def measure_all_reduce(num_bytes: int, processes: int, runs: int) -> dict[str, float]:
    """Medians of the seconds that gloo takes on this machine, behind a first run.

    Returns:
        gradients: to sum ``num_bytes`` of float32 over ``processes``, in buckets one behind the other; scalar: to sum
        one number, as losses do for their counts.
    """
    context = get_context("spawn")
    results = context.SimpleQueue()
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    arguments = (processes, store.port, num_bytes, runs, results)
    workers = [context.Process(target=_all_reduce, args=(rank, *arguments)) for rank in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise EGTRError(f"{processes} processes could not exchange tensors; what they say is above")
    return results.get()


def _all_reduce(rank: int, processes: int, port: int, num_bytes: int, runs: int, results: Any) -> None:
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    gradients = torch.ones(math.ceil(num_bytes / 4))
    found = {"gradients": gradients.split(BUCKET // 4), "scalar": [torch.ones(())]}
    seconds = {}
    for name, tensors in found.items():
        times = []
        for _ in range(runs + 1):
            dist.barrier()
            start = time.perf_counter()
            for tensor in tensors:
                dist.all_reduce(tensor)
            times.append(time.perf_counter() - start)
        seconds[name] = statistics.median(times[1:])
    if rank == 0:
        results.put(seconds)
    dist.destroy_process_group()


def simulate_waiting(cfg: CfgNode, sizes: Sequence[tuple[int, int]], processes: Sequence[int]) -> list[float]:
    """Share of its time that a process computes rather than waits for the one with the largest pictures.

    Each process draws SOLVER.IMS_PER_BATCH / 8 pictures out of ``sizes`` (height, width) and short sides out of
    INPUT.MIN_SIZE_TRAIN; its time is taken as proportional to the pixels of the batch, padded to the largest picture.

    Returns:
        For each number of ``processes`` the mean time of all over the mean time of the slowest, over 1,000 steps.
    """
    generator = np.random.default_rng(0)
    batch = max(1, cfg.SOLVER.IMS_PER_BATCH // MACHINE)
    resized = np.array(
        [
            [detr_resize_shape(*size, side, cfg.INPUT.MAX_SIZE_TRAIN) for side in cfg.INPUT.MIN_SIZE_TRAIN]
            for size in sizes
        ]
    )
    shares = []
    for number in processes:
        shape = (1000, number, batch)
        drawn = resized[generator.integers(len(sizes), size=shape), generator.integers(resized.shape[1], size=shape)]
        pixels = batch * drawn.max(axis=2).prod(axis=-1)
        shares.append(float(pixels.mean() / pixels.max(axis=1).mean()))
    return shares


def ring_seconds(num_bytes: float, processes: int, bytes_per_second: float, latency: float) -> float:
    """Of an all-reduce in a ring: each process sends 2 (W - 1) / W of its bytes, in 2 (W - 1) messages."""
    return 2 * (processes - 1) * (num_bytes / processes / bytes_per_second + latency)


def measure_dataset(cfg: CfgNode, pictures: int) -> dict[str, float]:
    """Disk, memory and time of the first of DATASETS.TRAIN, each as a mean over its pictures.

    Args:
        pictures: so many, spread over the data set, are read, resized and turned into tensors.

    Returns:
        images: pictures of the data set; for each of them picture_bytes and annotation_bytes on the disk (of all its
        files, also where these hold other splits, too), objects, relations, load_seconds (reading the annotations),
        load_bytes (most memory meanwhile), record_bytes (a record as Detectron2 keeps it in each process, pickled),
        read_seconds.
    """
    name = cfg.DATASETS.TRAIN[0]
    start = time.perf_counter()
    records = DatasetCatalog.get(name)
    seconds = time.perf_counter() - start
    count = len(records)
    picture_bytes = sum(Path(record["file_name"]).stat().st_size for record in records)
    annotation_bytes = sum(Path(file).stat().st_size for file in get_metadata(name).annotation_files)
    record_bytes = sum(len(pickle.dumps(record, protocol=-1)) for record in records)
    objects, relations = (sum(len(r[key]) for r in records) for key in ("annotations", "relations"))
    mapper = SceneGraphMapper(cfg, is_train=True)
    chosen = records[:: max(1, count // pictures)][:pictures]
    mapper(chosen[0])
    start = time.perf_counter()
    for record in chosen:
        mapper(record)
    read_seconds = (time.perf_counter() - start) / len(chosen)
    del records, chosen
    tracemalloc.start()
    DatasetCatalog.get(name)
    load_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    means = {
        "picture_bytes": picture_bytes,
        "annotation_bytes": annotation_bytes,
        "objects": objects,
        "relations": relations,
        "load_seconds": seconds,
        "record_bytes": record_bytes,
        "load_bytes": load_bytes,
    }
    return {"images": count, **{key: value / count for key, value in means.items()}, "read_seconds": read_seconds}
