import { expect, it } from "vitest";
import { toneOf } from "../src/graph/badges";

it("reads sign and size of a change", () => {
  expect(toneOf("−60%")).toEqual({ sign: "down", strength: 0.6 });
  expect(toneOf("+5%")).toEqual({ sign: "up", strength: 0.05 });
  expect(toneOf("+2,400%")).toEqual({ sign: "up", strength: 1 });
  expect(toneOf("−200%")).toEqual({ sign: "down", strength: 1 });
});

it("leaves other badges plain", () => {
  for (const text of ["60%", "new", "", "+", "−x%"]) expect(toneOf(text).sign).toBe("plain");
});
