from collections.abc import Iterator

import pytest
from detectron2.utils.collect_env import collect_env_info


@pytest.fixture(scope="session", autouse=True)
def environment_once() -> Iterator[None]:
    """A run begins its log with a description of this machine, which takes a second and does not change."""
    description = collect_env_info()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("egtr.engine.defaults.collect_env_info", lambda: description)
        yield


@pytest.fixture(autouse=True)
def no_plot(without_plot: None) -> None:
    """No test here looks at the plot of an evaluation, which takes longer than the evaluation."""
