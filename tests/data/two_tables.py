"""A sound COCO-SG file of two images, for tests that change one thing in it."""

from egtr.data.check import check_dataset

BOXES = ([10, 20, 50, 100], [100, 50, 120, 150], [230, 10, 40, 40])


def coco_sg():
    """Two images of 320 x 240 with cup 1, table 2, cup 3 each; cup on table, and the other cup near it."""
    return {
        "images": [{"id": k, "file_name": f"{'ab'[k - 1]}.jpg", "height": 240, "width": 320} for k in (1, 2)],
        "annotations": [
            {"id": 10 * k + n, "image_id": k, "category_id": 2 - n % 2, "bbox": BOXES[n - 1], "iscrowd": 0}
            for k in (1, 2)
            for n in (1, 2, 3)
        ],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "table"}],
        "rel_categories": [{"id": 1, "name": "on"}, {"id": 2, "name": "near"}],
        "rel_annotations": [
            {"id": 2 * k + n, "image_id": k, "subject_id": 10 * k + a, "object_id": 10 * k + 2, "predicate_id": n}
            for k in (1, 2)
            for n, a in ((1, 1), (2, 3))
        ],
    }  # fmt: skip


def report(annotations):
    """Numbers of objects and relations that training reads, and (severity, kind) to the last message."""
    found = check_dataset(annotations, read_images=False)
    kinds = {(problem.severity, problem.kind): problem.message for problem in found.problems}
    return int(found.classes.counts.sum()), int(found.predicates.counts.sum()), kinds
