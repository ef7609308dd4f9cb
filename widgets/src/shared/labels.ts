// Editing a label where it stands.

import { element } from "./dom";

export interface LabelField {
  input: HTMLInputElement;
  /** Forget the field: nothing is told of it any more. */
  abandon(): void;
}

/** A field that holds the label `before`. `close` is told once: the new label, or null where it stays as it was. Enter
 * and leaving the field keep what was typed, Escape does not. */
export function labelField(before: string, close: (label: string | null) => void): LabelField {
  const input = element("input", { type: "text", class: "rename", "aria-label": "Label", maxlength: "400" });
  input.value = before;
  let open = true;
  const end = (keep: boolean) => {
    if (!open) return;
    open = false;
    const label = input.value.trim();
    close(keep && label !== before ? label : null);
  };
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" || event.key === "Escape") end(event.key === "Enter");
  });
  input.addEventListener("blur", () => end(true));
  return {
    input,
    abandon: () => {
      open = false;
    },
  };
}
