// A feature's evidence as it arrives: the feature JSON (circuitlab/evidence.py), and the pure parts of drawing it.

export interface ExampleData {
  tokens: string[];
  tokens_acts_list: number[];
  train_token_ind: number;
  copies?: number;
  tokens_logit_weights?: number[];
}

export interface NeighbourData {
  layer: number;
  index: number;
  weight: number;
  label: string;
}

export interface EvidenceData {
  layer: number;
  index: number;
  label: string;
  examples_quantiles: { quantile_name: string; examples: ExampleData[] }[];
  top_logits: string[];
  bottom_logits: string[];
  top_logit_weights: (number | null)[];
  bottom_logit_weights: (number | null)[];
  act_max: number | null;
  histogram: number[];
  histogram_edges: number[];
  logit_histogram: number[];
  logit_histogram_edges: number[];
  activation_frequency: number | null;
  reads_from: NeighbourData[];
  writes_to: NeighbourData[];
  sources: Record<string, string>;
  missing: Record<string, string>;
  note: string;
}

export interface LiveData {
  tokens: string[];
  activations: number[];
  weights: number[] | null;
}

/** One token of an example or of a tried text. */
export interface TokenData {
  text: string;
  activation: number;
  weight: number | null;
}

export function readEvidence(text: string): EvidenceData | null {
  return text ? (JSON.parse(text) as EvidenceData) : null;
}

export function nameOf(feature: { layer: number; index: number }): string {
  return `L${feature.layer}/${feature.index}`;
}

export function tokensOf(
  tokens: readonly string[],
  activations: readonly number[],
  weights?: readonly number[] | null,
): TokenData[] {
  return tokens.map((text, at) => ({
    text,
    activation: activations[at] ?? 0,
    weight: weights?.[at] ?? null,
  }));
}

const LONGEST_TOKEN = 120;
// Controls, direction marks and other characters that are not seen; a joiner inside an emoji stays.
const UNSEEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Co}]/gu;

/** A token as it is shown: line breaks ⏎, tabs ⇥, other characters that cannot be seen ·. */
export function visible(token: string): string {
  const clipped = token.length > LONGEST_TOKEN ? `${token.slice(0, LONGEST_TOKEN)}…` : token;
  return clipped
    .replaceAll("\r\n", "⏎")
    .replaceAll("\n", "⏎")
    .replaceAll("\t", "⇥")
    .replaceAll("\r", "⏎")
    .replace(UNSEEN, "·");
}

/** A token in a list, where leading spaces carry meaning but would not be seen. */
export function listed(token: string): string {
  const shown = visible(token);
  return shown.trim() === "" ? "␣".repeat(Math.max(1, shown.length)) : shown.trim();
}

/** How strongly an activation is shaded: 0 to 1, of the feature's largest. */
export function shade(activation: number, largest: number): number {
  if (!(activation > 0) || !(largest > 0)) return 0;
  return Math.min(1, activation / largest);
}

/** The tokens of an example around its peak: at most `reach` on either side. */
export function around(
  tokens: TokenData[],
  peak: number,
  reach: number,
): { before: TokenData[]; peak: TokenData; after: TokenData[]; cutBefore: boolean; cutAfter: boolean } {
  const from = Math.max(0, peak - reach);
  const to = Math.min(tokens.length, peak + 1 + reach);
  return {
    before: tokens.slice(from, peak),
    peak: tokens[peak]!,
    after: tokens.slice(peak + 1, to),
    cutBefore: from > 0,
    cutAfter: to < tokens.length,
  };
}

/** Where a value stands between the first and last edge: 0 to 1, or null outside or without a value. */
export function place(value: number | null, edges: readonly number[]): number | null {
  const [low, high] = [edges[0], edges.at(-1)];
  if (value === null || low === undefined || high === undefined || !(high > low)) return null;
  const share = (value - low) / (high - low);
  return share >= -1e-9 && share <= 1 + 1e-9 ? Math.min(1, Math.max(0, share)) : null;
}

/** Heights of a histogram's bars, 0 to 1, on a scale in which single counts next to thousands can be seen. */
export function heights(counts: readonly number[]): number[] {
  const most = Math.log1p(Math.max(0, ...counts));
  return counts.map((count) => (most > 0 ? Math.log1p(count) / most : 0));
}
