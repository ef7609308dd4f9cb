"""How long from a slider's move to new numbers on the screen: JupyterLab, Chromium, the bundled model.

    python -m bench.sliders            # 30 moves; prints the median and the slowest

A notebook with the sliders of the Dallas graph is opened in a real JupyterLab. Each move is one mouse step on a slider
while the button is held; its time runs, in the page, from the slider's `input` event to the frame after the results
with a newer revision have been written. Needs Chromium and the `dev` extra. Prints what the model itself took, too.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "fact : the capital of the state containing Dallas is"
CELLS = [
    f"""import circuitlab as cl
model = cl.load()
graph = model.trace({PROMPT!r})
view = graph.view()
label = graph.nodes[graph.kind_mask("feature")].groupby("label")["id"].apply(list)
view.supernodes = {{"Texas": label["Texas"], "say a capital": label["say a capital"]}}
sliders = cl.InterventionSliders(model, graph, session=view.session)
sliders"""
]
WATCH = """() => {
    const host = [...document.querySelectorAll("*")].find(e => e.shadowRoot?.querySelector(".rows"));
    const root = host.shadowRoot.querySelector(".cl");
    window.times = [];
    let start = null;
    root.addEventListener("input", () => { start = performance.now(); }, true);
    new MutationObserver(() => {
        if (start === null) return;
        const began = start;
        start = null;
        requestAnimationFrame(() => {
            window.times.push([performance.now() - began, parseFloat(root.querySelector(".time").textContent)]);
        });
    }).observe(root, { attributes: true, attributeFilter: ["data-revision"] });
}"""


def measure(moves: int) -> list[tuple[float, float]]:
    """Milliseconds (from move to frame, of the model alone) of each move."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import find_chromium
    from lab import FLAGS, PATIENCE, run_all, start_lab, write_notebook
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        lab = start_lab(Path(home))
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", *FLAGS])
        try:
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(PATIENCE)
            write_notebook(lab.folder / "sliders.ipynb", CELLS)
            page.goto(lab.address("sliders.ipynb"))
            run_all(page)
            page.locator(".cl .tokens li").first.wait_for()
            page.wait_for_timeout(3000)
            box = page.locator('.cl .row[data-name="Texas"] .amount').bounding_box()
            assert box is not None
            page.evaluate(WATCH)
            left, width, y = box["x"] + 7, box["width"] - 14, box["y"] + box["height"] / 2
            page.mouse.move(left + 0.6 * width, y)
            page.mouse.down()
            for move in range(moves):
                done = page.evaluate("window.times.length")
                page.mouse.move(left + (0.6 - 0.5 * (move + 1) / moves) * width, y)
                page.wait_for_function(f"window.times.length > {done}")
            page.mouse.up()
            return [(total, model) for total, model in page.evaluate("window.times")]
        finally:
            browser.close()
            lab.stop()


def main(moves: int = 30) -> None:
    found = measure(moves)
    totals, models = zip(*found, strict=True)
    print(f"{len(found)} moves: median {statistics.median(totals):.0f} ms from move to new numbers on the screen")
    print(
        f"  fastest {min(totals):.0f} ms, slowest {max(totals):.0f} ms; "
        f"the model's share {statistics.median(models):.0f} ms"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
