"""Any image in, a scene graph out."""

import cv2
import numpy as np
import pytest
import timm
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from matplotlib.cbook import get_sample_data
from PIL import Image
from torchvision.ops import FrozenBatchNorm2d

from egtr.checkpoint import EGTRCheckpointer
from egtr.data import SceneGraphMapper
from egtr.data.scenes import draw_scene
from egtr.inference import EGTRPredictor
from egtr.structures import EGTRError, ModelInfo, SceneGraph
from egtr.visualization import draw_scene_graph
from tests.modeling.models import image, small_model
from tests.modeling.test_given_boxes import DETR, RTDETR


@pytest.fixture
def weights(make_cfg, tmp_path):
    """Path of random weights and the model that they were taken from."""
    model = build_model(make_cfg())
    path = EGTRCheckpointer(model, str(tmp_path)).save_weights("random")
    return path, model.eval()


def content(graph):
    """The graph without the file that it comes from."""
    return {**graph.to_dict(), "source": None}


def test_same_as_the_evaluated_model(make_cfg, weights, tiny_dataset):
    """An image read by the predictor goes through the model exactly as in evaluation."""
    path, model = weights
    cfg = make_cfg({"MODEL.WEIGHTS": path})
    predictor = EGTRPredictor(cfg)
    record = DatasetCatalog.get(tiny_dataset.val)[0]
    with torch.no_grad():
        expected = model([SceneGraphMapper(cfg, is_train=False)(record)])[0]["scene_graph"]
    graph = predictor(record["file_name"])
    assert content(graph) == content(expected)
    assert np.array_equal(graph.prediction.relation, expected.prediction.relation)
    assert len(graph.boxes) == 8 and len(graph) == 8 * 7
    assert graph.class_names == tiny_dataset.thing_classes
    assert graph.predicate_names == tiny_dataset.predicate_classes

    pixels = cv2.imread(record["file_name"])
    assert content(predictor(pixels, "BGR")) == content(expected)
    assert content(predictor(pixels[:, :, ::-1], "RGB")) == content(expected)
    assert content(predictor(Image.open(record["file_name"]))) == content(expected)
    # channels are really told apart
    assert content(predictor(pixels, "RGB")) != content(expected)


def test_model_that_reads_bgr(make_cfg, weights, tiny_dataset):
    cfg = make_cfg({"MODEL.WEIGHTS": weights[0], "INPUT.FORMAT": "BGR"})
    pixels = cv2.imread(DatasetCatalog.get(tiny_dataset.val)[0]["file_name"])
    swapped = EGTRPredictor(make_cfg({"MODEL.WEIGHTS": weights[0]}))
    assert EGTRPredictor(cfg)(pixels, "BGR").to_dict() == swapped(pixels, "RGB").to_dict()


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (500, 400)])
def test_any_size(make_cfg, weights, size):
    graph = EGTRPredictor(make_cfg(), model=weights[1])(np.full((*size, 3), 99, np.uint8), "RGB")
    assert graph.image_size == size and np.isfinite(graph.boxes).all()
    shown = graph.filter(top_k=3)
    assert SceneGraph.from_dict(shown.to_dict()).to_dict() == shown.to_dict()
    draw_scene_graph(np.zeros((*size, 3), np.uint8), shown)


