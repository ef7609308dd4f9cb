"""`python -m bench.studies`: print the rows of the case studies named, of all by default."""

import argparse
import pkgutil
from importlib import import_module

import torch

import bench.studies
import circuitlab as cl

CASES = sorted(found.name for found in pkgutil.iter_modules(bench.studies.__path__) if found.name[0] != "_")
CASES.remove("table")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    given = parser.parse_args()
    unknown = set(given.cases) - set(CASES)
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))}: choose of {', '.join(CASES)}")
    torch.manual_seed(0)
    model = cl.load(device="cpu")
    for case in given.cases or CASES:
        for row in import_module(f"bench.studies.{case}").rows(model):
            print(row, flush=True)


if __name__ == "__main__":
    main()
