"""Detection losses by hand, and against the independent losses of transformers' RT-DETR."""

import math

import pytest
import torch
from transformers import RTDetrConfig
from transformers.loss.loss_rt_detr import RTDetrLoss

from egtr.layers import box_iou
from egtr.modeling import EGTROutput, HungarianMatcher, SetCriterion
from egtr.modeling.denoising import Denoising
from egtr.modeling.detection_loss import varifocal_loss
from egtr.modeling.outputs import DenoisingOutput
from egtr.modeling.target import Target
from egtr.structures import ConfigurationError

NUM_CLASSES, NUM_QUERIES = 6, 12
WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0, "loss_rel": 15.0, "loss_connectivity": 30.0}


def test_iou_by_hand():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    torch.testing.assert_close(box_iou(boxes[0], boxes), torch.tensor([1.0, 1 / 3, 0.0]))


def test_varifocal_loss_by_hand():
    """Probability 0.5: a false label weighs 0.75 * 0.5^2, a true one its quality, even if that is 0."""
    labels, quality = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.8, 0.0])
    loss = varifocal_loss(torch.zeros(3), labels, quality, 0.75, 2.0)
    torch.testing.assert_close(loss, torch.tensor([0.75 * 0.25, 0.8, 0.0]) * math.log(2))


def draw(generator, *shape):
    logits = torch.randn(*shape, NUM_CLASSES, generator=generator)
    boxes = torch.rand(*shape, 4, generator=generator) * 0.5 + 0.2
    return logits.requires_grad_(), boxes.requires_grad_()


@pytest.mark.parametrize("counts", [(3, 3), (4, 1, 2), (0, 5), (15, 2)])
def test_equals_the_losses_of_transformers(counts):
    """Last layer, an earlier one, selected encoder queries, denoising queries: values and gradients."""
    generator = torch.Generator().manual_seed(sum(counts))
    targets = [
        Target(
            torch.randint(NUM_CLASSES, (count,), generator=generator),
            torch.rand(count, 4, generator=generator) * 0.4 + 0.2,
            torch.zeros(0, 3, dtype=torch.int64),
        )
        for count in counts
    ]
    drawn = Denoising(NUM_CLASSES, num_queries=10)(targets)
    valid = drawn.queries.valid
    batch = len(counts)
    last, first, encoder = (draw(generator, batch, NUM_QUERIES) for _ in range(3))
    denoised = [draw(generator, batch, len(drawn.queries)) for _ in range(2)]
    leaves = [tensor for pair in (last, first, encoder, *denoised) for tensor in pair]
    # Padding has no loss here. In transformers it has a class loss, which is 0 for these logits.
    silent = [(logits.masked_fill(~valid[..., None], -50.0), boxes) for logits, boxes in denoised]

    output = EGTROutput(*last, None, None, [], [], [], None, torch.zeros(0), aux_outputs=[first], proposals=encoder)
    output.proposal_classes = True
    output.denoising = DenoisingOutput(drawn, [logits for logits, _ in silent], [boxes for _, boxes in silent])
    criterion = SetCriterion(matcher=HungarianMatcher(), weights=WEIGHTS, class_loss="varifocal", aux_layers=1)
    ours = criterion.weighted(criterion(output, targets)[0])
    gradients = torch.autograd.grad(sum(ours.values()), leaves, retain_graph=True)

    def named(pair):
        return {"logits": pair[0], "pred_boxes": pair[1]}

    positives = [drawn.positives.queries[drawn.positives.images == index] for index in range(batch)]
    theirs = RTDetrLoss(RTDetrConfig(num_labels=NUM_CLASSES))(
        named(last)
        | {
            "auxiliary_outputs": [named(first), named(encoder)],
            "dn_auxiliary_outputs": [named(pair) for pair in silent],
            "denoising_meta_values": {"dn_positive_idx": positives, "dn_num_group": drawn.num_groups},
        },
        [{"class_labels": target.classes, "boxes": target.boxes} for target in targets],
    )
    places = {"": "", "_0": "_aux_0", "_enc": "_aux_1", "_dn_0": "_dn_0", "_dn": "_dn_1"}
    names = {"loss_ce": "loss_vfl", "loss_bbox": "loss_bbox", "loss_giou": "loss_giou"}
    assert len(ours) == len(theirs) == 15
    for place, their_place in places.items():
        for name, their_name in names.items():
            wanted = theirs[their_name + their_place]
            torch.testing.assert_close(ours[name + place], wanted, rtol=1e-5, atol=1e-6, msg=name + place)
    for gradient, wanted in zip(gradients, torch.autograd.grad(sum(theirs.values()), leaves), strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)


def test_unknown_class_loss():
    with pytest.raises(ConfigurationError, match="CLASS_LOSS is 'hinge', choose one of focal, varifocal"):
        SetCriterion(matcher=HungarianMatcher(), weights=WEIGHTS, class_loss="hinge")
