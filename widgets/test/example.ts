import type { GraphData } from "../src/shared/data";

/** Dal, las → a feature → Austin, with a second way past the feature. */
export function example(): GraphData {
  const none = [null, null, null, null];
  return {
    tokens: ["Dal", "las"],
    nodes: {
      id: ["E_1_0", "E_2_1", "0_7_1", "3_9_1"],
      kind: ["token", "token", "feature", "logit"],
      name: ["Dal", "las", "Texas", "Austin"],
      supernode: [null, null, "place", null],
      layer: [null, null, 0, null],
      pos: [0, 1, 1, 1],
      feature: [null, null, 7, null],
      activation: [null, null, 2.5, null],
      pre_activation: none,
      probability: [null, null, null, 0.9],
      influence: [0.1, 0.2, 0.7, null],
    },
    edges: {
      source: [2, 1, 0, 1],
      target: [3, 2, 2, 3],
      weight: [4, 3, -2, 1],
      share: [0.8, 0.6, 0.4, 0.2],
    },
  };
}
