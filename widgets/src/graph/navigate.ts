// Arrow keys in a drawing: the nearest node in a direction.

export interface Place {
  x: number;
  y: number;
}

export type Arrow = "ArrowUp" | "ArrowDown" | "ArrowLeft" | "ArrowRight";

const STEPS: Record<Arrow, Place> = {
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
};

export function isArrow(key: string): key is Arrow {
  return key in STEPS;
}

/** The index of the nearest place in this direction, where a step sideways counts double; null at the rim. */
export function nearest(places: readonly Place[], from: number, arrow: Arrow): number | null {
  const start = places[from];
  if (!start) return null;
  const step = STEPS[arrow];
  let best: number | null = null;
  let least = Number.POSITIVE_INFINITY;
  places.forEach((place, index) => {
    const [dx, dy] = [place.x - start.x, place.y - start.y];
    const ahead = dx * step.x + dy * step.y;
    const aside = Math.abs(dx * step.y) + Math.abs(dy * step.x);
    const distance = ahead + 2 * aside;
    if (ahead > 1e-6 && distance < least) [best, least] = [index, distance];
  });
  return best;
}
