"""The case studies' interventions over all variations of their prompts, with random matched features beside them.

    python -m bench.studies                    # all cases
    python -m bench.studies poems diagnosis    # some

One module per case, each with `rows(model)`: concepts are found on some prompts, what is free to choose is chosen on
others, and a third set is reported; each module says which, and where it differs: a swapped word of `languages`, a
person turned down in `recall` or put in in `names`, and the recipes recalled in `hidden_goals` are found on other
prompts of that same word, person or dish. "Off" often means below zero: the strength stands in the row's note.

Random features are drawn from the same places, none of them a node of any concept of the case. The notebooks of the
same names show each case on a few prompts.
"""
