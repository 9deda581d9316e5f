"""Files in the formats of other programs, written and read."""

import json

import pytest

from egtr.data.datasets.label_studio import read_label_studio


@pytest.fixture
def read_tasks(tmp_path):
    """A function that reads an export of Label Studio with these tasks."""

    def read(*tasks, **options):
        path = tmp_path / "export.json"
        path.write_text(json.dumps(tasks))
        return read_label_studio(path, **options)

    return read
