"""Verifies requests with Standard Webhooks' own library.

Reads one JSON object a line: {"secret", "headers", "body"} with the body in base64. Answers each with a line:
"valid", or "invalid: " and why.
"""

import base64
import json
import sys

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

for line in sys.stdin:
    case = json.loads(line)
    body = base64.b64decode(case["body"])
    try:
        # It decodes the body as text by itself, and would read it as JSON only after the signature is found valid.
        Webhook(case["secret"]).verify(body, case["headers"])
        print("valid")
    except WebhookVerificationError as error:
        print("invalid:", error)
    sys.stdout.flush()
