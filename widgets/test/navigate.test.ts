import { expect, it } from "vitest";
import { isArrow, nearest } from "../src/graph/navigate";

const places = [
  { x: 0, y: 0 },
  { x: 10, y: 1 },
  { x: 3, y: -8 },
  { x: 0, y: -20 },
];

it("goes to the nearest node in the direction, counting steps aside double", () => {
  expect(nearest(places, 0, "ArrowRight")).toBe(1);
  expect(nearest(places, 0, "ArrowUp")).toBe(2);
  expect(nearest(places, 3, "ArrowDown")).toBe(2);
});
it("stays at the rim", () => {
  expect(nearest(places, 0, "ArrowLeft")).toBeNull();
  expect(nearest([], 0, "ArrowUp")).toBeNull();
});
it("knows arrow keys from others", () => {
  expect(isArrow("ArrowUp")).toBe(true);
  expect(isArrow("a")).toBe(false);
});
