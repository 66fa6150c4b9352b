// Packages of npm, from where the environment says that they are installed.
import { createRequire } from "node:module";

const folder = process.env.CLIENT_NODE;
if (!folder) throw new Error("CLIENT_NODE must name the folder with node_modules (`make target/client-node/ready` makes one)");

export const load = createRequire(`${folder}/`);

/** Runs the scenario named first on the command line with the rest; its figures go to standard output as JSON. */
export async function main(scenarios) {
  const [name, ...rest] = process.argv.slice(2);
  if (name === "--list") { console.log(Object.keys(scenarios).join("\n")); return; }
  if (!Object.hasOwn(scenarios, name)) throw new Error(`no scenario is called ${name}`);
  console.log(JSON.stringify(await scenarios[name](...rest) ?? {}));
}
