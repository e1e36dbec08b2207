// Runs statements for a test: a JSON line in says what to ask in a transaction, and a JSON line out what came of it.
"use strict";
const { Client } = require("pg");
const readline = require("node:readline");

// As programs for Node have them.
const values = {
  json: (value) => value,
  bigint: (value) => BigInt(value),
  seconds: (value) => `${value} seconds`,
  moment: (value) => new Date(value),
  text: (value) => value,
};

async function run(asked) {
  const client = new Client({ connectionString: asked.url });
  await client.connect();
  try {
    await client.query("BEGIN");
    for (const statement of asked.before) {
      await client.query(statement).catch(() => undefined);
    }
    const parameters = asked.parameters.map(({ as, value }) => values[as](value));
    const { rows } = await client.query({ text: asked.sql, values: parameters, rowMode: "array" });
    await client.query(asked.commit ? "COMMIT" : "ROLLBACK");
    return { value: rows[0][0] };
  } catch (error) {
    return { sqlstate: error.code ?? "none", message: error.message };
  } finally {
    await client.end();
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await run(JSON.parse(line))));
  }
}

main();
