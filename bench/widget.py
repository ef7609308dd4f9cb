"""How fast the attribution graph opens and moves in a real JupyterLab, and how many bytes travel:

    python -m bench.widget

The real graphs are those of ../shared/data/graphs (or --graphs FOLDER); the large one is made here: 10,000 nodes,
100,000 edges, once pruned as usual, once all of it shown. "Open" is from
running the cell `graph` to the first node drawn and hit by the pointer, kernel included. Frames are the browser's own
(requestAnimationFrame) while the pointer moves over nodes, and while it drags the drawing; Chromium draws in software.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

LARGE = """
def large_graph(n_nodes=10_000, n_edges=100_000, n_pos=40, n_layers=20, seed=0):
    rng = np.random.default_rng(seed)
    n_logits = 10
    n_features = n_nodes - n_pos - n_logits
    layer = np.sort(rng.integers(0, n_layers, n_features))
    pos = rng.integers(0, n_pos, n_features)
    tokens = [{"id": f"E_{p}_{p}", "kind": "token", "pos": p, "token": f"word{p}"} for p in range(n_pos)]
    features = [
        {"id": f"{a}_{i}_{p}", "kind": "feature", "layer": a, "pos": p, "feature": i, "activation": 1.0}
        for i, (a, p) in enumerate(zip(layer.tolist(), pos.tolist()))
    ]
    logits = [
        {"id": f"{n_layers}_{v}_{n_pos - 1}", "kind": "logit", "pos": n_pos - 1, "token": f"answer{v}",
         "probability": 0.09} for v in range(n_logits)
    ]
    first_of_layer = n_pos + np.searchsorted(layer, np.arange(n_layers + 1))
    target = rng.integers(n_pos, n_nodes, 2 * n_edges)
    level = np.where(target < n_pos + n_features, np.append(layer, [0] * n_logits)[target - n_pos], n_layers)
    source = (rng.random(len(target)) * first_of_layer[level]).astype(np.int64)
    pairs = np.unique(np.stack([target, source]), axis=1)
    pairs = pairs[:, rng.permutation(pairs.shape[1])[:n_edges]]
    weight = rng.normal(size=pairs.shape[1]) * rng.exponential(size=pairs.shape[1])
    links = cl.graph.Links.from_pairs(pairs[0], pairs[1], weight.astype(np.float32), n_nodes)
    names = tuple(f"word{p}" for p in range(n_pos))
    return cl.Graph("a long prompt", names, pd.DataFrame(tokens + features + logits), links)
"""

FRAMES = """() => {
    window.frames = [];
    let last = performance.now();
    window.watching = true;
    const step = now => {
        window.frames.push(now - last);
        last = now;
        if (window.watching) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
}"""
OPEN = """async () => {
    const start = performance.now();
    const root = () => [...document.querySelectorAll("[data-lm-suppress-shortcuts]")].map(e => e.shadowRoot)
        .find(r => r && r.querySelector(".node-layer .node"));
    window.jupyterapp.commands.execute("notebook:run-cell");
    while (!root()) await new Promise(requestAnimationFrame);
    const stage = root().querySelector(".stage");
    const box = root().querySelector(".node-layer .node.feature .mark").getBoundingClientRect();
    const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true };
    stage.dispatchEvent(new PointerEvent("pointermove", at));
    while (root().querySelector(".tip").hidden) await new Promise(requestAnimationFrame);
    return performance.now() - start;
}"""


def frames(page, act) -> np.ndarray:
    """Milliseconds between frames while `act` runs."""
    page.evaluate(FRAMES)
    act()
    return np.array(page.evaluate("window.watching = false, window.frames.slice(2)"))


def move_over(page, box, steps: int) -> None:
    rng = np.random.default_rng(1)
    for _ in range(steps):
        x, y = rng.random(2)
        page.mouse.move(
            box["x"] + box["width"] * (0.05 + 0.9 * x), box["y"] + box["height"] * (0.05 + 0.9 * y), steps=4
        )


def drag(page, box) -> None:
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for turn in np.linspace(0, 4 * np.pi, 80):
        page.mouse.move(x + 150 * np.sin(turn), y + 60 * np.sin(2 * turn))
    page.mouse.up()


def measure(page, name: str) -> None:
    from lab import value

    opened = page.evaluate(OPEN)
    page.wait_for_timeout(3000)
    box = page.locator(".cl .stage").bounding_box()
    sizes = value(
        page, "sum(len(getattr(graph.view(), n)) for n in ('_nodes','_edges','_placed','_strings','_placed_strings'))"
    )
    hover = frames(page, lambda: move_over(page, box, 40))
    moved = frames(page, lambda: drag(page, box))
    shown = page.locator(".cl .counts b").inner_text()
    print(
        f"{name}: {shown}\n  open {opened:.0f} ms; median frame hovering {np.median(hover):.1f} ms "
        f"(95%: {np.quantile(hover, 0.95):.0f}), dragging {np.median(moved):.1f} ms "
        f"(95%: {np.quantile(moved, 0.95):.0f}); {sizes / 1e6:.2f} MB from kernel to browser",
        flush=True,
    )


def main() -> None:
    from browser import find_chromium
    from lab import FLAGS, run_all, start_lab, value, write_notebook
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=Path, default=ROOT.parent / "shared" / "data" / "graphs")
    folder = parser.parse_args().graphs
    setup = "import numpy as np, pandas as pd, circuitlab as cl, circuitlab.widgets.attribution_graph\n"
    notebooks = {path.stem: f"graph = cl.Graph.open({str(path)!r})" for path in sorted(folder.glob("*.json"))}
    large = f"{LARGE}\ngraph = large_graph()"
    notebooks["10,000 nodes, 100,000 edges"] = large
    notebooks["the same, all shown"] = f"{large}\nview = graph.view(node_threshold=1.0, edge_threshold=1.0)"
    for bundle in sorted((ROOT / "circuitlab" / "static").glob("*.js")):
        print(f"{bundle.name}: {bundle.stat().st_size / 1000:.0f} kB")
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        lab = start_lab(Path(home) / "lab")
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", *FLAGS])
        try:
            for number, (name, code) in enumerate(notebooks.items()):
                write_notebook(lab.folder / f"{number}.ipynb", [setup + code, "None"])
                page = browser.new_page(viewport={"width": 1500, "height": 1000})
                page.set_default_timeout(120_000)
                page.goto(lab.address(f"{number}.ipynb"))
                run_all(page)
                value(page, "len(graph.nodes)")
                page.evaluate(
                    "window.jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.setSource('graph')"
                )
                measure(page, name)
                page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
                page.close()
        finally:
            browser.close()
            lab.stop()


if __name__ == "__main__":
    main()
