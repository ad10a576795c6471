import os
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address

limiter = Limiter(key_func=get_remote_address, storage_uri=os.environ["REDIS_URL"])
app = FastAPI()
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)


@app.get("/")
@limiter.limit("3/minute")
@limiter.limit("1000/day")
async def home(request: Request) -> dict[str, str]:
    return {}


@app.get("/items/{item}")
@limiter.limit("5/second")
async def item(request: Request, item: int) -> dict[str, str]:
    return {}


client = TestClient(app)
for number in range(5):
    client.get("/")
    client.get(f"/items/{number}")
print("limits", version("slowapi"))
