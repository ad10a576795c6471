import os
from importlib.metadata import version

from flask import Flask
from flask_caching import Cache

app = Flask(__name__)
cache = Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": os.environ["REDIS_URL"]})


@app.get("/")
@cache.cached(timeout=50)
def index():
    return "index"


@app.get("/search")
@cache.cached(timeout=50, query_string=True)
def search():
    return "search"


@cache.memoize(50)
def big(a, b):
    return a + b


client = app.test_client()
for number in (1, 2, 1):
    client.get("/")
    client.get(f"/search?q={number}")
    with app.app_context():
        big(number, 2)
        cache.set("own", number)
print("flask-caching", version("flask-caching"))
