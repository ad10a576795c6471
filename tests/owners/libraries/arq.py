import asyncio
import os
from contextlib import suppress
from importlib.metadata import version

from arq import create_pool, cron
from arq.connections import RedisSettings
from arq.worker import Retry, Worker

settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def download(ctx, url):
    return len(url)


async def flaky(ctx):
    if ctx["job_try"] == 1:
        raise Retry(defer=0)


async def tick(ctx):
    return None


async def main():
    pool = await create_pool(settings)
    job = await pool.enqueue_job("download", "https://example.com")
    await pool.enqueue_job("flaky")
    await pool.enqueue_job("download", "later", _defer_by=3600)
    worker = Worker(
        [download, flaky],
        cron_jobs=[cron(tick, second=set(range(60)))],
        redis_settings=settings,
        handle_signals=False,
        allow_abort_jobs=True,
        poll_delay=0.1,
        health_check_interval=1,
    )
    task = asyncio.create_task(worker.main())
    await job.result(timeout=20)
    later = await pool.enqueue_job("download", "again", _defer_by=60)
    with suppress(TimeoutError):
        await later.abort(timeout=1)
    await asyncio.sleep(2.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await worker.close()


asyncio.run(main())
print("arq", version("arq"))
