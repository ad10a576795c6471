import os
import time
from importlib.metadata import version

from celery import Celery, chord
from celery.contrib.testing.worker import start_worker

app = Celery("app", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.task_default_priority = 3


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


app.loader.import_task_module("celery.contrib.testing.tasks")
with start_worker(app, perform_ping_check=False, loglevel="ERROR", pool="solo"):
    assert add.delay(1, 2).get(timeout=30) == 3
    assert chord([add.s(1, 1), add.s(2, 2)])(total.s()).get(timeout=30) == 6
    add.apply_async((1, 1), countdown=3600)
    add.apply_async((1, 1), queue="reports")
    app.control.inspect(timeout=1).ping()
    time.sleep(1)
print("celery", version("celery"))
