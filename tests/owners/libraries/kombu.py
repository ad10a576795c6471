import os
from importlib.metadata import version

from kombu import Connection, Exchange, Queue

with Connection(os.environ["REDIS_URL"]) as connection:
    queue = Queue("mails", Exchange("media", type="direct"), routing_key="mails")
    producer = connection.Producer(serializer="json")
    for number in range(3):
        producer.publish({"n": number}, exchange=queue.exchange, routing_key="mails", declare=[queue])
    with connection.Consumer(queue, callbacks=[lambda body, message: message.ack()]):
        connection.drain_events(timeout=5)
        connection.drain_events(timeout=5)
    simple = connection.SimpleQueue("simple")
    simple.put({"hello": 1})
    simple.get(block=True, timeout=5)
    simple.close()
print("kombu", version("kombu"))
