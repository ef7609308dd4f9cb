// What the sliders hold, as Python sends it, and the arithmetic of a slider: spans, amounts, texts.

import { formatNumber } from "../shared/numbers";

export interface RowInfo {
  name: string;
  kind: "supernode" | "label" | "feature" | "node";
  title: string;
  detail: string;
  /** Its own activation; 0 where it is not active. */
  own: number;
  /** Holds an error or a token: it can be scaled, at its own place. */
  vector: boolean;
  places: number[];
}

export type Where = "own" | "all" | "generated" | number;

/** What a user sets; factors and values by row name. */
export interface Setting {
  factors: Record<string, number>;
  values: Record<string, number>;
  where: Record<string, Where>;
  mode: string;
  /** Of the mode "constrained"; null for the last layer that is set. */
  end_layer: number | null;
  freeze_attention: boolean;
  n_tokens: number;
}

/** A setting as it travels; moves of one gesture, a drag, are one step for undo. */
export interface Move extends Setting {
  gesture: number;
}

export interface SliderState extends Setting {
  rows: RowInfo[];
  revision: number;
  origin: string | null;
  clicked: string | null;
}

export interface Offer {
  name: string;
  hint: string;
}

export interface ModeInfo {
  name: string;
  /** One line on what it does. */
  says: string;
}

export interface Context {
  modes: ModeInfo[];
  /** How many the model has. */
  layers: number;
  offered: Offer[];
  /** Its tokens. */
  prompt: string[];
  text: string;
}

export interface TokenPair {
  token: string;
  before: number | null;
  after: number | null;
}

export interface GroupPair {
  name: string;
  before: number | null;
  after: number | null;
  /** The intervention itself sets it. */
  set: boolean;
}

export interface Result {
  revision?: number;
  error?: string | null;
  tokens?: TokenPair[];
  groups?: GroupPair[];
  continuation?: { before: string; after: string };
  pending?: boolean;
  ms?: number;
}

export interface Amount {
  value: number;
  absolute: boolean;
}

export interface Span {
  min: number;
  max: number;
  step: number;
  /** Where it stands when nothing is changed. */
  rest: number;
}

const REACH = 5;

/** The axis of multiples, in steps of a tenth. */
export const AXIS: Span = { min: -REACH, max: REACH, step: 0.1, rest: 1 };

/** From −5 to 5 times its own activation; an absolute scale covers the same. */
export function spanOf(row: RowInfo, absolute: boolean): Span {
  if (!absolute) return AXIS;
  const unit = row.own > 0 ? row.own : 1;
  const step = niceStep(unit / 10);
  return { min: -roundUp(REACH * unit, step), max: roundUp(REACH * unit, step), step, rest: row.own };
}

/** The nearest of 1, 2, 5 times a power of ten that is not larger. */
export function niceStep(size: number): number {
  const power = 10 ** Math.floor(Math.log10(size));
  const digit = size / power;
  return (digit >= 5 ? 5 : digit >= 2 ? 2 : 1) * power;
}

function roundUp(value: number, step: number): number {
  return Number((Math.ceil(value / step - 1e-9) * step).toPrecision(12));
}

export function amountOf(setting: Setting, row: RowInfo): Amount {
  const value = setting.values[row.name];
  if (value !== undefined) return { value, absolute: true };
  return { value: setting.factors[row.name] ?? 1, absolute: false };
}

/** The setting with one row at another amount; a factor of 1 is left out. */
export function withAmount(setting: Setting, name: string, amount: Amount): Setting {
  const { [name]: _factor, ...factors } = setting.factors;
  const { [name]: _value, ...values } = setting.values;
  if (amount.absolute) values[name] = amount.value;
  else if (amount.value !== 1) factors[name] = amount.value;
  return { ...setting, factors, values };
}

export function withWhere(setting: Setting, name: string, place: Where): Setting {
  const { [name]: _, ...where } = setting.where;
  if (place !== "own") where[name] = place;
  return { ...setting, where };
}

/** The same amount on the other scale. */
export function otherScale(row: RowInfo, { value, absolute }: Amount): Amount {
  if (!absolute) return { value: tidy(value * row.own), absolute: true };
  return { value: row.own > 0 ? tidy(value / row.own) : 1, absolute: false };
}

/** Without the noise of binary fractions. */
export function tidy(value: number): number {
  return Number(value.toPrecision(6));
}

/** What a user typed, with a real minus sign or a comma; null if it is no number. */
export function parseAmount(text: string): number | null {
  const plain = text.trim().replace("−", "-").replace(",", ".").replace(/×$/, "");
  if (!plain.trim()) return null;
  const value = Number(plain);
  return Number.isFinite(value) ? value : null;
}

export function amountText(value: number): string {
  return String(tidy(value)).replace("-", "−");
}

/** Where between 0 and 1 a value stands on a span. */
export function fraction(value: number, { min, max }: Span): number {
  return Math.min(1, Math.max(0, (value - min) / (max - min)));
}

/** 0.25 → "25%", −1 → "−100%"; "" for a group that was not active. */
export function shareText(before: number | null, after: number | null): string {
  if (!before || after === null) return "–";
  const percent = (100 * after) / before;
  const size = Math.abs(percent);
  const digits =
    size >= 1000 ? formatNumber(size) : size >= 9.95 || size < 0.05 ? size.toFixed(0) : size.toFixed(1);
  return `${percent < 0 && digits !== "0" ? "−" : ""}${digits}%`;
}

/** A probability's change in percentage points. */
export function pointsText(before: number | null, after: number | null): string {
  if (before === null || after === null) return "";
  const points = 100 * (after - before);
  if (Math.abs(points) < 0.05) return "0";
  return `${points < 0 ? "−" : "+"}${Math.abs(points).toFixed(1)}`;
}

/** A probability as a percentage, short; what is not certain is not called so. */
export function chanceText(value: number | null): string {
  if (value === null) return "";
  const percent = 100 * value;
  if (percent > 0 && percent < 0.05) return "<0.1%";
  if (percent >= 99.95 && percent < 100) return ">99.9%";
  return `${percent.toFixed(1)}%`;
}
