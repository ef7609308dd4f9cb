"""The case studies' interventions over all variations of their prompts, with random matched features beside them.

    python -m bench.studies                 # all cases
    python -m bench.studies poems clinic    # some

One module per case, each with `rows(model)`: concepts are found on some prompts, what is free to choose is chosen on
others, and what is reported was looked at by neither. The notebooks of the same names show each case on a few prompts.
"""
