"""A predictor that needs no model."""

from egtr.data.sources import Pictures
from egtr.structures import PredictedImage
from egtr.structures import EGTRError


class FakePredictor:
    """Streams as EGTRPredictor does; the graph of a picture is ``predict(pixels)``."""

    def __init__(self, predict):
        self.predict = predict

    def predict(self, source, *, batch_size=1, threads=1):
        for picture in source if isinstance(source, Pictures) else Pictures(source):
            try:
                image = picture.read()
            except EGTRError as error:
                yield PredictedImage(error=error)
                continue
            graph = self.predict(image)
            graph.file_name, graph.frame, graph.time = picture.file_name, picture.frame, picture.time
            yield PredictedImage(image, graph)
