// Light or dark, after Jupyter, else after the page, else after the system; colours are layout.py's.

import themes from "./themes.json";

export type ThemeName = "light" | "dark";
export type Colours = (typeof themes)["light"];

export function coloursOf(name: ThemeName): Colours {
  return themes[name];
}

/** What the document asks for now. */
export function currentTheme(): ThemeName {
  const jupyter = document.body.dataset.jpThemeLight;
  if (jupyter !== undefined) return jupyter === "false" ? "dark" : "light";
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "light" || chosen === "dark") return chosen;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** Calls back now and whenever the theme changes, until `signal` aborts. */
export function followTheme(onChange: (name: ThemeName) => void, signal: AbortSignal): void {
  let last: ThemeName | null = null;
  const look = () => {
    const now = currentTheme();
    if (now !== last) onChange(now);
    last = now;
  };
  const observer = new MutationObserver(look);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look, { signal });
  signal.addEventListener("abort", () => observer.disconnect());
  look();
}

/** Sets --background, --text, … on an element, and data-theme. */
export function paint(root: HTMLElement, name: ThemeName): void {
  root.dataset.theme = name;
  for (const [key, colour] of Object.entries(themes[name])) {
    root.style.setProperty(`--${key.replaceAll("_", "-")}`, colour);
  }
}
