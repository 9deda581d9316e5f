"""The record of a model: its JSON form, and the places where it is found."""

import json

import jsonschema
import numpy as np
import pytest
from safetensors.numpy import save_file

from egtr.structures import ModelInfo, WeightsError
from egtr.structures.model_info import read_schema

RECORD = {
    "version": 1,
    "name": "mine",
    "description": "Dogs and cats.",
    "class_names": ["dog", "cat"],
    "predicate_names": ["chases"],
    "preprocessing": {"format": "RGB", "min_size": 800, "max_size": 1333, "interpolation": "bilinear"},
    "domain": "photographs",
    "dataset": "my photographs",
    "licence": "not stated",
    "origin": "me",
    "metrics": {"R@50": 30.5, "mR@50": None},
    "evaluated_on": "my 12 test images",
    "library_version": "0.3.0",
    "display_threshold": 0.01,
    "photograph_threshold": 0.2,
    "calibration": {"method": "temperature", "temperature": 1.5},
    "colour": "blue",
    "nested": {"later": [1, 2]},
}


def test_every_field_comes_back_also_those_that_are_not_known(tmp_path):
    info = ModelInfo.from_dict(RECORD)
    assert info.class_names == ("dog", "cat") and info.predicate_names == ("chases",)
    assert info.metrics == {"R@50": 30.5, "mR@50": None}
    assert info.unknown == {"colour": "blue", "nested": {"later": [1, 2]}}
    assert info.to_dict() == RECORD
    info.save(tmp_path / "model_info.json")
    assert json.loads((tmp_path / "model_info.json").read_text()) == RECORD
    assert ModelInfo.load(tmp_path / "model_info.json") == info
    assert ModelInfo.from_json(info.to_json()) == info
    jsonschema.validate(info.to_dict(), read_schema())


def test_fields_without_value_are_left_out():
    assert ModelInfo().to_dict() == {"version": 1}
    assert ModelInfo.from_dict({"version": 1, "domain": None, "class_names": None}) == ModelInfo()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, r"here: version is 2, but this egtr reads 1\. Update egtr"),
        ({"domain": "paintings"}, r"here: domain: 'paintings' is not one of .*Correct the field"),
        ({"class_names": ["dog", 3]}, r"class_names\[1\]: 3 is not of type 'string'"),
        ({"class_names": "dog"}, "class_names: 'dog' is not of type"),
        ({"photograph_threshold": 1.5}, "photograph_threshold: 1.5 is greater than the maximum of 1"),
        ({"metrics": {"R@50": "30"}}, "metrics.*: '30' is not of type"),
        ({"preprocessing": {"pixel_mean": [1, 2]}}, r"preprocessing.pixel_mean: \[1, 2\] is too short"),
    ],
)
def test_a_wrong_field_is_named(change, words):
    with pytest.raises(WeightsError, match=words):
        ModelInfo.from_dict(RECORD | change, "here")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", '"text"'])
def test_text_that_is_no_record_names_the_file(tmp_path, text):
    path = tmp_path / "model_info.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"model_info\.json: "):
        ModelInfo.load(path)


def test_the_record_of_a_weight_file_is_in_its_metadata_else_beside_it(tmp_path):
    weights = tmp_path / "model.safetensors"
    assert ModelInfo.find(weights) is None
    save_file({"a": np.zeros(2)}, weights)
    assert ModelInfo.find(weights) is None
    ModelInfo(name="of the folder").save(tmp_path / "model_info.json")
    assert ModelInfo.find(weights).name == "of the folder"
    assert ModelInfo.find(tmp_path / "other.pth").name == "of the folder"
    ModelInfo(name="of the file").save(tmp_path / "model.model_info.json")
    assert ModelInfo.find(weights).name == "of the file"
    assert ModelInfo.find(tmp_path / "other.pth").name == "of the folder"
    save_file({"a": np.zeros(2)}, weights, {"model_info": ModelInfo(name="inside").to_json()})
    assert ModelInfo.find(weights).name == "inside"


def test_records_are_merged_field_by_field():
    ours = ModelInfo(name="a", dataset="b", metrics={"AP": 1.0}, unknown={"x": 1})
    theirs = ModelInfo(dataset="c", domain="drawings", unknown={"y": 2})
    assert ours.merged(theirs) == ModelInfo(
        name="a", dataset="c", domain="drawings", metrics={"AP": 1.0}, unknown={"x": 1, "y": 2}
    )
