"""Images in, graphs out.

- ``predictor``      a trained model, ready for images in any form
- ``remembered``     an image that is encoded once, for boxes that a person corrects
- ``explanation``    why an edge of a graph is there
- ``calls``          both as single calls: ``predict``, ``explain``, ``explain_graph``
- ``opening``        opens any model, exported ones too, for the commands and the server
- ``export``         writes the graphs of many images to files
- ``video``          a video with the graph of each frame
- ``window``         graphs on a screen
- ``report_images``  the images of a report, from folders, datasets and prediction files

The last four take any object with a method ``predict()`` (:class:`egtr.structures.Predictor`) and import no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "calls": ["explain", "explain_graph", "predict"],
        "export": ["export_scene_graphs", "save_graph"],
        "opening": ["open_predictor"],
        "predictor": ["EGTRPredictor"],
        "report_images": ["images_of_dataset", "images_of_predictions", "images_of_source"],
        "video": ["export_video"],
        "window": ["show_scene_graphs"],
    },
)
