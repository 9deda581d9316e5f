"""What the benchmark compares: the model, its literal oracle, and the detector of transformers."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from egtr.config.defaults import get_egtr_cfg
from egtr.config.loading import without_pretrained
from egtr.engine.optimizer import build_optimizer
from egtr.engine.recompute import recompute_activations
from egtr.structures import EGTRError

from .measure import Contestant, Timing
from .transformers_detector import build_transformers, infer_transformers, transformers_targets

# Side of the image with which everything is called once before it is measured.
SMALL = 96
# Of a training image: some more than the average of Visual Genome.
OBJECTS, RELATIONS = 12, 8
# Of inference. "transformers" is the detector alone.
CONTESTANTS = ("egtr", "egtr_bf16", "literal", "transformers")
# Of training. The last two are detectors alone.
TRAINING = ("egtr", "literal", "egtr_detector", "transformers")
# Of inference; "detector" is the three before it, and the last what the whole takes beyond them.
PARTS = ("backbone", "encoder", "decoder", "detector", "relations and ranking")


@dataclass(frozen=True)
class Case:
    """A model and its inputs. It can be sent to another process.

    Attributes:
        config: the configuration, as YAML.
        height, width: of the images as the network gets them.
        batch: images B.
        literal: file that defines ``make_literal(model)``; "" without an oracle.
    """

    config: str
    height: int
    width: int
    batch: int = 1
    literal: str = ""

    @classmethod
    def from_config(cls, cfg: CfgNode, *size: int, **others: Any) -> "Case":
        """A case of a loaded configuration; see the class."""
        return cls(without_pretrained(cfg).dump(), *size, **others)

    def cfg(self) -> CfgNode:
        cfg = get_egtr_cfg()
        cfg.merge_from_other_cfg(CfgNode.load_cfg(self.config))
        return cfg

    def with_opts(self, *opts: Any) -> "Case":
        """The same with other values of some keys of the configuration, both in turn."""
        cfg = self.cfg()
        cfg.merge_from_list(list(opts))
        return replace(self, config=cfg.dump())

    def build_model(self, *opts: Any) -> nn.Module:
        """The model with random weights, the same each time."""
        cfg = self.cfg()
        cfg.merge_from_list(list(opts))
        torch.manual_seed(0)
        return build_model(cfg)

    def make_literal(self, model: nn.Module) -> nn.Module:
        """The oracle, on the parameters of ``model``."""
        if not Path(self.literal).is_file():
            raise EGTRError(f"benchmark: {self.literal!r}: the literal model lies in a clone of the repository alone")
        spec = importlib.util.spec_from_file_location("egtr_literal", self.literal)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.make_literal(model)

    def images(self, small: bool = False) -> list[dict]:
        """A batch of noise with annotations."""
        height, width = (SMALL, SMALL) if small else (self.height, self.width)
        egtr = self.cfg().MODEL.EGTR
        generator = torch.Generator().manual_seed(0)
        batch = []
        for _ in range(1 if small else self.batch):
            corners = torch.rand(OBJECTS, 2, 2, generator=generator).sort(dim=1).values
            corners[:, 1] += 0.01  # no box is empty
            instances = Instances((height, width))
            instances.gt_boxes = Boxes((corners / 1.01 * torch.tensor([width, height])).flatten(1))
            instances.gt_classes = torch.randint(egtr.NUM_CLASSES, (OBJECTS,), generator=generator)
            pairs = torch.randperm(OBJECTS * (OBJECTS - 1), generator=generator)[:RELATIONS]
            subjects, objects = pairs // (OBJECTS - 1), pairs % (OBJECTS - 1)
            objects = objects + (objects >= subjects)
            predicates = torch.randint(egtr.NUM_PREDICATES, (RELATIONS,), generator=generator)
            pixels = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
            relations = torch.stack([subjects, objects, predicates], dim=1)
            batch.append(
                {"image": pixels, "height": height, "width": width, "instances": instances, "relations": relations}
            )
        return batch


def build_inference(case: Case, names: Sequence[str]) -> dict[str, Contestant]:
    """From images to scene graphs ("transformers": to boxes). All but the last have the same weights."""

    @cache
    def model() -> nn.Module:
        return case.build_model().eval()

    return {name: _build_inference(case, name, model) for name in names}


def _build_inference(case: Case, name: str, model: Callable[[], nn.Module]) -> Contestant:
    if name == "transformers":
        return infer_transformers(case, model())
    if name == "literal":
        step = case.make_literal(model())
        parts = {"backbone": (step, "extract"), "encoder": (step, "encode"), "decoder": (step, "decode")}
    else:
        step = model() if name == "egtr" else case.build_model("TEST.AMP", True).eval()
        parts = {
            "backbone": (step.backbone, "forward"),
            "transformer": (step.transformer, "forward"),
            # With the heads behind it, as in the literal model.
            "decoder": (step.transformer, "_decode"),
        }
    return Contestant(step, case.images(), case.images(small=True), parts)


def split_inference(timing: Timing) -> dict[str, float]:
    """Seconds of each of PARTS; projections before the encoder count with it, class and box heads with the decoder.

    Without parts, as of transformers, the whole is "detector".
    """
    parts = timing.parts
    if not parts:
        return {"detector": timing.seconds}
    encoder = parts["encoder"] if "encoder" in parts else parts["transformer"] - parts["decoder"]
    detector = parts["backbone"] + encoder + parts["decoder"]
    found = (parts["backbone"], encoder, parts["decoder"], detector, timing.seconds - detector)
    return dict(zip(PARTS, found, strict=True))


def build_training(case: Case, names: Sequence[str]) -> dict[str, Contestant]:
    """One optimizer step: losses, gradients, clipping, AdamW. "egtr" and "literal" train the same weights."""

    @cache
    def trained(*opts: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
        model, cfg = case.build_model(*opts).train(), case.cfg()
        if cfg.SOLVER.ACTIVATION_CHECKPOINTING:
            recompute_activations(model)
        return model, build_optimizer(cfg, model)

    return {name: _build_training(case, name, trained) for name in names}


def _build_training(case: Case, name: str, trained: Callable) -> Contestant:
    inputs, small = case.images(), case.images(small=True)
    if name == "transformers":
        network = build_transformers(case).train().to(case.cfg().MODEL.DEVICE)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        model = case.build_model().eval()
        inputs, small = (transformers_targets(model, images) for images in (inputs, small))

        def losses(batch: dict) -> torch.Tensor:
            return network(**batch).loss

    else:
        without = ("MODEL.EGTR.RELATION.ENABLED", False) if name == "egtr_detector" else ()
        network, optimizer = trained(*without)
        called = case.make_literal(network) if name == "literal" else network

        def losses(batch: list[dict]) -> torch.Tensor:
            return sum(called(batch).values())

    def step(batch: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        losses(batch).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
        optimizer.step()

    def kept() -> int:
        """Gradients and the optimizer's state."""
        tensors = [p.grad for p in network.parameters() if p.grad is not None]
        tensors += [x for state in optimizer.state.values() for x in state.values() if isinstance(x, torch.Tensor)]
        return sum(x.numel() * x.element_size() for x in tensors)

    return Contestant(step, inputs, small, kept=kept)


