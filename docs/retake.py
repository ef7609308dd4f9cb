"""Takes the pictures of the graph that the README shows, from the bundled model: `python docs/retake.py`.

Writes dallas.png by `savefig`, and widget-graph-light.png and -dark.png from the interactive page in Chromium.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import circuitlab as cl

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
from browser import find_chromium  # noqa: E402

PROMPT = "fact : the capital of the state containing Dallas is"
GROUPS = {"Texas": ("Texas", "Texas city"), "say a capital ": ("say a capital",), "las ": ("las",)}


def main() -> None:
    graph = cl.load().trace(PROMPT, progress=False)
    graph.prune().savefig(HERE / "dallas.png")
    nodes = graph.prune().nodes
    features = nodes[nodes["kind"] == "feature"].sort_values("influence", ascending=False)
    groups = {name: features.loc[features["label"].isin(labels), "id"].tolist() for name, labels in GROUPS.items()}
    words = nodes[(nodes["kind"] == "token") & nodes["token"].str.strip().isin(["capital", "Dal", "las"])]
    view = graph.view(supernodes=groups, pinned=[*words["id"], graph.targets["id"].iloc[0]])
    clicked = graph.row(groups["Texas"][0])
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = view.graph.to_html(Path(folder) / "page.html")
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"])
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
        browser.close()


if __name__ == "__main__":
    main()
