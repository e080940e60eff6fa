// Runs one job of the type named on the command line, as protos/jobhall/v1/worker_service.proto teaches, and leaves.
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const protos = new URL("../../protos", import.meta.url).pathname;
const contract = loadSync("jobhall/v1/worker_service.proto", { includeDirs: [protos], keepCase: true, longs: Number, enums: String });
const { WorkerService } = grpc.loadPackageDefinition(contract).jobhall.v1;
const address = process.env.JOBHALL_ADDRESS ?? "127.0.0.1:50051";
const stream = new WorkerService(address, grpc.credentials.createInsecure()).Work();
const held = new Map(); // lease token in hexadecimal -> lease token, until the outcome is acked
let beats = 0, assignments_seen = 0, seq = 0, outcome_seq = Infinity;

const beat = () => stream.write({ heartbeat: { number: ++beats, lease_tokens: [...held.values()], assignments_seen } });
const report = (lease_token, update) => stream.write({ task_updates: { updates: [{ seq: update.progress ? 0 : ++seq, lease_token, ...update }] } });

async function run({ lease_token, parameters }) {
  report(lease_token, { accepted: {} });
  const { input, output, pace_ms = 0 } = JSON.parse(parameters.json);
  const [header, ...rows] = readFileSync(input, "utf8").trimEnd().split(/\r?\n/);
  for (let done = 0; done <= rows.length; done += 100) {
    await sleep(pace_ms * Math.min(100, rows.length));
    report(lease_token, { progress: { items_total: rows.length, items_processed: done, items_succeeded: done, unit: "rows" } });
  }
  writeFileSync(output, [header, ...rows].join("\n") + "\n"); // where a real worker would write its scores
  stream.write({ capacity: { tasks_max: 0 } }); // no more tasks, before the outcome makes room for one
  report(lease_token, { completed: { result: { json: JSON.stringify({ rows: rows.length, results: output }) } } });
  outcome_seq = seq;
}

stream.on("data", (message) => {
  if (message.welcome) beat(), setInterval(beat, message.welcome.settings.heartbeat_interval.seconds * 1000).unref();
  if (message.task_assignments) assignments_seen = message.task_assignments.assignments_seq;
  for (const task of message.task_assignments?.tasks ?? []) {
    held.set(task.lease_token.toString("hex"), task.lease_token);
    run(task).catch((error) => report(task.lease_token, { failed: { code: "NODE", message: String(error), stack: error.stack } }));
  }
  if (message.ack?.rejections?.length) process.exitCode = 1;
  if (message.ack?.through_seq >= outcome_seq) stream.end();
});
stream.on("error", (error) => { console.error(error.message); process.exitCode = 1; });
stream.on("end", () => process.exit());
stream.write({ hello: { worker_name: `node-${process.pid}`, job_types: [process.argv[2]], capacity: { tasks_max: 1 }, protocol_version: 1 } });
