// A watch written from protos/ alone: tells what becomes of jobs of some types, and goes on where it was.
//   npm ci && JOBHALL_ADDRESS=127.0.0.1:50051 node watch.mjs cursor.txt score_companies
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const includeDirs = [fileURLToPath(new URL("../../protos", import.meta.url))];
const options = { includeDirs, keepCase: true, longs: Number, enums: String, defaults: true };
const { jobhall } = grpc.loadPackageDefinition(loadSync("jobhall/v1/job_service.proto", options));
const address = process.env.JOBHALL_ADDRESS ?? "127.0.0.1:50051";
const client = new jobhall.v1.JobService(address, grpc.credentials.createInsecure());
const [file, ...job_types] = process.argv.slice(2);
const { CANCELLED, INTERNAL, INVALID_ARGUMENT, OK, UNAVAILABLE, UNKNOWN } = grpc.status;
const AGAIN = [OK, CANCELLED, INTERNAL, UNAVAILABLE, UNKNOWN];
const tell = (what, { id, job_id = id, state, revision }) => console.log(what, job_id, state, revision);

let cursor = existsSync(file) ? readFileSync(file, "utf8") : "";
let snapshot = !cursor, failures = 0;
const revisions = new Map(); // of the jobs of the snapshot, until there is newer
// At one stroke: whoever is killed between the two keeps the cursor before.
const keep = (cursor) => (writeFileSync(`${file}.part`, cursor), renameSync(`${file}.part`, file));
const begin = () => (console.log("RESET"), revisions.clear(), (snapshot = true));

function watch() {
  const expired_cursor_action = "EXPIRED_CURSOR_ACTION_RESET";
  const stream = client.WatchJobs({ job_types, cursor, include_snapshot: snapshot, expired_cursor_action });
  let silence;
  const hear = () => (clearTimeout(silence), (silence = setTimeout(() => stream.cancel(), 30_000)));
  hear();
  stream.on("data", (update) => {
    hear(), (failures = 0);
    if (update.cursor_reset) begin();
    for (const event of update.events) {
      if (event.revision && event.revision <= revisions.get(event.job_id)) continue; // the snapshot has told it
      if (event.revision) revisions.delete(event.job_id);
      tell(event.event_type, event);
    }
    for (const job of update.snapshot_jobs) tell("IS", job), revisions.set(job.id, job.revision);
    if (update.snapshot_complete) snapshot = false;
    cursor = update.cursor;
    if (!snapshot) keep(cursor); // until then a snapshot is needed to go on from it
  });
  stream.on("error", () => {}); // the status says the same
  stream.on("status", ({ code, details }) => {
    clearTimeout(silence);
    if (code === INVALID_ARGUMENT && cursor) begin(), (cursor = ""); // of another database, or lost with the power
    else if (!AGAIN.includes(code)) console.error(details), process.exit(1);
    setTimeout(watch, Math.random() * Math.min(2000, 100 * 2 ** failures++));
  });
}

watch();
