#!/usr/bin/env python3
"""Draw the images of README.md and docs/: `make images` runs it, after `make setup`.

    python tools/make_images.py                     # all that the shipped model draws
    python tools/make_images.py demo.png            # one of them
    python tools/make_images.py --list              # which there are, each with its command

Each image is what the command beside it in the documentation writes, made smaller. Beside some of them lies the graph
that they show, as JSON; tests/docs/test_images.py compares it with the model. The curves of docs/performance.md and
projects/EGTR are measurements. Their commands run for minutes to hours on a quiet machine, so they only run when the
image is named.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
RECIPES = ROOT / "projects/EGTR/images"
SCENES = "datasets/scenes/images"
PHOTO = (
    "\"$(python -c 'from matplotlib.cbook import get_sample_data as f; "
    'print(f("grace_hopper.jpg", asfileobj=False))\')"'
)


@dataclass(frozen=True)
class Shown:
    """One image of the documentation.

    Attributes:
        path: where it is shown from.
        page: the page that shows it, and its command.
        command: what draws it, for a shell.
        output: what of the command's files becomes the image; None: the command writes ``path`` itself.
        width: pixels of the image that is kept, at most.
        graph: file of the command that is kept beside the image, as JSON.
        measured: it shows a measurement, not what the shipped model draws.
    """

    path: Path
    page: str
    command: str
    output: str | None = None
    width: int = 1200
    graph: str | None = None
    measured: bool = False

    @property
    def graph_path(self) -> Path:
        return self.path.with_suffix(".json")


def growth(axis: str) -> Shown:
    name = f"performance_{axis}.png"
    command = f"OMP_NUM_THREADS=2 python -m benchmarks growth {axis} --plot docs/images/{name}"
    return Shown(IMAGES / name, "docs/measurements/performance.md", command, measured=True)


ALL = [
    Shown(
        IMAGES / "demo.png",
        "README.md",
        f"egtr demo --input {SCENES}/test_00234.png --output output/graphs",
        "output/graphs/test_00234.png",
        1568,
        "output/graphs/test_00234.json",
    ),
    Shown(
        IMAGES / "tour_scene.jpg",
        "docs/tour.md",
        f"egtr demo --input {SCENES}/test_00298.png --output output/tour --graphs json graphml",
        "output/tour/test_00298.png",
        1000,
        "output/tour/test_00298.json",
    ),
    Shown(
        IMAGES / "tour_why.jpg",
        "docs/tour.md",
        f"egtr explain --input {SCENES}/test_00298.png --output output/tour/why --top-k 1",
        "output/tour/why/test_00298_edge0.png",
        graph="output/tour/why/test_00298_explanations.json",
    ),
    Shown(
        IMAGES / "tour_video.jpg",
        "docs/tour.md",
        "egtr demo clip.mp4 --output output/tour/clip.mp4",
        "output/tour/clip.mp4",
        780,
        "output/tour/clip.jsonl",
    ),
    Shown(
        IMAGES / "tour_photo.jpg",
        "docs/tour.md",
        f"egtr demo --output output/tour --confidence-threshold 0.001 --input {PHOTO}",
        "output/tour/grace_hopper.png",
        900,
        "output/tour/grace_hopper.json",
    ),
    Shown(
        IMAGES / "report.webp",
        "docs/report.md",
        'egtr report --dataset scenes_val --output output/report.html --title "Scenes, validation"',
        "output/report.html",
        graph="output/report.json",
    ),
    Shown(
        IMAGES / "reliability.png",
        "docs/probabilities.md",
        "egtr calibrate --model scenes --dataset scenes_val --test scenes_test --splits 20 "
        "--output output/calibration --dry-run",
        "output/calibration/calibration.png",
        1600,
        measured=True,
    ),
    growth("queries"),
    growth("predicates"),
    growth("side"),
    Shown(
        RECIPES / "attention_auc.png",
        "projects/EGTR/README.md",
        "egtr analyze relations --model scenes_deformable --dataset scenes_val --output output/analysis",
        "output/analysis/attention_auc.png",
        1728,
        measured=True,
    ),
    Shown(
        RECIPES / "joint.png",
        "projects/EGTR/joint_training.md",
        "egtr sweep projects/EGTR/sweeps/joint.yaml --extension projects/EGTR/smoothing_controls.py "
        "--extension projects/EGTR/detached.py",
        "output/sweeps/joint/sweep.png",
        1728,
        measured=True,
    ),
    Shown(
        ROOT / "projects/Baselines/images/families.png",
        "projects/Baselines/README.md",
        "egtr sweep projects/Baselines/sweeps/families.yaml --extension projects/Baselines/baselines/__init__.py "
        "--extension projects/EGTR/smoothing_controls.py --table-only",
        "output/sweeps/families/sweep.png",
        1728,
        measured=True,
    ),
    Shown(
        RECIPES / "attention_joint.png",
        "projects/EGTR/joint_training.md",
        "python projects/EGTR/attention_probe.py --extension projects/EGTR/detached.py --output output/probe "
        "before=output/sweeps/early_detector/model_ema.pth "
        "alone=output/sweeps/runs/no_relations/seed1/model_final.pth "
        "during=output/sweeps/runs/base/seed1/model_0000299.pth "
        "after=output/sweeps/runs/base/seed1/model_final.pth "
        "detached=output/sweeps/runs/by-products_detached/seed1/model_final.pth",
        "output/probe/probe.png",
        1728,
        measured=True,
    ),
    Shown(
        RECIPES / "ablation.png",
        "projects/EGTR/README.md",
        "egtr sweep projects/EGTR/sweeps/ablation.yaml",
        "output/sweeps/ablation/sweep.png",
        1725,
        measured=True,
    ),
]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="file names of images (default: all not measured)")
    parser.add_argument("--list", action="store_true", help="print all images with their commands, draw none")
    args = parser.parse_args(argv)
    unknown = set(args.names) - {image.path.name for image in ALL}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; --list prints the names")
    if args.list:
        for image in ALL:
            print(f"{image.path.relative_to(ROOT)}: {image.command}")
        return 0
    with contextlib.chdir(ROOT):
        run("egtr data prepare-scenes")
        write_clip()
        for image in ALL:
            if image.path.name in args.names or not (args.names or image.measured):
                draw(image)
        Path("clip.mp4").unlink()
    return 0


def write_clip() -> None:
    """Write the video that the tour begins with, by the code that stands there."""
    blocks = (ROOT / "docs/tour.md").read_text("utf-8").split("```python\n")
    (code,) = (block.partition("```")[0] for block in blocks if "VideoWriter" in block)
    exec(code, {})


def draw(image: Shown) -> None:
    """Run the command of an image, and keep what is shown of its output."""
    run(image.command)
    if image.output is None:
        return
    drawn = read_drawn(Path(image.output))
    drawn.thumbnail((image.width, image.width * 4), Image.Resampling.LANCZOS)
    options = {".png": {"optimize": True}, ".jpg": {"quality": 85}, ".webp": {"quality": 80}}
    drawn.convert("RGB").save(image.path, **options[image.path.suffix])
    if image.graph:
        keep_graph(Path(image.graph), image.graph_path)
    print(f"{image.path.relative_to(ROOT)}: {drawn.width} x {drawn.height}, {image.path.stat().st_size // 1000} kB")


def keep_graph(source: Path, target: Path) -> None:
    """Copy a graph or its explanations, without the folder that the image lies in on this machine."""
    text = source.read_text("utf-8")
    if source.suffix == ".jsonl":
        lines = text.splitlines()
        record = [json.loads(lines[number]) for number in shown_frames(len(lines))]
    else:
        record = json.loads(text)
    if isinstance(record, dict):
        record["source"]["file_name"] = Path(record["source"]["file_name"]).name
    target.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")


def run(command: str) -> None:
    """Run a command as a shell does, with the programs of this Python's environment first.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(command, shell=True, check=True, env={**os.environ, "PATH": programs})


