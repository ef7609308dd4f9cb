// Numbers as people read them: three significant digits, a real minus sign, nothing for what is missing.

const MINUS = "−";

/** 1234.5 → "1,235", 2 → "2.00", 0.01234 → "0.0123", 1.2e-7 → "1.2e−7"; missing → "". */
export function formatNumber(value: number | null): string {
  if (value === null) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const sign = value < 0 ? MINUS : "";
  if (size >= 1e6 || size < 1e-3) return sign + shortExponent(size);
  if (size >= 1000) return sign + Math.round(size).toLocaleString("en-US");
  return sign + size.toPrecision(3);
}

function shortExponent(size: number): string {
  const [digits = "", exponent = ""] = size.toExponential(2).split("e");
  return `${Number(digits)}e${exponent.replace("+", "").replace("-", MINUS)}`;
}

/** The same with "+" in front of positive values, for contributions. */
export function formatSigned(value: number | null): string {
  return value !== null && value > 0 ? `+${formatNumber(value)}` : formatNumber(value);
}

/** 0.1234 → "12.3%", 0.99996 → ">99.9%", 0.00012 → "0.012%", 1e-9 → "1e−7%"; missing → "". */
export function formatPercent(value: number | null): string {
  if (value === null) return "";
  const percent = 100 * value;
  if (percent === 0 || Math.abs(percent) < 1e-3) return `${formatNumber(percent)}%`;
  if (percent >= 99.95 && percent < 100) return ">99.9%";
  return `${percent >= 1 ? percent.toFixed(1) : Number(percent.toPrecision(2))}%`;
}

/** 3506 → "3,506". */
export function formatCount(value: number): string {
  return value.toLocaleString("en-US");
}
