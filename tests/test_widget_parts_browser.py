"""Density, full screen, undo, narrow cells and large graphs in a real JupyterLab."""

import pytest
from lab import ROOT, eventually, value
from test_widget_browser import SETUP, node, settled

DENSE = f"""{SETUP.rsplit("view =", 1)[0]}
import dataclasses
rows = graph.nodes[graph.kind_mask("feature")]
names = sorted(set("L" + rows.layer.astype(str) + "/" + rows.feature.astype(str)))
known = dict(zip(names, [0.001, 0.01, 0.1, 0.9] * len(names)))
graph = dataclasses.replace(graph, metadata={{**graph.metadata, "densities": known}})
view = graph.view(node_threshold=1.0, edge_threshold=1.0)
features = rows.id.tolist()
dense = sum(known["L" + str(a) + "/" + str(i)] > 0.05 for a, i in zip(rows.layer, rows.feature))"""


@pytest.fixture
def dense(open_notebook):
    page = open_notebook([DENSE, "graph"])
    settled(page)
    return page


def test_density_undo_full_screen_and_narrow_cells(dense):
    page = dense
    hide_dense_features(page)
    take_back_pins_and_labels_one_by_one(page)
    reach_every_control_at_any_width(page)
    fill_the_screen_and_come_back(page)


def hide_dense_features(page):
    slider = page.get_by_label("Density shown")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.37, box["y"] + box["height"] / 2)
    eventually(page, "0.02 < view.density_threshold < 0.09", True)
    hidden = value(page, "dense")
    page.locator(".cl .counts", has_text=f"{hidden} features too dense").wait_for()
    page.keyboard.press("Control+z")
    eventually(page, "view.density_threshold", 1.0)
    page.locator(".cl .counts", has_text="too dense").wait_for(state="detached")
    page.get_by_label("Redo").click()
    eventually(page, "view.density_threshold < 0.09", True)
    page.get_by_label("Undo").click()
    eventually(page, "view.density_threshold", 1.0)
    assert page.get_by_label("Undo").is_disabled()


def take_back_pins_and_labels_one_by_one(page):
    first = value(page, "features[0]")
    page.mouse.click(*node(page, first))
    eventually(page, "view.clicked", first)
    page.keyboard.press("p")
    page.get_by_label("Edit the label").click()
    page.locator(".cl .panel .rename").fill("Texas")
    page.keyboard.press("Enter")
    eventually(page, "[list(view.pinned), view.labels]", [[first], {first: "Texas"}])
    page.locator(".cl .stage").focus()
    page.keyboard.press("Control+z")
    eventually(page, "[list(view.pinned), view.labels]", [[first], {}])
    page.keyboard.press("Control+z")
    eventually(page, "[list(view.pinned), view.labels]", [[], {}])
    page.keyboard.press("Control+Shift+Z")
    eventually(page, "list(view.pinned)", [first])


def fill_the_screen_and_come_back(page):
    before = page.locator(".cl .stage").bounding_box()
    page.get_by_label("Full screen").click()
    page.wait_for_function("document.fullscreenElement !== null")
    eventually(page, f"view._extent[0] > {before['width'] + 100}", True)
    window = page.evaluate("[innerWidth, innerHeight]")
    box = page.locator(".cl[data-theme]").bounding_box()
    assert [box["width"], box["height"]] == window
    page.keyboard.press("Escape")
    page.evaluate("document.fullscreenElement && document.exitFullscreen()")
    page.wait_for_function("document.fullscreenElement === null")
    eventually(page, f"abs(view._extent[0] - {before['width']}) < 60", True)


CLIPPED = """() => {
    const root = document.querySelector("[data-lm-suppress-shortcuts]").shadowRoot;
    const bar = root.querySelector(".toolbar").getBoundingClientRect();
    const inside = box => box.left >= bar.left && box.right <= bar.right + 0.5 && box.bottom <= bar.bottom;
    const controls = [...root.querySelectorAll(".toolbar button, .toolbar input, .toolbar select")];
    const named = controls.map(e => [e.ariaLabel || e.textContent, e.getBoundingClientRect()]);
    const seen = named.filter(([, box]) => box.width);
    const beside = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1;
    const overlap = (a, b) => !beside(a, b) && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    return {
        outside: seen.filter(([, box]) => !inside(box)).map(([name]) => name),
        overlapping: seen.filter(([, a]) => seen.some(([, b]) => a !== b && overlap(a, b))).map(([name]) => name),
        controls: seen.length,
        stage: root.querySelector(".stage").getBoundingClientRect().width,
        panel: root.querySelector(".panel").getBoundingClientRect().top,
        foot: root.querySelector(".stage").getBoundingClientRect().bottom,
        width: bar.width,
    };
}"""


def reach_every_control_at_any_width(page):
    cell = """width => {
        const host = document.querySelector("[data-lm-suppress-shortcuts]");
        host.style.width = `${width}px`;
    }"""
    for width in (420, 500, 600, 700, 760, 900, 1010, 1100, 1200, 1400, 1600):
        page.evaluate(cell, width)
        page.wait_for_timeout(120)
        seen = page.evaluate(CLIPPED)
        assert abs(seen["width"] - width) < 4
        assert (seen["outside"], seen["overlapping"]) == ([], []), f"at {width} px"
        assert seen["controls"] >= 9
        assert seen["stage"] > 0.6 * width
        assert (seen["panel"] >= seen["foot"] - 1) == (width <= 760)
    page.evaluate(cell.replace("`${width}px`", "''"), 0)


LARGE = f"""import sys
sys.path.insert(0, {str(ROOT)!r})
from bench.widget import LARGE
import numpy as np, pandas as pd, circuitlab as cl, circuitlab.graph
exec(LARGE)
graph = large_graph(2000, 6000)
view = graph.view(node_threshold=1.0, edge_threshold=1.0)"""
DOTS = """() => {
    const root = document.querySelector("[data-lm-suppress-shortcuts]").shadowRoot;
    const canvas = root.querySelector(".dots canvas");
    if (!canvas || !canvas.width) return 0;
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.reduce((sum, value, at) => sum + (at % 4 === 3 && value > 128), 0);
}"""


def test_thousands_of_nodes_are_drawn_on_canvas_and_can_be_pointed_at(open_notebook):
    page = open_notebook([LARGE, "graph"])
    page.locator(".cl .node-layer .node").first.wait_for(state="attached")
    page.wait_for_function(f"({DOTS})() > 5000")
    assert page.get_by_label("Density shown").count() == 0, "nothing is known of densities"
    assert page.locator(".cl .node-layer .node").count() < 900
    plain = "next(i for i in graph.nodes.id[graph.kind_mask('feature')])"
    value(page, f"setattr(view, 'clicked', {plain})")
    ring = page.locator(".cl .ring.clicked")
    ring.wait_for(state="attached")
    box = page.locator(".cl .stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + 40, steps=3)
    page.mouse.up()
    page.wait_for_function(f"({DOTS})() > 1000")
    at = ring.bounding_box()
    page.keyboard.press("Escape")
    page.mouse.click(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    eventually(page, f"view.clicked == {plain}", True)
