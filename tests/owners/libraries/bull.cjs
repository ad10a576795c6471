const Queue = require("bull");

async function main() {
  const queue = new Queue("mails", process.env.REDIS_URL, { limiter: { max: 100, duration: 1000 } });
  queue.process("*", async (job) => {
    if (job.name === "bad") throw new Error("bad");
    return 1;
  });
  const job = await queue.add("good", { n: 1 });
  await queue.add("bad", { n: 1 });
  await queue.add("later", {}, { delay: 3600000 });
  await queue.add("first", {}, { priority: 1 });
  await queue.add("hourly", {}, { repeat: { every: 3600000 } });
  await job.finished();
  await new Promise((done) => setTimeout(done, 1500));
  await queue.close();
}

main().then(() => {
  console.log("bull", require("bull/package.json").version);
  process.exit(0);
});
