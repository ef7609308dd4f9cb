// Serves the development pages, rebuilt on every request.
import { fileURLToPath } from "node:url";
import { context } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const dev = await context({
  absWorkingDir: here,
  entryPoints: ["main.ts", "dashboard.ts", "sliders.ts"],
  outdir: here,
  write: false,
  bundle: true,
  format: "esm",
  loader: { ".widget.css": "text" },
});
await dev.watch();
const { port } = await dev.serve({ servedir: here, host: "127.0.0.1", port: 8000 });
console.log(`http://127.0.0.1:${port}`);
