"""The attribution graph in a real JupyterLab, in a real Chromium."""

import pytest
from lab import ROOT, eventually, value

SETUP = f"""import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from graphs import closing_graph
graph = closing_graph(n_layers=4, n_pos=4, n_features=3)
view = graph.view()"""


def node(page, node_id):
    """The middle of a node's mark, in pixels of the window."""
    row = value(page, f"graph.row({node_id!r})")
    box = page.locator(f'.cl .node-layer [data-row="{row}"] .mark').bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def features(page):
    return value(page, "graph.nodes.loc[graph.kind_mask('feature'), 'id'].tolist()")


@pytest.fixture
def shown(open_notebook):
    page = open_notebook([SETUP, "view.node_threshold = view.edge_threshold = 1.0; graph"])
    page.locator(".cl .node-layer .node").first.wait_for(state="attached")
    eventually(page, "view._extent != [820, 520]", True)
    return page


def test_click_group_drag_export_save_and_reopen(shown, lab):
    page = shown
    first, second, third, *_ = features(page)
    page.mouse.click(*node(page, first))
    eventually(page, "view.clicked", first)
    assert page.locator(".cl .panel h3").inner_text() == value(page, f"graph.names[graph.row({first!r})]")

    page.keyboard.down("g")
    page.mouse.click(*node(page, second))
    page.mouse.click(*node(page, third))
    page.keyboard.up("g")
    page.locator(".cl .subgraph .rename").fill("capital")
    page.keyboard.press("Enter")
    eventually(page, "view.supernodes", {"capital": [second, third]})
