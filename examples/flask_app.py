"""A Flask application.

pip install flask
twistd -n zkserve --path /svc/flask examples/flask_app.py
"""

import os
import time

from flask import Flask, request

application = Flask(__name__)


@application.get("/")
def index():
    return f"Hello from Flask, process {os.getpid()}.\n"


@application.get("/sleep")
def sleep():
    """Take as long as the query says, as a slow application would."""
    seconds = min(request.args.get("seconds", default=1.0, type=float), 60.0)
    time.sleep(seconds)
    return f"slept {seconds} seconds\n"


@application.post("/echo")
def echo():
    return request.get_data()
