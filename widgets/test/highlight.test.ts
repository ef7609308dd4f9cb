import { describe, expect, it } from "vitest";
import { adjacency, light, NOTHING } from "../src/graph/highlight";
import { example } from "./example";

const { nodes, edges } = example();
const near = adjacency(edges, nodes.id.length);

describe("light", () => {
  it("lights a node with every edge at it and what is at their other ends", () => {
    const lit = light({ of: "node", node: 2 }, edges, near);
    expect([...lit.centre]).toEqual([2]);
    expect([...lit.edges].sort()).toEqual([0, 1, 2]);
    expect([...lit.nodes].sort()).toEqual([0, 1, 2, 3]);
  });
  it("leaves out what a node has no edge with", () => {
    const lit = light({ of: "node", node: 0 }, edges, near);
    expect([...lit.nodes].sort()).toEqual([0, 2]);
  });
  it("lights an edge with its two ends", () => {
    const lit = light({ of: "edge", edge: 3 }, edges, near);
    expect([...lit.centre].sort()).toEqual([1, 3]);
    expect([...lit.edges]).toEqual([3]);
  });
  it("lights a path's own edges only", () => {
    const lit = light({ of: "path", nodes: [1, 2, 3] }, edges, near);
    expect([...lit.edges].sort()).toEqual([0, 1]);
  });
  it("lights what there is of a path that leaves the table", () => {
    const lit = light({ of: "path", nodes: [0, -1, 3] }, edges, near);
    expect([...lit.nodes].sort()).toEqual([0, 3]);
    expect(lit.edges.size).toBe(0);
  });
  it("lights all of a group with everything at it", () => {
    const lit = light({ of: "group", nodes: [0, 1] }, edges, near);
    expect([...lit.centre]).toEqual([0, 1]);
    expect([...lit.edges].sort()).toEqual([1, 2, 3]);
    expect([...lit.nodes].sort()).toEqual([0, 1, 2, 3]);
    expect(light({ of: "group", nodes: [] }, edges, near).nodes.size).toBe(0);
  });
  it("lights nothing when nothing is pointed at", () => {
    expect(light(null, edges, near)).toBe(NOTHING);
  });
});

it("lists a node's edges strongest first", () => {
  expect(near.inputs[3]).toEqual([0, 3]);
  expect(near.outputs[1]).toEqual([1, 3]);
});
