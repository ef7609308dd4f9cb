// Where the subgraph's boxes stand by themselves: rows by layer, columns by token, nothing on top of anything else.

export interface Box {
  wide: number;
  high: number;
  /** Which row: below 0 for tokens, `Infinity` for answers, else the mean layer. */
  level: number;
  /** Mean token position. */
  column: number;
}

export interface Tie {
  source: number;
  target: number;
  weight: number;
}

export interface Arranged {
  /** Middles of the boxes in pixels, within the margins. */
  at: [number, number][];
  /** Height that the rows need, margins left out. */
  high: number;
}

export const [GAP_X, GAP_Y] = [26, 30];
/** Middles of single boxes stay so far from the sides, so that they can be kept as shares of what is between. */
const SIDE = 56;
const SWEEPS = 3;

/** Levels within `near` of each other share a row unless boxes of it feed each other. */
export function arranged(boxes: readonly Box[], ties: readonly Tie[], wide: number, near = 0.75): Arranged {
  const rows = rowsOf(boxes, ties, wide, near);
  const wanted = columnsOf(boxes, wide);
  const at: [number, number][] = boxes.map((_, i) => [wanted[i]!, 0]);
  let high = 0;
  for (const row of rows) {
    const tall = Math.max(...row.map((i) => boxes[i]!.high));
    for (const i of row) at[i]![1] = high + tall / 2;
    high += tall + GAP_Y;
    spread(row, boxes, wanted, at, wide);
  }
  stepAside(boxes, ties, rows, wanted, at, wide);
  return { at, high: Math.max(0, high - GAP_Y) };
}

/** Rows from the top: answers, groups by falling layer, tokens. A full row goes on in the next. */
function rowsOf(boxes: readonly Box[], ties: readonly Tie[], wide: number, near: number): number[][] {
  const strong = 0.1 * Math.max(0, ...ties.map((tie) => Math.abs(tie.weight)));
  const joined = new Set(
    ties
      .filter((tie) => Math.abs(tie.weight) > strong)
      .flatMap(({ source: a, target: b }) => [`${a} ${b}`, `${b} ${a}`]),
  );
  const order = boxes.map((_, i) => i).sort((a, b) => above(boxes[a]!, boxes[b]!) || a - b);
  const rows: number[][] = [];
  let used = 0;
  for (const i of order) {
    const { level, wide: own } = boxes[i]!;
    const row = rows.at(-1);
    const first = row ? boxes[row[0]!]!.level : Number.NaN;
    const fits = row && (first === level || Math.abs(first - level) <= near) && used + GAP_X + own <= wide;
    if (row && fits && !row.some((other) => joined.has(`${other} ${i}`))) {
      row.push(i);
      used += GAP_X + own;
    } else {
      rows.push([i]);
      used = own;
    }
  }
  return rows;
}

function above(a: Box, b: Box): number {
  return a.level === b.level ? a.column - b.column : b.level - a.level;
}

/** Token positions in use, in order and evenly over the width. */
function columnsOf(boxes: readonly Box[], wide: number): number[] {
  const used = [...new Set(boxes.map((box) => Math.round(box.column)))].sort((a, b) => a - b);
  return boxes.map((box) => ((used.indexOf(Math.round(box.column)) + 0.5) * wide) / used.length);
}

