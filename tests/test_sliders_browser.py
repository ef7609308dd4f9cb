"""The sliders in a real JupyterLab, in a real Chromium: drag one, and the numbers change."""

import pytest
from lab import eventually, value

SETUP = """import circuitlab as cl
model = cl.load()
graph = model.trace("fact : the capital of the state containing Dallas is")
view = graph.view(node_threshold=1.0, edge_threshold=1.0)
label = graph.nodes[graph.kind_mask("feature")].groupby("label")["id"].apply(list)
view.supernodes = {"Texas": label["Texas"] + label["Texas (?)"], "say a capital": label["say a capital"]}
sliders = cl.InterventionSliders(model, graph, session=view.session)
def again():
    made = {}
    exec(sliders.code, made)
    return made["run"].top_tokens(8)["after"].tolist()"""
DONE = "sliders.result['revision'] == sliders._revision and not sliders.result['pending']"
SAME = "[abs(a - t['after']) < 1e-4 for a, t in zip(again(), sliders.result['tokens'])] == [True] * 8"


def slider_at(page, row, factor):
    """The place of a factor on a row's slider, in pixels of the window."""
    slider = page.locator(f'.cl .row[data-name="{row}"] .amount')
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    return box["x"] + 7 + (box["width"] - 14) * (factor + 5) / 10, box["y"] + box["height"] / 2


def drag(page, row, start, end, steps=20):
    page.mouse.move(*slider_at(page, row, start))
    page.mouse.down()
    for step in range(1, steps + 1):
        page.mouse.move(*slider_at(page, row, start + (end - start) * step / steps))
    page.mouse.up()


@pytest.fixture
def shown(open_notebook):
    page = open_notebook([SETUP, "sliders", "view"])
    page.locator(".cl .tokens li").first.wait_for()
    eventually(page, "sliders.result.get('continuation', {}).get('before')", " Austin .<eos>")
    return page


def test_dragging_a_slider_changes_the_numbers(shown):
    page = shown
    first = page.locator(".cl .tokens li").first
    assert first.locator(".after.number").inner_text() == ">99.9%"
    drag(page, "Texas", 1, -1)
    eventually(page, "sliders.factors", {"Texas": -1.0})
    eventually(page, "view.session.interventions", {"Texas": -1.0})
    eventually(page, DONE, True)
    tokens = value(page, "sliders.result['tokens']")
    assert tokens[0]["before"] > 0.99
    assert tokens[0]["after"] < 0.5
    shown_names = page.locator(".cl .tokens .token").all_inner_texts()
    assert shown_names == [token["token"].strip() for token in tokens]
    assert page.locator(".cl q.after").inner_text().split()[0] == tokens[1]["token"].strip()
    assert value(page, "view.session.changed['Texas']") == -1.0
    assert value(page, SAME)
    badge = page.locator('.cl .unit[data-key="Texas"] .badge')
    assert badge.inner_text() == "−200%"
    assert "down" in badge.get_attribute("class").split()
    others = value(page, "{name: text for name, text in view._changed.items() if name != 'Texas'}")
    assert others
    assert page.locator(".cl .stage g.badge").count() > 1
    up = page.locator(".cl .stage g.badge.up text").all_text_contents()
    assert all(text.startswith("+") for text in up)

    drag(page, "say a capital", 1, 2, steps=5)
    eventually(page, "sliders.factors", {"Texas": -1.0, "say a capital": 2.0})
    page.get_by_label("Undo (Ctrl+Z)").click()
    eventually(page, "sliders.factors", {"Texas": -1.0})
    page.keyboard.press("Control+z")
    eventually(page, "sliders.factors", {})
    first.locator(".after.number").filter(has_text=">99.9%").wait_for()
    page.get_by_label("Redo (Ctrl+Shift+Z)").click()
    eventually(page, "sliders.factors", {"Texas": -1.0})
    assert page.locator('.cl .row[data-name="Texas"] .number').input_value() == "−1"

    page.locator(".cl button", has_text="Reset").click()
    eventually(page, "sliders.factors", {})
    first.locator(".after.number").filter(has_text=">99.9%").wait_for()
    badge.wait_for(state="detached")