def read_drawn(path: Path) -> Image.Image:
    """Open what a command has drawn: an image, three frames of a video, or a page with its first edge chosen."""
    if path.suffix == ".mp4":
        return three_frames(path)
    if path.suffix == ".html":
        return screenshot(path)
    drawn = Image.open(path).convert("RGBA")
    paper = Image.new("RGBA", drawn.size, "white")
    return Image.alpha_composite(paper, drawn).convert("RGB")


def shown_frames(count: int) -> tuple[int, int, int]:
    """Choose the first, the middle and the last of ``count`` frames."""
    return 0, (count - 1) // 2, count - 1


def three_frames(path: Path) -> Image.Image:
    """Put the first, the middle and the last frame of a video below one another."""
    video = cv2.VideoCapture(str(path))
    frames = []
    for number in shown_frames(int(video.get(cv2.CAP_PROP_FRAME_COUNT))):
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        _, frame = video.read()
        frames.append(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
    height = sum(frame.height for frame in frames)
    page = Image.new("RGB", (frames[0].width, height), "white")
    top = 0
    for frame in frames:
        page.paste(frame, (0, top))
        top += frame.height
    return page


def screenshot(path: Path) -> Image.Image:
    """Open a report in a browser, with annotations beside the prediction and the best edge chosen, as an image.

    The texts of its triplets go to a JSON file beside it.
    """
    from playwright.sync_api import sync_playwright

    programs = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    program = next(filter(None, programs), None)
    if program is None:
        raise SystemExit("error: no Chromium or Chrome on this machine, which takes the image of the report")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(path.resolve().as_uri(), timeout=120_000)
        page.keyboard.press("ArrowRight")
        # The graph moves until its nodes have found their places.
        page.wait_for_timeout(5000)
        page.evaluate("document.querySelectorAll('*').forEach(element => element.scrollTop = 0)")
        triplets = page.locator('ol.triplets[aria-label^="Prediction"] li').all_inner_texts()
        path.with_suffix(".json").write_text(json.dumps(triplets), "utf-8")
        file = path.with_suffix(".png")
        page.screenshot(path=file)
        browser.close()
    return Image.open(file).convert("RGB")


if __name__ == "__main__":
    sys.exit(main())
