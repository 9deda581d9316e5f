"""An image that the model has encoded once, to be asked for the relations of other boxes as often as wanted."""

from dataclasses import replace
from typing import Any

import torch

from egtr.structures import ConfigurationError, SceneGraph

from .egtr import EGTR
from .given_boxes import build_given_graph, choose_box_queries, read_given
from .transformer.build import EncodedImages, EncoderDecoder


class ImageMemory:
    """The memory that a model keeps of one image: the encoder's output, and the objects that it has found.

    Backbone and encoder, which take most of the time, run once, as does the decoder for the model's own queries. Box
    queries need the decoder; an assignment of queries (see :mod:`egtr.modeling.given_boxes`) needs only the relation
    part.

    Args:
        model: an EGTR with a relation part. Its mode and weights must not change as long as this is used.
        record: an input record of the model, without given boxes.

    Attributes:
        graph: what the model finds itself.

    Raises:
        ConfigurationError: the model has no relation part, or a ``network`` of its own.
    """

    @torch.no_grad()
    def __init__(self, model: EGTR, record: dict[str, Any]):
        if model.relation is None or type(model).network is not EGTR.network:
            raise ConfigurationError(
                "an image cannot be kept for corrections: the model needs a relation part (MODEL.EGTR.RELATION."
                "ENABLED) and EGTR's own network(); predict it again for each correction"
            )
        self._model = model
        self._images = model.preprocess_image([record])
        self._image_size = self._images.image_sizes[0]
        self._frame = {key: record[key] for key in ("height", "width") if key in record}
        height, width = self._image_size
        self._size = (int(record.get("height", height)), int(record.get("width", width)))
        # Other transformers run as a whole.
        self._encoded: EncodedImages | None = None
        if isinstance(model.transformer, EncoderDecoder):
            self._encoded = model.encode(self._images)
        options = {"with_relations": not model.prunes_pairs, "encoded": self._encoded}
        output = model._network(self._images, **options)
        if output.relation_logits is not None:
            output.relation_logits = model.relation.frequency_bias.adjust(output.relation_logits)
        self.graph = model.read_graph(output, 0, self._size)
        # Pairs and relations of all queries are the largest part of the output, and are not read again.
        self._output = replace(output, pairs=None, relation_logits=None, connectivity_logits=None, gates=None)

    @torch.no_grad()
    def relate(self, given: dict[str, Any]) -> SceneGraph:
        """Predict the relations between given boxes.

        Args:
            given: the fields ``given``, ``refine_boxes`` and ``with_found`` of a record, see
                :mod:`egtr.modeling.given_boxes`.

        Returns:
            The graph that the model would return for the whole record.
        """
        model = self._model
        boxes = read_given(self._frame | given, self._image_size, model.device)
        queries = choose_box_queries(model, [boxes])
        output = self._output
        if queries is not None:
            if self._encoded is None:
                boxed = model._network(self._images, with_relations=False, box_queries=queries).boxed
            else:
                boxed = model.transformer.decode_boxes(self._encoded, queries).float()
            output = replace(output, boxed=boxed)
        return build_given_graph(model, boxes, output, 0, self._size)
