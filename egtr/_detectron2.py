"""The only module that knows the oddities of Detectron2. Every room that needs Detectron2 imports it first.

It does two things:

1. If Detectron2 or torch cannot be imported, it raises an ``ImportError`` that says how to install them. Detectron2
   has no release on the package index, so ``pip install egtr`` cannot install it.
2. It imports the Detectron2 modules that call ``torch.jit.script`` while they are imported. Current PyTorch answers
   with a ``FutureWarning`` that users of ``egtr`` can do nothing about. The filter covers only this message, and only
   during these imports: ``torch.jit.script`` in a user's code still warns.

Nothing of Detectron2 is replaced or patched.
"""

import importlib
import sys
import warnings

from egtr.structures.errors import MissingDetectron2Error

INSTALL_HINT = (
    "EGTR is a plugin of Detectron2, which this Python ({python}) does not have: {reason}.\n"
    "In a clone of the EGTR repository run one of\n"
    "  make setup                                   (makes .venv with everything in it)\n"
    "  python tools/setup/install_detectron2.py     (adds Detectron2 to the Python that runs it)\n"
    "A Detectron2 that you built from its own sources works as well: run EGTR in the environment that has it.\n"
    "Exported models need neither: egtr demo, report and serve run .onnx files, and the model scenes."
)


def require_detectron2() -> None:
    """Import Detectron2.

    Raises:
        MissingDetectron2Error: Detectron2 or torch is missing, or a folder of the same name hides Detectron2. The
            message says how to install it. An installed Detectron2 that fails for another reason raises its own
            error.
    """
    try:
        detectron2 = importlib.import_module("detectron2")
    except ModuleNotFoundError as error:
        if error.name not in ("detectron2", "torch"):
            raise
        raise _missing(f"there is no module {error.name}") from error
    # A folder called detectron2 without __init__.py, such as a fresh clone in the working directory, imports as an
    # empty namespace package. Every later import from it would fail with a message of no help.
    if getattr(detectron2, "__file__", None) is None:
        where = ", ".join(detectron2.__path__)
        raise _missing(f"the folder {where} has that name but is not the package")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
        importlib.import_module("detectron2.modeling")


def _missing(reason: str) -> MissingDetectron2Error:
    return MissingDetectron2Error(INSTALL_HINT.format(python=sys.executable, reason=reason), name="detectron2")


require_detectron2()
