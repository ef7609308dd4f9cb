"""The feature dashboard in a real JupyterLab, in a real Chromium: on atlas, linked to a graph."""

import pytest
from lab import eventually, value
from stores import small_store

SETUP = """import circuitlab as cl
model = cl.load()
prompt = "fact : the capital of the state containing Dallas is"
graph = model.trace(prompt, max_features=300)
view = graph.view()
dashboard = cl.FeatureDashboard(model.features, "L2/210", session=view.session)"""


@pytest.fixture
def shown(open_notebook):
    page = open_notebook([SETUP, "dashboard"])
    page.locator(".cl .example").first.wait_for()
    return page


def test_go_try_label_and_follow(shown):
    page = shown
    name = page.locator(".cl header code")
    assert name.inner_text() == "L2/210"
    assert page.locator(".cl .note").inner_text().startswith("Harvested from")
    shading = page.locator(".cl .tried .token.active")
    shading.first.wait_for()

    marked = page.locator(".cl .histogram .readout").first
    example = page.locator(".cl .example").first
    example.focus()
    peak = value(page, "'%.3g' % dashboard.evidence.largest")
    assert float(marked.inner_text()) == float(peak)
    page.keyboard.press("ArrowRight")
    assert marked.inner_text() == "0"
    page.keyboard.press("Enter")
    assert example.get_attribute("aria-expanded") == "true"
    marker = page.locator(".cl .histogram .marker").first
    page.locator(".cl .tried .token.active").first.hover()
    assert marker.get_attribute("visibility") == "visible"
    live = value(page, "'%.3g' % max(model.features.live(prompt, 2, 210).activations)")
    assert float(marked.inner_text()) == float(live)
    page.mouse.move(5, 5)
    assert marker.get_attribute("visibility") == "hidden"

    quantiles = value(page, "list(dict.fromkeys(e.quantile for e in dashboard.evidence.examples))")
    titles = page.locator(".cl .examples").evaluate_all("lists => lists.map(l => l.previousElementSibling.textContent)")
    assert len(quantiles) > 1
    assert len(titles) == len(quantiles)
    copies = value(page, "[e.copies for e in dashboard.evidence.examples]")
    folded = [text for text in page.locator(".cl .copies").all_inner_texts() if text]
    assert folded == [f"×{n}" for n in copies if n > 1]

    finder = page.get_by_label("Go to a feature")
    finder.fill("say a cap")
    page.locator(".cl .found [role=option]").first.wait_for()
    assert "say a capital" in page.locator(".cl .found [role=option]").first.inner_text()
    finder.press("ArrowDown")
    found = page.locator(".cl .found [aria-selected=true]").get_attribute("data-name")
    finder.press("Enter")
    eventually(page, "dashboard.feature", found)
    page.locator(".cl header code", has_text=found).wait_for()
    page.keyboard.press("Alt+ArrowLeft")
    eventually(page, "dashboard.feature", "L2/210")
    page.locator(".cl header code", has_text="L2/210").wait_for()

    row = page.locator(".cl .reads_from .row").first
    onward = row.get_attribute("data-feature")
    row.click()
    eventually(page, "dashboard.feature", onward)
    page.locator(".cl header code", has_text=onward).wait_for()
    page.keyboard.press("Alt+ArrowLeft")
    eventually(page, "dashboard.feature", "L2/210")

    box = page.locator(".cl textarea")
    box.fill("fact : the tree of the state containing Oakfield is")
    eventually(page, "dashboard.text", "fact : the tree of the state containing Oakfield is")
    page.locator(".cl .tried .text", has_text="field").wait_for()
    seen = "model.features.live(dashboard.text, 2, 210)"
    assert page.locator(".cl .tried .token").all_inner_texts() == value(page, f"list({seen}.tokens)")
    active = value(page, f"[i for i, a in enumerate({seen}.activations) if a > 0]")
    shaded = "spans => spans.flatMap((span, i) => span.classList.contains('active') ? [i] : [])"
    assert active
    assert page.locator(".cl .tried .token").evaluate_all(shaded) == active
    box.fill("fact : the qwertz")
    page.locator(".cl .tried .complaint", has_text="qwertz").wait_for()

    page.locator(".cl header h3").dblclick()
    page.locator(".cl .rename").fill("<b>city</b> of Texas")
    page.keyboard.press("Enter")
    eventually(page, "dashboard.labels.get('L2/210')", "<b>city</b> of Texas")
    assert page.locator(".cl header h3").inner_text() == "<b>city</b> of Texas"
    ids = value(page, "graph.nodes.query('layer == 2 and feature == 210 and kind == \"feature\"')['id'].tolist()")
    assert ids
    assert value(page, "list(view.labels)").count(ids[0]) == 1

    other = value(page, "graph.nodes.query('layer == 3 and kind == \"feature\"')['id'].tolist()[0]")
    value(page, f"setattr(view, 'clicked', {other!r})")
    eventually(page, "dashboard.feature", "L3/" + other.split("_")[1])
    page.locator(".cl header code", has_text="L3/" + other.split("_")[1]).wait_for()


def test_a_harvest_is_shown_without_a_model(open_notebook, tmp_path):
    folder = small_store(tmp_path / "store")
    page = open_notebook(
        [
            f'import circuitlab as cl\nstore = cl.Store({str(folder)!r})\nstore.label("L1/3", "<b>hares</b>")',
            'cl.FeatureDashboard(store, "L1/3")',
        ]
    )
    page.locator(".cl .example").first.wait_for()
    assert page.locator(".cl .example").count() == 4
    assert page.locator(".cl .note").inner_text() == "Harvested from some stories: 1,000 tokens."
    assert page.locator(".cl header h3").inner_text() == "<b>hares</b>"
    assert page.locator(".cl header .facts").inner_text().startswith("active on 3.0% of tokens")
    assert page.locator(".cl textarea").count() == 0
