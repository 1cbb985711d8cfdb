#!/usr/bin/env node
// Makes the pinned npm solc answer like the native compiler, as forge, slither and halmos call it:
//   solc.mjs --version
//   solc.mjs --standard-json [--base-path P] [--include-path P]... [--allow-paths P]... < input > output
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const solc = createRequire(import.meta.url)("solc");
const args = process.argv.slice(2);
const values = (option) => args.flatMap((arg, i) => (args[i - 1] === option ? [arg] : []));

if (args.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version().replace(".Emscripten.clang", ".Linux.g++")}`);
} else if (args.includes("--standard-json")) {
  const roots = [...values("--base-path"), ...values("--include-path"), "."];
  const findImport = (path) => {
    const found = ["", ...roots].map((root) => join(root, path)).find(existsSync);
    return found ? { contents: readFileSync(found, "utf8") } : { error: `${path} is not in ${roots.join(", ")}` };
  };
  process.stdout.write(solc.compile(readFileSync(0, "utf8"), { import: findImport }));
} else {
  console.error("solc.mjs: only --version and --standard-json");
  process.exitCode = 2;
}
