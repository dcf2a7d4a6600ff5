/** The entry of the page: read the document, and print what the models answer. */

import { readDocument } from "./document.ts";

const source = document.getElementById("gatewright-document");
try {
  const page = readDocument(source?.textContent ?? "");
  document.body.textContent = page.title;
} catch (error) {
  document.body.textContent = error instanceof Error ? error.message : String(error);
}
