"""Verifies each delivery, and runs a command with the image that was pushed.

    pip install standardwebhooks
    WEBHOOK_SECRET=whsec_... python3 receiver.py 8000 ./roll-out.sh
"""
import http.server, os, subprocess, sys
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
done = set()  # In production: kept on disk, for as long as messages may be repeated.


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), 65536))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            message = webhook.verify(body, headers)
        except WebhookVerificationError:
            return self.answer(401)
        # The same message may come again, with the same id.
        if message["type"] == "image.push" and headers["webhook-id"] not in done:
            if subprocess.run([*sys.argv[2:], message["data"].get("reference", "")]).returncode != 0:
                return self.answer(500)  # It is sent again.
            done.add(headers["webhook-id"])
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
