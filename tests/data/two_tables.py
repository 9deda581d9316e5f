"""Sound files of cups on tables, for tests that change one thing in them."""

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


def psg(mode, boxes):
    """One image of 320 x 240 with a cup on a table, whose boxes are in ``bbox_mode``; None: not stated."""
    return {
        "data": [
            {
                "file_name": "a.jpg",
                "height": 240,
                "width": 320,
                "image_id": "7",
                "annotations": [
                    {"bbox": box, "category_id": k} | ({} if mode is None else {"bbox_mode": mode})
                    for k, box in enumerate(boxes)
                ],
                "relations": [[0, 1, 0]],
            }
        ],
        "thing_classes": ["cup"],
        "stuff_classes": ["table"],
        "predicate_classes": ["on"],
        "test_image_ids": [],
    }


def report(annotations):
    """Numbers of objects and relations that training reads, and (severity, kind) to the last message."""
    found = check_dataset(annotations, read_images=False)
    kinds = {(problem.severity, problem.kind): problem.message for problem in found.problems}
    return int(found.classes.counts.sum()), int(found.predicates.counts.sum()), kinds
