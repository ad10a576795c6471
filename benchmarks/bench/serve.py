"""One contender behind uvicorn (uvloop, httptools), in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import sys

import uvicorn
import uvloop

from benchmarks.bench.contenders import by_name
from benchmarks.bench.stores import Env


async def serve(name: str, env: Env, port: int) -> None:
    # Opened here and not by the lifespan, so that nothing stands between the server and the app.
    async with by_name(name).open(env) as app:
        config = uvicorn.Config(
            app, host="127.0.0.1", port=port, http="httptools", lifespan="off", log_level="error", access_log=False
        )
        await uvicorn.Server(config).serve()


def main() -> None:
    options = json.loads(sys.argv[1])
    if options["core"] is not None:
        os.sched_setaffinity(0, {options["core"]})
    logging.basicConfig(level=logging.ERROR)
    uvloop.run(serve(options["name"], Env(**options["env"]), options["port"]))


if __name__ == "__main__":
    main()
