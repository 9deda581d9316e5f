"""Scene graphs as one interactive HTML page: a single file that opens offline, without a server.

- ``image``     one image with its graph, as the record that the page shows
- ``hits``      compares a graph with the annotations, by the code that scores
- ``writer``    writes many images to one file
- ``assets``    HTML, CSS and JavaScript of the page (folder ``page``), with the graph library vis-network
"""

from egtr import _deprecated

from .assets import assemble_page, page_config, read_asset, read_graph_library, to_json
from .hits import Comparison, compare_with_truth
from .image import ReportImage, encode_image
from .writer import ReportWriter

__all__ = [
    "Comparison",
    "ReportImage",
    "ReportWriter",
    "assemble_page",
    "compare_with_truth",
    "encode_image",
    "page_config",
    "read_asset",
    "read_graph_library",
    "to_json",
]

__getattr__ = _deprecated.moved(
    __name__,
    {
        "ReportPicture": "egtr.visualization.report.ReportImage",
        "encode_picture": "egtr.visualization.report.encode_image",
        "pictures_of_dataset": "egtr.inference.images_of_dataset",
        "pictures_of_predictions": "egtr.inference.images_of_predictions",
        "pictures_of_source": "egtr.inference.images_of_source",
    },
)
