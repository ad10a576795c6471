const { Queue, Worker, QueueEvents, FlowProducer } = require("bullmq");

const { port } = new URL(process.env.REDIS_URL);
const connection = { host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null };

async function main() {
  const queue = new Queue("mails", { connection });
  const events = new QueueEvents("mails", { connection });
  const worker = new Worker("mails", async (job) => {
    if (job.name === "bad") throw new Error("bad");
    return 1;
  }, { connection, limiter: { max: 100, duration: 1000 } });
  const job = await queue.add("good", { n: 1 });
  await queue.add("bad", { n: 1 });
  await queue.add("later", {}, { delay: 3600000 });
  await queue.add("first", {}, { priority: 1 });
  await queue.upsertJobScheduler("hourly", { every: 3600000 }, { name: "hourly" });
  const flow = new FlowProducer({ connection });
  await flow.add({ name: "parent", queueName: "mails", children: [{ name: "child", queueName: "mails" }] });
  await job.waitUntilFinished(events);
  await new Promise((done) => setTimeout(done, 1500));
  await Promise.all([worker.close(), events.close(), queue.close(), flow.close()]);
}

main().then(() => {
  console.log("bull", require("bullmq/package.json").version);
  process.exit(0);
});
