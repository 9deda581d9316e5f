"""A run that is cut and resumed sees the same images."""

import itertools
from functools import partial

from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.samplers import TrainingSampler
from hypothesis import given, settings
from hypothesis import strategies as st

from egtr.data.sampler import ResumableSampler


def test_by_hand():
    # Images 1 and 3 are of the other group: 0 waits for 2, 1 for 3; of the second round 0 for 2 again.
    def make():
        return ResumableSampler(lambda seed: [0, 1, 2, 3, 4] * 2, None, batch_size=2, groups=[0, 1, 0, 1, 0])

    assert list(make()) == [0, 2, 1, 3, 4, 0, 1, 3, 2, 4]
    sampler = make()
    sampler.skip = 3
    assert list(sampler) == [1, 3, 2, 4]
    # Without groups batches are what comes.
    sampler = ResumableSampler(lambda seed: [3, 1, 2, seed], 0, batch_size=2)
    assert list(sampler) == [3, 1, 2, 0]
    # The seed counts when iteration begins.
    sampler.seed = 9
    assert list(sampler) == [3, 1, 2, 9]


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 1), min_size=1, max_size=9), st.integers(1, 4), st.integers(0, 20), st.integers(0, 2**31)
)
def test_batches_are_detectron2s_from_any_batch_on(groups, batch_size, skip, seed):
    sampler = ResumableSampler(partial(TrainingSampler, len(groups)), seed, batch_size, groups)
    sampler.skip = skip
    ours = list(itertools.islice(sampler, 3 * batch_size))
    # Detectron2's own grouping of the same images, as wide or as high as their group says, after they were read.
    images = ({"width": 1 + groups[k], "height": 1.5, "id": k} for k in TrainingSampler(len(groups), seed=seed))
    batches = itertools.islice(AspectRatioGroupedDataset(images, batch_size), skip, skip + 3)
    assert ours == [image["id"] for batch in batches for image in batch]
