// A shadow root of its own per view: the notebook's styles stay out, the widget's stay in.

import base from "./base.widget.css";

/** A root element inside a new shadow root, with the shared and these styles; nothing here needs inline styles. */
export function shadowRoot(host: HTMLElement, css: string): HTMLElement {
  host.setAttribute("data-lm-suppress-shortcuts", "true");
  const shadow = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(base + css);
  shadow.adoptedStyleSheets = [sheet];
  const root = document.createElement("div");
  root.className = "cl";
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  shadow.replaceChildren(root);
  return root;
}
