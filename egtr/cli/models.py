"""List models by name; fetch, describe and remove released ones."""

import argparse
import json

from .checks import check_names
from .parsing import report_error

EXAMPLES = """
Fetched models lie in EGTR_HOME, else in egtr in XDG_CACHE_HOME, else in ~/.cache/egtr. EGTR_OFFLINE=1 forbids
downloads, EGTR_YES=1 agrees to all of them. Wherever a command takes --model, a name fetches its model, too.

examples:
  %(prog)s
  %(prog)s get vg150
  %(prog)s get oiv6 --names categories_dict.json
  %(prog)s get hf:USER/REPOSITORY
  %(prog)s get vg150 --file Downloads/egtr_vg.tar.gz
  %(prog)s info vg150
  %(prog)s remove vg150
  egtr demo photo.jpg --model vg150 --output output/graphs
  egtr train --config-file my.yaml MODEL.WEIGHTS egtr://models/vg150

Exit status: 0, or 1 if a model could not be fetched, or there is none of that name.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list all models (the same without an action)")
    get = actions.add_parser("get", help="download, verify and convert a model")
    get.add_argument("name", metavar="NAME", help="name in the list, or hf:USER/REPOSITORY")
    get.add_argument("--yes", action="store_true", help="do not ask")
    get.add_argument(
        "--names",
        nargs="+",
        default=[],
        metavar="FILE|LIST",
        help="names of its classes and predicates, as `egtr convert` takes them",
    )
    get.add_argument(
        "--file",
        nargs="+",
        default=[],
        metavar="FILE",
        help="what you have fetched in another way, such as in a browser; nothing is downloaded",
    )
    info = actions.add_parser("info", help="what a model knows, its licence and its metrics")
    info.add_argument("name", metavar="NAME", help="name in the list, or hf:USER/REPOSITORY")
    info.add_argument("--json", action="store_true", help="print the whole record as JSON")
    remove = actions.add_parser("remove", help="delete a fetched model")
    remove.add_argument("name", metavar="NAME", help="name in the list, or hf:USER/REPOSITORY")


def run(args: argparse.Namespace) -> int:
    {"get": get, "info": show_info, "remove": remove}.get(args.action, show_list)(args)
    return 0


def show_list(args: argparse.Namespace) -> None:
    from tabulate import tabulate

    from egtr.hub.catalogue import read_catalogue
    from egtr.hub.models import find_place, list_names, read_info
    from egtr.structures.errors import WeightsError

    rows = []
    for name in list_names():
        place, size = find_place(name)
        try:
            info = read_info(name)
        except WeightsError as error:
            # The others are listed all the same.
            report_error(args, error)
            rows.append([name, place, size, "its record is damaged", ""])
            continue
        classes, predicates = (len(names or ()) for names in (info.class_names, info.predicate_names))
        knows = [info.dataset or "", info.domain or "", f"{classes} classes" if classes else ""]
        knows += [f"{predicates} predicates" if predicates else ""]
        metrics = ", ".join(
            f"{key} {info.metrics[key]:.1f}" for key in ("R@50", "mR@50", "AP", "AP50") if info.metrics.get(key)
        )
        rows.append([name, place, size, ", ".join(filter(None, knows)), metrics])
    print(tabulate(rows, headers=["model", "where", "MB", "knows", "metrics in percent"], disable_numparse=True))
    if any(name in read_catalogue() and find_place(name)[0] == "to be fetched" for name in list_names()):
        print("\n`egtr models get NAME` fetches a model, and so does --model NAME of any command.")


def get(args: argparse.Namespace) -> None:
    check_names(args.names)
    from egtr.hub.models import get_model

    print(get_model(args.name, agreed=args.yes, names_files=args.names, local_files=args.file))


def show_info(args: argparse.Namespace) -> None:
    from egtr.hub.models import describe_source, find_place, read_info

    info = read_info(args.name)
    if args.json:
        print(json.dumps(info.to_dict(), ensure_ascii=False, indent=1))
        return
    place, size = find_place(args.name)
    lines = {
        "model": f"{args.name}: {info.description or 'without description'}",
        "here": f"{place}, {size} MB" if size else place,
        "dataset": info.dataset,
        "domain": info.domain,
        "licence": info.licence,
        "origin": info.origin,
        "metrics": ", ".join(f"{key} {value:g}" for key, value in info.metrics.items() if value is not None),
        "measured on": info.evaluated_on,
        "images": ", ".join(f"{key} {value}" for key, value in (info.preprocessing or {}).items()),
        **describe_source(args.name),
        "classes": ", ".join(info.class_names or ()) or "names not known",
        "predicates": ", ".join(info.predicate_names or ()) or "none, or names not known",
    }
    width = max(map(len, lines))
    for key, text in lines.items():
        if text:
            print(f"{key:{width}}  {text}")


def remove(args: argparse.Namespace) -> None:
    from egtr.hub.models import remove_model

    print(f"{args.name}: removed, {remove_model(args.name) / 1e6:,.0f} MB")
