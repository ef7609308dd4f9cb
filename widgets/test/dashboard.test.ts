import { describe, expect, it } from "vitest";
import { around, heights, listed, place, shade, tokensOf, visible } from "../src/dashboard/evidence";
import { Latest } from "../src/dashboard/latest";

describe("tokens", () => {
  it("shows line breaks and what cannot be seen, and keeps emoji whole", () => {
    expect(visible("a\r\nb\n\tc")).toBe("a⏎b⏎⇥c");
    expect(visible("\u202eright\u0000")).toBe("·right·");
    expect(visible("👩\u200d🔬")).toBe("👩\u200d🔬");
    expect(visible("<b>")).toBe("<b>");
    expect(visible("x".repeat(1e6)).length).toBe(121);
  });

  it("lists spaces as signs", () => {
    expect(listed(" the")).toBe("the");
    expect(listed("  ")).toBe("␣␣");
    expect(listed("\n")).toBe("⏎");
  });

  it("shades by the share of the largest", () => {
    expect([shade(2, 4), shade(9, 4), shade(-1, 4), shade(1, 0), shade(Number.NaN, 1)]).toEqual([
      0.5, 1, 0, 0, 0,
    ]);
  });

  it("cuts an example around its peak", () => {
    const tokens = tokensOf([..."abcdefg"], [0, 0, 0, 5, 0, 0, 0]);
    const cut = around(tokens, 3, 2);
    expect(cut.before.map((token) => token.text)).toEqual(["b", "c"]);
    expect(cut.peak).toEqual({ text: "d", activation: 5, weight: null });
    expect(cut.after.map((token) => token.text)).toEqual(["e", "f"]);
    expect([cut.cutBefore, cut.cutAfter]).toEqual([true, true]);
    expect(around(tokens, 0, 10).before).toEqual([]);
    expect(around(tokens, 0, 10).cutAfter).toBe(false);
  });
});

describe("histograms", () => {
  it("places a marker between the ends only", () => {
    expect([
      place(0, [-1, 0, 1]),
      place(1, [-1, 1]),
      place(2, [-1, 1]),
      place(null, [0, 1]),
      place(0, []),
    ]).toEqual([0.5, 1, null, null, null]);
  });

  it("makes single counts visible beside thousands", () => {
    const [none, one, most] = heights([0, 1, 1000]);
    expect([none, most]).toEqual([0, 1]);
    expect(one).toBeGreaterThan(0.09);
    expect(heights([0, 0])).toEqual([0, 0]);
  });
});

/** Timers that run when they are told to. */
function fakeClock() {
  const waiting = new Map<number, () => void>();
  const waits: number[] = [];
  let last = 0;
  return {
    waits,
    now: () => 1000,
    set: (act: () => void, milliseconds: number) => {
      waits.push(milliseconds);
      waiting.set(++last, act);
      return last;
    },
    clear: (id: number) => void waiting.delete(id),
    async tick() {
      const acts = [...waiting.values()];
      waiting.clear();
      for (const act of acts) act();
      for (let turn = 0; turn < 8; turn++) await Promise.resolve();
    },
  };
}

describe("the latest question wins", () => {
  function asking() {
    const clock = fakeClock();
    const started: [string, number][] = [];
    const shown: string[] = [];
    const finish: ((value: string) => void)[] = [];
    const latest = new Latest<string, string>(
      (input, revision) => {
        started.push([input, revision]);
        return new Promise((resolve) => finish.push(resolve));
      },
      (output) => shown.push(output),
      (error) => shown.push(`failed: ${error.message}`),
      50,
      clock,
    );
    return { clock, started, shown, finish, latest };
  }

  it("runs one at a time and skips what was overtaken", async () => {
    const { clock, started, shown, finish, latest } = asking();
    latest.ask("a");
    latest.ask("ab");
    await clock.tick();
    expect(started).toEqual([["ab", 2]]);
    latest.ask("abc");
    latest.ask("abcd");
    await clock.tick();
    expect(started.length).toBe(1);
    finish[0]!("AB");
    await clock.tick();
    await clock.tick();
    expect(started[1]).toEqual(["abcd", 4]);
    finish[1]!("ABCD");
    await clock.tick();
    expect(shown).toEqual(["AB", "ABCD"]);
    expect(clock.waits).toEqual([0, 50]);
  });

  it("does not show what was asked before it was dropped", async () => {
    const { clock, started, shown, finish, latest } = asking();
    latest.ask("old");
    await clock.tick();
    latest.drop();
    latest.ask("new");
    finish[0]!("OLD");
    await clock.tick();
    await clock.tick();
    finish[1]!("NEW");
    await clock.tick();
    expect(started.map(([input]) => input)).toEqual(["old", "new"]);
    expect(shown).toEqual(["NEW"]);
  });
});
