"""Everyone may use, change and sell the packages that `pip install egtr` brings along."""

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

# In the words of the packages: SPDX names, classifiers, or the first line of a text.
PERMISSIVE = re.compile(
    r"\b(MIT|(Free)?BSD|Apache|PSF|Python Software Foundation|ISC|HPND|CMU|MPL|Mozilla|Zlib|Unlicense)", re.I
)
FORBIDDEN = re.compile(r"\b(A?GPL|GNU (Affero )?General Public|SSPL|non-?commercial|CC-BY-NC|proprietary|EULA)", re.I)


def runtime_packages() -> list[str]:
    """List all installed packages that egtr needs, directly or not, but CUDA's, which are NVIDIA's own."""
    found, waiting = set(), ["egtr"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found or name.startswith(("nvidia-", "cuda-")):
            continue
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform
            continue
        found.add(name)
        for requirement in map(Requirement, needed):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return sorted(found - {"egtr"})


def license_of(name: str) -> str:
    about = metadata.metadata(name)
    classifiers = [c for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    stated = [about.get("License-Expression") or "", (about.get("License") or "").split("\n")[0]]
    return " / ".join(filter(None, [*stated, *classifiers])) or _title_of_license_file(name)


def _title_of_license_file(name: str) -> str:
    """Read the first line of the license file, for a package whose metadata does not name its license."""
    files = [path for path in metadata.files(name) or () if path.name.upper().startswith(("LICENSE", "COPYING"))]
    return files[0].read_text().strip().split("\n")[0] if files else ""


@pytest.mark.parametrize("name", runtime_packages())
def test_license(name):
    found = license_of(name)
    assert PERMISSIVE.search(found), f"{name}: unknown license {found!r}"
    assert not FORBIDDEN.search(re.sub(r"LGPL", "", found)), f"{name}: license {found!r}"
