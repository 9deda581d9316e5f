"""Scene graphs as one interactive HTML page: a single file that opens offline, without a server.

- ``image``   one image with its graph, as the record that the page shows
- ``hits``      a graph held against the annotations, by the code that scores
- ``writer``    many images to one file
- ``assets``    the page's own HTML, CSS and JavaScript (folder ``page``), and the graph library
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
    {name: f"egtr.inference.{name}" for name in ("images_of_dataset", "images_of_predictions", "images_of_source")},
)
