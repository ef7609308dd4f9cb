import { expect, it } from "vitest";
import { readGraph } from "../src/shared/data";
import { example } from "./example";

it("reads what page.py writes", () => {
  expect(readGraph(JSON.stringify(example()))).toEqual(example());
});
it("gives labels back as they are, markup and all", () => {
  const graph = example();
  graph.nodes.name[2] = "</script><img src=x onerror=alert(1)>";
  const escaped = JSON.stringify(graph).replaceAll("<", "\\u003c");
  expect(escaped).not.toContain("<");
  expect(readGraph(escaped).nodes.name[2]).toBe("</script><img src=x onerror=alert(1)>");
});
it("refuses columns of different lengths by name", () => {
  const graph = example();
  graph.nodes.layer.pop();
  expect(() => readGraph(JSON.stringify(graph))).toThrow("nodes.layer holds 3 values; expected 4 values");
});
it("refuses an edge to a node that is not there", () => {
  const graph = example();
  graph.edges.target[0] = 4;
  expect(() => readGraph(JSON.stringify(graph))).toThrow("edges.target names row 4; there are 4 nodes");
});
