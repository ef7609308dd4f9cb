"""The attribution graph in a real JupyterLab, in a real Chromium."""

import pytest
from lab import ROOT, eventually, save, stop_kernel, value, wait_for_kernel, wait_for_lab

SETUP = f"""import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from graphs import closing_graph
graph = closing_graph(n_layers=4, n_pos=4, n_features=3)
view = graph.view(node_threshold=1.0, edge_threshold=1.0)
features = graph.nodes.loc[graph.kind_mask("feature"), "id"].tolist()"""


def node(page, node_id):
    """The middle of a node's mark, in pixels of the window."""
    row = value(page, f"graph.row({node_id!r})")
    box = page.locator(f'.cl .node-layer [data-row="{row}"] .mark').bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def settled(page):
    """Wait until the layout for this window has come."""
    page.locator(".cl .node-layer .node").first.wait_for(state="attached")
    eventually(page, "view._extent != [820, 520]", True)
    page.wait_for_function(
        """() => {
            const root = document.querySelector("[data-lm-suppress-shortcuts]").shadowRoot;
            const now = root.querySelector(".node-layer").innerHTML;
            const same = now === window.lastMarks;
            window.lastMarks = now;
            return same;
        }""",
        polling=700,
    )


@pytest.fixture
def shown(open_notebook):
    page = open_notebook([SETUP, "graph"], name="graph.ipynb")
    settled(page)
    return page


def test_click_label_group_drag_export_save_and_reopen(shown, lab, open_notebook):
    page = shown
    first, second, third, *_ = value(page, "features")
    page.mouse.click(*node(page, first))
    eventually(page, "view.clicked", first)
    assert page.locator(".cl .panel h3").inner_text() == value(page, f"graph.names[graph.row({first!r})]")

    page.get_by_label("Edit the label").click()
    page.locator(".cl .panel .rename").fill("<b>Texas</b>")
    page.keyboard.press("Enter")
    eventually(page, "view.labels", {first: "<b>Texas</b>"})
    assert page.locator(".cl .panel h3").inner_text() == "<b>Texas</b>"

    page.mouse.move(*node(page, second))
    page.locator(".cl .stage").focus()
    page.keyboard.down("g")
    page.mouse.click(*node(page, second))
    page.mouse.click(*node(page, third))
    page.keyboard.up("g")
    page.locator(".cl .subgraph .rename").fill("capital")
    page.keyboard.press("Enter")
    eventually(page, "view.supernodes", {"capital": [second, third]})

    box = page.locator(".cl .subgraph .unit", has_text="capital").bounding_box()
    page.mouse.move(box["x"] + 12, box["y"] + 12)
    page.mouse.down()
    page.mouse.move(box["x"] + 112, box["y"] + 32, steps=4)
    page.mouse.up()
    eventually(page, "list(view.positions)", ["capital"])

    before = page.locator(".cl .counts b").inner_text()
    slider = page.get_by_label("Nodes shown").bounding_box()
    page.mouse.move(slider["x"] + slider["width"] - 8, slider["y"] + slider["height"] / 2)
    page.mouse.down()
    page.mouse.move(slider["x"] + slider["width"] * 0.2, slider["y"] + slider["height"] / 2, steps=5)
    page.mouse.up()
    eventually(page, "view.node_threshold < 0.7", True)
    assert page.locator(".cl .counts b").inner_text() != before
    assert "below the node threshold" in page.locator(".cl .counts").inner_text()
    shown_now = value(page, "len(graph.prune(view.node_threshold, view.edge_threshold).nodes) - 1")
    page.locator(".cl .counts b", has_text=f"{shown_now} of ").wait_for()

    page.get_by_label("Undo").click()
    eventually(page, "view.node_threshold", 1.0)

    with page.expect_download() as download:
        page.get_by_label("Export").select_option("svg")
    value(page, "str(view.savefig('same.svg'))")
    assert download.value.path().read_bytes() == (lab.folder / "same.svg").read_bytes()

    save(page)
    stop_kernel(page)
    page.close()
    again = open_notebook([], name="graph.ipynb", run=False)
    wait_for_lab(again)
    wait_for_kernel(again)
    assert value(again, "'graph' in globals()") is False, "this kernel has run nothing: the notebook shows what it kept"
    again.locator(".cl .node-layer .node").first.wait_for(state="attached")
    assert again.locator(".cl .panel h3").inner_text() == "<b>Texas</b>"
    assert again.locator(".cl .subgraph .unit-name").inner_text() == "capital"


def test_python_moves_the_browser_and_the_keyboard_moves_python(shown):
    page = shown
    last = value(page, "graph.targets.id.iloc[0]")
    value(page, f"setattr(view, 'clicked', {last!r})")
    page.locator(".cl .panel h3", has_text=value(page, f"graph.names[graph.row({last!r})]")).wait_for()
    page.locator(".cl .stage").focus()
    page.keyboard.press("ArrowDown")
    eventually(page, "view.clicked", value(page, f"graph.inputs({last!r})['id'][lambda i: i != 'constant'].iloc[0]"))
    page.keyboard.press("p")
    eventually(page, "view.pinned == [view.clicked]", True)
    page.keyboard.press("Escape")
    eventually(page, "view.clicked", None)
    page.get_by_label("Search by label").fill("layer:3 kind:feature")
    found = str(value(page, "sum(i.startswith('3_') for i in features)"))
    assert page.locator(".cl output.found").inner_text() == found
    theme = "window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    page.evaluate(theme)
    page.locator('.cl[data-theme="dark"]').wait_for()
    page.evaluate(theme.replace("Dark", "Light"))
    page.locator('.cl[data-theme="light"]').wait_for()


def test_what_goes_wrong_in_the_kernel_is_said_in_the_widget(shown):
    page = shown
    value(page, "setattr(view, '_on_export', lambda content: 1 / 0)")
    page.get_by_label("Export").select_option("svg")
    page.locator(".cl .status", has_text="Not exported: division by zero").wait_for()
    stop_kernel(page)
    page.mouse.click(*page.evaluate(CENTRE_OF_A_NODE))
    page.locator(".cl .status", has_text="kernel").wait_for()


CENTRE_OF_A_NODE = """() => {
    const root = document.querySelector("[data-lm-suppress-shortcuts]").shadowRoot;
    const box = root.querySelector(".node-layer .node.feature .mark").getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}"""
