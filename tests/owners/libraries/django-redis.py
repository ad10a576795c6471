import os
from importlib.metadata import version

import django
from django.conf import settings

CACHE = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": os.environ["REDIS_URL"]}
settings.configure(
    CACHES={"default": CACHE, "other": {**CACHE, "VERSION": 2}},
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SECRET_KEY="recorded",
    INSTALLED_APPS=["django.contrib.sessions"],
)
django.setup()

from django.contrib.sessions.backends.cache import SessionStore  # noqa: E402
from django.core.cache import cache, caches  # noqa: E402

cache.set("user:1", {"a": 1}, 60)
cache.get("user:1")
cache.get_or_set("report", "text", 60)
cache.set_many({"a": 1, "b": 2}, 60)
cache.add("n", 1)
cache.incr("n")
caches["other"].set("user:1", 1, 60)
session = SessionStore()
session["user"] = 1
session.save()
print("django-redis", version("django-redis"))