/** Move a row's boxes apart, each as near as can be to where it wants to stand. */
function spread(
  row: readonly number[],
  boxes: readonly Box[],
  wanted: readonly number[],
  at: [number, number][],
  wide: number,
): void {
  const order = [...row].sort(
    (a, b) => wanted[a]! - wanted[b]! || boxes[a]!.column - boxes[b]!.column || a - b,
  );
  // Boxes that push each other form clusters, which stand at the mean of what their boxes want.
  const clusters: { ids: number[]; wide: number; middle: number }[] = [];
  for (const i of order) {
    clusters.push({ ids: [i], wide: boxes[i]!.wide, middle: wanted[i]! });
    for (let last = clusters.length - 1; last >= 0; last--) {
      const [left, right] = [clusters[last - 1], clusters[last]!];
      right.middle = inside(right.middle, right.wide, wide);
      if (!left || left.middle + left.wide / 2 + GAP_X <= right.middle - right.wide / 2) break;
      const [n, m] = [left.ids.length, right.ids.length];
      clusters.splice(last - 1, 2, {
        ids: [...left.ids, ...right.ids],
        wide: left.wide + GAP_X + right.wide,
        middle: (n * left.middle + m * right.middle) / (n + m),
      });
    }
  }
  for (const cluster of clusters) {
    let left = inside(cluster.middle, cluster.wide, wide) - cluster.wide / 2;
    for (const i of cluster.ids) {
      at[i]![0] = left + boxes[i]!.wide / 2;
      left += boxes[i]!.wide + GAP_X;
    }
  }
}

function inside(middle: number, own: number, wide: number): number {
  const half = Math.max(own / 2, SIDE);
  return 2 * half >= wide ? wide / 2 : Math.min(wide - half, Math.max(half, middle));
}

/** Shift boxes sideways where edges between other rows would run behind them. */
function stepAside(
  boxes: readonly Box[],
  ties: readonly Tie[],
  rows: readonly number[][],
  wanted: readonly number[],
  at: [number, number][],
  wide: number,
): void {
  const largest = Math.max(1e-12, ...ties.map((tie) => Math.abs(tie.weight)));
  const free = rows.flatMap((row) => row.map((i) => [i, row] as const)).filter(([i]) => boxes[i]!.level >= 0);
  const cost = (i: number): number => {
    let sum = Math.abs(at[i]![0] - wanted[i]!) / wide;
    for (const { source, target, weight } of ties) {
      const strength = 0.15 + Math.sqrt(Math.abs(weight) / largest);
      const mine = source === i || target === i;
      for (let other = 0; other < boxes.length; other++) {
        if (other === source || other === target || (!mine && other !== i)) continue;
        if (behind(at[source]!, at[target]!, at[other]!, boxes[other]!)) sum += strength;
      }
      if (mine) sum += (0.25 * strength * Math.abs(at[source]![0] - at[target]![0])) / wide;
    }
    return sum;
  };
  for (let sweep = 0; sweep < SWEEPS; sweep++)
    for (const [i, row] of free) {
      const here = at[i]![0];
      let [best, least] = [here, cost(i) - 1e-6];
      for (let step = -12; step <= 12; step++) {
        const x = inside(wanted[i]! + (step * wide) / 24, boxes[i]!.wide, wide);
        const clear = row.every(
          (j) => j === i || Math.abs(at[j]![0] - x) >= (boxes[j]!.wide + boxes[i]!.wide) / 2 + GAP_X,
        );
        if (!clear) continue;
        at[i]![0] = x;
        const now = cost(i);
        if (now < least) [best, least] = [x, now];
      }
      at[i]![0] = best;
    }
}

/** Whether an edge between two places runs behind a box. */
function behind(from: [number, number], to: [number, number], middle: [number, number], box: Box): boolean {
  const [top, foot] = [middle[1] - box.high / 2 - 4, middle[1] + box.high / 2 + 4];
  for (let k = 1; k < 8; k++) {
    const [x, y] = curveAt(from, to, k / 8);
    if (y > top && y < foot && Math.abs(x - middle[0]) < box.wide / 2 + 5) return true;
  }
  return false;
}

/** A point of the curve from one place up to another, as the edges are drawn. */
export function curveAt(
  from: readonly [number, number],
  to: readonly [number, number],
  t: number,
): [number, number] {
  const bend = bendOf(from[1] - to[1]);
  const mix = (a: number, b: number, c: number, d: number) =>
    (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t ** 2 * c + t ** 3 * d;
  return [mix(from[0], from[0], to[0], to[0]), mix(from[1], from[1] - bend, to[1] + bend, to[1])];
}

export function bendOf(rise: number): number {
  return Math.max(20, 0.45 * Math.abs(rise));
}
