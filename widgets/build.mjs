// Bundles every entry into circuitlab/static: one self-contained file each, no imports left.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const common = {
  absWorkingDir: here("."),
  outdir: here("../circuitlab/static"),
  bundle: true,
  minify: true,
  charset: "utf8",
  legalComments: "none",
  target: ["chrome109", "firefox115", "safari16"],
  logLevel: "warning",
};

// The page: a script and a style sheet. Files named *.widget.css are text in either kind of bundle.
const page = { entryPoints: { page: "src/page/main.ts" }, format: "iife" };

// One ES module per widget, as anywidget loads them, its style sheet inside. Add new widgets here.
const widgets = {
  entryPoints: {
    dashboard: "src/dashboard/widget.ts",
    graph: "src/graph/widget.ts",
    sliders: "src/sliders/widget.ts",
  },
  format: "esm",
};

for (const kind of [page, widgets]) await build({ ...common, ...kind, loader: { ".widget.css": "text" } });
