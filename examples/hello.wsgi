"""The smallest WSGI application: ``twistd -n zkserve --path /svc/providers examples/hello.wsgi``."""


def application(environ, start_response):
    body = f"Hello, {environ['REMOTE_ADDR']}! You asked for {environ['PATH_INFO']}.\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