def build_relation(case: Case, names: Sequence[str], training: bool) -> dict[str, Contestant]:
    """The relation part alone, on random queries and keys: dense logits, with ``training`` their gradients too."""
    model = case.build_model().train(training)
    contestants = {}
    for name in names:
        relate = _literal_relation(case, model) if name == "literal" else partial(_relate, model.relation)
        inputs, small = (
            draw_queries(case, model.device, n, training) for n in (case.cfg().MODEL.EGTR.NUM_QUERIES, 4)
        )
        contestants[name] = Contestant(partial(_step, relate, training), inputs, small)
    return contestants


def draw_queries(case: Case, device: torch.device, num_queries: int, gradient: bool = False) -> tuple:
    """What a decoder of L layers says about N queries of B images, at random, the same each time.

    Returns:
        queries and keys, L tensors (B, N, d) each, and hidden states (B, N, d), all of which ask for gradients with
        ``gradient``; class logits (B, N, C).
    """
    egtr = case.cfg().MODEL.EGTR
    generator = torch.Generator().manual_seed(0)

    def draw(width: int) -> torch.Tensor:
        drawn = torch.randn(case.batch, num_queries, width, generator=generator)
        return drawn.to(device).requires_grad_(gradient)

    layers, width = egtr.TRANSFORMER.DEC_LAYERS, egtr.TRANSFORMER.HIDDEN_DIM
    queries, keys = ([draw(width) for _ in range(layers)] for _ in range(2))
    return queries, keys, draw(width), draw(egtr.NUM_CLASSES).detach()


def _relate(part: nn.Module, queries, keys, hidden, logits) -> tuple:
    pairs = part.source(queries, keys, hidden)
    connectivity = None if part.connectivity_head is None else part.connectivity_head(pairs)
    return part.frequency_bias(part.relation_head(pairs), logits), connectivity


def _literal_relation(case: Case, model: nn.Module) -> Callable:
    literal = case.make_literal(model)

    def relate(queries, keys, hidden, logits) -> tuple:
        names = ("queries", "keys", "hidden_states", "logits")
        found = literal.relate(dict(zip(names, (queries, keys, [hidden], [logits]), strict=True)))
        return found["relation_logits"], found["connectivity_logits"]

    return relate


def _step(relate: Callable, training: bool, inputs: tuple) -> None:
    with torch.set_grad_enabled(training):
        logits = [found for found in relate(*inputs) if found is not None]
        if training:
            sum(found.sigmoid().mean() for found in logits).backward()


def build_one_inference(case: Case, name: str) -> Contestant:
    """A single contestant, for a process of its own."""
    return build_inference(case, [name])[name]._replace(parts={})


def build_one_training(case: Case, name: str) -> Contestant:
    return build_training(case, [name])[name]


def build_one_relation(case: Case, name: str, training: bool) -> Contestant:
    return build_relation(case, [name], training)[name]
