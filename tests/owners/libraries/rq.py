import operator
import os
from datetime import timedelta
from importlib.metadata import version

import redis
from rq import Queue, Retry, SimpleWorker

connection = redis.from_url(os.environ["REDIS_URL"])
queue = Queue("default", connection=connection)
mails = Queue("mails", connection=connection)
first = queue.enqueue(operator.add, 1, 2)
queue.enqueue(operator.truediv, 1, 0)
queue.enqueue(operator.truediv, 1, 0, retry=Retry(max=1))
mails.enqueue(operator.add, 1, 2, depends_on=first)
queue.enqueue_in(timedelta(hours=1), operator.add, 1, 2)
worker = SimpleWorker([queue, mails], connection=connection)
worker.work(burst=True, with_scheduler=False, logging_level="ERROR")
print("rq", version("rq"))
