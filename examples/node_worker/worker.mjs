// A worker written from protos/ alone: runs one job of the type named on the command line, then leaves.
//   npm ci && JOBHALL_ADDRESS=127.0.0.1:50051 node worker.mjs score_companies
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const includeDirs = [fileURLToPath(new URL("../../protos", import.meta.url))];
const options = { includeDirs, keepCase: true, longs: Number, defaults: true };
const { jobhall } = grpc.loadPackageDefinition(loadSync("jobhall/v1/worker_service.proto", options));
const address = process.env.JOBHALL_ADDRESS ?? "127.0.0.1:50051";
const stream = new jobhall.v1.WorkerService(address, grpc.credentials.createInsecure()).Work();
let task, beats = 0, assignments_seen = 0, seq = 0, last_seq, beating, done = false;

const report = (update) => stream.write({ task_updates: { updates: [{ lease_token: task.lease_token, ...update }] } });
const tokens = () => (task ? [task.lease_token] : []);
const beat = () => stream.write({ heartbeat: { number: ++beats, assignments_seen, lease_tokens: tokens() } });

async function score({ input, output, pace_ms = 0 }) {
  report({ seq: ++seq, accepted: {} });
  const rows = readFileSync(input, "utf8").trim().split("\n").slice(1).map((line) => line.split(","));
  for (const processed of rows.keys()) {
    await sleep(pace_ms);
    if (processed % 100 === 0) report({ progress: { items_total: rows.length, items_processed: processed } });
  }
  const scores = rows.map((row) => `${row[0]},${(row.at(-2) / row.at(-6)).toFixed(3)}\n`); // ebit / total_assets
  writeFileSync(output, `symbol,return_on_assets\n${scores.join("")}`);
  return { rows: rows.length, results: output };
}

stream.on("data", async ({ welcome, task_assignments, ack }) => {
  if (welcome) {
    const { seconds, nanos } = welcome.settings.heartbeat_interval;
    beat(), beating = setInterval(beat, seconds * 1000 + nanos / 1e6);
  } else if (task_assignments) {
    ({ assignments_seq: assignments_seen, tasks: [task] } = task_assignments);
    const outcome = await score(JSON.parse(task.parameters.json)).then(
      (result) => ({ completed: { result: { json: JSON.stringify(result) } } }),
      (error) => ({ failed: { code: "NODE_WORKER", message: error.message, stack: error.stack, retryable: false } }));
    stream.write({ capacity: { tasks_max: 0 } }); // before the outcome makes room for another task
    report({ seq: last_seq = ++seq, ...outcome });
  } else if (ack?.through_seq >= last_seq) {
    done = ack.rejections.length === 0;
    clearInterval(beating), stream.end();
  }
});
stream.on("error", ({ message }) => console.error(message));
stream.on("status", () => process.exit(done ? 0 : 1));
const hello = { worker_name: "node", job_types: [process.argv[2]], capacity: { tasks_max: 1 }, protocol_version: 1 };
stream.write({ hello });
