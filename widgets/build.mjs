// Bundles every entry into circuitlab/static: one self-contained file each, no imports left.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

await build({
  absWorkingDir: here("."),
  outdir: here("../circuitlab/static"),
  bundle: true,
  minify: true,
  charset: "utf8",
  legalComments: "none",
  target: ["chrome109", "firefox115", "safari16"],
  logLevel: "warning",
  entryPoints: { page: "src/page/main.ts" },
  format: "iife",
});
