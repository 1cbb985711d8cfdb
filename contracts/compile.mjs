// Compiles src/, examples/, test/ and prototype/ with the pinned npm solc and writes artifacts/.
//
//   npm ci --ignore-scripts && node compile.mjs [--check] [--out DIR]
//
// The result depends on the sources and on package-lock.json alone. --check writes nothing and fails if a committed
// artifact is not what the compiler gives now.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const here = dirname(fileURLToPath(import.meta.url));
const solc = require("solc");
const { keccak256 } = require("js-sha3");

const SOLC_VERSION = "0.8.37";
// runs: with 1000000 the ledger does not fit into 24,576 bytes; tests/contracts/gas_snapshot.json has what it costs.
const SETTINGS = {
  evmVersion: "prague",
  viaIR: true,
  optimizer: { enabled: true, runs: 10000 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
};
// 2394: transient storage outlives a call. The registry clears what it writes; OpenZeppelin's guard does too.
const EXPECTED_WARNINGS = ["2394"];
const FOLDERS = ["src", "examples", "test", "prototype"];
const DEPENDENCY = "@openzeppelin/";

const sha256 = (text) => "0x" + createHash("sha256").update(text).digest("hex");

function listSources(folder) {
  return readdirSync(join(here, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const path = posix.join(folder, entry.name);
      return entry.isDirectory() ? listSources(path) : path.endsWith(".sol") ? [path] : [];
    })
    .sort();
}

const dependencies = {};

function findImport(path) {
  try {
    const contents = readFileSync(path.startsWith(DEPENDENCY) ? require.resolve(path) : join(here, path), "utf8");
    if (path.startsWith(DEPENDENCY)) dependencies[path] = contents;
    return { contents };
  } catch (error) {
    return { error: error.message };
  }
}

function compile(sources) {
  if (!solc.version().startsWith(SOLC_VERSION + "+")) {
    throw new Error(`solc is ${solc.version()}, pinned is ${SOLC_VERSION}: run npm ci --ignore-scripts`);
  }
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(Object.entries(sources).map(([path, content]) => [path, { content }])),
    settings: {
      ...SETTINGS,
      outputSelection: {
        "*": {
          "*": [
            "abi",
            "evm.bytecode.object",
            "evm.deployedBytecode.object",
            "evm.deployedBytecode.immutableReferences",
            "storageLayout",
          ],
        },
      },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }));
  const problems = (output.errors ?? []).filter(({ errorCode }) => !EXPECTED_WARNINGS.includes(errorCode));
  for (const problem of problems) console.error(problem.formattedMessage);
  if (problems.length > 0) throw new Error(`${problems.length} errors and warnings`);
  return output.contracts;
}

/** Gives where a contract's variables are: "slot" or "slot:offset" to "name type", in the order of the slots. */
function storageOf({ storage, types }) {
  return Object.fromEntries(
    storage.map(({ label, slot, offset, type }) => [
      offset === 0 ? slot : `${slot}:${offset}`,
      `${label} ${types[type].label}, ${types[type].numberOfBytes} bytes`,
    ]),
  );
}

/** Gives {file name: text} of everything that artifacts/ holds. */
function build() {
  const sources = Object.fromEntries(FOLDERS.flatMap(listSources).map((path) => [path, readFileSync(join(here, path), "utf8")]));
  const contracts = compile(sources);
  const files = {};
  const initCodes = {};
  const storage = {};
  for (const [path, byName] of Object.entries(contracts)) {
    if (path.startsWith(DEPENDENCY)) continue;
    for (const [name, contract] of Object.entries(byName)) {
      const isInterface = path.startsWith("src/interfaces/");
      const code = contract.evm.bytecode.object;
      // Libraries have internal functions only: they are in the code of their users.
      if (path.includes("/libraries/") || (code === "" && !isInterface)) continue;
      const artifact = {
        contractName: name,
        sourceName: path,
        abi: contract.abi,
        bytecode: "0x" + code,
        deployedBytecode: "0x" + contract.evm.deployedBytecode.object,
        // Renumbered: the compiler names them by node ids that shift with unrelated edits.
        immutableReferences: Object.fromEntries(
          Object.values(contract.evm.deployedBytecode.immutableReferences ?? {})
            .sort((a, b) => a[0].start - b[0].start)
            .map((references, number) => [String(number), references]),
        ),
      };
      const folder = path.startsWith("src/") ? "" : path.startsWith("prototype/") ? "prototype/" : "test/";
      const file = folder + `${name}.json`;
      if (file in files) throw new Error(`two contracts are named ${name}`);
      files[file] = JSON.stringify(artifact, null, 1) + "\n";
      if (code !== "" && path.startsWith("src/")) storage[name] = storageOf(contract.storageLayout);
      if (code !== "") initCodes[name] = "0x" + keccak256(Buffer.from(code, "hex"));
    }
  }
  const byKey = (object) => Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)));
  files["storage.json"] = JSON.stringify(byKey(storage), null, 1) + "\n";
  files["lock.json"] =
    JSON.stringify(
      {
        solc: solc.version(),
        settings: SETTINGS,
        sources: byKey(Object.fromEntries(Object.entries(sources).map(([path, text]) => [path, sha256(text)]))),
        dependencies: byKey(Object.fromEntries(Object.entries(dependencies).map(([path, text]) => [path, sha256(text)]))),
        initCodeKeccak256: byKey(initCodes),
      },
      null,
      1,
    ) + "\n";
  return files;
}

const option = (name) => process.argv.includes(name);
const out = option("--out") ? process.argv[process.argv.indexOf("--out") + 1] : join(here, "artifacts");
const files = build();
if (option("--check")) {
  const stale = Object.entries(files).filter(([name, text]) => {
    const path = join(out, name);
    return !existsSync(path) || readFileSync(path, "utf8") !== text;
  });
  for (const [name] of stale) console.error(`stale: artifacts/${name}`);
  process.exitCode = stale.length === 0 ? 0 : 1;
} else {
  rmSync(out, { recursive: true, force: true });
  for (const folder of ["test", "prototype"]) mkdirSync(join(out, folder), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(out, name), text);
}
