// Bundle the page: one script and one style sheet, minified, without anything from elsewhere.
//
// node build.mjs [FOLDER]           into FOLDER; src/gatewright/page by default
// node build.mjs --tests FOLDER     the engine with what the tests ask it, as FOLDER/answers.js
import { build } from "esbuild";
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const isTest = process.argv[2] === "--tests";
const out = process.argv[isTest ? 3 : 2] ?? join(here, "..", "src", "gatewright", "page");

/** Bundle one entry; the paths of sources are no part of the result. */
function bundle(entry, name, settings = {}) {
  return build({
    absWorkingDir: here,
    entryPoints: [join(here, entry)],
    outfile: resolve(out, name),
    bundle: true,
    minify: true,
    charset: "ascii", // the script is written into pages of any encoding
    legalComments: "none",
    logLevel: "warning",
    ...settings,
  });
}

const script = { format: "iife", target: ["es2022"] };
if (isTest) {
  await bundle("test/answers.ts", "answers.js", script);
} else {
  await bundle("src/main.ts", "bundle.js", script);
  if (existsSync(join(here, "src", "main.css"))) await bundle("src/main.css", "bundle.css");
}
