// Light or dark: as the system says until the reader chooses; the choice is remembered where it can be.

const KEY = "circuitlab-theme";
type Theme = "light" | "dark";

export function wireTheme(button: HTMLButtonElement): void {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const now = (root.dataset.theme as Theme | undefined) ?? (system.matches ? "dark" : "light");
    const other = now === "dark" ? "light" : "dark";
    button.setAttribute("aria-label", `Switch to the ${other} theme`);
    button.title = `Switch to the ${other} theme`;
    button.dataset.next = other;
  };
  const kept = recall();
  if (kept) root.dataset.theme = kept;
  button.addEventListener("click", () => {
    root.dataset.theme = button.dataset.next ?? "light";
    remember(root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  button.hidden = false;
  show();
}

function recall(): Theme | null {
  try {
    const kept = window.localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : null;
  } catch {
    return null; // storage is closed to this page: the choice lasts until it is left
  }
}

function remember(theme: string): void {
  try {
    window.localStorage.setItem(KEY, theme);
  } catch {
    return; // as above
  }
}
