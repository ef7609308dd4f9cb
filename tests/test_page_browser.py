"""The page of a graph in a real Chromium: offline, quiet, and alive under pointer and keyboard."""

import re

import pytest
from graphs import closing_graph
from test_page import HOSTILE, hostile_graph

from circuitlab.page import write_page


@pytest.fixture
def visit(chromium, tmp_path):
    """Opens a graph's page, offline; afterwards nothing was requested and nothing was complained about."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    requests, complaints = [], []
    context.on("request", lambda request: requests.append(request.url))
    context.on("console", lambda message: complaints.append(message.text))
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.set_default_timeout(30_000)

    def open_page(graph, **options):
        path = write_page(graph, tmp_path / "graph.html", **options)
        view = context.new_page()
        view.goto(path.as_uri())
        return view

    yield open_page
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    context.close()


@pytest.fixture
def opened(visit):
    graph = closing_graph(n_layers=4, n_pos=4, n_features=4)
    return graph, visit(graph, nodes=1.0, edges=1.0)


def column(view, table: str, title: str) -> list[str]:
    titles = view.locator(f"#{table}-table th").all_inner_texts()
    number = [text.strip() for text in titles].index(title) + 1
    return view.locator(f"#{table}-table tbody td:nth-child({number})").all_inner_texts()


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace("−", "-")) for text in texts if text.strip()]


def test_tables_show_the_graph_sorted(opened):
    graph, view = opened
    assert view.locator("#node-table .found").inner_text() == f"{len(graph.nodes)} nodes"
    sizes = numbers(column(view, "edge", "Size"))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(abs(graph.links.weight).max(), rel=1e-2)


def test_a_heading_sorts_and_sorts_back(opened):
    _, view = opened
    button = view.locator("#node-table").get_by_role("button", name="Activation", exact=True)
    heading = button.locator("..")
    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    falling = numbers(column(view, "node", "Activation"))
    button.click()
    rising = numbers(column(view, "node", "Activation"))
    assert len(falling) > 2
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(rising)


def test_filters_narrow_and_say_so(opened):
    graph, view = opened
    view.get_by_label("Filter nodes by text").fill("t2")
    at_two = int((graph.nodes["pos"] == 2).sum())
    assert view.locator("#node-table .found").inner_text() == f"{at_two} of {len(graph.nodes)} nodes"
    view.locator("#node-table").get_by_label("Kind").select_option("error")
    assert set(column(view, "node", "Kind")) == {"error"}
    view.get_by_label("Filter nodes by text").fill("no such node")
    assert "No node matches" in view.locator("#node-table tbody").inner_text()


def test_pages_turn(opened):
    _, view = opened
    first = column(view, "edge", "Size")
    view.locator("#edge-table").get_by_label("Next page").click()
    second = numbers(column(view, "edge", "Size"))
    assert second[0] <= numbers(first)[-1]
    view.locator("#edge-table").get_by_label("Previous page").click()
    assert column(view, "edge", "Size") == first


def test_a_row_lights_up_its_node_with_neighbours(opened):
    graph, view = opened
    view.locator("#node-table th", has_text="Node").get_by_role("button").click()
    line = view.locator("#node-table tbody tr").first
    line.hover()
    row = int(line.get_attribute("data-row"))
    lit = view.locator("svg.figure .node.lit").evaluate_all("marks => marks.map(mark => +mark.dataset.row)")
    links, ends = graph.links, graph.links.targets()
    near = {row, *links.source[ends == row].tolist(), *ends[links.source == row].tolist()}
    constants = set(range(int(graph.kind_mask("constant").sum())))
    assert set(lit) == near - constants


def test_a_node_in_the_figure_is_pinned_and_marked_in_its_table(opened):
    graph, view = opened
    row = int(graph.kind_mask("feature").nonzero()[0][-1])
    view.locator(f'svg.figure [data-row="{row}"] .mark').click()
    assert view.locator("#details h3").inner_text() == graph.names[row]
    assert view.locator(f'#node-table tr[data-row="{row}"]').get_attribute("class") == "marked"
    inputs = graph.inputs(graph.nodes["id"].iloc[row])
    assert view.locator("#details li .name").first.inner_text() == inputs["name"].iloc[0]
    view.keyboard.press("Escape")
    assert view.locator("#details h3").count() == 0


def test_a_path_lights_up(opened):
    _, view = opened
    path = view.locator("[data-path]").first
    path.hover()
    rows = sorted(map(int, path.get_attribute("data-path").split()))
    lit = view.locator("svg.figure .node.lit").evaluate_all("marks => marks.map(mark => +mark.dataset.row)")
    assert sorted(lit) == rows


def test_the_keyboard_reaches_the_figure_and_the_tables(opened):
    _, view = opened
    view.locator('svg.figure [tabindex="0"]').focus()
    before = view.evaluate("document.activeElement.dataset.row")
    view.keyboard.press("ArrowDown")
    after = view.evaluate("document.activeElement.dataset.row")
    assert after != before
    view.keyboard.press("Enter")
    assert view.locator("svg.figure .pinned").get_attribute("data-row") == after
    view.locator('#node-table tbody [tabindex="0"]').focus()
    view.keyboard.press("ArrowDown")
    view.keyboard.press("Enter")
    assert view.locator("svg.figure .pinned").get_attribute("data-row") == view.evaluate(
        "document.activeElement.dataset.row"
    )


def test_the_theme_follows_the_system_until_it_is_chosen(opened):
    _, view = opened

    def background():
        return view.evaluate("getComputedStyle(document.documentElement).backgroundColor")

    light = background()
    view.emulate_media(color_scheme="dark")
    dark = background()
    view.get_by_label("Switch to the light theme").click()
    assert dark != light
    assert background() == light
    view.reload()
    assert background() == light


def test_strangers_labels_stay_text(visit):
    view = visit(hostile_graph(), nodes=1.0, edges=1.0)
    view.locator("svg.figure .node").last.hover()
    view.locator("svg.figure .node").last.click()
    assert view.locator("img").count() == 0
    assert view.locator("script").count() == 2
    shown = view.locator("#node-table tbody").inner_text()
    assert "<img src=x" in shown
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", view.content())
    assert HOSTILE not in view.content()


def test_thousands_of_rows_stay_fluid(visit):
    graph = closing_graph(n_layers=8, n_pos=10, n_features=6, n_logits=4, density=0.3)
    view = visit(graph, nodes=1.0, edges=1.0)
    assert len(graph.links) > 5000
    assert view.locator("#edge-table tbody tr").count() == 20
    spent = view.evaluate(
        """() => {
          const start = performance.now();
          const box = document.querySelector("#edge-table input");
          box.value = "t3";
          box.dispatchEvent(new Event("input"));
          return performance.now() - start;
        }"""
    )
    assert spent < 1000
