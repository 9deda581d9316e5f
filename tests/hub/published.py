"""Small datasets as their publishers lay them out: parquet, COCO folders, archives of Visual Genome."""

import io
import json
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CATEGORIES = {
    "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "table"}],
    "rel_categories": [{"id": 1, "name": "on"}, {"id": 2, "name": "beside"}],
}
SPLITS = {"train": 5, "val": 2, "test": 3}


def draw(number: int) -> bytes:
    """A photograph of 40 x 30, of a colour of its own."""
    file = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), number * 17 % 256, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def make_rows(split: str, own_ids: bool = False) -> list[dict]:
    """Rows of a split: a cup on a table in each image. ``own_ids``: each image numbers its objects from 1."""
    first = {"train": 100, "val": 200, "test": 300}[split]
    rows = []
    for number in range(first, first + SPLITS[split]):
        start = 1 if own_ids else number * 10
        boxes = {start: (1, [2.0, 3.0, 10.0, 8.0]), start + 1: (2, [0.0, 9.0, 40.0, 20.0])}
        rows.append(
            {
                "image": {"bytes": draw(number), "path": f"{number}.jpg"},
                "image_id": number,
                "width": 40,
                "height": 30,
                "file_name": f"{number}.jpg",
                "objects": [
                    {"id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0, "segmentation": []}
                    for i, (c, b) in boxes.items()
                ],
                "relations": [{"id": number, "subject_id": start, "object_id": start + 1, "predicate_id": 1}],
            }
        )
    return rows


def as_lists(rows: list[dict]) -> list[dict]:
    """The same rows with a record of lists in place of each list of records."""
    return [
        row
        | {key: {name: [each[name] for each in row[key]] for name in row[key][0]} for key in ("objects", "relations")}
        for row in rows
    ]


def write_parquet(rows: list[dict]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def make_parquet_repository(**options) -> dict[str, bytes]:
    """Files of a repository of parquet files; train has two."""
    files = {"README.md": b"# card", "categories.json": json.dumps(CATEGORIES).encode()}
    for split in SPLITS:
        rows = make_rows(split, **options)
        parts = [rows[:3], rows[3:]] if split == "train" else [rows]
        for number, part in enumerate(parts):
            files[f"data/{split}-{number:05d}-of-{len(parts):05d}.parquet"] = write_parquet(part)
    return files


def make_coco(split: str) -> dict:
    """The annotations of a split in COCO-SG."""
    content = {"images": [], "annotations": [], "rel_annotations": [], **CATEGORIES}
    for row in make_rows(split):
        content["images"].append({"id": row["image_id"]} | {k: row[k] for k in ("file_name", "width", "height")})
        content["annotations"] += [each | {"image_id": row["image_id"]} for each in row["objects"]]
        content["rel_annotations"] += [each | {"image_id": row["image_id"]} for each in row["relations"]]
    return content


def make_coco_repository() -> dict[str, bytes]:
    """Files of a repository with images beside the annotations; val is called valid."""
    files = {"README.md": b"# card"}
    for split in SPLITS:
        folder = {"val": "valid"}.get(split, split)
        files[f"{folder}/_annotations.coco.json"] = json.dumps(make_coco(split)).encode()
        files |= {f"{folder}/{row['file_name']}": row["image"]["bytes"] for row in make_rows(split)}
    return files


def make_zip(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def make_visual_genome() -> tuple[bytes, bytes, bytes]:
    """The archive of EGTR's JSON, and the two of the images, with one image more than the annotations name."""
    rel = {"rel_categories": ["__background__", "on", "beside"]}
    files = {}
    for split in SPLITS:
        content = make_coco(split)
        content.pop("rel_annotations"), content.pop("rel_categories")
        rel[split] = {str(image["id"]): [[0, 1, 1]] for image in content["images"]}
        files[f"vg/{split}.json"] = json.dumps(content).encode()
    files["vg/rel.json"] = json.dumps(rel).encode()
    images = [(row["file_name"], row["image"]["bytes"]) for split in SPLITS for row in make_rows(split)]
    first = {f"VG_100K_2/{name}": content for name, content in images[:6]}
    second = {f"VG_100K/{name}": content for name, content in [*images[6:], ("999.jpg", draw(999))]}
    return make_zip(files), make_zip(first), make_zip(second)
