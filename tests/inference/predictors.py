"""A predictor that needs no model."""

from egtr.data.sources import ImageStream
from egtr.structures import EGTRError, PredictedImage


class FakePredictor:
    """Streams as EGTRPredictor does; the graph of an image is ``find(pixels)``."""

    def __init__(self, find):
        self.find = find

    def predict(self, source, *, batch_size=1, threads=1):
        for entry in source if isinstance(source, ImageStream) else ImageStream(source):
            try:
                image = entry.read()
            except EGTRError as error:
                yield PredictedImage(error=error)
                continue
            graph = self.find(image)
            graph.file_name, graph.frame, graph.time = entry.file_name, entry.frame, entry.time
            yield PredictedImage(image, graph)
