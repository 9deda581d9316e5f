"""Images in, graphs out.

- ``predictor``      a trained model, ready for images in any form
- ``explanation``    where the edges of a graph come from
- ``export``         files of many graphs; ``video`` the same for videos, ``window`` on a screen
- ``report_images``  images of a report out of folders, datasets and prediction files

All but the first two take any object with a method ``predict()`` (:class:`egtr.structures.Predictor`) and import no
torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "explanation": ["explain", "explain_graph"],
        "export": ["export_scene_graphs", "save_graph"],
        "predictor": ["EGTRPredictor", "predict"],
        "report_images": ["images_of_dataset", "images_of_predictions", "images_of_source"],
        "video": ["export_video"],
        "window": ["show_scene_graphs"],
    },
)
