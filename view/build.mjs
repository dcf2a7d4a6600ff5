// Bundle the page: one script and one style sheet, minified, without anything from elsewhere.
//
// node build.mjs [FOLDER]    FOLDER is src/gatewright/page by default
import { build } from "esbuild";
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "..", "src", "gatewright", "page");

const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  charset: "ascii", // the script is written into pages of any encoding
  legalComments: "none",
  logLevel: "warning",
};
await build({
  ...common,
  entryPoints: [join(here, "src", "main.ts")],
  outfile: resolve(out, "bundle.js"),
  format: "iife",
  target: ["es2022"],
});
const styles = join(here, "src", "main.css");
if (existsSync(styles)) {
  await build({ ...common, entryPoints: [styles], outfile: resolve(out, "bundle.css") });
}