def test_rows_values_places_and_modes(shown):
    page = shown
    page.locator(".cl input.add").fill("say a captial")
    page.keyboard.press("Enter")
    page.locator(".cl .status.error", has_text="nearest: 'say a capital'").wait_for()
    active = value(page, "next(i for i in label['Lopez'])")
    feature = "L" + "/".join(active.split("_")[:2])
    page.locator(".cl input.add").fill(feature)
    page.keyboard.press("Enter")
    row = page.locator(f'.cl .row[data-name="{feature}"]')
    row.wait_for()
    eventually(page, "sliders.rows", ["Texas", "say a capital", feature])

    row.locator(".number").fill("nonsense")
    page.keyboard.press("Enter")
    page.locator(".cl .number.wrong").wait_for()
    row.locator(".scale").click()
    eventually(page, f"list(sliders.values) == [{feature!r}] and not sliders.factors", True)
    row.locator(".number").fill("12.5")
    page.keyboard.press("Enter")
    eventually(page, "sliders.values", {feature: 12.5})
    eventually(page, DONE, True)
    set_here = f"sliders.run(0).features.loc[{active!r}, 'after'].item()"
    assert value(page, set_here) == 12.5

    row.locator(".where").select_option("4")
    eventually(page, "sliders.where", {feature: 4})
    layer, index, _ = active.split("_")
    assert value(page, f"sliders.run(0).features.loc['{layer}_{index}_4', 'after'].item()") == 12.5
    row.locator(".where").select_option("all")
    eventually(page, "sliders.where", {feature: "all"})
    everywhere = f"sliders.run(0).features.query('layer == {layer} and feature == {index}').after.tolist()"
    assert value(page, everywhere) == [12.5] * (value(page, "len(graph.tokens)") - 1), "all but <bos>, which is masked"
    row.locator(".where").select_option("generated")
    eventually(page, "sliders.where", {feature: "generated"})
    assert value(page, "'cl.Onward(' in sliders.code")
    page.get_by_label("Tokens of continuation").fill("3")
    page.keyboard.press("Enter")
    eventually(page, "sliders.n_tokens", 3)

    for mode in ("direct", "steering", "constrained"):
        page.get_by_label("Mode").select_option(mode)
        eventually(page, "sliders.mode", mode)
        eventually(page, DONE, True)
        assert value(page, "sliders.result['error']") is None
        assert value(page, SAME), mode
    assert "own MLPs" in page.locator(".cl .says").inner_text()
    page.get_by_label("Up to layer").select_option("4")
    eventually(page, "sliders.end_layer", 4)
    page.locator(".cl button", has_text="Freeze attention").click()
    eventually(page, "sliders.freeze_attention", False)
    eventually(page, DONE, True)
    assert value(page, SAME)
    page.locator(".cl button", has_text="Copy as Python").click()
    code = page.locator(".cl .code").input_value()
    assert code == value(page, "sliders.code")
    assert 'mode="constrained"' in code
    assert "end_layer=4" in code

    row.get_by_label("Remove").click()
    eventually(page, "sliders.rows", ["Texas", "say a capital"])
    eventually(page, "sliders.values", {})


def test_python_moves_the_sliders_and_a_dead_kernel_says_so(shown):
    page = shown
    value(page, "setattr(sliders, 'factors', {'Texas': 3.0})")
    page.wait_for_function(
        "() => [...document.querySelectorAll('*')].some(e => e.shadowRoot?.querySelector("
        "'.row[data-name=\"Texas\"] .amount')?.value === '3')"
    )
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.mouse.click(*slider_at(page, "Texas", 0))
    page.locator(".cl .kernel", has_text="No kernel is running").wait_for()
