"""The list of all keys."""

from egtr.config import get_egtr_cfg
from egtr.config.keys import read_keys


def leaves(cfg, prefix=""):
    for key, value in cfg.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [prefix + key]


def test_the_list_has_all_keys():
    assert read_keys() == sorted(leaves(get_egtr_cfg()))
