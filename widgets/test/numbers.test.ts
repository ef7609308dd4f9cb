import { expect, it } from "vitest";
import { formatCount, formatNumber, formatPercent, formatSigned } from "../src/shared/numbers";

it("gives three digits and a real minus sign", () => {
  expect(formatNumber(1.2345)).toBe("1.23");
  expect(formatNumber(-0.01234)).toBe("−0.0123");
  expect(formatNumber(2)).toBe("2.00");
  expect(formatNumber(0)).toBe("0");
  expect(formatNumber(12345.6)).toBe("12,346");
});
it("writes very large and small numbers with an exponent", () => {
  expect(formatNumber(-1.234e-7)).toBe("−1.23e−7");
  expect(formatNumber(2e9)).toBe("2e9");
});
it("shows nothing for what is missing", () => {
  expect([formatNumber(null), formatSigned(null), formatPercent(null)]).toEqual(["", "", ""]);
});
it("marks both signs of contributions", () => {
  expect([formatSigned(2), formatSigned(-2), formatSigned(0)]).toEqual(["+2.00", "−2.00", "0"]);
});
it("writes shares as percentages", () => {
  expect([0.1234, 1, 0.99996, 0.00123, 0].map(formatPercent)).toEqual([
    "12.3%",
    "100.0%",
    ">99.9%",
    "0.12%",
    "0%",
  ]);
});
it("groups thousands", () => {
  expect(formatCount(3506)).toBe("3,506");
});
