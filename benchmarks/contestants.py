"""The contestants: the model, its formulas written out, and the detector of transformers."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from egtr.engine.optimizer import build_optimizer
from egtr.engine.recompute import recompute_activations
from egtr.layers.cpu import linear

from .case import Case, draw_queries
from .choices import REAL_TIME
from .literal import make_literal
from .measure import Contestant, Timing
from .real_time import build_real_time
from .transformers_detector import build_transformers, infer_transformers, transformers_targets

# Parts of inference. "detector" is the three before it together; the last is the rest of the time.
PARTS = ("backbone", "encoder", "decoder", "detector", "relations and ranking")


def build_inference(case: Case, names: Sequence[str], side: int) -> dict[str, Contestant]:
    """Build contestants that take images to scene graphs, or detectors that take them to boxes.

    "egtr", "egtr_plain", "egtr_bf16" and "literal" have the same weights.

    Args:
        case: the model and its images.
        names: some of INFERENCE.
        side: height and width of the images of REAL_TIME, in pixels.
    """

    @cache
    def model() -> nn.Module:
        return case.build_model().eval()

    return {
        name: build_real_time(case, name, side) if name in REAL_TIME else _build_inference(case, name, model)
        for name in names
    }


def _build_inference(case: Case, name: str, model: Callable[[], nn.Module]) -> Contestant:
    if name == "transformers":
        return infer_transformers(case, model())
    if name == "literal":
        step = make_literal(model())
        parts = {"backbone": (step, "extract"), "encoder": (step, "encode"), "decoder": (step, "decode")}
    else:
        # A model of its own for each, since stopwatches are set on its modules.
        step = case.build_model("TEST.AMP", name == "egtr_bf16").eval() if name != "egtr" else model()
        parts = {
            "backbone": (step.backbone, "forward"),
            "transformer": (step.transformer, "forward"),
            # With the heads that follow it, as in the literal model.
            "decoder": (step.transformer, "_decode"),
        }
    called = without_choice(step) if name == "egtr_plain" else step
    return Contestant(called, case.images(), case.images(small=True), parts)


def without_choice(step: Callable) -> Callable:
    """Return a function that does the same with F.linear for all linear layers, as plain PyTorch does."""

    def call(*args: Any) -> Any:
        linear.enabled = False
        try:
            return step(*args)
        finally:
            linear.enabled = True

    return call


def split_inference(timing: Timing) -> dict[str, float]:
    """Split a timing into seconds of each of PARTS.

    The projections before the encoder count as encoder, class and box heads as decoder. A timing without parts, such
    as the one of transformers, counts as "detector".
    """
    parts = timing.parts
    if not parts:
        return {"detector": timing.seconds}
    encoder = parts["encoder"] if "encoder" in parts else parts["transformer"] - parts["decoder"]
    detector = parts["backbone"] + encoder + parts["decoder"]
    found = (parts["backbone"], encoder, parts["decoder"], detector, timing.seconds - detector)
    return dict(zip(PARTS, found, strict=True))


def build_training(case: Case, names: Sequence[str]) -> dict[str, Contestant]:
    """Build contestants that make one optimizer step: losses, gradients, clipping, AdamW.

    "egtr" and "literal" train the same weights.
    """

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
        called = make_literal(network) if name == "literal" else network

        def losses(batch: list[dict]) -> torch.Tensor:
            return sum(called(batch).values())

    def step(batch: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        losses(batch).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
        optimizer.step()

    def kept() -> int:
        """Count the bytes of gradients and of the optimizer's state."""
        tensors = [p.grad for p in network.parameters() if p.grad is not None]
        tensors += [x for state in optimizer.state.values() for x in state.values() if isinstance(x, torch.Tensor)]
        return sum(x.numel() * x.element_size() for x in tensors)

    return Contestant(step, inputs, small, kept=kept)


def build_relation(case: Case, names: Sequence[str], training: bool) -> dict[str, Contestant]:
    """Build contestants that are only the relation part, on random queries and keys.

    They compute dense logits; with ``training`` also their gradients.
    """
    model = case.build_model().train(training)
    contestants = {}
    for name in names:
        relate = _literal_relation(model) if name == "literal" else partial(_relate, model.relation)
        inputs, small = (
            draw_queries(case, model.device, n, training) for n in (case.cfg().MODEL.EGTR.NUM_QUERIES, 4)
        )
        contestants[name] = Contestant(partial(_step, relate, training), inputs, small)
    return contestants


def _relate(part: nn.Module, queries, keys, hidden, logits) -> tuple:
    pairs = part.source(queries, keys, hidden)
    connectivity = None if part.connectivity_head is None else part.connectivity_head(pairs)
    return part.frequency_bias(part.relation_head(pairs), logits), connectivity


def _literal_relation(model: nn.Module) -> Callable:
    literal = make_literal(model)

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


def build_one_inference(case: Case, name: str, side: int) -> Contestant:
    """Build a single contestant of :func:`build_inference`, for a process of its own."""
    return build_inference(case, [name], side)[name]._replace(parts={})


def build_one_training(case: Case, name: str) -> Contestant:
    """Build a single contestant of :func:`build_training`, for a process of its own."""
    return build_training(case, [name])[name]


def build_one_relation(case: Case, name: str, training: bool) -> Contestant:
    """Build a single contestant of :func:`build_relation`, for a process of its own."""
    return build_relation(case, [name], training)[name]
