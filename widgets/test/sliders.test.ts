import { describe, expect, it, vi } from "vitest";
import { Sending } from "../src/sliders/sending";
import {
  amountOf,
  chanceText,
  fraction,
  niceStep,
  otherScale,
  parseAmount,
  pointsText,
  type RowInfo,
  type Setting,
  shareText,
  spanOf,
  withAmount,
  withWhere,
} from "../src/sliders/state";

const ROW: RowInfo = {
  name: "Texas",
  kind: "supernode",
  title: "Texas",
  detail: "",
  own: 4.5,
  vector: false,
  places: [3],
};
const REST: Setting = {
  factors: {},
  values: {},
  where: {},
  mode: "propagating",
  end_layer: null,
  freeze_attention: true,
  n_tokens: 0,
};

describe("amounts", () => {
  it("are a factor or a value, never both", () => {
    const factor = withAmount(REST, "Texas", { value: -1, absolute: false });
    expect(factor.factors).toEqual({ Texas: -1 });
    const value = withAmount(factor, "Texas", { value: 3, absolute: true });
    expect([value.factors, value.values]).toEqual([{}, { Texas: 3 }]);
    expect(amountOf(value, ROW)).toEqual({ value: 3, absolute: true });
    expect(withAmount(value, "Texas", { value: 1, absolute: false })).toEqual(REST);
    expect(withWhere(withWhere(REST, "Texas", 3), "Texas", "own")).toEqual(REST);
  });

  it("keep their meaning on the other scale", () => {
    expect(otherScale(ROW, { value: -1, absolute: false })).toEqual({ value: -4.5, absolute: true });
    expect(otherScale(ROW, { value: -4.5, absolute: true })).toEqual({ value: -1, absolute: false });
    expect(otherScale({ ...ROW, own: 0 }, { value: 3, absolute: true })).toEqual({
      value: 1,
      absolute: false,
    });
  });

  it("have spans that hold five times their own activation", () => {
    expect(spanOf(ROW, false)).toEqual({ min: -5, max: 5, step: 0.1, rest: 1 });
    expect(spanOf(ROW, true)).toEqual({ min: -22.6, max: 22.6, step: 0.2, rest: 4.5 });
    expect(fraction(1, spanOf(ROW, false))).toBeCloseTo(0.6);
    expect([0.7, 2.4, 51, 1e-3].map(niceStep)).toEqual([0.5, 2, 50, 0.001]);
  });

  it("are read as people type them", () => {
    expect([" −1.5", "2,5", "3×", "1e2"].map(parseAmount)).toEqual([-1.5, 2.5, 3, 100]);
    expect(["", "one", "NaN", "1e999"].map(parseAmount)).toEqual([null, null, null, null]);
  });
});

it("shows shares, points and chances shortly", () => {
  expect([shareText(2, 1), shareText(2, -2), shareText(0, 1), shareText(3, 0.1)]).toEqual([
    "50%",
    "−100%",
    "–",
    "3.3%",
  ]);
  expect([pointsText(0.5, 0.25), pointsText(0, 0.1234), pointsText(0.1, 0.1001)]).toEqual([
    "−25.0",
    "+12.3",
    "0",
  ]);
  expect([0.5, 1e-9, 0, 0.99985, 1].map(chanceText)).toEqual(["50.0%", "<0.1%", "0.0%", ">99.9%", "100.0%"]);
});

/** A kernel whose answers are given by hand. */
function kernel(patience = 400) {
  const sent: number[] = [];
  const answers: ((revision: number) => void)[] = [];
  const failures: string[] = [];
  const refuse: ((error: Error) => void)[] = [];
  const sending = new Sending<number>(
    (state) => {
      sent.push(state);
      return new Promise((resolve, reject) => {
        answers.push(resolve);
        refuse.push(reject);
      });
    },
    (error) => failures.push(error.message),
    patience,
  );
  const answer = async (revision: number) => {
    answers.shift()?.(revision);
    refuse.shift();
    await Promise.resolve();
  };
  return { sending, sent, answer, failures, refuse };
}

describe("latest wins", () => {
  it("sends one state at a time, and of those that waited the newest", async () => {
    const { sending, sent, answer } = kernel();
    for (const state of [1, 2, 3, 4]) sending.push(state);
    expect(sent).toEqual([1]);
    await answer(10);
    expect(sent).toEqual([1]);
    expect(sending.accept(10)).toBe(true);
    expect(sent).toEqual([1, 4]);
    sending.stop();
  });

  it("drops results that are older than what was asked or shown", async () => {
    const { sending, answer } = kernel();
    sending.push(1);
    await answer(7);
    expect(sending.accept(6)).toBe(false);
    expect(sending.accept(7)).toBe(true);
    expect(sending.accept(9)).toBe(true);
    expect(sending.accept(8)).toBe(false);
    expect(sending.accept(9)).toBe(true);
  });

  it("does not wait forever for a slow model, and then ignores what it was busy with", async () => {
    vi.useFakeTimers();
    const { sending, sent, answer } = kernel(400);
    sending.push(1);
    await answer(1);
    sending.push(2);
    expect(sent).toEqual([1]);
    vi.advanceTimersByTime(401);
    expect(sent).toEqual([1, 2]);
    await answer(2);
    expect(sending.accept(1)).toBe(false);
    expect(sending.accept(2)).toBe(true);
    vi.useRealTimers();
  });

  it("sends nothing more to a kernel that has not answered, and goes on after a refusal", async () => {
    vi.useFakeTimers();
    const { sending, sent, failures, refuse } = kernel(10);
    sending.push(1);
    sending.push(2);
    vi.advanceTimersByTime(60_000);
    expect(sent).toEqual([1]);
    vi.useRealTimers();
    refuse.shift()?.(new Error("no such row"));
    await new Promise((done) => setTimeout(done));
    expect(failures).toEqual(["no such row"]);
    expect(sent).toEqual([1, 2]);
  });

  it("lands when the result comes before the answer", async () => {
    const { sending, sent, answer } = kernel();
    sending.push(1);
    expect(sending.accept(5)).toBe(true);
    sending.push(2);
    await answer(5);
    expect(sent).toEqual([1, 2]);
  });
});