def test_boxes_are_in_the_upright_image(make_cfg, weights, tmp_path):
    predictor = EGTRPredictor(make_cfg(), model=weights[1])
    upright = Image.fromarray(np.random.RandomState(0).randint(0, 255, (40, 60, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    graph = predictor(tmp_path / "turned.png")
    assert graph.image_size == (40, 60) and content(graph) == content(predictor(upright))


def test_from_config_file(make_cfg, weights, tmp_path):
    (tmp_path / "tiny.yaml").write_text(make_cfg({"MODEL.WEIGHTS": weights[0]}).dump())
    five = ["TEST.SCENE_GRAPH.TRIPLETS_PER_IMAGE", "5"]
    predictor = EGTRPredictor.from_config_file(str(tmp_path / "tiny.yaml"), five)
    assert len(predictor(np.zeros((20, 20, 3), np.uint8), "RGB")) == 5
    with pytest.raises(EGTRError, match="none.yaml: is neither a file nor the name of a model.*Models are: scenes"):
        EGTRPredictor.from_config_file("none.yaml")


def test_names_come_from_the_files_where_registration_gives_none(make_cfg, weights, tiny_dataset):
    def predictor(file):
        row = ["predictor_names", "egtr", str(tiny_dataset.root / file), str(tiny_dataset.root / "images")]
        cfg = make_cfg({"DATASETS.REGISTER": [row], "DATASETS.TEST": ("predictor_names",)})
        return EGTRPredictor(cfg, model=weights[1])

    try:
        assert predictor("val.json").class_names == tiny_dataset.thing_classes
        assert predictor("val.json").predicate_names == tiny_dataset.predicate_classes
        # Without the files there is still a predictor.
        assert predictor("absent.json").class_names is None
    finally:
        DatasetCatalog.remove("predictor_names")
        MetadataCatalog.remove("predictor_names")


def test_names_of_another_label_set_are_left_out(make_cfg, caplog):
    cfg = make_cfg({"MODEL.EGTR.NUM_CLASSES": 3})
    graph = EGTRPredictor(cfg, model=build_model(cfg))(np.zeros((20, 20, 3), np.uint8), "RGB")
    assert graph.class_names is None and graph.predicate_names is not None
    assert "has 5 thing_classes, but the model has 3" in caplog.text


def test_a_model_warns_once_of_each_doubt(make_cfg, weights, caplog, tmp_path):
    """The record lies beside the weights; the untrained model's scores are far below a threshold of 1."""
    path, model = weights
    ModelInfo(name="tiny", domain="drawings", photograph_threshold=1.0).save(tmp_path / "model_info.json")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    predictor = EGTRPredictor(make_cfg({"MODEL.WEIGHTS": path}))
    assert predictor.info.name == "tiny" and not caplog.messages
    first, second = (predictor(str(tmp_path / name)) for name in ("a.png", "b.png"))
    domain, score = first.warnings
    assert "was trained on drawings" in domain and "does not know images of this sort" in score
    assert len(second.warnings) == 2 and second.filter(top_k=1).warnings == second.warnings
    warned = [record.getMessage() for record in caplog.records if record.name == "egtr.inference.predictor"]
    assert warned == [domain, f"{tmp_path / 'a.png'}: {score}"]
    # A built model need not be the one of MODEL.WEIGHTS.
    built = EGTRPredictor(make_cfg({"MODEL.WEIGHTS": path}), model)
    assert built.info is None and built(str(tmp_path / "a.png")).warnings == ()


def test_the_model_that_ships_doubts_photographs_only():
    predictor = EGTRPredictor.create("scenes")
    photograph = predictor(get_sample_data("grace_hopper.jpg", asfileobj=False))
    assert len(photograph.warnings) == 2
    drawn = predictor(draw_scene(0, "val", 0)[0], "RGB")
    assert drawn.warnings == photograph.warnings[:1]


@pytest.mark.parametrize("training", [True, False])
def test_a_model_keeps_its_mode(make_cfg, weights, training):
    model = weights[1].train(training)
    predictor = EGTRPredictor(make_cfg(), model=model)
    assert model.training is training
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(module.training))
    predictor(np.zeros((20, 20, 3), np.uint8), "RGB")
    assert seen == [False] and model.training is training


@pytest.mark.parametrize("options", [(), DETR, RTDETR], ids=["deformable", "detr", "rtdetr"])
def test_a_model_that_has_predicted_can_be_trained(make_cfg, options):
    """Nothing that a model keeps of a prediction is a tensor of inference mode, which can have no gradient."""
    model, record = small_model(*options), image()
    torch.manual_seed(0)
    expected = model.train()([record])
    # Another size, for which nothing is kept yet.
    predictor = EGTRPredictor(make_cfg({"INPUT.MIN_SIZE_TEST": 0}), model=model)
    predictor(np.zeros((40, 56, 3), np.uint8), "RGB")
    for pixels in (record["image"], record["image"][:, :40, :56]):
        torch.manual_seed(0)
        losses = model([record | {"image": pixels}])
        sum(losses.values()).backward()
    torch.manual_seed(0)
    assert {k: v.item() for k, v in model([record]).items()} == {k: v.item() for k, v in expected.items()}


@pytest.mark.parametrize("options", [(), RTDETR], ids=["deformable", "rtdetr"])
def test_training_between_two_images_of_a_stream(make_cfg, options):
    """The second image sees the new weights, those of folded norms, too."""
    model = small_model(*options)
    predictor = EGTRPredictor(make_cfg(), model=model)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    stream = predictor.predict([pixels, pixels], "RGB")
    before = next(stream).graph
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d | FrozenBatchNorm2d)):
            norm.running_mean += 0.5
    after = next(stream).graph
    assert content(after) == content(predictor(pixels, "RGB")) != content(before)


def test_falls_back_to_the_cpu(make_cfg, weights, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    predictor = EGTRPredictor(make_cfg({"MODEL.DEVICE": "cuda", "MODEL.WEIGHTS": weights[0]}))
    assert predictor.model.device.type == "cpu"


def test_fetches_no_backbone(make_cfg, weights, monkeypatch):
    """Its weights come with all others."""
    asked, create = [], timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *args, **options: asked.append(options) or create(*args, **options)
    )
    EGTRPredictor(make_cfg({"MODEL.WEIGHTS": weights[0], "MODEL.EGTR.BACKBONE.PRETRAINED": True}))
    assert [options["pretrained"] for options in asked] == [False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MODEL.WEIGHTS": "none.pth"}, "none.pth"),
        ({"MODEL.WEIGHTS": ""}, "MODEL.WEIGHTS is empty.*add MODEL.WEIGHTS FILE"),
        ({"INPUT.FORMAT": "L"}, "INPUT.FORMAT"),
    ],
)
def test_bad_configuration(make_cfg, changes, message):
    with pytest.raises(EGTRError, match=message):
        EGTRPredictor(make_cfg(changes))


def test_weights_of_a_detector(make_cfg, tmp_path):
    cfg = make_cfg({"MODEL.EGTR.RELATION.ENABLED": False})
    cfg.MODEL.WEIGHTS = EGTRCheckpointer(build_model(cfg), str(tmp_path)).save_weights("detector")
    with pytest.raises(EGTRError, match="RELATION.ENABLED is False"):
        EGTRPredictor(cfg)(np.zeros((20, 20, 3), np.uint8), "RGB")
    # In an EGTR model they would leave the relation part as it was made.
    whole = make_cfg({"MODEL.WEIGHTS": cfg.MODEL.WEIGHTS})
    names = [name for name, _ in build_model(whole).named_parameters() if name.startswith("relation.")]
    with pytest.raises(EGTRError, match=rf"detector\.pth: lacks {len(names)} parameters.*{names[0]}.*MODEL\.WEIGHTS"):
        EGTRPredictor(whole)
