"""A head after Relationformer: object tokens, one relation token, and a softmax for each pair."""

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import Tensor, nn

from egtr.layers import MLP
from egtr.modeling import EGTROutput, Target
from egtr.modeling.loss_normalizer import loss_normalizer
from egtr.modeling.postprocessing import scale_boxes
from egtr.modeling.target import JoinedMatches, join_matches, join_targets
from egtr.structures import Prediction, all_pairs

from .baseline import Baseline


@META_ARCH_REGISTRY.register()
class Relationformer(Baseline):
    """Object tokens and one relation token; a softmax over predicates and "no relation" for each pair.

    After Shit et al., "Relationformer" (ECCV 2022). The hidden states of the detector are the object tokens. A
    relation token, which is learned, joins them in one more decoder layer; it stands for the whole image. A
    perceptron reads subject token, object token and relation token.
    """

    def __init__(self, cfg):
        super().__init__(cfg)
        self.token = nn.Parameter(torch.randn(1, 1, self.dim))
        self.layer = nn.TransformerDecoderLayer(self.dim, self.num_heads, self.ffn_dim, 0.0, batch_first=True)
        self.subject, self.object = nn.Linear(self.dim, self.dim), nn.Linear(self.dim, self.dim, bias=False)
        self.context = nn.Linear(self.dim, self.dim, bias=False)
        self.classify = MLP(self.dim, self.dim, self.num_predicates + 1, num_layers=2)

    def relations(self, output: EGTROutput, images: ImageList) -> dict[str, Tensor]:
        """Compute "pairs", the logits (B, N, N, R + 1), subject first; the last one is "no relation"."""
        states = output.hidden_states[-1]
        tokens = self.layer(torch.cat([states, self.token.expand(len(states), -1, -1)], dim=1), output.memory)
        objects, whole = tokens[:, :-1], tokens[:, -1:]
        # The first linear map of the perceptron on the three tokens, side by side.
        hidden = self.subject(objects)[:, :, None] + (self.object(objects) + self.context(whole))[:, None]
        return {"pairs": self.classify(hidden.relu())}

    def relation_losses(
        self, output: EGTROutput, found: dict[str, Tensor], targets: list[Target]
    ) -> dict[str, Tensor]:
        """Compute "loss_rel", the cross-entropy of ordered pairs of two matched queries, mean over pairs."""
        joined = join_targets(targets)
        matches = join_matches(self.criterion.matcher(output.logits, output.pred_boxes, targets), joined.counts)
        if self.training:
            self.criterion.observe(matches)
        wanted, weights = self.pair_targets(matches, joined.relations, len(joined.classes), found["pairs"])
        known = torch.zeros(output.logits.shape[:2], dtype=torch.bool, device=self.device)
        known[matches.images, matches.queries] = True
        pairs = known[:, :, None] & known[:, None] & ~torch.eye(known.shape[1], dtype=torch.bool, device=self.device)
        entries = -(wanted * found["pairs"].log_softmax(-1)).sum(-1) * weights
        count = loss_normalizer(pairs.sum(), self.device, self.criterion.normalizer)
        return {"loss_rel": (entries * pairs).sum() / count}

    def pair_targets(
        self, matches: JoinedMatches, relations: Tensor, num_objects: int, logits: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the distribution that each pair should have, and its weight.

        A pair with K predicates has 1/K of the smoothed target of each; the rest is "no relation".

        Args:
            matches: of the batch.
            relations: (T, 3); subject and object index the objects of the batch.
            num_objects: number of objects of the batch.
            logits: (B, N, N, R + 1).

        Returns:
            (B, N, N, R + 1) and (B, N, N).
        """
        row = torch.full((num_objects,), -1, dtype=torch.int64, device=logits.device)
        row[matches.objects] = torch.arange(len(matches.objects), device=logits.device)
        ends = row[relations[:, :2]]
        both = (ends >= 0).all(1)
        (subjects, objects), predicates = ends[both].T, relations[both, 2]
        uncertainty = self.smoothing(matches.costs, matches.fits)
        smoothed, triplet_weights = self.smoothing.targets(uncertainty[subjects], uncertainty[objects], both[both])
        pair = matches.images[subjects], matches.queries[subjects], matches.queries[objects]
        wanted, weights = torch.zeros_like(logits), torch.ones_like(logits[..., 0])
        wanted[(*pair, predicates)] = 1.0
        count = wanted.sum(-1, keepdim=True).clamp(min=1)
        wanted[(*pair, predicates)] = smoothed
        wanted = wanted / count
        wanted[..., -1] = 1 - wanted.sum(-1)
        if triplet_weights is not None:
            weights[pair] = triplet_weights
        return wanted, weights

    def prediction(
        self, output: EGTROutput, found: dict[str, Tensor], index: int, size: tuple[int, int]
    ) -> Prediction:
        """Make the record of one image with every pair of queries."""
        relation = found["pairs"][index].float().softmax(-1)[..., :-1].flatten(0, 1).cpu().numpy()
        logits, boxes = output.logits[index], scale_boxes(output.pred_boxes[index], *size)
        pairs = all_pairs(len(logits))
        ones = torch.ones(len(pairs)).numpy()
        return Prediction(logits.float().cpu().numpy(), boxes.cpu().numpy(), pairs, ones, relation, size)
