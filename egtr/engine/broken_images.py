"""The log of broken images that a run skipped."""

import logging

from detectron2.engine import HookBase
from detectron2.utils import comm

from egtr.data.broken import SkipBroken

logger = logging.getLogger(__name__)


class BrokenImageReporter(HookBase):
    """Logs at the end of a run which images it has left out (DATALOADER.SKIP_BROKEN).

    Args:
        images: of the training loader, see :func:`egtr.data.build.skipped_by`.
    """

    def __init__(self, images: SkipBroken):
        self.images = images

    def after_train(self) -> None:
        broken = self.images.broken()
        # A run that failed may have failed in only one process: the others must not wait for it.
        if self.trainer.iter >= self.trainer.max_iter:
            broken = sorted(set().union(*comm.all_gather(broken)))
        if broken or self.images.unsound:
            logger.warning("DATALOADER.SKIP_BROKEN: in training %s", self.images.describe(broken))
        else:
            logger.info("DATALOADER.SKIP_BROKEN: no broken image was met in training")
