"""The command line: a module for each command or pair of commands.

Exit codes: 0 done; 1 the request could not be carried out, with one line on standard error that says why; 2 the
command line itself was wrong; 130 interrupted. With --json, standard output is one JSON document and nothing else.
"""

from __future__ import annotations

import sys
import warnings

import click

from circuitlab import __version__
from circuitlab.cli.features import features, label
from circuitlab.cli.harvest import harvest, merge
from circuitlab.cli.info import info
from circuitlab.cli.intervene import intervene
from circuitlab.cli.trace import trace
from circuitlab.cli.train import train
from circuitlab.cli.transcoders import cache, convert, inspect
from circuitlab.cli.validate import validate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="circuitlab")
def main() -> None:
    """A microscope for language models: trace a prompt, train a transcoder, see what there is."""
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", category=DeprecationWarning)


for command in (trace, intervene, validate, train, harvest, merge, features, label, inspect, convert, cache, info):
    main.add_command(command)
