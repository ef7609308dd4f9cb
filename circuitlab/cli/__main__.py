"""`python -m circuitlab.cli`."""

from circuitlab.cli import main

main(prog_name="circuitlab")
