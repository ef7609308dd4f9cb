"""Takes the pictures that the README shows, from the bundled model: `python docs/retake.py`.

Writes dallas.png by `savefig`, the graph from its interactive page, and dashboard and sliders from a JupyterLab; all
but the first in Chromium, light and dark.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

import circuitlab as cl

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
from browser import find_chromium  # noqa: E402
from lab import PATIENCE, eventually, run_all, start_lab, write_notebook  # noqa: E402

PROMPT = "fact : the capital of the state containing Dallas is"
GROUPS = {"Texas": ("Texas", "Texas (?)"), "say a capital ": ("say a capital", "say a capital (?)")}
CELLS = {
    "sliders": f"""import circuitlab as cl
model = cl.load()
graph = model.trace({PROMPT!r}, progress=False)
features = graph.nodes[graph.kind_mask("feature")]
view = graph.view()
view.supernodes = {{
    name.strip(): features.loc[features["label"].isin(labels), "id"].tolist()
    for name, labels in {GROUPS!r}.items()
}}
sliders = cl.InterventionSliders(model, graph, session=view.session, height=560)
sliders.factors = {{"Texas": -1.0, "say a capital": 1.5}}
sliders""",
    "dashboard": """board = cl.FeatureDashboard(model.features, "L2/210", session=view.session, height=740)
board""",
}
SETTLED = "sliders.wait(60) and not sliders.result['pending']"


def take_graph(browser: Browser, graph: cl.Graph) -> None:
    """The graph with three groups, one of their nodes clicked."""
    nodes = graph.prune().nodes
    features = nodes[nodes["kind"] == "feature"].sort_values("influence", ascending=False)
    groups = {name: features.loc[features["label"].isin(labels), "id"].tolist() for name, labels in GROUPS.items()}
    words = nodes[(nodes["kind"] == "token") & nodes["token"].str.strip().isin(["capital", "Dal", "las"])]
    view = graph.view(supernodes=groups, pinned=[*words["id"], graph.targets["id"].iloc[0]])
    clicked = graph.row(groups["Texas"][0])
    with tempfile.TemporaryDirectory() as folder:
        page_file = view.graph.to_html(Path(folder) / "page.html")
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1300, "height": 1300}, color_scheme=scheme)
            page.goto(page_file.as_uri())
            mark = page.locator(f'#graph-widget .node-layer [data-row="{clicked}"] .mark')
            mark.wait_for(state="attached")
            box = mark.bounding_box()
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            page.mouse.move(5, 5)
            page.wait_for_timeout(900)
            page.locator("#graph-widget").screenshot(path=HERE / f"widget-graph-{scheme}.png")


def take_cells(browser: Browser) -> None:
    """The widget of each cell in a notebook, in both of Jupyter's themes."""
    with tempfile.TemporaryDirectory() as folder:
        lab = start_lab(Path(folder))
        try:
            write_notebook(lab.folder / "pictures.ipynb", list(CELLS.values()))
            page = browser.new_page(viewport={"width": 1500, "height": 1300})
            page.goto(lab.address("pictures.ipynb"))
            run_all(page)
            page.locator(".cl .examples").first.wait_for(timeout=PATIENCE)
            eventually(page, SETTLED, True, seconds=90)
            for theme in ("light", "dark"):
                change = "name => window.jupyterapp.commands.execute('apputils:change-theme', { theme: name })"
                page.evaluate(change, f"JupyterLab {theme.title()}")
                page.wait_for_timeout(2500)
                for at, name in enumerate(CELLS):
                    widget = page.locator(".jp-OutputArea .cl").nth(at)
                    widget.scroll_into_view_if_needed()
                    page.mouse.move(5, 5)
                    page.wait_for_timeout(600)
                    widget.screenshot(path=HERE / f"widget-{name}-{theme}.png")
        finally:
            lab.stop()


def main() -> None:
    graph = cl.load().trace(PROMPT, progress=False)
    graph.prune().savefig(HERE / "dallas.png")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"])
        take_graph(browser, graph)
        take_cells(browser)
        browser.close()


if __name__ == "__main__":
    main()
