// Reads features in JavaScript, without a library: each symbol's values by name, null where one is not known, and why.
//
//     FEATURE_SERVICE_API_KEY=... node examples/feature_server.mjs http://localhost:4900 BTCUSDT,ETHUSDT price:mid_price

import { pathToFileURL } from "node:url";

export async function onlineFeatures(url, key, request) {
  const answer = await fetch(new URL("/get-online-features", url), {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
    body: JSON.stringify(request),
  });
  const told = await answer.json();
  if (!answer.ok) {
    // An error of the server is a text that holds JSON: module, class and message.
    throw new Error(`${answer.status}: ${typeof told === "string" ? JSON.parse(told).message : JSON.stringify(told)}`);
  }
  const rows = told.results[0].values.map(() => ({}));
  told.metadata.feature_names.forEach((name, column) => {
    const { values, statuses } = told.results[column];
    values.forEach((value, row) => (rows[row][name] = { value, status: statuses[row] }));
  });
  return rows;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [url, symbols, ...features] = process.argv.slice(2);
  try {
    const entities = { symbol: symbols.split(",") };
    const rows = await onlineFeatures(url, process.env.FEATURE_SERVICE_API_KEY, { entities, features });
    console.log(JSON.stringify(rows));
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
