"""Intervention sliders: what the model says, while nodes of its graph are turned up and down.

    session = graph.view().session
    sliders = cl.InterventionSliders(model, graph, session=session)
    sliders.factors = {"Texas": -1.0}                # or drag it; 0 ablates
    sliders.result, sliders.code, sliders.run()      # what came of it, how to say it in Python, the run itself

rows.py says what a row stands for, request.py what is asked of the model, newest.py runs the newest request only,
report.py takes from a run what is shown, widget.py holds the state. The model is an object with `intervene`.
"""
