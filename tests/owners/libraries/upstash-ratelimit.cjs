const { Redis } = require("@upstash/redis");
const { Ratelimit } = require("@upstash/ratelimit");

const redis = new Redis({ url: process.env.REST_URL, token: "recorded" });
const limiters = [
  Ratelimit.fixedWindow(10, "10 s"),
  Ratelimit.slidingWindow(10, "10 s"),
  Ratelimit.tokenBucket(5, "10 s", 10),
];

async function main() {
  for (const limiter of limiters) {
    for (const options of [{}, { analytics: true }, { prefix: "@upstash/ratelimit:free" }, { dynamicLimits: true }]) {
      const ratelimit = new Ratelimit({ redis, limiter, ...options });
      for (const user of ["alice", "10.0.0.7"]) {
        const { pending } = await ratelimit.limit(user);
        await pending;
        await ratelimit.getRemaining(user);
      }
    }
  }
}

main().then(() => console.log("upstash-ratelimit", require("@upstash/ratelimit/package.json").version));
