// "Copy as Python": puts the code on the clipboard and shows it, so that it can be copied where the browser refuses.

import { element } from "../shared/dom";

const COPIED = "Copied to the clipboard.";
const REFUSED = "The browser does not let this page write to the clipboard: copy the text above.";

export class CodeView {
  readonly panel: HTMLElement;
  readonly button = element(
    "button",
    { type: "button", title: "The code that makes this run", "aria-pressed": "false" },
    "Copy as Python",
  );
  private readonly text = element("textarea", {
    class: "code",
    readonly: "",
    spellcheck: "false",
    "aria-label": "The code that makes this run",
  });

  /** `say` shows a sentence, "" for none. */
  constructor(private readonly say: (sentence: string) => void) {
    this.panel = element("div", { class: "code-panel", hidden: "" }, this.text);
    this.button.addEventListener("click", () => void this.toggle());
  }

  show(code: string): void {
    this.text.value = code;
  }

  private async toggle(): Promise<void> {
    const open = this.panel.hidden;
    this.panel.hidden = !open;
    this.button.setAttribute("aria-pressed", String(open));
    if (!open) return this.say("");
    try {
      await navigator.clipboard.writeText(this.text.value);
      this.say(COPIED);
    } catch {
      this.text.select();
      this.say(REFUSED);
    }
  }
}
